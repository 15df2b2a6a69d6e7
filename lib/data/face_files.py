"""Photographs of faces in files, with what is annotated of them; read, they are ``Faces``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib.data.face_records import Faces
from lib.data.images import UNREADABLE
from lib.data.shards import load_shards

CUT = "edge, Lanczos"  # how ``_read`` makes its pixels: another way, other shards


@dataclass(frozen=True)
class FaceFiles:
    """One part of a set of photographs, nothing of which is decoded yet.

    folder: of the photographs. ids: their paths below it.
    boxes: (N, 4) int64: left, top, right and bottom, in pixels, of what becomes the image; where a
        box leaves its photograph, the photograph's last row or column goes on.
    points: (N, 5, 2), the landmarks in pixels of the photograph.
    attributes, names: as of ``Faces``.
    """

    folder: Path
    ids: tuple[str, ...]
    boxes: np.ndarray
    points: np.ndarray
    attributes: np.ndarray
    names: tuple[str, ...]


def read_faces(files: FaceFiles, label: str, *, size: int, count: int = 0) -> Faces:
    """The first ``count`` faces, 0 for all, less those whose photograph is missing or damaged.

    label: begins the name of the folder of shards, which changes with the files' names and sizes,
        with the boxes and with ``CUT``.
    Raises ValueError for more faces than there are, and if no photograph at all can be read.
    """
    total = len(files.ids)
    if count > total:
        raise ValueError(f"{label} has {total:,} faces, not {count:,}")
    key = f"{label}_{size}_{_digest(files)}"
    shards = load_shards(key, partial(_read, files, size), total, size=size, count=count)
    if not len(shards.kept):
        raise ValueError(f"none of the {total:,} photographs in {files.folder} can be read")
    kept = shards.kept.numpy()
    corners, extent = files.boxes[kept, :2], (files.boxes[:, 2:] - files.boxes[:, :2])[kept]
    landmarks = (files.points[kept] - corners[:, None]) / extent[:, None]
    return Faces(
        shards.images,
        torch.from_numpy(landmarks.astype(np.float32)),
        torch.from_numpy(files.attributes[kept]),
        torch.from_numpy(extent.astype(np.float32)),
        tuple(files.ids[place] for place in kept),
        files.names,
        tuple(files.ids[place] for place in shards.skipped),
    )


def _read(files: FaceFiles, size: int, place: int) -> np.ndarray | None:
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


def _digest(files: FaceFiles) -> str:
    hashed = hashlib.sha256(CUT.encode() + files.boxes.tobytes())
    for name in files.ids:
        path = files.folder / name
        hashed.update(f"{name} {path.stat().st_size if path.is_file() else None}\n".encode())
    return hashed.hexdigest()[:12]
