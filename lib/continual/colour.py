"""Luma and chroma: JPEG's YCbCr (ITU-R BT.601, full range)."""

from __future__ import annotations

import torch
from torch import Tensor

_RED, _BLUE = 0.299, 0.114  # of the luma; green is the rest


def luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to Y (N, 1, H, W) in [0, 1]."""
    red, green, blue = images.unbind(1)
    return (_RED * red + (1 - _RED - _BLUE) * green + _BLUE * blue)[:, None]


def chroma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to Cb and Cr, (N, 2, H, W) in [-0.5, 0.5]; grey is 0."""
    y = luma(images)[:, 0]
    blue, red = (images[:, 2] - y) / (2 - 2 * _BLUE), (images[:, 0] - y) / (2 - 2 * _RED)
    return torch.stack((blue, red), 1)


def to_rgb(y: Tensor, colours: Tensor) -> Tensor:
    """Luma (N, 1, H, W) and chroma (N, 2, H, W) to RGB clipped to [0, 1]."""
    y, (cb, cr) = y[:, 0], colours.unbind(1)
    red, blue = y + (2 - 2 * _RED) * cr, y + (2 - 2 * _BLUE) * cb
    green = (y - _RED * red - _BLUE * blue) / (1 - _RED - _BLUE)
    return torch.stack((red, green, blue), 1).clamp(0, 1)
