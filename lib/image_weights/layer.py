"""An image as the weights of a layer, driven until a frozen classifier gives a wanted output.

Hirano, Iwamura, Kise, "Image generation that prompts a trained model to any output, and training
with it" (in Japanese). A fully connected layer with input 1 and bias 0 is put in front of the
classifier. Its weight is the image, mapped from [0, 1] to the real line, and is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# A pixel of 0 or 1 would be an infinite weight (eq. 2), and float32 turns 1 into the weight of 0.
# This is the largest 1/2^k that 8 bits do not see, because 255 * EPSILON < 0.5.
EPSILON = 1 / 512
TOLERANCE = 0.01  # nats of KL(target || output) up to which the output counts as reached

Map = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
MAPS: dict[str, Map] = {  # from a pixel to its weight, and back
    "tan": (  # eqs. 2 and 4
        lambda x: torch.tan((x - 0.5) * torch.pi),
        lambda w: torch.arctan(w) / torch.pi + 0.5,
    ),
    "sigmoid": (torch.logit, torch.sigmoid),
    "clamp": (lambda x: x, lambda w: w),  # the clamping is a projection after each update
}
LOSSES = ("kl", "reverse_kl")
BASES = ("pixel", "fourier")


@dataclass(frozen=True)
class Recipe:
    """How the weights are updated; the defaults are the paper's SGD (fig. 3).

    lr, momentum and weight_decay are those of torch's SGD (eq. 6); momentum=0.9 is fig. 4. mapping
    is ``tan`` (eqs. 2, 4), ``sigmoid``, or ``clamp``, which projects after each update. loss is
    ``kl`` for KL(target || output), whose gradient is that of the cross entropy, or ``reverse_kl``
    for KL(output || target), the order of arguments in eq. 10. low_pass is the radius, in FFT
    bins, of an ideal filter on the image that the classifier sees and that is extracted; fig. 5
    has 10 at 32 x 32 pixels. basis is ``pixel``, or ``fourier`` to train the weights' spectrum,
    scaled by 1/frequency as in Olah et al., "Feature visualization" (2017). Pixels are put into
    [epsilon, 1 - epsilon] first.
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
        if self.mapping == "clamp" and self.basis == "fourier":
            raise ValueError("a spectrum cannot be clamped: mapping 'clamp' needs basis 'pixel'")
        if self.low_pass is not None and not self.low_pass > 0:
            raise ValueError(f"low_pass is a radius above 0 or None, not {self.low_pass!r}")
        if not 0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon must be in (0, 0.5), not {self.epsilon!r}")
        if self.steps < 0 or not self.lr > 0:
            raise ValueError(f"steps >= 0 and lr > 0 are needed, not {self.steps}, {self.lr}")


@dataclass(frozen=True)
class UntilReached(Recipe):
    """A recipe that stops for each image by itself, once KL(target || output) is at most ``stop``.

    It is the paper's "until the loss is small enough" (section 2.1). steps is the most there are.
    """

    steps: int = 1000
    stop: float = TOLERANCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stop > 0:
            raise ValueError(f"stop is a divergence above 0 in nats, not {self.stop!r}")


class ImageWeights(nn.Module):
    """The image-weight layer (eqs. 1-5) of N images at once; calling it gives the images.

    With D = 1, x = 1 and b = 0 a fully connected layer W x + b is its weight, so nothing is
    multiplied. ``weight`` is (N, C, H, W), or with basis ``fourier`` the real view
    (N, C, H, W // 2 + 1, 2) of its spectrum. Calling gives (N, C, H, W) in [0, 1], except for
    what a low-pass filter overshoots.
    """

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        super().__init__()
        _refuse_images(images)
        height, width = images.shape[-2:]
        self.recipe, self.size = recipe, (height, width)
        to_weight, self.to_image = MAPS[recipe.mapping]
        weight = to_weight(images.clamp(recipe.epsilon, 1 - recipe.epsilon))
        if recipe.basis == "fourier":
            self.scale: Tensor
            self.register_buffer("scale", _spectrum_scale(self.size).to(weight))
            weight = torch.view_as_real(torch.fft.rfft2(weight, norm="ortho") / self.scale)
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        weight = self.weight
        if self.recipe.basis == "fourier":
            spectrum = torch.view_as_complex(weight) * self.scale
            weight = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        images = self.to_image(weight)
        return images if self.recipe.low_pass is None else low_pass(images, self.recipe.low_pass)


