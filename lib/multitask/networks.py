"""The paper's multi-task networks: hard sharing, independent streams, and separation.

A stream is a chain of layers; feature maps are found by the stream's name. All networks take
images (N, 3, S, S) in [0, 1] and return a tensor (N, outputs) for each task.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SHARED = "shared"
FUSIONS = ("concat", "conv1x1")
Maps = dict[str, list[Tensor]]


class MultiTask(nn.Module):
    """What the networks have in common: streams of the same widths, and a head for each task.

    tasks: name -> outputs. widths: channels of each layer; each halves the image. size: of the
    image, a multiple of 2 ** layers. hidden: units of a head's hidden layer.
    """

    def __init__(
        self,
        tasks: Mapping[str, int],
        *,
        widths: tuple[int, ...],
        size: int,
        hidden: int,
        streams: tuple[str, ...],
        grown: int = 1,
    ) -> None:
        """streams: by name. grown: how many times a task's inputs are as many as its outputs."""
        super().__init__()
        if size % 2 ** len(widths):
            raise ValueError(f"{len(widths)} layers halve an image of {size} px to no whole number")
        if SHARED in tasks:
            raise ValueError(f"no task can have the name {SHARED!r}")
        self.tasks, self.widths = tuple(tasks), widths
        self.streams = nn.ModuleDict(
            {name: _stream(widths, 1 if name == SHARED else grown) for name in streams}
        )
        inputs = grown * widths[-1] * (size // 2 ** len(widths)) ** 2
        self.heads = nn.ModuleDict({t: _head(inputs, hidden, out) for t, out in tasks.items()})

    def features(self, images: Tensor) -> Maps:
        """The feature maps of each stream, one (N, C, H, W) a layer."""
        raise NotImplementedError

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        """What comes to each task's next layer, or head, after a layer: its own maps."""
        return {task: maps[task][layer] for task in self.tasks}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs (N, outputs) by task."""
        last = self.mix(len(self.widths) - 1, self.features(images))
        return {task: self.heads[task](last[task]) for task in self.tasks}

    def set_biases(self, biases: Mapping[str, Tensor]) -> None:
        """Let each task's output begin at a constant (outputs,), such as the mean of its truth."""
        for task, bias in biases.items():
            self.heads[task][-1].bias.data.copy_(bias)


class HardSharing(MultiTask):
    """One shared stream under all heads: Caruana's multi-task network, stage 1 of the paper."""

    def __init__(self, tasks: Mapping[str, int], **sizes: object) -> None:
        super().__init__(tasks, streams=(SHARED,), **sizes)

    def features(self, images: Tensor) -> Maps:
        return {SHARED: run(self.streams[SHARED], images)}

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        return dict.fromkeys(self.tasks, maps[SHARED][layer])


class Independent(MultiTask):
    """A stream for each task, and nothing between them: as many single-task networks."""

    def __init__(self, tasks: Mapping[str, int], more: tuple[str, ...] = (), **sizes: object):
        super().__init__(tasks, streams=(*more, *tasks), **sizes)

    def features(self, images: Tensor) -> Maps:
        maps = self.shared_features(images) | {task: [] for task in self.tasks}
        inputs = dict.fromkeys(self.tasks, images)
        for layer in range(len(self.widths)):
            for task in self.tasks:
                maps[task].append(self.streams[task][layer](inputs[task]))
            if layer + 1 < len(self.widths):
                inputs = self.mix(layer, maps)
        return maps

    def shared_features(self, images: Tensor) -> Maps:
        """The maps of streams that hang on the image alone."""
        return {}

    def copy_tasks(self, stage1: HardSharing) -> None:
        """Begin each task's stream and head as those of a hard-sharing network."""
        for task in self.tasks:
            self.streams[task].load_state_dict(stage1.streams[SHARED].state_dict())
            self.heads[task].load_state_dict(stage1.heads[task].state_dict())


class Separation(Independent):
    """Separation Multi-task Network: every layer of a task sees its own and the shared features.

    The paper's section 3. fusion: ``concat`` feeds [own, shared] to the next layer, ``conv1x1``
    brings them back to the width of one by a 1 x 1 convolution, so that weights of stage 1 fit.
    frozen: the shared stream stays as it is, statistics of its batch norms included.
    """

    def __init__(
        self, tasks: Mapping[str, int], *, fusion: str, frozen: bool = True, **sizes: object
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, not {fusion!r}")
        grown = 2 if fusion == "concat" else 1
        super().__init__(tasks, more=(SHARED,), grown=grown, **sizes)
        self.fusions = nn.ModuleDict()
        if fusion == "conv1x1":
            self.fusions = nn.ModuleDict(
                {
                    task: nn.ModuleList(nn.Conv2d(2 * w, w, 1, bias=False) for w in self.widths)
                    for task in tasks
                }
            )
        self.frozen = frozen
        self.streams[SHARED].requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> Separation:
        super().train(mode)
        if self.frozen:
            self.streams[SHARED].eval()
        return self

    def shared_features(self, images: Tensor) -> Maps:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return {SHARED: run(self.streams[SHARED], images)}

    def mix(self, layer: int, maps: Maps) -> dict[str, Tensor]:
        both = {task: torch.cat([maps[task][layer], maps[SHARED][layer]], 1) for task in self.tasks}
        if not self.fusions:
            return both
        return {task: self.fusions[task][layer](both[task]) for task in self.tasks}

    def copy_shared(self, stage1: HardSharing) -> None:
        """Take over the shared stream of stage 1."""
        self.streams[SHARED].load_state_dict(stage1.streams[SHARED].state_dict())

    @torch.no_grad()
    def settle(self, images: Tensor) -> None:
        """Give the batch norms of an untrained shared stream the statistics of some images.

        Without them its maps would shrink from layer to layer, and be as good as absent.
        """
        norms = [
            each for each in self.streams[SHARED].modules() if isinstance(each, nn.BatchNorm2d)
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        run(self.streams[SHARED].train(), images)
        self.train(self.training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @torch.no_grad()
    def pass_own(self) -> None:
        """Let every 1 x 1 convolution begin by passing on its task's own features unchanged."""
        for fuse in self.fusions.modules():
            if isinstance(fuse, nn.Conv2d):
                nn.init.dirac_(fuse.weight)


def layer(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU and maximum of 2 x 2, which halves a map."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


def _stream(widths: tuple[int, ...], grown: int) -> nn.ModuleList:
    inputs = (3, *(grown * width for width in widths[:-1]))
    return nn.ModuleList(map(layer, inputs, widths))


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    return nn.Sequential(nn.Flatten(), *layers)


def run(stream: nn.ModuleList, images: Tensor) -> list[Tensor]:
    """What is after each layer of a stream that hangs on nothing else."""
    maps: list[Tensor] = []
    for layer in stream:
        maps.append(layer(maps[-1] if maps else images))
    return maps
