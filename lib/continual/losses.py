"""Losses that are more than a line: of a style, of a discriminator, of weights that must stay.

Style: Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and
super-resolution", ECCV 2016. With features f_l (C_l x H_l x W_l) of a fixed network and Gram
matrices G_l = f_l f_l^T / (C_l H_l W_l):

    content: mean (f_c(output) - f_c(content))^2 at one layer c
    style:   sum over layers l of mean (G_l(output) - G_l(style))^2
    total:   content_weight * content + style_weight * style

Weights, layers and scale follow the common implementation (1e5 and 1e10 with VGG16), with which
the totals that Matsumoto and Yanai print, 4 to 6 times 1e5, agree in size. Gatys, Ecker and
Bethge, "Image style transfer using convolutional neural networks", CVPR 2016, move the pixels of a
picture themselves until this loss is small (their figure 6 A).

Discriminator: CycleGAN's least squares (Mao et al., ICCV 2017).

Elastic weight consolidation (EWC): Kirkpatrick et al., "Overcoming catastrophic forgetting in
neural networks", PNAS 2017. After each task k the loss of the next ones gets the term

    strength / 2 * sum_i F_ki (w_i - w_ki)^2

with the diagonal of the Fisher information F_k at the weights w_k. Terms of several tasks add up to
one of the same form: F = sum_k F_k, and as anchor the mean of the w_k weighted by F_k. Readings: F
is the mean squared gradient of the task's own loss, image by image (the "empirical" Fisher
information), and is divided by its mean over all weights, as the tasks' losses have no common unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.continual.networks import PatchDiscriminator
from lib.engine.training import seeded
from lib.networks.sources import IMAGENET, Normalise, published_network, torchvision_network

RANDOM_WIDTH = 16  # channels of the random network's first level; VGG16 has 64
EDGE = 0.01  # Gatys' black and white start this far inside, where the sigmoid has a slope
# which layers' outputs are taken; the second is the content layer
FEATURES = {"vgg16": (3, 8, 15, 22), "squeezenet": (1, 4, 7, 9), "random": (3, 8, 15)}
CONTENT = 1


@dataclass(frozen=True)
class Losses:
    """Per image, (N,) each; ``total`` is the weighted sum."""

    content: Tensor
    style: Tensor
    total: Tensor


class FeatureNetwork(nn.Module):
    """The outputs of the layers at some places of a frozen network, for (N, 3, H, W) in [0, 1]."""

    def __init__(self, network: nn.Sequential, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network[: max(layers) + 1].eval().requires_grad_(False)
        for layer in self.network.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # it would overwrite the features before it
        self.layers = layers
        self.normalise = Normalise(*map(torch.tensor, IMAGENET))

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Always in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, features = self.normalise(images), []
        for index, layer in enumerate(self.network):
            x = layer(x)
            if index in self.layers:
                features.append(x)
        return features


def feature_network(name: str, root: str | Path | None = None) -> FeatureNetwork:
    """A network by name, on the CPU.

    vgg16: ImageNet weights of torchvision; relu1_2, 2_2 (content), 3_3, 4_3. squeezenet: 1.1, with
    ImageNet weights below the data root; a tenth of the work. random: VGG16's first three levels at
    a quarter of the width with random orthogonal weights, whose Gram matrices still describe
    texture: Ustyuzhaninov et al., "What does it take to generate natural textures?", 2017.
    Raises ValueError for another name, FileNotFoundError for missing weights.
    """
    if name not in FEATURES:
        raise ValueError(f"features must be one of {tuple(FEATURES)}, not {name!r}")
    if name == "random":
        return FeatureNetwork(_random_features(), FEATURES[name])
    whole = (
        torchvision_network("vgg16", "IMAGENET1K_V1")
        if name == "vgg16"
        else published_network("squeezenet1_1", "imagenet", root)
    )
    features = nn.Sequential(*whole.get_submodule("features").children())
    return FeatureNetwork(features, FEATURES[name])


def _random_features() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    with seeded(0):
        for level, count in enumerate((2, 2, 3)):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(count):
                convolution = nn.Conv2d(inputs, RANDOM_WIDTH * 2**level, 3, padding=1)
                inputs = convolution.out_channels
                nn.init.orthogonal_(convolution.weight, gain=2**0.5)  # a ReLU halves the energy
                nn.init.zeros_(convolution.get_parameter("bias"))
                layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers)


def gram(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, C): mean product of two channels over the pixels, divided by C."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class PerceptualLoss:
    """Content and style losses against one style image.

    style: (3, H, W) in [0, 1], of any size; kept on the network's device.
    """

    def __init__(
        self, network: FeatureNetwork, style: Tensor, content_weight: float, style_weight: float
    ) -> None:
        self.network, self.content_weight, self.style_weight = network, content_weight, style_weight
        self.style = style.to(network.normalise.mean)
        with torch.no_grad():
            self.style_grams = [gram(f) for f in network(self.style[None])]

    def __call__(self, output: Tensor, content: Tensor) -> Losses:
        """Losses of (N, 3, H, W) outputs in [0, 1] for the contents of the same shape."""
        # sums of many products, and differences of nearly equal ones: too much for 16 bits
        with torch.autocast(output.device.type, enabled=False):
            features = self.network(output.float())
            with torch.no_grad():
                wanted = self.network(content.float())[CONTENT]
            content_loss = (features[CONTENT] - wanted).square().mean((1, 2, 3))
            style_loss = torch.zeros_like(content_loss)
            for layer, target in zip(features, self.style_grams, strict=True):
                style_loss = style_loss + (gram(layer) - target).square().mean((1, 2))
        total = self.content_weight * content_loss + self.style_weight * style_loss
        return Losses(content_loss, style_loss, total)


def gatys(loss: PerceptualLoss, content: Tensor, *, steps: int = 300) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] of a small total loss, each optimised by itself.

    content: (N, 3, H, W) in [0, 1], where it starts. steps: iterations of L-BFGS. A pixel is the
    sigmoid of the number that is moved: with pixels that are clipped instead, white skies stop the
    search early. Raises ArithmeticError if a loss becomes NaN or infinite.
    """
    return torch.cat([_optimised(loss, image[None], steps) for image in content])


