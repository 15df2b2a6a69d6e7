"""Notebook 05: how well an image can be made that draws a wanted output from a classifier.

Hirano, Iwamura, Kise: see lib/image_weights/layer.py. One trial is one classifier, one way of
changing images and one kind of target; every quantity is kept for every image.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.engine.sweep import Context
from lib.image_weights import attacks, changes
from lib.image_weights.classifiers import (
    ClassifierTrial,
    as_float,
    labelled_images,
    load_classifier,
    predict,
)
from lib.image_weights.layer import ImageWeights, Recipe, kl, steps_to, synthesize

TOLERANCE = 0.01  # nats of KL(target || output): then the output counts as reached
SIMPLEX = 8  # steps along an edge of the triangle of 3-class targets


@dataclass(frozen=True)
class Attack:
    """A targeted attack in place of the paper's method; ``hard``: to the one-hot second class."""

    kind: str
    hard: bool
    radius: float = 8 / 255
    step: float = 1 / 255
    steps: int = 40


@dataclass(frozen=True, kw_only=True)
class SynthesisTrial:
    """Changes the first ``images`` test images until a classifier gives the target.

    targets: a name of ``TARGETS``. method: a recipe, or an attack to compare with.
    observers: classifiers that are shown the results and had no part in them.
    seed: of the second classes.
    """

    label: str
    teacher: ClassifierTrial
    method: Recipe | Attack
    targets: str
    images: int
    observers: tuple[ClassifierTrial, ...] = ()
    seed: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise ValueError(f"targets must be one of {tuple(TARGETS)}, not {self.targets!r}")


@dataclass(frozen=True)
class Outcome:
    """Images before and after, (N, C, H, W); targets, outputs before and after, (N, K).

    curve: (steps + 1, N) divergence on the way; None for an attack. start: what the classifier
    sees before the first update (the image, rounded by epsilon and low-passed).
    """

    before: Tensor
    start: Tensor
    after: Tensor
    targets: Tensor
    second: Tensor
    outputs_before: Tensor
    outputs: Tensor
    curve: Tensor | None
    seconds: float


def mixture(labels: Tensor, second: Tensor, classes: int, own: float = 0.9) -> Tensor:
    """(N, K): ``own`` for the image's class, the rest for a second one (section 3.1)."""
    return own * F.one_hot(labels, classes) + (1 - own) * F.one_hot(second, classes)


def second_classes(labels: Tensor, classes: int, seed: int) -> Tensor:
    """(N,) a random class for each image, never its own."""
    rng = torch.Generator().manual_seed(seed)
    return (labels + torch.randint(1, classes, labels.shape, generator=rng)) % classes


def _random(labels: Tensor, second: Tensor, classes: int) -> Tensor:
    """Uniform over all distributions: Dirichlet(1, ..., 1)."""
    rng = torch.Generator().manual_seed(len(labels))
    draws = -torch.rand(len(labels), classes, generator=rng).clamp(min=1e-9).log()
    return draws / draws.sum(1, keepdim=True)


def _uniform(labels: Tensor, second: Tensor, classes: int) -> Tensor:
    return torch.full((len(labels), classes), 1 / classes)


def _three(labels: Tensor, second: Tensor, classes: int) -> Tensor:
    third = (second + 1) % classes
    third = torch.where(third == labels, (third + 1) % classes, third)
    return torch.stack([F.one_hot(each, classes) for each in (labels, second, third)]).sum(0) / 3


def _simplex(labels: Tensor, second: Tensor, classes: int) -> Tensor:
    """Image i gets grid point i modulo their number, over its own and the next two classes."""
    grid = simplex_grid()
    weights = grid[torch.arange(len(labels)) % len(grid)]
    three = (labels[:, None] + torch.arange(3)) % classes
    return torch.zeros(len(labels), classes).scatter(1, three, weights)


def simplex_grid() -> Tensor:
    """(45, 3) weights on own, next and next but one class."""
    steps = range(SIMPLEX + 1)
    points = [(SIMPLEX - i - j, i, j) for i in steps for j in steps if i + j <= SIMPLEX]
    return torch.tensor(points).float() / SIMPLEX


TARGETS = {
    "mixture": mixture,  # 0.9 own class, 0.1 another
    "swapped": lambda labels, second, classes: mixture(second, labels, classes),
    "two": lambda labels, second, classes: mixture(labels, second, classes, 0.5),
    "three": _three,
    "uniform": _uniform,
    "random": _random,
    "simplex": _simplex,
}


