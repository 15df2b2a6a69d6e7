"""An auto-encoder whose residual blocks in the middle are a task's own.

Zhu, Park, Isola and Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017, appendix 7.2: c7s1-64, d128, d256, residual blocks R256, u128, u64, c7s1-3.
Matsumoto and Yanai train encoder and decoder on the identity, then add 6 blocks a task (7,077,888
weights at 256 channels) and no layer besides. As a task's blocks map features to features, those
of several tasks can follow one another in one pass.

Readings: reflected borders, instance norm without scale or shift, and initial weights of N(0, 0.02)
are CycleGAN's; the paper names CycleGAN and shows a figure. Instance norm makes the network blind
to what it removes, such as a constant added to a colour channel; ``norm="batch"`` is the control.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.engine.seeding import seeded
from lib.networks.sizes import refuse_below_one, refuse_other_channels
from lib.networks.sizes import pad_to_multiple

NORMS = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
BLOCKS = 6


class ResidualBlock(nn.Module):
    """x + f(x) on (N, C, H, W): two 3x3 convolutions with norms, a ReLU between them."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_unit(nn.Conv2d, channels, channels, norm, padding=1, padding_mode="reflect"),
            *_unit(nn.Conv2d, channels, channels, norm, padding=1, padding_mode="reflect")[:-1],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class Generator(nn.Module):
    """Maps (N, C_in, H, W) to (N, C_out, H, W), both in [0, 1], by way of the named tasks.

    width: channels of the first layer, a fourth of those in the residual blocks; CycleGAN's is 64.
    norm: ``instance`` or ``batch``.
    seed: of the initial weights, which depend on the arguments alone.
    ``net(images)`` is the auto-encoder, ``net(images, "colour")`` the task,
    ``net(images, "colour", "gogh")`` the second after the first without decoding in between.
    Any height and width: the border is repeated up to a multiple of 4, at least 8, and the output
    is cropped back. Raises ValueError for sizes below 1, an unknown norm or task, and images of
    other channels.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        width: int = 64,
        norm: str = "instance",
        seed: int = 0,
    ) -> None:
        super().__init__()
        refuse_below_one(in_channels=in_channels, out_channels=out_channels, width=width)
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {tuple(NORMS)}, not {norm!r}")
        self.in_channels, self.width, self.norm = in_channels, width, norm
        self.frozen = False
        with seeded(seed):
            self.encoder = initialised(_encoder(in_channels, width, norm))
            self.decoder = initialised(_decoder(out_channels, width, norm))
        self.tasks = nn.ModuleDict()

    def add_task(self, name: str, *, blocks: int = BLOCKS, seed: int = 0) -> nn.Sequential:
        """New residual blocks under a name; they are returned, for an optimiser or a file.

        Raises ValueError for a name that is taken, empty or has a dot, and for less than 1 block.
        """
        if name in self.tasks or not name or "." in name:
            raise ValueError(f"a task's name must be new, not empty and without dot: {name!r}")
        if blocks < 1:
            raise ValueError(f"a task needs at least 1 residual block, not {blocks}")
        channels = 4 * self.width
        with seeded(seed):
            stack = nn.Sequential(*(ResidualBlock(channels, self.norm) for _ in range(blocks)))
            initialised(stack)
        like = next(self.encoder.parameters())
        self.tasks[name] = stack.to(like).train(self.training)
        return stack

    def freeze(self) -> Generator:
        """Fix encoder and decoder: no gradients, and their norms stay in evaluation mode."""
        self.frozen = True
        self.encoder.requires_grad_(False)
        self.decoder.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Generator:
        """As for every module, but a frozen auto-encoder is not set to training mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
            self.decoder.eval()
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Images to features (N, 4 * width, H / 4, W / 4), of the padded size."""
        refuse_other_channels(images, self.in_channels)
        # at least 8 pixels: norms and reflected borders need 2 x 2 features
        return self.encoder(pad_to_multiple(images, 4, least=8) * 2 - 1)

    def decode(self, features: Tensor) -> Tensor:
        """Features (N, 4 * width, h, w) to images (N, C_out, 4 h, 4 w)."""
        return (torch.tanh(self.decoder(features)) + 1) / 2

    def forward(self, images: Tensor, *tasks: str) -> Tensor:
        if unknown := [name for name in tasks if name not in self.tasks]:
            raise ValueError(f"there is no task {unknown[0]!r}; tasks are {list(self.tasks)}")
        features = self.encode(images)
        for name in tasks:
            features = self.tasks[name](features)
        return self.decode(features)[..., : images.shape[2], : images.shape[3]]


def _unit(
    convolution: type[nn.Module], inputs: int, outputs: int, norm: str, size: int = 3, **options
) -> list[nn.Module]:
    # a bias before the norm does nothing: kept with instance norm for CycleGAN's parameter count
    layer = convolution(inputs, outputs, size, bias=norm == "instance", **options)
    return [layer, NORMS[norm](outputs), nn.ReLU()]


def _encoder(in_channels: int, width: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        *_unit(nn.Conv2d, in_channels, width, norm, 7, padding=3, padding_mode="reflect"),
        *_unit(nn.Conv2d, width, 2 * width, norm, stride=2, padding=1),
        *_unit(nn.Conv2d, 2 * width, 4 * width, norm, stride=2, padding=1),
    )


def _decoder(out_channels: int, width: int, norm: str) -> nn.Sequential:
    double = {"stride": 2, "padding": 1, "output_padding": 1}
    return nn.Sequential(
        *_unit(nn.ConvTranspose2d, 4 * width, 2 * width, norm, **double),
        *_unit(nn.ConvTranspose2d, 2 * width, width, norm, **double),
        nn.Conv2d(width, out_channels, 7, padding=3, padding_mode="reflect"),
    )


def initialised(network: nn.Sequential) -> nn.Sequential:
    """The network with CycleGAN's N(0, 0.02) for the weights of convolutions, biases at zero."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
