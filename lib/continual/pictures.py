"""What trained networks make of pictures: by method, and by two tasks' blocks in one pass."""

from collections.abc import Mapping
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lib.continual.losses import gatys
from lib.continual.methods import generator_of, network
from lib.continual.tasks import Segmentation, Style, chroma, grey, ssim, stream_task, style_task
from lib.continual.trials import ContinualStudy, TaskTrial, base
from lib.data.images import load_images
from lib.engine.sweep import Context

ORDERS = ("colour, style", "style, colour")


@torch.no_grad()
def chains(
    colour: TaskTrial, style: TaskTrial, images: Tensor, context: Context
) -> dict[tuple[str, str], Tensor]:
    """(order, way) -> what two tasks' residual blocks make of (N, 3, H, W) images turned grey.

    "chained": both in one pass. "re-encoded": with an image decoded in between. Besides, without an
    order: each task alone, and neither, which is the auto-encoder.
    Raises ValueError for trials that do not share their auto-encoder.
    """
    if base(colour) != base(style):
        raise ValueError("only blocks of the same auto-encoder can follow one another")
    net, inputs = generator_of([colour, style], context), grey(images)
    names = f"t{colour.task}", f"t{style.task}"
    outputs = {}
    for order, (first, second) in zip(ORDERS, (names, names[::-1]), strict=True):
        outputs[order, "chained"] = net(inputs, first, second)
        outputs[order, "re-encoded"] = net(net(inputs, first), second)
    single = {"colour only": names[:1], "style only": names[1:], "neither": ()}
    return outputs | {("", title): net(inputs, *tasks) for title, tasks in single.items()}


@torch.no_grad()
def compare_chains(colour: TaskTrial, style: TaskTrial, context: Context) -> pd.DataFrame:
    """``chains`` on the test images, five ways an order: order, way, content, style, total, ...

    Losses are the style task's for the photograph in its colours. ``distance`` is the root mean
    square difference to the re-encoded picture of the same order, RGB in [0, 1];
    ``colour_distance`` is that of chroma alone, which a chain without its colour task does not
    come near.
    """
    task, rows = style_task(style.stream, style.task, context), []
    for images in task.test_batches():
        outputs = chains(colour, style, images, context)
        losses = {key: vars(task.perceptual(output, images)) for key, output in outputs.items()}
        for order, key in product(ORDERS, outputs):
            if key[0] in (order, ""):
                made, goal = outputs[key], outputs[order, "re-encoded"]
                pairs = {"distance": (made, goal), "colour_distance": (chroma(made), chroma(goal))}
                apart = {name: (x - y).square().mean((1, 2, 3)) for name, (x, y) in pairs.items()}
                values = {name: x.tolist() for name, x in (losses[key] | apart).items()}
                rows.append(pd.DataFrame({"order": order, "way": key[1], **values}))
    table = pd.concat(rows).groupby(["order", "way"], sort=False, as_index=False).mean()
    return table.assign(**table[["distance", "colour_distance"]] ** 0.5)


def shown_images(
    sizes: ContinualStudy, number: int, context: Context
) -> tuple[Tensor, Tensor | None]:
    """Pictures (N, 3, S, S) in [0, 1] and their label maps (N, S, S).

    The test set's first four of a task, or those that the profile names, which have no label maps.
    """
    if sizes.pictures:
        return _photographs(sizes.pictures, sizes.stream.size, context), None
    task = stream_task(sizes.stream, number, context)
    return task.images_at(slice(4)), task.test.labels[:4].long()


def _photographs(name: str, size: int, context: Context) -> Tensor:
    """An image set by name, (N, 3, size, size) in [0, 1] on the context's device."""
    _, images = load_images(name, size=size, channels=3, root=context.data_root)
    return images.to(context.device).float() / 255


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


@torch.no_grad()
def one_photograph(
    trials: Mapping[str, TaskTrial], photograph: str, context: Context
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """A photograph in the style of one task by each method, and the pictures.

    Rows: method, ssim to Gatys' picture, content, style, total; the untouched photograph and Gatys'
    picture itself are rows as well. photograph: by name, such as "photos:astronaut".
    """
    trial = next(iter(trials.values()))
    images = _photographs(photograph, trial.stream.size, context)
    pictures = pictures_by_method(trials, images, None, context)
    perceptual = style_task(trial.stream, trial.task, context).perceptual
    rows = []
    for title, picture in pictures.items():
        losses = {name: float(x.mean()) for name, x in vars(perceptual(picture, images)).items()}
        rows.append({"method": title, "ssim": ssim(picture, pictures["target"]), **losses})
    names = {"input": "untouched photograph", "target": "Gatys"}
    return pd.DataFrame(rows).replace({"method": names}), pictures
