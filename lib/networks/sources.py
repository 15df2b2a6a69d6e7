"""Networks to be fine-tuned: layers that may be kept, layers that are trained, and a head.

Every network takes (N, 3, H, W) float images with pixel values in [0, 1] and normalises them by
itself. AlexNet and ResNet-18 are the paper's; SqueezeNet 1.1 and MobileNetV2 fit a CPU; VGG5 and
ResNet-20 are for images of 32 px.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, locate
from lib.engine.seeding import seeded
from lib.networks.classifiers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    pretrained_resnet20,
    resnet20,
    vgg5,
)
from lib.networks.sizes import refuse_below_one

IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)  # of a colour channel
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Normalise(nn.Module):
    """(x - mean) / std of each colour channel, as the weights are used to."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.view(3, 1, 1).clone())
        self.register_buffer("std", std.view(3, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class SourceNetwork(nn.Module):
    """``layers`` to the last feature map or vector, ``head`` from there to (N, classes) logits.

    kept: how many of the layers stay as they are where early layers are frozen.
    """

    def __init__(self, layers: nn.Sequential, head: nn.Module, kept: int) -> None:
        super().__init__()
        self.layers, self.head, self.kept = layers, head, kept

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images))

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) features, a map's averaged over its pixels, and (N, classes) logits."""
        found = self.layers(images)
        return found.flatten(2).mean(2) if found.ndim == 4 else found, self.head(found)

    def part(self, start: int) -> nn.Sequential:
        """The layers from ``start`` on and the head, sharing their weights."""
        return nn.Sequential(*self.layers[start:], self.head)


@dataclass(frozen=True)
class _Parts:
    """layers, kept, and classes -> head of one architecture."""

    layers: list[nn.Module]
    kept: int
    head: Callable[[int], nn.Module]
    normalisation: tuple = IMAGENET


def _pooled(channels: int, classes: int, dropout: float = 0.0) -> nn.Module:
    drop = [nn.Dropout(dropout)] if dropout else []
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(pool, nn.Flatten(), *drop, nn.Linear(channels, classes))


def _alexnet(width: int) -> _Parts:
    from torchvision.models import alexnet  # here: importing it takes a second

    net = alexnet()
    *hidden, last = net.classifier
    layers = [*net.features, net.avgpool, nn.Flatten(), *hidden]
    return _Parts(layers, 8, partial(nn.Linear, last.in_features))


def _resnet18(width: int) -> _Parts:
    from torchvision.models import resnet18

    net = resnet18()
    stem = [net.conv1, net.bn1, net.relu, net.maxpool]
    layers = [*stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]
    return _Parts(layers, 10, partial(_pooled, 512))


def _squeezenet(width: int) -> _Parts:
    from torchvision.models import squeezenet1_1

    def head(classes: int) -> nn.Module:
        conv = nn.Conv2d(512, classes, 1)
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)
        pool = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(nn.Dropout(0.5), conv, nn.ReLU(inplace=True), pool, nn.Flatten())

    return _Parts(list(squeezenet1_1().features), 12, head)


def _mobilenet_v2(width: int) -> _Parts:
    from torchvision.models import mobilenet_v2

    layers = mobilenet_v2().features
    for module in layers.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            # TensorFlow's "SAME", which the published weights were trained with
            module.padding = (0, 0)
            module.register_forward_pre_hook(_pad_end)
    return _Parts(list(layers), 17, partial(_pooled, 1280, dropout=0.2), HALF)


