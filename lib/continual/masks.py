"""Piggyback: a new task as a choice among the weights of a trained network, one bit a weight.

Mallya, Davis and Lazebnik, "Piggyback: adapting a single network to multiple tasks by learning to
mask weights", ECCV 2018. A layer with frozen weight W computes with W * m, where m = 1 if r > 5e-3
and else 0. The real numbers r start at 1e-2 and are trained as if the threshold were not there
(straight-through): dL/dr = dL/d(W * m) * W.

``MaskedNetwork`` trains a task, ``MaskedTask`` is all that has to be kept of it, ``TaskSwitcher``
turns one network into any of its tasks, and ``save_task`` and ``load_task`` are for files.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from lib.continual.networks import Freezable, UNet
from lib.engine.files import write_atomically
from lib.networks.sizes import CONVOLUTIONS

INITIAL, THRESHOLD = 1e-2, 5e-3
NORM_POLICIES = ("frozen", "statistics", "affine")
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
Heads = Mapping[str, nn.Module]  # layer name -> the task's own module in its place


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        # weight where real > THRESHOLD, else 0: the only operation that does so in one pass
        return torch.ops.aten.threshold_backward(weight, real, THRESHOLD)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor]:
        (weight,) = ctx.saved_tensors
        return None, gradient * weight


class WeightMask(nn.Module):
    """Parametrization of a frozen weight; ``real``, of its shape, is what is trained."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.real = nn.Parameter(torch.full_like(weight, INITIAL))

    def forward(self, weight: Tensor) -> Tensor:
        return _Select.apply(weight, self.real)

    def bits(self) -> Tensor:
        """True where the weight is used."""
        return self.real.detach() > THRESHOLD


@dataclass(frozen=True)
class MaskedTask:
    """All that has to be kept of a task beside the base network, on the CPU.

    base: the base's ``fingerprint``. norm: one of ``NORM_POLICIES``. masks: layer name -> bool
    tensor of the weight's shape, True where the weight is used. heads: see ``Heads``.
    norms: name in the base's state -> the task's own statistics and affine parameters.
    """

    base: str = ""
    norm: str = ""
    masks: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, nn.Module] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> MaskedTask:
        """A copy on a device, its heads in evaluation mode and without gradients."""
        heads = copy.deepcopy(self.heads)
        for head in heads.values():
            head.to(device).eval().requires_grad_(False)
        masks = {name: mask.to(device, copy=True) for name, mask in self.masks.items()}
        norms = {name: values.to(device, copy=True) for name, values in self.norms.items()}
        return replace(self, masks=masks, heads=heads, norms=norms)


