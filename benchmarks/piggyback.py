"""Piggyback on the U-Net of the paper's size: a step of training, a switch, a task's file."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import torch
from timing import Row, at_most, compare, seconds
from torch import nn
from torch.nn import functional as F

from lib.continual.masks import THRESHOLD, MaskedNetwork, MaskedTask, TaskSwitcher, save_task
from lib.continual.networks import UNet

CLASSES = 21
SLOWER = 1.1  # a step's time over that of a plain step, at most
SWITCHES = 20


def step(device: torch.device) -> Row:
    """Adam on masks, head and norms, beside Adam on the weights, head and norms."""
    count, size = (8, 256) if device.type == "cuda" else (4, 64)
    plain = UNet(3, CLASSES).to(device)
    masked = MaskedNetwork(plain, {"last": plain.new_last(CLASSES)}, norm="affine")
    images = torch.rand(count, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (count, size, size), device=device)
    row = compare(
        f"Piggyback step, {count} images of {size} px",
        _training(masked, images, labels),
        _training(plain, images, labels),
        (1, 1),
        "steps/s",
        1 / SLOWER,
        device,
    )
    return row | {"note": f"{1 / row['ratio']:.3g} times a plain step, at most {SLOWER} is wanted"}


def _training(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    trained = [values for values in network.parameters() if values.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=1e-4, fused=True)  # as ``train`` does

    def work() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()

    return work


def switch(device: torch.device) -> Row:
    """Between two tasks with norms of their own."""
    base = UNet(3, 81).to(device)
    tasks = {"one": _task(base, "affine", seed=1), "other": _task(base, "affine", seed=2)}
    switcher, names = TaskSwitcher(base, tasks), cycle(tasks)
    times = [seconds(lambda: switcher.use(next(names)), device) for _ in range(SWITCHES)]
    return at_most("switch of task", 1000 * statistics.median(times), "ms", 50.0, device)


def file(device: torch.device) -> Row:
    """A task's file without the values of its head; one bit a weight are 1.761 MiB."""
    base = UNet(3, 81)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {norm: _file_mib(base, norm, Path(folder)) for norm in ("frozen", "affine")}
    head = sum(values.nbytes for values in base.new_last(CLASSES).parameters()) / 2**20
    row = at_most("file of a mask, without head", sizes["frozen"] - head, "MiB", 1.8, device)
    text = "its head adds {:.4f}, norms of its own {:.4f} MiB"
    return row | {"note": text.format(head, sizes["affine"] - sizes["frozen"])}


def _file_mib(base: UNet, norm: str, folder: Path) -> float:
    path = folder / f"{norm}.safetensors"
    save_task(path, _task(base, norm, seed=0))
    return path.stat().st_size / 2**20


def _task(base: UNet, norm: str, seed: int) -> MaskedTask:
    """With random masks: about half of the weights are used."""
    masked = MaskedNetwork(base, {"last": base.new_last(CLASSES)}, norm=norm)
    torch.manual_seed(seed)
    for mask in masked.masks().values():
        nn.init.uniform_(mask.real, 0, 2 * THRESHOLD)
    return masked.task()
