"""Labelled images by name, to classify: drawn objects, digits, CIFAR-10, VOC, Caltech.

Drawn objects and ``digits`` need no download: the former are drawn, the latter are inside the
scikit-learn wheel.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.data.catalogue import DATASETS, listed_ids, locate, refuse_below
from lib.data.drawn.scenes import CATEGORIES, COLOURS, GROUNDS, render_objects
from lib.data.images import pictures_in, read_square
from lib.data.segmented import load_segmented
from lib.engine.files import data_root, is_rubbish

# Tasks on drawn objects: classes, which of (category, colour, ground) is the label, and the seeds
# of training and test pictures: no two tasks share a picture. The same kind of picture is
# asked different questions, whose answers come from different vocabularies.
DRAWN: dict[str, tuple[tuple[str, ...], int, tuple[int, int]]] = {
    "scenes": (CATEGORIES["A"], 0, (1, 2)),
    "objects": (CATEGORIES["A"], 0, (11, 12)),
    "things": (CATEGORIES["B"], 0, (13, 14)),
    "colours": (tuple(name for name in COLOURS if name not in ("black", "glass")), 1, (15, 16)),
    "grounds": (GROUNDS, 2, (17, 18)),
}
CLASS_FOLDERS = ("caltech101", "caltech256")
LABELLED = (*DRAWN, "digits", "cifar10", "voc2012", *CLASS_FOLDERS)
CIFAR10_CLASSES = DATASETS["cifar10"].classes
CIFAR10_MD5 = dict(zip(DATASETS["cifar10"].files, DATASETS["cifar10"].checksums, strict=True))
RECORD = 1 + 3 * 32 * 32  # bytes of an image: label, R, G, B
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
        caltech101 (102 classes, BACKGROUND_Google is one) and caltech256 (257 with clutter): every
        photograph. A quarter of each class, rounded down, is for testing, as in Ueno et al., whose
        accuracies are counts of 2,241 images; which ones is drawn once and stays so. Smaller
        photographs are enlarged.
        Behind "@" of voc2012 and Caltech's sets stands a list of ids: caltech101@medium has the
        photographs, such as ant/image_0001.jpg, that ``data/splits/caltech101@medium.PART.txt``
        lists for the parts train and test, in its order; its classes are those of the lists.
        voc2012@medium has those of the lists voc2012_aug@medium. Behind "/" stands a list of
        classes: caltech101@medium/target1 has those of ``data/splits/caltech101.target1.txt``, the
        first of five targets of 20 classes that share none.
    size: of the images in pixels; digits and cifar10 have 32.
    Raises FileNotFoundError for files that are not there, ValueError for damaged ones (each names
    the path) and for what a set does not have.
    """
    base = re.split("[@/]", name)[0]
    if name not in LABELLED and base not in ("voc2012", *CLASS_FOLDERS):
        raise ValueError(f"name must be one of {LABELLED}, not {name!r}")
    refuse_below(1, size=size)
    refuse_below(0, train=train, test=test)
    if name in DRAWN:
        return _drawn(name, size, train, test)
    if base == "voc2012":
        return _voc(name.replace("voc2012", "voc2012_aug"), size, train, test, root)
    if base in CLASS_FOLDERS:
        if train or test:
            raise ValueError(f"{name} is taken whole, not {train} and {test} of its images")
        return _class_folders(name, size, str(data_root(root)))
    if size != 32:
        raise ValueError(f"{name} has images of 32 px, not {size}")
    whole = _digits() if name == "digits" else _cifar10(str(data_root(root)))
    parts: dict[str, Any] = {}
    for part, count in (("train", train), ("test", test)):
        images, labels = (getattr(whole, f"{part}_{what}") for what in ("images", "labels"))
        if count > len(images):
            raise ValueError(f"{name} has {len(images):,} {part} images, not {count:,}")
        parts |= {
            f"{part}_images": images[: count or None],
            f"{part}_labels": labels[: count or None],
        }
    return replace(whole, **parts)


@cache
def _drawn(name: str, size: int, train: int, test: int) -> Labelled:
    if min(train, test) < 1:
        raise ValueError(f"{name} are drawn: say how many, not {train} and {test}")
    classes, _, (first, second) = DRAWN[name]
    return Labelled(*_draw(name, train, size, first), *_draw(name, test, size, second), classes)


