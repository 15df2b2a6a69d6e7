"""Networks to be fine-tuned: layers that may be kept, layers that are trained, a head, weights.

Every network takes (N, 3, H, W) float images with pixel values in [0, 1] and normalises them by
itself. AlexNet and ResNet-18 are the paper's. SqueezeNet 1.1, MobileNetV2, MobileNetV1 of three
widths (Howard et al. 2017), EfficientNet-Lite0 and DeepLabv3 on a MobileNetV2 (Chen et al. 2017)
fit a CPU. VGG5 and ResNet-20 are for images of 32 px. ``sources.yaml`` has their tables.
"""

import hashlib
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, locate, refuse_below
from lib.engine.files import naming
from lib.engine.training import seeded
from lib.networks.classifiers import IMAGENET, RESNETS, Normalise, pretrained_resnet, vgg5

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as IMAGENET, for TensorFlow's networks
_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
ARCHITECTURES: dict[str, dict[str, Any]] = _TABLES["architectures"]
TRAINED_ON: dict[str, int] = _TABLES["classes"]  # what weights were trained on -> classes
MOBILE = tuple(name for name, facts in ARCHITECTURES.items() if "stages" in facts)
DEEPLAB = "deeplabv3_mobilenet_v2"
# network and what its weights were trained on -> their data set, or torchvision
PUBLISHED = {(a, t): name for a in ARCHITECTURES for t, name in ARCHITECTURES[a]["weights"].items()}


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
        raise ValueError(f"architecture must be one of {[*ARCHITECTURES]}, not {architecture!r}")
    refuse_below(1, classes=classes)
    with seeded(seed):
        layers, head = _parts(architecture, classes, width)
    facts = ARCHITECTURES[architecture]
    normalise = Normalise(*map(torch.tensor, HALF if "half" in facts else IMAGENET))
    return SourceNetwork(nn.Sequential(normalise, *layers), head, facts["kept"] + 1)


def _parts(architecture: str, classes: int, width: int) -> tuple[list[nn.Module], nn.Module]:
    """The layers before the head, and the head."""
    from torchvision.models import get_model  # here: importing it takes a second

    net: Any
    if architecture == "vgg5":
        return list(vgg5(1, width).layers), _pooled(8 * width, classes)
    if architecture == "resnet20":
        net = RESNETS[architecture](1, width)
        layers = [net.conv1, net.bn1, nn.ReLU(), *net.layer1, *net.layer2, *net.layer3]
        return layers, _pooled(4 * width, classes)
    if architecture in MOBILE:
        net = _pad_as_tensorflow(_mobile(architecture, classes))
        blocks = [block for stage in net.blocks for block in stage]
        return [*net[:3], *blocks, *net[4:-4]], net[-4:]
    if architecture == DEEPLAB:
        net = _pad_as_tensorflow(_deeplab(classes))
        pool = nn.AdaptiveAvgPool2d(1)  # of a linear layer's outputs: as of its inputs
        return [*net.features, net.pyramid], nn.Sequential(net.logits, pool, nn.Flatten())
    net = get_model(architecture)
    if architecture == "alexnet":
        layers = [*net.features, net.avgpool, nn.Flatten(), *net.classifier[:-1]]
        return layers, nn.Linear(4096, classes)
    if architecture == "resnet18":
        stem, stages = list(net.children())[:4], list(net.children())[4:8]
        return stem + [block for stage in stages for block in stage], _pooled(512, classes)
    if architecture == "squeezenet1_1":
        net.classifier[1] = last = nn.Conv2d(512, classes, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.get_parameter("bias"))
        return list(net.features), nn.Sequential(*net.classifier, nn.Flatten())
    features = _pad_as_tensorflow(net.features)  # MobileNetV2
    return list(features), _pooled(1280, classes, nn.Dropout(0.2))


def _pooled(channels: int, classes: int, *before: nn.Module) -> nn.Sequential:
    """From the last feature map to the logits."""
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(pool, nn.Flatten(), *before, nn.Linear(channels, classes))


