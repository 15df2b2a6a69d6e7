"""Notebook 01's sizes and budgets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stream:
    """The five tasks of notebook 01 in order, and the budget each is learned with.

    scenes: data sets (``lib.data.segmented``) of tasks 1 and 2; tasks 3 to 5 take task 1's images.
    train, test: images of each set, 0 for all. size: their side in pixels.
    styles: style images of tasks 4 and 5, reduced to ``style_size``. features: the network of the
        perceptual loss; content, style: its weights.
    width: of the U-Net and of the generator; the paper's is 64.
    base_steps, steps: optimiser steps for what a stream starts from (task 1's U-Net, the
        auto-encoder) and for every later task, the same for each method.
    mask_lr: of the real-valued masks, whose distance from the threshold is 5e-3.
    patches: layers of the patch discriminator. gatys: pictures and steps of the optimisation that
        a style network is compared with.
    importance_images, strength: of elastic weight consolidation.
    """

    scenes: tuple[str, str]
    train: int
    test: int
    size: int
    styles: tuple[str, str]
    style_size: int
    features: str
    content: float
    style: float
    width: int
    base_steps: int
    steps: int
    batch: int
    mask_lr: float
    patches: int
    gatys_images: int
    gatys_steps: int
    importance_images: int
    strength: float
    lr: float = 1e-3


@dataclass(frozen=True)
class ContinualStudy:
    """Notebook 01.

    seeds: of the main table. controls: of the control experiments. pictures: what figures show
    where test images may not be published; empty: test images.
    """

    stream: Stream
    seeds: int
    controls: int
    pictures: str = ""


CONTINUAL_STUDY = {
    "quick": ContinualStudy(
        stream=Stream(
            scenes=("scenes_a", "scenes_b"),
            train=400,
            test=24,
            size=64,
            styles=("photos:retina", "photos:ihc"),
            style_size=96,
            features="random",
            content=1e5,
            style=1e8,
            width=16,
            base_steps=180,
            steps=50,
            batch=4,
            mask_lr=2e-3,
            patches=2,
            gatys_images=4,
            gatys_steps=40,
            importance_images=16,
            strength=1.0,
            lr=3e-3,
        ),
        seeds=1,
        controls=1,
    ),
    "medium": ContinualStudy(
        stream=Stream(
            scenes=("coco2017", "voc2012_aug"),
            train=0,
            test=0,
            size=64,
            styles=("styles:starry_night", "styles:the_scream"),
            style_size=128,
            features="squeezenet",
            content=10.0,
            style=500.0,
            width=16,
            base_steps=2000,
            steps=200,
            batch=4,
            mask_lr=1e-3,
            patches=2,
            gatys_images=16,
            gatys_steps=200,
            importance_images=64,
            strength=1.0,
            lr=2e-3,
        ),
        seeds=3,
        controls=3,
        pictures="photos:astronaut,chelsea,coffee,rocket",
    ),
    # unstated in the paper: size, batch, optimiser, split. 200 epochs of 20,000 images in batches
    # of 4; style weights and learning rate of the common fast-style-transfer code
    "paper": ContinualStudy(
        stream=Stream(
            scenes=("coco2017", "voc2012_aug"),
            train=20_000,
            test=0,
            size=256,
            styles=("styles:starry_night", "styles:the_scream"),
            style_size=512,
            features="vgg16",
            content=1e5,
            style=1e10,
            width=64,
            base_steps=1_000_000,
            steps=1_000_000,
            batch=4,
            mask_lr=1e-4,
            patches=3,
            gatys_images=16,
            gatys_steps=500,
            importance_images=1000,
            strength=1.0,
        ),
        seeds=3,
        controls=3,
        pictures="photos:astronaut,chelsea,coffee,rocket",
    ),
}
