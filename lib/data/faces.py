"""Sets of annotated faces by name: drawn ones, and the photographs of MTFL and CelebA.

MTFL: Zhang et al., "Facial landmark detection by deep multi-task learning", ECCV 2014. CelebA: Liu
et al., "Deep learning face attributes in the wild", ICCV 2015.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.data.catalogue import apart, listed_ids, locate, refuse_below
from lib.data.drawn.faces import ATTRIBUTES, draw_face
from lib.data.images import open_picture, picture_shape
from lib.data.shards import load_shards
from lib.engine.files import data_root, read_text

# of the picture, not of the person: the left eye is the one further left
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
UNKNOWN = -1  # of an attribute
PARTS = {
    "drawn_faces": ("train", "test"),
    "mtfl": ("train", "test", "aflw"),
    "celeba": ("train", "valid", "test"),
}
MTFL_NAMES = ("Male", "Smiling", "Eyeglasses", "Turned_Left", "Turned_Right", "Profile")
COUNTS = {"drawn_faces": len(ATTRIBUTES), "mtfl": len(MTFL_NAMES), "celeba": 40}  # of attributes
FOLDS = 10  # a tenth of MTFL's training.txt is its ``test``; which one can be chosen
MTFL_FACTOR = 2.6  # side of the square by the landmarks' extent: from the forehead to the chin
MTFL_SCALES = (0.85, 1.15)
MTFL_SHIFT = 0.12  # of the side, at most
BOX_LIMIT = 4  # times the photograph's longer side: a larger box has a landmark far outside
CELEBA_SIZE = (178, 218)  # width and height of every aligned and cropped photograph
_DRAWN_SEEDS = {"train": 0, "test": 1}
_CUT = "upright, edge, Lanczos"  # how ``_read`` makes its pixels: another way needs other shards


@dataclass(frozen=True)
class Faces:
    """Annotated faces, all of one size.

    images: (N, 3, S, S) uint8.
    landmarks: (N, P, 2) float32, x and y of ``points`` as shares of the image's width and height,
        from its upper left corner; outside 0..1 where a landmark lies outside the image.
    attributes: (N, A) int8, 1 where a face has it, 0 where it does not, ``UNKNOWN`` where nobody
        says.
    extent: (N, 2) float32, width and height of what the image shows, in pixels of its original.
    ids: file names, or the numbers of drawn faces. names: of the attributes.
    skipped: files that could not be read, or have a landmark far outside. points: names of the
        landmarks.
    """

    images: Tensor
    landmarks: Tensor
    attributes: Tensor
    extent: Tensor
    ids: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    points: tuple[str, ...] = LANDMARKS

    def __len__(self) -> int:
        return len(self.images)


def load_faces(
    name: str,
    part: str,
    *,
    size: int,
    count: int = 0,
    fold: int = 0,
    root: str | Path | None = None,
) -> Faces:
    """The first ``count`` faces of a part of ``PARTS``, 0 for all, as images of ``size`` px.

    name: of ``PARTS``. Behind "@" of a set of photographs stands a list of ids: mtfl@medium has
        those that ``data/splits/mtfl@medium.PART.txt`` lists, in its order.
    fold: which tenth of MTFL's ``train`` and ``test`` together is the ``test``, 0 to 9. The tests
        of all folds are all of these faces, each once; ``aflw`` is always the same.
    drawn_faces are drawn: ``count`` must be given. A photograph that cannot be read is left out
    and named in ``skipped``, and so is one with a landmark far outside.
    Raises ValueError for what cannot be had, and for files that contradict themselves or are not
    the published ones; FileNotFoundError for a missing set.
    """
    base = _set_of(name)
    if part not in PARTS[base]:
        raise ValueError(f"{name} has the parts {', '.join(PARTS[base])}, not {part!r}")
    refuse_below(1, size=size)
    refuse_below(0, count=count, fold=fold)
    if fold >= (FOLDS if base == "mtfl" else 1):
        raise ValueError(f"{name} has no fold {fold}")
    if fold and part in ("train", "test"):
        return _load_fold(name, part, size, count, fold, str(data_root(root)))
    return _load(name, part, size, count, str(data_root(root)))


def attribute_count(name: str) -> int:
    """How many attributes the faces of a set have, without loading it."""
    return COUNTS[_set_of(name)]


def _set_of(name: str) -> str:
    """The key of ``PARTS`` that a name means, without its list."""
    base = name.partition("@")[0]
    if base not in PARTS or name.startswith("drawn_faces@"):
        raise ValueError(f"faces must be of {tuple(PARTS)}, not {name!r}")
    return base


def draw_faces(count: int, *, size: int, seed: int) -> Faces:
    """``count`` drawn faces of ``size`` x ``size`` pixels, at least 24, with 19 attributes.

    A face is wholly inside its picture, but for hair and hat; an eye may be hidden behind the
    nose when the head is turned away. An attribute that a hat or baldness hides is 0. Face i
    depends on (seed, i, size) alone, so a smaller set is the start of a larger one.
    Raises ValueError, naming the value, for one that is too small.
    """
    refuse_below(1, count=count)
    refuse_below(24, size=size)
    refuse_below(0, seed=seed)
    drawn = [draw_face(np.random.default_rng((seed, index)), size) for index in range(count)]
    images, landmarks, attributes = (
        torch.from_numpy(np.stack(values)) for values in zip(*drawn, strict=True)
    )
    extent = torch.full((count, 2), float(size))
    return Faces(images, landmarks, attributes, extent, tuple(map(str, range(count))), ATTRIBUTES)


@cache  # a sweep asks for the same set in every trial
def _load(name: str, part: str, size: int, count: int, root: str) -> Faces:
    if name == "drawn_faces":
        if not count:
            raise ValueError(f"{name} are drawn: say how many, not 0")
        return draw_faces(count, size=size, seed=_DRAWN_SEEDS[part])
    files = (_list_mtfl if name.startswith("mtfl") else _list_celeba)(part, root)
    if "@" in name:
        place = {photograph: number for number, photograph in enumerate(files.ids)}
        files = files.at([place[id] for id in listed_ids(name, part, place, files.folder)])
    return _read_faces(files, f"{name}_{part}", size, count)


@lru_cache(maxsize=4)  # of two folds: a run comes from one to the next
def _load_fold(name: str, part: str, size: int, count: int, fold: int, root: str) -> Faces:
    both = [_load(name, each, size, 0, root) for each in ("train", "test")]
    ids = both[0].ids + both[1].ids
    places = np.flatnonzero((_tenth(_chances(ids)) == fold) == (part == "test"))
    if count > len(places):
        raise ValueError(f"{name}_{part} has {len(places):,} faces in fold {fold}, not {count:,}")
    places = places[: count or None]
    images, landmarks, attributes, extent = (
        torch.cat([getattr(faces, field) for faces in both])[places]
        for field in ("images", "landmarks", "attributes", "extent")
    )
    chosen, skipped = tuple(ids[place] for place in places), both[0].skipped + both[1].skipped
    return Faces(images, landmarks, attributes, extent, chosen, both[0].names, skipped)


@dataclass(frozen=True)
class _Files:
    """Photographs of a part of a set, nothing of which is decoded yet.

    ids: paths below the folder. boxes: (N, 4) int64, left, top, right and bottom, in pixels, of
    what becomes the image; where a box leaves its photograph, the photograph's last row or column
    is repeated. points: (N, 5, 2), the landmarks in pixels of the photograph. attributes: (N, A)
    int8, and their names.
    """

    folder: Path
    ids: tuple[str, ...]
    boxes: np.ndarray
    points: np.ndarray
    attributes: np.ndarray
    names: tuple[str, ...]

    def at(self, places: Sequence[int] | np.ndarray) -> _Files:
        """The photographs at these places, in their order."""
        arrays = {name: getattr(self, name)[places] for name in ("boxes", "points", "attributes")}
        return replace(self, ids=tuple(self.ids[place] for place in places), **arrays)


def _read_faces(files: _Files, label: str, size: int, count: int) -> Faces:
    """The first ``count`` faces, 0 for all, less those whose photograph is missing or damaged.

    The name of the shards is the label, and a hash of the files' names and sizes, boxes and cut.
    """
    total = len(files.ids)
    if count > total:
        raise ValueError(f"{label} has {total:,} faces, not {count:,}")
    digest = hashlib.sha256(_CUT.encode() + files.boxes.tobytes())
    for name in files.ids:
        path = files.folder / name
        digest.update(f"{name} {path.stat().st_size if path.is_file() else None}\n".encode())
    key = f"{label}_{size}_{digest.hexdigest()[:12]}"
    images, places = load_shards(key, partial(_read, files, size), total, size=size, count=count)
    if not len(places):
        raise ValueError(f"none of the {total:,} photographs in {files.folder} can be read")
    skipped = tuple(np.delete(files.ids[: count or total], places).tolist())
    files = files.at(places)
    extent = files.boxes[:, 2:] - files.boxes[:, :2]
    landmarks = (files.points - files.boxes[:, None, :2]) / extent[:, None]
    return Faces(
        images,
        torch.from_numpy(landmarks.astype(np.float32)),
        torch.from_numpy(files.attributes),
        torch.from_numpy(extent.astype(np.float32)),
        files.ids,
        files.names,
        skipped,
    )


def _read(files: _Files, size: int, place: int) -> np.ndarray | None:
    """The image (size, size, 3) uint8 of one face; None if its photograph cannot be read, or if
    its box is many times as large: a landmark has lost its decimal point.
    """
    left, top, right, bottom = box = files.boxes[place].tolist()
    try:
        pixels = np.asarray(open_picture(files.folder / files.ids[place]))
    except (OSError, ValueError):
        return None
    too_large = max(right - left, bottom - top) > BOX_LIMIT * max(pixels.shape)
    return None if too_large else cut_out(pixels, box, size)


def cut_out(pixels: np.ndarray, box: Sequence[int], size: int) -> np.ndarray:
    """What a box shows of (H, W, 3) uint8, as (size, size, 3); outside it the edge is repeated.

    box: left, top, right and bottom.
    """
    rows = np.arange(box[1], box[3]).clip(0, len(pixels) - 1)
    columns = np.arange(box[0], box[2]).clip(0, pixels.shape[1] - 1)
    face = Image.fromarray(pixels[rows[:, None], columns])
    return np.asarray(face.resize((size, size), Image.Resampling.LANCZOS))


def _list_mtfl(part: str, root: str) -> _Files:
    """``train`` and ``test`` of training.txt (LFW and web), ``aflw``: testing.txt, another domain.

    A tenth of training.txt, chosen by a hash of the file name, is ``test``; it is fold 0. The order
    is one by such a hash too: a beginning of the list is a fair sample of its sources.

    What is cut out is a square around the landmarks, scaled and shifted by the same hash: else the
    mean face would be nearly right everywhere. Where it leaves the photograph, as it does more
    often in AFLW, the photograph's edge is repeated: a black one would be a landmark.
    """
    folder = locate("mtfl", root)
    training, testing = folder / "training.txt", folder / "testing.txt"
    names, points, attributes = _read_mtfl(testing if part == "aflw" else training)
    chances = _chances(names)
    order = np.argsort(chances[:, 1], kind="stable")
    if part != "aflw":
        order = order[(_tenth(chances[order]) == 0) == (part == "test")]
        if testing.is_file():
            left = apart([names[place] for place in order], _read_mtfl(testing)[0], training)
            order = order[np.isin(np.array(names)[order], left)]
    boxes = mtfl_boxes(points, chances[:, 2:])
    return _Files(folder, tuple(names), boxes, points, attributes, MTFL_NAMES).at(order)


def _chances(names: Sequence[str]) -> np.ndarray:
    """(N, 5) values in [0, 1) that depend on the names of the files alone."""
    digests = b"".join(hashlib.sha256(name.encode()).digest() for name in names)
    return np.frombuffer(digests, "<u4").reshape(-1, 8)[:, :5] / 2**32


def _tenth(chances: np.ndarray) -> np.ndarray:
    """(N,) the fold in whose test a photograph is, by the first of its chances."""
    return (FOLDS * chances[:, 0]).astype(int)


def _read_mtfl(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, points (N, 5, 2) and attributes (N, 6) int8 of lines of a name and 14 numbers.

    The numbers are x1..x5, y1..y5, and the codes of the set's readme for gender, smile, glasses
    and pose. Names may be written with Windows' slashes.
    """
    lines = read_text(path, "list of faces").replace("\\", "/").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    names = [row[0] for row in rows]
    if not rows:
        raise ValueError(f"{path} has no faces")
    for row in rows:
        if len(row) != 15:
            raise ValueError(f"{path}: {row[0]} has {len(row) - 1} values, not 14")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: {twice} comes a second time")
    try:
        values = np.array([row[1:] for row in rows], float)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    points, codes = values[:, :10].reshape(-1, 2, 5).transpose(0, 2, 1), values[:, 10:]
    no_face = ~(np.isfinite(points).all((1, 2)) & (np.ptp(points, axis=1).max(1) > 1))
    unknown = ~(np.isin(codes, range(1, 6)) & (codes <= (2, 2, 2, 5))).all(1)
    for wrong, what in ((no_face, "landmarks that are no face"), (unknown, "unknown codes")):
        if wrong.any():
            name, *numbers = rows[wrong.argmax()]
            raise ValueError(f"{path}: {name} has {what}: {' '.join(numbers)}")
    male, smile, glasses, pose = codes.T
    yes = (male == 1, smile == 1, glasses == 1, pose < 3, pose > 3, np.isin(pose, (1, 5)))
    return names, points, np.stack(yes, 1).astype(np.int8)


