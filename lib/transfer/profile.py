"""Notebook 03's sizes and budgets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFamily:
    """The sources of one network in notebook 03.

    size: of its images. vocabulary: whose class names the untrained one's outputs get.
    bases: what it was trained on: published weights, or a task that it is trained on here.
    staged: whether there are also these, and the untrained one, fine-tuned on the stage's task.
    """

    architecture: str
    width: int
    size: int
    vocabulary: str
    bases: tuple[str, ...]
    staged: bool = True


@dataclass(frozen=True)
class TransferStudy:
    """Notebook 03.

    train, test: images of the target, stage_train and stage_test of the task in between, 0 for
        all. general: the base that a practitioner would take without any score.
    frozen: whether early layers stay as they are.
    base_images, base_epochs, base_lr: for bases that are trained here.
    seeds: fine-tunings of each source; momenta: readings of the recipe, the first the main one.
    draws: half samples behind an interval of a score.
    """

    words: str
    target: str
    train: int
    test: int
    stage: str
    stage_train: int
    stage_test: int
    families: tuple[SourceFamily, ...]
    general: str
    frozen: bool
    epochs: int
    decay_every: int
    lr: float
    batch: int
    seeds: int
    draws: int
    momenta: tuple[float, ...] = (0.9, 0.0)
    base_images: int = 0
    base_epochs: int = 0
    base_lr: float = 0.0
    base_batch: int = 32


TRANSFER_STUDY = {
    "quick": TransferStudy(
        words="scenes",
        target="objects",
        train=400,
        test=300,
        stage="things",
        stage_train=300,
        stage_test=200,
        families=(
            SourceFamily("vgg5", 16, 32, "colours", ("colours", "grounds", "digits")),
            SourceFamily("resnet20", 8, 32, "colours", ("colours", "grounds")),
        ),
        general="colours",
        frozen=True,
        epochs=15,
        decay_every=5,
        lr=0.03,
        batch=16,
        seeds=1,
        draws=20,
        base_images=2000,
        base_epochs=8,
        base_lr=0.05,
    ),
    # one CPU: 112 px, the early layers frozen, 24 photographs a class
    "medium": TransferStudy(
        words="glove.6B.50d.nouns3768.txt",
        target="caltech101",
        train=0,
        test=0,
        stage="voc2012",
        stage_train=0,
        stage_test=0,
        families=(
            SourceFamily("mobilenet_v2", 0, 112, "imagenet", ("imagenet", "inat_birds")),
            SourceFamily("squeezenet1_1", 0, 112, "imagenet", ("imagenet",), staged=False),
            SourceFamily("resnet20", 16, 32, "cifar10", ("cifar10",), staged=False),
        ),
        general="imagenet",
        frozen=True,
        epochs=30,
        decay_every=7,
        lr=1e-3,
        batch=16,
        seeds=3,
        draws=20,
    ),
    # momentum and batch are not in the paper: those of PyTorch's transfer learning tutorial,
    # whose schedule it is, and both momenta
    "paper": TransferStudy(
        words="gensim:fasttext-wiki-news-subwords-300",
        target="caltech101",
        train=0,
        test=0,
        stage="caltech256",
        stage_train=0,
        stage_test=0,
        families=(
            SourceFamily("alexnet", 0, 224, "imagenet", ("imagenet", "places365")),
            SourceFamily("resnet18", 0, 224, "imagenet", ("imagenet", "places365")),
        ),
        general="imagenet",
        frozen=False,
        epochs=30,
        decay_every=7,
        lr=1e-3,
        batch=4,
        seeds=3,
        draws=200,
    ),
}
