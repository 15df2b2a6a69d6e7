"""Scores that say before any fine-tuning how well a source model would suit a target task.

``probabilities`` (N, C): the model's softmax output on N images, over C source classes. ``labels``
(N,): target classes 0..T-1. ``distances`` (C, T): between class names, NaN where one of the two has
no word: such classes are left out of the EMD scores alone. ``features`` (N, D): what goes into the
model's last layer. The softmax and the EMD score are those of Ueno, Azuma and Kondo, "A study of
selecting models for efficient transfer learning in image recognition" (in Japanese), section 3.

Everything is computed in float64. ``all_scores`` checks what it is given; the functions of single
scores take arrays that are known to be good.
"""

from collections.abc import Iterable

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist
from scipy.stats import entropy, spearmanr
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import svd_flip
from threadpoolctl import threadpool_limits

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
TOLERANCE = 1e-2  # of a row's sum: float16 has three digits for each of a thousand probabilities
ITERATIONS, CLOSE = 100, 1e-6  # of LogME's fixed point: most, and the change that ends it
SMALLEST = 1e-10  # of the largest eigenvalue: less is rounding
PROBE, COMPONENTS = 500, 32  # of PARC, as its authors have them: images, principal components


@threadpool_limits.wrap(limits=1, user_api="blas")
def all_scores(
    probabilities: np.ndarray, features: np.ndarray, labels: np.ndarray, distances: np.ndarray
) -> dict[str, float]:
    """Every score of ``SCORES`` of (N, C), (N, D), (N,) and (C, T) arrays, float16 or larger.

    On one BLAS thread: several wait for each other in the eigenvalues of a few hundred features,
    many times as long as the work itself when other processes use the cores too.
    Raises ValueError for arrays whose shapes do not fit, for no images, for NaN and infinite
    values, for probabilities that are negative or do not add up to 1, for labels that are not
    integers of 0..T-1 or all the same, and for negative distances.
    """
    labels = np.asarray(labels)
    probabilities, features, distances = _checked(
        labels, probabilities=probabilities, features=features, distances=distances
    )
    return {
        "softmax": softmax_score(probabilities),
        **named_scores(probabilities, labels, distances),
        "leep": leep(probabilities, labels),
        "nce": nce(probabilities, labels),
        "log_me": log_me(features, labels),
        "h_score": h_score(features, labels),
        "knn": nearest_neighbour_accuracy(features, labels),
        "parc": parc(features, labels),
    }


def named_scores(
    probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray
) -> dict[str, float]:
    """The EMD, normalised: over that of a uniform output, and centred: less that, an image.

    An uninformed model has 1 and 0, whatever the names. Of classes whose distances are NaN, images
    and outputs are left out, and the probabilities of the other outputs are divided by their sum.
    NaN if nothing is left.
    """
    outputs, classes = (np.isfinite(distances).any(axis) for axis in (1, 0))
    if not (outputs.all() and classes.all()):
        images = classes[labels]
        probabilities, labels = probabilities[images][:, outputs], labels[images]
        probabilities = probabilities / np.maximum(probabilities.sum(1, keepdims=True), 1e-300)
        distances = np.nan_to_num(distances[outputs])
    if not probabilities.size:
        return dict.fromkeys(("emd", "normalised_emd", "centred_emd"), float("nan"))
    emd, uniform = emd_score(probabilities, labels, distances), uniform_emd(labels, distances)
    centred = (emd - uniform) / len(labels)
    return {"emd": emd, "normalised_emd": emd / uniform, "centred_emd": centred}


def softmax_score(probabilities: np.ndarray) -> float:
    """Sum over images of the largest probability (3.1): N / C to N, higher is taken as closer."""
    return float(probabilities.max(1).sum())


