"""Sets of annotated faces by name: drawn ones, MTFL and CelebA."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lib.data.celeba import list_celeba
from lib.data.drawn.faces import draw_faces
from lib.data.face_files import read_faces
from lib.data.face_records import Faces
from lib.data.mtfl import list_mtfl
from lib.engine.files import data_root

PARTS = {
    "drawn_faces": ("train", "test"),
    "mtfl": ("train", "test", "aflw"),
    "celeba": ("train", "valid", "test"),
}
_SEEDS = {"train": 0, "test": 1}  # of the drawn ones
_LISTS = {"mtfl": list_mtfl, "celeba": list_celeba}


def load_faces(
    name: str, part: str, *, size: int, count: int = 0, root: str | Path | None = None
) -> Faces:
    """The first ``count`` faces of a part of ``PARTS``, 0 for all, as images of ``size`` px.

    drawn_faces are drawn: ``count`` must be given. Photographs are decoded once, see
    ``lib.data.shards``; one that cannot be read is left out and named in ``skipped``.
    Raises ValueError for an unknown name or part, and a count that cannot be had,
    FileNotFoundError for a missing set.
    """
    if part not in PARTS.get(name, ()):
        known = "; ".join(f"{each}: {', '.join(parts)}" for each, parts in PARTS.items())
        raise ValueError(f"no part {part!r} of faces {name!r}; there are {known}")
    if size < 1 or count < 0:
        raise ValueError(f"size must be at least 1 and count at least 0: {size}, {count}")
    return _load(name, part, size, count, str(data_root(root)))


@cache  # a sweep asks for the same set in every trial
def _load(name: str, part: str, size: int, count: int, root: str) -> Faces:
    if name in _LISTS:
        return read_faces(_LISTS[name](part, root), f"{name}_{part}", size=size, count=count)
    if not count:
        raise ValueError(f"{name} are drawn: say how many, not 0")
    return draw_faces(count, size=size, seed=_SEEDS[part])
