"""Images as weights of a layer: their synthesis, and an epoch of training on them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from timing import Row, compare
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lib.engine.batches import Epochs
from lib.image_weights.layer import EPSILON, Recipe, synthesize
from lib.networks.classifiers import vgg16

IMAGES, SAMPLE = 256, 8  # of one batch; of these, for the reference
EPOCH, BATCH = 10_000, 128
CIFAR10 = 50_000  # training images


def synthesis(device: torch.device, steps: int) -> Row:
    """Images of 32 px in one batch, as many steps each as are worth waiting for."""
    model = vgg16(10, width=16).to(device).eval().requires_grad_(False)
    images = torch.rand(IMAGES, 3, 32, 32, device=device)
    targets = 0.9 * F.one_hot(torch.arange(IMAGES) % 10, 10) + 0.01
    targets, recipe = targets.to(device), Recipe(steps=steps)
    row = compare(
        f"synthesis, {IMAGES} images of 32 px",
        lambda: synthesize(model, images, targets, recipe),
        lambda: plain_synthesis(model, images[:SAMPLE], targets[:SAMPLE], steps),
        (IMAGES * steps / 100, SAMPLE * steps / 100),
        "images/s at 100 steps",
        100.0 if device.type == "cuda" else 3.0,
        device,
    )
    minutes = (CIFAR10 / row[way] / 60 for way in ("ours", "reference"))
    text = "{:,} images x 100 steps take {:.3g} min, {:.3g} min by the reference"
    return row | {"note": text.format(CIFAR10, *minutes)}


def plain_synthesis(
    model: nn.Module, images: Tensor, targets: Tensor, steps: int
) -> tuple[list[Tensor], list[float]]:
    """What a reader of the paper would write: eqs. 1-5, an image at a time, its loss printed."""
    made, losses, one = [], [], torch.ones(1, 1, device=images.device)
    for image, target in zip(images, targets, strict=True):
        layer = nn.Linear(1, image.numel(), bias=False).to(image.device)
        pixels = image.clamp(EPSILON, 1 - EPSILON).reshape(-1, 1)
        layer.weight.data = torch.tan((pixels - 0.5) * torch.pi)
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.05, weight_decay=5e-4)
        for _ in range(steps):
            optimiser.zero_grad()
            seen = (torch.arctan(layer(one)) / torch.pi + 0.5).view(1, *image.shape)
            output = F.log_softmax(model(seen), 1)
            loss = F.kl_div(output, target[None], reduction="batchmean")
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        made.append((torch.arctan(layer.weight.detach()) / torch.pi + 0.5).view(image.shape))
    return made, losses


class Photographs(Dataset):
    """Arrays that are opened as PIL images, as torchvision's CIFAR10 does."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def epoch(device: torch.device) -> Row:
    """Flipped and moved images, learnt from; on a CPU only loaded: learning would hide that."""
    cuda = device.type == "cuda"
    images = torch.randint(256, (EPOCH, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(EPOCH) % 10
    files = Photographs(images.permute(0, 2, 3, 1).numpy(), labels.numpy())
    # the workers stay between epochs, because their start is not what is timed
    loader = DataLoader(
        files, BATCH, shuffle=True, num_workers=2, persistent_workers=True, pin_memory=cuda
    )
    model = vgg16(10, width=16).to(device) if cuda else None
    here = images.to(device), labels.to(device)
    return compare(
        f"epoch of {EPOCH:,} images of 32 px" + ("" if cuda else ", loading only"),
        lambda: our_epoch(*here, model),
        lambda: plain_epoch(loader, model, device),
        (EPOCH, EPOCH),
        "images/s",
        5.0 if cuda else float("nan"),
        device,
    )


def our_epoch(images: Tensor, labels: Tensor, model: nn.Module | None) -> None:
    epochs = Epochs(images, batch=BATCH, seed=0)  # anew: it remembers an epoch's draws
    for step in range(len(epochs)):
        index, batch = epochs(step)
        learn(model, batch, labels[index])


def plain_epoch(loader: DataLoader, model: nn.Module | None, device: torch.device) -> None:
    for batch, labels in loader:
        learn(model, batch.to(device), labels.to(device))


def learn(model: nn.Module | None, images: Tensor, labels: Tensor) -> None:
    """Forward and backward, if there is a network."""
    if model is not None:
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
