"""How well an image can be made that draws a wanted output from a classifier."""

import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from lib.engine.sweep import Context
from lib.image_weights import classifiers, layer
from lib.image_weights.classifiers import ClassifierTrial, as_float, network_name, predict
from lib.image_weights.layer import Recipe, UntilReached

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
        possible = self.radius >= 0 and self.step > 0 and self.steps >= 1
        if self.kind not in ("fgsm", "pgd") or not possible:
            needed = "kind fgsm or pgd, radius >= 0, step > 0 and steps >= 1"
            raise ValueError(f"an attack needs {needed}, not {self}")


def attacked(model: nn.Module, images: Tensor, targets: Tensor, attack: Attack) -> Tensor:
    """Images (N, C, H, W) in [0, 1], none further than the radius (max norm) from the original.

    Each step goes along the sign of the gradient of the cross entropy to ``targets`` (N, K), which
    are taken as they are. PGD starts at the image itself. Its last iterate is returned, as is that
    of the paper's method; with a fixed step it circles around a soft target.
    """
    steps, step = (1, attack.radius) if attack.kind == "fgsm" else (attack.steps, attack.step)
    low, high = (images - attack.radius).clamp(0, 1), (images + attack.radius).clamp(0, 1)
    current = images
    for _ in range(steps):
        shown = current.detach().requires_grad_()
        loss = F.cross_entropy(model(shown), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [shown])
        current = (current - step * gradient.sign()).clamp(low, high)
    return current


def radial_spectrum(change: Tensor) -> Tensor:
    """(N, R) energy of each change by distance from frequency 0, in whole FFT bins.

    change is (N, C, H, W), generated minus original. The rows sum to the change's energy
    (Parseval), and there are R = diagonal / 2 + 1 bins.
    """
    height, width = change.shape[-2:]
    power = torch.fft.fft2(change, norm="ortho").abs().square().sum(1)
    radius = layer.frequency_radius(height, width).round().long().to(change.device)
    bins = torch.zeros(len(change), int(radius.max()) + 1, device=change.device)
    return bins.index_add_(1, radius.flatten(), power.flatten(1).to(bins))


def measure(change: Tensor) -> dict[str, Tensor]:
    """(N,) measures of RGB changes (N, 3, H, W); shares are of the energy, NaN without a change.

    rms and largest are in units of the [0, 1] range. fine is the RMS of what lies beyond FINE
    bins (noise), tint the RMS of chroma below COARSE bins (rainbow). White noise has a fine_share
    of 0.66 at 32 px and a chroma_share of 2/3. local is the share of pixels that holds 90 % of
    the energy.
    """
    spectrum = radial_spectrum(change)
    chroma = torch.einsum("kc,nchw->nkhw", OPPONENT.to(change), change)[:, 1:]
    energy, values = spectrum.sum(1), change[0].numel()
    fine = spectrum[:, FINE + 1 :].sum(1)
    tint = radial_spectrum(chroma)[:, :COARSE].sum(1)
    pixels = change.square().sum(1).flatten(1).sort(1, descending=True).values.cumsum(1)
    local = ((pixels < 0.9 * pixels[:, -1:]).sum(1) + 1) / change[0, 0].numel()
    return {
        "rms": (energy / values).sqrt(),
        "largest": change.abs().flatten(1).amax(1),
        "fine": (fine / values).sqrt(),
        "tint": (tint / values).sqrt(),
        "fine_share": fine / energy,
        "chroma_share": chroma.square().flatten(1).sum(1) / energy,
        "local": torch.where(energy > 0, local, torch.nan),
    }


WAYS = yaml.safe_load(Path(__file__).with_name("ways.yaml").read_text(encoding="utf-8"))
OPTIMISERS, MAPPINGS = (
    {name: (UntilReached if "stop" in way else Recipe)(**way) for name, way in WAYS[kind].items()}
    for kind in ("recipes", "maps")
)
ATTACKS = {name: Attack(**way) for name, way in WAYS["attacks"].items()}
COMPARED, MIXTURES = tuple(WAYS["compared"]), tuple(WAYS["mixtures"])