@torch.enable_grad()
def _optimised(loss: PerceptualLoss, content: Tensor, steps: int) -> Tensor:
    # L-BFGS cannot take the strides of a permuted picture
    numbers = content.clamp(EDGE, 1 - EDGE).logit().contiguous().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [numbers],
        max_iter=steps,
        max_eval=2 * steps,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        scale = loss(content, content).total.sum().clamp(min=1e-12)  # steps fit losses near 1

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        value = loss(numbers.sigmoid(), content).total.sum() / scale
        if not value.isfinite():  # every time: ``step`` returns the first value only
            raise ArithmeticError("the style loss is not finite")
        value.backward()
        return value

    optimiser.step(evaluate)
    return numbers.detach().sigmoid()


class Adversary:
    """A discriminator that learns beside the network it judges; Adam with CycleGAN's settings."""

    def __init__(self, discriminator: PatchDiscriminator, *, lr: float = 2e-4) -> None:
        self.discriminator = discriminator
        self.optimiser = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def state_dict(self) -> dict[str, Any]:
        """Of the discriminator and its optimiser, for a checkpoint."""
        parts: dict[str, Any] = {"discriminator": self.discriminator, "optimiser": self.optimiser}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """The inverse of ``state_dict``."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(dict(state["optimiser"]))

    def loss(self, inputs: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Mean of (D(input, output) - 1)^2 after a step on the target and the detached output."""
        real = self._score(inputs, target)
        fake = self._score(inputs, output.detach())
        self.optimiser.zero_grad()
        (((real - 1).square().mean() + fake.square().mean()) / 2).backward()
        self.optimiser.step()
        # the network's gradient must not end up in the discriminator
        self.discriminator.requires_grad_(False)
        value = (self._score(inputs, output) - 1).square().mean()
        self.discriminator.requires_grad_(True)
        return value

    def _score(self, inputs: Tensor, image: Tensor) -> Tensor:
        return self.discriminator(torch.cat((inputs, image), 1))


@dataclass(frozen=True)
class Anchor:
    """EWC's memory of the tasks so far: parameter name -> importance, and the value to stay at."""

    importance: dict[str, Tensor]
    values: dict[str, Tensor]


def importance(parameters: Mapping[str, Tensor], losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean squared gradient of the parameters over the losses of single images, by its mean.

    Raises ValueError if there is no loss or no gradient at all.
    """
    sums = {name: torch.zeros_like(values) for name, values in parameters.items()}
    count = 0
    for loss in losses:
        count += 1
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient.square()
    whole = sum(float(squares.sum()) for squares in sums.values())
    if not whole > 0:
        raise ValueError(f"no importance from {count} images: no gradient")
    mean = whole / sum(squares.numel() for squares in sums.values())
    return {name: squares / mean for name, squares in sums.items()}


def extended(anchor: Anchor | None, model: nn.Module, importances: Mapping[str, Tensor]) -> Anchor:
    """The anchor of all tasks so far, the model's included; None stands for no earlier task."""
    named = dict(model.named_parameters())
    new = {name: named[name].detach().clone() for name in importances}
    if anchor is None:
        return Anchor(dict(importances), new)
    total = {name: anchor.importance[name] + f for name, f in importances.items()}
    values = {}
    for name, f in importances.items():
        sums = anchor.importance[name] * anchor.values[name] + f * new[name]
        mean = sums / total[name].clamp(min=torch.finfo(f.dtype).tiny)
        values[name] = torch.where(total[name] > 0, mean, new[name])
    return Anchor(total, values)


def penalty(model: nn.Module, anchor: Anchor, strength: float) -> Tensor:
    """strength / 2 * sum of importance times squared distance from the anchor."""
    named = dict(model.named_parameters())
    terms = [
        (f * (named[name] - anchor.values[name]).square()).sum()
        for name, f in anchor.importance.items()
    ]
    return strength / 2 * torch.stack(terms).sum()
