"""Notebook 02's sizes and budgets."""

from __future__ import annotations

from dataclasses import dataclass


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
