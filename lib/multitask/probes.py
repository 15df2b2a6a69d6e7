"""What two streams of features share, and what can be read from each by a linear model.

Features are (N, D), one row an image; float64. All raise ValueError for numbers that are not
finite and for shapes that do not fit.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lib.multitask.face_metrics import attribute_scores, checked_attributes

SMALLEST = 1e-10  # of the whole: less is rounding
PENALTIES = np.logspace(-7, 3, 11)  # of the ridge, over the features' largest eigenvalue


def linear_cka(x: np.ndarray, y: np.ndarray, *, debiased: bool = True) -> float:
    """Similarity of two representations of the same images, whatever their bases and scales.

    HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)), with HSIC = ||Y^T X||_F^2 of centred features: 0 to 1.
    Kornblith et al., "Similarity of neural network representations revisited", ICML 2019.
    With fewer images than features this nears 1 even for noise. Debiased, with the HSIC of Song et
    al., "Feature selection via dependence maximization", JMLR 2012, eq. 5, noise gives 0 on average
    and the range is -1 to 1. At least four images. Features that are the same for all images, or
    (debiased) in which all images are equally far apart, share nothing: 0.
    """
    x, y = _matrix(x), _matrix(y)
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"the same four images or more, not {len(x)} and {len(y)}")
    x, y = _unit(_centred(x)), _unit(_centred(y))
    both, own_x, own_y = (_hsic(a, b, debiased) for a, b in ((x, y), (x, x), (y, y)))
    return float(both / np.sqrt(own_x * own_y)) if min(own_x, own_y) > SMALLEST else 0.0


def pooled(maps: Tensor, cells: int = 4) -> np.ndarray:
    """Feature maps (N, C, H, W) averaged in cells x cells, flattened: (N, C * cells**2).

    A side with fewer pixels than cells stays as it is.
    """
    if maps.ndim != 4:
        raise ValueError(f"maps are (N, C, H, W), not {tuple(maps.shape)}")
    sides = [min(cells, side) for side in maps.shape[2:]]
    # a mean of half precision may need more digits
    return adaptive_avg_pool2d(maps.detach().float(), sides).flatten(1).cpu().double().numpy()


def linear_probe(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray
) -> float:
    """R^2 of a ridge regression on standardised features, mean over targets; 1 at most.

    train_y, test_y: (N, ...), as landmarks. The penalty of each target is the one of ``PENALTIES``
    with the least leave-one-out error. Targets constant in the test do not count; ValueError if
    all are.
    """
    train_y, test_y = (_matrix(np.reshape(y, (len(y), -1))) for y in (train_y, test_y))
    predicted, _ = _ridge(train_x, train_y, test_x)
    if predicted.shape != test_y.shape:
        raise ValueError(f"targets of the test are {predicted.shape}, not {test_y.shape}")
    varies = np.ptp(test_y, axis=0) > 0
    if not varies.any():
        raise ValueError("all targets are constant in the test")
    test_y, predicted = test_y[:, varies], predicted[:, varies]
    return float((1 - ((test_y - predicted) ** 2).mean(0) / test_y.var(0)).mean())


def attribute_probe(
    train_x: np.ndarray, train_yes: np.ndarray, test_x: np.ndarray, test_yes: np.ndarray
) -> float:
    """Balanced accuracy of linear classifiers, mean over attributes; features without use: 0.5.

    train_yes, test_yes: (N, A), 1, 0 or ``UNKNOWN``. The classifier is ridge regression, as in
    ``linear_probe``, of 1 / number of yes, -1 / number of no and 0 where unknown, which is
    Fisher's discriminant; it says yes above the middle of the two classes' means, which are of
    predictions left out, as those of the fit lie too far apart, and farther for the rarer class.
    Attributes of one class in train or test do not count; ValueError if none is left.
    """
    train_yes, test_yes = checked_attributes(train_yes), checked_attributes(test_yes)
    if train_yes.shape[1] != test_yes.shape[1]:
        raise ValueError(f"attributes do not fit: {train_yes.shape} and {test_yes.shape}")
    usable = _has_both(train_yes) & _has_both(test_yes)
    if not usable.any():
        raise ValueError("no attribute has both classes in train and test")
    yes, no = ((train_yes[:, usable] == value).astype(np.float64) for value in (1, 0))
    yes, no = yes / yes.sum(0), no / no.sum(0)
    predicted, left_out = _ridge(train_x, yes - no, test_x)
    middle = ((yes + no) * left_out).sum(0) / 2
    scores = attribute_scores(predicted - middle, test_yes[:, usable])
    return float(scores["balanced_accuracy"].mean())


def _hsic(x: np.ndarray, y: np.ndarray, debiased: bool) -> float:
    """||Y^T X||_F^2, or without the bias, times N (N - 3); of centred features."""
    count = len(x)
    if count < min(x.shape[1], y.shape[1]):
        biased = ((x @ x.T) * (y @ y.T)).sum()
    else:
        biased = ((y.T @ x) ** 2).sum()
    if not debiased:
        return biased
    # Song's sums over the Gram matrices without their diagonals; all rows of the whole sum to 0
    a, b = (x**2).sum(1), (y**2).sum(1)
    return biased - count / (count - 2) * (a @ b) + a.sum() * b.sum() / (count - 1) / (count - 2)


def _ridge(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (M, K) of the test, and (N, K) of every training image by all others."""
    train_x, test_x = _matrix(train_x), _matrix(test_x)
    if len(train_x) != len(train_y) or train_x.shape[1] != test_x.shape[1]:
        shapes = f"{train_x.shape}, {train_y.shape} and {test_x.shape}"
        raise ValueError(f"features, targets and the test's features do not fit: {shapes}")
    spread, mean = train_x.std(0), train_y.mean(0)
    spread = np.where(spread > 0, spread, 1)
    x, test = _centred(train_x) / spread, (test_x - train_x.mean(0)) / spread
    values, left = _left_vectors(x)
    projected, shape = left.T @ (train_y - mean), (len(PENALTIES), *train_y.shape)
    penalties, left_out = PENALTIES * values.max(initial=0), np.empty(shape)
    for k, penalty in enumerate(penalties):
        kept = values / (values + penalty)
        leverage = 1 / len(x) + left**2 @ kept
        residual = train_y - mean - left @ (kept[:, None] * projected)
        left_out[k] = train_y - residual / (1 - leverage)[:, None]
    best = ((left_out - train_y) ** 2).sum(1).argmin(0)  # (K,)
    weights = x.T @ (left @ (projected / (values[:, None] + penalties[best])))
    return mean + test @ weights, left_out[best, :, np.arange(len(best))].T


def _left_vectors(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (K,) that are not 0, and left singular vectors (N, K)."""
    wide = x.shape[0] < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = values > SMALLEST * max(values[-1], 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    return values, vectors if wide else x @ vectors / np.sqrt(values)


def _centred(x: np.ndarray) -> np.ndarray:
    """Without the mean; columns that are constant are 0 and not what rounding leaves."""
    return (x - x.mean(0)) * (np.ptp(x, axis=0) > 0)


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x)
    return x / norm if norm > 0 else x


def _has_both(attributes: np.ndarray) -> np.ndarray:
    return (attributes == 1).any(0) & (attributes == 0).any(0)


def _matrix(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"features are (N, D), not {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("a number is NaN or infinite")
    return features