@dataclass(frozen=True)
class Synthesis:
    """What came out of driving N images for some steps.

    images is (N, C, H, W) in [0, 1]. outputs is (N, K), what the classifier says to them.
    divergence is (steps + 1, N), KL(target || output) before each update and after the last; an
    image that has stopped keeps its value.
    """

    images: Tensor
    outputs: Tensor
    divergence: Tensor


def synthesize(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, batch: int = 256
) -> Synthesis:
    """Change each image until the classifier's output is its target.

    model gives logits (N, K) for images in [0, 1]. It is in evaluation mode, on the images'
        device, and is left as it is. images is (N, C, H, W) floating point. targets is (N, K).
    batch is how many images are optimised together. Each is independent of the others, so it
        changes nothing but speed.
    Raises ValueError for integer images, values outside [0, 1], NaN, targets that are no
    distributions or have another number of classes, and for a model in training mode.
    """
    _refuse_targets(targets, images)
    if any(module.training for module in model.modules()):
        raise ValueError("the classifier is in training mode; call model.eval() first")
    if len(images) > batch:
        pairs = zip(images.split(batch), targets.split(batch), strict=True)
        parts = [synthesize(model, *pair, recipe, batch) for pair in pairs]
        return Synthesis(
            torch.cat([part.images for part in parts]),
            torch.cat([part.outputs for part in parts]),
            torch.cat([part.divergence for part in parts], 1),
        )
    targets = targets.to(images)
    divergence = images.new_zeros(recipe.steps + 1, len(images))
    result = _driven(model, images, targets, recipe, divergence).clamp(0, 1).contiguous()
    with torch.no_grad():
        log_p = _log_outputs(model, result, targets)
        divergence[-1] = kl(targets, log_p)
    return Synthesis(result, log_p.exp(), divergence)


def _driven(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, divergence: Tensor
) -> Tensor:
    """The images after the last update of each; writes each row of ``divergence`` but the last.

    Images that have stopped leave the batch, so that the others cost what they cost alone.
    """
    stop = recipe.stop if isinstance(recipe, UntilReached) else None
    loss = kl if recipe.loss == "kl" else reverse_kl
    layer, result = ImageWeights(images, recipe), torch.empty_like(images)
    velocity, moving = torch.zeros_like(layer.weight), torch.arange(len(images)).to(images.device)
    for step in range(recipe.steps):
        shown = layer()
        log_p = _log_outputs(model, shown, targets)
        now = kl(targets, log_p.detach())
        divergence[step, moving] = now
        # a sum, because the gradient of an image must not depend on how many others there are
        (gradient,) = torch.autograd.grad(loss(targets, log_p).sum(), [layer.weight])
        if stop is not None and (there := now <= stop).any():
            far = ~there
            divergence[step:, moving[there]] = now[there]
            result[moving[there]] = shown.detach()[there]
            layer.weight = nn.Parameter(layer.weight.data[far])
            velocity, gradient, targets = velocity[far], gradient[far], targets[far]
            moving = moving[far]
            if not len(moving):
                return result
        # torch's SGD: momentum of the gradient with weight decay, then the learning rate
        velocity = recipe.momentum * velocity + gradient + recipe.weight_decay * layer.weight.data
        layer.weight.data -= recipe.lr * velocity
        if recipe.mapping == "clamp":
            layer.weight.data.clamp_(0, 1)
    result[moving] = layer().detach()
    return result


