"""Labelled images by name, to classify: drawn objects, digits, CIFAR-10, VOC, Caltech.

Drawn objects and ``digits`` need no download: the former are drawn, the latter are inside the
scikit-learn wheel.
"""

import hashlib
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

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


def _labelled(tensors: list[Tensor], classes: tuple[str, ...]) -> Labelled:
    train_images, train_labels, test_images, test_labels = tensors
    return Labelled(train_images, train_labels, test_images, test_labels, classes)


def load_labelled(
    name: str, *, size: int = 32, train: int = 0, test: int = 0, root: str | Path | None = None
) -> Labelled:
    """The first ``train`` and ``test`` images of a set, 0 for all, on the CPU.

    A set is read once a process: do not write into it.
    name: one of ``LABELLED``, or any folder below the data root that has a folder of pictures for
        each class, of which a quarter is for testing.
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
    listed = base in ("voc2012", *CLASS_FOLDERS)
    if not listed and base in (*LABELLED, *DATASETS) and name not in LABELLED:
        raise ValueError(f"name must be one of {LABELLED} or a folder of classes, not {name!r}")
    refuse_below(1, size=size)
    refuse_below(0, train=train, test=test)
    if name in DRAWN:
        return _drawn(name, size, train, test)
    if base == "voc2012":
        return _voc(name.replace("voc2012", "voc2012_aug"), size, train, test, root)
    if name not in LABELLED or base in CLASS_FOLDERS:
        if train or test:
            raise ValueError(f"{name} is taken whole, not {train} and {test} of its images")
        return _class_folders(name, size, str(data_root(root)))
    if size != 32:
        raise ValueError(f"{name} has images of 32 px, not {size}")
    whole = _digits() if name == "digits" else _cifar10(str(data_root(root)))
    tensors = []
    for part, count in (("train", train), ("test", test)):
        images, labels = (getattr(whole, f"{part}_{what}") for what in ("images", "labels"))
        if count > len(images):
            raise ValueError(f"{name} has {len(images):,} {part} images, not {count:,}")
        tensors += [images[: count or None], labels[: count or None]]
    return _labelled(tensors, whole.classes)


@cache
def _drawn(name: str, size: int, train: int, test: int) -> Labelled:
    if min(train, test) < 1:
        raise ValueError(f"{name} are drawn: say how many, not {train} and {test}")
    classes, part, seeds = DRAWN[name]
    # every ten pictures have each of the ten categories once
    per_ten = 10 if part else sum(category in classes for category in CATEGORIES["A"])
    tensors: list[Tensor] = []
    for count, seed in zip((train, test), seeds, strict=True):
        pictures = render_objects(10 * -(-count // per_ten), size=size, seed=seed)
        labels = [words.split()[part] for words in pictures.captions]
        places = [place for place, label in enumerate(labels) if label in classes][:count]
        numbers = torch.tensor([classes.index(labels[place]) for place in places])
        tensors += [pictures.images[places], numbers]
    return _labelled(tensors, classes)


def _voc(name: str, size: int, train: int, test: int, root: str | Path | None) -> Labelled:
    tensors: list[Tensor] = []
    for split, count in (("train", train), ("test", test)):
        data = load_segmented(name, split, size=size, count=count, root=root)
        main = largest_class(data.labels, len(data.classes))
        seen = main > 0  # nothing but background or border may be left in the square
        tensors += [data.images[seen], main[seen] - 1]
    return _labelled(tensors, data.classes[1:])


def largest_class(labels: Tensor, classes: int) -> Tensor:
    """(N,) int64: the class of most pixels of each (N, H, W) label map, 0 where there is none."""
    counts = torch.stack([(labels == label).flatten(1).sum(1) for label in range(1, classes)], 1)
    return torch.where(counts.amax(1) > 0, counts.argmax(1) + 1, 0)


@cache
def _class_folders(name: str, size: int, root: str) -> Labelled:
    whole = {"caltech101": 102, "caltech256": 257}  # classes; any other name is a path
    images, _, target = name.partition("/")
    base = images.partition("@")[0]
    if base not in whole:
        base, images, target = name, name, ""
    path = locate(base, root)
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not is_rubbish(each.name))
    if not folders:
        raise FileNotFoundError(f"no folder of a class in {path}")
    there = [f"{each.name}/{file.name}" for each in folders for file in pictures_in(each)]
    if base in whole and "@" in images:
        train, test = (listed_ids(images, part, there, path) for part in ("train", "test"))
    else:
        train, test = _split(there, path)
        if len(set(map(_class_of, there))) < whole.get(base, 0):
            told = f"{path} has {len(set(map(_class_of, there)))} of {whole[base]} classes"
            warnings.warn(f"{told}: it is not the whole set", stacklevel=2)
    classes = sorted({_class_of(id) for id in train + test})
    if target:
        classes = listed_ids(base, target, classes, path)
        train, test = ([id for id in ids if _class_of(id) in classes] for ids in (train, test))
    read = partial(read_square, size=size, channels=3, enlarge=True)
    tensors: list[Tensor] = []
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        for ids in (train, test):
            squares = np.stack(list(pool.map(read, [path / id for id in ids])))
            tensors.append(torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous())
            tensors.append(torch.tensor([classes.index(_class_of(id)) for id in ids]))
    # Caltech-256's folders begin with a number: "001.ak47"
    return _labelled(tensors, tuple(re.sub(r"^\d+\.", "", each) for each in classes))


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
    """The official files, training and test images each in a balanced order."""
    folder, records = locate("cifar10", root), []
    for name, md5 in CIFAR10_MD5.items():
        data = np.fromfile(folder / name, np.uint8)
        found = hashlib.md5(data.data, usedforsecurity=False).hexdigest()
        if found != md5:
            raise ValueError(f"{folder / name} has md5 {found}, not {md5}: damaged")
        records.append(data.reshape(-1, RECORD))
    tensors: list[Tensor] = []
    for part in (np.concatenate(records[:-1]), records[-1]):
        labels = torch.from_numpy(part[:, 0].astype(np.int64))
        order = balanced_order(labels)
        tensors += [torch.from_numpy(part[:, 1:].reshape(-1, 3, 32, 32))[order], labels[order]]
    return _labelled(tensors, CIFAR10_CLASSES)


@cache
def _digits() -> Labelled:
    from sklearn.datasets import load_digits  # here: importing it takes a second

    digits = load_digits()
    grey = (digits.images * (255 / 16)).round().astype(np.uint8)  # 0 to 16, by pixel counts
    images = torch.from_numpy(grey.repeat(4, 1).repeat(4, 2))[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    order = balanced_order(labels)
    test, train = order[:DIGITS_TEST], order[DIGITS_TEST:]
    parts = [images[train], labels[train], images[test], labels[test]]
    return _labelled(parts, tuple(map(str, range(10))))
