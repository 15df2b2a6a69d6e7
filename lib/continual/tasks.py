"""Notebook 01: the paper's five tasks: what goes in, what is learned, how it is scored.

A task has two forms. With a last layer of its own (U-Net) it gives scores of classes, chroma or
RGB. Without one (residual blocks before a frozen RGB decoder) everything is an image: a label map
is painted in the classes' colours, and read by the nearest colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.image import structural_similarity_index_measure

from lib.continual.colour import chroma, luma, to_rgb
from lib.continual.gatys import gatys
from lib.continual.perceptual import PerceptualLoss, feature_network
from lib.continual.profile import Stream
from lib.data.images import load_images
from lib.data.segmented import IGNORED, Segmented, load_segmented
from lib.engine.artefacts import artefact
from lib.engine.sweep import Context

TASKS = (1, 2, 3, 4, 5)
KINDS = {1: "segmentation", 2: "segmentation", 3: "colour", 4: "style", 5: "style"}
CHANNELS = {"colour": 2, "style": 3}  # of a last layer; segmentation: the classes
MAIN = {"segmentation": "miou", "colour": "mse", "style": "total"}
# losses are divided by these to be trained: Adam does not mind, and a penalty means the same to all
UNIT = {"segmentation": 1.0, "colour": 0.01, "style": 1e5}
SHARPNESS = 20.0  # of the classes' scores, minus the distance of colours in [0, 1]
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Task:
    """One of the five tasks with its data on a device.

    images, labels: (N, 3, S, S) and (N, S, S) uint8 of the training and the test set.
    palette: (K, 3) in [0, 1], the classes' colours. perceptual: of a style task.
    """

    number: int
    kind: str
    train: Segmented
    test: Segmented
    palette: Tensor
    perceptual: PerceptualLoss | None = None

    @property
    def channels(self) -> int:
        """Outputs of a last layer of its own."""
        return CHANNELS.get(self.kind, len(self.train.classes))

    def inputs(self, images: Tensor) -> Tensor:
        """What the network is given: RGB, or grey repeated, as the first layer is shared."""
        return luma(images).repeat(1, 3, 1, 1) if self.kind == "colour" else images

    def loss(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of a last layer's (N, channels, H, W), in ``UNIT``: cross entropy, L2, or style."""
        if self.kind == "segmentation":
            return F.cross_entropy(output, labels, ignore_index=IGNORED)
        if self.kind == "colour":
            return F.mse_loss(output, chroma(images)) / UNIT[self.kind]
        return self.style_loss(output.sigmoid(), images)

    def style_loss(self, output: Tensor, images: Tensor) -> Tensor:
        """Mean total loss of (N, 3, H, W) in [0, 1], in ``UNIT``."""
        return self.perceptual(output, images).total.mean() / UNIT["style"]

    def image_loss(self, kind: str, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of an RGB output in [0, 1]: ``ce``, ``l1``, ``l2``, or the style task's own.

        ce: cross entropy of scores that fall with the distance to the classes' colours.
        """
        if self.kind == "style":
            return self.style_loss(output, images)
        if kind == "ce":
            scores = self.colour_scores(output)
            return F.cross_entropy(scores, labels, ignore_index=IGNORED)
        difference = output - self.target_image(images, labels)
        if self.kind == "segmentation":
            difference = difference * (labels != IGNORED)[:, None]
        return difference.abs().mean() if kind == "l1" else difference.square().mean()

    def target_image(self, images: Tensor, labels: Tensor) -> Tensor:
        """What an RGB output should be: the painted label map (borders black) or the image."""
        if self.kind != "segmentation":
            return images
        painted = self.palette[labels.clamp(max=len(self.palette) - 1)].permute(0, 3, 1, 2)
        return painted * (labels != IGNORED)[:, None]

    def colour_scores(self, output: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, K, H, W): minus the distance to each class's colour, sharpened."""
        distances = torch.cdist(output.permute(0, 2, 3, 1), self.palette)
        return -SHARPNESS * distances.permute(0, 3, 1, 2)

    def picture(self, output: Tensor, images: Tensor, rgb: bool) -> Tensor:
        """(N, 3, H, W) in [0, 1] to look at. rgb: the output is an image already."""
        if self.kind == "segmentation":
            scores = self.colour_scores(output) if rgb else output
            return self.palette[scores.argmax(1)].permute(0, 3, 1, 2)
        if self.kind == "colour":
            return output.clamp(0, 1) if rgb else to_rgb(luma(images), output)
        return output.clamp(0, 1) if rgb else output.sigmoid()


def task(stream: Stream, number: int, context: Context) -> Task:
    """One of the tasks 1 to 5 on the context's device; read once a process."""
    if number not in TASKS:
        raise ValueError(f"the tasks are {TASKS}, not {number!r}")
    return _task(stream, number, context.device, str(context.data_root or ""))


@cache
def _task(stream: Stream, number: int, device: torch.device, root: str) -> Task:
    where = {"size": stream.size, "root": root or None}
    name = stream.scenes[1 if number == 2 else 0]
    train, test = (
        _on(load_segmented(name, split, count=count, **where), device)
        for split, count in (("train", stream.train), ("test", stream.test))
    )
    perceptual = None
    if KINDS[number] == "style":
        size, picture = stream.style_size, stream.styles[number - 4]
        _, style = load_images(picture, size=size, channels=3, root=root or None)
        network = feature_network(stream.features, root or None).to(device)
        weights = {"content_weight": stream.content, "style_weight": stream.style}
        perceptual = PerceptualLoss(network, style[0] / 255, **weights)
    colours = palette(len(train.classes)).to(device)
    return Task(number, KINDS[number], train, test, colours, perceptual)


def _on(data: Segmented, device: torch.device) -> Segmented:
    images, labels = data.images.to(device), data.labels.to(device)
    return Segmented(images, labels, data.classes, data.ids, data.skipped)


def palette(classes: int) -> Tensor:
    """(K, 3) in [0, 1]: PASCAL VOC's colours, three bits of the number to a bit of each channel."""
    numbers, colours = torch.arange(classes), torch.zeros(classes, 3, dtype=torch.long)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours / 255


Forward = Callable[[Tensor], Tensor]  # network inputs to outputs


def in_batches(forward: Forward, images: Tensor) -> Tensor:
    """Outputs for (N, C, H, W), of any N."""
    return torch.cat([forward(part) for part in images.split(EVALUATION_BATCH)])


@torch.no_grad()
def evaluate(
    task: Task, forward: Forward, *, rgb: bool = False, optimised: Tensor | None = None
) -> dict[str, float]:
    """Test metrics. rgb: the outputs are images. optimised: Gatys' pictures of the first images.

    segmentation: miou (per cent, over classes that occur in truth or prediction), accuracy (per
        cent of labelled pixels). colour: mse of Cb and Cr (of 255 levels, squared), ssim to the
        photograph; for an RGB output the latter with the input's luma, and ssim_rgb as it is.
    style: content, style and total loss, ssim_content to the input, ssim to the optimised picture.
    """
    images = task.test.images.float() / 255
    output = in_batches(lambda part: forward(task.inputs(part)).float(), images)
    if not output.isfinite().all():
        raise ArithmeticError(f"task {task.number}: the network's output is not finite")
    if task.kind == "segmentation":
        return _segmentation(task, output, rgb)
    if task.kind == "colour":
        return _colour(output, images, rgb)
    return _style(task, task.picture(output, images, rgb), images, optimised)


def trivial(task: Task, optimised: Tensor | None = None) -> dict[str, float]:
    """The same metrics for doing nothing: all background, uncoloured, the image as it is."""
    if task.kind == "segmentation":
        background = torch.zeros(task.channels, device=task.palette.device)
        background[0] = 1
        return evaluate(
            task, lambda x: background[None, :, None, None].expand(len(x), -1, *x.shape[2:])
        )
    if task.kind == "colour":
        return evaluate(task, lambda x: torch.zeros_like(x[:, :2]))
    return evaluate(task, lambda x: x, rgb=True, optimised=optimised)


def _segmentation(task: Task, output: Tensor, rgb: bool) -> dict[str, float]:
    scores = task.colour_scores(output) if rgb else output
    found, labels = scores.argmax(1), task.test.labels.long()
    iou = multiclass_jaccard_index(
        found, labels, num_classes=len(task.palette), ignore_index=IGNORED
    )
    seen = labels != IGNORED
    accuracy = (found == labels)[seen].double().mean()
    return {"miou": 100 * float(iou), "accuracy": 100 * float(accuracy)}


def _colour(output: Tensor, images: Tensor, rgb: bool) -> dict[str, float]:
    colours = chroma(output) if rgb else output
    metrics = {
        "mse": 255**2 * float(F.mse_loss(colours, chroma(images))),
        "ssim": ssim(to_rgb(luma(images), colours), images),
    }
    return metrics | ({"ssim_rgb": ssim(output.clamp(0, 1), images)} if rgb else {})


def _style(
    task: Task, picture: Tensor, images: Tensor, optimised: Tensor | None
) -> dict[str, float]:
    metrics = style_losses(task, picture, images) | {"ssim_content": ssim(picture, images)}
    if optimised is not None:
        metrics["ssim"] = ssim(picture[: len(optimised)], optimised.to(picture))
    return metrics


def style_losses(task: Task, output: Tensor, images: Tensor) -> dict[str, float]:
    """A style task's mean losses of (N, 3, H, W) outputs in [0, 1]: total, content, style."""
    pairs = zip(output.split(EVALUATION_BATCH), images.split(EVALUATION_BATCH), strict=True)
    losses = [task.perceptual(*pair) for pair in pairs]
    return {
        name: float(torch.cat([getattr(each, name) for each in losses]).mean())
        for name in ("total", "content", "style")
    }


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity of (N, 3, H, W) in [0, 1], Gaussian window of sigma 1.5."""
    return float(structural_similarity_index_measure(a, b, data_range=1.0))


@dataclass(frozen=True)
class GatysTrial:
    """The first test images in the style of task 4 or 5, each optimised by itself."""

    stream: Stream
    task: int
    version: int = 1


def run_gatys(trial: GatysTrial, context: Context) -> dict:
    """Optimise and keep the pictures; how far they came, beside the images as they were."""
    pictures = _optimised(trial.stream, trial.task, context)
    each = task(trial.stream, trial.task, context)
    images = each.test.images[: len(pictures)].float() / 255
    pictures = pictures.to(images)
    return {
        "total": float(each.perceptual(pictures, images).total.mean()),
        "untouched": float(each.perceptual(images, images).total.mean()),
        "ssim_content": ssim(pictures, images),
    }


def optimised(stream: Stream, number: int, context: Context) -> Tensor | None:
    """Gatys' pictures (N, 3, S, S) of a style task, None for another; built where missing."""
    return _optimised(stream, number, context) if KINDS[number] == "style" else None


def _optimised(stream: Stream, number: int, context: Context) -> Tensor:
    def build() -> dict[str, Tensor]:
        each = task(stream, number, context)
        images = each.test.images[: stream.gatys_images].float() / 255
        return {"pictures": gatys(each.perceptual, images, steps=stream.gatys_steps)[0]}

    return artefact(GatysTrial(stream, number), context, build)["pictures"]
