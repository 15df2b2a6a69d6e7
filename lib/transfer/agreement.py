"""How well a score ranks models: rank correlations with accuracy, and what following it costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from lib.ledger.estimates import Estimate, bootstrap

DRAWS = 400


def _rank_correlation(correlation: Callable) -> Callable[[ArrayLike, ArrayLike], float]:
    def measure(score: ArrayLike, accuracy: ArrayLike) -> float:
        score, accuracy = _checked(score, accuracy)
        if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
            return 0.0
        return float(correlation(score, accuracy).statistic)

    return measure


# Score and accuracy, more is better in both -> -1 to 1; 0 for a score that is the same for all, as
# it tells nothing. Kendall: tau-b. weighted tau: Vigna's, which counts errors among the best more.
MEASURES = {
    "Kendall": _rank_correlation(stats.kendalltau),
    "weighted tau": _rank_correlation(stats.weightedtau),
    "Spearman": _rank_correlation(stats.spearmanr),
}
kendall = MEASURES["Kendall"]


def selection_regret(score: ArrayLike, accuracy: ArrayLike) -> float:
    """The best accuracy less that of the model with the highest score, in accuracy's units.

    Where several share the highest score: the mean of what they lose.
    """
    score, accuracy = _checked(score, accuracy)
    return float(accuracy.max() - accuracy[score == score.max()].mean())


def over_models(statistic: Callable[..., float], *columns: ArrayLike) -> Estimate:
    """A statistic with its 95 % interval, by a bootstrap of the models.

    columns: what the statistic takes, one value a model each, such as score and accuracy.
    A model drawn twice is tied with itself, which tau-b and mean ranks allow for. A draw of a
    single model, over and over, has a correlation of 0: with six models that is one in 7,776.
    """
    rows = pd.DataFrame(np.column_stack(columns).astype(float))
    return bootstrap(lambda drawn: statistic(*drawn.to_numpy().T), rows, draws=DRAWS)


def _checked(score: ArrayLike, accuracy: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Raises ValueError for fewer than three models and for values that are not finite."""
    score, accuracy = np.asarray(score, dtype=float), np.asarray(accuracy, dtype=float)
    if score.shape != accuracy.shape or score.ndim != 1 or len(score) < 3:
        raise ValueError(f"at least three models are needed, not {score.shape}, {accuracy.shape}")
    if not (np.isfinite(score).all() and np.isfinite(accuracy).all()):
        raise ValueError("a score or an accuracy is not finite")
    return score, accuracy
