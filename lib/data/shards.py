"""Images decoded once: joblib keeps their bytes on disk, which are loaded instead of JPEGs."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from joblib import Memory
from torch import Tensor

from lib.engine.files import REPOSITORY
from lib.engine.training import progress

SHARD = 4096  # images of a file: 200 MB at 128 px
Read = Callable[[int], np.ndarray | None]


def shards_root() -> Path:
    """Folder of all shards: $SHARDS_ROOT, else ``data/shards/`` here."""
    return Path(os.environ.get("SHARDS_ROOT") or REPOSITORY / "data" / "shards")


def load_shards(
    key: str, read: Read, total: int, *, size: int, count: int = 0
) -> tuple[Tensor, np.ndarray]:
    """The first ``count`` of ``total`` images, 0 for all, kept under the name ``key``.

    Returns those that could be read, (N, 3, size, size) uint8, mapped into memory where they are of
    a single file, and their places in the list, (N,).
    read: gives image i as (size, size, 3) uint8, or None if it cannot be read; called from several
        threads, and only for files that are not there. A file holds the images of ``SHARD`` places:
        a build that was killed goes on behind the last one.
    """
    build = Memory(shards_root(), mmap_mode="c", verbose=0).cache(_build, ignore=["read"])
    end = count or total
    starts = range(0, end, SHARD)
    parts = [build(key, read, start, min(start + SHARD, total), size) for start in starts]
    places = np.concatenate([places for _, places in parts])
    tensors = [torch.from_numpy(part) for part, _ in parts]
    images = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return images[: (places < end).sum()], places[places < end]


def _build(key: str, read: Read, start: int, stop: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 3, size, size) that can be read, and their places (N,).

    joblib keeps them by all arguments but ``read``, for as long as this function stays as it is.
    """
    array = np.empty((stop - start, 3, size, size), np.uint8)
    places: list[int] = []
    with ThreadPoolExecutor() as pool:  # decoding releases the lock
        images = pool.map(read, range(start, stop))
        bar = progress(images, total=stop - start, desc="decoding", unit="image")
        for place, image in enumerate(bar, start):
            if image is not None:
                array[len(places)] = image.transpose(2, 0, 1)
                places.append(place)
    return array[: len(places)], np.array(places, int)
