"""Notebook 01: two tasks' residual blocks one after the other, which the paper announces.

Blocks map features to features, so that those of two tasks may follow each other in one pass
("chained"). The other way decodes the first task's image and encodes it again ("re-encoded").
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lib.continual.colour import luma
from lib.continual.learning import generator_of
from lib.continual.tasks import Forward, in_batches, ssim, style_losses, task
from lib.continual.trials import TaskTrial, base
from lib.engine.sweep import Context

ORDERS = ("colour, style", "style, colour")


def ways(first: TaskTrial, second: TaskTrial, context: Context) -> dict[str, Forward]:
    """Images (N, 3, H, W) in [0, 1] to images: ``chained`` and ``re-encoded``, first task first.

    Raises ValueError for trials that do not share their auto-encoder.
    """
    if base(first) != base(second):
        raise ValueError("only blocks of the same auto-encoder can follow one another")
    net = generator_of([first, second], context)
    one, two = (f"t{trial.task}" for trial in (first, second))
    return {
        "chained": lambda x: net(x, one, two),
        "re-encoded": lambda x: net(net(x, one), two),
    }


@torch.no_grad()
def compare(colour: TaskTrial, style: TaskTrial, context: Context) -> pd.DataFrame:
    """Both orders of a colour and a style task, both ways, on the grey test images.

    Columns: order, way, the style task's total, style and content loss (for the photograph in its
    colours), ssim to the other way. The last rows give what only colouring, only styling and the
    auto-encoder alone leave.
    """
    each = task(style.stream, style.task, context)
    images = each.test.images.float() / 255
    grey = luma(images).repeat(1, 3, 1, 1)
    rows = []
    for name, pair in _orders(colour, style).items():
        outputs = {way: in_batches(f, grey) for way, f in ways(*pair, context).items()}
        shared = {"order": name, "ssim_between": ssim(*outputs.values())}
        rows += [
            {**shared, "way": way, **style_losses(each, output, images)}
            for way, output in outputs.items()
        ]
    net = generator_of([colour, style], context)
    single = {
        "colour only": lambda x: net(x, f"t{colour.task}"),
        "style only": lambda x: net(x, f"t{style.task}"),
        "neither": net,
    }
    for name, forward in single.items():
        losses = style_losses(each, in_batches(forward, grey), images)
        rows.append({"order": name, "way": "", **losses})
    columns = ["order", "way", "total", "style", "content", "ssim_between"]
    return pd.DataFrame(rows, columns=columns)


@torch.no_grad()
def pictures(colour: TaskTrial, style: TaskTrial, images: Tensor, context: Context) -> dict:
    """Title -> (N, 3, H, W): the grey input, each task alone, both orders both ways."""
    grey = luma(images).repeat(1, 3, 1, 1)
    net = generator_of([colour, style], context)
    found = {
        "input": grey,
        "colour": net(grey, f"t{colour.task}"),
        "style": net(grey, f"t{style.task}"),
    }
    for name, pair in _orders(colour, style).items():
        for way, forward in ways(*pair, context).items():
            found[f"{name}:\n{way}"] = forward(grey)
    return found


def _orders(colour: TaskTrial, style: TaskTrial) -> dict[str, tuple[TaskTrial, TaskTrial]]:
    return dict(zip(ORDERS, ((colour, style), (style, colour)), strict=True))
