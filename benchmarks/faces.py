"""Faces to train on: shards that stay on the device, beside a loader that decodes JPEGs."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from timing import Row, compare
from torch.utils.data import DataLoader, Dataset

from lib.data.shards import load_shards
from lib.engine.batches import Epochs

FILES, SIZE, BATCH, WORKERS = 1500, 128, 32, 2
WIDTH, HEIGHT = 178, 218  # of CelebA's aligned photographs


class Jpegs(Dataset):
    """What everyone writes first: (3, SIZE, SIZE) float32 of a file, decoded each time."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, place: int) -> np.ndarray:
        with Image.open(self.paths[place]) as picture:
            return np.array(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(self.pixels(place)).permute(2, 0, 1).float() / 255


def epoch(device: torch.device) -> Row:
    """An epoch over the same files; the shards are built before, which the note tells."""
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", SHARDS_ROOT=folder):
        jpegs = Jpegs(_photographs(Path(folder)))
        start = time.perf_counter()
        images, _ = load_shards("bench", jpegs.pixels, FILES, size=SIZE)
        built = time.perf_counter() - start
        batches = Epochs(images.to(device), batch=BATCH, seed=0, pad=0, flip=False)
        loader = DataLoader(jpegs, BATCH, shuffle=True, num_workers=WORKERS)
        row = compare(
            f"faces of {SIZE} px, beside JPEGs in {WORKERS} workers",
            partial(_from_shards, batches),
            partial(_from_files, loader, device),
            (FILES, FILES),
            "images/s",
            3.0,
            device,
        )
    return row | {"note": f"shards of {FILES:,} images built once in {built:.2g} s"}


def _from_shards(batches: Epochs) -> None:
    for step in range(len(batches)):
        batches(step)


def _from_files(loader: DataLoader, device: torch.device) -> None:
    for images in loader:
        images.to(device)


def _photographs(folder: Path) -> list[Path]:
    """JPEGs of CelebA's shape, cut out of a photograph."""
    photograph, rng = Image.fromarray(astronaut()), np.random.default_rng(0)
    paths = [folder / f"{number:06d}.jpg" for number in range(1, FILES + 1)]
    for path in paths:
        left = int(rng.integers(photograph.width - WIDTH))
        top = int(rng.integers(photograph.height - HEIGHT))
        photograph.crop((left, top, left + WIDTH, top + HEIGHT)).save(path, quality=90)
    return paths
