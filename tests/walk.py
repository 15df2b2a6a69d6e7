"""A paper's profile walked through at its real counts and sizes, on tensors that hold no data.

Fake tensors have shapes only, and an operation on them takes no time, so that every kind of trial
fits into a minute. What they would occupy is counted; a real batch takes up to a fifth more, for
convolutions.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30
OPS = torch.ops.aten


class Tally(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive; ``peak``: the most so far.

    Where the data of a fake tensor is asked for, numbers are 1, conditions hold, and a choice by a
    mask takes all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = ANSWERS.get(func.overloadpacket, lambda *_: None)(*args)
        result = func(*args, **(kwargs or {})) if answer is None else answer
        if func.overloadpacket is OPS.sum and not args[0].is_floating_point():
            self.peak = max(self.peak, self.live + 8 * args[0].numel())  # a copy in int64
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.sizes:
            self.sizes[key] = size
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.free, key).atexit = False

    def free(self, key: int) -> None:
        self.live -= self.sizes.pop(key)


def one(tensor: Tensor) -> bool | int | float:
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def all_chosen(values: Tensor, places: list[Tensor]) -> Tensor | None:
    if (mask := places[0]) is None or mask.dtype != torch.bool:
        return None
    return values.new_empty(mask.numel(), *values.shape[mask.ndim :])


ANSWERS = {
    OPS._local_scalar_dense: one,
    OPS.index: all_chosen,
    OPS.allclose: lambda *_: True,
    OPS.bincount: lambda x, weights=None, least=1: x.new_empty(max(least, 1), dtype=torch.int64),
    OPS._unique2: lambda x, *_: (x.new_empty(1), x.new_empty(0), x.new_empty(0)),
}


def copied(tensor: Tensor, memo: dict) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy


class Walk:
    """Fake tensors, their tally, and what was learned on them.

    load: makes the data of the study, which does not count.
    """

    def __init__(self, load: Callable[[], object]) -> None:
        self.load, self.learned = load, {}
        self.fake, self.tally = FakeTensorMode(allow_non_fake_inputs=True), Tally()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside, tensors are fake; afterwards ``gib`` is the most they took beside the data."""
        with self.fake, self.tally:
            self.load()
            self.tally.peak = before = self.tally.live
            yield
        self.gib = (self.tally.peak - before) / GIB

    def artefact(self, trial, context, build) -> dict[str, Tensor]:
        if trial not in self.learned:
            self.learned[trial] = {name: values.detach() for name, values in build().items()}
        return self.learned[trial]


def patched(patch: pytest.MonkeyPatch) -> None:
    """What fake tensors cannot do: all is on the CPU already, and weights cannot be replaced."""
    patch.setattr(nn.Module, "to", lambda module, *_, **__: module)
    patch.setattr(Tensor, "__deepcopy__", copied)
    patch.setattr(Tensor, "tolist", lambda values: [1.0] * len(values))
