"""Labelled sets of 32 px colour images by name: CIFAR-10, handwritten digits, drawn scenes.

``digits`` and ``scenes`` need no download: the one is inside the scikit-learn wheel, the other is
drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data.catalogue import folder_of, locate
from lib.engine.files import data_root

LABELLED = ("cifar10", "digits", "scenes")
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR10_PYTHON = "cifar-10-batches-py"  # torchvision's copy, in the folder of the binary version
CIFAR10_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
RECORDS, RECORD = 10_000, 1 + 3 * 32 * 32  # records of a file; bytes of one: label, R, G, B
DIGITS_TEST = 500
SCENES_SEEDS = (1, 2)  # of the training and the test scenes


@dataclass(frozen=True)
class Labelled:
    """Images (N, 3, S, S) uint8 and labels (N,) int64; ``classes`` names label 0, 1, ..."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def load_labelled(name: str, *, train: int, test: int, root: str | Path | None = None) -> Labelled:
    """The first ``train`` and ``test`` images of a set, 0 for all, on the CPU.

    The images are in a fixed random order in which every beginning has as many of one class as of
    another, as far as they go: the first 1,000 are the beginning of the first 5,000. Scenes
    are drawn, in any number but "all". A set is read once a process: do not write into it.
    name: one of ``LABELLED``. CIFAR-10 is read from ``cifar-10-batches-bin/`` below the data
        root, else from torchvision's ``cifar-10-batches-py/``, with every file checked by md5.
    Raises FileNotFoundError for files that are not there, ValueError for damaged ones (each names
    the path), for an unknown name and for more images than there are.
    """
    if name not in LABELLED:
        raise ValueError(f"name must be one of {LABELLED}, not {name!r}")
    if min(train, test) < 0:
        raise ValueError(f"train and test must not be negative: {train}, {test}")
    if name == "scenes":
        return _scenes(train, test)
    whole = _digits() if name == "digits" else _cifar10(str(data_root(root)))
    for part, asked, images in (
        ("training", train, whole.train_images),
        ("test", test, whole.test_images),
    ):
        if asked > len(images):
            raise ValueError(f"{name} has {len(images):,} {part} images, not {asked:,}")
    return Labelled(
        whole.train_images[: train or None],
        whole.train_labels[: train or None],
        whole.test_images[: test or None],
        whole.test_labels[: test or None],
        whole.classes,
    )


def balanced_order(labels: Tensor, seed: int = 0) -> Tensor:
    """A random order, (N,) int64, in which the classes take turns until they run out."""
    rng = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=rng)
    turn = torch.empty_like(labels)
    for label in labels.unique():
        members = shuffled[labels[shuffled] == label]
        turn[members] = torch.arange(len(members))
    return (turn * (labels.max() + 1) + labels).argsort()


@cache
def _cifar10(root: str) -> Labelled:
    python = Path(root, CIFAR10_PYTHON)
    if python.is_dir() and not folder_of("cifar10", root).is_dir():
        parts = _read_python(python)
    else:
        parts = _read_binary(locate("cifar10", root))
    ordered = []
    for images, numbers in parts:
        labels = torch.from_numpy(numbers.astype(np.int64))
        order = balanced_order(labels)
        ordered += [torch.from_numpy(images)[order], labels[order]]
    return Labelled(*ordered, classes=CIFAR10_CLASSES)


def _read_binary(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(images, labels) of the training and of the test files."""
    *train, test = (_read_records(folder / name, md5) for name, md5 in CIFAR10_MD5.items())
    return [
        (records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])
        for records in (np.concatenate(train), test)
    ]


def _read_records(path: Path, md5: str) -> np.ndarray:
    """(RECORDS, RECORD) uint8 of one official file."""
    data = path.read_bytes()
    if len(data) != RECORDS * RECORD:
        raise ValueError(f"{path} has {len(data):,} bytes, not {RECORDS * RECORD:,}: damaged")
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{path} has md5 {found}, not {md5}: damaged")
    records = np.frombuffer(bytearray(data), np.uint8).reshape(RECORDS, RECORD)
    if records[:, 0].max() >= len(CIFAR10_CLASSES):
        raise ValueError(f"{path} has label {records[:, 0].max()}; labels are 0 to 9")
    return records


def _read_python(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    from torchvision.datasets import CIFAR10  # here: importing it takes a second

    try:
        sets = [CIFAR10(folder.parent, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise ValueError(f"{folder} is damaged or not complete: {error}") from error
    return [(np.moveaxis(each.data, 3, 1), np.array(each.targets)) for each in sets]


@cache
def _digits() -> Labelled:
    from sklearn.datasets import load_digits  # here: importing it takes a second

    digits = load_digits()
    grey = (digits.images * (255 / 16)).round().astype(np.uint8)  # 0 to 16, by pixel counts
    images = torch.from_numpy(grey).repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = images[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    order = balanced_order(labels)
    test, train = order[:DIGITS_TEST], order[DIGITS_TEST:]
    return Labelled(
        images[train], labels[train], images[test], labels[test], tuple(map(str, range(10)))
    )


@cache
def _scenes(train: int, test: int) -> Labelled:
    from lib.data.drawn.scenes import CATEGORIES, render_objects

    if not train or not test:
        raise ValueError(f"scenes are drawn: say how many, not {train} and {test}")
    parts: list[Tensor] = []
    for count, seed in zip((train, test), SCENES_SEEDS, strict=True):
        parts += render_objects(count, size=32, seed=seed)
    return Labelled(*parts, classes=tuple(CATEGORIES["A"]))
