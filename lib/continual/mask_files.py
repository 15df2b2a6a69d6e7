"""A task's file: one bit for each masked weight, its heads and norms, and whose base it is for.

safetensors with the entries ``mask/<layer>`` (uint8, bits in C order, first bit highest, the last
byte filled up with zeros), ``norm/<name in the base's state>`` and ``head/<layer>/<name>``. The
metadata has the base's fingerprint, the norm policy and a checksum of everything.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lib.continual.mask_tasks import Task, digest, fingerprint, refuse_other_base
from lib.engine.files import write_atomically


def pack(mask: Tensor) -> Tensor:
    """Bool tensor of any shape to (ceil(n / 8),) uint8."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpack(packed: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The bool tensor of this shape; the inverse of ``pack``."""
    count = int(np.prod(shape))
    bits = np.unpackbits(packed.numpy(), count=count).view(bool)
    return torch.from_numpy(bits).reshape(shape)


def save_task(path: Path, task: Task) -> None:
    """Write a task's file; raises OSError, with the path, and then leaves an earlier file."""
    tensors = {f"mask/{name}": pack(mask) for name, mask in task.masks.items()}
    tensors |= {f"norm/{name}": values.contiguous() for name, values in task.norms.items()}
    for layer, head in task.heads.items():
        state = head.state_dict().items()
        tensors |= {f"head/{layer}/{name}": values.cpu().contiguous() for name, values in state}
    about = {"base": task.base, "norm": task.norm}
    content = digest(tensors, json.dumps(about, sort_keys=True))
    write_atomically(path, save(tensors, about | {"content": content}))


def load_task(path: Path, base: nn.Module, heads: Mapping[str, nn.Module] | None = None) -> Task:
    """Read a task's file.

    base: the network that the masks were trained on.
    heads: layer name -> a module like the task's own; a copy gets the file's values.
    Raises FileNotFoundError, and ValueError for a truncated or damaged file, for another base and
    for heads that are not those of the file (as with another number of classes).
    """
    about, tensors = _read(path)
    refuse_other_base(str(path), about["base"], fingerprint(base))
    masks = {
        name: unpack(packed, base.get_submodule(name).weight.shape)
        for name, packed in _part(tensors, "mask").items()
    }
    own = _fill(path, dict(heads or {}), _part(tensors, "head"))
    return Task(about["base"], about["norm"], masks, own, _part(tensors, "norm"))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = dict(file.metadata() or {})
            # copies: the file's own tensors are a view of the disk
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no mask file: {error}") from error
    content = about.pop("content", None)
    if content != digest(tensors, json.dumps(about, sort_keys=True)):
        raise ValueError(f"{path} is damaged or no mask file: its checksum does not fit")
    return about, tensors


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The entries of one kind, without it in their names."""
    prefix = f"{kind}/"
    return {
        name.removeprefix(prefix): values
        for name, values in tensors.items()
        if name.startswith(prefix)
    }


def _fill(
    path: Path, heads: dict[str, nn.Module], tensors: dict[str, Tensor]
) -> dict[str, nn.Module]:
    """Copies of the heads with the file's values (keys ``<layer>/<name>``)."""
    wanted = {name: tuple(values.shape) for name, values in tensors.items()}
    given = {
        f"{layer}/{name}": tuple(values.shape)
        for layer, head in heads.items()
        for name, values in head.state_dict().items()
    }
    if wanted != given:
        raise ValueError(f"{path} has heads {_text(wanted)}, given are {_text(given)}")
    filled = {layer: copy.deepcopy(head).eval() for layer, head in heads.items()}
    for layer, head in filled.items():
        head.load_state_dict(
            {name: tensors[f"{layer}/{name}"] for name in head.state_dict()}, strict=True
        )
        head.requires_grad_(False)
    return filled


def _text(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "none"
