"""Networks to be fine-tuned: layers that may be kept, layers that are trained, a head, weights.

Every network takes (N, 3, H, W) float images with pixel values in [0, 1] and normalises them by
itself. AlexNet and ResNet-18 are the paper's; SqueezeNet 1.1 and MobileNetV2 fit a CPU; VGG5 and
ResNet-20 are for images of 32 px.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, locate
from lib.engine.training import seeded
from lib.networks.classifiers import IMAGENET, ResNet20, pretrained_resnet20, vgg5
from lib.networks.sizes import refuse_below_one

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as IMAGENET, for MobileNetV2
ARCHITECTURES = ("alexnet", "resnet18", "squeezenet1_1", "mobilenet_v2", "vgg5", "resnet20")
# what weights were trained on -> number of classes
TRAINED_ON = {"imagenet": 1000, "places365": 365, "inat_birds": 965, "cifar10": 10}


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
        features = self.layers(images)
        logits = self.head(features)
        return features.flatten(2).mean(2) if features.ndim == 4 else features, logits

    def part(self, start: int) -> nn.Sequential:
        """The layers from ``start`` on and the head, sharing their weights."""
        return nn.Sequential(*self.layers[start:], self.head)


def source_network(architecture: str, classes: int, *, width: int, seed: int) -> SourceNetwork:
    """An untrained network; its weights depend on the arguments alone.

    width: channels of the first stage of vgg5 and resnet20; the others have their published size.
    Raises ValueError for an unknown architecture and for less than one class.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {ARCHITECTURES}, not {architecture!r}")
    refuse_below_one(classes=classes)
    with seeded(seed):
        layers, kept = _layers(architecture, width)
        head = _head(architecture, width, classes)
    mean, std = map(torch.tensor, HALF if architecture == "mobilenet_v2" else IMAGENET)
    return SourceNetwork(nn.Sequential(Normalise(mean, std), *layers), head, kept + 1)


def new_head(architecture: str, classes: int, *, width: int, seed: int) -> nn.Module:
    """An untrained head, for a network that goes to another task: a whole network's.

    Its weights are drawn after those of the layers: without them a seed would mean another head.
    """
    return source_network(architecture, classes, width=width, seed=seed).head


def _torchvision(architecture: str, **settings: Any) -> Any:
    """torchvision's network, with random weights unless the settings ask for others."""
    from torchvision.models import get_model  # here: importing it takes a second

    return get_model(architecture, **settings)


def _layers(architecture: str, width: int) -> tuple[list[nn.Module], int]:
    """The layers before the head, and how many of them stay as they are."""
    net: Any
    if architecture == "vgg5":
        net = vgg5(1, width)
        return list(net.layers), 8
    if architecture == "resnet20":
        net = ResNet20(1, width)
        return [net.conv1, net.bn1, nn.ReLU(), *net.layer1, *net.layer2, *net.layer3], 9
    net = _torchvision(architecture)
    if architecture == "alexnet":
        return [*net.features, net.avgpool, nn.Flatten(), *net.classifier[:-1]], 8
    if architecture == "resnet18":
        stem = [net.conv1, net.bn1, net.relu, net.maxpool]
        return [*stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4], 10
    if architecture == "squeezenet1_1":
        return list(net.features), 12
    for module in net.features.modules():  # MobileNetV2
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            # TensorFlow's "SAME", which the published weights were trained with
            module.padding = (0, 0)
            module.register_forward_pre_hook(_pad_end)
    return list(net.features), 17


def _pad_end(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return F.pad(inputs[0], (0, 1, 0, 1))


def _head(architecture: str, width: int, classes: int) -> nn.Module:
    """From the last feature map or vector to the logits."""
    if architecture == "alexnet":
        return nn.Linear(4096, classes)
    pool = nn.AdaptiveAvgPool2d(1)
    if architecture == "squeezenet1_1":
        convolution = nn.Conv2d(512, classes, 1)
        nn.init.normal_(convolution.weight, std=0.01)
        nn.init.zeros_(convolution.get_parameter("bias"))
        relu = nn.ReLU(inplace=True)
        return nn.Sequential(nn.Dropout(0.5), convolution, relu, pool, nn.Flatten())
    channels = {"resnet18": 512, "mobilenet_v2": 1280, "vgg5": 8 * width, "resnet20": 4 * width}
    drop = [nn.Dropout(0.2)] if architecture == "mobilenet_v2" else []
    return nn.Sequential(pool, nn.Flatten(), *drop, nn.Linear(channels[architecture], classes))


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
    state = PUBLISHED[architecture, trained_on](architecture, trained_on, root).state_dict()
    own = network.state_dict()
    # the same layers in the same order under other names; only a Classifier names its head first
    names = [name for name in own if name.rpartition(".")[2] not in ("mean", "std")]
    published = [name for name in state if name not in ("mean", "std")]
    published.sort(key=lambda name: name.startswith("linear."))
    shapes = [own[name].shape for name in names]
    if shapes != [state[name].shape for name in published]:
        raise ValueError(f"the weights of {architecture} on {trained_on} do not fit the network")
    values = {name: state[other] for name, other in zip(names, published, strict=True)}
    for name in ("mean", "std"):
        values[f"layers.0.{name}"] = state.get(name, own[f"layers.0.{name}"])
    network.load_state_dict(values)


def _imagenet(architecture: str, trained_on: str, root: str | Path | None) -> nn.Module:
    return _torchvision(architecture, weights="IMAGENET1K_V1")


def converted(architecture: str, trained_on: str, root: str | Path | None) -> nn.Module:
    """torchvision's network with weights of the catalogue's ``<architecture>-<trained_on>``."""
    (file,) = DATASETS[f"{architecture}-{trained_on}"].files
    path = locate(f"{architecture}-{trained_on}", root) / file
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not readable: {error}") from error
    return _filled(architecture, trained_on, state, path)


def _places(architecture: str, trained_on: str, root: str | Path | None) -> nn.Module:
    path = locate("places365", root) / f"{architecture}_places365.pth.tar"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds
        raise ValueError(f"{path} is not readable: {error}") from error
    state = {name.replace("module.", ""): values for name, values in state.items()}
    return _filled(architecture, trained_on, state, path)


def _filled(architecture: str, trained_on: str, state: dict[str, Tensor], path: Path) -> nn.Module:
    """torchvision's network, whose state has the order that files do not keep."""
    network = _torchvision(architecture, num_classes=TRAINED_ON[trained_on])
    try:
        network.load_state_dict({name: values.float() for name, values in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} has not {architecture}'s weights: {error}") from error
    return network


def _cifar10(architecture: str, trained_on: str, root: str | Path | None) -> nn.Module:
    (file,) = DATASETS["resnet20-cifar10"].files
    return pretrained_resnet20(locate("resnet20-cifar10", root) / file)


PUBLISHED: dict[tuple[str, str], Callable[[str, str, str | Path | None], nn.Module]] = {
    ("alexnet", "imagenet"): _imagenet,
    ("resnet18", "imagenet"): _imagenet,
    ("alexnet", "places365"): _places,
    ("resnet18", "places365"): _places,
    ("squeezenet1_1", "imagenet"): converted,
    ("mobilenet_v2", "imagenet"): converted,
    ("mobilenet_v2", "inat_birds"): converted,
    ("resnet20", "cifar10"): _cifar10,
}
