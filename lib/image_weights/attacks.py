"""Targeted attacks, the paper's comparators: signed gradients inside a ball, to any target."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pgd(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    radius: float = 8 / 255,
    step: float = 1 / 255,
    steps: int = 40,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], none further than ``radius`` (max norm) from the original.

    Madry et al. 2018, targeted, started at the image itself: each step goes along the sign of the
    gradient of the cross entropy to ``targets`` (N, K): one-hot rows are the usual attack, any
    distribution works. The best iterate of each image is returned, not the last: with a fixed
    step the signed gradient circles around a soft target.
    """
    if radius < 0 or step <= 0 or steps < 1:
        raise ValueError(f"radius >= 0, step > 0, steps >= 1, not {radius}, {step}, {steps}")
    low, high = (images - radius).clamp(0, 1), (images + radius).clamp(0, 1)
    current, best = images, images
    lowest = torch.full((len(images),), torch.inf, device=images.device)
    for _ in range(steps + 1):
        current = current.detach().requires_grad_()
        loss = -(targets * F.log_softmax(model(current), 1)).sum(1)
        better = loss.detach() < lowest
        lowest = torch.where(better, loss.detach(), lowest)
        best = torch.where(better[:, None, None, None], current.detach(), best)
        (gradient,) = torch.autograd.grad(loss.sum(), [current])
        current = (current - step * gradient.sign()).clamp(low, high)
    return best


def fgsm(model: nn.Module, images: Tensor, targets: Tensor, radius: float = 8 / 255) -> Tensor:
    """One step of the full radius (Goodfellow et al. 2014), towards the target, taken as it is."""
    current = images.detach().requires_grad_()
    loss = -(targets * F.log_softmax(model(current), 1)).sum()
    (gradient,) = torch.autograd.grad(loss, [current])
    return (images - radius * gradient.sign()).clamp(0, 1)
