"""Piggyback: a new task as a choice among the weights of a trained network, one bit a weight.

Mallya, Davis and Lazebnik, "Piggyback: adapting a single network to multiple tasks by learning to
mask weights", ECCV 2018. A layer with frozen weight W computes with W * m, where m = 1 if r > 5e-3
and else 0. The real numbers r start at 1e-2 and are trained as if the threshold were not there
(straight-through): dL/dr = dL/d(W * m) * W.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from lib.continual.mask_tasks import Task, fingerprint

INITIAL, THRESHOLD = 1e-2, 5e-3
NORM_POLICIES = ("frozen", "statistics", "affine")
MASKED = (nn.Conv2d, nn.ConvTranspose2d)
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, real: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(weight)
        # half the time of weight * (real > threshold): nothing of another type in between
        return torch.gt(real, threshold, out=torch.empty_like(weight)).mul_(weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:
        (weight,) = ctx.saved_tensors
        return None, gradient * weight, None


class WeightMask(nn.Module):
    """Parametrization of a frozen weight; ``real``, of its shape, is what is trained."""

    def __init__(self, weight: Tensor, initial: float, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.real = nn.Parameter(torch.full_like(weight, initial))

    def forward(self, weight: Tensor) -> Tensor:
        return _Select.apply(weight, self.real, self.threshold)

    def bits(self) -> Tensor:
        """True where the weight is used."""
        return self.real.detach() > self.threshold


class MaskedNetwork(nn.Module):
    """A frozen copy of a base network with masks, heads and norms of one task's own.

    What has a gradient: the masks, the heads, and with policy ``affine`` the norms. Biases and all
    other layers are the base's. Weight decay pulls masks towards 0, below the threshold: use none.

    base: left as it is; of the copy, every Conv2d and ConvTranspose2d outside the heads gets a
        mask. The attribute ``base`` is its fingerprint.
    heads: layer name -> the task's own module, put in the place of the base's and trained.
    within: name of the submodule to which masks and norm policy are confined; "" is the network.
    norm: ``frozen``: the base's statistics and affine parameters, in training too; ``statistics``:
        the task's own statistics, which start as the base's; ``affine``: and its own affine
        parameters, trained (train_bn of the method's authors).
    Raises ValueError for names that the base has not, a policy that is none of the three, an
    initial value that is not above the threshold, and if there is nothing to mask.
    """

    def __init__(
        self,
        base: nn.Module,
        heads: Mapping[str, nn.Module] | None = None,
        *,
        within: str = "",
        norm: str = "frozen",
        initial: float = INITIAL,
        threshold: float = THRESHOLD,
    ) -> None:
        super().__init__()
        heads = dict(heads or {})
        _refuse(base, [within, *heads], norm, initial, threshold)
        self.base, self.norm, self.heads = fingerprint(base), norm, tuple(heads)
        self.network = copy.deepcopy(base).requires_grad_(False)
        layers = _layers(self.network, within, self.heads)
        self.masked = tuple(name for name, layer in layers.items() if isinstance(layer, MASKED))
        everywhere = _layers(self.network, "", self.heads).items()
        norms = [name for name, layer in everywhere if isinstance(layer, NORMS)]
        self._own_norms = [name for name in norms if norm != "frozen" and name in layers]
        self._frozen_norms = [name for name in norms if name not in self._own_norms]
        if not self.masked:
            raise ValueError(f"{within or 'the network'} has no convolution to mask")
        for name in self.masked:
            _mask(layers[name], name, initial, threshold)
        for name in self._own_norms:
            layers[name].requires_grad_(norm == "affine")
        for name, head in heads.items():
            self.network.set_submodule(name, head)
        self.train(base.training)

    def train(self, mode: bool = True) -> MaskedNetwork:
        """Training mode, in which the base's norms still use their stored statistics."""
        super().train(mode)
        for name in self._frozen_norms:
            self.network.get_submodule(name).eval()
        return self

    def forward(self, *inputs: object) -> Tensor:
        return self.network(*inputs)

    def masks(self) -> dict[str, WeightMask]:
        """Layer name -> its mask; ``real`` is the parameter."""
        layers: list[tuple[str, Any]] = [(n, self.network.get_submodule(n)) for n in self.masked]
        return {name: layer.parametrizations.weight[0] for name, layer in layers}

    def task(self) -> Task:
        """The task as it is now, copied to the CPU."""
        return Task(
            self.base,
            self.norm,
            {name: mask.bits().cpu() for name, mask in self.masks().items()},
            {name: _finished(self.network.get_submodule(name)) for name in self.heads},
            {name: values.detach().to("cpu", copy=True) for name, values in self._norm_state()},
        )

    def _norm_state(self) -> list[tuple[str, Tensor]]:
        layers = [(name, self.network.get_submodule(name)) for name in self._own_norms]
        own = [(name, part) for name, layer in layers for part in layer.named_buffers()]
        if self.norm == "affine":
            own += [(name, part) for name, layer in layers for part in layer.named_parameters()]
        return [(f"{name}.{key}", values) for name, (key, values) in own]


def _layers(network: nn.Module, within: str, heads: tuple[str, ...]) -> dict[str, nn.Module]:
    """Name -> module of all that lies in ``within`` and in no head."""

    def inside(name: str, part: str) -> bool:
        return not part or f"{name}.".startswith(f"{part}.")

    return {
        name: layer
        for name, layer in network.named_modules()
        if inside(name, within) and not any(inside(name, head) for head in heads)
    }


def _mask(layer: nn.Module, name: str, initial: float, threshold: float) -> None:
    if parametrize.is_parametrized(layer):
        raise ValueError(f"the weight of {name!r} is already parametrized; make it plain first")
    mask = WeightMask(layer.weight, initial, threshold)
    parametrize.register_parametrization(layer, "weight", mask)


def _finished(head: nn.Module) -> nn.Module:
    return copy.deepcopy(head).cpu().eval().requires_grad_(False)


def _refuse(base: nn.Module, names: list[str], norm: str, initial: float, threshold: float) -> None:
    known = dict(base.named_modules(remove_duplicate=False))
    for name in names:
        if name not in known:
            raise ValueError(f"the base network has no layer {name!r}")
    if norm not in NORM_POLICIES:
        raise ValueError(f"norm must be one of {', '.join(NORM_POLICIES)}, not {norm!r}")
    if not initial > threshold:
        text = f"{initial} is not above the threshold {threshold}: no weight would be in use"
        raise ValueError(text)
