"""Near-duplicates between two sets of images, by perceptual hash."""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn
from torch import Tensor
from torch.nn.functional import interpolate

SIDE, KEPT = 32, 8  # pixels that an image is reduced to, lowest frequencies that are kept
BITS = KEPT * KEPT - 1  # the mean says nothing of what is seen
GREY = (0.299, 0.587, 0.114)


def perceptual_hashes(images: Tensor) -> np.ndarray:
    """(N, 63) bool of (N, 3, S, S) uint8: which low frequencies are above their median.

    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section
    3.2: the DCT of the grey image reduced to 32 x 32, its 8 x 8 lowest frequencies. Images of
    another size, contrast or compression keep nearly all bits; unrelated ones share half.
    """
    red, green, blue = images.float().unbind(1)
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    small = interpolate(grey[:, None], size=(SIDE, SIDE), mode="area")[:, 0].numpy()
    low = dctn(small, axes=(1, 2), norm="ortho")[:, :KEPT, :KEPT].reshape(len(images), -1)[:, 1:]
    return low > np.median(low, axis=1, keepdims=True)


def near_duplicates(first: np.ndarray, second: np.ndarray, *, limit: int = 6) -> np.ndarray:
    """(K, 2): the places of hashes of two sets that differ in at most ``limit`` bits.

    By chance two hashes differ in 32 of 63; in 6 or fewer with a probability below 1e-11.
    """
    for hashes in (first, second):
        if hashes.ndim != 2 or hashes.shape[1] != BITS:
            raise ValueError(f"hashes are (N, {BITS}), not {hashes.shape}")
    a, b = (np.where(hashes, 1.0, -1.0).astype(np.float32) for hashes in (first, second))
    differing = (BITS - a @ b.T) / 2
    return np.argwhere(differing <= limit)
