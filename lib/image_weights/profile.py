"""Notebook 05's sizes and budgets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A classifier and what it is trained on; 0 epochs: published weights, 0 images: all."""

    architecture: str
    width: int
    train: int
    epochs: int
    seed: int = 0


@dataclass(frozen=True)
class ImageWeightStudy:
    """Notebook 05.

    networks: the classifier whose output is driven, then those that only look on: the last is
        trained like another one, from another seed.
    images, simplex_images: test images of each synthesis trial.
    pictures: what is shown in figures; empty: test images.
    student, seeds: what is trained on generated images, and how often; a twin of another seed
        generates them. regeneration: updates inside a batch.
    """

    dataset: str
    test: int
    networks: tuple[Network, ...]
    digits: Network
    images: int
    simplex_images: int
    student: Network
    seeds: int
    regeneration: int
    batch: int = 128
    lr: float = 0.05
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    control_share: float = 0.3
    # photographs that may be published, unlike most data sets'
    pictures: str = "photos:chelsea,rocket,coffee,motorcycle_left"


IMAGE_WEIGHT_STUDY = {
    "quick": ImageWeightStudy(
        dataset="scenes",
        test=300,
        networks=(
            Network("vgg5", 32, 2000, 12),
            Network("vgg16", 8, 2000, 8),
            Network("vgg5", 32, 2000, 12, seed=1),
        ),
        digits=Network("vgg5", 16, 1000, 12),
        images=32,
        simplex_images=45,
        student=Network("vgg5", 8, 800, 10),
        seeds=2,
        regeneration=2,
        batch=64,
        pictures="",
    ),
    # one CPU: a short, narrow VGG on a fifth of CIFAR-10 where the paper has VGG16 on all of it
    "medium": ImageWeightStudy(
        dataset="cifar10",
        test=10_000,
        networks=(
            Network("resnet20", 16, 0, 0),
            Network("vgg16", 16, 20_000, 12),
            Network("vgg16", 16, 20_000, 12, seed=1),
        ),
        digits=Network("vgg5", 16, 1000, 12),
        images=128,
        simplex_images=180,
        student=Network("vgg5", 16, 10_000, 12),
        seeds=5,
        regeneration=10,
    ),
    # batch, learning rate and schedule are not in the paper: those of common repositories
    "paper": ImageWeightStudy(
        dataset="cifar10",
        test=0,
        networks=(
            Network("vgg16", 64, 0, 300),
            Network("resnet20", 16, 0, 300),
            Network("vgg16", 64, 0, 300, seed=1),
        ),
        digits=Network("vgg5", 16, 1000, 12),
        images=1000,
        simplex_images=450,
        student=Network("vgg16", 64, 0, 300),
        seeds=5,
        regeneration=100,
    ),
}
