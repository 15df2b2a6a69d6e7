"""A GPU that is not there, played by the CPU, so that a mix-up of devices is found without one.

Inside ``PretendedGPU`` a tensor that is made on or moved to ``cuda`` stays where it is and gets a
mark. What is computed from marked tensors is marked. A marked and an unmarked tensor may not meet,
and a marked one has no numpy array, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree as pytree

GPU, CPU = torch.device("cuda"), torch.device("cpu")
MAY_MEET = (
    "to",
    "type_as",
    "copy_",
    "load_state_dict",
    "_has_compatible_shallow_copy_type",
    "__deepcopy__",
)
INDEXED = ("__getitem__", "__setitem__", "index_put_")  # an index may stay on the CPU


def _marked(value: Any) -> bool:
    return isinstance(value, Tensor) and getattr(value, "pretended", False)


def _mark(value: Any, mark: bool) -> Any:
    for tensor in pytree.tree_leaves(value):
        if isinstance(tensor, Tensor):
            tensor.pretended = mark
    return value


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in pytree.tree_leaves(values):
        if isinstance(value, Tensor):
            yield value


def _named(value: Any) -> torch.device | None:
    """The device that an argument names."""
    if isinstance(value, torch.device):
        return value
    if isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"):
        return torch.device(value)
    return None


class _Generator(torch.Generator):
    """Random numbers of the CPU for either device."""

    def __new__(cls, device: torch.device | str = CPU) -> _Generator:
        return super().__new__(cls)


class PretendedGPU(TorchFunctionMode):
    """See the module; raises RuntimeError where devices meet."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), function.__name__
        if name == "_parse_to":  # what nn.Module.to asks for is given to each of its tensors
            device, *rest = function(*args, **kwargs)
            return (GPU if any(map(_marked, _tensors((args, kwargs)))) else device, *rest)
        if name in ("__get__", "__set__"):
            return self._attribute(function, args, kwargs)
        if name in ("numpy", "__array__") and _marked(args[0]):
            raise TypeError("a tensor of the pretended GPU has no numpy array: use .cpu() first")
        asked = [_named(value) for value in (*args, *kwargs.values())]
        asked = [device for device in asked if device]
        if name in ("to", "type_as") and len(args) > 1 and isinstance(args[1], Tensor):
            asked = [GPU if _marked(args[1]) else CPU]
        args = [CPU if _named(value) else value for value in args]
        kwargs = {key: CPU if _named(value) else value for key, value in kwargs.items()}
        if name not in MAY_MEET:
            self._refuse_a_meeting(function, name, args, kwargs)
        marked = any(map(_marked, _tensors((args, kwargs))))
        result = function(*args, **kwargs)
        if asked:
            marked = asked[-1].type == "cuda"
            if (
                args and result is args[0] and _marked(result) != marked
            ):  # a move is no change of its source
                result = result.detach().clone() if not result.requires_grad else result.clone()
        elif name == "cpu":
            marked = False
            if result is args[0] and _marked(result):
                result = result.clone()
        elif name in ("copy_", "__setitem__"):
            return result
        return _mark(result, marked)

    def _attribute(self, function, args, kwargs):
        owner, result = args[0], function(*args, **kwargs)
        field = getattr(getattr(function, "__self__", None), "__name__", "")
        if field == "device" and _marked(owner):
            return GPU
        if field == "is_cuda":
            return _marked(owner)
        if function.__name__ == "__set__" and isinstance(args[1], Tensor):
            if field == "data":
                owner.pretended = _marked(args[1])
            elif field == "grad" and _marked(owner) != _marked(args[1]):
                raise RuntimeError("a gradient is on another device than its tensor")
        return _mark(result, _marked(owner)) if isinstance(result, Tensor) else result

    def _refuse_a_meeting(self, function, name, args, kwargs):
        met = args[:1] + args[2:] if name in INDEXED else (args, kwargs)
        sides = {_marked(tensor) for tensor in _tensors(met) if tensor.ndim}
        if len(sides) == 2:
            called = resolve_name(function) or name
            raise RuntimeError(f"{called}: tensors of the CPU and of the pretended GPU meet")


@pytest.fixture
def pretended_gpu(monkeypatch) -> Iterator[torch.device]:
    """The device of a GPU that the CPU plays for the rest of the test."""
    new = nn.Parameter.__new__

    def marked_new(cls, data=None, requires_grad=True):
        return _mark(new(cls, data, requires_grad), _marked(data))

    monkeypatch.setattr(nn.Parameter, "__new__", marked_new)
    monkeypatch.setattr(torch, "Generator", _Generator)
    with PretendedGPU():
        yield GPU
