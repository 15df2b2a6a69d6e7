"""Images of any size for networks that halve the resolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """(N, C, H, W) with H and W raised to multiples of ``multiple``, not smaller than ``least``.

    The last row and column are repeated; ``[..., :H, :W]`` of the result is the input.
    ``least`` must itself be a multiple. Raises ValueError for an image without pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 1:
        raise ValueError(f"an image of {height} x {width} pixels has nothing to pad")
    below, right = (max(-size % multiple, least - size) for size in (height, width))
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images
