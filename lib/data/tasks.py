"""Classification tasks by name, for transfer from one to another."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lib.data.class_folders import CLASS_FOLDERS, load_class_folders
from lib.data.drawn.tasks import DRAWN, load_drawn
from lib.data.labelled import Labelled, load_labelled
from lib.data.segmented import load_segmented

TASKS = (*DRAWN, "digits", "cifar10", "voc2012", *CLASS_FOLDERS)


def load_task(
    name: str, *, size: int, train: int = 0, test: int = 0, root: str | Path | None = None
) -> Labelled:
    """Images and labels of a task of ``TASKS``, the first ``train`` and ``test``, 0 for all.

    size: of the images in pixels; digits and cifar10 have 32. voc2012: an image is labelled by the
    class with most pixels in it; train_aug.txt and val.txt. Caltech's are taken whole.
    Raises ValueError for an unknown name and for what a task does not have, FileNotFoundError for
    missing files.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {TASKS}, not {name!r}")
    if name in DRAWN:
        return load_drawn(name, train=train, test=test, size=size)
    if name == "voc2012":
        return _voc(size, train, test, root)
    if name in CLASS_FOLDERS:
        if train or test:
            raise ValueError(f"{name} is taken whole, not {train} and {test} of its images")
        return load_class_folders(name, size=size, root=root)
    if size != 32:
        raise ValueError(f"{name} has images of 32 px, not {size}")
    return load_labelled(name, train=train, test=test, root=root)


def _voc(size: int, train: int, test: int, root: str | Path | None) -> Labelled:
    parts: list[Tensor] = []
    for split, count in (("train", train), ("test", test)):
        found = load_segmented("voc2012_aug", split, size=size, count=count, root=root)
        main = largest_class(found.labels, len(found.classes))
        seen = main > 0  # nothing but background or border may be left in the square
        parts += [found.images[seen], main[seen] - 1]
    return Labelled(*parts, classes=found.classes[1:])


def largest_class(labels: Tensor, classes: int) -> Tensor:
    """(N,) int64: the class of most pixels of each (N, H, W) label map, 0 where there is none."""
    counts = torch.stack([(labels == each).flatten(1).sum(1) for each in range(1, classes)], 1)
    return torch.where(counts.amax(1) > 0, counts.argmax(1) + 1, 0)