def run_synthesis(trial: SynthesisTrial, context: Context) -> dict:
    """Change the images and measure, image by image: lists in the order of the test set."""
    done = synthesize_images(trial, context)
    metrics = {
        "start_kl": kl_to(done.targets, done.outputs_before),
        "kl": kl_to(done.targets, done.outputs),
        "largest_error": (done.outputs - done.targets).abs().amax(1),
        "in_order": _in_order(done.targets, done.outputs),
        **changes.measure(done.after - done.start),
    }
    for observer in trial.observers:
        name = f"{observer.architecture} {observer.seed}"
        metrics |= _observe(name, load_classifier(observer, context), done)
    spectrum = changes.radial_spectrum(done.after - done.start).mean(0)
    start_spectrum = changes.radial_spectrum(done.start).mean(0)
    return {
        **{name: _rounded(values) for name, values in metrics.items()},
        "curve": [] if done.curve is None else _rounded(done.curve.mean(1)),
        "steps_to": [] if done.curve is None else steps_to(done.curve, TOLERANCE).tolist(),
        "spectrum": _rounded(spectrum),
        "image_spectrum": _rounded(start_spectrum),
        "images_per_second": len(done.after) / done.seconds,
    }


def synthesize_images(
    trial: SynthesisTrial, context: Context, pictures: Tensor | None = None
) -> Outcome:
    """The trial's images, with everything that is measured on them.

    pictures: (N, 3, 32, 32) uint8 to take in place of test images, to look at; the class of each
        is what the classifier says.
    """
    model, data = load_classifier(trial.teacher, context), labelled_images(trial.teacher, context)
    images, labels, classes = data.test_images, data.test_labels, len(data.classes)
    if pictures is not None:
        images, labels = pictures, predict(model, pictures).argmax(1)
    if not 1 <= trial.images <= len(images):
        raise ValueError(f"images must be in 1..{len(images)}, not {trial.images}")
    before, labels = as_float(images[: trial.images].to(context.device)), labels[: trial.images]
    second = second_classes(labels, classes, trial.seed)
    targets = TARGETS[trial.targets](labels, second, classes)
    start, after, curve, seconds = _change(trial.method, model, before, targets, second)
    outputs = _softmax(model, before), _softmax(model, after)
    tensors = (before, start, after, targets, second, *outputs)
    kept = None if curve is None else curve.cpu()
    return Outcome(*(each.cpu() for each in tensors), curve=kept, seconds=seconds)


def _change(
    method: Recipe | Attack, model: nn.Module, images: Tensor, targets: Tensor, second: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, float]:
    """What is seen at the start, the result, its curve, and the seconds it took."""
    begin = time.perf_counter()
    targets = targets.to(images)
    if isinstance(method, Attack):
        if method.hard:
            targets = F.one_hot(second, targets.shape[1]).to(images)
        if method.kind == "fgsm":
            after = attacks.fgsm(model, images, targets, method.radius)
        else:
            sizes = {"radius": method.radius, "step": method.step, "steps": method.steps}
            after = attacks.pgd(model, images, targets, **sizes)
        return images, after, None, time.perf_counter() - begin
    done = synthesize(model, images, targets, method)
    done.divergence.sum().item()  # waits for a GPU
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        start = ImageWeights(images, method)().clamp(0, 1)
        return start, done.images, done.divergence, seconds


def _softmax(model: nn.Module, images: Tensor) -> Tensor:
    return F.softmax(predict(model, images), 1)


def kl_to(targets: Tensor, outputs: Tensor) -> Tensor:
    """(N,) KL(target || output) for (N, K) probabilities; one that underflowed counts as 1e-30."""
    return kl(targets, outputs.clamp(min=1e-30).log())


def _in_order(targets: Tensor, outputs: Tensor) -> Tensor:
    """(N,) whether the classes that the target asks for come out first, in its order.

    Classes of equal probability may come in any order.
    """
    asked = torch.where(targets > 0, targets, -1.0)
    order = outputs.argsort(1, descending=True)
    return (asked.gather(1, order) == asked.sort(1, descending=True).values).all(1)


def _observe(name: str, model: nn.Module, done: Outcome) -> dict[str, Tensor]:
    """How far another classifier's output moved towards the target."""
    before, after = _softmax(model, done.before), _softmax(model, done.after)
    column = done.second[:, None]
    return {
        f"{name}: start_kl": kl_to(done.targets, before),
        f"{name}: kl": kl_to(done.targets, after),
        f"{name}: second_gain": (after - before).gather(1, column)[:, 0],
    }


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.double().tolist()]
