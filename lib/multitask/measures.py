"""What a network is trained on and for, how good it is, and what its streams share.

Landmarks are (N, 5, 2) as in ``Faces``, x and y as shares of the image; attributes are (N, A);
features are (N, D), one row an image. All is computed in float64. Predictions and features that are
not finite raise ValueError, as those of a network that diverged.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.batches import Epochs
from lib.engine.training import train
from lib.multitask.networks import MultiTask

TASKS = ("landmarks", "attributes")
EVALUATION_BATCH = 250
SHIFT, SCALE = 0.12, 0.15  # most that a face is moved, in sides of the image, and grown or shrunk
OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
CELLS = 4  # maps are averaged in so many squares each way
EYES = [LANDMARKS.index("left eye"), LANDMARKS.index("right eye")]
SMALLEST = 1e-10  # of the whole: less is rounding
PENALTIES = np.logspace(-7, 3, 11)  # of the ridge, over the features' largest eigenvalue


class FaceBatches(Epochs):
    """Shuffled mini-batches of faces with their annotations.

    moved: all faces are shifted and scaled by chance, and with ``mirror`` every other one is
        mirrored; what comes in from outside an image repeats its edge, as a black one would be a
        landmark. Sides of a mirrored face are swapped by their names, see ``mirrored``.
    Calling with a step gives images (B, 3, S, S) float32 in [0, 1], landmarks (B, 5, 2) as shares
    of the image and attributes (B, A), as ``Faces`` has them. All depends on (seed, step) and the
    number of faces alone, so that networks of a seed see the same.
    """

    def __init__(
        self,
        faces: Faces,
        *,
        batch: int,
        seed: int,
        moved: bool,
        mirror: bool = True,
        device: torch.device,
    ) -> None:
        flip = moved and mirror
        super().__init__(faces.images.to(device), batch=batch, seed=seed, pad=0, flip=flip)
        self.landmarks, self.attributes = faces.landmarks.to(device), faces.attributes.to(device)
        self.moved = moved
        self.mirrored = [
            torch.tensor(mirrored(names) if flip else range(len(names)), device=device)
            for names in (faces.points, faces.names)
        ]

    def _draw(self, epoch: int) -> tuple[Tensor, ...]:
        """Order, flips, shifts in x and y and scales of an epoch, (N,) each."""
        order, flips, *_ = super()._draw(epoch)
        rng = torch.Generator().manual_seed(2**32 + self.seed * 1_000_003 + epoch)
        x, y, scales = 2 * torch.rand(3, len(order), generator=rng).to(order.device) - 1
        return order, flips, SHIFT * x, SHIFT * y, 1 + SCALE * scales

    def _batch(self, index: Tensor, flips: Tensor, *moves: Tensor) -> tuple[Tensor, ...]:
        images = self.images[index].float() / 255
        landmarks, attributes = self.landmarks[index], self.attributes[index]
        if not self.moved:
            return images, landmarks, attributes
        swapped = landmarks[:, self.mirrored[0]], attributes[:, self.mirrored[1]]
        landmarks = torch.where(flips[:, None, None], swapped[0], landmarks)
        attributes = torch.where(flips[:, None], swapped[1], attributes)
        return *move(images, landmarks, flips, *moves), attributes


def mirrored(names: tuple[str, ...]) -> list[int]:
    """Where the name of the other side stands, for each name; its own place if it has no side.

    A side is a word left or right within the name. ValueError for one without its other side.
    """
    side = r"(?<![A-Za-z])(left|right|Left|Right)(?![A-Za-z])"
    swapped = [re.sub(side, lambda found: OTHER_SIDE[found[0]], name) for name in names]
    for name, other in zip(names, swapped, strict=True):
        if other not in names:
            raise ValueError(f"a mirrored {name} would be {other}, which is not there")
    return [names.index(name) for name in swapped]


def move(
    images: Tensor, points: Tensor, flips: Tensor, x: Tensor, y: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """Mirror some images, scale them about their middle and shift them; and points on them.

    images: (N, C, S, S) float. points: (N, P, 2), x and y as shares of the image. flips: (N,) bool.
    x, y: (N,), to the right and down, in shares of the side. scales: (N,), above 1 is larger.
    """
    sides = scales * (1 - 2 * flips.float())
    zero, shift = torch.zeros_like(x), 2 * torch.stack([x, y], 1)
    # of each pixel of the result, the place in the image, in coordinates from -1 to 1
    matrix = torch.stack([1 / sides, zero, zero, 1 / scales], 1).unflatten(1, (2, 2))
    places = torch.cat([matrix, -matrix @ shift[:, :, None]], 2)
    grid = F.affine_grid(places, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    around = (2 * points - 1) * torch.stack([sides, scales], 1)[:, None]
    return moved, (around + shift[:, None] + 1) / 2


def face_loss(weight: float) -> Callable[[nn.Module, tuple[Tensor, Tensor, Tensor]], Tensor]:
    """E = weight E_landmarks + E_attributes, equation 1, of a batch of ``FaceBatches``.

    The squared distance of a landmark in coordinates from -1 to 1, mean over landmarks; binary
    cross entropy, mean over known attributes.
    """

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        images, positions, labels = batch
        outputs = network(images.contiguous(memory_format=torch.channels_last))
        # x and y of a landmark count together, so twice the mean over coordinates
        truth = (2 * positions - 1).flatten(1)
        distance = 2 * F.mse_loss(outputs["landmarks"].float(), truth)
        known, logits = (labels != UNKNOWN).float(), outputs["attributes"].float()
        entropy = F.binary_cross_entropy_with_logits(
            logits, labels.clamp_min(0).float(), weight=known, reduction="sum"
        )
        return weight * distance + entropy / known.sum().clamp_min(1)

    return loss


def fit(
    network: nn.Module,
    batches: FaceBatches,
    *,
    epochs: int,
    lr: float,
    falling: float,
    momentum: float = 0.9,
    weight: float = 1.0,
    checkpoint: Path | None = None,
    observe: Callable[[int], None] | None = None,
) -> None:
    """Train in place, by SGD on ``face_loss``; the rate falls to 0 in the last share ``falling``.

    checkpoint, observe: as of ``lib.engine.training.train``, each fifth epoch and after each step.
    """
    train(
        network,
        face_loss(weight),
        batches,
        steps=epochs * len(batches),
        lr=lr,
        optimiser=torch.optim.SGD,
        optimiser_options={"momentum": momentum},
        schedule=lambda done: min(1, (1 - done) / falling) if falling else 1,
        checkpoint=checkpoint,
        checkpoint_every=5 * len(batches),
        observe=observe,
        label=type(network).__name__,
    )


@torch.no_grad()
def predict(network: MultiTask, images: Tensor) -> dict[str, Tensor]:
    """landmarks (N, P, 2) as shares of the image and attributes (N, A) as logits, on the CPU.

    images: (N, 3, S, S) uint8, on the network's device.
    """
    network.eval()
    batches = [
        network(batch.contiguous(memory_format=torch.channels_last).float() / 255)
        for batch in images.split(EVALUATION_BATCH)
    ]
    joined = {task: torch.cat([batch[task] for batch in batches]).float().cpu() for task in TASKS}
    joined["landmarks"] = (joined["landmarks"].unflatten(1, (-1, 2)) + 1) / 2
    return joined


def evaluate(network: MultiTask, images: Tensor, truth: Faces) -> Tensor:
    """(6,): NME of each landmark in the network's frame, and share of right attributes."""
    outputs, size = predict(network, images), images.shape[-1]
    errors = landmark_errors(outputs["landmarks"], truth.landmarks, (size, size))
    scores = attribute_scores(outputs["attributes"], truth.attributes)
    return torch.tensor([*errors.mean(0), pooled_accuracy(scores)], dtype=torch.float32)


