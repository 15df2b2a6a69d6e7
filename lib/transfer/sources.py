"""Source networks: published or trained here, perhaps fine-tuned on a task in between; kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.labelled import Labelled
from lib.data.tasks import DRAWN, load_task
from lib.data.words import class_names
from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs, Mirrored
from lib.engine.seeding import seeded
from lib.engine.sweep import Context
from lib.engine.training import train
from lib.networks.sizes import count_parameters
from lib.networks.source_weights import load_published
from lib.networks.sources import SourceNetwork, new_head, source_network

EVALUATION_BATCH = 100
UNMIRRORED = ("digits",)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of ``lib.data.tasks`` and how much of it: see ``load_task``."""

    name: str
    size: int
    train: int = 0
    test: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD whose learning rate is multiplied by ``decay`` every ``decay_every`` epochs.

    frozen: the early layers stay as they are; images are then mirrored, but not moved.
    """

    epochs: int
    lr: float
    decay_every: int
    batch: int
    momentum: float
    frozen: bool
    decay: float = 0.1


@dataclass(frozen=True)
class Stage:
    """A training on the way to a source."""

    task: Task
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network that may be fine-tuned.

    weights: what its published weights were trained on; empty: it starts untrained.
    vocabulary: whose class names its outputs have, before any stage. stages: trainings since.
    """

    architecture: str
    width: int
    weights: str
    vocabulary: str
    stages: tuple[Stage, ...] = ()
    seed: int = 0
    version: int = 1

    @property
    def name(self) -> str:
        """As in the paper's table: "imagenet & caltech256"."""
        return source_name(asdict(self))


def source_name(fields: dict) -> str:
    """The name of the source with these fields, such as a record has."""
    steps = [fields["weights"]] if fields["weights"] else []
    return " & ".join(steps + [each["task"]["name"] for each in fields["stages"]]) or "no training"


@dataclass(frozen=True)
class Curve:
    """A fine-tuning: correct[e, i], whether test image i is right after epoch e + 1.

    best: the state of the whole network after the epoch with the highest test accuracy.
    """

    correct: Tensor
    best: dict[str, Tensor]


def task_data(task: Task, context: Context) -> Labelled:
    """The task's images, on the CPU."""
    options = {"size": task.size, "train": task.train, "test": task.test}
    return load_task(task.name, root=context.data_root, **options)


def source_names(source: Source, context: Context) -> tuple[str, ...]:
    """The class names of a source's outputs."""
    if source.stages:
        return task_data(source.stages[-1].task, context).classes
    if source.vocabulary in DRAWN:
        return DRAWN[source.vocabulary][0]
    return class_names(source.vocabulary, context.data_root)


def run_source(source: Source, context: Context) -> dict:
    """Train and keep a source; its number of outputs and of parameters."""
    network = load_source(source, context)
    return {
        "outputs": len(source_names(source, context)),
        "parameters": count_parameters(network),
    }


def load_source(source: Source, context: Context) -> SourceNetwork:
    """The source on the context's device, in evaluation mode."""
    outputs = len(source_names(source, context))
    network = source_network(source.architecture, outputs, width=source.width, seed=source.seed)
    if source.stages:
        network.load_state_dict(artefact(source, context, lambda: _train(source, context)))
    elif source.weights:
        load_published(network, source.architecture, source.weights, context.data_root)
    return network.to(context.device).eval()


def _train(source: Source, context: Context) -> dict[str, Tensor]:
    """The last stage, from the source without it; as in the paper, its best test epoch."""
    *before, stage = source.stages
    start = load_source(replace(source, stages=tuple(before)), context)
    data = task_data(stage.task, context)
    curve = fine_tune(
        start, source, data, stage.recipe, seed=source.seed, mirror=mirrors(stage.task)
    )
    return curve.best


def mirrors(task: Task) -> bool:
    """Whether a task's images may be mirrored."""
    return task.name not in UNMIRRORED


def fine_tune(
    network: SourceNetwork,
    source: Source,
    data: Labelled,
    recipe: Recipe,
    *,
    seed: int,
    mirror: bool = True,
) -> Curve:
    """Give a network a new head and train it in place with cross entropy.

    seed: of the head, the order and the augmentation.
    """
    device = next(network.parameters()).device
    options = {"width": source.width, "seed": seed}
    network.head = new_head(source.architecture, len(data.classes), **options).to(device)
    start = network.kept if recipe.frozen else 0
    early, late = network.layers[:start].eval(), network.part(start)
    batches = _batches(early, data, recipe, seed, mirror, device)
    test = describe(early, data.test_images, device)
    labels, truth = data.train_labels.to(device), data.test_labels.to(device)
    watch = _Watch(network, late, test, truth)
    with seeded(seed):  # dropout draws from the global generator
        train(
            late,
            lambda net, batch: F.cross_entropy(net(batch[1]), labels[batch[0]]),
            batches,
            steps=recipe.epochs * len(batches),
            lr=recipe.lr,
            optimiser=torch.optim.SGD,
            optimiser_options={"momentum": recipe.momentum},
            schedule=_steps(recipe),
            observe=lambda done: None if done % len(batches) else watch.look(),
            label=f"{source.architecture}, {source.name}",
        )
    return Curve(torch.stack(watch.correct), watch.best)


class _Watch:
    """What a ``Curve`` is made of: seen by ``late``, the part of the network that is trained."""

    def __init__(self, network: nn.Module, late: nn.Module, test: Tensor, truth: Tensor) -> None:
        self.network, self.late, self.test, self.truth = network, late, test, truth
        self.correct: list[Tensor] = []
        self.best: dict[str, Tensor] = {}

    @torch.no_grad()
    def look(self) -> None:
        """Try the test images; to be called after each epoch."""
        self.late.eval()
        found = [self.late(part).argmax(1) for part in self.test.split(EVALUATION_BATCH)]
        most = max((each.sum() for each in self.correct), default=-1)
        self.correct.append((torch.cat(found) == self.truth).cpu())
        if self.correct[-1].sum() > most:
            self.best = {name: each.clone() for name, each in self.network.state_dict().items()}


def _steps(recipe: Recipe) -> Callable[[float], float]:
    # a step's fraction may be a rounding error below the epoch that it begins
    return lambda fraction: (
        recipe.decay ** int((fraction * recipe.epochs + 1e-6) // recipe.decay_every)
    )


def _batches(
    early: nn.Sequential,
    data: Labelled,
    recipe: Recipe,
    seed: int,
    mirror: bool,
    device: torch.device,
) -> Epochs | Mirrored:
    images = data.train_images
    if not recipe.frozen:
        options = {"batch": recipe.batch, "seed": seed, "flip": mirror}
        return Epochs(images.to(device), pad=images.shape[-1] // 8, **options)
    plain = describe(early, images, device)
    mirrored = describe(early, images.flip(3), device) if mirror else plain
    return Mirrored(plain, mirrored, batch=recipe.batch, seed=seed)


@torch.no_grad()
def describe(layers: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """What (N, 3, H, W) uint8 images are after some layers, on the device."""
    parts = images.split(EVALUATION_BATCH)
    return torch.cat([layers(part.to(device).float() / 255) for part in parts])
