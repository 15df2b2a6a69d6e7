"""Labelled images by name, to classify: drawn objects, digits, CIFAR-10, VOC, Caltech.

Drawn objects and ``digits`` need no download: the former are drawn, the latter are inside the
scikit-learn wheel.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data.catalogue import DATASETS, folder_of, locate, refuse_below
from lib.data.drawn.scenes import CATEGORIES, COLOURS, grounds, object_names, render_objects
from lib.data.images import SUFFIXES, read_square
from lib.data.segmented import load_segmented
from lib.engine.files import data_root

# Tasks on drawn objects: classes, and which of (category, colour, ground) is the label. The same
# kind of picture is asked different questions, whose answers come from different vocabularies.
DRAWN: dict[str, tuple[tuple[str, ...], int]] = {
    "scenes": (CATEGORIES["A"], 0),
    "objects": (CATEGORIES["A"], 0),
    "things": (CATEGORIES["B"], 0),
    "colours": (tuple(name for name in COLOURS if name not in ("black", "glass")), 1),
    "grounds": (grounds(), 2),
}
# of the training and the test pictures: no two tasks share a picture
_DRAWN_SEEDS = {
    "scenes": (1, 2),
    "objects": (11, 12),
    "things": (13, 14),
    "colours": (15, 16),
    "grounds": (17, 18),
}
# Caltech's sets, and their folders that are no class
CLASS_FOLDERS = {"caltech101": ("BACKGROUND_Google",), "caltech256": ()}
CLASS_FOLDERS_TEST_SHARE = 0.2
LABELLED = (*DRAWN, "digits", "cifar10", "voc2012", *CLASS_FOLDERS)
CIFAR10_CLASSES = DATASETS["cifar10"].classes
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


@dataclass(frozen=True)
class Labelled:
    """Images (N, 3, S, S) uint8 and labels (N,) int64; ``classes`` names label 0, 1, ..."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def load_labelled(
    name: str, *, size: int = 32, train: int = 0, test: int = 0, root: str | Path | None = None
) -> Labelled:
    """The first ``train`` and ``test`` images of a set, 0 for all, on the CPU.

    A set is read once a process: do not write into it.
    name: one of ``LABELLED``.
        scenes, objects: one drawn object of ten categories a picture; things: of five; colours and
        grounds: the colour of the object, and the photograph under it. Any number but "all".
        digits, cifar10: in a fixed random order in which every beginning has as many of one class
        as of another, as far as they go: the first 1,000 are the beginning of the first 5,000.
        voc2012: an image is labelled by the class with most pixels in it; train_aug.txt, val.txt.
        caltech101 (101 classes with Faces_easy, without BACKGROUND_Google) and caltech256 (257
        with clutter): every photograph, split 80 to 20 in each class. The split is a fixed random
        one; the paper states none, and 80 % of Caltech-101's 8,677 photographs is what its
        softmax scores allow. Smaller photographs are enlarged.
    size: of the images in pixels; digits and cifar10 have 32.
    Raises FileNotFoundError for files that are not there, ValueError for damaged ones and for a
    class of a single photograph (each names the path), for an unknown name and for sizes and
    numbers that a set does not have.
    """
    if name not in LABELLED:
        raise ValueError(f"name must be one of {LABELLED}, not {name!r}")
    refuse_below(1, size=size)
    refuse_below(0, train=train, test=test)
    if name in DRAWN:
        return _drawn(name, size, train, test)
    if name == "voc2012":
        return _voc(size, train, test, root)
    if name in CLASS_FOLDERS:
        if train or test:
            raise ValueError(f"{name} is taken whole, not {train} and {test} of its images")
        return _class_folders(name, size, str(data_root(root)))
    if size != 32:
        raise ValueError(f"{name} has images of 32 px, not {size}")
    whole = _digits() if name == "digits" else _cifar10(str(data_root(root)))
    for part, count, images in (
        ("training", train, whole.train_images),
        ("test", test, whole.test_images),
    ):
        if count > len(images):
            raise ValueError(f"{name} has {len(images):,} {part} images, not {count:,}")
    return Labelled(
        whole.train_images[: train or None],
        whole.train_labels[: train or None],
        whole.test_images[: test or None],
        whole.test_labels[: test or None],
        whole.classes,
    )


@cache
def _drawn(name: str, size: int, train: int, test: int) -> Labelled:
    if min(train, test) < 1:
        raise ValueError(f"{name} are drawn: say how many, not {train} and {test}")
    first, second = _DRAWN_SEEDS[name]
    parts = (*_draw(name, train, size, first), *_draw(name, test, size, second))
    return Labelled(*parts, DRAWN[name][0])