def _pad_end(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return F.pad(inputs[0], (0, 1, 0, 1))


def _vgg5(width: int) -> _Parts:
    return _Parts(list(vgg5(1, width).layers), 8, partial(_pooled, 8 * width))


def _resnet20(width: int) -> _Parts:
    net = resnet20(1, width)
    layers = [net.conv1, net.bn1, nn.ReLU(), *net.layer1, *net.layer2, *net.layer3]
    return _Parts(layers, 9, partial(_pooled, 4 * width))


ARCHITECTURES: dict[str, Callable[[int], _Parts]] = {
    "alexnet": _alexnet,
    "resnet18": _resnet18,
    "squeezenet1_1": _squeezenet,
    "mobilenet_v2": _mobilenet_v2,
    "vgg5": _vgg5,
    "resnet20": _resnet20,
}


def source_network(architecture: str, classes: int, *, width: int, seed: int) -> SourceNetwork:
    """An untrained network; its weights depend on the arguments alone.

    width: channels of the first stage of vgg5 and resnet20; the others have their published size.
    Raises ValueError for an unknown architecture and for less than one class.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"architecture must be one of {tuple(ARCHITECTURES)}, not {architecture!r}"
        )
    refuse_below_one(classes=classes)
    with seeded(seed):
        parts = ARCHITECTURES[architecture](width)
        head = parts.head(classes)
    normalise = Normalise(*map(torch.tensor, parts.normalisation))
    return SourceNetwork(nn.Sequential(normalise, *parts.layers), head, parts.kept + 1)


def new_head(architecture: str, classes: int, *, width: int, seed: int) -> nn.Module:
    """An untrained head, for a network that goes to another task: a whole network's.

    Its weights are drawn after those of the layers: without them a seed would mean another head.
    """
    return source_network(architecture, classes, width=width, seed=seed).head


# what weights were trained on -> number of classes
TRAINED_ON = {"imagenet": 1000, "places365": 365, "inat_birds": 965, "cifar10": 10}
_State = dict[str, Tensor]


def load_published(
    network: SourceNetwork, architecture: str, trained_on: str, root: str | Path | None = None
) -> None:
    """Put published weights into a network with as many classes as they have.

    Raises ValueError for a pair that is not published, weights of other shapes and damaged files,
    FileNotFoundError, saying how to get them, for missing ones.
    """
    if (architecture, trained_on) not in PUBLISHED:
        known = ", ".join(f"{a} on {t}" for a, t in PUBLISHED)
        raise ValueError(f"no weights of {architecture} on {trained_on}; there are: {known}")
    state = PUBLISHED[architecture, trained_on](root)
    own = network.state_dict()
    # the same layers in the same order under other names
    names = [name for name in own if name.rpartition(".")[2] not in ("mean", "std")]
    published = [name for name in state if name not in ("mean", "std")]
    shapes = [own[name].shape for name in names]
    if shapes != [state[name].shape for name in published]:
        raise ValueError(f"the weights of {architecture} on {trained_on} do not fit the network")
    values = {name: state[other] for name, other in zip(names, published, strict=True)}
    for name in ("mean", "std"):
        values[f"layers.0.{name}"] = state.get(name, own[f"layers.0.{name}"])
    network.load_state_dict(values)


def _torchvision(architecture: str, root: str | Path | None) -> _State:
    from torchvision.models import get_model  # here: importing it takes a second

    return get_model(architecture, weights="IMAGENET1K_V1").state_dict()


def converted(architecture: str, trained_on: str, root: str | Path | None) -> nn.Module:
    """torchvision's network with weights of the catalogue's ``<architecture>-<trained_on>``."""
    (file,) = DATASETS[f"{architecture}-{trained_on}"].files
    path = locate(f"{architecture}-{trained_on}", root) / file
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not readable: {error}") from error
    return _filled(architecture, trained_on, state, path)


def _converted(architecture: str, trained_on: str, root: str | Path | None) -> _State:
    return converted(architecture, trained_on, root).state_dict()


def _places(architecture: str, root: str | Path | None) -> _State:
    path = locate("places365", root) / f"{architecture}_places365.pth.tar"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds
        raise ValueError(f"{path} is not readable: {error}") from error
    state = {name.replace("module.", ""): values for name, values in state.items()}
    return _filled(architecture, "places365", state, path).state_dict()


def _filled(architecture: str, trained_on: str, state: _State, path: Path) -> nn.Module:
    """torchvision's network, whose state has the order that files do not keep."""
    from torchvision.models import get_model

    network = get_model(architecture, num_classes=TRAINED_ON[trained_on])
    try:
        network.load_state_dict({name: values.float() for name, values in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} has not {architecture}'s weights: {error}") from error
    return network


def _cifar10(root: str | Path | None) -> _State:
    (file,) = DATASETS["resnet20-cifar10"].files
    state = pretrained_resnet20(locate("resnet20-cifar10", root) / file).state_dict()
    head = {name: state.pop(name) for name in ("linear.weight", "linear.bias")}
    return state | head  # in the order of the layers


PUBLISHED: dict[tuple[str, str], Callable[[str | Path | None], _State]] = {
    ("alexnet", "imagenet"): partial(_torchvision, "alexnet"),
    ("resnet18", "imagenet"): partial(_torchvision, "resnet18"),
    ("alexnet", "places365"): partial(_places, "alexnet"),
    ("resnet18", "places365"): partial(_places, "resnet18"),
    ("squeezenet1_1", "imagenet"): partial(_converted, "squeezenet1_1", "imagenet"),
    ("mobilenet_v2", "imagenet"): partial(_converted, "mobilenet_v2", "imagenet"),
    ("mobilenet_v2", "inat_birds"): partial(_converted, "mobilenet_v2", "inat_birds"),
    ("resnet20", "cifar10"): _cifar10,
}
