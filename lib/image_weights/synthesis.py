"""How well an image can be made that draws a wanted output from a classifier.

One trial is one classifier, one way of changing images and one kind of target. Every quantity is
recorded for every image.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.engine.sweep import Context
from lib.image_weights.classifiers import (
    ClassifierTrial,
    as_float,
    labelled_images,
    load_classifier,
    network_name,
    predict,
)
from lib.image_weights.layer import (
    TOLERANCE,
    ImageWeights,
    Recipe,
    UntilReached,
    frequency_radius,
    kl,
    steps_to,
    synthesize,
)

SIMPLEX = 8  # steps along an edge of the triangle of 3-class targets
# rows: luma (the mean), then two orthogonal chroma axes; orthonormal, so energies add up
OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
OPPONENT = OPPONENT / OPPONENT.norm(dim=1, keepdim=True)
COARSE, FINE = 4, 10  # FFT bins: slow tints lie below the first, pixel noise beyond the second


@dataclass(frozen=True)
class Attack:
    """A targeted attack in place of the paper's method.

    kind is ``fgsm``, one step of the full radius (Goodfellow et al. 2014), or ``pgd``, many steps
    that stay within the radius in the max norm (Madry et al. 2018). hard aims at the one-hot
    second class, as attacks usually do, and not at the whole distribution.
    """

    kind: str
    hard: bool
    radius: float = 8 / 255
    step: float = 1 / 255
    steps: int = 40

    def __post_init__(self) -> None:
        if self.kind not in ("fgsm", "pgd"):
            raise ValueError(f"kind must be fgsm or pgd, not {self.kind!r}")
        if self.radius < 0 or self.step <= 0 or self.steps < 1:
            sizes = f"{self.radius}, {self.step}, {self.steps}"
            raise ValueError(f"radius >= 0, step > 0, steps >= 1, not {sizes}")


def attacked(model: nn.Module, images: Tensor, targets: Tensor, attack: Attack) -> Tensor:
    """Images (N, C, H, W) in [0, 1], none further than the radius (max norm) from the original.

    Each step goes along the sign of the gradient of the cross entropy to ``targets`` (N, K), which
    are taken as they are. PGD starts at the image itself. Its last iterate is returned, as is that
    of the paper's method; with a fixed step it circles around a soft target.
    """
    if attack.kind == "fgsm":
        return (images - attack.radius * _gradient(model, images, targets).sign()).clamp(0, 1)
    low, high = (images - attack.radius).clamp(0, 1), (images + attack.radius).clamp(0, 1)
    current = images
    for _ in range(attack.steps):
        step = attack.step * _gradient(model, current, targets).sign()
        current = (current - step).clamp(low, high)
    return current


def _gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Gradient of each image's cross entropy to its target at the image."""
    images = images.detach().requires_grad_()
    losses = -(targets * F.log_softmax(model(images), 1)).sum(1)
    (gradient,) = torch.autograd.grad(losses.sum(), [images])
    return gradient


def radial_spectrum(change: Tensor) -> Tensor:
    """(N, R) energy of each change by distance from frequency 0, in whole FFT bins.

    change is (N, C, H, W), generated minus original. The rows sum to the change's energy
    (Parseval), and there are R = diagonal / 2 + 1 bins.
    """
    height, width = change.shape[-2:]
    power = torch.fft.fft2(change, norm="ortho").abs().square().sum(1)
    radius = frequency_radius(height, width).round().long().to(change.device)
    bins = torch.zeros(len(change), int(radius.max()) + 1, device=change.device)
    return bins.index_add_(1, radius.flatten(), power.flatten(1).to(bins))


