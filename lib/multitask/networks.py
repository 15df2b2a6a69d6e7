"""Networks that answer several tasks at once: the paper's, and two of the literature.

A stream is a chain of layers, each of which halves the image. Feature maps are looked up by the
name of their stream. All networks take images (N, 3, S, S) in [0, 1] and return a tensor
(N, outputs) for each task.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lib.engine.training import seeded
from lib.networks.sizes import count_parameters

SHARED = "shared"
Maps = dict[str, list[Tensor]]


class Shape(NamedTuple):
    """How large a network is.

    widths: channels of each layer. size: side of the images in pixels, a multiple of
    2 ** len(widths). hidden: units in the hidden layer of a head.
    """

    widths: tuple[int, ...]
    size: int
    hidden: int


class MultiTask(nn.Module):
    """What the networks have in common: streams of the same widths, and a head for each task."""

    has_shared, has_own = True, True  # streams: one for all tasks, and one for each task

    def __init__(
        self, tasks: Mapping[str, int], shape: Shape, *, read: int = 1, late: int = 0
    ) -> None:
        """tasks: number of outputs by name. read: how many streams a layer of a task reads.

        late: how many of the last layers the shared stream does not have.
        """
        super().__init__()
        widths, size, hidden = shape
        if size % 2 ** len(widths):
            raise ValueError(f"{len(widths)} layers halve an image of {size} px to no whole number")
        self.tasks, self.widths, self.early = tuple(tasks), widths, len(widths) - late
        read_by = (3, *(w * (read if i < self.early else 1) for i, w in enumerate(widths)))
        streams = {SHARED: _stream((3, *widths), widths[: self.early])} if self.has_shared else {}
        if self.has_own:
            streams |= {task: _stream(read_by, widths) for task in tasks}
        self.streams = nn.ModuleDict(streams)
        inputs = read_by[-1] * (size // 2 ** len(widths)) ** 2
        self.heads = nn.ModuleDict({t: _head(inputs, hidden, out) for t, out in tasks.items()})

    def features(self, images: Tensor) -> Maps:
        """The feature maps of each stream, one tensor (N, C, H, W) a layer."""
        maps = {SHARED: run_stream(self.streams[SHARED], images)} if self.has_shared else {}
        maps |= {task: [] for task in self.tasks}
        inputs = dict.fromkeys(self.tasks, images)
        for layer in range(len(self.widths)):
            for task in self.tasks:
                maps[task].append(layers_of(self.streams[task])[layer](inputs[task]))
            if layer + 1 < len(self.widths):
                inputs = self.mix(layer, maps)
        return maps

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        """What the next layer, or the head, of each task reads: the maps of its own stream."""
        return {task: maps[task][layer] for task in self.tasks}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs (N, outputs) by task."""
        last = self.mix(len(self.widths) - 1, self.features(images))
        return {task: self.heads[task](last[task]) for task in self.tasks}

    def set_biases(self, biases: Mapping[str, Tensor]) -> None:
        """Let each task's output begin at a constant (outputs,), such as the mean of its truth."""
        for task, bias in biases.items():
            self.heads[task].get_parameter("3.bias").data.copy_(bias)

    def begin_at(self, stage1: MultiTask, *, copied: bool) -> None:
        """Take over the shared stream of stage 1; copied: every stream begins as it, and heads."""
        for name in self.streams if copied else (SHARED,):
            self.streams[name].load_state_dict(stage1.streams[SHARED].state_dict())
        if copied:
            self.heads.load_state_dict(stage1.heads.state_dict())


class HardSharing(MultiTask):
    """One shared stream under all heads: Caruana's multi-task network, stage 1 of the paper.

    late: each task has so many of the last layers for itself, as in figure 1 of the paper. The
        maps of its stream are those of these layers.
    """

    has_own = False

    def __init__(self, tasks: Mapping[str, int], shape: Shape, *, late: int = 0) -> None:
        super().__init__(tasks, shape, late=late)
        for task in tasks if late else ():
            self.streams[task] = _stream(self.widths[self.early - 1 :], self.widths[self.early :])

    def features(self, images: Tensor) -> Maps:
        shared = run_stream(self.streams[SHARED], images)
        own = [task for task in self.tasks if task in self.streams]
        return {SHARED: shared} | {t: run_stream(self.streams[t], shared[-1]) for t in own}

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        return {task: maps[task if task in maps else SHARED][-1] for task in self.tasks}


class Independent(MultiTask):
    """A stream for each task, and nothing between them: as many single-task networks."""

    has_shared = False


class Separation(MultiTask):
    """The paper's Separation Multi-task Network: a task reads its own and the shared features.

    fusion: ``concat`` feeds [own, shared] to the next layer of a task. ``conv1x1`` brings them
        back to the width of one by a 1 x 1 convolution, so that weights of stage 1 fit.
    frozen: the shared stream stays as it is, statistics of its batch norms included.
    late: the last layers have no shared stream beside them; they read their own one alone.
    """

    def __init__(
        self,
        tasks: Mapping[str, int],
        shape: Shape,
        *,
        fusion: str,
        frozen: bool = True,
        late: int = 0,
    ) -> None:
        if fusion not in ("concat", "conv1x1"):
            raise ValueError(f"fusion must be concat or conv1x1, not {fusion!r}")
        super().__init__(tasks, shape, read=2 if fusion == "concat" else 1, late=late)
        self.fusions = nn.ModuleDict()
        for task in tasks if fusion == "conv1x1" else ():
            widths = self.widths[: self.early]
            self.fusions[task] = nn.ModuleList(nn.Conv2d(2 * w, w, 1, bias=False) for w in widths)
        self.frozen = frozen
        self.streams[SHARED].requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> Separation:
        super().train(mode)
        if self.frozen:
            self.streams[SHARED].eval()
        return self

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        if layer >= self.early:
            return super().mix(layer, maps)
        both = {task: torch.cat([maps[task][layer], maps[SHARED][layer]], 1) for task in self.tasks}
        if not self.fusions:
            return both
        return {task: layers_of(self.fusions[task])[layer](both[task]) for task in self.tasks}

    @torch.no_grad()
    def pass_own(self) -> None:
        """Let every 1 x 1 convolution begin by passing on its task's own features unchanged."""
        for weight in self.fusions.parameters():
            nn.init.dirac_(weight)


