"""All scores of a source model by name, and which way each of them points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from lib.methods.feature_scores import h_score, knn_accuracy, log_me, parc
from lib.methods.transferability import (
    centred_emd,
    emd_score,
    leep,
    nce,
    normalised_emd,
    softmax_score,
)


@dataclass(frozen=True)
class Score:
    """sign: 1 if more is taken as closer to the target, else -1. source: where it is from.

    needs: what it is computed from beside the labels, as ``all_scores`` names it.
    """

    sign: int
    source: str
    needs: tuple[str, ...]


_OUTPUT, _NAMED, _FEATURES = ("probabilities",), ("probabilities", "distances"), ("features",)
SCORES = {
    "softmax": Score(1, "the paper, 3.1", _OUTPUT),
    "emd": Score(-1, "the paper, 3.2", _NAMED),
    "normalised_emd": Score(-1, "this repository", _NAMED),
    "centred_emd": Score(-1, "this repository", _NAMED),
    "leep": Score(1, "Nguyen et al. 2020", _OUTPUT),
    "nce": Score(1, "Tran et al. 2019", _OUTPUT),
    "log_me": Score(1, "You et al. 2021", _FEATURES),
    "h_score": Score(1, "Bao et al. 2019", _FEATURES),
    "knn": Score(1, "nearest other image", _FEATURES),
    "parc": Score(1, "Bolya et al. 2021", _FEATURES),
}


@threadpool_limits.wrap(limits=1, user_api="blas")
def all_scores(
    probabilities: np.ndarray, features: np.ndarray, labels: np.ndarray, distances: np.ndarray
) -> dict[str, float]:
    """Every score of ``SCORES`` of (N, C), (N, D), (N,) and (C, T) arrays, float16 or larger.

    On one BLAS thread: several wait for each other in the eigenvalues of a few hundred features,
    many times as long as the work itself when other processes use the cores too.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)  # once, not in each of them
    features = np.asarray(features, dtype=np.float64)
    return {
        "softmax": softmax_score(probabilities),
        "emd": emd_score(probabilities, labels, distances),
        "normalised_emd": normalised_emd(probabilities, labels, distances),
        "centred_emd": centred_emd(probabilities, labels, distances),
        "leep": leep(probabilities, labels),
        "nce": nce(probabilities, labels),
        "log_me": log_me(features, labels),
        "h_score": h_score(features, labels),
        "knn": knn_accuracy(features, labels),
        "parc": parc(features, labels),
    }
