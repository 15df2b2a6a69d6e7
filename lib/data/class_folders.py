"""Photographs in one folder a class: Caltech-101, Caltech-256."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from lib.data.catalogue import locate
from lib.data.images import SUFFIXES, read_square
from lib.data.labelled import Labelled
from lib.engine.files import data_root

# name -> folders that are no class of it
CLASS_FOLDERS = {"caltech101": ("BACKGROUND_Google",), "caltech256": ()}
TEST_SHARE = 0.2


def load_class_folders(name: str, *, size: int, root: str | Path | None = None) -> Labelled:
    """Every photograph as its centre square of ``size`` px, split 80 to 20 in each class.

    The split is a fixed random one; the paper states none, and 80 % of Caltech-101's 8,677
    photographs is what its softmax scores allow. Classes with a single photograph are refused.
    Smaller photographs are enlarged. Caltech-101 has its 101 classes (with Faces_easy, without
    BACKGROUND_Google), Caltech-256 its 257 (with clutter).
    Raises FileNotFoundError for a missing set, ValueError for an unknown name, an unreadable
    photograph (naming its path) and a class with fewer than two.
    """
    if name not in CLASS_FOLDERS:
        raise ValueError(f"name must be one of {tuple(CLASS_FOLDERS)}, not {name!r}")
    return _load(name, size, str(data_root(root)))


@cache
def _load(name: str, size: int, root: str) -> Labelled:
    folders = _class_folders(name, root)
    parts: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for label, folder in enumerate(folders):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise ValueError(f"{folder} has {len(files)} photographs: too few to split")
        order = np.random.default_rng((0, label)).permutation(len(files))
        test = max(1, round(TEST_SHARE * len(files)))
        for part, places in (("test", order[:test]), ("train", order[test:])):
            parts[part] += [(files[place], label) for place in places]
    read = partial(read_square, size=size, channels=3, enlarge=True)
    tensors = []
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        for part in ("train", "test"):
            paths, labels = zip(*parts[part], strict=True)
            images = torch.from_numpy(np.stack(list(pool.map(read, paths))))
            tensors += [images.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)]
    names = tuple(_class_name(folder.name) for folder in folders)
    return Labelled(*tensors, classes=names)


def _class_folders(name: str, root: str) -> list[Path]:
    folder = locate(name, root)
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [path for path in found if path.name not in CLASS_FOLDERS[name]]
    if len(found) < 2:
        raise ValueError(f"{folder} has {len(found)} folders of classes: at least 2 are needed")
    return found


def _class_name(folder: str) -> str:
    """Caltech-256's folders begin with a number: "001.ak47"."""
    return re.sub(r"^\d+\.", "", folder)