class CrossStitch(Independent):
    """Streams whose maps are mixed, channel by channel, by learned weights after each layer.

    Misra, Shrivastava, Gupta and Hebert, "Cross-stitch networks for multi-task learning", CVPR
    2016. The weights begin at .9 for a task's own maps and .1, shared among the others.
    """

    def __init__(self, tasks: Mapping[str, int], shape: Shape) -> None:
        super().__init__(tasks, shape)
        count = len(self.tasks)
        start = torch.full((count, count), 0.1 / max(1, count - 1)).fill_diagonal_(0.9)
        self.stitches = nn.ParameterList(
            nn.Parameter(start[:, :, None].repeat(1, 1, width)) for width in self.widths
        )

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        stacked = torch.stack([maps[task][layer] for task in self.tasks], 1)
        mixed = torch.einsum("ijc,njchw->nichw", self.stitches[layer], stacked)
        return {task: mixed[:, i] for i, task in enumerate(self.tasks)}


class MTAN(MultiTask):
    """A shared stream, and for each task masks that pick from it; a task's maps are the picked.

    Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019. A layer has
    one convolution here, so the mask looks at what it also multiplies. As in the authors' code, the
    layers that bring what was picked to the next size are one set for all tasks.
    """

    has_own = False

    def __init__(self, tasks: Mapping[str, int], shape: Shape) -> None:
        super().__init__(tasks, shape)
        self.steps = nn.ModuleList(map(_layer, self.widths, self.widths[1:]))
        inputs = (self.widths[0], *(2 * width for width in self.widths[1:]))
        self.masks = nn.ModuleDict(
            {task: nn.ModuleList(map(_mask, inputs, self.widths)) for task in tasks}
        )

    def features(self, images: Tensor) -> Maps:
        maps = {SHARED: run_stream(self.streams[SHARED], images)}
        for task in self.tasks:
            picked: list[Tensor] = []
            for i, mask in enumerate(layers_of(self.masks[task])):
                shared = maps[SHARED][i]
                carried = [self.steps[i - 1](picked[-1])] if i else []
                picked.append(mask(torch.cat([shared, *carried], 1)) * shared)
            maps[task] = picked
        return maps


NETWORKS: dict[str, type[MultiTask]] = {
    "hard sharing": HardSharing,
    "independent": Independent,
    "separation": Separation,
    "cross-stitch": CrossStitch,
    "mtan": MTAN,
}


def multitask_network(
    name: str,
    tasks: Mapping[str, int],
    shape: Shape,
    *,
    seed: int,
    fusion: str = "",
    frozen: bool = True,
    late: int = 0,
) -> MultiTask:
    """A network of ``NETWORKS`` with random weights of a seed; ValueError for another name.

    Kinds begin differently: a stream must not resemble another network's for its first weights.
    fusion, frozen: of a separation network. late: of one, and of hard sharing.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {tuple(NETWORKS)}, not {name!r}")
    with seeded(seed + 1_000_003 * list(NETWORKS).index(name)):
        if name == "separation":
            return Separation(tasks, shape, fusion=fusion, frozen=frozen, late=late)
        return HardSharing(tasks, shape, late=late) if late else NETWORKS[name](tasks, shape)


@cache  # it builds many networks
def matched_widths(tasks: tuple[tuple[str, int], ...], shape: Shape) -> tuple[int, ...]:
    """The widths, all times one factor, with which hard sharing is as large as the paper's network.

    tasks: number of outputs by name, as pairs.
    """
    sizes: dict[tuple[int, ...], int] = {}
    with torch.device("meta"):
        paper = count_parameters(Separation(dict(tasks), shape, fusion="concat"))
        for percent in range(50, 500, 2):
            widths = tuple(max(1, round(width * percent / 100)) for width in shape.widths)
            plain = HardSharing(dict(tasks), shape._replace(widths=widths))
            sizes.setdefault(widths, count_parameters(plain))
    return min(sizes, key=lambda widths: abs(sizes[widths] - paper))


def multiplications(network: MultiTask, size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def layers_of(stream: nn.Module) -> list[nn.Module]:
    """The layers of a stream, in order."""
    return list(stream.children())


def run_stream(stream: nn.Module, images: Tensor) -> list[Tensor]:
    """The maps after each layer of a stream that reads no other stream."""
    maps = [images]
    for layer in layers_of(stream):
        maps.append(layer(maps[-1]))
    return maps[1:]


def _stream(inputs: tuple[int, ...], widths: tuple[int, ...]) -> nn.Module:
    """Layers of some widths; each reads so many channels, and ``inputs`` may go on behind them."""
    return nn.Sequential(*map(_layer, inputs, widths))


def _layer(inputs: int, outputs: int) -> nn.Module:
    """Convolution, batch norm, maximum of 2 x 2, which halves a map, and ReLU.

    ReLU before the maximum gives the same: as it stands it costs a quarter.
    """
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU())


def _head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    return nn.Sequential(nn.Flatten(), *layers)


def _mask(inputs: int, width: int) -> nn.Module:
    """Two 1 x 1 convolutions that say, from 0 to 1, how much of each channel is picked."""
    first = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    second = nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.Sigmoid()
    return nn.Sequential(*first, *second)
