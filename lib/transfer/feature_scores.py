"""Scores of a source model from its features on the target's images, without its class names.

``features`` (N, D) and ``labels`` (N,), integers; computed in float64 where not said otherwise.
All raise ValueError for features that are not finite, for shapes that do not fit and for fewer
than two classes.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

ITERATIONS, CLOSE = 100, 1e-6  # of LogME's fixed point: most, and the change that ends it
SMALLEST = 1e-10  # of the largest eigenvalue: less is rounding
BLOCK = 1000  # images whose similarities to all others are held at once


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Log maximum evidence of a linear model of each class's 0/1 label, mean of images and classes.

    y ~ N(F w, 1 / beta), w ~ N(0, 1 / alpha), with the alpha and beta of most evidence, found by
    MacKay's fixed point for all classes at once. Higher is better. You, Liu, Wang and Long,
    "LogME: practical assessment of pre-trained models for transfer learning", ICML 2021, eq. 2.
    """
    features, labels = _checked(features, labels)
    targets = _one_hot(labels)  # (N, T)
    count, squares = len(targets), (targets**2).sum(0)
    values, projected = _spectrum(features, targets)  # (K,), (K, T)
    squared = projected**2
    alpha, beta = np.ones(targets.shape[1]), np.ones(targets.shape[1])
    for _ in range(ITERATIONS):
        ratio = alpha / beta
        shrunk = values[:, None] + ratio
        gamma = (values[:, None] / shrunk).sum(0)
        weights = (values[:, None] * squared / shrunk**2).sum(0)
        residual = squares - squared.sum(0) + (squared * (ratio / shrunk) ** 2).sum(0)
        residual = np.maximum(residual, 1e-12 * squares)  # a perfect fit, up to rounding
        alpha = gamma / np.maximum(weights, 1e-300)
        beta = (count - gamma) / residual
        if np.all(np.abs(alpha / beta - ratio) <= CLOSE * ratio):
            break
    evidence = 0.5 * (
        np.log(alpha / (alpha + beta * values[:, None])).sum(0)
        + count * np.log(beta / (2 * np.pi))
        - beta * residual
        - alpha * weights
    )
    return float((evidence / count).mean())


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """tr(cov(f)^+ cov(E[f | y])): between 0 and T - 1, higher is better.

    Bao et al., "An information-theoretic approach to transferability in task transfer learning",
    ICIP 2019, definition 2; with the pseudo-inverse, so with N < D it is at its largest.
    """
    features, labels = _checked(features, labels)
    targets = _one_hot(labels)
    # with f = U S V^T the two covariances cancel to projections of the labels on U
    _, projected = _spectrum(features - features.mean(0), targets)
    return float((projected**2 / targets.sum(0)).sum())


def knn_accuracy(features: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of images whose k nearest others, by cosine, vote for their class; float32.

    Equal votes go to the class with the nearest of the images.
    """
    features, labels = _checked(features, labels)
    if not 1 <= k < len(labels):
        raise ValueError(f"k is 1 to {len(labels) - 1}, not {k}")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    units = (features / np.where(norms > 0, norms, 1)).astype(np.float32)
    right = 0
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK] @ units.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        nearest = np.argpartition(-block, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(block, nearest, 1), axis=1, kind="stable")
        votes = labels[np.take_along_axis(nearest, order, 1)]
        winners = votes[
            np.arange(len(votes)), (votes[:, :, None] == votes[:, None]).sum(2).argmax(1)
        ]
        right += (winners == labels[start : start + BLOCK]).sum()
    return right / len(labels)


def parc(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    probe: int = 500,
    components: int | None = 32,
    seed: int = 0,
) -> float:
    """Pairwise annotation representation comparison: -100 to 100, higher is better.

    Spearman's correlation, times 100, of 1 - Pearson's r of features and of one-hot labels over all
    pairs of ``probe`` images, the features reduced to ``components`` by PCA. Bolya, Mittapalli and
    Hoffman, "Scalable diverse model selection for accessible transfer learning", NeurIPS 2021.
    """
    features, labels = _checked(features, labels)
    if len(labels) > probe:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:probe])
        features, labels = _checked(features[chosen], labels[chosen])  # may be of one class
    if components and features.shape[1] > components:
        centred = features - features.mean(0)
        features = centred @ np.linalg.svd(centred, full_matrices=False)[2][:components].T
    pairs = np.tril_indices(len(labels), -1)
    apart = rankdata(1 - _correlations(features)[pairs])
    # one-hot labels are as far apart as they can be, or equal: Pearson's r has two values
    differ = rankdata((labels[:, None] != labels[None])[pairs])
    if np.ptp(apart) == 0:  # features that are the same for all images tell nothing
        return 0.0
    return float(100 * np.corrcoef(apart, differ)[0, 1])


def _correlations(rows: np.ndarray) -> np.ndarray:
    """Pearson's r of every two rows; 0 where one is constant."""
    centred = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    units = centred / np.where(norms > 0, norms, 1)
    return units @ units.T


def _spectrum(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (K,) of features U S V^T, and U^T targets (K, T)."""
    if features.shape[0] >= features.shape[1]:
        values, right = np.linalg.eigh(features.T @ features)
        kept = values > SMALLEST * max(values[-1], 1e-300)
        projected = right[:, kept].T @ (features.T @ targets)
        return values[kept], projected / np.sqrt(values[kept])[:, None]
    values, left = np.linalg.eigh(features @ features.T)
    kept = values > SMALLEST * max(values[-1], 1e-300)
    return values[kept], left[:, kept].T @ targets


def _one_hot(codes: np.ndarray) -> np.ndarray:
    _, codes = np.unique(codes, return_inverse=True)
    return np.eye(codes.max() + 1)[codes]


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not features.size:
        raise ValueError(
            f"features are (N, D) and labels (N,), not {features.shape} and {labels.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError("a feature is NaN or infinite")
    if len(np.unique(labels)) < 2:
        raise ValueError("all images have one class: nothing to tell apart")
    return features, labels
