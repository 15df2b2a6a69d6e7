"""Encoder-decoder networks of any depth with skip connections at any set of levels.

The family that the study of trained versus untrained networks sweeps over. The layers are those
of Deep Image Prior (Ulyanov, Vedaldi, Lempitsky, CVPR 2018): stride-2 convolutions down, batch
normalisation, leaky ReLU, reflection padding, 1x1 convolutions in the skips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, zip_longest
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLINGS = ("bilinear", "nearest", "learned")


@dataclass(frozen=True, order=True)
class Architecture:
    """Which encoder-decoder: its depth and the levels that have a skip connection.

    depth: number of stride-2 stages, at least 1. Level 0 is the full resolution, level
        ``depth`` the bottleneck.
    skips: levels in ``0 .. depth - 1`` whose encoder input is carried over to the decoder.
    """

    depth: int
    skips: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.depth, int) or self.depth < 1:
            raise ValueError(f"depth must be an integer of at least 1, not {self.depth!r}")
        for level in set(self.skips) - set(range(self.depth)):
            raise ValueError(f"skip level {level!r} does not exist at depth {self.depth}")
        if len(set(self.skips)) < len(self.skips):
            raise ValueError(f"skip levels are given twice: {self.skips!r}")
        object.__setattr__(self, "skips", tuple(sorted(self.skips)))

    @property
    def slc(self) -> int:
        """Level of the shallowest skip; without any, open in the paper, that of the bottleneck."""
        return self.skips[0] if self.skips else self.depth

    @property
    def name(self) -> str:
        """Short label such as ``d4-s02`` (depth 4, skips at levels 0 and 2)."""
        return f"d{self.depth}-s{''.join(map(str, self.skips)) or '-'}"


def enumerate_architectures(max_depth: int = 8) -> list[Architecture]:
    """All skip subsets for depth 1..max_depth: sum of 2^d, which is 510 for 8.

    The paper says "more than 300" without the rule; 8 is the first depth that gives as many.
    """
    Architecture(max_depth)  # refuses a bad depth in the same words
    return [
        Architecture(depth, skips)
        for depth in range(1, max_depth + 1)
        for count in range(depth + 1)
        for skips in combinations(range(depth), count)
    ]


def ladder(depth: int, slc: int) -> Architecture:
    """The plainest network of a depth and an SLC: that one skip, or none if SLC = depth."""
    return Architecture(depth, () if slc == depth else (slc,))


def stratified(max_depth: int, count: int = 0) -> list[Architecture]:
    """The family, or ``count`` of it; every beginning is spread over (depth, SLC).

    Each round takes one network of every stratum: first the plainest one, then random ones.
    """
    rng = np.random.default_rng(0)
    strata: dict[tuple[int, int], list[Architecture]] = {}
    for architecture in enumerate_architectures(max_depth):
        strata.setdefault((architecture.depth, architecture.slc), []).append(architecture)
    for place, members in strata.items():
        rng.shuffle(members)
        members.sort(key=ladder(*place).__ne__)  # the plainest one first, the others as they are
    rounds = zip_longest(*strata.values())
    return [member for one_each in rounds for member in one_each if member][: count or None]


@dataclass(frozen=True)
class Layers:
    """What all networks of a study have in common.

    width: channels at every level, as in Deep Image Prior; or those of levels 0, 1, ..., where the
        last number holds for all deeper levels. skip_width: channels of a skip.
    upsampling: ``bilinear``, ``nearest``, or ``learned`` (2x2 transposed convolution, stride 2).
    bypass: the last 3x3 convolution sees the input image as well, beside what is decoded.
    """

    width: int | tuple[int, ...] = 128
    skip_width: int = 4
    upsampling: str = "bilinear"
    bypass: bool = False

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"width must be at least 1, not {self.width!r}")
        if self.upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling must be one of {UPSAMPLINGS}, not {self.upsampling!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.width,) if isinstance(self.width, int) else tuple(self.width)

    def channels(self, level: int) -> int:
        """Channels of the encoder's and of the decoder's output at a level."""
        return self.widths[min(level, len(self.widths) - 1)]


def _unit(inputs: int, outputs: int, size: int, groups: int, stride: int = 1) -> nn.Sequential:
    border: Any = {"padding": size // 2, "padding_mode": "reflect"} if size > 1 else {}
    inputs, outputs = inputs * groups, outputs * groups
    # no bias: the norm would subtract it, its gradient is rounding noise, and Adam would turn
    # that noise into full-sized steps
    convolution = nn.Conv2d(inputs, outputs, size, stride, groups=groups, bias=False, **border)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))


class EncoderDecoder(nn.Module):
    """The network of one :class:`Architecture`; maps (N, C_in, H, W) to (N, C_out, H, W).

    global_residual: the network predicts a correction that is added to its input (as DnCNN
        does) instead of an image through a sigmoid.
    problems: P independent networks in one, by grouped convolutions: channels of input and
        output are then P times as many, those of problem p side by side.
    Height and width must be more than 2^depth, else ValueError: a bottleneck of one pixel would be
    erased by normalisation. An odd size is halved upwards; the decoder returns to the same sizes.
    """

    def __init__(
        self,
        architecture: Architecture,
        in_channels: int,
        out_channels: int,
        layers: Layers = Layers(),
        *,
        global_residual: bool = False,
        problems: int = 1,
    ) -> None:
        super().__init__()
        if global_residual and in_channels != out_channels:
            raise ValueError("a global residual needs as many input channels as output channels")
        self.architecture, self.layers = architecture, layers
        self.global_residual, self.problems = global_residual, problems
        self.down, self.skip = nn.ModuleList(), nn.ModuleDict()
        self.enlarge, self.up = nn.ModuleList(), nn.ModuleList()
        unit = partial(_unit, groups=problems)
        inputs, bottom = in_channels, architecture.depth - 1
        for level in range(architecture.depth):
            width, below = layers.channels(level), layers.channels(min(level + 1, bottom))
            joined = below
            self.down.append(nn.Sequential(unit(inputs, width, 3, stride=2), unit(width, width, 3)))
            if level in architecture.skips:
                self.skip[str(level)] = unit(inputs, layers.skip_width, 1)
                joined += layers.skip_width
            if layers.upsampling == "learned":
                below *= problems
                up = nn.ConvTranspose2d(below, below, 2, 2, groups=problems, bias=False)
                self.enlarge.append(up)
            norm = nn.BatchNorm2d(joined * problems, affine=False)
            joined += in_channels if layers.bypass and level == 0 else 0
            self.up.append(nn.Sequential(norm, unit(joined, width, 3), unit(width, width, 1)))
            inputs = width
        width = layers.channels(0) * problems
        self.head = nn.Conv2d(width, out_channels * problems, 1, groups=problems)

    def _join(self, x: Tensor, bypass: Tensor) -> Tensor:
        """Concatenate channels within each problem."""
        if self.problems == 1:  # as it is, so that the memory layout stays
            return torch.cat((x, bypass), 1)
        split = (self.problems, -1)
        return torch.cat((x.unflatten(1, split), bypass.unflatten(1, split)), 2).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        depth, image = self.architecture.depth, x
        if min(x.shape[2:]) <= 2**depth:
            raise ValueError(
                f"an image of {x.shape[2]} x {x.shape[3]} pixels is too small for architecture "
                f"{self.architecture.name}: it needs more than 2^depth = {2**depth} pixels a side"
            )
        bypasses, sizes = {}, []
        for level, down in enumerate(self.down):
            sizes.append(x.shape[2:])
            if level in self.architecture.skips:
                bypasses[level] = self.skip[str(level)](x)
            x = down(x)
        for level in reversed(range(depth)):
            if self.layers.upsampling == "learned":
                x = self.enlarge[level](x)[..., : sizes[level][0], : sizes[level][1]]
            else:
                x = F.interpolate(x, size=sizes[level], mode=self.layers.upsampling)
            x = self._join(x, bypasses[level]) if level in bypasses else x
            norm, last, mix = self.up[level].children()
            x = norm(x)
            x = mix(last(self._join(x, image) if self.layers.bypass and level == 0 else x))
        x = self.head(x)
        return image + x if self.global_residual else torch.sigmoid(x)


def group(networks: Sequence[EncoderDecoder]) -> dict[str, Tensor]:
    """The state of one network with ``problems=len(networks)`` that computes all of them.

    Groups are concatenated along the first dimension; ``num_batches_tracked`` alone is shared.
    """
    states = [network.state_dict() for network in networks]
    return {
        name: first if first.ndim == 0 else torch.cat([state[name] for state in states])
        for name, first in states[0].items()
    }