class MaskedNetwork(Freezable):
    """A frozen copy of a base network with masks, heads and norms of one task's own.

    Every Conv2d and ConvTranspose2d outside the heads gets a mask. Trained are masks, heads, and
    with policy ``affine`` the norms. Weight decay would pull masks below the threshold: use none.

    heads: layer name -> the task's own module, put in the place of the base's.
    within: name of the submodule to which masks and norm policy are confined; "" is the network.
    norm: ``frozen``: the base's statistics and affine parameters, in training too; ``statistics``:
        the task's own statistics, which start as the base's; ``affine``: and its own affine
        parameters (train_bn of the method's authors).
    Raises ValueError for a name that the base has not, another policy, and nothing to mask.
    """

    def __init__(
        self, base: nn.Module, heads: Heads | None = None, *, within: str = "", norm: str = "frozen"
    ) -> None:
        super().__init__()
        heads = dict(heads or {})
        known = dict(base.named_modules(remove_duplicate=False))
        if unknown := [name for name in (within, *heads) if name not in known]:
            raise ValueError(f"the base network has no layer {unknown[0]!r}")
        if norm not in NORM_POLICIES:
            raise ValueError(f"norm must be one of {', '.join(NORM_POLICIES)}, not {norm!r}")
        self.base, self.norm, self.heads = fingerprint(base), norm, tuple(heads)
        self.network = copy.deepcopy(base).requires_grad_(False)
        layers = {
            name: layer
            for name, layer in self.network.named_modules()
            if not any(_inside(name, head) for head in heads)
        }
        own = {name: layer for name, layer in layers.items() if _inside(name, within)}
        self.masked = tuple(name for name, layer in own.items() if isinstance(layer, CONVOLUTIONS))
        norms = [name for name, layer in layers.items() if isinstance(layer, NORMS)]
        self.own_norms = [name for name in norms if name in own and norm != "frozen"]
        # in training, too, the base's norms use their stored statistics
        self.frozen = tuple(f"network.{name}" for name in norms if name not in self.own_norms)
        if not self.masked:
            raise ValueError(f"{within or 'the network'} has no convolution to mask")
        for name in self.masked:
            if parametrize.is_parametrized(own[name]):
                raise ValueError(f"the weight of {name!r} is already parametrized")
            mask = WeightMask(self.network.get_parameter(f"{name}.weight"))
            parametrize.register_parametrization(own[name], "weight", mask)
        for name in self.own_norms:
            own[name].requires_grad_(norm == "affine")
        for name, head in heads.items():
            self.network.set_submodule(name, head)
        self.train(base.training)

    def forward(self, *inputs: object) -> Tensor:
        return self.network(*inputs)

    def masks(self) -> dict[str, WeightMask]:
        """Layer name -> its mask; ``real`` is the parameter."""
        layers: list[tuple[str, Any]] = [(n, self.network.get_submodule(n)) for n in self.masked]
        return {name: layer.parametrizations.weight[0] for name, layer in layers}

    def groups(self, mask_lr: float) -> list[dict[str, Any]]:
        """For an optimiser: masks learn at a rate of their own, all else at the optimiser's."""
        masks = [mask.real for mask in self.masks().values()]
        others = [values for name, values in self.named_parameters() if not name.endswith(".real")]
        return [{"params": others}, {"params": masks, "lr": mask_lr}]

    def task(self) -> MaskedTask:
        """The task as it is now, copied to the CPU."""
        buffers = dict(self.network.named_buffers())
        norms = {
            name: values
            for name, values in self.network.state_dict().items()
            if name.rpartition(".")[0] in self.own_norms
            and (self.norm == "affine" or name in buffers)
        }
        heads = {name: self.network.get_submodule(name) for name in self.heads}
        masks = {name: mask.bits() for name, mask in self.masks().items()}
        return MaskedTask(self.base, self.norm, masks, heads, norms).to(torch.device("cpu"))


def _inside(name: str, part: str) -> bool:
    """Whether a module's name is that of a part of the network or lies in it; "" is all."""
    return not part or f"{name}.".startswith(f"{part}.")


def zero_rates(masks: Mapping[str, Tensor]) -> dict[str, float]:
    """Layer name -> share of its weights that the mask puts to 0."""
    return {name: 1 - int(mask.count_nonzero()) / mask.numel() for name, mask in masks.items()}


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 of a text and of tensors: names, types, shapes, values; the order is no matter."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        total.update(f"\n{name} {values.dtype} {tuple(values.shape)}\n".encode())
        total.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def fingerprint(network: nn.Module) -> str:
    """Tells a base network from any other: one bit of its parameters or statistics is enough."""
    return digest(network.state_dict())


class TaskSwitcher:
    """One network for all tasks of a base; a switch writes the chosen weights into it, in place.

    ``network``, a copy of the base on its device in evaluation mode, is the base until the first
    switch. Raises ValueError for a task of another base.
    """

    def __init__(self, base: nn.Module, tasks: Mapping[str, MaskedTask]) -> None:
        identity = fingerprint(base)
        for name, task in tasks.items():
            _refuse_other_base(f"task {name!r}", task.base, identity)
        self.network = copy.deepcopy(base).eval().requires_grad_(False)
        state = self.network.state_dict()
        touched = {f"{layer}.weight" for task in tasks.values() for layer in task.masks}
        touched |= {name for task in tasks.values() for name in task.norms}
        self._base = {name: state[name].clone() for name in touched}
        self._targets = {name: state[name] for name in touched}  # share memory with the network
        heads = {name for task in tasks.values() for name in task.heads}
        self._heads = {name: self.network.get_submodule(name) for name in heads}
        device = next(iter(state.values())).device
        self._tasks: dict[str | None, MaskedTask] = {None: MaskedTask()}
        self._tasks |= {name: task.to(device) for name, task in tasks.items()}

    def use(self, name: str | None) -> nn.Module:
        """``network``, as the task of this name; None is the base. ValueError for another name."""
        if name not in self._tasks:
            raise ValueError(f"no task {name!r}; there are {', '.join(filter(None, self._tasks))}")
        task = self._tasks[name]
        for layer, head in (self._heads | task.heads).items():
            self.network.set_submodule(layer, head)
        masks = {f"{layer}.weight": mask for layer, mask in task.masks.items()}
        for key, target in self._targets.items():
            if key in masks:
                # bytes become floats in half the time of bools, and no product is of two types
                target.copy_(masks[key].view(torch.uint8)).mul_(self._base[key])
            else:
                target.copy_(task.norms.get(key, self._base[key]))
        return self.network


