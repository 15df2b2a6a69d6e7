"""The paper's five tasks: what goes in, what is learned, how it is scored.

A task has two forms. With a last layer of its own (U-Net) it gives scores of classes, chroma or
the picture in a style. Without one (residual blocks before a frozen RGB decoder, ``rgb`` below)
everything is an image: a label map is painted in the classes' colours, and read back by the nearest
colour.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.image import StructuralSimilarityIndexMeasure

from lib.continual.losses import PerceptualLoss, feature_network, gatys
from lib.continual.trials import KINDS, TASKS, GatysTrial, Stream, TrivialTrial
from lib.data.images import load_images
from lib.data.segmented import IGNORED, Segmented, load_segmented
from lib.engine.artefacts import artefact
from lib.engine.sweep import Context

SHARPNESS = 20.0  # of the classes' scores, minus the distance of colours in [0, 1]
EVALUATION_BATCH = 32
_RED, _BLUE = 0.299, 0.114  # of the luma; green is the rest

# a batch of outputs, with the images, the label maps and Gatys' pictures (of the first images)
Scored = tuple[Tensor, Tensor, Tensor, Tensor]
Forward = Callable[[Tensor], Tensor]  # network inputs to outputs


def luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to JPEG's Y (ITU-R BT.601), (N, 1, H, W) in [0, 1]."""
    red, green, blue = images.unbind(1)
    return (_RED * red + (1 - _RED - _BLUE) * green + _BLUE * blue)[:, None]


def chroma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to Cb and Cr, (N, 2, H, W) in [-0.5, 0.5]; grey is 0."""
    y = luma(images)[:, 0]
    blue, red = (images[:, 2] - y) / (2 - 2 * _BLUE), (images[:, 0] - y) / (2 - 2 * _RED)
    return torch.stack((blue, red), 1)


def to_rgb(y: Tensor, colours: Tensor) -> Tensor:
    """Luma (N, 1, H, W) and chroma (N, 2, H, W) to RGB clipped to [0, 1]."""
    y, (cb, cr) = y[:, 0], colours.unbind(1)
    red, blue = y + (2 - 2 * _RED) * cr, y + (2 - 2 * _BLUE) * cb
    green = (y - _RED * red - _BLUE * blue) / (1 - _RED - _BLUE)
    return torch.stack((red, green, blue), 1).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """The luma as an RGB image, (N, 3, H, W)."""
    return luma(images).repeat(1, 3, 1, 1)


def likeness(device: torch.device) -> Metric:
    """Mean structural similarity of (N, 3, H, W) in [0, 1]; the window's sigma is 1.5."""
    return StructuralSimilarityIndexMeasure(data_range=1.0).to(device)


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity of (N, 3, H, W) in [0, 1]; see ``likeness``."""
    return float(likeness(a.device)(a, b))


@dataclass(frozen=True)
class _Data:
    """A task's data on a device, and what most kinds of tasks have in common.

    train, test: images (N, 3, S, S) and label maps (N, S, S) uint8.
    palette: (K, 3) in [0, 1], the classes' colours.
    A kind of task adds its ``channels`` (outputs of a last layer of its own), ``loss`` (of such
    outputs), ``image_loss`` (of an RGB output; only a segmentation has several, by name),
    ``picture`` (an output as an image), ``metrics`` (of outputs, batch by batch) and ``answers``
    (trivial ones: name -> the output for inputs). Losses are divided by a unit of their kind, so
    that a penalty means the same to all.
    """

    number: int
    train: Segmented
    test: Segmented
    palette: Tensor

    def images_at(self, part: slice) -> Tensor:
        """Some of the test images in [0, 1]."""
        return self.test.images[part].float() / 255

    def test_batches(self) -> Iterator[Tensor]:
        """All test images in [0, 1], ``EVALUATION_BATCH`` at a time."""
        return (part.float() / 255 for part in self.test.images.split(EVALUATION_BATCH))

    def prepare(self, last: nn.Conv2d) -> None:
        """Give a new last layer the task's own initial weights; by default those that it has."""

    def inputs(self, images: Tensor) -> Tensor:
        """What the network is given for RGB images."""
        return images

    def target_image(self, images: Tensor, labels: Tensor) -> Tensor:
        """What an RGB output should be."""
        return images


