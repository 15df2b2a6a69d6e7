"""Notebook 01: the paper's model sizes, counted again from the modules themselves.

Matsumoto and Yanai's sizes (Table 2, section 5.2) follow from the networks, without a run: float32
weights of convolutions and transposed convolutions, in MiB; biases, norms and a task's last layer
do not count in the paper.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

from lib.continual.generator import Generator
from lib.continual.unet import LAYERS, UNet
from lib.networks.classifiers import vgg16
from lib.networks.sizes import count_values, count_weights, mib

CLASSES = {1: 81, 2: 21, 3: 2, 4: 3, 5: 3}  # output channels of the five tasks
TASKS, LATER = len(CLASSES), len(CLASSES) - 1
AUTO_ENCODER = 8.7  # as printed
ROUNDING = 0.05  # of a printed size
NAN = float("nan")
_COLUMNS = ("id", "statement", "paper", "terms", "ours", "unit", "explanation")
_Row = tuple[str, str, float, int, float, str, str]


def findings() -> pd.DataFrame:
    """Sizes: id (index), statement, paper (NaN: not given), ours, unit, explanation, slack.

    slack: what rounding can make of the printed terms that the paper adds up.
    """
    n = _counts()
    table = pd.DataFrame([*_weights(n), *_unet(n), *_blocks(n), *_sums()], columns=list(_COLUMNS))
    return table.set_index("id").assign(slack=table["terms"].to_numpy() * ROUNDING)


def parts(width: int = 64) -> dict[str, nn.Module]:
    """The study's networks in pieces, without memory for their weights (device ``meta``)."""
    with torch.device("meta"):
        unet, generator = UNet(width=width), Generator(width=width)
        heads = {f"last layer, task {task}": unet.new_last(n) for task, n in CLASSES.items()}
        blocks = generator.add_task("any")
    auto_encoder = nn.ModuleList((generator.encoder, generator.decoder))
    return {
        "U-Net encoder": unet.encoder,
        "U-Net decoder": unet.decoder,
        **heads,
        "auto-encoder": auto_encoder,
        "residual blocks of a task": blocks,
    }


def tensors(width: int = 64) -> pd.DataFrame:
    """Which tensors count: stored numbers of each piece by kind, MiB of weights and of all."""
    rows = {name: count_values(part) for name, part in parts(width).items()}
    table = pd.DataFrame.from_dict(rows, orient="index").drop(columns="other")
    return table.assign(
        mib_weights=[mib(values) for values in table["weights"]],
        mib_all=[mib(values) for values in table.sum(axis=1)],
    )


def _counts() -> dict[str, int]:
    """The counts that all sizes are made of."""
    from torchvision.models import vgg16 as whole_vgg16  # here: importing it takes a second

    pieces = parts()
    encoder, decoder = pieces["U-Net encoder"], pieces["U-Net decoder"]
    stored = [part for name, part in pieces.items() if name.startswith(("U-Net", "last layer"))]
    with torch.device("meta"):
        convolutions, whole = vgg16(10), whole_vgg16()
    return {
        "unet": count_weights(encoder, decoder),
        "encoder": count_weights(encoder),
        "decoder": count_weights(decoder),
        "unet and last layers": sum(count_values(*stored).values()),
        "blocks": count_weights(pieces["residual blocks of a task"]),
        "auto-encoder": sum(count_values(pieces["auto-encoder"]).values()),
        "vgg": count_weights(convolutions),
        "whole vgg": sum(count_values(whole).values()),
    }


# a table: the numbers of a row in its first line, the reason below
# fmt: off
def _weights(n: dict[str, int]) -> list[_Row]:
    return [
        ("unet-weights", "Weights that a U-Net mask covers", 14_776_000, 0, n["unet"], "weights",
         "convolutions and transposed convolutions; no bias, norm or last layer"),
        ("encoder-weights", "Weights of the U-Net's encoder", NAN, 0, n["encoder"], "weights",
         "what is left of the paper's count without the decoder"),
        ("decoder-weights", "Weights of the U-Net's decoder", NAN, 0, n["decoder"], "weights",
         "20.5 MiB in the paper"),
        ("block-weights", "Weights of the 6 residual blocks of a task",
         7_077_888, 0, n["blocks"], "weights", "6 blocks x 2 convolutions x 256 x 256 x 3 x 3"),
        ("vgg-weights", "Weights of VGG16's 13 convolutions", NAN, 0, n["vgg"], "weights",
         "the paper explains its high zero rates by a U-Net with more parameters than VGG16: "
         "the convolutions alone have as many, the three linear layers 124 million besides"),
        ("vgg-parameters", "Parameters of VGG16", NAN, 0, n["whole vgg"], "parameters",
         "with biases and the linear layers, for 1000 classes"),
        ("unet-vgg", "The U-Net's weights as a share of VGG16's parameters",
         NAN, 0, n["unet"] / n["whole vgg"], "ratio", "the paper: more parameters over all"),
        ("unet-layers", "Layers that a U-Net mask covers", NAN, 0, len(LAYERS), "layers",
         "the paper: more than VGG16; that has 13 convolutions and 3 linear layers"),
    ]


