"""Source networks: published or trained here, perhaps fine-tuned on a task in between."""

from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.labelled import DRAWN, Labelled, load_labelled
from lib.data.words import class_names
from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs, Mirrored
from lib.engine.sweep import Context
from lib.engine.training import seeded, train
from lib.networks.sizes import count_parameters
from lib.networks.sources import SourceNetwork, load_published, source_network

EVALUATION_BATCH = 100  # images
UNTRAINED = "no training"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of ``lib.data.labelled`` and how much of it: see ``load_labelled``.

    size: pixels of its images; those of the network that they are for.
    """

    name: str
    size: int = 0
    train: int = 0
    test: int = 0

    @property
    def mirrored(self) -> bool:
        """Whether its images may be mirrored: a mirrored digit is another digit, or none."""
        return self.name != "digits"


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

    def factor(self, fraction: float) -> float:
        """On the learning rate, when this fraction of all steps is done."""
        # a step's fraction may be a rounding error below the epoch that it begins
        return self.decay ** int((fraction * self.epochs + 1e-6) // self.decay_every)


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
    steps = [fields["weights"], *(stage["task"]["name"] for stage in fields["stages"])]
    return " & ".join(filter(None, steps)) or UNTRAINED


def task_data(task: Task, context: Context) -> Labelled:
    """The task's images, on the CPU."""
    return load_labelled(**asdict(task), root=context.data_root)


def source_names(source: Source, context: Context) -> tuple[str, ...]:
    """The class names of a source's outputs."""
    if source.stages:
        return task_data(source.stages[-1].task, context).classes
    if source.vocabulary in DRAWN:
        return DRAWN[source.vocabulary][0]
    return class_names(source.vocabulary, context.data_root)


def run_source(source: Source, context: Context) -> dict:
    """Train a source and keep its weights; returns its number of outputs and of parameters."""
    parameters = count_parameters(load_source(source, context))
    return {"outputs": len(source_names(source, context)), "parameters": parameters}


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
    network = load_source(replace(source, stages=tuple(before)), context)
    return fine_tune(network, source, stage, task_data(stage.task, context), source.seed)[1]


def fine_tune(
    network: SourceNetwork, source: Source, stage: Stage, data: Labelled, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Give a source's network a new head and train it in place on a stage's data.

    Returns correct[e, i], whether test image i is right after epoch e + 1, and the state of the
    whole network after the epoch with the highest test accuracy.
    """
    device, recipe = next(network.parameters()).device, stage.recipe
    # its head alone; a seed stands for the weights that are drawn after those of the layers
    fresh = source_network(source.architecture, len(data.classes), width=source.width, seed=seed)
    network.head = fresh.head.to(device)
    start = network.kept if recipe.frozen else 0
    early, late = network.layers[:start].eval(), network.part(start)
    images, mirror = data.train_images, stage.task.mirrored
    batches: Epochs
    if recipe.frozen:  # batches of what the early layers make of the images
        plain = _activations(early, images, device)
        mirrored = _activations(early, images.flip(3), device) if mirror else plain
        batches = Mirrored(plain, mirrored, batch=recipe.batch, seed=seed)
    else:
        pad = images.shape[-1] // 8
        batches = Epochs(images.to(device), batch=recipe.batch, seed=seed, pad=pad, flip=mirror)
    # without early layers they stay bytes: Caltech-256's would take 4 GiB as they go in
    tests = _activations(early, data.test_images, device) if start else data.test_images.to(device)
    labels, truth = data.train_labels.to(device), data.test_labels.to(device)
    correct: list[Tensor] = []
    best: dict[str, Tensor] = {}

    @torch.no_grad()
    def test_after(steps: int) -> None:
        if steps % len(batches):
            return
        late.eval()
        parts = (_scaled(part) for part in tests.split(EVALUATION_BATCH))
        hits = (torch.cat([late(part).argmax(1) for part in parts]) == truth).cpu()
        if hits.sum() > max((before.sum() for before in correct), default=-1):
            best.update({name: value.clone() for name, value in network.state_dict().items()})
        correct.append(hits)

    with seeded(seed):  # dropout draws from the global generator
        train(
            late,
            lambda net, batch: F.cross_entropy(net(batch[1]), labels[batch[0]]),
            batches,
            steps=recipe.epochs * len(batches),
            lr=recipe.lr,
            optimiser=torch.optim.SGD,
            optimiser_options={"momentum": recipe.momentum},
            schedule=recipe.factor,
            observe=test_after,
            label=f"{source.architecture}, {source.name}",
        )
    return torch.stack(correct), best


@torch.no_grad()
def _activations(layers: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """What (N, 3, H, W) uint8 images are after some layers, on the device."""
    parts = images.split(EVALUATION_BATCH)
    return torch.cat([layers(_scaled(part.to(device))) for part in parts])


def _scaled(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images