@dataclass(frozen=True, kw_only=True)
class SynthesisTrial:
    """Changes the first ``images`` test images until a classifier gives the target.

    targets is a name of ``TARGETS``. observers are classifiers that are shown the results and had
    no part in them. seed is that of the second classes.
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
    return F.one_hot(torch.stack((labels, second, third)), classes).sum(0) / 3


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


def synthesize_images(
    trial: SynthesisTrial, context: Context, pictures: Tensor | None = None
) -> SimpleNamespace:
    """The trial's images, with everything that is measured on them, on the CPU.

    pictures is (N, 3, 32, 32) uint8 to take in place of test images, to look at. The class of
    each is then what the classifier says.
    Returns before, start and after, (N, C, H, W); targets, outputs_before and outputs, (N, K);
    seconds. start is what the classifier sees before the first update (rounded by epsilon and
    low-passed). curve is (steps + 1, N), the divergence on the way, and None for an attack.
    """
    model = classifiers.load_classifier(trial.teacher, context)
    data = classifiers.labelled_images(trial.teacher, context)
    images, labels, classes = data.test_images, data.test_labels, len(data.classes)
    if pictures is not None:
        images, labels = pictures, predict(model, pictures).argmax(1)
    if not 1 <= trial.images <= len(images):
        raise ValueError(f"images must be in 1..{len(images)}, not {trial.images}")
    before, labels = as_float(images[: trial.images].to(context.device)), labels[: trial.images]
    second = second_classes(labels, classes, trial.seed)
    targets, begin = TARGETS[trial.targets](labels, second, classes), time.perf_counter()
    if isinstance(trial.method, Attack):
        aim = F.one_hot(second, classes) if trial.method.hard else targets
        start, curve = before, None
        after = attacked(model, before, aim.to(before), trial.method)
    else:
        made = layer.synthesize(model, before, targets.to(before), trial.method)
        after, curve = made.images, made.divergence.cpu()
        start = layer.ImageWeights(before, trial.method)().detach().clamp(0, 1)
    after = after.cpu()  # waits for a GPU
    seconds = time.perf_counter() - begin
    return SimpleNamespace(
        before=before.cpu(),
        start=start.cpu(),
        after=after,
        targets=targets,
        outputs_before=F.softmax(predict(model, before), 1),
        outputs=F.softmax(predict(model, after), 1),
        curve=curve,
        seconds=seconds,
    )


def run_synthesis(trial: SynthesisTrial, context: Context) -> dict:
    """Change the images and measure, image by image, in lists in the order of the test set."""
    outcome = synthesize_images(trial, context)
    change, curve, targets = outcome.after - outcome.start, outcome.curve, outcome.targets
    metrics = {
        "start_kl": kl_to(targets, outcome.outputs_before),
        "kl": kl_to(targets, outcome.outputs),
        "largest_error": (outcome.outputs - targets).abs().amax(1),
        "in_order": in_order(targets, outcome.outputs),
        **measure(change),
    }
    for observer in trial.observers:
        name, model = network_name(vars(observer)), classifiers.load_classifier(observer, context)
        for when, images in (("start_kl", outcome.before), ("kl", outcome.after)):
            metrics[f"{name}: {when}"] = kl_to(targets, F.softmax(predict(model, images), 1))
    return {
        **{name: rounded(values) for name, values in metrics.items()},
        "curve": [] if curve is None else rounded(curve.mean(1)),
        "steps_to": [] if curve is None else layer.steps_to(curve, layer.TOLERANCE).tolist(),
        "spectrum": rounded(radial_spectrum(change).mean(0)),
        "image_spectrum": rounded(radial_spectrum(outcome.start).mean(0)),
        "images_per_second": len(outcome.after) / outcome.seconds,
    }


def kl_to(targets: Tensor, outputs: Tensor) -> Tensor:
    """(N,) KL(target || output) for (N, K) probabilities; one that underflowed counts as 1e-30."""
    return layer.kl(targets, outputs.clamp(min=1e-30).log())


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