def measure(change: Tensor) -> dict[str, Tensor]:
    """(N,) measures of RGB changes (N, 3, H, W); shares are of the energy, NaN without a change.

    rms and largest are in units of the [0, 1] range. fine is the RMS of what lies beyond FINE
    bins (noise), tint the RMS of chroma below COARSE bins (rainbow). White noise has a fine_share
    of 0.66 at 32 px and a chroma_share of 2/3. local is the share of pixels that holds 90 % of
    the energy.
    """
    height, width = change.shape[-2:]
    spectrum = radial_spectrum(change)
    chroma = torch.einsum("kc,nchw->nkhw", OPPONENT.to(change), change)[:, 1:]
    energy, values = spectrum.sum(1), change[0].numel()
    fine = spectrum[:, FINE + 1 :].sum(1)
    tint = radial_spectrum(chroma)[:, :COARSE].sum(1)
    pixels = change.square().sum(1).flatten(1).sort(1, descending=True).values.cumsum(1)
    local = ((pixels < 0.9 * pixels[:, -1:]).sum(1) + 1) / (height * width)
    return {
        "rms": (energy / values).sqrt(),
        "largest": change.abs().flatten(1).amax(1),
        "fine": (fine / values).sqrt(),
        "tint": (tint / values).sqrt(),
        "fine_share": fine / energy,
        "chroma_share": chroma.square().flatten(1).sum(1) / energy,
        "local": torch.where(energy > 0, local, torch.nan),
    }


# Ten times the effective step of the paper's momentum SGD, and twice its updates; it does not stop.
LARGE_STEPS = Recipe(lr=0.5, momentum=0.9, steps=200)
OPTIMISERS = {
    "SGD": Recipe(),
    "SGD, 10 x lr": Recipe(lr=0.5),
    "momentum": Recipe(momentum=0.9),
    "momentum, lr / 10": Recipe(momentum=0.9, lr=0.005),
    # v <- mu v + lr g; W <- W - lr v (eqs. 7, 8): the learning rate acts twice
    "momentum, as printed": Recipe(momentum=0.9, lr=0.05**2),
    "momentum + low-pass": Recipe(momentum=0.9, low_pass=10),
    "SGD + low-pass": Recipe(low_pass=10),
    "Fourier": Recipe(basis="fourier"),
    "Fourier, momentum": Recipe(basis="fourier", momentum=0.9),
    "large steps": LARGE_STEPS,
    "until reached": UntilReached(),
}
MAPPINGS = {
    f"{mapping}, {name}": replace(OPTIMISERS[name], mapping=mapping)
    for mapping in ("sigmoid", "clamp")
    for name in ("SGD", "until reached")
}
ATTACKS = {
    "FGSM, hard": Attack("fgsm", hard=True),
    "FGSM, soft": Attack("fgsm", hard=False),
    "PGD, hard": Attack("pgd", hard=True),
    "PGD, soft": Attack("pgd", hard=False),
    "PGD, soft, small steps": Attack("pgd", hard=False, step=0.25 / 255, steps=100),
}
# what every classifier is driven with; the first one with all others as well
COMPARED = (
    "SGD",
    "SGD, 10 x lr",
    "momentum",
    "momentum, lr / 10",
    "momentum + low-pass",
    "large steps",
    "until reached",
    "PGD, hard",
    "PGD, soft, small steps",
)
MIXTURES = ("swapped", "two", "three", "uniform", "random")


@dataclass(frozen=True, kw_only=True)
class SynthesisTrial:
    """Changes the first ``images`` test images until a classifier gives the target.

    targets is a name of ``TARGETS``. method is a recipe, or an attack to compare with.
    observers are classifiers that are shown the results and had no part in them. seed is that of
    the second classes.
    """

    label: str
    teacher: ClassifierTrial
    method: Recipe | Attack
    targets: str
    images: int
    observers: tuple[ClassifierTrial, ...] = ()
    seed: int = 0
    version: int = 2

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise ValueError(f"targets must be one of {tuple(TARGETS)}, not {self.targets!r}")


@dataclass(frozen=True)
class Outcome:
    """Images before and after, (N, C, H, W); targets, outputs before and after, (N, K).

    start is what the classifier sees before the first update (the image, rounded by epsilon and
    low-passed). curve is (steps + 1, N), the divergence on the way, and None for an attack.
    """

    before: Tensor
    start: Tensor
    after: Tensor
    targets: Tensor
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
    """Uniform over all distributions, Dirichlet(1, ..., 1), seeded by the number of images."""
    rng = torch.Generator().manual_seed(len(labels))
    draws = -torch.rand(len(labels), classes, generator=rng).clamp(min=1e-9).log()
    return draws / draws.sum(1, keepdim=True)


