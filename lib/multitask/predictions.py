"""Notebook 04: what all trained networks say of a test part, and how two of them differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.sweep import Context
from lib.ledger.estimates import Estimate, crossed_interval
from lib.multitask.face_metrics import landmark_errors, majority, mean_shape
from lib.multitask.plan import TRIVIAL, VARIANTS, all_variants, face_task
from lib.multitask.profile import MultiTaskStudy
from lib.multitask.trials import faces_of, trained

ASIDE = 0.35  # of the eyes' distance
QUANTILES = {0.5: "median", 0.9: "90 %", 1.0: "worst"}


@dataclass(frozen=True)
class Predictions:
    """What all networks of a run say of one test part.

    truth: the faces. errors: variant -> (seeds, N, 5) NME in the network's frame. logits: variant
    -> (seeds, N, A). landmarks: variant -> (seeds, N, 5, 2). shape (5, 2) and majority (A,): what
    is predicted without looking.
    """

    truth: Faces
    errors: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    landmarks: dict[str, np.ndarray]
    shape: np.ndarray
    majority: np.ndarray

    def right(self, variant: str) -> np.ndarray:
        """(seeds, N): right attributes of a face, over how many are known of a face on average.

        So that their mean is the share of all known attributes that are right.
        """
        yes = self.majority[None, None] if variant == TRIVIAL else self.logits[variant] > 0
        labels = self.truth.attributes.numpy()
        known = labels != UNKNOWN
        return ((yes == (labels == 1)) & known).sum(2) / known.sum(1).mean()

    def nme(self, variant: str) -> np.ndarray:
        """(seeds, N): mean error of a face's five landmarks."""
        if variant == TRIVIAL:
            return self.shape_errors()[None].mean(2)
        return self.errors[variant].mean(2)

    def shape_errors(self) -> np.ndarray:
        """(N, 5): errors of the mean shape."""
        return frame_errors(np.broadcast_to(self.shape, self.truth.landmarks.shape), self.truth)


def predictions(sizes: MultiTaskStudy, attributes: int, part: str, context: Context) -> Predictions:
    """Collect what the trained networks of a profile say of a test part."""
    task = face_task(sizes)
    train, truth = faces_of(task, "train", context), faces_of(task, part, context)
    found: dict[str, list] = {name: [] for name in VARIANTS}
    logits: dict[str, list] = {name: [] for name in VARIANTS}
    for each in all_variants(sizes, attributes):
        kept = trained(each.trial, context)
        found[each.name].append(kept[f"{part}.landmarks"].numpy())
        logits[each.name].append(kept[f"{part}.attributes"].numpy())
    landmarks = {name: np.stack(values) for name, values in found.items()}
    errors = {name: np.stack([frame_errors(each, truth) for each in values])
              for name, values in landmarks.items()}  # fmt: skip
    return Predictions(
        truth,
        errors,
        {name: np.stack(values) for name, values in logits.items()},
        landmarks,
        *_trivial(train),
    )


def frame_errors(landmarks: np.ndarray, truth: Faces) -> np.ndarray:
    """(N, 5) NME of landmarks (N, 5, 2) in the network's frame."""
    size = truth.images.shape[-1]
    return landmark_errors(landmarks, truth.landmarks.numpy(), (size, size))


def turned(landmarks: np.ndarray) -> np.ndarray:
    """(N,) whether a face (N, 5, 2) looks aside: its nose is off the middle between the eyes.

    By more than ``ASIDE`` of the distance of the eyes, along the line through them.
    """
    left, right, nose = (
        landmarks[:, LANDMARKS.index(n)] for n in ("left eye", "right eye", "nose")
    )
    line, middle = right - left, (left + right) / 2
    along = ((nose - middle) * line).sum(1) / np.maximum((line**2).sum(1), 1e-9)
    return np.abs(along) > ASIDE


def difference(found: Predictions, first: str, second: str, what: str) -> Estimate:
    """Mean NME (``nme``) or accuracy (``right``) less another's, paired by face and seed.

    n is the number of seeds: trainings, not faces, are what the claim is about.
    """
    values = getattr(found, what)(first) - getattr(found, what)(second)
    return crossed_interval(values)


def trivial_scores(train: Faces, truth: Faces) -> dict[str, float]:
    """What no look at the images gives: NME of the mean shape, accuracy of the majority."""
    found = Predictions(truth, {}, {}, {}, *_trivial(train))
    nme, right = (float(each.mean()) for each in (found.nme(TRIVIAL), found.right(TRIVIAL)))
    return {"faces": len(truth), "nme": nme, "accuracy": right}


def _trivial(train: Faces) -> tuple[np.ndarray, np.ndarray]:
    """The mean shape (5, 2) and the majority of each attribute (A,)."""
    return mean_shape(train.landmarks.numpy()), majority(train.attributes.numpy())


def examples(found: Predictions, variant: str) -> tuple[list[int], list[str]]:
    """Faces at quantiles of a variant's error, seed 0: of all, then of those that look aside."""
    errors = found.nme(variant)[0]
    aside = turned(found.truth.landmarks.numpy())
    places, titles = [], []
    groups = {"": np.arange(len(errors)), "aside, ": np.flatnonzero(aside)}
    for name, group in groups.items():
        if not len(group):
            continue
        order = group[np.argsort(errors[group])]
        for quantile, title in QUANTILES.items():
            place = int(order[round(quantile * (len(order) - 1))])
            if place not in places:
                places.append(place)
                titles.append(f"{name}{title}")
    return places, titles
