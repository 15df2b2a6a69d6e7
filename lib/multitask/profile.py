"""Notebook 04's sizes and budgets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MultiTaskStudy:
    """Notebook 04.

    tests: test parts of the faces, the main one first. train, test: faces of each part, 0 for all.
    widths, hidden: channels of each layer, units of a head's hidden layer.
    epochs: of each of the two stages. landmark_weight: of the control in which the landmarks'
    loss counts more. probed: faces behind a similarity or a probe.
    """

    faces: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]
    widths: tuple[int, ...]
    hidden: int
    epochs: int
    lr: float
    batch: int
    seeds: int
    probed: int
    landmark_weight: float = 10.0


MULTI_TASK_STUDY = {
    "quick": MultiTaskStudy(
        faces="drawn_faces",
        size=48,
        train=1000,
        test=300,
        tests=("test",),
        widths=(8, 16, 32, 32),
        hidden=64,
        epochs=4,
        lr=0.03,
        batch=32,
        seeds=1,
        probed=300,
        landmark_weight=3.0,
    ),
    # one CPU: 64 px, narrow layers, few epochs with a high learning rate
    "medium": MultiTaskStudy(
        faces="mtfl",
        size=64,
        train=0,
        test=0,
        tests=("test", "aflw"),
        widths=(8, 16, 32, 64),
        hidden=64,
        epochs=8,
        lr=0.02,
        batch=32,
        seeds=3,
        probed=2000,
        landmark_weight=3.0,
    ),
    # the paper gives neither depth nor widths, and does not say whether 100 epochs are of one stage
    "paper": MultiTaskStudy(
        faces="celeba",
        size=128,
        train=0,
        test=0,
        tests=("test",),
        widths=(32, 64, 128, 256, 256),
        hidden=512,
        epochs=100,
        lr=1e-3,
        batch=32,
        seeds=3,
        probed=2000,
    ),
}
