"""The only place where sizes and budgets stand: one frozen dataclass a notebook, three of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PROFILES = ("quick", "medium", "paper")


@dataclass(frozen=True)
class EncoderDecoderStudy:
    """Notebook 02.

    architectures: how many of the networks of depth 1..max_depth, in a stratified order; 0: all.
    seeds, seeded: the first ``seeded`` architectures run with seeds 0..seeds-1, the others with 0.
    control_depths, ladder_depth: which depths the control experiments take, and at which one
        the SLC is moved alone.
    """

    train_set: str
    test_set: str
    channels: int
    image_size: int
    patch: int
    max_depth: int
    architectures: int
    seeds: int
    seeded: int
    control_depths: tuple[int, ...]
    ladder_depth: int
    width: int
    skip_width: int
    steps: int
    batch: int
    lr: float
    dip_images: int
    iterations: int
    fixed: int
    window: int
    patience: int
    upsampling: str = "nearest"
    sigma: float = 25.0
    hidden: float = 0.5


ENCODER_DECODER_STUDY = {
    "quick": EncoderDecoderStudy(
        train_set="photos:brick,coins,grass,gravel,ihc,moon,motorcycle_left,retina,rocket",
        test_set="photos:astronaut,camera,chelsea,coffee",
        channels=1,
        image_size=128,
        patch=64,
        max_depth=5,
        architectures=24,
        seeds=1,
        seeded=0,
        control_depths=(1, 4),
        ladder_depth=4,
        width=16,
        skip_width=4,
        steps=150,
        batch=4,
        lr=0.01,
        dip_images=2,
        iterations=240,
        fixed=200,
        window=30,
        patience=80,
    ),
    # a bottleneck needs two pixels: 136 px hold seven levels (254 networks), 272 px hold eight
    "medium": EncoderDecoderStudy(
        train_set="train400",
        test_set="set12",
        channels=1,
        image_size=180,
        patch=136,
        max_depth=7,
        architectures=0,
        seeds=3,
        seeded=60,
        control_depths=(1, 2, 4, 6),
        ladder_depth=6,
        width=16,
        skip_width=4,
        steps=300,
        batch=4,
        lr=0.01,
        dip_images=2,
        iterations=500,
        fixed=350,
        window=50,
        patience=150,
    ),
    # The report gives no number: these are Deep Image Prior's own (3000 iterations, 128 channels).
    "paper": EncoderDecoderStudy(
        train_set="bsds500",
        test_set="set9",
        channels=3,
        image_size=320,
        patch=272,
        max_depth=8,
        architectures=0,
        seeds=3,
        seeded=60,
        control_depths=(1, 2, 3, 4, 5, 6, 7, 8),
        ladder_depth=8,
        width=128,
        skip_width=4,
        steps=20_000,
        batch=16,
        lr=0.001,
        dip_images=9,
        iterations=3000,
        fixed=1800,
        window=100,
        patience=1000,
    ),
}


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


@dataclass(frozen=True)
class MultiTaskStudy:
    """Notebook 04.

    tests: test parts of the faces, the main one first. train, test: faces of each part, 0 for all.
    widths, hidden: channels of each layer, units of a head's hidden layer.
    epochs: of each of the two stages. landmark_weight: of the control in which the landmarks'
    loss counts more. probed: faces behind a similarity or a probe.
    """

    faces: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]
    widths: tuple[int, ...]
    hidden: int
    epochs: int
    lr: float
    batch: int
    seeds: int
    probed: int
    landmark_weight: float = 10.0


MULTI_TASK_STUDY = {
    "quick": MultiTaskStudy(
        faces="drawn_faces",
        size=48,
        train=1000,
        test=300,
        tests=("test",),
        widths=(8, 16, 32, 32),
        hidden=64,
        epochs=4,
        lr=0.03,
        batch=32,
        seeds=1,
        probed=300,
        landmark_weight=3.0,
    ),
    # one CPU: 64 px, narrow layers, few epochs with a high learning rate
    "medium": MultiTaskStudy(
        faces="mtfl",
        size=64,
        train=0,
        test=0,
        tests=("test", "aflw"),
        widths=(8, 16, 32, 64),
        hidden=64,
        epochs=8,
        lr=0.02,
        batch=32,
        seeds=3,
        probed=2000,
        landmark_weight=3.0,
    ),
    # the paper gives neither depth nor widths, and does not say whether 100 epochs are of one stage
    "paper": MultiTaskStudy(
        faces="celeba",
        size=128,
        train=0,
        test=0,
        tests=("test",),
        widths=(32, 64, 128, 256, 256),
        hidden=512,
        epochs=100,
        lr=1e-3,
        batch=32,
        seeds=3,
        probed=2000,
    ),
}


def choose(study: dict[str, Any], profile: str) -> object:
    """The numbers of a study's profile; ValueError for a name that is none."""
    if profile not in study:
        raise ValueError(f"profile must be one of {', '.join(study)}, not {profile!r}")
    return study[profile]
