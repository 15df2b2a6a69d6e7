"""Vector drawings of the continual-learning study's networks: its U-Net and its generator."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from torch import nn

from lib.continual.generator import BLOCKS, Generator
from lib.continual.unet import UNet
from lib.figures.network_drawings import (
    DECODER,
    ENCODER,
    FROZEN,
    OUTLINE,
    TASKS,
    draw_arrow,
    draw_box,
    draw_flow,
    draw_line,
    draw_lines,
    draw_name,
    draw_padlock,
    draw_rule,
    draw_title,
    prepare,
)
from lib.figures.style import GREY, INK, LABEL, SMALL, TINY, WIDE
from lib.networks.sizes import CONVOLUTIONS, count_weights, mib

UNET_SIZE, GENERATOR_SIZE = (WIDE, 6.5), (WIDE, 6.6)  # inches: axes in which the labels fit
ROWS = (5.75, 4.24, 2.86, 1.58, 0.4)  # of the U-Net's levels
HEIGHTS = (0.8, 0.66, 0.55, 0.47, 0.42)
LAYER_KEY = (
    "c7s1-k: 7×7 convolution",
    "dk: 3×3 convolution, stride 2",
    "uk: transposed 3×3, stride 2",
    "Rk: x + f(x), two 3×3 in f",
)
OTHER_KEY = (
    "k: channels of the output",
    "1, 1/2, 1/4: resolution",
    "grey: trained to return the",
    "image it is given, then frozen",
)
PLACES = (1.5, 2.25, 3.0, 8.0, 8.75, 9.5)  # of the auto-encoder's layers
NAMES = ("task 3: colour", "task 4: Gogh", "task 5: Munch")


def draw_unet(ax: Axes) -> None:
    """The paper's fig. 3: the 22 layers that masks cover, with their channels, and the last one.

    Heights fall with the resolution, not to scale. A unit of the axes is an inch of ``UNET_SIZE``.
    """
    prepare(ax, UNET_SIZE)
    with torch.device("meta"):
        net = UNet()
    layers = net.weight_layers()
    for level, y in enumerate(ROWS):
        ax.text(0.2, y, _fraction(2**level), va="center", fontsize=LABEL, color=GREY)
    ax.text(0.2, 6.3, "resolution (1: the image's)", va="center", fontsize=SMALL, color=GREY)
    draw_flow(ax, 0.45, 0.85, ROWS[0])
    x = 1.15
    for level in range(5):
        x = _encoder_level(ax, x, level, layers)
    for stage in range(1, 5):
        x = _decoder_stage(ax, x, stage, layers)
    _last(ax, x + 0.64, net.last)
    names = (
        "in a box: layer and channels of its output",
        "conv: 3×3 convolution, batch norm, ReLU",
        "up-conv: 2×2 transposed convolution, stride 2",
        "arrow down: 2×2 max pooling",
        "circle: skip connection and up-conv, concatenated",
        f"a mask: {len(layers)} layers, {count_weights(net.encoder, net.decoder):,} weights",
    )
    draw_lines(ax, 7.3, 1.75, names)


def _fraction(parts: int) -> str:
    return f"1/{parts}" if parts > 1 else "1"


def _edge(level: int, side: int) -> float:
    return ROWS[level] + side * HEIGHTS[level] / 2


def _layer(
    ax: Axes, x: float, y: float, height: float, name: str, layers: dict, colour: str
) -> None:
    text = f"{name}\n{layers[name].out_channels}"
    draw_box(ax, x, y, 0.6, height, colour, name, text)


def _encoder_level(ax: Axes, x: float, level: int, layers: dict) -> float:
    """Its layers, the first at x below the level above, and where the second one is."""
    y, following = ROWS[level], x + (0.7 if level < 4 else 0.95)
    if level:
        draw_arrow(ax, (x, _edge(level - 1, -1)), (x, _edge(level, 1)), gid="down")
    _layer(ax, x, y, HEIGHTS[level], f"conv{level + 1}_1", layers, ENCODER)
    _layer(ax, following, y, HEIGHTS[level], f"conv{level + 1}_2", layers, ENCODER)
    draw_flow(ax, x + 0.3, following - 0.3, y)
    return following


def _decoder_stage(ax: Axes, x: float, stage: int, layers: dict) -> float:
    """From the layer at x up to the next level, and where its second layer is."""
    level = 4 - stage
    y, middle = ROWS[level], _edge(level + 1, 1) + 0.41
    names = f"up-conv{stage}", f"conv{stage + 5}_1", f"conv{stage + 5}_2"
    _layer(ax, x, middle, 0.36, names[0], layers, DECODER)
    draw_arrow(ax, (x, middle - 0.41), (x, middle - 0.18), gid="up")
    draw_arrow(ax, (x, middle + 0.18), (x, y - 0.07), gid="up")
    bypass = f"conv{level + 1}_2"
    draw_arrow(ax, (2.15 + 0.7 * level, y), (x - 0.07, y), gid=f"skip {level}", color=GREY)
    ax.add_patch(Circle((x, y), 0.07, facecolor="white", edgecolor=INK, linewidth=OUTLINE))
    if level == 0:
        ax.text(x / 2 + 1, y + 0.05, "skip connection", va="bottom", fontsize=SMALL, color=GREY)
    text = " + ".join(str(layers[name].out_channels) for name in (bypass, names[0]))
    ax.text(x + 0.07, y + 0.1, text, ha="right", va="bottom", fontsize=TINY, color=GREY)
    _layer(ax, x + 0.57, y, HEIGHTS[level], names[1], layers, DECODER)
    _layer(ax, x + 1.27, y, HEIGHTS[level], names[2], layers, DECODER)
    draw_flow(ax, x + 0.07, x + 0.27, y)
    draw_flow(ax, x + 0.87, x + 0.97, y)
    return x + 1.27


def _last(ax: Axes, x: float, layer: nn.Conv2d) -> None:
    draw_flow(ax, x - 0.34, x - 0.22, ROWS[0])
    text = "last\n" + "×".join(map(str, layer.kernel_size))
    draw_box(ax, x, ROWS[0], 0.44, HEIGHTS[0], TASKS[1], "last", text)
    style = {"fontsize": LABEL, "weight": "bold"}
    ax.text(x + 0.22, _edge(0, -1) - 0.1, "the task's own", ha="right", va="top", **style)


def draw_generator(ax: Axes) -> None:
    """The paper's fig. 11, a frozen auto-encoder with one task's blocks, and with two tasks'.

    A unit of the axes is an inch of ``GENERATOR_SIZE``.
    """
    prepare(ax, GENERATOR_SIZE)
    with torch.device("meta"):
        net = Generator()
        blocks = net.add_task("any")
    size = f"{len(blocks)} × R{4 * net.width}, {mib(count_weights(blocks)):.1f} MiB"
    draw_title(ax, 0.3, 6.35, "(a)  One frozen auto-encoder, residual blocks of each task's own")
    _pass(ax, 5.2, net, {5.5: 0}, size)
    frame = {"fill": False, "edgecolor": GREY, "linestyle": "--", "gid": "slot"}
    ax.add_patch(Rectangle((4.45, 4.75), 2.1, 0.95, **frame))
    for x, side in ((3.85, -1), (7.15, 1)):
        _blocks(ax, x, 3.45, (side + 3) // 2, size)
        draw_arrow(ax, (x, 3.9), (5.5 + 1.05 * side, 4.92), gid="swap", bend="vertical")
        ax.text(x + 0.15 * side, 4.2, "or", fontsize=LABEL, ha="center", va="center")
    draw_lines(ax, 0.3, 3.9, LAYER_KEY, GREY)
    draw_lines(ax, 8.5, 3.9, OTHER_KEY, GREY)
    draw_rule(ax, 2.4)
    draw_title(ax, 0.3, 2.14, "(b)  Blocks of two tasks in one pass, without decoding in between")
    _pass(ax, 1.05, net, {4.45: 0, 6.55: 1}, size)


def _pass(ax: Axes, y: float, net: Generator, stacks: dict[float, int], size: str) -> None:
    """From image to image, with the tasks' blocks at their places."""
    for x, (name, parts) in zip(PLACES, _layer_names(net), strict=True):
        draw_box(ax, x, y, 0.42, 1.1 * parts**-0.5, FROZEN, "frozen")
        draw_name(ax, x, y - 0.63, name, _fraction(parts))
    for x, text in ((PLACES[1], "encoder"), (PLACES[4], "decoder")):
        draw_padlock(ax, x - 0.25, y + 0.75)
        ax.text(x - 0.1, y + 0.73, text, va="center", fontsize=LABEL)
    for x, task in stacks.items():
        _blocks(ax, x, y, task, size)
    halves = {0.5: 0.3, 10.5: 0.3} | dict.fromkeys(PLACES, 0.21) | dict.fromkeys(stacks, 0.95)
    for (left, before), (right, after) in pairwise(sorted(halves.items())):
        draw_flow(ax, left + before, right - after, y)
    for x, text in ((0.5, "image"), (10.5, "output")):
        ax.text(x, y, text, ha="center", va="center", fontsize=LABEL)


def _layer_names(net: Generator) -> Iterator[tuple[str, int]]:
    """CycleGAN's name of each layer of the auto-encoder, and how far its output is reduced."""
    parts = 1
    for layer in (*net.encoder, *net.decoder):
        if isinstance(layer, CONVOLUTIONS):
            up, stride = isinstance(layer, nn.ConvTranspose2d), layer.stride[0]
            parts = parts // stride if up else parts * stride
            name = "u" if up else "d" if stride > 1 else f"c{layer.kernel_size[0]}s1-"
            yield f"{name}{layer.out_channels}", parts


def _blocks(ax: Axes, x: float, y: float, task: int, size: str) -> None:
    """A task's residual blocks, each with the way around it."""
    draw_line(ax, (x - 0.95, x + 0.95), (y, y))
    for index in range(BLOCKS):
        middle = x + 0.3 * (index - (BLOCKS - 1) / 2)
        draw_box(ax, middle, y, 0.16, 0.5, TASKS[2 + task], f"{NAMES[task]} block")
        way = (middle - 0.12, middle - 0.12, middle + 0.12, middle + 0.12)
        draw_line(ax, way, (y, y + 0.35, y + 0.35, y))
    draw_name(ax, x, y - 0.63, NAMES[task], size)