@torch.no_grad()
def stream_features(network: MultiTask, images: Tensor) -> dict[str, list[np.ndarray]]:
    """(N, D) features of each stream and layer: its maps in ``squares``."""
    device = next(network.parameters()).device
    batches = []
    for batch in images.split(EVALUATION_BATCH):
        maps = network.features(batch.to(device).float() / 255)
        batches.append({name: [squares(layer) for layer in maps[name]] for name in maps})
    return {
        name: [np.concatenate(parts) for parts in zip(*(b[name] for b in batches), strict=True)]
        for name in batches[0]
    }


def squares(maps: Tensor) -> np.ndarray:
    """Feature maps (N, C, H, W) averaged in 4 x 4 squares, or fewer where a side is shorter.

    Returns (N, D). A mean of half precision may need more digits, so it is taken in single.
    """
    sides = min(CELLS, maps.shape[2]), min(CELLS, maps.shape[3])
    return F.adaptive_avg_pool2d(maps.float(), sides).flatten(1).cpu().double().numpy()


def landmark_errors(
    predicted: ArrayLike, truth: ArrayLike, extent: ArrayLike, *, median: bool = False
) -> np.ndarray:
    """Distance over eye distance, ||t_i - y_i|| / max(||t_le - t_re||, 1 pixel): (N, 5).

    Matsui et al., "Separation multi-task networks", eq. 2. For faces in profile the eye distance
    vanishes and the error is huge.
    extent: width and height in pixels of the frame in which is measured, (2,) or (N, 2) where faces
        differ; another aspect gives other errors.
    median: divide by the median eye distance of the set instead, so that no face in profile counts
        more than others; ValueError if it is 0.
    """
    predicted, truth = _finite(predicted), np.asarray(truth, dtype=np.float64)
    extent = np.asarray(extent, dtype=np.float64)
    if predicted.shape != truth.shape or extent.shape not in ((2,), (len(truth), 2)):
        shapes = f"{predicted.shape}, {truth.shape} and {extent.shape}"
        raise ValueError(f"landmarks, truth and extent do not fit: {shapes}")
    pixels = np.broadcast_to(extent, (len(truth), 2))
    distances = np.linalg.norm((predicted - truth) * pixels[:, None], axis=2)
    left, right = truth[:, EYES].swapaxes(0, 1)
    eyes = np.linalg.norm((left - right) * pixels, axis=1)
    if not median:
        return distances / np.maximum(eyes, 1)[:, None]
    if not np.median(eyes) > 0:
        raise ValueError("the median eye distance is 0")
    return distances / np.median(eyes)