def _draw(name: str, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` pictures whose label is one of the classes."""
    classes, part = DRAWN[name]
    # every ten pictures have each of the ten categories once
    per_ten = 10 if part else sum(category in classes for category in CATEGORIES["A"])
    drawn = 10 * -(-count // per_ten)
    labels = [names[part] for names in object_names(drawn, size=size, seed=seed)]
    places = [place for place, label in enumerate(labels) if label in classes][:count]
    images, _ = render_objects(drawn, size=size, seed=seed)
    return images[places], torch.tensor([classes.index(labels[place]) for place in places])


def _voc(size: int, train: int, test: int, root: str | Path | None) -> Labelled:
    parts: list[Tensor] = []
    for split, count in (("train", train), ("test", test)):
        data = load_segmented("voc2012_aug", split, size=size, count=count, root=root)
        main = largest_class(data.labels, len(data.classes))
        seen = main > 0  # nothing but background or border may be left in the square
        parts += [data.images[seen], main[seen] - 1]
    train_images, train_labels, test_images, test_labels = parts
    return Labelled(train_images, train_labels, test_images, test_labels, data.classes[1:])


def largest_class(labels: Tensor, classes: int) -> Tensor:
    """(N,) int64: the class of most pixels of each (N, H, W) label map, 0 where there is none."""
    counts = torch.stack([(labels == label).flatten(1).sum(1) for label in range(1, classes)], 1)
    return torch.where(counts.amax(1) > 0, counts.argmax(1) + 1, 0)


@cache
def _class_folders(name: str, size: int, root: str) -> Labelled:
    folder = locate(name, root)
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    folders = [path for path in folders if path.name not in CLASS_FOLDERS[name]]
    if len(folders) < 2:
        raise ValueError(f"{folder} has {len(folders)} folders of classes: at least 2 are needed")
    train: list[tuple[Path, int]] = []
    test: list[tuple[Path, int]] = []
    for label, folder in enumerate(folders):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise ValueError(f"{folder} has {len(files)} photographs: too few to split")
        order = np.random.default_rng((0, label)).permutation(len(files))
        tests = max(1, round(CLASS_FOLDERS_TEST_SHARE * len(files)))
        test += [(files[place], label) for place in order[:tests]]
        train += [(files[place], label) for place in order[tests:]]
    # Caltech-256's folders begin with a number: "001.ak47"
    names = tuple(re.sub(r"^\d+\.", "", folder.name) for folder in folders)
    return Labelled(*_photographs(train, size), *_photographs(test, size), names)


def _photographs(entries: list[tuple[Path, int]], size: int) -> tuple[Tensor, Tensor]:
    """Images and labels of the files."""
    paths, labels = zip(*entries, strict=True)
    read = partial(read_square, size=size, channels=3, enlarge=True)
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        images = torch.from_numpy(np.stack(list(pool.map(read, paths))))
    return images.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


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
    folder, python = folder_of("cifar10", root), Path(root, "cifar-10-batches-py")
    if python.is_dir() and not folder.is_dir():
        raise FileNotFoundError(
            f"{python} is CIFAR-10's python version, which torchvision fetches; what is read here "
            f"is the binary version, in {folder}. Get it: python -m lib.data download cifar10"
        )
    *train, test = (locate("cifar10", root) / name for name in CIFAR10_MD5)
    return Labelled(*_read_cifar10(train), *_read_cifar10([test]), CIFAR10_CLASSES)


def _read_cifar10(paths: Iterable[Path]) -> tuple[Tensor, Tensor]:
    """Images and labels of official files, in a balanced order."""
    parts = []
    for path in paths:
        data = path.read_bytes()
        if len(data) != RECORDS * RECORD:
            raise ValueError(f"{path} has {len(data):,} bytes, not {RECORDS * RECORD:,}: damaged")
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if md5 != CIFAR10_MD5[path.name]:
            raise ValueError(f"{path} has md5 {md5}, not {CIFAR10_MD5[path.name]}: damaged")
        parts.append(np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD))
        if parts[-1][:, 0].max() >= len(CIFAR10_CLASSES):
            raise ValueError(f"{path} has label {parts[-1][:, 0].max()}; labels are 0 to 9")
    records = np.concatenate(parts)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    order = balanced_order(labels)
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32))[order], labels[order]


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
    names = tuple(map(str, range(10)))
    return Labelled(images[train], labels[train], images[test], labels[test], names)