class Segmentation(_Data):
    """Tasks 1 and 2. Metrics in per cent: miou (over the classes of the test set's label maps) and
    accuracy (of labelled pixels).
    """

    @property
    def channels(self) -> int:
        return len(self.train.classes)

    def loss(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(output, labels, ignore_index=IGNORED)

    def image_loss(self, name: str, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """``ce`` (scores fall with the distance to the classes' colours), ``l1`` or ``l2``."""
        if name == "ce":
            return F.cross_entropy(self.colour_scores(output), labels, ignore_index=IGNORED)
        difference = (output - self.target_image(images, labels)) * (labels != IGNORED)[:, None]
        return difference.abs().mean() if name == "l1" else difference.square().mean()

    def target_image(self, images: Tensor, labels: Tensor) -> Tensor:
        """The painted label map, borders black."""
        painted = self.palette[labels.clamp(max=len(self.palette) - 1)].permute(0, 3, 1, 2)
        return painted * (labels != IGNORED)[:, None]

    def colour_scores(self, output: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, K, H, W): minus the distance to each class's colour, sharpened."""
        distances = torch.cdist(output.permute(0, 2, 3, 1), self.palette)
        return -SHARPNESS * distances.permute(0, 3, 1, 2)

    def picture(self, output: Tensor, images: Tensor, rgb: bool) -> Tensor:
        scores = self.colour_scores(output) if rgb else output
        return self.palette[scores.argmax(1)].permute(0, 3, 1, 2)

    def metrics(self, scored: Iterable[Scored], rgb: bool) -> dict[str, float]:
        counts = MulticlassConfusionMatrix(self.channels, ignore_index=IGNORED)
        counts.to(self.palette.device)
        for output, _, labels, _ in scored:
            counts.update((self.colour_scores(output) if rgb else output).argmax(1), labels)
        matrix = counts.compute().cpu().double()
        right, truth = matrix.diagonal(), matrix.sum(1)
        iou = (right / (truth + matrix.sum(0) - right))[truth > 0]
        return {"miou": 100 * float(iou.mean()), "accuracy": 100 * float(right.sum() / truth.sum())}

    def answers(self) -> dict[str, Forward]:
        """The class that most pixels of the training set have, everywhere."""
        counts = torch.bincount(self.train.labels.flatten(), minlength=self.channels)
        scores = F.one_hot(counts[: self.channels].argmax(), self.channels).float()
        return {"majority class": partial(_everywhere, scores)}


class Colour(_Data):
    """Task 3. Metrics: mse of Cb and Cr (of 255 levels, squared), ssim to the photograph, which
    for an RGB output has the input's luma; ``ssim_rgb`` then scores the output as it is.
    """

    channels = 2

    def mean_chroma(self) -> Tensor:
        """(2,) mean Cb and Cr of the training set."""
        images = self.train.images
        # in batches: a sum counts in int64, eight times the size of what it is given
        whole = sum(part.sum((0, 2, 3)) for part in images.split(EVALUATION_BATCH))
        mean = whole / images[:, 0].numel() / 255  # chroma is linear in RGB
        return chroma(mean[None, :, None, None]).flatten()

    @torch.no_grad()
    def prepare(self, last: nn.Conv2d) -> None:
        """The trivial answer: from random scores of [-1, 1] half of the steps would lead to it."""
        nn.init.zeros_(last.weight)
        last.get_parameter("bias").copy_(self.mean_chroma())

    def inputs(self, images: Tensor) -> Tensor:
        """Grey, repeated, as the first layer is shared."""
        return grey(images)

    def loss(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(output, chroma(images)) / 0.01

    def image_loss(self, name: str, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return (output - images).square().mean()

    def picture(self, output: Tensor, images: Tensor, rgb: bool) -> Tensor:
        return output.clamp(0, 1) if rgb else to_rgb(luma(images), output)

    def metrics(self, scored: Iterable[Scored], rgb: bool) -> dict[str, float]:
        error = MeanSquaredError().to(self.palette.device)
        similar, as_it_is = likeness(self.palette.device), likeness(self.palette.device)
        for output, images, _, _ in scored:
            colours = chroma(output) if rgb else output
            error.update(colours.contiguous(), chroma(images))
            similar.update(to_rgb(luma(images), colours), images)
            if rgb:
                as_it_is.update(output.clamp(0, 1), images)
        scores = {"mse": 255**2 * float(error.compute()), "ssim": float(similar.compute())}
        return scores | ({"ssim_rgb": float(as_it_is.compute())} if rgb else {})

    def answers(self) -> dict[str, Forward]:
        """No colour, and the mean colour of the training set everywhere."""
        constant = self.mean_chroma()
        answers = {"grey picture": torch.zeros_like(constant), "mean chroma": constant}
        return {name: partial(_everywhere, values) for name, values in answers.items()}


@dataclass(frozen=True)
class Style(_Data):
    """Tasks 4 and 5. Metrics: content, style and total loss, ssim_content to the input, and ssim
    to the picture by optimisation.
    """

    perceptual: PerceptualLoss
    channels: ClassVar[int] = 3

    def loss(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return self.image_loss("", output.sigmoid(), images, labels)

    def image_loss(self, name: str, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return self.perceptual(output, images).total.mean() / 1e5

    def picture(self, output: Tensor, images: Tensor, rgb: bool) -> Tensor:
        return output.clamp(0, 1) if rgb else output.sigmoid()

    def metrics(self, scored: Iterable[Scored], rgb: bool) -> dict[str, float]:
        device = self.palette.device
        found: dict[str, Metric] = {}
        found |= {name: MeanMetric().to(device) for name in ("total", "content", "style")}
        found |= {name: likeness(device) for name in ("ssim_content", "ssim")}
        for output, images, _, optimised in scored:
            picture = self.picture(output, images, rgb)
            for name, values in vars(self.perceptual(picture, images)).items():
                found[name].update(values)
            found["ssim_content"].update(picture, images)
            if len(optimised):
                found["ssim"].update(picture[: len(optimised)], optimised)
        return {name: float(m.compute()) for name, m in found.items() if m.update_called}

    def answers(self) -> dict[str, Forward]:
        """The photograph as it is; the style picture pasted over it from its corner; its mean
        colour everywhere, whose content loss is that of no content at all.
        """

        def paste(inputs: Tensor) -> Tensor:
            style = self.perceptual.style[:, : inputs.shape[2], : inputs.shape[3]]
            output = inputs.clone()
            output[..., : style.shape[1], : style.shape[2]] = style
            return output

        blank = partial(_everywhere, self.perceptual.style.mean((1, 2)))
        names = ("untouched photograph", "style picture", "blank picture")
        return dict(zip(names, (lambda inputs: inputs, paste, blank), strict=True))


def _everywhere(values: Tensor, inputs: Tensor) -> Tensor:
    """(C,) values at every pixel of (N, 3, H, W) inputs."""
    return values[None, :, None, None].expand(len(inputs), -1, *inputs.shape[2:])


Task = Segmentation | Colour | Style


def stream_task(stream: Stream, number: int, context: Context) -> Task:
    """One of the tasks 1 to 5 on the context's device; read once a process."""
    if number not in TASKS:
        raise ValueError(f"the tasks are {TASKS}, not {number!r}")
    return _load(stream, number, context.device, str(context.data_root or ""))


@cache
def _load(stream: Stream, number: int, device: torch.device, data_root: str) -> Task:
    root, place = data_root or None, 1 if number == 2 else 0
    counts = {"train": stream.train[place], "test": stream.test}
    train, test = (
        _scenes(stream.scenes[place], split, stream.size, count, device, root)
        for split, count in counts.items()
    )
    data = (number, train, test, palette(len(train.classes)).to(device))
    if KINDS[number] != "style":
        return Segmentation(*data) if KINDS[number] == "segmentation" else Colour(*data)
    _, style = load_images(stream.styles[number - 4], size=stream.style_size, channels=3, root=root)
    features = feature_network(stream.features, root).to(device)
    perceptual = PerceptualLoss(features, style[0] / 255, stream.content, stream.style)
    return Style(*data, perceptual)


@cache  # tasks of the same scenes share them
def _scenes(
    name: str, split: str, size: int, count: int, device: torch.device, root: str | None
) -> Segmented:
    data = load_segmented(name, split, size=size, count=count, root=root)
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


def style_task(stream: Stream, number: int, context: Context) -> Style:
    """As ``stream_task``, for a task that is known to be a style; ValueError for another."""
    task = stream_task(stream, number, context)
    if not isinstance(task, Style):
        raise ValueError(f"task {number} is no style")
    return task


def palette(classes: int) -> Tensor:
    """(K, 3) in [0, 1]: PASCAL VOC's colours, three bits of the number to a bit of each channel."""
    numbers, colours = torch.arange(classes), torch.zeros(classes, 3, dtype=torch.long)
    for bit, channel in product(range(8), range(3)):
        colours[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours / 255


@torch.no_grad()
def evaluate(
    task: Task, forward: Forward, *, rgb: bool = False, optimised: Tensor | None = None
) -> dict[str, float]:
    """The task's metrics on its test images; ArithmeticError for an output that is not finite.

    rgb: whether the outputs are images. optimised: Gatys' pictures of the first test images.
    """
    return task.metrics(_scored(task, forward, optimised), rgb)


def _scored(task: Task, forward: Forward, optimised: Tensor | None) -> Iterator[Scored]:
    """The test set in batches: all outputs at once would be a hundred GiB of COCO's classes."""
    pictures = task.images_at(slice(0)) if optimised is None else optimised.to(task.palette)
    for number, images in enumerate(task.test_batches()):
        part = slice(number * EVALUATION_BATCH, (number + 1) * EVALUATION_BATCH)
        output = forward(task.inputs(images)).float()
        if not output.isfinite().all():
            raise ArithmeticError(f"task {task.number}: the network's output is not finite")
        yield output, images, task.test.labels[part].long(), pictures[part]


def run_trivial(trial: TrivialTrial, context: Context) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of a task's trivial answers: ``answers``, name -> metric -> value."""
    task = stream_task(trial.stream, trial.task, context)
    pictures, rgb = optimised(trial.stream, trial.task, context), isinstance(task, Style)
    answers = task.answers().items()
    return {"answers": {n: evaluate(task, f, rgb=rgb, optimised=pictures) for n, f in answers}}


def run_gatys(trial: GatysTrial, context: Context) -> dict[str, float]:
    """Optimise and keep the pictures; the loss that they reach."""
    task = style_task(trial.stream, trial.task, context)
    pictures = _optimised(trial, context).to(task.palette)
    losses = task.perceptual(pictures, task.images_at(slice(len(pictures))))
    return {"total": float(losses.total.mean())}


def optimised(stream: Stream, number: int, context: Context) -> Tensor | None:
    """Gatys' pictures (N, 3, S, S) of a style task, None for another; built where missing."""
    return _optimised(GatysTrial(stream, number), context) if KINDS[number] == "style" else None


def _optimised(trial: GatysTrial, context: Context) -> Tensor:
    def build() -> dict[str, Tensor]:
        task = style_task(trial.stream, trial.task, context)
        images = task.images_at(slice(trial.stream.gatys_images))
        return {"pictures": gatys(task.perceptual, images, steps=trial.stream.gatys_steps)}

    return artefact(trial, context, build)["pictures"]