def attribute_scores(predicted: ArrayLike, truth: ArrayLike) -> pd.DataFrame:
    """Scores by attribute, a row each: accuracy, balanced_accuracy, f1 (of yes), rate, n.

    predicted: (N, A) logits, yes above 0, or booleans. truth: (N, A), 1, 0 or ``UNKNOWN``, which
    does not count. rate: share of the n known ones that have it. NaN where a score is undefined.
    """
    yes, truth = _finite(predicted) > 0, np.asarray(truth)
    # as series, in which nothing over nothing is NaN
    has, has_not = (pd.Series((truth == value).sum(0)) for value in (1, 0))
    right_yes, right_no = (yes & (truth == 1)).sum(0), (~yes & (truth == 0)).sum(0)
    scores = {
        "accuracy": (right_yes + right_no) / (has + has_not),
        "balanced_accuracy": (right_yes / has + right_no / has_not) / 2,
        "f1": 2 * right_yes / (has + (yes & (truth != UNKNOWN)).sum(0)),
        "rate": has / (has + has_not),
        "n": has + has_not,
    }
    return pd.DataFrame(scores)


def pooled_accuracy(scores: pd.DataFrame) -> float:
    """Share of all known attributes that are right, from ``attribute_scores``."""
    known = scores[scores["n"] > 0]
    return float((known["accuracy"] * known["n"]).sum() / known["n"].sum())


def majority(attributes: ArrayLike) -> np.ndarray:
    """Whether more known faces have an attribute than lack it, (N, A) -> (A,) bool; a tie is no."""
    truth = np.asarray(attributes)
    return (truth == 1).sum(0) > (truth == 0).sum(0)


def trivial_outputs(train: Faces) -> dict[str, Tensor]:
    """What a network's heads answer by task if they begin at the mean shape and the log odds."""
    # a face is added to each side, so that no log odds are infinite
    yes, no = ((train.attributes == value).sum(0).float() + 1 for value in (1, 0))
    shape = (2 * train.landmarks.mean(0) - 1).flatten()
    return {"landmarks": shape, "attributes": (yes / no).log()}


