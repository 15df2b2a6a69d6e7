"""Refuses, in the same words, sizes and images that a network cannot be built for or given."""

from __future__ import annotations

from torch import Tensor


def refuse_below_one(**sizes: int) -> None:
    """Raise ValueError, with the name, for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def refuse_other_channels(images: Tensor, channels: int) -> None:
    """Raise ValueError unless the images are (N, channels, H, W)."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"images must be (N, {channels}, H, W), not {tuple(images.shape)}")
