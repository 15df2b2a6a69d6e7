"""CelebA: aligned photographs of celebrities with five landmarks and 40 attributes each."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data.catalogue import locate
from lib.data.face_files import FaceFiles
from lib.data.face_records import UNKNOWN

PARTITION = {"train": "0", "valid": "1", "test": "2"}
WIDTH, HEIGHT = 178, 218  # of every aligned and cropped photograph
_VALUES = {"1": 1, "-1": 0}
Table = dict[str, list[str]]  # values by photograph


def list_celeba(part: str, root: str | Path | None = None) -> FaceFiles:
    """A part of the official partition, in the official order, of torchvision's layout.

    The whole photograph of 178 x 218 pixels becomes the square image: faces are compressed along
    their height, which ``extent`` tells. Attributes that are neither 1 nor -1 are ``UNKNOWN``,
    landmarks outside the photograph are kept as they are; a warning counts both.
    Raises FileNotFoundError for missing files, ValueError for files that contradict themselves or
    one another, and for photographs that are not the aligned ones.
    """
    folder = locate("celeba", root)
    partition = _partition(folder / "list_eval_partition.txt")
    names, attributes = _table(folder / "list_attr_celeba.txt", partition)
    _, landmarks = _table(folder / "list_landmarks_align_celeba.txt", partition)
    ids = tuple(name for name, place in partition.items() if place == PARTITION[part])
    if not ids:
        raise ValueError(f"{folder / 'list_eval_partition.txt'} has no photograph of {part}")
    _check_aligned(folder / "img_align_celeba", ids[0])
    files = FaceFiles(
        folder / "img_align_celeba",
        ids,
        np.tile((0, 0, WIDTH, HEIGHT), (len(ids), 1)),
        _points(folder / "list_landmarks_align_celeba.txt", [landmarks[name] for name in ids]),
        np.array([[_VALUES.get(v, UNKNOWN) for v in attributes[name]] for name in ids], np.int8),
        tuple(names),
    )
    _warn_of_odd_values(files, f"celeba, {part}")
    return files


def _partition(path: Path) -> dict[str, str]:
    """Part by photograph, in the order of the file."""
    rows = _by_photograph(path, path.read_text(encoding="utf-8").splitlines(), first=1, columns=1)
    for name, (place,) in rows.items():
        if place not in PARTITION.values():
            raise ValueError(f"{path}: {name} is in part {place}; parts are 0, 1 and 2")
    return {name: place for name, (place,) in rows.items()}


def _table(path: Path, partition: dict[str, str]) -> tuple[list[str], Table]:
    """Names of the columns and their values: a line with the count, the names, the photographs."""
    count, names, *lines = [*path.read_text(encoding="utf-8").splitlines(), "", ""]
    columns = names.split()
    rows = _by_photograph(path, lines, first=3, columns=len(columns))
    if count.strip() != str(len(rows)):
        raise ValueError(f"{path} says {count.strip()!r} photographs, but has {len(rows)}")
    if odd := rows.keys() ^ partition.keys():
        raise ValueError(
            f"{path} and list_eval_partition.txt differ in {len(odd):,} photographs, "
            f"such as {min(odd)}"
        )
    return columns, rows


def _by_photograph(path: Path, lines: list[str], first: int, columns: int) -> Table:
    rows: Table = {}
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        name, *values = line.split()
        if len(values) != columns:
            raise ValueError(f"{path}, line {number}: {len(values)} values, not {columns}")
        if name in rows:
            raise ValueError(f"{path}, line {number}: {name} comes a second time")
        rows[name] = values
    return rows


def _points(path: Path, rows: list[list[str]]) -> np.ndarray:
    try:
        return np.array(rows, float).reshape(-1, 5, 2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_aligned(folder: Path, name: str) -> None:
    """One photograph stands for all: whoever has the wrong archive has it throughout."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; data/README.md says how to get CelebA")
    with suppress(OSError), Image.open(folder / name) as picture:  # if damaged, named later
        if picture.size != (WIDTH, HEIGHT):
            raise ValueError(
                f"{folder / name} is {picture.width} x {picture.height}, not {WIDTH} x {HEIGHT}: "
                "the aligned and cropped photographs are needed, img_align_celeba.zip"
            )


def _warn_of_odd_values(files: FaceFiles, what: str) -> None:
    unknown = (files.attributes == UNKNOWN).sum()
    outside = ((files.points < 0) | (files.points > (WIDTH, HEIGHT))).any(2).sum()
    if unknown or outside:
        warnings.warn(
            f"{what}: {unknown:,} attributes are neither 1 nor -1 and taken as unknown, "
            f"{outside:,} landmarks are outside their photograph",
            stacklevel=2,
        )
