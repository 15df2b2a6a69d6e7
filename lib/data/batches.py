"""Training batches cut on the device from images that stay there as bytes."""

from __future__ import annotations

import torch
from torch import Tensor


class Patches:
    """Random, randomly flipped square patches of one image set.

    images: (N, C, H, W) uint8, kept on its device. Batch ``step`` depends on (seed, step) alone,
    so a run that resumes at a step sees what it would have seen. Calling gives (B, C, P, P)
    float32 in [0, 1].
    """

    def __init__(self, images: Tensor, *, patch: int, batch: int, seed: int) -> None:
        height, width = images.shape[2:]
        if patch > min(height, width):
            raise ValueError(f"a patch of {patch} px does not fit images of {height} x {width} px")
        self.images, self.patch, self.batch, self.seed = images, patch, batch, seed

    def __call__(self, step: int) -> Tensor:
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        count, _, height, width = self.images.shape

        def draw(high: int) -> Tensor:
            return torch.randint(high, (self.batch,), generator=rng).to(self.images.device)

        index, flip = draw(count), draw(2).bool()
        offsets = torch.arange(self.patch, device=self.images.device)
        rows = draw(height - self.patch + 1)[:, None] + offsets
        columns = draw(width - self.patch + 1)[:, None] + offsets
        columns = torch.where(flip[:, None], columns.flip(1), columns)
        picked = self.images[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous().float() / 255