def _pad_as_tensorflow(network: Any) -> Any:
    """Give convolutions of stride 2 the padding "SAME" that the weights were trained with."""

    def pad(convolution: nn.Conv2d, inputs: tuple[Tensor]) -> Tensor:
        # an odd pixel goes to the right and below
        down, across = (convolution.kernel_size[0] - 2 + n % 2 for n in inputs[0].shape[2:])
        return F.pad(inputs[0], (across // 2, -(-across // 2), down // 2, -(-down // 2)))

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.padding = (0, 0)
            module.register_forward_pre_hook(pad)
    return network


class _Residual(nn.Sequential):
    """Layers to whose output their input is added."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _mobile(architecture: str, classes: int) -> Any:
    """MobileNetV1 or EfficientNet-Lite0, with the names that the library timm has for the parts."""
    facts = ARCHITECTURES[architecture]
    lite, share = "share" not in facts, facts.get("share", 1)

    def unit(number: int, name: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1,
             groups: int = 1) -> dict[str, nn.Module]:  # fmt: skip
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        nn.init.normal_(convolution.weight, std=(2 * groups / (kernel**2 * outputs)) ** 0.5)
        norm = nn.BatchNorm2d(outputs, eps=1e-3 if lite else 1e-5)
        return {name: convolution, f"bn{number}": norm, f"act{number}": nn.ReLU6()}

    def block(inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> nn.Module:
        inner, wider = inputs * expand, expand > 1
        parts = unit(1, "conv_pw", inputs, inner) if wider else {}
        parts |= unit(1 + wider, "conv_dw", inner, inner, kernel, stride, inner)
        parts |= unit(2 + wider, "conv_pwl" if wider else "conv_pw", inner, outputs)
        if lite:
            del parts[f"act{2 + wider}"]
        adds = lite and stride == 1 and inputs == outputs
        return (_Residual if adds else nn.Sequential)(OrderedDict(parts))

    inputs = int(32 * share)
    parts: dict[str, Any] = unit(1, "conv_stem", 3, inputs, 3, 2) | {"blocks": nn.Sequential()}
    for expand, kernel, stride, channels, count in facts["stages"]:
        outputs, stage = int(channels * share), nn.Sequential()
        for place in range(count):
            stage.append(block(inputs, outputs, kernel, 1 if place else stride, expand))
            inputs = outputs
        parts["blocks"].append(stage)
    if lite:
        parts |= unit(2, "conv_head", inputs, 1280)
        inputs = 1280
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    parts |= {"drop": nn.Dropout(0.2 if lite else 0.001), "classifier": nn.Linear(inputs, classes)}
    return nn.Sequential(OrderedDict(parts))


class _Pyramid(nn.Module):
    """DeepLabv3's head without dilated branches: each pixel beside the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.image_pool, self.aspp_1x1 = nn.Conv2d(320, 256, 1), nn.Conv2d(320, 256, 1)
        self.concat_projection = nn.Conv2d(512, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        own, mean = self.aspp_1x1(x), self.image_pool(x.mean((2, 3), keepdim=True))
        both = torch.cat([mean.expand_as(own), own], 1).relu()
        return self.concat_projection(both).relu()


def _deeplab(classes: int) -> Any:
    """DeepLabv3 on a MobileNetV2 whose last map has a sixteenth of the image's side."""
    from torchvision.models import get_model  # here: importing it takes a second

    features: Any = get_model("mobilenet_v2").features[:18]
    features[14].conv[1][0].stride = (1, 1)
    for block in features[15:]:
        block.conv[1][0].dilation = block.conv[1][0].padding = (2, 2)
    parts = {"features": features, "pyramid": _Pyramid(), "logits": nn.Conv2d(256, classes, 1)}
    return nn.Sequential(OrderedDict(parts))


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
    """The network with published weights, as these name its parts, and torchvision's padding.

    Raises ValueError for a pair that is not published and for files that are damaged or of another
    network, FileNotFoundError, saying how to get them, for missing ones.
    """
    from torchvision.models import get_model  # here: importing it takes a second

    if (architecture, trained_on) not in PUBLISHED:
        known = ", ".join(f"{a} on {t}" for a, t in PUBLISHED)
        raise ValueError(f"no weights of {architecture} on {trained_on}; there are: {known}")
    name, classes = PUBLISHED[architecture, trained_on], TRAINED_ON[trained_on]
    if name == "torchvision":
        return torchvision_network(architecture, "IMAGENET1K_V1")
    (file,) = (file for file in DATASETS[name].files if file.startswith(architecture))
    path = locate(name, root) / file
    if architecture == "resnet20":
        return pretrained_resnet(architecture, path)
    if architecture in MOBILE:
        network = _mobile(architecture, classes)
    elif architecture == DEEPLAB:
        network = _deeplab(classes)
    else:
        network = get_model(architecture, num_classes=classes)
    # counts of batches, which timm's files lack and nothing reads
    own = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(own | _read_state(path))
    except RuntimeError as error:
        raise ValueError(f"{path} has not {architecture}'s weights: {error}") from error
    return network


def torchvision_network(architecture: str, weights: str = "DEFAULT") -> nn.Module:
    """A network of torchvision with its weights, from torchvision's cache, else fetched into it.

    A file whose sha256 does not begin as its name says is refused, and no code in it is run.
    Raises ValueError for a wrong or damaged file, FileNotFoundError, with the reason, for one that
    cannot be fetched; both name the path.
    """
    from torchvision.models import get_model, get_model_weights  # here: it takes a second

    url = get_model_weights(architecture)[weights].url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    cached, prefix = path.is_file(), path.stem.rpartition("-")[2]
    if cached and not (sha256 := hashlib.sha256(path.read_bytes()).hexdigest()).startswith(prefix):
        raise ValueError(f"{path} has sha256 {sha256[:8]}..., not {prefix}...: delete it")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # torchvision itself asks for the opposite
    with naming(path, "file of weights"):
        try:
            return get_model(architecture, weights=weights)
        except (OSError, RuntimeError) as error:
            if cached or path.is_file():
                raise
            raise FileNotFoundError(
                f"no weights {path}; {url} is not to be had: {error}"
            ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a checkpoint in the format of Places365's.

    Raises ValueError, naming the path, for a damaged file and for numbers that are not finite.
    """
    with naming(path, "file of weights"):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        for name, values in state.items():
            if not values.isfinite().all():
                raise ValueError(f"{name} has numbers that are not finite")
    # Places365's have a prefix; DeepLab's has the layers of the pyramid beside the others
    names = (re.sub("^(?=image_pool|aspp|concat)", "pyramid.", name) for name in state)
    return {name.replace("module.", ""): v for name, v in zip(names, state.values(), strict=True)}
