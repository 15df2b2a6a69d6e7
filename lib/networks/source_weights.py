"""Published weights for the networks of ``lib.networks.sources``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, locate
from lib.networks.classifiers import pretrained_resnet20
from lib.networks.sources import SourceNetwork

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
