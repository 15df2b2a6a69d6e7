"""Multi-task networks of the literature, with the interface of ``lib.multitask.networks``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib.multitask.networks import SHARED, Independent, Maps, MultiTask, run
from lib.multitask.networks import layer as layer_of


class CrossStitch(Independent):
    """Streams whose maps are mixed, channel by channel, by learned weights after each layer.

    Misra, Shrivastava, Gupta and Hebert, "Cross-stitch networks for multi-task learning", CVPR
    2016; weights begin at .9 (own) and .1, shared among the others.
    """

    def __init__(self, tasks: Mapping[str, int], **sizes: object) -> None:
        super().__init__(tasks, **sizes)
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
    """A shared stream, and for each task masks that pick from it (a task's maps are the picked).

    Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019. A layer has
    one convolution here, so the mask looks at what it also multiplies.
    """

    def __init__(self, tasks: Mapping[str, int], **sizes: object) -> None:
        super().__init__(tasks, streams=(SHARED,), **sizes)
        pairs = list(zip(self.widths[:-1], self.widths[1:], strict=True))
        self.masks, self.steps = nn.ModuleDict(), nn.ModuleDict()
        for task in tasks:
            inputs = (self.widths[0], *(2 * width for width in self.widths[1:]))
            self.masks[task] = nn.ModuleList(map(_mask, inputs, self.widths))
            self.steps[task] = nn.ModuleList(layer_of(*pair) for pair in pairs)

    def features(self, images: Tensor) -> Maps:
        maps = {SHARED: run(self.streams[SHARED], images)}
        for task in self.tasks:
            maps[task] = []
            for layer, shared in enumerate(maps[SHARED]):
                seen = shared
                if layer:
                    seen = torch.cat([shared, self.steps[task][layer - 1](maps[task][-1])], 1)
                maps[task].append(self.masks[task][layer](seen) * shared)
        return maps


def _mask(inputs: int, width: int) -> nn.Sequential:
    first = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    return nn.Sequential(
        *first, nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.Sigmoid()
    )
