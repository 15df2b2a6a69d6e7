"""The study's networks: a U-Net, an auto-encoder with residual blocks, and a patch discriminator.

U-Net: Ronneberger, Fischer and Brox, MICCAI 2015, in the variant of Matsumoto and Yanai. They print
no layer table, but their count of mask weights (14,776,000 at width 64) and their sizes of the
network and of the decoder fit one plan only: channels 64-128-256-512-512 down; 2x2 transposed
convolutions that keep the channels; 3x3 convolutions from 1024 to 256, 512 to 128, 256 to 64 and
128 to 64 up. Readings where nothing decides: batch norm and ReLU after every 3x3 convolution,
neither after a transposed one; a last layer of 1x1; decoder levels numbered on from the encoder's.

Auto-encoder: Zhu, Park, Isola and Efros, "Unpaired image-to-image translation using
cycle-consistent adversarial networks", ICCV 2017, appendix 7.2. Matsumoto and Yanai train it on the
identity, then add 6 residual blocks a task (7,077,888 weights at 256 channels) and no layer
besides. Readings, all CycleGAN's: reflected borders, instance norm without scale or shift, initial
weights of N(0, 0.02). Instance norm makes the network blind to what it removes, such as a constant
added to a colour channel; ``norm="batch"`` is the control.

Discriminator: Isola et al., "Image-to-image translation with conditional adversarial networks",
CVPR 2017: it sees input and output together and judges every patch.
"""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.catalogue import refuse_below
from lib.engine.training import seeded
from lib.networks.sizes import CONVOLUTIONS, pad_to_multiple, refuse_other_channels

_CHANNELS = (1, 2, 4, 8, 8)  # of the encoder's levels, in units of the width
_STRIDE = 2 ** (len(_CHANNELS) - 1)
# by the names of figure 3, from input to output
LAYERS = tuple(f"conv{level}_{part}" for level in range(1, 6) for part in (1, 2)) + tuple(
    name
    for stage in range(1, 5)
    for name in (f"up-conv{stage}", f"conv{stage + 5}_1", f"conv{stage + 5}_2")
)
NORMS = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
BLOCKS = 6  # residual blocks of a task


