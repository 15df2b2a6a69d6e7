"""All scores of a source model by name, and which way each of them points."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from lib.transfer.feature_scores import h_score, knn_accuracy, log_me, parc
from lib.transfer.scores import centred_emd, emd_score, leep, nce, normalised_emd, softmax_score

SCORES = {  # 1 if more is taken as closer to the target, else -1
    "softmax": 1,  # the paper, 3.1
    "emd": -1,  # the paper, 3.2
    "normalised_emd": -1,  # this repository
    "centred_emd": -1,  # this repository
    "leep": 1,  # Nguyen et al. 2020
    "nce": 1,  # Tran et al. 2019
    "log_me": 1,  # You et al. 2021
    "h_score": 1,  # Bao et al. 2019
    "knn": 1,  # nearest other image
    "parc": 1,  # Bolya et al. 2021
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
