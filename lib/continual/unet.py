"""The U-Net of the Piggyback study: 14,776,000 convolution weights at width 64.

Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, in the variant that Matsumoto and Yanai used:
the paper prints no layer table, but its count of mask weights and its sizes of the whole network
and of the decoder fit one plan only. Channels 64-128-256-512-512 down; 2x2 transposed convolutions
that keep the channels up; a level's two 3x3 convolutions make 1024 to 256, 512 to 128, 256 to 64
and 128 to 64.

Readings, where neither text nor sizes decide: batch norm and ReLU after every 3x3 convolution,
neither after a transposed one; a 1x1 convolution as last layer; decoder levels are numbered on
from the encoder's (up-conv1, conv6_1, ..., conv9_2).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.engine.seeding import seeded
from lib.networks.sizes import refuse_below_one, refuse_other_channels
from lib.networks.sizes import pad_to_multiple

_CHANNELS = (1, 2, 4, 8, 8)  # of the encoder's levels, in units of the width
_STRIDE = 2 ** (len(_CHANNELS) - 1)

ENCODER_LAYERS = tuple(f"conv{level}_{part}" for level in range(1, 6) for part in (1, 2))
DECODER_LAYERS = tuple(
    name
    for stage in range(1, 5)
    for name in (f"up-conv{stage}", f"conv{stage + 5}_1", f"conv{stage + 5}_2")
)
LAYERS = ENCODER_LAYERS + DECODER_LAYERS


class _Unit(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # no bias: the norm would subtract it
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class UNet(nn.Module):
    """Maps (N, C_in, H, W) to (N, C_out, H, W) scores, without a final activation.

    width: channels of the first level; the paper's is 64.
    seed: of the initial weights, which depend on the arguments alone.
    ``encoder`` and ``decoder`` hold the layers by the names of figure 3 (``LAYERS``), ``last`` the
    task's own layer. Any height and width: the border is repeated up to a multiple of 16, and the
    output is cropped back. Raises ValueError for sizes below 1 and for images of other channels.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 21, *, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        refuse_below_one(in_channels=in_channels, out_channels=out_channels, width=width)
        self.in_channels, self.width = in_channels, width
        self.encoder_frozen = False
        with seeded(seed):
            self.encoder = _encoder(in_channels, width)
            self.decoder = _decoder(width)
            self.last = nn.Conv2d(width, out_channels, 1)

    def freeze_encoder(self) -> UNet:
        """Fix the encoder: no gradients, and its norms stay in evaluation mode."""
        self.encoder_frozen = True
        self.encoder.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> UNet:
        """As for every module, but a frozen encoder is not set to training mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self

    def new_last(self, out_channels: int, *, seed: int = 0) -> nn.Conv2d:
        """Another task's last layer, not yet in use: assign it to ``last``."""
        if out_channels < 1:
            raise ValueError(f"a last layer needs at least 1 channel, not {out_channels}")
        with seeded(seed):
            layer = nn.Conv2d(self.width, out_channels, 1)
        return layer.to(self.last.weight)

    def weight_layers(self) -> dict[str, nn.Conv2d | nn.ConvTranspose2d]:
        """The 22 layers that the paper's masks cover, by name, from input to output."""
        layers = {**self.encoder, **self.decoder}
        return {name: getattr(layers[name], "conv", layers[name]) for name in LAYERS}

    def features(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Outputs of the named layers, those of 3x3 convolutions after norm and ReLU.

        They belong to the padded image. Raises ValueError for an unknown name.
        """
        kept = {name: torch.empty(0) for name in names}
        if unknown := sorted(kept.keys() - set(LAYERS)):
            raise ValueError(f"there is no layer {', '.join(unknown)}; names are {LAYERS}")
        self._run(images, kept)
        return kept

    def forward(self, images: Tensor) -> Tensor:
        return self._run(images, {})

    def _run(self, images: Tensor, kept: dict[str, Tensor]) -> Tensor:
        """The output; fills ``kept`` with the layers it names."""
        refuse_other_channels(images, self.in_channels)

        def apply(layers: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
            x = layers[name](x)
            if name in kept:
                kept[name] = x
            return x

        x = pad_to_multiple(images, _STRIDE)
        bypasses: list[Tensor] = []
        for level in range(1, 6):
            if bypasses:
                x = F.max_pool2d(x, 2)
            x = apply(self.encoder, f"conv{level}_1", x)
            x = apply(self.encoder, f"conv{level}_2", x)
            bypasses.append(x)
        bypasses.pop()
        for stage in range(1, 5):
            x = apply(self.decoder, f"up-conv{stage}", x)
            x = torch.cat((bypasses.pop(), x), 1)
            x = apply(self.decoder, f"conv{stage + 5}_1", x)
            x = apply(self.decoder, f"conv{stage + 5}_2", x)
        return self.last(x)[..., : images.shape[2], : images.shape[3]]


def _encoder(in_channels: int, width: int) -> nn.ModuleDict:
    layers, inputs = nn.ModuleDict(), in_channels
    for level, factor in enumerate(_CHANNELS, start=1):
        for part in (1, 2):
            layers[f"conv{level}_{part}"] = _Unit(inputs, factor * width)
            inputs = factor * width
    return layers


def _decoder(width: int) -> nn.ModuleDict:
    layers, below = nn.ModuleDict(), _CHANNELS[-1]
    for stage, bypass in enumerate(reversed(_CHANNELS[:-1]), start=1):
        outputs = max(bypass // 2, 1)
        layers[f"up-conv{stage}"] = nn.ConvTranspose2d(below * width, below * width, 2, stride=2)
        layers[f"conv{stage + 5}_1"] = _Unit((bypass + below) * width, outputs * width)
        layers[f"conv{stage + 5}_2"] = _Unit(outputs * width, outputs * width)
        below = outputs
    return layers