def _three(labels: Tensor, second: Tensor, classes: int) -> Tensor:
    third = (second + 1) % classes
    third = torch.where(third == labels, (third + 1) % classes, third)
    return torch.stack([F.one_hot(own, classes) for own in (labels, second, third)]).sum(0) / 3


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
    "uniform": lambda labels, second, classes: torch.full((len(labels), classes), 1 / classes),
    "random": _random,
    "simplex": _simplex,
}


def run_synthesis(trial: SynthesisTrial, context: Context) -> dict:
    """Change the images and measure, image by image, in lists in the order of the test set."""
    outcome = synthesize_images(trial, context)
    change, curve = outcome.after - outcome.start, outcome.curve
    metrics = {
        "start_kl": kl_to(outcome.targets, outcome.outputs_before),
        "kl": kl_to(outcome.targets, outcome.outputs),
        "largest_error": (outcome.outputs - outcome.targets).abs().amax(1),
        "in_order": in_order(outcome.targets, outcome.outputs),
        **measure(change),
    }
    for observer in trial.observers:
        name, model = network_name(vars(observer)), load_classifier(observer, context)
        for when, images in (("start_kl", outcome.before), ("kl", outcome.after)):
            metrics[f"{name}: {when}"] = kl_to(outcome.targets, _softmax(model, images))
    return {
        **{name: rounded(values) for name, values in metrics.items()},
        "curve": [] if curve is None else rounded(curve.mean(1)),
        "steps_to": [] if curve is None else steps_to(curve, TOLERANCE).tolist(),
        "spectrum": rounded(radial_spectrum(change).mean(0)),
        "image_spectrum": rounded(radial_spectrum(outcome.start).mean(0)),
        "images_per_second": len(outcome.after) / outcome.seconds,
    }


def synthesize_images(
    trial: SynthesisTrial, context: Context, pictures: Tensor | None = None
) -> Outcome:
    """The trial's images, with everything that is measured on them.

    pictures is (N, 3, 32, 32) uint8 to take in place of test images, to look at. The class of
    each is then what the classifier says.
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
    begin, curve = time.perf_counter(), None
    if isinstance(trial.method, Attack):
        aim = F.one_hot(second, classes) if trial.method.hard else targets
        start, after = before, attacked(model, before, aim.to(before), trial.method)
    else:
        made = synthesize(model, before, targets.to(before), trial.method)
        after, curve = made.images, made.divergence.cpu()
        start = ImageWeights(before, trial.method)().detach().clamp(0, 1)
    after = after.cpu()  # waits for a GPU
    seconds = time.perf_counter() - begin
    return Outcome(
        before=before.cpu(),
        start=start.cpu(),
        after=after,
        targets=targets,
        outputs_before=_softmax(model, before),
        outputs=_softmax(model, after),
        curve=curve,
        seconds=seconds,
    )


def _softmax(model: nn.Module, images: Tensor) -> Tensor:
    return F.softmax(predict(model, images), 1)


def kl_to(targets: Tensor, outputs: Tensor) -> Tensor:
    """(N,) KL(target || output) for (N, K) probabilities; one that underflowed counts as 1e-30."""
    return kl(targets, outputs.clamp(min=1e-30).log())


def in_order(targets: Tensor, outputs: Tensor) -> Tensor:
    """(N,) whether the classes that the target asks for come out first, in its order.

    Classes of equal probability may come in any order.
    """
    asked = torch.where(targets > 0, targets, -1.0)
    order = outputs.argsort(1, descending=True)
    return (asked.gather(1, order) == asked.sort(1, descending=True).values).all(1)


def rounded(values: Tensor) -> list[float]:
    """(N,) numbers with the six digits that a record has."""
    return [float(f"{value:.6g}") for value in values.double().tolist()]