def mtfl_boxes(points: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """(N, 4) int64, squares around the landmarks; chances: (N, 3) for the scale and the shift."""
    low, high = points.min(1), points.max(1)
    scale = MTFL_SCALES[0] + chances[:, :1] * (MTFL_SCALES[1] - MTFL_SCALES[0])
    side = np.rint(MTFL_FACTOR * (high - low).max(1, keepdims=True) * scale)
    centre = (low + high) / 2 + MTFL_SHIFT * side * (2 * chances[:, 1:] - 1)
    corner = np.rint(centre - side / 2)
    return np.concatenate([corner, corner + side], 1).astype(np.int64)


def _list_celeba(part: str, root: str) -> _Files:
    """A part of the official partition, in the official order, as torchvision reads it.

    The whole photograph of 178 x 218 pixels becomes the square image: faces are compressed along
    their height, which ``extent`` tells. Landmarks outside the photograph stay as they are.
    """
    from torchvision.datasets import CelebA  # here: importing it takes a second
    from torchvision.datasets.utils import check_integrity

    folder = locate("celeba", root)
    try:
        data = CelebA(folder.parent, split=part)  # checks the md5 of every list
    except (RuntimeError, ValueError, IndexError) as error:
        lists = {name: md5 for _, md5, name in CelebA.file_list if name.endswith(".txt")}
        others = [name for name, md5 in lists.items() if not check_integrity(folder / name, md5)]
        told = f"{folder} lacks a file, or has another one: {', '.join(others) or 'a list'}"
        raise ValueError(f"{told}; {error}") from error
    first = folder / "img_align_celeba" / data.filename[0]
    # one photograph stands for all: whoever has the wrong archive has it throughout
    shape = CELEBA_SIZE[::-1]
    with suppress(OSError, ValueError):  # a damaged one is left out, as any other is
        shape = picture_shape(first)
    if shape != CELEBA_SIZE[::-1]:
        raise ValueError(
            f"{first} is {shape[1]} x {shape[0]}, not 178 x 218: the aligned and cropped "
            "photographs are needed, img_align_celeba.zip"
        )
    return _Files(
        first.parent,
        tuple(data.filename),
        np.tile((0, 0, *CELEBA_SIZE), (len(data.filename), 1)),
        data.landmarks_align.numpy().reshape(-1, 5, 2).astype(float),
        data.attr.numpy().astype(np.int8),
        tuple(filter(None, data.attr_names)),  # the line of names ends with a blank
    )