class Freezable(nn.Module):
    """A network of which whole parts can be fixed. ``frozen``: the names of these submodules."""

    frozen: tuple[str, ...] = ()

    def freeze(self, *parts: str) -> Self:
        """Fix some submodules: they have no gradients, and stay in evaluation mode."""
        self.frozen = parts
        for name in parts:
            self.get_submodule(name).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As for every module, but what is frozen is not set to training mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class _Unit(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # no bias: the norm would subtract it
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()


class UNet(Freezable):
    """Maps (N, C_in, H, W) to (N, C_out, H, W) scores, without a final activation.

    width: channels of the first level; the paper's is 64. seed: of the initial weights.
    ``encoder`` and ``decoder`` hold the layers by name (``LAYERS``), ``last`` is the task's own.
    Any height and width: the border is repeated up to a multiple of 16, and the output cropped
    back. Raises ValueError for sizes below 1 and for images of other channels.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 21, *, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        refuse_below(1, in_channels=in_channels, out_channels=out_channels, width=width)
        self.in_channels, self.width = in_channels, width
        with seeded(seed):
            self.encoder, self.decoder = nn.ModuleDict(), nn.ModuleDict()
            inputs = in_channels
            for level, factor in enumerate(_CHANNELS, start=1):
                for part in (1, 2):
                    self.encoder[f"conv{level}_{part}"] = _Unit(inputs, factor * width)
                    inputs = factor * width
            for stage, factor in enumerate(reversed(_CHANNELS[:-1]), start=1):
                bypass, outputs = factor * width, max(factor // 2, 1) * width
                self.decoder[f"up-conv{stage}"] = nn.ConvTranspose2d(inputs, inputs, 2, stride=2)
                self.decoder[f"conv{stage + 5}_1"] = _Unit(bypass + inputs, outputs)
                self.decoder[f"conv{stage + 5}_2"] = _Unit(outputs, outputs)
                inputs = outputs
            self.last = nn.Conv2d(width, out_channels, 1)

    def new_last(self, out_channels: int, *, seed: int = 0) -> nn.Conv2d:
        """Another task's last layer, not yet in use: assign it to ``last``."""
        refuse_below(1, out_channels=out_channels)
        with seeded(seed):
            return nn.Conv2d(self.width, out_channels, 1).to(self.last.weight)

    def weight_layers(self) -> dict[str, nn.Conv2d | nn.ConvTranspose2d]:
        """The 22 layers that the paper's masks cover, by name, from input to output."""
        layers = {**self.encoder, **self.decoder}
        convolutions: dict[str, Any] = {n: getattr(layers[n], "conv", layers[n]) for n in LAYERS}
        return convolutions

    def forward(self, images: Tensor) -> Tensor:
        refuse_other_channels(images, self.in_channels)
        x = pad_to_multiple(images, _STRIDE)
        bypasses: list[Tensor] = []
        for level in range(1, 6):
            x = F.max_pool2d(x, 2) if bypasses else x
            x = self.encoder[f"conv{level}_2"](self.encoder[f"conv{level}_1"](x))
            bypasses.append(x)
        bypasses.pop()
        for stage in range(1, 5):
            x = torch.cat((bypasses.pop(), self.decoder[f"up-conv{stage}"](x)), 1)
            x = self.decoder[f"conv{stage + 5}_2"](self.decoder[f"conv{stage + 5}_1"](x))
        return self.last(x)[..., : images.shape[2], : images.shape[3]]


class ResidualBlock(nn.Module):
    """x + f(x) on (N, C, H, W): two 3x3 convolutions with norms, a ReLU between them."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        first, second = (_convolution(channels, channels, norm) for _ in range(2))
        self.residual = nn.Sequential(*first, *second[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class Generator(Freezable):
    """Maps (N, 3, H, W) to (N, 3, H, W), both in [0, 1], by way of the named tasks.

    width: channels of the first layer, a fourth of those in the residual blocks; CycleGAN's is 64.
    norm: ``instance`` or ``batch``. seed: of the initial weights.
    ``net(images)`` is the auto-encoder, ``net(images, "colour")`` the task,
    ``net(images, "colour", "gogh")`` the second after the first without decoding in between.
    Any height and width: padded to a multiple of 4, at least 8, and cropped back. Raises ValueError
    for a width below 1, an unknown norm or task, and images of other channels.
    """

    def __init__(self, *, width: int = 64, norm: str = "instance", seed: int = 0) -> None:
        super().__init__()
        refuse_below(1, width=width)
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {tuple(NORMS)}, not {norm!r}")
        self.width, self.norm = width, norm
        with seeded(seed):
            self.encoder = _initialised(
                *_convolution(3, width, norm, size=7),
                *_convolution(width, 2 * width, norm, stride=2),
                *_convolution(2 * width, 4 * width, norm, stride=2),
            )
            self.decoder = _initialised(
                *_transposed(4 * width, 2 * width, norm),
                *_transposed(2 * width, width, norm),
                nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"),
            )
        self.tasks = nn.ModuleDict()

    def add_task(self, name: str, *, seed: int = 0) -> nn.Sequential:
        """New residual blocks; ValueError for a name that is taken, empty or has a dot."""
        if name in self.tasks or not name or "." in name:
            raise ValueError(f"a task's name must be new, not empty and without dot: {name!r}")
        with seeded(seed):
            stack = _initialised(*(ResidualBlock(4 * self.width, self.norm) for _ in range(BLOCKS)))
        like = next(self.encoder.parameters())
        self.tasks[name] = stack.to(like).train(self.training)
        return stack

    def encode(self, images: Tensor) -> Tensor:
        """Images to features (N, 4 * width, H / 4, W / 4), of the padded size."""
        refuse_other_channels(images, 3)
        # at least 8 pixels: norms and reflected borders need 2 x 2 features
        return self.encoder(pad_to_multiple(images, 4, least=8) * 2 - 1)

    def decode(self, features: Tensor) -> Tensor:
        """Features (N, 4 * width, h, w) to images (N, 3, 4 h, 4 w)."""
        return (torch.tanh(self.decoder(features)) + 1) / 2

    def forward(self, images: Tensor, *tasks: str) -> Tensor:
        if unknown := [name for name in tasks if name not in self.tasks]:
            raise ValueError(f"there is no task {unknown[0]!r}; tasks are {list(self.tasks)}")
        features = self.encode(images)
        for name in tasks:
            features = self.tasks[name](features)
        return self.decode(features)[..., : images.shape[2], : images.shape[3]]


# A bias before the norm does nothing. With instance norm it is kept for CycleGAN's parameter count.
def _convolution(
    inputs: int, outputs: int, norm: str, *, size: int = 3, stride: int = 1
) -> list[nn.Module]:
    """A convolution, its norm and a ReLU; where it keeps the resolution, borders are reflected."""
    borders: Literal["reflect", "zeros"] = "reflect" if stride == 1 else "zeros"
    padding, bias = size // 2, norm == "instance"
    layer = nn.Conv2d(inputs, outputs, size, stride, padding, bias=bias, padding_mode=borders)
    return [layer, NORMS[norm](outputs), nn.ReLU()]


def _transposed(inputs: int, outputs: int, norm: str) -> list[nn.Module]:
    """A transposed convolution that doubles the resolution, its norm and a ReLU."""
    layer = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=norm == "instance")
    return [layer, NORMS[norm](outputs), nn.ReLU()]


def _initialised(*layers: nn.Module) -> nn.Sequential:
    """The layers with CycleGAN's N(0, 0.02) for the weights of convolutions, biases at zero."""
    network = nn.Sequential(*layers)
    for layer in network.modules():
        if isinstance(layer, CONVOLUTIONS):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


class PatchDiscriminator(nn.Sequential):
    """(N, C, H, W) to scores (N, 1, h, w), one a patch; C64-C128-...: instance norm, LeakyReLU.

    layers: how many convolutions; 3 look at patches of 70 px, 2 at 34 px, 1 at 16 px.
    """

    def __init__(self, channels: int, *, width: int = 64, layers: int = 3, seed: int = 0) -> None:
        refuse_below(1, channels=channels, width=width, layers=layers)
        with seeded(seed):
            parts = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            for index in range(1, layers + 1):
                inputs, outputs = (width * min(2**n, 8) for n in (index - 1, index))
                stride = 2 if index < layers else 1
                parts.append(nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1))
                parts += [nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
            super().__init__(*_initialised(*parts, nn.Conv2d(outputs, 1, 4, padding=1)))
