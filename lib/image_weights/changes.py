"""What was done to an image, measured: how large, how fine, how colourful, how local."""

from __future__ import annotations

import torch
from torch import Tensor

# rows: luma (the mean), then two orthogonal chroma axes; orthonormal, so energies add up
OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
OPPONENT = OPPONENT / OPPONENT.norm(dim=1, keepdim=True)
COARSE, FINE = 4, 10  # FFT bins: slow tints lie below the first, pixel noise beyond the second


def radial_spectrum(change: Tensor) -> Tensor:
    """(N, R) energy of each change by distance from frequency 0, in whole FFT bins.

    change: (N, C, H, W), generated minus original. The rows sum to the change's energy
    (Parseval), R = diagonal / 2 + 1 bins.
    """
    height, width = change.shape[-2:]
    power = torch.fft.fft2(change, norm="ortho").abs().square().sum(1)
    radius = frequency_radius(height, width).round().long().to(change.device)
    bins = torch.zeros(len(change), int(radius.max()) + 1, device=change.device)
    return bins.index_add_(1, radius.flatten(), power.flatten(1).to(bins))


def frequency_radius(height: int, width: int) -> Tensor:
    """(H, W) distance of each FFT bin from frequency 0."""
    rows, columns = torch.fft.fftfreq(height, 1 / height), torch.fft.fftfreq(width, 1 / width)
    return (rows[:, None].square() + columns.square()).sqrt()


def measure(change: Tensor) -> dict[str, Tensor]:
    """(N,) measures of RGB changes (N, 3, H, W); shares are of the energy, NaN without a change.

    rms, largest: in units of the [0, 1] range. fine: RMS of what lies beyond FINE bins (noise).
    tint: RMS of chroma below COARSE bins (rainbow). fine_share, chroma_share: of white noise
    0.66 at 32 px, and 2/3. local: share of pixels that holds 90 % of the energy.
    """
    height, width = change.shape[-2:]
    spectrum = radial_spectrum(change)
    opponent = torch.einsum("kc,nchw->nkhw", OPPONENT.to(change), change)
    chroma = opponent[:, 1:]
    energy, values = spectrum.sum(1), change[0].numel()
    fine = spectrum[:, FINE + 1 :].sum(1)
    tint = radial_spectrum(chroma)[:, :COARSE].sum(1)
    pixels = change.square().sum(1).flatten(1).sort(1, descending=True).values.cumsum(1)
    local = ((pixels < 0.9 * pixels[:, -1:]).sum(1) + 1) / (height * width)
    return {
        "rms": (energy / values).sqrt(),
        "largest": change.abs().flatten(1).amax(1),
        "fine": (fine / values).sqrt(),
        "tint": (tint / values).sqrt(),
        "fine_share": fine / energy,
        "chroma_share": chroma.square().flatten(1).sum(1) / energy,
        "local": torch.where(energy > 0, local, torch.nan),
    }
