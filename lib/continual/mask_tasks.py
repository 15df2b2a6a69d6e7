"""What a masked task adds to its base network, and a network that becomes any of its tasks.

Everything here is about finished tasks; ``lib.continual.masks`` trains them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """All that has to be kept of a task beside the base network, on the CPU.

    base: ``fingerprint`` of the base network.
    norm: the policy of ``lib.continual.masks.NORM_POLICIES`` it was trained with.
    masks: layer name -> bool tensor of the weight's shape, True where the weight is used.
    heads: layer name -> the task's own module in its place.
    norms: name in the base's state -> the task's own statistics and affine parameters.
    """

    base: str
    norm: str
    masks: dict[str, Tensor]
    heads: dict[str, nn.Module]
    norms: dict[str, Tensor]


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 of a text and of tensors: names, types, shapes, values; the order is no matter."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        found.update(f"\n{name} {values.dtype} {tuple(values.shape)}\n".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def fingerprint(network: nn.Module) -> str:
    """Tells a base network from any other: one bit of its parameters or statistics is enough."""
    return digest(network.state_dict())


class TaskSwitcher:
    """One network for all tasks of a base; a switch writes the chosen weights into it, in place.

    base: copied, so it stays as it is. tasks: by name.
    ``network`` is in evaluation mode on the base's device, and is the base until the first switch.
    Raises ValueError for a task of another base.
    """

    def __init__(self, base: nn.Module, tasks: Mapping[str, Task]) -> None:
        found = fingerprint(base)
        for name, task in tasks.items():
            refuse_other_base(f"task {name!r}", task.base, found)
        self.network = copy.deepcopy(base).eval().requires_grad_(False)
        state = self.network.state_dict()
        touched = {f"{layer}.weight" for task in tasks.values() for layer in task.masks}
        touched |= {name for task in tasks.values() for name in task.norms}
        self._base = {name: state[name].clone() for name in touched}
        self._targets = {name: state[name] for name in touched}  # share memory with the network
        heads = {name for task in tasks.values() for name in task.heads}
        self._heads = {name: self.network.get_submodule(name) for name in heads}
        device = next(iter(state.values())).device
        self._tasks = {name: _on(task, device) for name, task in tasks.items()}

    def use(self, name: str | None) -> nn.Module:
        """``network``, as the task of this name; None gives the base back. Always the same object.

        Raises ValueError for a name that is not among the tasks.
        """
        if name is not None and name not in self._tasks:
            raise ValueError(f"no task {name!r}; there are {', '.join(self._tasks)}")
        task = self._tasks[name] if name is not None else Task("", "", {}, {}, {})
        for layer, head in (self._heads | task.heads).items():
            self.network.set_submodule(layer, head)
        masks = {f"{layer}.weight": mask for layer, mask in task.masks.items()}
        for key, target in self._targets.items():
            if key in masks:
                target.copy_(masks[key]).mul_(self._base[key])  # a third of a product of two types
            else:
                target.copy_(task.norms.get(key, self._base[key]))
        return self.network


def refuse_other_base(what: str, wanted: str, found: str) -> None:
    """Raise ValueError unless the fingerprint found is the one wanted."""
    if wanted != found:
        raise ValueError(f"{what} belongs to base network {wanted[:8]}, this one is {found[:8]}")


def _on(task: Task, device: torch.device) -> Task:
    return Task(
        task.base,
        task.norm,
        {name: mask.to(device) for name, mask in task.masks.items()},
        {name: copy.deepcopy(head).to(device).eval() for name, head in task.heads.items()},
        {name: values.to(device) for name, values in task.norms.items()},
    )
