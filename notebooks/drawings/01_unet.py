"""Draws 01_unet.svg: the U-Net's layers, the skip connections, and what a mask covers."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from torch import nn

from lib.continual.networks import UNet
from lib.figures.style import GREY, INK, LABEL, SMALL, TINY, WIDE, use_style
from lib.networks.sizes import count_weights
from parts import (
    DECODER,
    ENCODER,
    OUTLINE,
    TASKS,
    draw_arrow,
    draw_box,
    draw_flow,
    draw_lines,
    drawing_figure,
    save_svg,
)

SIZE = (WIDE, 6.5)  # inches: axes in which the labels fit
ROWS = (5.75, 4.24, 2.86, 1.58, 0.4)  # of the U-Net's levels
HEIGHTS = (0.8, 0.66, 0.55, 0.47, 0.42)


def draw_unet(ax: Axes) -> None:
    """The paper's fig. 3: the 22 layers that masks cover, with their channels, and the last one.

    Heights fall with the resolution, not to scale. A unit of the axes is an inch of ``SIZE``.
    """
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


if __name__ == "__main__":
    use_style()
    drawing = drawing_figure(SIZE)
    draw_unet(drawing.axes[0])
    save_svg(drawing, __file__)
