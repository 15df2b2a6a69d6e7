"""Style transfer's losses on the features of a fixed network.

Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution",
ECCV 2016. With features f_l (C_l x H_l x W_l) and Gram matrices G_l = f_l f_l^T / (C_l H_l W_l):

    content: mean (f_c(output) - f_c(content))^2 at one layer c
    style:   sum over layers l of mean (G_l(output) - G_l(style))^2
    total:   content_weight * content + style_weight * style

Weights, layers and scale follow the common implementation (1e5 and 1e10 with VGG16), with which
the totals that Matsumoto and Yanai print, 4 to 6 times 1e5, agree in size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.engine.seeding import seeded
from lib.networks.sources import converted
from lib.networks.sources import IMAGENET, Normalise

RANDOM_WIDTH = 16  # channels of the random network's first level; VGG16 has 64


@dataclass(frozen=True)
class Losses:
    """Per image, (N,) each; ``total`` is the weighted sum."""

    content: Tensor
    style: Tensor
    total: Tensor


class FeatureNetwork(nn.Module):
    """The outputs of some layers of a frozen network, for (N, 3, H, W) images in [0, 1].

    layers: positions in ``network`` whose output is a feature map. content: which of these, counted
    from 0, is the content layer.
    """

    def __init__(self, network: nn.Sequential, layers: tuple[int, ...], content: int) -> None:
        super().__init__()
        self.network = network[: max(layers) + 1].eval().requires_grad_(False)
        self.layers, self.content = layers, content
        self.normalise = Normalise(*map(torch.tensor, IMAGENET))

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Always in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, found = self.normalise(images), []
        for index, layer in enumerate(self.network):
            x = layer(x)
            if index in self.layers:
                found.append(x)
        return found


def feature_network(name: str, root: str | Path | None = None) -> FeatureNetwork:
    """A network by name, on the CPU: ``vgg16``, ``squeezenet`` or ``random``.

    vgg16: ImageNet weights of torchvision, downloaded by it; relu1_2, 2_2 (content), 3_3, 4_3.
    squeezenet: SqueezeNet 1.1 with ImageNet weights below the data root; a tenth of the work.
    random: VGG16's first three levels at a quarter of the width with random orthogonal weights,
        for where no trained network is at hand. Gram matrices of random filters still describe
        texture: Ustyuzhaninov et al., "What does it take to generate natural textures?", 2017.
    Raises ValueError for another name, FileNotFoundError for missing weights.
    """
    if name not in _NETWORKS:
        raise ValueError(f"features must be one of {tuple(_NETWORKS)}, not {name!r}")
    return _NETWORKS[name](root)


def _vgg16(root: str | Path | None) -> FeatureNetwork:
    from torchvision.models import VGG16_Weights, vgg16  # here: importing it takes a second

    network = vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features
    return FeatureNetwork(_without_in_place(network), (3, 8, 15, 22), content=1)


def _squeezenet(root: str | Path | None) -> FeatureNetwork:
    features = converted("squeezenet1_1", "imagenet", root).features
    return FeatureNetwork(_without_in_place(features), (1, 4, 7, 9), content=1)


def _random(root: str | Path | None) -> FeatureNetwork:
    layers: list[nn.Module] = []
    inputs = 3
    with seeded(0):
        for level, count in enumerate((2, 2, 3)):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(count):
                convolution = nn.Conv2d(inputs, RANDOM_WIDTH * 2**level, 3, padding=1)
                inputs = convolution.out_channels
                nn.init.orthogonal_(convolution.weight, gain=2**0.5)  # a ReLU halves the energy
                nn.init.zeros_(convolution.bias)
                layers += [convolution, nn.ReLU()]
    return FeatureNetwork(nn.Sequential(*layers), (3, 8, 15), content=1)


_NETWORKS: dict[str, Callable[[str | Path | None], FeatureNetwork]] = {
    "vgg16": _vgg16,
    "squeezenet": _squeezenet,
    "random": _random,
}


def _without_in_place(network: nn.Module) -> nn.Module:
    """An in-place ReLU would overwrite the features before it."""
    for layer in network.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return network


def gram(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, C): mean product of two channels over the pixels, divided by C."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class PerceptualLoss:
    """Content and style losses against one style image.

    style: (3, H, W) in [0, 1], of any size; moved to the network's device.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        style: Tensor,
        *,
        content_weight: float = 1e5,
        style_weight: float = 1e10,
    ) -> None:
        self.network = network
        self.content_weight, self.style_weight = content_weight, style_weight
        with torch.no_grad():
            features = network(style[None].to(network.normalise.mean))
        self.style_grams = [gram(each) for each in features]

    def __call__(self, output: Tensor, content: Tensor) -> Losses:
        """Losses of (N, 3, H, W) outputs in [0, 1] for the contents of the same shape."""
        # sums of many products, and differences of nearly equal ones: too much for 16 bits
        with torch.autocast(output.device.type, enabled=False):
            features = self.network(output.float())
            with torch.no_grad():
                wanted = self.network(content.float())[self.network.content]
            content_loss = (features[self.network.content] - wanted).square().mean((1, 2, 3))
            style_loss = sum(
                (gram(each) - target).square().mean((1, 2))
                for each, target in zip(features, self.style_grams, strict=True)
            )
        total = self.content_weight * content_loss + self.style_weight * style_loss
        return Losses(content_loss, style_loss, total)
