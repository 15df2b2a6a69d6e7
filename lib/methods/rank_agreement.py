"""How well a score ranks models: rank correlations with accuracy, and what following it costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from lib.stats import Estimate, bootstrap

DRAWS = 400
# score and accuracy, more is better in both -> -1 to 1
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "Kendall": lambda score, accuracy: stats.kendalltau(score, accuracy).statistic,
    "weighted tau": lambda score, accuracy: stats.weightedtau(score, accuracy).statistic,
    "Spearman": lambda score, accuracy: stats.spearmanr(score, accuracy).statistic,
}


def agreement(score: np.ndarray, accuracy: np.ndarray, measure: str) -> float:
    """A rank correlation of ``MEASURES``; 0 for a score that is the same for all: it tells nothing.

    Kendall: tau-b. weighted tau: Vigna's, which counts errors among the best more. Raises
    ValueError for fewer than three models and for values that are not finite.
    """
    score, accuracy = _checked(score, accuracy)
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return 0.0
    return float(MEASURES[measure](score, accuracy))


def agreement_interval(score: np.ndarray, accuracy: np.ndarray, measure: str) -> Estimate:
    """The rank correlation with its 95 % interval, by a bootstrap of the models."""
    score, accuracy = _checked(score, accuracy)
    rows = pd.DataFrame({"score": score, "accuracy": accuracy})
    return bootstrap(
        lambda drawn: agreement(drawn["score"], drawn["accuracy"], measure), rows, draws=DRAWS
    )


def agreement_difference(
    first: np.ndarray, second: np.ndarray, accuracy: np.ndarray, measure: str
) -> Estimate:
    """The first score's rank correlation less the second's, on the same bootstrapped models."""
    rows = pd.DataFrame({"first": first, "second": second, "accuracy": accuracy}, dtype=float)
    return bootstrap(
        lambda drawn: (
            agreement(drawn["first"], drawn["accuracy"], measure)
            - agreement(drawn["second"], drawn["accuracy"], measure)
        ),
        rows,
        draws=DRAWS,
    )


def selection_regret(score: np.ndarray, accuracy: np.ndarray) -> float:
    """The best accuracy less that of the model with the highest score, in accuracy's units.

    Where several share the highest score: the mean of what they lose.
    """
    score, accuracy = _checked(score, accuracy)
    return float(accuracy.max() - accuracy[score == score.max()].mean())


def _checked(score: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    score, accuracy = np.asarray(score, dtype=float), np.asarray(accuracy, dtype=float)
    if score.shape != accuracy.shape or score.ndim != 1 or len(score) < 3:
        raise ValueError(f"at least three models are needed, not {score.shape}, {accuracy.shape}")
    if not (np.isfinite(score).all() and np.isfinite(accuracy).all()):
        raise ValueError("a score or an accuracy is not finite")
    return score, accuracy
