"""MTFL: photographs of LFW, the web and AFLW with five landmarks and four labels each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lib.data.catalogue import locate
from lib.data.face_files import FaceFiles

NAMES = ("Male", "Smiling", "Eyeglasses", "Turned_Left", "Turned_Right", "Profile")
TEST_SHARE = 0.1
FACTOR = 2.6  # side of the square by the landmarks' extent: from the forehead to the chin
SCALES = (0.85, 1.15)
SHIFT = 0.12  # of the side, at most


@dataclass(frozen=True)
class Line:
    """One face: points (5, 2) in pixels, and 0 or 1 for each of ``NAMES``."""

    id: str
    points: np.ndarray
    attributes: tuple[int, ...]


def list_mtfl(part: str, root: str | Path | None = None) -> FaceFiles:
    """``train`` and ``test`` of training.txt (LFW and web), ``aflw``: testing.txt, another domain.

    A tenth of training.txt, chosen by a hash of the file name, is ``test``. The order is one by
    such a hash too: a beginning of the list is a fair sample of its sources.

    What is cut out is a square around the centre of the landmarks' bounding box, ``FACTOR`` times
    its longer side. By itself that would give the landmarks away: the mean face would be nearly
    right everywhere. Hence the square is scaled by 0.85..1.15 and shifted by up to 12 % of its
    side, each way, both decided by a hash of the file name alone. Where it leaves the photograph,
    as it does more often in AFLW, the photograph's edge goes on: a black one would be a landmark.
    Raises FileNotFoundError for missing files, ValueError for a malformed line, naming it.
    """
    folder = locate("mtfl", root)
    lines = _read_lines(folder / ("testing.txt" if part == "aflw" else "training.txt"))
    if part != "aflw":
        lines = [line for line in lines if (_chances(line.id)[0] < TEST_SHARE) == (part == "test")]
    lines = sorted(lines, key=lambda line: _chances(line.id)[1])
    return FaceFiles(
        folder,
        tuple(line.id for line in lines),
        np.array([_box(line) for line in lines]),
        np.array([line.points for line in lines]),
        np.array([line.attributes for line in lines], np.int8),
        NAMES,
    )


def _box(line: Line) -> tuple[int, int, int, int]:
    low, high = line.points.min(0), line.points.max(0)
    _, _, scale, *shift = _chances(line.id)
    side = round(FACTOR * (high - low).max() * (SCALES[0] + scale * (SCALES[1] - SCALES[0])))
    centre = (low + high) / 2 + SHIFT * side * (2 * np.array(shift) - 1)
    left, top = (int(value) for value in np.rint(centre - side / 2))
    return left, top, left + side, top + side


@cache
def _chances(name: str) -> tuple[float, ...]:
    """Five values in [0, 1) that depend on the name alone."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4")
    return tuple((words[:5] / 2**32).tolist())


def _read_lines(path: Path) -> list[Line]:
    lines: dict[str, Line] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = _parse(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if line.id in lines:
            raise ValueError(f"{path}, line {number}: {line.id} comes a second time")
        lines[line.id] = line
    return list(lines.values())


def _parse(text: str) -> Line:
    """A path (with either slash), x1..x5, y1..y5 and the codes of the set's readme."""
    name, *values = text.split()
    if len(values) != 14:
        raise ValueError(f"a path and 14 numbers are needed, not {len(values)} numbers")
    points = np.array(values[:10], float).reshape(2, 5).T
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).max() > 1:
        raise ValueError(f"landmarks that are no face: {' '.join(values[:10])}")
    male, smile, glasses, pose = (int(value) for value in values[10:])
    if not {male, smile, glasses} <= {1, 2} or pose not in range(1, 6):
        raise ValueError(f"unknown codes: {' '.join(values[10:])}")
    yes = (male == 1, smile == 1, glasses == 1, pose < 3, pose > 3, pose in (1, 5))
    return Line(name.replace("\\", "/"), points, tuple(int(each) for each in yes))