def _unet(n: dict[str, int]) -> list[_Row]:
    unet, decoder, mask = mib(n["unet"]), mib(n["decoder"]), mib(n["unet"], bits=1)
    decoders, piggyback = unet + LATER * decoder, unet + LATER * mask
    stored = mib(n["unet and last layers"]) + LATER * mask
    return [
        ("size-unet", "One U-Net", 56.4, 1, unet, "MiB", "float32 weights in units of 2^20"),
        ("size-decoder", "One U-Net decoder", 20.5, 1, decoder, "MiB", "as the whole network"),
        ("size-mask", "One mask", 1.8, 1, mask, "MiB", "1 bit a weight"),
        ("size-scratch", "Scratch, 5 tasks", 282.0, TASKS, TASKS * unet, "MiB", "5 networks"),
        ("size-fine-tune", "Fine-tune, 5 tasks", 282.0, TASKS, unet, "MiB",
         "the paper stores 5 networks and shows forgetting: with 5 nothing is forgotten, "
         "and the one network that forgets is the size of one"),
        ("size-decoders", "Decoder, 5 tasks", 138.4, TASKS, decoders, "MiB",
         "1 network and 4 more decoders"),
        ("size-piggyback", "Piggyback, 5 tasks", 63.6, TASKS, piggyback, "MiB",
         "1 network and 4 masks, 56.37 + 4 x 1.761; the paper adds rounded terms"),
        ("size-piggyback-all", "Piggyback, 5 tasks, with every tensor", NAN, 0, stored, "MiB",
         "biases, one set of norms and 5 last layers counted as well"),
        ("size-ratio", "Piggyback's size as a share of Decoder's",
         0.5, 1, piggyback / decoders, "ratio", "the paper: less than half"),
    ]


def _blocks(n: dict[str, int]) -> list[_Row]:
    blocks, mask, own = mib(n["blocks"]), mib(n["blocks"], bits=1), mib(n["auto-encoder"])
    two, masked = AUTO_ENCODER + 2 * blocks, AUTO_ENCODER + blocks + mask
    resblock, scratch = AUTO_ENCODER + TASKS * blocks, TASKS * mib(n["unet"])
    return [
        ("size-blocks", "Residual blocks of one task", 135.0, 1, blocks, "MiB",
         "135.0 is the size for 5 tasks; Table 2 multiplies it by 5 again"),
        ("size-blocks-5", "Residual blocks of 5 tasks", 135.0, 1, TASKS * blocks, "MiB",
         "what the paper's 135.0 is the size of"),
        ("size-resblock", "Resblock(6), 5 tasks", 683.7, 6, resblock, "MiB",
         "8.7 + 27.0 x 5, with the paper's 8.7 for the auto-encoder"),
        ("size-resblock-ratio", "Resblock's size as a share of Scratch's",
         683.7 / 282.0, 0, resblock / scratch, "ratio",
         "by the printed sizes more than twice as large as 5 networks, by ours about half"),
        ("size-auto-encoder", "The auto-encoder", AUTO_ENCODER, 1, own, "MiB",
         "CycleGAN's encoder and decoder, biases included; 3 times as much rounds to 8.7, "
         "which weights with Adam's two averages in one file would give: a guess"),
        ("size-auto-encoder-3", "The auto-encoder, three times", AUTO_ENCODER, 1, 3 * own, "MiB",
         "weights and Adam's two averages, if that guess is right"),
        ("size-resblock-cyclegan", "Resblock(6), 5 tasks, with CycleGAN's auto-encoder",
         683.7, 6, own + TASKS * blocks, "MiB",
         "the size if figure 11 shows CycleGAN's encoder and decoder"),
        ("size-block-mask", "One mask on the residual blocks", 4.2, 1, mask, "MiB",
         "4.2 is the size of 5 masks"),
        ("size-block-masks-5", "5 masks on residual blocks", 4.2, 1, TASKS * mask, "MiB",
         "what the paper's 4.2 is the size of"),
        ("size-two-tasks", "Resblock, 2 tasks", 287.4, 3, two, "MiB",
         "8.7 + 27.0 x 2; even 8.7 + 135.0 x 2 is 278.7: 287.4 has the auto-encoder twice"),
        ("size-two-tasks-masked", "Resblock+Piggyback, 2 tasks", 147.9, 3, masked, "MiB",
         "8.7 + 27.0 + 0.84"),
        ("size-saving", "What the mask saves for 2 tasks", 139.5, 3, two - masked, "MiB",
         "27.0 - 0.84; in the paper's own units 135.0 - 4.2 = 130.8"),
    ]


def _sums() -> list[_Row]:
    """The paper's printed terms, added up again."""
    two, masked = AUTO_ENCODER + 135.0 * 2, AUTO_ENCODER + 135.0 + 4.2
    return [
        ("sum-scratch", "56.4 x 5", 282.0, 0, 56.4 * 5, "MB", "Table 2"),
        ("sum-decoders", "56.4 + 20.5 x 4", 138.4, 0, 56.4 + 20.5 * 4, "MB", "Table 2"),
        ("sum-piggyback", "56.4 + 1.8 x 4", 63.6, 0, 56.4 + 1.8 * 4, "MB", "Table 2"),
        ("sum-ratio", "63.6 / 138.4", 0.5, 1, 63.6 / 138.4, "ratio", "the paper: less than half"),
        ("sum-resblock", "8.7 + 135.0 x 5", 683.7, 0, AUTO_ENCODER + 135.0 * 5, "MB",
         "Table 2; the sum is right, the term 135.0 is not"),
        ("sum-two-tasks", "8.7 + 135.0 x 2", 287.4, 0, two, "MB", "section 5.2"),
        ("sum-two-tasks-twice", "(8.7 + 135.0) x 2", 287.4, 0, 2 * (AUTO_ENCODER + 135.0), "MB",
         "how the paper's number comes about: the auto-encoder is counted twice"),
        ("sum-two-tasks-masked", "8.7 + 135.0 + 4.2", 147.9, 0, masked, "MB", "section 5.2"),
        ("sum-saving", "278.7 - 147.9", 139.5, 0, two - masked, "MB",
         "section 5.2, which subtracts from 287.4"),
    ]
# fmt: on
