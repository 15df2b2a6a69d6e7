"""How well a score ranks models: rank correlations with accuracy, and what following it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from lib.ledger.estimates import Estimate, bootstrap

DRAWS = 400
PERMUTATIONS = 9999
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
    """The rank correlation with its 95 % interval, by a bootstrap of the models.

    A model drawn twice is tied with itself, which tau-b and mean ranks allow for. A draw of a
    single model, over and over, counts as 0: with six models that is one in 7,776.
    """
    return _interval(partial(agreement, measure=measure), score, accuracy)


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


def kendall_p(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Two-sided p of Kendall's tau if every order of the models were equally likely.

    Exact, but for tied values with more than seven models: then by ``PERMUTATIONS`` random orders.
    """
    score, accuracy = _checked(score, accuracy)
    if len(np.unique(score)) == len(np.unique(accuracy)) == len(score):
        return float(stats.kendalltau(score, accuracy, method="exact").pvalue)
    i, j = np.triu_indices(len(score), 1)
    signs = np.sign(accuracy[i] - accuracy[j])

    def concordance(values: np.ndarray, axis: int) -> np.ndarray:
        return (np.sign(values[..., i] - values[..., j]) * signs).sum(axis)

    options = {"permutation_type": "pairings", "n_resamples": PERMUTATIONS, "rng": 0}
    found = stats.permutation_test((score,), concordance, vectorized=True, **options)
    return float(found.pvalue)


def selection_regret(score: np.ndarray, accuracy: np.ndarray) -> float:
    """The best accuracy less that of the model with the highest score, in accuracy's units.

    Where several share the highest score: the mean of what they lose.
    """
    score, accuracy = _checked(score, accuracy)
    return float(accuracy.max() - accuracy[score == score.max()].mean())


def regret_interval(score: np.ndarray, accuracy: np.ndarray) -> Estimate:
    """The selection regret with its 95 % interval, by a bootstrap of the models."""
    return _interval(selection_regret, score, accuracy)


def _interval(
    measure: Callable[[pd.Series, pd.Series], float], score: np.ndarray, accuracy: np.ndarray
) -> Estimate:
    score, accuracy = _checked(score, accuracy)
    rows = pd.DataFrame({"score": score, "accuracy": accuracy})
    return bootstrap(lambda drawn: measure(drawn["score"], drawn["accuracy"]), rows, draws=DRAWS)


def _checked(score: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    score, accuracy = np.asarray(score, dtype=float), np.asarray(accuracy, dtype=float)
    if score.shape != accuracy.shape or score.ndim != 1 or len(score) < 3:
        raise ValueError(f"at least three models are needed, not {score.shape}, {accuracy.shape}")
    if not (np.isfinite(score).all() and np.isfinite(accuracy).all()):
        raise ValueError("a score or an accuracy is not finite")
    return score, accuracy
