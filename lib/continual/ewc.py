"""Elastic weight consolidation: weights that mattered to earlier tasks are held where they were.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. After each
task k the loss of the next ones gets the term

    strength / 2 * sum_i F_ki (w_i - w_ki)^2

with the diagonal of the Fisher information F_k at the weights w_k. Terms of several tasks add up to
one of the same form: F = sum_k F_k, and as anchor the mean of the w_k weighted by F_k.

Readings: F is the mean squared gradient of the task's own loss, image by image (the "empirical"
Fisher information). As the losses of segmentation, colour and style have no common unit, each F_k
is divided by its mean over all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Anchor:
    """What is kept of the tasks so far: parameter name -> importance, and the value to stay at."""

    importance: dict[str, Tensor]
    values: dict[str, Tensor]


def importance(
    model: nn.Module,
    loss: Callable[[nn.Module, object], Tensor],
    images: Iterable[object],
    names: Iterable[str],
) -> dict[str, Tensor]:
    """Mean squared gradient of the named parameters over single images, divided by its mean.

    loss: (model, image) -> scalar. The model is taken as it is (call ``eval()`` before).
    Raises ValueError if there is no image or no gradient at all.
    """
    named = dict(model.named_parameters())
    parameters = {name: named[name] for name in names}
    sums = {name: torch.zeros_like(values) for name, values in parameters.items()}
    count = 0
    for image in images:
        gradients = torch.autograd.grad(loss(model, image), list(parameters.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient.square()
        count += 1
    whole = sum(float(each.sum()) for each in sums.values())
    if not count or not whole > 0:
        raise ValueError(f"no importance from {count} images: no gradient")
    mean = whole / sum(each.numel() for each in sums.values())
    return {name: each / mean for name, each in sums.items()}


def add_task(anchor: Anchor | None, model: nn.Module, importances: Mapping[str, Tensor]) -> Anchor:
    """The anchor of all tasks so far, the model's included."""
    named = dict(model.named_parameters())
    new = {name: named[name].detach().clone() for name in importances}
    if anchor is None:
        return Anchor(dict(importances), new)
    total = {name: anchor.importance[name] + each for name, each in importances.items()}
    values = {
        name: torch.where(
            total[name] > 0,
            (anchor.importance[name] * anchor.values[name] + each * new[name])
            / total[name].clamp(min=torch.finfo(each.dtype).tiny),
            new[name],
        )
        for name, each in importances.items()
    }
    return Anchor(total, values)


def penalty(model: nn.Module, anchor: Anchor, strength: float) -> Tensor:
    """strength / 2 * sum of importance times squared distance from the anchor."""
    named = dict(model.named_parameters())
    terms = [
        (each * (named[name] - anchor.values[name]).square()).sum()
        for name, each in anchor.importance.items()
    ]
    return strength / 2 * torch.stack(terms).sum()
