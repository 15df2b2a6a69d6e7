"""Scores of a source model from its softmax output on the target's images.

``probabilities`` (N, C): a row for each image, C source classes, adds up to 1. ``labels`` (N,):
target classes 0..T-1. ``distances`` (C, T): between class names. Ueno, Azuma and Kondo, "A study of
selecting models for efficient transfer learning in image recognition" (in Japanese), section 3;
LEEP and NCE are others'. Everything is computed in float64.

All raise ValueError for no images, probabilities that are NaN, negative or do not add up to 1,
labels that are not integers of 0..T-1, distances that are not (C, T), finite and 0 or more.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

TOLERANCE = 1e-2  # of a row's sum: float16 keeps three digits of each of a thousand probabilities


def word_distances(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(C, T) Euclidean distances of word vectors (C, D) and (T, D)."""
    source, target = (np.asarray(each, dtype=np.float64) for each in (source, target))
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(f"vectors of different dimension: {source.shape} and {target.shape}")
    return cdist(source, target)


def softmax_score(probabilities: np.ndarray) -> float:
    """Sum over images of the largest probability (3.1): N / C to N, higher is taken as closer."""
    return float(_checked(probabilities).max(1).sum())


def emd_score(probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> float:
    """Sum over images of the earth mover's distance to the true class, f(x_i)^T w_{t_i} (3.2).

    All mass must go to one class, so there is nothing to optimise: the distance is the mean of the
    class distances. 0 or more, lower is taken as closer.
    """
    probabilities = np.asarray(probabilities)
    distances = _checked_distances(distances, probabilities.shape[-1])
    return float((class_sums(probabilities, labels, distances.shape[1]).T * distances).sum())


def class_sums(probabilities: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(T, C): the probabilities summed over the images of each target class."""
    probabilities = _checked(probabilities)
    labels = _checked_labels(labels, len(probabilities), classes)
    count = len(labels)
    one_hot = csr_array((np.ones(count), (labels, np.arange(count))), shape=(classes, count))
    return one_hot @ probabilities


def uniform_emd(labels: np.ndarray, distances: np.ndarray) -> float:
    """The EMD score of a uniform output: what the class names alone decide."""
    distances = _checked_distances(distances, len(distances))
    labels = _checked_labels(labels, len(labels), distances.shape[1])
    return float(distances.mean(0)[labels].sum())


def normalised_emd(probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> float:
    """The EMD score over that of a uniform output: 1 is uninformed, whatever the class names."""
    return emd_score(probabilities, labels, distances) / uniform_emd(labels, distances)


def centred_emd(probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> float:
    """The EMD of an image less that of a uniform output, in distances: 0 is uninformed.

    The EMD when the mean over source classes is taken from each column of the distances.
    """
    lost = emd_score(probabilities, labels, distances) - uniform_emd(labels, distances)
    return lost / len(labels)


def emd_of_targets(probabilities: np.ndarray, targets: np.ndarray, distances: np.ndarray) -> float:
    """The sum over images of the EMD to any target distribution (N, T), by linear programming."""
    import ot  # here: importing it takes a second

    probabilities, targets = _checked(probabilities), _checked(targets)
    distances = _checked_distances(distances, probabilities.shape[1])
    if len(targets) != len(probabilities):
        raise ValueError(f"{len(probabilities)} outputs, but {len(targets)} targets")
    sides = (each / each.sum(1, keepdims=True) for each in (probabilities, targets))
    return float(sum(ot.emd2(p, q, distances) for p, q in zip(*sides, strict=True)))


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Log expected empirical prediction: 0 or less, higher is better.

    Mean of log sum_z P(y_i | z) f(x_i)_z with the empirical P(y | z) = sum of f_z over the images
    of y, over its sum over all. Nguyen, Hassner, Seeger and Archambeau, ICML 2020, eqs. 1 and 2.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    joint = class_sums(probabilities, labels, int(labels.max()) + 1)
    total = joint.sum(0)
    given = joint / np.where(total > 0, total, 1)
    return float(np.log((given[labels] * probabilities).sum(1)).mean())


def nce(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Negative entropy, in nats, of the label given the source's top class; 0 or less.

    Tran, Nguyen and Hassner, "Transferability and hardness of supervised classification tasks",
    ICCV 2019, eq. 4.
    """
    top = _checked(probabilities).argmax(1)
    labels = _checked_labels(labels, len(top), int(np.max(labels)) + 1)
    joint = np.zeros((probabilities.shape[1], labels.max() + 1))
    np.add.at(joint, (top, labels), 1 / len(top))
    mass = np.broadcast_to(joint.sum(1, keepdims=True), joint.shape)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / mass[seen])).sum())


def _checked(probabilities: np.ndarray) -> np.ndarray:
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"probabilities are (N, C) of at least one image, not {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("a probability is negative, NaN or infinite")
    sums = values.sum(1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > TOLERANCE:
        raise ValueError(f"the probabilities of image {worst} add up to {sums[worst]:.4g}, not 1")
    return values


def _checked_labels(labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or not count:
        raise ValueError(f"labels are (N,) for {count} images, at least one, not {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers, not {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels are 0 to {classes - 1}, not {labels.min()} to {labels.max()}")
    return labels


def _checked_distances(distances: np.ndarray, sources: int) -> np.ndarray:
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or len(distances) != sources or not distances.size:
        raise ValueError(f"distances are (C, T) with C = {sources}, not {distances.shape}")
    if not np.isfinite(distances).all() or distances.min() < 0:
        raise ValueError("a distance is negative, NaN or infinite")
    return distances