def emd_score(probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> float:
    """Sum over images of the earth mover's distance to the true class, f(x_i)^T w_{t_i} (3.2).

    As all mass must go to one class, it is the mean of the class distances. 0 or more, lower is
    taken as closer.
    """
    return float((class_sums(probabilities, labels, distances.shape[1]).T * distances).sum())


def class_sums(probabilities: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(T, C): the probabilities summed over the images of each target class."""
    count = len(labels)
    one_hot = csr_array((np.ones(count), (labels, np.arange(count))), shape=(classes, count))
    return one_hot @ probabilities


def uniform_emd(labels: np.ndarray, distances: np.ndarray) -> float:
    """The EMD score of a uniform output: what the class names alone decide."""
    return float(distances.mean(0)[labels].sum())


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Log expected empirical prediction: 0 or less, higher is better.

    Mean of log sum_z P(y_i | z) f(x_i)_z with P(y | z) = sum of f_z over the images of y, over its
    sum over all. Nguyen, Hassner, Seeger and Archambeau, ICML 2020, eqs. 1 and 2.
    """
    joint = class_sums(probabilities, labels, int(labels.max()) + 1)
    total = joint.sum(0)
    given = joint / np.where(total > 0, total, 1)
    return float(np.log((given[labels] * probabilities).sum(1)).mean())


def nce(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Negative entropy, in nats, of the label given the source's top class; 0 or less.

    Tran, Nguyen and Hassner, "Transferability and hardness of supervised classification tasks",
    ICCV 2019, eq. 4.
    """
    top = probabilities.argmax(1)
    return float(mutual_info_score(labels, top) - entropy(np.bincount(labels)))


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Log maximum evidence of a linear model of each class's 0/1 label, mean of images and classes.

    y ~ N(F w, 1 / beta), w ~ N(0, 1 / alpha), with the alpha and beta of most evidence, which
    MacKay's fixed point gives for all classes at once. Higher is better. You, Liu, Wang and Long,
    "LogME: practical assessment of pre-trained models for transfer learning", ICML 2021, eq. 2.
    """
    targets = _one_hot(labels)  # (N, T)
    count, squares = len(targets), (targets**2).sum(0)
    values, projected = _spectrum(features, targets)  # (K,), (K, T)
    values, squared = values[:, None], projected**2
    alpha = beta = np.ones(targets.shape[1])
    for _ in range(ITERATIONS):
        ratio = alpha / beta
        shrunk = values + ratio
        gamma = (values / shrunk).sum(0)
        weights = (values * squared / shrunk**2).sum(0)
        residual = squares - squared.sum(0) + (squared * (ratio / shrunk) ** 2).sum(0)
        residual = np.maximum(residual, 1e-12 * squares)  # a perfect fit, up to rounding
        alpha = gamma / np.maximum(weights, 1e-300)
        beta = (count - gamma) / residual
        if np.all(np.abs(alpha / beta - ratio) <= CLOSE * ratio):
            break
    evidence = 0.5 * (
        np.log(alpha / (alpha + beta * values)).sum(0)
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
    targets = _one_hot(labels)
    # with f = U S V^T the two covariances cancel to projections of the labels on U
    _, projected = _spectrum(features - features.mean(0), targets)
    return float((projected**2 / targets.sum(0)).sum())


def nearest_neighbour_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose nearest other image, by cosine, is of their class."""
    # on the unit sphere the nearest by distance is the nearest by angle, and is found faster
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(normalize(features))
    nearest = neighbours.kneighbors(return_distance=False)[:, 0]
    return float((labels[nearest] == labels).mean())


def parc(features: np.ndarray, labels: np.ndarray) -> float:
    """Pairwise annotation representation comparison: -100 to 100, higher is better.

    Spearman's correlation, times 100, of 1 - Pearson's r of features and of one-hot labels over all
    pairs of ``PROBE`` images, the features reduced to ``COMPONENTS`` by PCA, then each of mean 0
    and deviation 1, as the authors' code has it. Bolya, Mittapalli and Hoffman, "Scalable diverse
    model selection for accessible transfer learning", NeurIPS 2021.
    """
    if len(labels) > PROBE:
        chosen = np.sort(np.random.default_rng(0).permutation(len(labels))[:PROBE])
        features, labels = features[chosen], labels[chosen]
    if features.shape[1] > COMPONENTS:
        left, sizes, right = np.linalg.svd(features - features.mean(0), full_matrices=False)
        # a component has no sign of its own: that of its largest image is taken as positive
        left, _ = svd_flip(left, right)
        features = left[:, :COMPONENTS] * sizes[:COMPONENTS]
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    # Pearson's r is undefined for features that are all the same: as far as unrelated ones
    apart = np.nan_to_num(pdist(features, "correlation"), nan=1.0)
    # one-hot labels are as far apart as they can be, or equal: Pearson's r has two values
    differ = pdist(labels[:, None], "hamming")
    if np.ptp(apart) == 0 or np.ptp(differ) == 0:  # what is the same for all images tells nothing
        return 0.0
    return float(100 * spearmanr(apart, differ).statistic)


def main_directions(features: np.ndarray, most: int) -> np.ndarray:
    """(N, K) features along their ``most`` directions of largest second moment.

    A rotation, in which every score of features stays what it is, if they have no more than that.
    """
    if features.shape[1] <= most:
        return features
    features = features.astype(np.float64)
    return features @ np.linalg.eigh(features.T @ features)[1][:, -most:]


def _spectrum(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (K,) of features U S V^T, and U^T targets (K, T)."""
    wide = features.shape[0] < features.shape[1]
    values, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    large = values > SMALLEST * max(values[-1], 1e-300)
    values, vectors = values[large], vectors[:, large].T
    if wide:
        return values, vectors @ targets
    return values, vectors @ (features.T @ targets) / np.sqrt(values)[:, None]


def _one_hot(labels: np.ndarray) -> np.ndarray:
    _, codes = np.unique(labels, return_inverse=True)
    return np.eye(codes.max() + 1)[codes]


def _checked(labels: np.ndarray, **tables: np.ndarray) -> Iterable[np.ndarray]:
    """Probabilities, features and distances in float64."""
    for name in tables:
        values = tables[name] = np.asarray(tables[name], dtype=np.float64)
        if values.ndim != 2 or not values.size:
            raise ValueError(f"{name} are a table of at least one row, not {values.shape}")
        known, unknown = np.isfinite(values), np.isnan(values)
        if name == "distances":  # NaN are whole rows and columns
            known |= unknown.all(1, keepdims=True) | unknown.all(0)
        if not known.all():
            raise ValueError(f"one of the {name} is NaN or infinite")
        if name != "features" and (values < 0).any():
            raise ValueError(f"{name} are 0 or more, not {np.nanmin(values):.4g}")
    outputs, features, distances = tables.values()
    if not len(outputs) == len(features) == labels.size or labels.dtype.kind not in "iu":
        shapes = f"{outputs.shape}, {features.shape} and {labels.dtype} {labels.shape}"
        raise ValueError(f"labels are integers, one a row of the other two, not {shapes}")
    if labels.min() < 0 or labels.max() >= distances.shape[1] or np.ptp(labels) == 0:
        told = f"0 to {distances.shape[1] - 1}, not {labels.min()} to {labels.max()}"
        raise ValueError(f"labels are of at least two classes, {told}")
    if len(distances) != outputs.shape[1]:
        raise ValueError(f"distances have {len(distances)} rows for {outputs.shape[1]} outputs")
    sums = outputs.sum(1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > TOLERANCE:
        raise ValueError(f"the probabilities of image {worst} add up to {sums[worst]:.4g}, not 1")
    return tables.values()