def _log_outputs(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    logits = model(images)
    if logits.shape != targets.shape:
        classes, wanted = logits.shape[1], targets.shape[1]
        raise ValueError(f"the classifier has {classes} classes, the targets have {wanted}")
    return F.log_softmax(logits.to(targets), 1)  # autocast gives fewer bits than the images have


def kl(targets: Tensor, log_outputs: Tensor) -> Tensor:
    """(N,) KL(target || output) in nats, for (N, K) targets and log-outputs."""
    return (torch.xlogy(targets, targets) - targets * log_outputs).sum(1)


def reverse_kl(targets: Tensor, log_outputs: Tensor) -> Tensor:
    """(N,) KL(output || target) in nats; ValueError where a target is 0, as it is infinite."""
    if not (targets > 0).all():
        raise ValueError("KL(output || target) is infinite where a target is 0")
    return (log_outputs.exp() * (log_outputs - targets.log())).sum(1)


def steps_to(divergence: Tensor, tolerance: float) -> Tensor:
    """(N,) updates until (steps + 1, N) is at most ``tolerance``; -1 where it never is."""
    reached = divergence <= tolerance
    return torch.where(reached.any(0), reached.int().argmax(0), -1)


def frequency_radius(height: int, width: int) -> Tensor:
    """(H, W) distance of each FFT bin from frequency 0."""
    rows, columns = torch.fft.fftfreq(height, 1 / height), torch.fft.fftfreq(width, 1 / width)
    return (rows[:, None].square() + columns.square()).sqrt()


def low_pass(images: Tensor, radius: float) -> Tensor:
    """(N, C, H, W) without the frequencies beyond ``radius`` FFT bins, channel by channel."""
    height, width = images.shape[-2:]
    inside = (frequency_radius(height, width) <= radius)[:, : width // 2 + 1].to(images.device)
    return torch.fft.irfft2(torch.fft.rfft2(images) * inside, s=(height, width))


def _spectrum_scale(size: tuple[int, int]) -> Tensor:
    """(H, W // 2 + 1), 1 / frequency, so scaled that white gradients move as far as in pixels.

    The scale acts twice on a move, from weight to gradient and back, so its fourth power has mean
    1. A column that stands for two frequencies, of either sign, gets twice the gradient and is
    divided by sqrt(2).
    """
    rows, columns = torch.fft.fftfreq(size[0]), torch.fft.fftfreq(size[1])
    frequency = (rows[:, None].square() + columns.square()).sqrt()
    scale = 1 / frequency.clamp(min=1 / max(size))
    scale = (scale / scale.pow(4).mean().pow(0.25))[:, : size[1] // 2 + 1]
    scale[:, 1 : (size[1] + 1) // 2] /= 2**0.5
    return scale


def _refuse_images(images: Tensor) -> None:
    if not images.is_floating_point() or images.ndim != 4:
        what = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ValueError(f"images must be floating point (N, C, H, W) in [0, 1], not {what}")
    if not ((images >= 0) & (images <= 1)).all():  # NaN is neither
        raise ValueError("images must lie in [0, 1] without NaN")


def _refuse_targets(targets: Tensor, images: Tensor) -> None:
    if targets.ndim != 2 or len(targets) != len(images) or not len(images):
        shapes = f"{tuple(targets.shape)} for {len(images)} images"
        raise ValueError(f"targets must be (N, K), one distribution an image, not {shapes}")
    if not (targets >= 0).all():
        raise ValueError("targets must not be negative or NaN")
    if not torch.allclose(targets.sum(1).cpu().double(), torch.ones(()).double(), atol=1e-4):
        worst = max(targets.sum(1).tolist(), key=lambda total: abs(total - 1))
        raise ValueError(f"each target must sum to 1; one sums to {worst:.4f}")
