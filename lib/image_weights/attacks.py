"""Targeted attacks, the paper's comparators, and measures of what was done to an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.image_weights.layer import frequency_radius

# rows: luma (the mean), then two orthogonal chroma axes; orthonormal, so energies add up
OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
OPPONENT = OPPONENT / OPPONENT.norm(dim=1, keepdim=True)
COARSE, FINE = 4, 10  # FFT bins: slow tints lie below the first, pixel noise beyond the second


@dataclass(frozen=True)
class Attack:
    """A targeted attack in place of the paper's method.

    kind is ``fgsm``, one step of the full radius (Goodfellow et al. 2014), or ``pgd``, many steps
    that stay within the radius in the max norm (Madry et al. 2018). hard aims at the one-hot
    second class, as attacks usually do, and not at the whole distribution.
    """

    kind: str
    hard: bool
    radius: float = 8 / 255
    step: float = 1 / 255
    steps: int = 40

    def __post_init__(self) -> None:
        if self.kind not in ("fgsm", "pgd"):
            raise ValueError(f"kind must be fgsm or pgd, not {self.kind!r}")
        if self.radius < 0 or self.step <= 0 or self.steps < 1:
            sizes = f"{self.radius}, {self.step}, {self.steps}"
            raise ValueError(f"radius >= 0, step > 0, steps >= 1, not {sizes}")


def attacked(model: nn.Module, images: Tensor, targets: Tensor, attack: Attack) -> Tensor:
    """Images (N, C, H, W) in [0, 1], none further than the radius (max norm) from the original.

    Each step goes along the sign of the gradient of the cross entropy to ``targets`` (N, K), which
    are taken as they are. PGD starts at the image itself and returns the best iterate of each
    image, not the last, because with a fixed step it circles around a soft target.
    """
    if attack.kind == "fgsm":
        _, gradient = _loss_and_gradient(model, images, targets)
        return (images - attack.radius * gradient.sign()).clamp(0, 1)
    low, high = (images - attack.radius).clamp(0, 1), (images + attack.radius).clamp(0, 1)
    current, best = images, images
    lowest = torch.full((len(images),), torch.inf, device=images.device)
    for _ in range(attack.steps + 1):
        losses, gradient = _loss_and_gradient(model, current, targets)
        better = losses < lowest
        lowest = torch.where(better, losses, lowest)
        best = torch.where(better[:, None, None, None], current, best)
        current = (current - attack.step * gradient.sign()).clamp(low, high)
    return best


def _loss_and_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) cross entropies to the targets, and their gradient at the images."""
    images = images.detach().requires_grad_()
    losses = -(targets * F.log_softmax(model(images), 1)).sum(1)
    (gradient,) = torch.autograd.grad(losses.sum(), [images])
    return losses.detach(), gradient


def radial_spectrum(change: Tensor) -> Tensor:
    """(N, R) energy of each change by distance from frequency 0, in whole FFT bins.

    change is (N, C, H, W), generated minus original. The rows sum to the change's energy
    (Parseval), and there are R = diagonal / 2 + 1 bins.
    """
    height, width = change.shape[-2:]
    power = torch.fft.fft2(change, norm="ortho").abs().square().sum(1)
    radius = frequency_radius(height, width).round().long().to(change.device)
    bins = torch.zeros(len(change), int(radius.max()) + 1, device=change.device)
    return bins.index_add_(1, radius.flatten(), power.flatten(1).to(bins))


def measure(change: Tensor) -> dict[str, Tensor]:
    """(N,) measures of RGB changes (N, 3, H, W); shares are of the energy, NaN without a change.

    rms and largest are in units of the [0, 1] range. fine is the RMS of what lies beyond FINE
    bins (noise), tint the RMS of chroma below COARSE bins (rainbow). White noise has a fine_share
    of 0.66 at 32 px and a chroma_share of 2/3. local is the share of pixels that holds 90 % of
    the energy.
    """
    height, width = change.shape[-2:]
    spectrum = radial_spectrum(change)
    chroma = torch.einsum("kc,nchw->nkhw", OPPONENT.to(change), change)[:, 1:]
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
