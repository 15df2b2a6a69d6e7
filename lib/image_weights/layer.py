"""An image as the weights of a layer, driven until a frozen classifier gives a wanted output.

Hirano, Iwamura, Kise, "Image generation that prompts a trained model to any output, and training
with it" (in Japanese). A fully connected layer with input 1 and bias 0 is put in front of the
classifier. Its weight is the image, mapped from [0, 1] to the real line, and is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fft import fftfreq, irfft2, rfft2
from torch.nn import functional as F

# A pixel of 0 or 1 would be an infinite weight (eq. 2), and float32 turns 1 into the weight of 0.
# This is the largest 1/2^k that 8 bits do not see, because 255 * EPSILON < 0.5.
EPSILON = 1 / 512
TOLERANCE = 0.01  # nats of KL(target || output) up to which the output counts as reached


def kl(targets: Tensor, log_outputs: Tensor) -> Tensor:
    """(N,) KL(target || output) in nats, for (N, K) targets and log-outputs."""
    return (torch.xlogy(targets, targets) - targets * log_outputs).sum(1)


def reverse_kl(targets: Tensor, log_outputs: Tensor) -> Tensor:
    """(N,) KL(output || target) in nats; ValueError where a target is 0, as it is infinite."""
    if not (targets > 0).all():
        raise ValueError("KL(output || target) is infinite where a target is 0")
    return (log_outputs.exp() * (log_outputs - targets.log())).sum(1)


Map = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
MAPS: dict[str, Map] = {  # from a pixel to its weight, and back
    "tan": (  # eqs. 2 and 4
        lambda x: torch.tan((x - 0.5) * torch.pi),
        lambda w: torch.arctan(w) / torch.pi + 0.5,
    ),
    "sigmoid": (torch.logit, torch.sigmoid),
    "clamp": (lambda x: x, lambda w: w),  # the clamping is a projection after each update
}
LOSSES = {"kl": kl, "reverse_kl": reverse_kl}
BASES = ("pixel", "fourier")


@dataclass(frozen=True)
class Recipe:
    """How the weights are updated; the defaults are the paper's SGD (fig. 3).

    lr, momentum and weight_decay are those of torch's SGD (eq. 6); momentum=0.9 is fig. 4. mapping
    is a name of ``MAPS``. loss is ``kl`` for KL(target || output), whose gradient is that of the
    cross entropy, or ``reverse_kl`` for KL(output || target), the order of arguments in eq. 10.
    low_pass is the radius, in FFT bins, of an ideal filter on the image that the classifier sees
    and that is extracted; fig. 5 has 10 at 32 x 32 pixels. basis is ``pixel``, or ``fourier`` to
    train the weights' spectrum, scaled by 1/frequency as in Olah et al., "Feature visualization"
    (2017). Pixels are put into [epsilon, 1 - epsilon] first.
    """

    lr: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 5e-4
    steps: int = 100
    mapping: str = "tan"
    loss: str = "kl"
    low_pass: float | None = None
    basis: str = "pixel"
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        for name, known in (("mapping", MAPS), ("loss", LOSSES), ("basis", BASES)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        rules = {
            "lr > 0": self.lr > 0,
            "steps >= 0": self.steps >= 0,
            "0 < epsilon < 0.5": 0 < self.epsilon < 0.5,
            "low_pass > 0 or None": self.low_pass is None or self.low_pass > 0,
            "basis pixel with mapping clamp": (self.mapping, self.basis) != ("clamp", "fourier"),
            "stop > 0": getattr(self, "stop", TOLERANCE) > 0,
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise ValueError(f"a recipe needs {' and '.join(broken)}, not {self}")


@dataclass(frozen=True)
class UntilReached(Recipe):
    """Each image is left alone once its KL is at most ``stop``: "small enough" in section 2.1."""

    steps: int = 1000
    stop: float = TOLERANCE  # nats


class ImageWeights(nn.Module):
    """The image-weight layer (eqs. 1-5) of N images at once; calling it gives the images.

    With input 1 and bias 0 a fully connected layer is its weight, so nothing is multiplied.
    ``weight`` is (N, C, H, W), or with basis ``fourier`` the real view (N, C, H, W // 2 + 1, 2) of
    its spectrum. Images are (N, C, H, W) in [0, 1], but for what a low-pass filter overshoots.
    """

    scale: Tensor

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        super().__init__()
        if not images.is_floating_point() or images.ndim != 4:
            what = f"{images.dtype} of shape {tuple(images.shape)}"
            raise ValueError(f"images must be floating point (N, C, H, W) in [0, 1], not {what}")
        if not ((images >= 0) & (images <= 1)).all():  # NaN is neither
            raise ValueError("images must lie in [0, 1] without NaN")
        height, width = images.shape[-2:]
        self.recipe, self.size = recipe, (height, width)
        to_weight, self.to_image = MAPS[recipe.mapping]
        weight = to_weight(images.clamp(recipe.epsilon, 1 - recipe.epsilon))
        if recipe.basis == "fourier":
            self.register_buffer("scale", _spectrum_scale(height, width).to(weight))
            weight = torch.view_as_real(rfft2(weight, norm="ortho") / self.scale)
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        weight = self.weight
        if self.recipe.basis == "fourier":
            spectrum = torch.view_as_complex(weight) * self.scale
            weight = irfft2(spectrum, s=self.size, norm="ortho")
        images = self.to_image(weight)
        return images if self.recipe.low_pass is None else low_pass(images, self.recipe.low_pass)


@dataclass(frozen=True)
class Synthesis:
    """What came out of driving N images for some steps."""

    images: Tensor  # (N, C, H, W) in [0, 1]
    outputs: Tensor  # (N, K) probabilities, what the classifier says to them
    divergence: Tensor  # (steps + 1, N) KL(target || output) before each update and after the last


def synthesize(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, batch: int = 256
) -> Synthesis:
    """Change each image until the classifier's output is its target.

    model gives logits (N, K) for images (N, C, H, W) in [0, 1]. It is in evaluation mode, on the
    images' device, and is left as it is. targets is (N, K). batch is how many images are optimised
    together; each is independent of the others.
    Raises ValueError for integer images, values outside [0, 1], NaN, targets that are no
    distributions or have another number of classes, and for a model in training mode.
    """
    if targets.ndim != 2 or len(targets) != len(images) or not len(images):
        shapes = f"{tuple(targets.shape)} for {len(images)} images"
        raise ValueError(f"targets must be (N, K), one distribution an image, not {shapes}")
    if not (targets >= 0).all():
        raise ValueError("targets must not be negative or NaN")
    worst = max(targets.sum(1).tolist(), key=lambda total: abs(total - 1))
    if abs(worst - 1) > 1e-4:
        raise ValueError(f"each target must sum to 1; one sums to {worst:.4f}")
    if any(module.training for module in model.modules()):
        raise ValueError("the classifier is in training mode; call model.eval() first")
    parts = zip(images.split(batch), targets.to(images).split(batch), strict=True)
    made, log_p, divergence = zip(*(_driven(model, *part, recipe) for part in parts), strict=True)
    return Synthesis(torch.cat(made), torch.cat(log_p).exp(), torch.cat(divergence, 1))


def _driven(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, logarithms of outputs and divergences; images that have stopped leave the batch."""
    stop = recipe.stop if isinstance(recipe, UntilReached) else None
    layer, result = ImageWeights(images, recipe), torch.empty_like(images)
    velocity, moving = torch.zeros_like(layer.weight), torch.arange(len(images)).to(images.device)
    divergence, wanted = images.new_zeros(recipe.steps + 1, len(images)), targets
    for step in range(recipe.steps):
        shown = layer()
        log_p = _log_outputs(model, shown, wanted)
        now = kl(wanted, log_p.detach())
        divergence[step, moving] = now
        # a sum, because the gradient of an image must not depend on how many others there are
        loss = LOSSES[recipe.loss](wanted, log_p).sum()
        (gradient,) = torch.autograd.grad(loss, [layer.weight])
        if stop is not None and (there := now <= stop).any():
            far = ~there
            divergence[step:, moving[there]] = now[there]
            result[moving[there]] = shown.detach()[there]
            layer.weight = nn.Parameter(layer.weight.data[far])
            if not far.any():
                break
            velocity, gradient, wanted = velocity[far], gradient[far], wanted[far]
            moving = moving[far]
        # torch's SGD: momentum of the gradient with weight decay, then the learning rate
        velocity = recipe.momentum * velocity + gradient + recipe.weight_decay * layer.weight.data
        layer.weight.data -= recipe.lr * velocity
        if recipe.mapping == "clamp":
            layer.weight.data.clamp_(0, 1)
    else:
        result[moving] = layer().detach()
    with torch.no_grad():
        result = result.clamp(0, 1).contiguous()
        log_p = _log_outputs(model, result, targets)
    divergence[-1] = kl(targets, log_p)
    return result, log_p, divergence


def _log_outputs(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    logits = model(images)
    if logits.shape != targets.shape:
        classes, wanted = logits.shape[1], targets.shape[1]
        raise ValueError(f"the classifier has {classes} classes, the targets have {wanted}")
    return F.log_softmax(logits.to(targets), 1)  # autocast gives fewer bits than the images have


def steps_to(divergence: Tensor, tolerance: float) -> Tensor:
    """(N,) updates until (steps + 1, N) is at most ``tolerance``; -1 where it never is."""
    reached = divergence <= tolerance
    return torch.where(reached.any(0), reached.int().argmax(0), -1)


def frequency_radius(height: int, width: int) -> Tensor:
    """(H, W) distance of each FFT bin from frequency 0."""
    rows, columns = fftfreq(height, 1 / height), fftfreq(width, 1 / width)
    return (rows[:, None].square() + columns.square()).sqrt()


def low_pass(images: Tensor, radius: float) -> Tensor:
    """(N, C, H, W) without the frequencies beyond ``radius`` FFT bins, channel by channel."""
    height, width = images.shape[-2:]
    inside = (frequency_radius(height, width) <= radius)[:, : width // 2 + 1].to(images.device)
    return irfft2(rfft2(images) * inside, s=(height, width))


def _spectrum_scale(height: int, width: int) -> Tensor:
    """(H, W // 2 + 1), 1 / frequency, so scaled that white gradients move as far as in pixels.

    The scale acts twice, from weight to gradient and back, so its fourth power has mean 1. A column
    of two frequencies, of either sign, gets twice the gradient and is divided by sqrt(2).
    """
    frequency = (fftfreq(height)[:, None].square() + fftfreq(width).square()).sqrt()
    scale = 1 / frequency.clamp(min=1 / max(height, width))
    scale = (scale / scale.pow(4).mean().pow(0.25))[:, : width // 2 + 1]
    scale[:, 1 : (width + 1) // 2] /= 2**0.5
    return scale