def trivial_answers(train: Faces, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What no look at the images gives, the same for so many faces.

    The mean shape (count, 5, 2), and (count, A) 0.5 for attributes of the majority, else -0.5.
    """
    shape, usual = train.landmarks.double().numpy().mean(0), majority(train.attributes) - 0.5
    landmarks = np.broadcast_to(shape, (count, *shape.shape))
    return landmarks, np.broadcast_to(usual, (count, *usual.shape))


def trivial_scores(train: Faces, truth: Faces) -> dict[str, float]:
    """What no look at the images gives: NME of the mean shape, accuracy of the majority."""
    shape, usual = trivial_answers(train, len(truth))
    errors = landmark_errors(shape, truth.landmarks, (truth.images.shape[-1],) * 2)
    accuracy = pooled_accuracy(attribute_scores(usual, truth.attributes))
    return {"faces": len(truth), "nme": float(errors.mean()), "accuracy": accuracy}


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Similarity of two representations of the same images, whatever their bases and scales.

    HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)) by Kornblith et al., "Similarity of neural network
    representations revisited", ICML 2019, with the unbiased HSIC of Song et al., "Feature selection
    via dependence maximization", JMLR 2012, eq. 5. Noise gives 0 on average, and the range is -1
    to 1; with the plain ||Y^T X||_F^2 noise nears 1 where images are fewer than features. At least
    four images. Features that are the same for all images, or in which all images are equally far
    apart, share nothing: 0.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"the same four images or more, not {len(x)} and {len(y)}")
    first, second = (_centred_gram(_finite(features)) for features in (x, y))
    both, own = (first * second).sum(), np.array([(first**2).sum(), (second**2).sum()])
    return float(both / np.sqrt(own.prod())) if own.min() > SMALLEST else 0.0


def linear_probe(
    train_x: ArrayLike, train_y: np.ndarray, test_x: ArrayLike, test_y: np.ndarray
) -> float:
    """R^2 of a ridge regression on standardised features, mean over targets; 1 at most.

    train_y, test_y: (N, ...), as landmarks. The penalty of each target is the one of ``PENALTIES``
    with the least leave-one-out error. Targets constant in the test do not count; ValueError if
    all are.
    """
    train_y, test_y = (np.asarray(y).reshape(len(y), -1) for y in (train_y, test_y))
    predicted, _ = _ridge(train_x, train_y, test_x)
    varies = np.ptp(test_y, axis=0) > 0
    if not varies.any():
        raise ValueError("all targets are constant in the test")
    return r2_score(test_y[:, varies], predicted[:, varies])


def attribute_probe(
    train_x: ArrayLike, train_yes: ArrayLike, test_x: ArrayLike, test_yes: ArrayLike
) -> float:
    """Balanced accuracy of linear classifiers, mean over attributes; features without use: 0.5.

    train_yes, test_yes: (N, A), 1, 0 or ``UNKNOWN``. The classifier is ridge regression, as in
    ``linear_probe``, of 1 / number of yes, -1 / number of no and 0 where unknown, which is
    Fisher's discriminant. It says yes above the middle of the two classes' means, which are of
    predictions left out, as those of the fit lie too far apart, and farther for the rarer class.
    Attributes of one class in train or test do not count; ValueError if none is left.
    """
    train, test = np.asarray(train_yes), np.asarray(test_yes)
    usable = [set(column) >= {0, 1} for part in (train, test) for column in part.T]
    both = np.reshape(usable, (2, -1)).all(0)
    if not both.any():
        raise ValueError("no attribute has both classes in train and test")
    yes, no = ((train[:, both] == value).astype(np.float64) for value in (1, 0))
    yes, no = yes / yes.sum(0), no / no.sum(0)
    predicted, left_out = _ridge(train_x, yes - no, test_x)
    middle = ((yes + no) * left_out).sum(0) / 2
    scores = attribute_scores(predicted - middle, test[:, both])
    return float(scores["balanced_accuracy"].mean())


def _ridge(
    train_x: ArrayLike, train_y: np.ndarray, test_x: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (M, K) of the test, and (N, K) of every training image by all others."""
    scaler = StandardScaler().fit(train_x)
    x, test = scaler.transform(train_x), scaler.transform(test_x)
    largest = np.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x)[-1]
    model = RidgeCV(
        PENALTIES * (largest if largest > 0 else 1),  # without any feature that varies
        scoring="neg_mean_squared_error",  # with a score the predictions left out are kept
        store_cv_results=True,
        alpha_per_target=True,
    ).fit(x, train_y)
    place = np.searchsorted(model.alphas, np.broadcast_to(model.alpha_, train_y.shape[1]))
    left_out = np.take_along_axis(model.cv_results_, place[None, :, None], 2)[..., 0]
    return model.predict(test).reshape(len(test), -1), left_out


def _centred_gram(features: np.ndarray) -> np.ndarray:
    """Inner products of the images without what is the same for all, nor those with themselves.

    Sums of products of two such matrices have no bias: U-centring of Székely and Rizzo, 2014.
    Scaled by the whole; columns that are constant are 0 and not what rounding leaves.
    """
    centred = (features - features.mean(0)) * (np.ptp(features, axis=0) > 0)
    gram, count = centred @ centred.T, len(centred)
    gram /= np.trace(gram) or 1
    np.fill_diagonal(gram, 0)
    rows = gram.sum(0) / (count - 2)
    gram -= rows[:, None] + rows - rows.sum() / (count - 1)
    np.fill_diagonal(gram, 0)
    return gram


def _finite(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a number is NaN or infinite")
    return values
