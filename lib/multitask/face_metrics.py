"""How far landmarks are off and how often attributes are right, with the trivial predictors.

Landmarks are (N, 5, 2) as in ``Faces``: x and y as shares of the image. All in float64. All raise
ValueError for numbers that are not finite, for shapes that do not fit and for no faces at all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lib.data.faces import LANDMARKS, UNKNOWN

EYES = [LANDMARKS.index("left eye"), LANDMARKS.index("right eye")]
INPUT = (128, 128)  # pixels of the paper's input


def landmark_errors(
    predicted: ArrayLike, truth: ArrayLike, extent: ArrayLike = INPUT
) -> np.ndarray:
    """Distance over eye distance, ||t_i - y_i|| / max(||t_le - t_re||, 1 pixel): (N, 5).

    extent: width and height in pixels of the frame in which is measured, (2,) or (N, 2) where faces
    differ: another aspect gives other errors. Matsui et al., "Separation multi-task networks",
    eq. 2; of faces in profile the eye distance vanishes and the error is huge.
    """
    distances, eyes = _distances(predicted, truth, extent)
    return distances / np.maximum(eyes, 1)[:, None]


def median_errors(predicted: ArrayLike, truth: ArrayLike, extent: ArrayLike) -> np.ndarray:
    """Distance over the median eye distance of the set, both in pixels of ``extent``: (N, 5).

    No face in profile counts more than others. ValueError if the median is 0.
    """
    distances, eyes = _distances(predicted, truth, extent)
    if not np.median(eyes) > 0:
        raise ValueError("the median eye distance is 0")
    return distances / np.median(eyes)


def cumulative_errors(errors: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Share of faces with a mean error of at most the threshold: (N, 5), (T,) -> (T,) in 0..1."""
    means = np.sort(_finite(errors, 2).mean(1))
    return np.searchsorted(means, _finite(thresholds, 1), side="right") / len(means)


def attribute_scores(predicted: ArrayLike, truth: ArrayLike) -> pd.DataFrame:
    """Scores by attribute, a row each: accuracy, balanced_accuracy, f1, rate, n.

    predicted: (N, A) logits, yes above 0, or booleans. truth: (N, A), 1, 0 or ``UNKNOWN``, which
    does not count. rate: share of the n known ones that have it. NaN where a score is undefined:
    balanced_accuracy if the known ones are all of one class, f1 (of yes) if neither truth nor
    prediction has a yes, all three and the rate if nothing is known.
    """
    yes, truth = _finite(predicted, 2) > 0, checked_attributes(truth)
    if yes.shape != truth.shape:
        raise ValueError(f"predictions {yes.shape} do not fit attributes {truth.shape}")
    has, has_not = ((truth == value).sum(0) for value in (1, 0))
    found, refused = (yes & (truth == 1)).sum(0), (~yes & (truth == 0)).sum(0)
    said = (yes & (truth != UNKNOWN)).sum(0)
    scores = {
        "accuracy": _share(found + refused, has + has_not),
        "balanced_accuracy": (_share(found, has) + _share(refused, has_not)) / 2,
        "f1": _share(2 * found, has + said),
        "rate": _share(has, has + has_not),
        "n": has + has_not,
    }
    return pd.DataFrame(scores)


def pooled_accuracy(scores: pd.DataFrame) -> float:
    """Share of all known attributes that are right, from ``attribute_scores``."""
    known = scores[scores["n"] > 0]
    return float((known["accuracy"] * known["n"]).sum() / known["n"].sum())


def mean_shape(landmarks: ArrayLike) -> np.ndarray:
    """The landmarks of the mean face, (N, 5, 2) -> (5, 2): what no look at the image gives."""
    return _points(landmarks).mean(0)


def majority(attributes: ArrayLike) -> np.ndarray:
    """Whether more known faces have an attribute than have it not, (N, A) -> (A,) bool.

    False where as many have it as not.
    """
    truth = checked_attributes(attributes)
    return (truth == 1).sum(0) > (truth == 0).sum(0)


def checked_attributes(attributes: ArrayLike) -> np.ndarray:
    """Attributes (N, A) as they are. ValueError unless all are 1, 0 or ``UNKNOWN``."""
    truth = np.asarray(attributes)
    if truth.ndim != 2 or not truth.size or not np.isin(truth, (1, 0, UNKNOWN)).all():
        raise ValueError(f"attributes are (N, A) of 1, 0 or {UNKNOWN}: {truth.shape}")
    return truth


def _distances(
    predicted: ArrayLike, truth: ArrayLike, extent: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Of every landmark from its truth (N, 5), and of the eyes (N,), in pixels."""
    predicted, truth = _points(predicted), _points(truth)
    extent = np.asarray(extent, dtype=np.float64)
    if predicted.shape != truth.shape or extent.shape not in ((2,), (len(truth), 2)):
        shapes = f"{predicted.shape}, {truth.shape} and {extent.shape}"
        raise ValueError(f"landmarks, truth and extent do not fit: {shapes}")
    if not (np.isfinite(extent) & (extent > 0)).all():
        raise ValueError("an extent is not a positive number")
    pixels = np.broadcast_to(extent, (len(truth), 2))
    distances = np.linalg.norm((predicted - truth) * pixels[:, None], axis=2)
    left, right = truth[:, EYES].swapaxes(0, 1)
    return distances, np.linalg.norm((left - right) * pixels, axis=1)


def _points(landmarks: ArrayLike) -> np.ndarray:
    points = _finite(landmarks, 3)
    if points.shape[1:] != (len(LANDMARKS), 2):
        raise ValueError(f"landmarks are (N, {len(LANDMARKS)}, 2), not {points.shape}")
    return points


def _finite(values: ArrayLike, dimensions: int) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != dimensions or not values.size:
        raise ValueError(f"{dimensions} dimensions and some numbers, not {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a number is NaN or infinite")
    return values


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN of nothing."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