def _draw(name: str, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` pictures whose label is one of the classes."""
    classes, part, _ = DRAWN[name]
    # every ten pictures have each of the ten categories once
    per_ten = 10 if part else sum(category in classes for category in CATEGORIES["A"])
    drawn = 10 * -(-count // per_ten)
    pictures = render_objects(drawn, size=size, seed=seed)
    labels = [words.split()[part] for words in pictures.captions]
    places = [place for place, label in enumerate(labels) if label in classes][:count]
    return pictures.images[places], torch.tensor([classes.index(labels[place]) for place in places])


def _voc(name: str, size: int, train: int, test: int, root: str | Path | None) -> Labelled:
    parts: list[Tensor] = []
    for split, count in (("train", train), ("test", test)):
        data = load_segmented(name, split, size=size, count=count, root=root)
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
    images, _, target = name.partition("/")
    base = images.partition("@")[0]
    path = locate(base, root)
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not is_rubbish(each.name))
    if not folders:
        raise FileNotFoundError(f"no folder of a class in {path}")
    there = [f"{each.name}/{file.name}" for each in folders for file in pictures_in(each)]
    if "@" in images:
        train, test = (listed_ids(images, part, there, path) for part in ("train", "test"))
    else:
        train, test = _split(there, path)
        whole = {"caltech101": 102, "caltech256": 257}[base]
        if len(set(map(_class_of, there))) < whole:
            told = f"{path} has {len(set(map(_class_of, there)))} of {whole} classes"
            warnings.warn(f"{told}: it is not the whole set", stacklevel=2)
    classes = sorted({_class_of(id) for id in train + test})
    if target:
        classes = listed_ids(base, target, classes, path)
        train, test = ([id for id in ids if _class_of(id) in classes] for ids in (train, test))
    train_images, test_images = (_photographs(path, ids, size) for ids in (train, test))
    train_labels, test_labels = (
        torch.tensor([classes.index(_class_of(id)) for id in ids]) for ids in (train, test)
    )
    # Caltech-256's folders begin with a number: "001.ak47"
    names = tuple(re.sub(r"^\d+\.", "", each) for each in classes)
    return Labelled(train_images, train_labels, test_images, test_labels, names)


def _photographs(folder: Path, ids: list[str], size: int) -> Tensor:
    """Centre squares (N, 3, size, size) of the files of a folder."""
    read = partial(read_square, size=size, channels=3, enlarge=True)
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        images = np.stack(list(pool.map(read, [folder / id for id in ids])))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _class_of(id: str) -> str:
    return id.partition("/")[0]


def _split(ids: list[str], path: Path) -> tuple[list[str], list[str]]:
    """Training and test photographs: of each class a quarter, rounded down, but one at least."""
    train: list[str] = []
    test: list[str] = []
    for label, name in enumerate(sorted({_class_of(id) for id in ids})):
        files = [id for id in ids if _class_of(id) == name]
        if len(files) < 2:
            raise ValueError(f"{path / files[0]} is the only photograph: too few to split")
        order = np.random.default_rng((0, label)).permutation(len(files))
        tests = max(1, len(files) // 4)
        test += [files[place] for place in order[:tests]]
        train += [files[place] for place in order[tests:]]
    return train, test


def balanced_order(labels: Tensor, seed: int = 0) -> Tensor:
    """A random order, (N,) int64, in which the classes take turns until they run out."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    mixed = labels[shuffled].numpy()
    turn = pd.Series(mixed).groupby(mixed).cumcount()
    return shuffled[np.lexsort((mixed, turn))]


@cache
def _cifar10(root: str) -> Labelled:
    *train, test = (locate("cifar10", root) / name for name in CIFAR10_MD5)
    return Labelled(*_read_cifar10(train), *_read_cifar10([test]), CIFAR10_CLASSES)


def _read_cifar10(paths: Iterable[Path]) -> tuple[Tensor, Tensor]:
    """Images and labels of official files, in a balanced order."""
    parts = []
    for path in paths:
        data = path.read_bytes()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if md5 != CIFAR10_MD5[path.name]:
            raise ValueError(f"{path} has md5 {md5}, not {CIFAR10_MD5[path.name]}: damaged")
        parts.append(np.frombuffer(data, np.uint8).reshape(-1, RECORD))
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
