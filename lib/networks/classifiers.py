"""Classifiers of small colour images: VGG16 with batch norm, a short VGG, the CIFAR ResNets.

All take (N, 3, H, W) float images with pixel values in [0, 1], H and W multiples of 32 (they are
built for 32), and give (N, classes) logits. Simonyan and Zisserman, ICLR 2015; He, Zhang, Ren and
Sun, "Deep residual learning for image recognition", 2015, section 4.2.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.catalogue import DATASETS, refuse_below
from lib.engine.training import seeded

# mean and deviation of each colour channel, in pixel values of [0, 1]
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Normalise(nn.Module):
    """(x - mean) / std of each colour channel of (N, 3, H, W), as the weights are used to."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        # in the state: weights never meet another normalisation than their own
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.view(3, 1, 1).clone())
        self.register_buffer("std", std.view(3, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Classifier(Normalise):
    """Normalisation, ``features`` (a subclass's), global average, one linear layer.

    channels: of the last feature map. Normalisation is by the mean and the deviation of CIFAR-10,
    unless the state that is loaded has others. It is in the network and not in the data: an image
    that is optimised sees its gradient in pixel values and its bounds at 0 and 1.
    Raises ValueError for less than one class or channel, and for images of another shape.
    """

    def __init__(self, classes: int, width: int, channels: int) -> None:
        super().__init__(*map(torch.tensor, CIFAR10))
        refuse_below(1, classes=classes, width=width)
        self.linear = nn.Linear(channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to the last feature map."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        shape = tuple(images.shape)
        if shape[1] != 3 or shape[2] % 32 or shape[3] % 32:
            raise ValueError(f"images must be (N, 3, H, W), H and W multiples of 32, not {shape}")
        return self.linear(self.features(super().forward(images)).mean((2, 3)))


class VGG(Classifier):
    """A VGG with batch norm, a max-pool after each stage and one linear layer.

    stages: convolutions of each, and their channels in units of ``width``, those of the first.
    """

    def __init__(self, stages: tuple[tuple[int, int], ...], classes: int, width: int = 64) -> None:
        from torchvision.models.vgg import make_layers  # here: importing it takes a second

        super().__init__(classes, width, stages[-1][1] * width)
        plan: list[int | str] = []  # channels of each convolution; M is a max-pool
        for convolutions, factor in stages:
            plan += [*[factor * width] * convolutions, "M"]
        # with biases that do nothing before a norm: kept for the published parameter count
        self.layers = make_layers(plan, batch_norm=True)
        _initialise(self)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _OptionA(nn.Module):
    """A shortcut without parameters: every second pixel, and as many new channels of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        before = x.shape[1] // 2  # half of the new ones; the others come after
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, x.shape[1] - before))


class ResNet(Classifier):
    """The CIFAR ResNet of 3 stages, with shortcuts without parameters (option A).

    blocks: of each stage; the network has 6 blocks + 2 layers with weights. width: channels of the
    first stage; 16 with 3 blocks and 10 classes has 269,722 parameters.
    """

    # the layers' names are those of the published weights that pretrained_resnet loads
    def __init__(self, blocks: int, classes: int, width: int = 16) -> None:
        super().__init__(classes, width, 4 * width)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(blocks, width, width)
        self.layer2 = _stage(blocks, width, 2 * width)
        self.layer3 = _stage(blocks, 2 * width, 4 * width)
        _initialise(self)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))


def _stage(blocks: int, inputs: int, outputs: int) -> nn.Sequential:
    """Blocks of two convolutions, the first with half of the pixels for more channels."""
    from torchvision.models.resnet import BasicBlock  # here: importing it takes a second

    grows = inputs != outputs
    first = BasicBlock(inputs, outputs, 2 if grows else 1, _OptionA() if grows else None)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))


def _initialise(network: nn.Module) -> None:
    """He et al.'s initialisation of the convolutions, biases at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# one linear layer instead of three: 14,728,266 parameters for 10 classes
vgg16 = partial(VGG, ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)))
# learns in minutes on a CPU; the output of a VGG16 that is narrow enough for that hardly follows
# its input
vgg5 = partial(VGG, ((1, 1), (1, 2), (1, 4), (1, 8)))
RESNETS = {f"resnet{6 * blocks + 2}": partial(ResNet, blocks) for blocks in (3, 5, 7, 9)}
CLASSIFIERS: dict[str, Callable[[int, int], Classifier]]
CLASSIFIERS = {"vgg16": vgg16, "vgg5": vgg5, **RESNETS}
# architecture -> sha256 of the file with its published weights
PUBLISHED = {name: DATASETS[f"{name}-cifar10"].checksums[0] for name in RESNETS}


def build_classifier(architecture: str, classes: int, width: int, seed: int) -> Classifier:
    """A network of ``CLASSIFIERS`` whose initial weights depend on its arguments alone."""
    if architecture not in CLASSIFIERS:
        raise ValueError(f"architecture must be one of {tuple(CLASSIFIERS)}, not {architecture!r}")
    with seeded(seed):
        return CLASSIFIERS[architecture](classes, width)


def pretrained_resnet(architecture: str, path: str | Path) -> Classifier:
    """A ResNet with the published CIFAR-10 weights, in evaluation mode.

    architecture: of ``PUBLISHED``. path: its file of github.com/akamaster/pytorch_resnet_cifar10,
    ``resnet20-12fca82f.th`` for ``resnet20``, whose test accuracy is 91.7 %.
    Raises FileNotFoundError, and ValueError for any other file, before it is unpickled.
    """
    data = Path(path).read_bytes()
    wanted, sha256 = PUBLISHED[architecture], hashlib.sha256(data).hexdigest()
    if sha256 != wanted:
        raise ValueError(f"{path} has sha256 {sha256[:8]}..., not {wanted[:8]}...")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)["state_dict"]
    network = RESNETS[architecture](10)
    weights = {name.removeprefix("module."): value for name, value in state.items()}
    network.load_state_dict(weights | Normalise(*map(torch.tensor, IMAGENET)).state_dict())
    return network.eval()
