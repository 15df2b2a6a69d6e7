"""Images decoded once: kept as bytes in files that are checked, and loaded instead of the JPEGs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.engine.files import REPOSITORY, write_atomically
from lib.engine.progress import progress

SHARD = 4096  # images of a file: 200 MB at 128 px
MANIFEST = "manifest.json"
_ENTRY = ("sha256", "skipped")  # of a file, in the manifest
Read = Callable[[int], np.ndarray | None]


@dataclass(frozen=True)
class Shards:
    """Those images of a list that could be read.

    images: (N, 3, S, S) uint8, mapped into memory where they are of a single file.
    places: (N,) int64, where they are in the list. skipped: the other places.
    """

    images: Tensor
    places: Tensor
    skipped: tuple[int, ...]


def shards_root() -> Path:
    """Folder of the shards: $SHARDS_ROOT, else ``data/shards/`` here (data may be read-only)."""
    return Path(os.environ.get("SHARDS_ROOT") or REPOSITORY / "data" / "shards")


def load_shards(key: str, read: Read, total: int, *, size: int, count: int = 0) -> Shards:
    """The first ``count`` of ``total`` images, 0 for all, from the folder ``key`` of the root.

    read: gives image i as (size, size, 3) uint8, or None if it cannot be read; called from several
        threads, and only for files that are not there. A file holds the images of ``SHARD`` places
        and is written whole, with its sha256 in a manifest: a build that was killed goes on behind
        the last one. Two processes that build the same write the same.
    A file with another sha256 than written is built anew, with a warning. Raises OSError where the
    folder cannot be written.
    """
    folder, manifest = shards_root() / key, {}
    if (folder / MANIFEST).exists():
        manifest = _read_manifest(folder / MANIFEST)
    parts: list[np.ndarray] = []
    skipped: list[int] = []
    for start in range(0, count or total, SHARD):
        places = range(start, min(start + SHARD, total))
        path = folder / f"{places.start:07d}-{places.stop:07d}.npy"
        if not _is_sound(path, manifest):
            manifest[path.name] = _build(path, read, places, size)
            write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1))
        parts.append(np.load(path, mmap_mode="c"))  # "c": torch wants memory it may write to
        skipped += manifest[path.name]["skipped"]
    skipped = [place for place in skipped if place < (count or total)]
    read_places = np.setdiff1d(np.arange(count or total), skipped)
    tensors = [torch.from_numpy(part) for part in parts]
    images = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    images = images[: len(read_places)]
    return Shards(images, torch.from_numpy(read_places), tuple(skipped))


def _build(path: Path, read: Read, places: range, size: int) -> dict[str, Any]:
    """Write one file; gives its entry in the manifest."""
    array, skipped = np.empty((len(places), 3, size, size), np.uint8), []
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        images = progress(pool.map(read, places), total=len(places), desc=path.stem, unit="image")
        for place, image in zip(places, images, strict=True):
            if image is None:
                skipped.append(place)
            else:
                array[place - places.start - len(skipped)] = image.transpose(2, 0, 1)
    file = io.BytesIO()
    np.save(file, array[: len(places) - len(skipped)])
    write_atomically(path, file.getvalue())
    return {"sha256": hashlib.sha256(file.getbuffer()).hexdigest(), "skipped": skipped}


def _is_sound(path: Path, manifest: dict[str, dict]) -> bool:
    if path.name not in manifest:
        return False
    if path.exists():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == manifest[path.name]["sha256"]:
                return True
    warnings.warn(f"{path} is missing or damaged: built anew", stacklevel=3)
    return False


def _read_manifest(path: Path) -> dict[str, dict]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: {key: entry[key] for key in _ENTRY} for name, entry in entries.items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        warnings.warn(f"damaged {path} ({error}): shards are built anew", stacklevel=3)
        return {}