def _refuse_other_base(what: str, wanted: str, given: str) -> None:
    if wanted != given:
        raise ValueError(f"{what} belongs to base network {wanted[:8]}, this one is {given[:8]}")


def save_task(path: Path, task: MaskedTask, card: str = "") -> None:
    """Write a task's file; raises OSError, with the path, and then leaves an earlier file.

    It is a safetensors file with the entries ``mask/<layer>`` (uint8: bits in C order, the first
    one highest), ``norm/<name in the base's state>`` and ``head/<layer>/<name>``; its metadata are
    base, norm, a checksum of everything and the card: what the task is, for people.
    """
    bits = {name: np.packbits(mask.cpu().numpy()) for name, mask in task.masks.items()}
    tensors = {f"mask/{name}": torch.from_numpy(packed) for name, packed in bits.items()}
    tensors |= {f"norm/{name}": values.contiguous() for name, values in task.norms.items()}
    heads = _head_tensors(task.heads).items()
    tensors |= {f"head/{name}": values.cpu().contiguous() for name, values in heads}
    about = {"base": task.base, "norm": task.norm} | ({"card": card} if card else {})
    content = digest(tensors, json.dumps(about, sort_keys=True))
    write_atomically(path, save(tensors, about | {"content": content}))


def load_task(path: Path, base: nn.Module, heads: Heads | None = None) -> MaskedTask:
    """Read a task's file; base: the network that the masks were trained on.

    heads: modules like the task's own; copies get the file's values. Without any, a U-Net's last
        layer has as many outputs as the file has.
    Raises FileNotFoundError, and ValueError for a damaged file, another base and other heads.
    """
    try:
        with safe_open(path, "pt") as file:
            about = dict(file.metadata() or {})
            # copies: the file's own tensors are a view of the disk
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no mask file: {error}") from error
    if about.pop("content", None) != digest(tensors, json.dumps(about, sort_keys=True)):
        raise ValueError(f"{path} is damaged or no mask file: its checksum does not fit")
    _refuse_other_base(str(path), about["base"], fingerprint(base))
    masks = {}
    for name, packed in part(tensors, "mask").items():
        shape = base.get_parameter(f"{name}.weight").shape
        bits = np.unpackbits(packed.numpy(), count=shape.numel()).view(bool)
        masks[name] = torch.from_numpy(bits).reshape(shape)
    if heads is None and isinstance(base, UNet) and "head/last/weight" in tensors:
        heads = {"last": base.new_last(len(tensors["head/last/weight"]))}
    own = copy.deepcopy(dict(heads or {}))
    values, given = part(tensors, "head"), _head_tensors(own)
    if _shapes(values) != _shapes(given):
        raise ValueError(f"{path} has heads {_shapes(values)}, given are {_shapes(given)}")
    for name, tensor in given.items():  # shares memory with the head
        tensor.copy_(values[name])
    task = MaskedTask(about["base"], about["norm"], masks, own, part(tensors, "norm"))
    return task.to(torch.device("cpu"))


def _head_tensors(heads: Heads) -> dict[str, Tensor]:
    """``<layer>/<name>`` -> parameter or buffer of a head."""
    states = {layer: head.state_dict().items() for layer, head in heads.items()}
    return {f"{layer}/{name}": x for layer, state in states.items() for name, x in state}


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    shapes = (f"{name} {tuple(tensors[name].shape)}" for name in sorted(tensors))
    return ", ".join(shapes) or "none"


def part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The entries ``<kind>/<name>`` of a file or an artefact, by name."""
    prefix = f"{kind}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
