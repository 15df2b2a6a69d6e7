"""Sets of annotated faces by name: drawn ones, and the photographs of MTFL and CelebA.

MTFL: Zhang et al., "Facial landmark detection by deep multi-task learning", ECCV 2014. CelebA: Liu
et al., "Deep learning face attributes in the wild", ICCV 2015.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from lib.data.catalogue import locate, refuse_below
from lib.data.drawn.faces import ATTRIBUTES, face_tensors
from lib.data.images import UNREADABLE
from lib.data.shards import load_shards
from lib.engine.files import data_root

# of the picture, not of the person: the left eye is the one further left
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
UNKNOWN = -1  # of an attribute
PARTS = {
    "drawn_faces": ("train", "test"),
    "mtfl": ("train", "test", "aflw"),
    "celeba": ("train", "valid", "test"),
}
MTFL_NAMES = ("Male", "Smiling", "Eyeglasses", "Turned_Left", "Turned_Right", "Profile")
MTFL_TEST_SHARE = 0.1
MTFL_FACTOR = 2.6  # side of the square by the landmarks' extent: from the forehead to the chin
MTFL_SCALES = (0.85, 1.15)
MTFL_SHIFT = 0.12  # of the side, at most
CELEBA_ATTRIBUTES = 40
CELEBA_PARTITION = {"train": "0", "valid": "1", "test": "2"}
CELEBA_SIZE = (178, 218)  # width and height of every aligned and cropped photograph
_DRAWN_SEEDS = {"train": 0, "test": 1}
_CUT = "edge, Lanczos"  # how ``_read`` makes its pixels: another way needs other shards


@dataclass(frozen=True)
class Faces:
    """Annotated faces, all of one size.

    images: (N, 3, S, S) uint8.
    landmarks: (N, 5, 2) float32, x and y of ``LANDMARKS`` as shares of the image's width and
        height, from its upper left corner; outside 0..1 where a landmark lies outside the image.
    attributes: (N, A) int8, 1 where a face has it, 0 where it does not, ``UNKNOWN`` where nobody
        says.
    extent: (N, 2) float32, width and height of what the image shows, in pixels of its original.
    ids: file names, or the numbers of drawn faces. names: of the attributes.
    skipped: files that could not be read.
    """

    images: Tensor
    landmarks: Tensor
    attributes: Tensor
    extent: Tensor
    ids: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def load_faces(
    name: str, part: str, *, size: int, count: int = 0, root: str | Path | None = None
) -> Faces:
    """The first ``count`` faces of a part of ``PARTS``, 0 for all, as images of ``size`` px.

    drawn_faces are drawn: ``count`` must be given. Photographs are decoded once, see
    ``lib.data.shards``; one that cannot be read is left out and named in ``skipped``.
    Raises ValueError for an unknown name or part, a count that cannot be had, and files that
    contradict themselves or one another; FileNotFoundError for a missing set.
    """
    if part not in PARTS.get(name, ()):
        known = "; ".join(f"{known}: {', '.join(parts)}" for known, parts in PARTS.items())
        raise ValueError(f"no part {part!r} of faces {name!r}; there are {known}")
    refuse_below(1, size=size)
    refuse_below(0, count=count)
    return _load(name, part, size, count, str(data_root(root)))


def attribute_count(name: str) -> int:
    """How many attributes the faces of a set have, without loading it.

    Raises ValueError for a name that is not in ``PARTS``.
    """
    if name not in PARTS:
        raise ValueError(f"faces must be of {tuple(PARTS)}, not {name!r}")
    counts = {"drawn_faces": len(ATTRIBUTES), "mtfl": len(MTFL_NAMES), "celeba": CELEBA_ATTRIBUTES}
    return counts[name]


def draw_faces(count: int, *, size: int, seed: int) -> Faces:
    """``count`` drawn faces of ``size`` x ``size`` pixels, at least 24, with 19 attributes.

    A face is wholly inside its picture, but for hair and hat; an eye may be hidden behind the
    nose when the head is turned away. An attribute that a hat or baldness hides is 0. Face i
    depends on (seed, i, size) alone, so a smaller set is the start of a larger one. Kept in memory;
    each call returns its own copy.
    Raises ValueError, naming the value, for count < 1, size < 24, seed < 0.
    """
    refuse_below(1, count=count)
    refuse_below(24, size=size)
    refuse_below(0, seed=seed)
    images, landmarks, attributes = (part.clone() for part in face_tensors(count, size, seed))
    extent = torch.full((count, 2), float(size))
    return Faces(images, landmarks, attributes, extent, tuple(map(str, range(count))), ATTRIBUTES)


@cache  # a sweep asks for the same set in every trial
def _load(name: str, part: str, size: int, count: int, root: str) -> Faces:
    if name == "drawn_faces":
        if not count:
            raise ValueError(f"{name} are drawn: say how many, not 0")
        return draw_faces(count, size=size, seed=_DRAWN_SEEDS[part])
    files = _list_mtfl(part, root) if name == "mtfl" else _list_celeba(part, root)
    return _read_faces(files, f"{name}_{part}", size, count)


@dataclass(frozen=True)
class _Files:
    """One part of a set of photographs, nothing of which is decoded yet.

    folder: of the photographs. ids: their paths below it.
    boxes: (N, 4) int64, left, top, right and bottom, in pixels, of what becomes the image; where a
        box leaves its photograph, the photograph's last row or column is repeated.
    points: (N, 5, 2), the landmarks in pixels of the photograph.
    attributes, names: as of ``Faces``.
    """

    folder: Path
    ids: tuple[str, ...]
    boxes: np.ndarray
    points: np.ndarray
    attributes: np.ndarray
    names: tuple[str, ...]


def _read_faces(files: _Files, label: str, size: int, count: int) -> Faces:
    """The first ``count`` faces, 0 for all, less those whose photograph is missing or damaged.

    label: the beginning of the name of the folder of shards. The rest of that name changes with
        the files' names and sizes, with the boxes and with ``_CUT``.
    Raises ValueError for more faces than there are, and if no photograph at all can be read.
    """
    total = len(files.ids)
    if count > total:
        raise ValueError(f"{label} has {total:,} faces, not {count:,}")
    digest = hashlib.sha256(_CUT.encode() + files.boxes.tobytes())
    for name in files.ids:
        path = files.folder / name
        digest.update(f"{name} {path.stat().st_size if path.is_file() else None}\n".encode())
    key = f"{label}_{size}_{digest.hexdigest()[:12]}"
    shards = load_shards(key, partial(_read, files, size), total, size=size, count=count)
    if not len(shards.places):
        raise ValueError(f"none of the {total:,} photographs in {files.folder} can be read")
    places = shards.places.numpy()
    corners, extent = files.boxes[places, :2], (files.boxes[:, 2:] - files.boxes[:, :2])[places]
    landmarks = (files.points[places] - corners[:, None]) / extent[:, None]
    return Faces(
        shards.images,
        torch.from_numpy(landmarks.astype(np.float32)),
        torch.from_numpy(files.attributes[places]),
        torch.from_numpy(extent.astype(np.float32)),
        tuple(files.ids[place] for place in places),
        files.names,
        tuple(files.ids[place] for place in shards.skipped),
    )


def _read(files: _Files, size: int, place: int) -> np.ndarray | None:
    """The image (size, size, 3) uint8 of one face, None if its photograph cannot be read."""
    left, top, right, bottom = files.boxes[place].tolist()
    try:
        with Image.open(files.folder / files.ids[place]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (*UNREADABLE, OSError, SyntaxError, ValueError):
        return None
    rows = np.arange(top, bottom).clip(0, len(pixels) - 1)
    columns = np.arange(left, right).clip(0, pixels.shape[1] - 1)
    face = Image.fromarray(pixels[rows[:, None], columns])
    return np.asarray(face.resize((size, size), Image.Resampling.LANCZOS))


def _table(path: Path, columns: Sequence[str], head: int = 0) -> pd.DataFrame:
    """Lines of a photograph's name and its values, apart by blanks, as strings; index: the names.

    head: lines to leave out. Names may be written with Windows' slashes, as MTFL's are.
    Raises ValueError, naming the file and the photograph, for a line with more or fewer values
    than ``columns`` and for a photograph that comes twice.
    """
    try:
        table = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            names=["photograph", *columns, "beyond"],  # the last is for what should not be there
            index_col=False,
            skiprows=head,
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    names = pd.Index(table.pop("photograph").str.replace("\\", "/"))
    values = (table != "").sum(axis=1).to_numpy()
    if (wrong := values != len(columns)).any():
        raise ValueError(
            f"{path}: {names[wrong][0]} has {values[wrong][0]} values, not {len(columns)}"
        )
    if (again := names.duplicated()).any():
        raise ValueError(f"{path}: {names[again][0]} comes a second time")
    return table[list(columns)].set_index(names)


def _numbers(path: Path, table: pd.DataFrame, kind: type) -> np.ndarray:
    try:
        return table.to_numpy(object).astype(kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _list_mtfl(part: str, root: str) -> _Files:
    """``train`` and ``test`` of training.txt (LFW and web), ``aflw``: testing.txt, another domain.

    A tenth of training.txt, chosen by a hash of the file name, is ``test``. The order is one by
    such a hash too: a beginning of the list is a fair sample of its sources.

    What is cut out is a square around the centre of the landmarks' bounding box, ``MTFL_FACTOR``
    times its longer side. By itself that would give the landmarks away: the mean face would be
    nearly right everywhere. Hence the square is scaled by 0.85..1.15 and shifted by up to 12 % of
    its side, each way, both decided by a hash of the file name alone. Where it leaves the
    photograph, as it does more often in AFLW, the photograph's edge is repeated: a black one would
    be a landmark.
    """
    folder = locate("mtfl", root)
    path = folder / ("testing.txt" if part == "aflw" else "training.txt")
    axes = [f"{axis}{point}" for axis in "xy" for point in range(1, 6)]
    table = _table(path, [*axes, "gender", "smile", "glasses", "pose"])
    hashes = [hashlib.sha256(name.encode()).digest() for name in table.index]
    # five values in [0, 1) that depend on the name alone
    chances = np.frombuffer(b"".join(hashes), "<u4").reshape(-1, 8)[:, :5] / 2**32
    order = np.argsort(chances[:, 1], kind="stable")
    if part != "aflw":
        order = order[(chances[order, 0] < MTFL_TEST_SHARE) == (part == "test")]
    points, attributes = _parse_mtfl(path, table)
    return _Files(
        folder,
        tuple(table.index[order]),
        _mtfl_boxes(points[order], chances[order, 2:]),
        points[order],
        attributes[order],
        MTFL_NAMES,
    )


def _parse_mtfl(path: Path, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 5, 2) of the columns x1..x5, y1..y5, and attributes (N, 6) int8 of the codes.

    The codes are those of the set's readme, for gender, smile, glasses and pose.
    """
    points = _numbers(path, table.iloc[:, :10], float).reshape(-1, 2, 5).transpose(0, 2, 1)
    codes = _numbers(path, table.iloc[:, 10:], int)
    no_face = ~(np.isfinite(points).all((1, 2)) & (np.ptp(points, axis=1).max(1) > 1))
    unknown = ((codes < 1) | (codes > (2, 2, 2, 5))).any(1)
    for wrong, what, columns in (
        (no_face, "landmarks that are no face", slice(10)),
        (unknown, "unknown codes", slice(10, None)),
    ):
        if wrong.any():
            name, values = next(table[wrong].iterrows())
            raise ValueError(f"{path}: {name} has {what}: {' '.join(values.iloc[columns])}")
    male, smile, glasses, pose = codes.T
    yes = (male == 1, smile == 1, glasses == 1, pose < 3, pose > 3, np.isin(pose, (1, 5)))
    return points, np.stack(yes, 1).astype(np.int8)


