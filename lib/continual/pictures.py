"""What trained networks make of pictures: by method, and by two tasks' blocks in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from lib.continual.losses import gatys
from lib.continual.methods import generator_of, network
from lib.continual.tasks import (
    Segmentation,
    Style,
    chroma,
    grey,
    in_batches,
    stream_task,
    style_task,
)
from lib.continual.trials import ContinualStudy, TaskTrial, base
from lib.data.images import load_images
from lib.engine.sweep import Context

ORDERS = ("colour, style", "style, colour")


@torch.no_grad()
def chains(
    colour: TaskTrial, style: TaskTrial, images: Tensor, context: Context
) -> dict[tuple[str, str], Tensor]:
    """(order, way) -> what two tasks' residual blocks make of (N, 3, H, W) images turned grey.

    Blocks map features to features, so that those of two tasks may follow each other in one pass
    ("chained"). The other way decodes the first task's image and encodes it again ("re-encoded").
    Besides, without a way: each task alone, and neither, which is the auto-encoder.
    Raises ValueError for trials that do not share their auto-encoder.
    """
    if base(colour) != base(style):
        raise ValueError("only blocks of the same auto-encoder can follow one another")
    net, inputs = generator_of([colour, style], context), grey(images)

    def run(inputs: Tensor, *tasks: str) -> Tensor:
        return in_batches(lambda x: net(x, *tasks), inputs)

    names = f"t{colour.task}", f"t{style.task}"
    outputs = {}
    for order, (first, second) in zip(ORDERS, (names, names[::-1]), strict=True):
        outputs[order, "chained"] = run(inputs, first, second)
        outputs[order, "re-encoded"] = run(run(inputs, first), second)
    single = {"colour only": names[:1], "style only": names[1:], "neither": ()}
    return outputs | {("", title): run(inputs, *tasks) for title, tasks in single.items()}


@torch.no_grad()
def compare_chains(colour: TaskTrial, style: TaskTrial, context: Context) -> pd.DataFrame:
    """``chains`` on the test images, five ways an order: order, way, total, style, content, ...

    Losses are the style task's for the photograph in its colours. ``distance`` is the root mean
    square difference to the re-encoded picture of the same order, RGB in [0, 1];
    ``colour_distance`` is that of chroma alone, which a chain without its colour task does not
    come near.
    """
    task = style_task(style.stream, style.task, context)
    outputs = chains(colour, style, task.images, context)
    losses = {key: task.losses(output, task.images) for key, output in outputs.items()}
    rows = []
    for order in ORDERS:
        goal = outputs[order, "re-encoded"]
        for key in [key for key in outputs if key[0] in (order, "")]:
            pairs = {"distance": (outputs[key], goal)}
            pairs["colour_distance"] = chroma(outputs[key]), chroma(goal)
            apart = {name: float((x - y).square().mean().sqrt()) for name, (x, y) in pairs.items()}
            rows.append({"order": order, "way": key[1], **losses[key], **apart})
    return pd.DataFrame(rows)


def shown_images(
    sizes: ContinualStudy, number: int, context: Context
) -> tuple[Tensor, Tensor | None]:
    """Pictures (N, 3, S, S) in [0, 1] and their label maps (N, S, S).

    The test set's first four of a task, or those that the profile names, which have no label maps.
    """
    if sizes.pictures:
        _, images = load_images(sizes.pictures, size=sizes.stream.size, channels=3)
        return images.to(context.device).float() / 255, None
    task = stream_task(sizes.stream, number, context)
    return task.images[:4], task.test.labels[:4].long()


@torch.no_grad()
def pictures_by_method(
    trials: Mapping[str, TaskTrial], images: Tensor, labels: Tensor | None, context: Context
) -> dict[str, Tensor]:
    """The input, the target, and what each of the trials of one task gives, (N, 3, S, S) each.

    The target of a style is Gatys' picture; without label maps that of a segmentation is white.
    """
    trial = next(iter(trials.values()))
    task = stream_task(trial.stream, trial.task, context)
    if isinstance(task, Style):
        target = gatys(task.perceptual, images, steps=trial.stream.gatys_steps)
    elif isinstance(task, Segmentation) and labels is None:
        target = torch.ones_like(images)
    else:
        target = task.target_image(images, torch.zeros(0) if labels is None else labels)
    pictures = {"input": task.inputs(images), "target": target}
    for title, trial in trials.items():
        output = network(trial, context)(task.inputs(images)).float()
        pictures[title] = task.picture(output, images, trial.on_images)
    return pictures
