"""Classification tasks on drawn objects: the same kind of picture, asked another question.

One object on a photograph may be labelled by what it is, by its colour or by what it stands on:
sources and targets of a transfer whose class names come from different vocabularies.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lib.data.drawn.scenes import CATEGORIES, grounds, object_names, render_objects
from lib.data.drawn.shapes import COLOURS
from lib.data.labelled import Labelled

# name -> classes, and which of (category, colour, ground) is the label
DRAWN: dict[str, tuple[tuple[str, ...], int]] = {
    "objects": (CATEGORIES["A"], 0),
    "things": (CATEGORIES["B"], 0),
    "colours": (tuple(name for name in COLOURS if name not in ("black", "glass")), 1),
    "grounds": (grounds(), 2),
}
# of the training and the test pictures: no two tasks share a picture
_SEEDS = {name: (11 + 2 * place, 12 + 2 * place) for place, name in enumerate(DRAWN)}


def load_drawn(name: str, *, train: int, test: int, size: int = 32) -> Labelled:
    """``train`` and ``test`` pictures of a task of ``DRAWN``, in classes named by one word.

    objects: ten categories. things: five of them. colours, grounds: the colour of the object, and
    the photograph under it. ValueError for an unknown name or a count below 1.
    """
    if name not in DRAWN:
        raise ValueError(f"name must be one of {tuple(DRAWN)}, not {name!r}")
    if min(train, test) < 1:
        raise ValueError(f"{name} are drawn: say how many, not {train} and {test}")
    return _load(name, train, test, size)


@cache
def _load(name: str, train: int, test: int, size: int) -> Labelled:
    parts: list[Tensor] = []
    for count, seed in zip((train, test), _SEEDS[name], strict=True):
        parts += _draw(name, count, size, seed)
    return Labelled(*parts, classes=DRAWN[name][0])


def _draw(name: str, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` pictures whose label is one of the classes."""
    classes, part = DRAWN[name]
    # every ten pictures have each of the ten categories once
    per_ten = 10 if part else sum(each in classes for each in CATEGORIES["A"])
    drawn = 10 * -(-count // per_ten)
    labels = [each[part] for each in object_names(drawn, size=size, seed=seed)]
    kept = [place for place, label in enumerate(labels) if label in classes][:count]
    images, _ = render_objects(drawn, size=size, seed=seed)
    return images[kept], torch.tensor([classes.index(labels[place]) for place in kept])
