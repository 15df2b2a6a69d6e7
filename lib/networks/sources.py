"""Networks to be fine-tuned: layers that may be kept, layers that are trained, a head, weights.

Every network takes (N, 3, H, W) float images with pixel values in [0, 1] and normalises them by
itself. AlexNet and ResNet-18 are the paper's; SqueezeNet 1.1 and MobileNetV2 fit a CPU; VGG5 and
ResNet-20 are for images of 32 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, locate, refuse_below
from lib.engine.training import seeded
from lib.networks.classifiers import IMAGENET, ResNet20, pretrained_resnet20, vgg5

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as IMAGENET, for MobileNetV2
ARCHITECTURES = ("alexnet", "resnet18", "squeezenet1_1", "mobilenet_v2", "vgg5", "resnet20")
# what weights were trained on -> number of classes
TRAINED_ON = {"imagenet": 1000, "places365": 365, "inat_birds": 965, "cifar10": 10}
# published weights: network and what it was trained on -> where the catalogue has the file; those
# without are torchvision's, which downloads them
PUBLISHED = {
    ("alexnet", "imagenet"): "",
    ("resnet18", "imagenet"): "",
    ("alexnet", "places365"): "places365",
    ("resnet18", "places365"): "places365",
    ("squeezenet1_1", "imagenet"): "squeezenet1_1-imagenet",
    ("mobilenet_v2", "imagenet"): "mobilenet_v2-imagenet",
    ("mobilenet_v2", "inat_birds"): "mobilenet_v2-inat_birds",
    ("resnet20", "cifar10"): "resnet20-cifar10",
}


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
    refuse_below(1, classes=classes)
    with seeded(seed):
        layers, head, kept = _parts(architecture, classes, width)
    mean, std = map(torch.tensor, HALF if architecture == "mobilenet_v2" else IMAGENET)
    return SourceNetwork(nn.Sequential(Normalise(mean, std), *layers), head, kept + 1)


def _parts(architecture: str, classes: int, width: int) -> tuple[list[nn.Module], nn.Module, int]:
    """The layers before the head, the head, and how many of the layers may stay as they are."""
    from torchvision.models import get_model  # here: importing it takes a second

    net: Any
    if architecture == "vgg5":
        net = vgg5(1, width)
        return list(net.layers), _pooled(8 * width, classes), 8
    if architecture == "resnet20":
        net = ResNet20(1, width)
        layers = [net.conv1, net.bn1, nn.ReLU(), *net.layer1, *net.layer2, *net.layer3]
        return layers, _pooled(4 * width, classes), 9
    net = get_model(architecture)
    if architecture == "alexnet":
        layers = [*net.features, net.avgpool, nn.Flatten(), *net.classifier[:-1]]
        return layers, nn.Linear(4096, classes), 8
    if architecture == "resnet18":
        layers = [net.conv1, net.bn1, net.relu, net.maxpool]
        layers += [*net.layer1, *net.layer2, *net.layer3, *net.layer4]
        return layers, _pooled(512, classes), 10
    if architecture == "squeezenet1_1":
        last = nn.Conv2d(512, classes, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.get_parameter("bias"))
        pool = nn.AdaptiveAvgPool2d(1)
        head = nn.Sequential(nn.Dropout(0.5), last, nn.ReLU(inplace=True), pool, nn.Flatten())
        return list(net.features), head, 12
    for module in net.features.modules():  # MobileNetV2
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            # TensorFlow's "SAME", which the published weights were trained with
            module.padding = (0, 0)
            module.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], (0, 1, 0, 1)))
    return list(net.features), _pooled(1280, classes, nn.Dropout(0.2)), 17


def _pooled(channels: int, classes: int, *before: nn.Module) -> nn.Sequential:
    """From the last feature map to the logits."""
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(pool, nn.Flatten(), *before, nn.Linear(channels, classes))


def load_published(
    network: SourceNetwork, architecture: str, trained_on: str, root: str | Path | None = None
) -> None:
    """Put published weights into a network with as many classes as they have.

    Raises ValueError for weights of other shapes, and as ``published_network``.
    """
    state = published_network(architecture, trained_on, root).state_dict()
    own = network.state_dict()
    # the same layers in the same order under other names; only a Classifier names its head first
    names = [name for name in own if name.rpartition(".")[2] not in ("mean", "std")]
    published = [name for name in state if name not in ("mean", "std")]
    published.sort(key=lambda name: name.startswith("linear."))
    if [own[name].shape for name in names] != [state[name].shape for name in published]:
        raise ValueError(f"the weights of {architecture} on {trained_on} do not fit the network")
    values = {name: state[other] for name, other in zip(names, published, strict=True)}
    network.load_state_dict(own | values)


def published_network(
    architecture: str, trained_on: str, root: str | Path | None = None
) -> nn.Module:
    """torchvision's network, or the ResNet-20 of 32 px images, with published weights.

    Raises ValueError for a pair that is not published and for files that are damaged or of another
    network, FileNotFoundError, saying how to get them, for missing ones.
    """
    from torchvision.models import get_model  # here: importing it takes a second

    if (architecture, trained_on) not in PUBLISHED:
        known = ", ".join(f"{a} on {t}" for a, t in PUBLISHED)
        raise ValueError(f"no weights of {architecture} on {trained_on}; there are: {known}")
    name = PUBLISHED[architecture, trained_on]
    if not name:
        return get_model(architecture, weights="IMAGENET1K_V1")
    (file,) = (file for file in DATASETS[name].files if file.startswith(architecture))
    path = locate(name, root) / file
    if architecture == "resnet20":
        return pretrained_resnet20(path)
    network = get_model(architecture, num_classes=TRAINED_ON[trained_on])
    state = _read_state(path)
    try:
        network.load_state_dict({name: values.float() for name, values in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} has not {architecture}'s weights: {error}") from error
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a checkpoint in the format of Places365's."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds
        raise ValueError(f"{path} is not readable: {error}") from error
    return {name.replace("module.", ""): values for name, values in state.items()}