def _mtfl_boxes(points: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """(N, 4) int64, squares around the landmarks; chances: (N, 3) for the scale and the shift."""
    low, high = points.min(1), points.max(1)
    scale = MTFL_SCALES[0] + chances[:, :1] * (MTFL_SCALES[1] - MTFL_SCALES[0])
    side = np.rint(MTFL_FACTOR * (high - low).max(1, keepdims=True) * scale)
    centre = (low + high) / 2 + MTFL_SHIFT * side * (2 * chances[:, 1:] - 1)
    corner = np.rint(centre - side / 2)
    return np.concatenate([corner, corner + side], 1).astype(np.int64)


def _list_celeba(part: str, root: str) -> _Files:
    """A part of the official partition, in the official order, of torchvision's layout.

    The whole photograph of 178 x 218 pixels becomes the square image: faces are compressed along
    their height, which ``extent`` tells. Attributes that are neither 1 nor -1 are ``UNKNOWN``,
    landmarks outside the photograph stay as they are; a warning counts both.
    """
    folder = locate("celeba", root)
    partition_path = folder / "list_eval_partition.txt"
    partition = _table(partition_path, ["part"])["part"]
    if (wrong := ~partition.isin(list(CELEBA_PARTITION.values()))).any():
        name, place = next(partition[wrong].items())
        raise ValueError(f"{partition_path}: {name} is in part {place}; parts are 0, 1 and 2")
    ids = partition.index[partition == CELEBA_PARTITION[part]]
    if not len(ids):
        raise ValueError(f"{partition_path} has no photograph of {part}")
    attributes = _celeba_table(folder / "list_attr_celeba.txt", partition.index).loc[ids]
    marks_path = folder / "list_landmarks_align_celeba.txt"
    marks = _celeba_table(marks_path, partition.index).loc[ids]
    images = folder / "img_align_celeba"
    if not images.is_dir():
        raise FileNotFoundError(f"no folder {images}; data/README.md says how to get CelebA")
    # one photograph stands for all: whoever has the wrong archive has it throughout
    with suppress(OSError), Image.open(images / ids[0]) as picture:  # if damaged, named later
        if picture.size != CELEBA_SIZE:
            raise ValueError(
                f"{images / ids[0]} is {picture.width} x {picture.height}, not 178 x 218: the "
                "aligned and cropped photographs are needed, img_align_celeba.zip"
            )
    values = attributes.to_numpy(object)
    files = _Files(
        images,
        tuple(ids),
        np.tile((0, 0, *CELEBA_SIZE), (len(ids), 1)),
        _numbers(marks_path, marks, float).reshape(-1, 5, 2),
        np.select([values == "1", values == "-1"], [1, 0], UNKNOWN).astype(np.int8),
        tuple(attributes.columns),
    )
    unknown = (files.attributes == UNKNOWN).sum()
    outside = ((files.points < 0) | (files.points > CELEBA_SIZE)).any(2).sum()
    if unknown or outside:
        warnings.warn(
            f"celeba, {part}: {unknown:,} attributes are neither 1 nor -1 and taken as unknown, "
            f"{outside:,} landmarks are outside their photograph",
            stacklevel=2,
        )
    return files


def _celeba_table(path: Path, photographs: pd.Index) -> pd.DataFrame:
    """A file of a line with the count, a line with the names of the columns, and the rows."""
    with path.open(encoding="utf-8") as file:
        count, columns = file.readline().strip(), file.readline().split()
    table = _table(path, columns, head=2)
    if count != str(len(table)):
        raise ValueError(f"{path} says {count!r} photographs, but has {len(table)}")
    if len(odd := table.index.symmetric_difference(photographs)):
        raise ValueError(
            f"{path} and list_eval_partition.txt differ in {len(odd):,} photographs, "
            f"such as {odd.min()}"
        )
    return table
