"""Notebook 01: a trial's networks from what was stored, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lib.continual.generator import Generator
from lib.continual.tasks import Task, task
from lib.continual.trials import TaskTrial
from lib.continual.unet import UNet
from lib.engine.batches import Epochs
from lib.engine.sweep import Context

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], labels (B, H, W) int64


def draws(trial: TaskTrial) -> int:
    """Seed of what a task draws anew: masks of equal last layers would be alike by that alone."""
    return 100 * trial.seed + 10 * trial.run + trial.task


def batches(trial: TaskTrial, each: Task) -> Callable[[int], Batch]:
    """Step -> mirrored training images and their label maps; equal for all methods of a seed."""
    images, labels = each.train.images, each.train.labels
    seed = draws(trial)
    if trial.shuffled:
        rng = torch.Generator().manual_seed(seed)
        labels = labels[torch.randperm(len(labels), generator=rng).to(labels.device)]
    # the label map is a fourth channel, so that it is mirrored with its image
    both = torch.cat((images, labels[:, None]), 1)
    epochs = Epochs(both, batch=trial.stream.batch, seed=seed, pad=0)

    def at(step: int) -> Batch:
        _, found = epochs(step)
        found = found.contiguous(memory_format=torch.channels_last)
        return found[:, :3], (255 * found[:, 3]).round().long()

    return at


def unet(trial: TaskTrial, state: Mapping[str, Tensor] | None, context: Context) -> UNet:
    """A U-Net of the stream's width; from the state, else from the seed."""
    channels = (
        len(state["last.weight"]) if state else task(trial.stream, trial.task, context).channels
    )
    net = UNet(3, channels, width=trial.stream.width, seed=trial.seed)
    if state:
        net.load_state_dict(state)
    return net.to(context.device)


def generator(trial: TaskTrial, state: Mapping[str, Tensor] | None, context: Context) -> Generator:
    """The auto-encoder with the residual blocks that are in the state, frozen."""
    net = Generator(width=trial.stream.width, norm=trial.norms, seed=trial.seed)
    for name in sorted({key.split(".")[1] for key in state or () if key.startswith("tasks.")}):
        net.add_task(name)
    if state:
        net.load_state_dict(state)
        net.freeze()
    return net.to(context.device).eval()


def part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The entries ``<kind>/<name>`` of an artefact, by name."""
    prefix = f"{kind}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def as_part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The inverse of ``part``."""
    return {f"{kind}/{name}": values for name, values in tensors.items()}
