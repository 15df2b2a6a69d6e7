"""Draws 01_generator.svg: an auto-encoder, and the residual blocks of one task and of two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import nn

from lib.continual.networks import BLOCKS, Generator
from lib.figures.style import GREY, LABEL, WIDE, use_style
from lib.networks.sizes import CONVOLUTIONS, count_weights, mib
from parts import (
    FROZEN,
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
    drawing_figure,
    save_svg,
)

SIZE = (WIDE, 6.6)  # inches: axes in which the labels fit
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


def draw_generator(ax: Axes) -> None:
    """The paper's fig. 11, a frozen auto-encoder with one task's blocks, and with two tasks'.

    A unit of the axes is an inch of ``SIZE``.
    """
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


def _fraction(parts: int) -> str:
    return f"1/{parts}" if parts > 1 else "1"


if __name__ == "__main__":
    use_style()
    drawing = drawing_figure(SIZE)
    draw_generator(drawing.axes[0])
    save_svg(drawing, __file__)
