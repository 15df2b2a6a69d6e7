"""Notebook 01: what each method makes of the same pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lib.continual.gatys import gatys
from lib.continual.learning import network
from lib.continual.profile import ContinualStudy
from lib.continual.tasks import Task, task
from lib.continual.trials import TaskTrial
from lib.data.images import load_images
from lib.engine.sweep import Context

Pictures = dict[str, Tensor]  # title -> (N, 3, S, S) in [0, 1]


def shown(sizes: ContinualStudy, number: int, context: Context) -> tuple[Tensor, Tensor | None]:
    """Pictures (N, 3, S, S) in [0, 1] and their label maps (N, S, S).

    The test set's first four of a task, or those that the profile names, which have no label maps.
    """
    if sizes.pictures:
        _, images = load_images(sizes.pictures, size=sizes.stream.size, channels=3)
        return images.to(context.device).float() / 255, None
    test = task(sizes.stream, number, context).test
    return test.images[:4].float() / 255, test.labels[:4].long()


def by_method(
    trials: Mapping[str, TaskTrial], images: Tensor, labels: Tensor | None, context: Context
) -> Pictures:
    """The input, the target, and what each of the trials of one task gives.

    The target of a style is Gatys' picture; without label maps a segmentation has none.
    """
    first = next(iter(trials.values()))
    each = task(first.stream, first.task, context)
    found = {"input": each.inputs(images), "target": _target(each, first, images, labels)}
    with torch.no_grad():
        for title, trial in trials.items():
            output = network(trial, context)(each.inputs(images)).float()
            found[title] = each.picture(output, images, trial.on_images)
    return found


def _target(each: Task, trial: TaskTrial, images: Tensor, labels: Tensor | None) -> Tensor:
    if each.kind == "style":
        return gatys(each.perceptual, images, steps=trial.stream.gatys_steps)[0]
    if each.kind == "segmentation" and labels is None:
        return torch.ones_like(images)
    return each.target_image(images, labels)
