"""A small encoder-decoder and tasks on it, for the tests of the masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.continual.masks import THRESHOLD, MaskedNetwork, MaskedTask

LAYERS = {"down": 12 * 3 * 9, "deep.conv": 6 * 4 * 9 * 3, "up": 18 * 5 * 4}  # mask sizes


class Deep(nn.Module):
    """Grouped convolution and norm, as a part that can be masked alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(18)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class Net(nn.Module):
    """(N, 3, H, W) to (N, 4, H, W), H and W even; 1x1 head ``out``."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False)
        self.first = nn.BatchNorm2d(12)
        self.deep = Deep()
        self.up = nn.ConvTranspose2d(18, 5, 2, stride=2)
        self.out = nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.up(self.deep(self.first(self.down(x)).relu())))


def base(seed: int = 0) -> Net:
    """In evaluation mode, with statistics of its own."""
    torch.manual_seed(seed)
    network = Net()
    for _ in range(5):
        network(2 * images(4) + 0.3)
    return network.eval()


def images(count: int = 2, size: int = 8) -> Tensor:
    return torch.rand(count, 3, size, size)


def draw_masks(network: MaskedNetwork, seed: int) -> MaskedNetwork:
    """Random real masks, about half of them above the threshold."""
    rng = torch.Generator().manual_seed(seed)
    for mask in network.masks().values():
        mask.real.data = torch.rand(mask.real.shape, generator=rng) * 2 * THRESHOLD
    return network


def trained(network: nn.Module, seed: int, norm: str = "affine", classes: int = 7) -> MaskedNetwork:
    """A task with random masks and a step's worth of its own statistics."""
    torch.manual_seed(seed)
    masked = MaskedNetwork(network, {"out": nn.Conv2d(5, classes, 1)}, norm=norm)
    optimiser = torch.optim.SGD(masked.parameters(), lr=0.1)
    masked.train()(images(4)).square().mean().backward()
    optimiser.step()
    return draw_masks(masked, seed).eval()


def task(network: nn.Module, seed: int = 1, norm: str = "affine", classes: int = 7) -> MaskedTask:
    return trained(network, seed, norm, classes).task()
