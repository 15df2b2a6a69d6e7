"""Vector drawings of the encoder-decoder and of its two uses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.dip.network import Architecture
from lib.figures.network_drawings import (
    DECODER,
    ENCODER,
    HIGHLIGHT,
    draw_arrow,
    draw_box,
    draw_flow,
    draw_line,
    draw_loss,
    draw_name,
    draw_rule,
    draw_stack,
    draw_title,
    drawing_figure,
    photographs,
)
from lib.figures.style import FAINT, GREY, SMALL, TINY, WIDE

SMALLEST = 0.16  # height of the bottleneck's box, of the largest; 2^-8 could not be seen


@dataclass(frozen=True)
class _Box:
    """One feature map, at its level: centre and height; all are ``_Box.width`` wide."""

    x: float
    y: float
    height: float
    level: int
    width: float = 0.42

    @property
    def top(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


def draw_encoder_decoder(ax: Axes, architecture: Architecture) -> None:
    """The network as a U: a box a feature map, its height the resolution (not to scale).

    Arrows down halve the resolution, arrows up double it, level ones are the skip connections.
    The shallowest of these, or the bottleneck if there is none, is coloured and named. The labels
    need axes of at least 3.5 x 2.5 inches at depth 8.
    """
    boxes = _u_shape(architecture.depth)
    deep = boxes[architecture.depth]
    wide = (boxes[-1].right - boxes[0].left) / 0.63  # the rest is for the labels
    high = (boxes[0].top - deep.bottom) / 0.8
    ax.set_xlim(boxes[0].left - 0.2 * wide, boxes[-1].right + 0.17 * wide)
    ax.set_ylim(deep.bottom - 0.1 * high, boxes[0].top + 0.1 * high)
    _draw_network(ax, architecture, boxes, slc=True)
    _label_levels(ax, architecture, boxes, wide)
    for box, name in ((boxes[0], "input"), (boxes[-1], "output")):
        ax.text(box.x, box.top + 0.02 * high, name, ha="center", va="bottom", fontsize=SMALL)
    y = deep.bottom - 0.02 * high
    ax.text(deep.x, y, "bottleneck", ha="center", va="top", fontsize=SMALL)
    inner, outer = boxes[0].left - 0.115 * wide, boxes[0].left - 0.13 * wide
    high_low = (boxes[0].top, boxes[0].top, deep.bottom, deep.bottom)
    draw_line(ax, (inner, outer, outer, inner), high_low)
    text = {"s": f"depth = {architecture.depth}", "rotation": 90, "fontsize": SMALL}
    middle = (boxes[0].top + deep.bottom) / 2
    ax.text(boxes[0].left - 0.145 * wide, middle, ha="right", va="center", **text)


def _u_shape(depth: int) -> list[_Box]:
    """Input, encoder, bottleneck, decoder: 2 depth + 1 boxes from left to right."""
    ratio = max(0.5, SMALLEST ** (1 / depth))
    heights = [1.3 * ratio**level for level in range(depth + 1)]
    y = [0.0]
    for above, here in pairwise(heights):
        y.append(y[-1] - (above + here) / 2 - 0.34)
    levels = [*range(depth + 1), *reversed(range(depth))]
    return [_Box(float(i), y[level], heights[level], level) for i, level in enumerate(levels)]


def _draw_network(ax: Axes, architecture: Architecture, boxes: list[_Box], slc: bool) -> None:
    depth = architecture.depth
    for index, box in enumerate(boxes):
        colour = ENCODER if index <= depth else DECODER
        if slc and index == depth and not architecture.skips:
            colour = HIGHLIGHT
        draw_box(ax, box.x, box.y, box.width, box.height, colour)
    for left, right in pairwise(boxes):
        if left.y > right.y:
            draw_arrow(
                ax, (left.x, left.bottom), (right.left, right.y), gid="down", bend="vertical"
            )
        else:
            draw_arrow(ax, (left.right, left.y), (right.x, right.bottom), gid="up", bend="level")
    for level in architecture.skips:
        left, right = boxes[level], boxes[-1 - level]
        lit = slc and level == architecture.slc
        style = {"color": HIGHLIGHT, "linewidth": 2.4} if lit else {"color": GREY}
        draw_arrow(ax, (left.right, left.y), (right.left, right.y), gid=f"skip {level}", **style)
    ax.axis("off")


def _label_levels(ax: Axes, architecture: Architecture, boxes: list[_Box], wide: float) -> None:
    """Resolutions in a column on the left, levels on the right, a faint line between them."""
    left, right = boxes[0].left - 0.015 * wide, boxes[-1].right + 0.015 * wide
    for box in boxes[: architecture.depth + 1]:
        draw_line(ax, (left, right), (box.y, box.y), FAINT)
        size = f"1/{2**box.level}" if box.level else "1"
        style = {"va": "center", "fontsize": TINY, "color": GREY}
        ax.text(left, box.y, size, ha="right", **style)
        text = f"level {box.level}"
        if box.level == architecture.slc:
            text = f"SLC = {box.level}"
            style |= {"color": HIGHLIGHT, "weight": "bold"}
        ax.text(right, box.y, text, ha="left", **style)


def draw_two_uses() -> Figure:
    """The same network trained on many pairs of images, and as a prior for a single one."""
    figure = drawing_figure((WIDE, 5.6), rows=2)
    trained, prior = figure.axes
    clean = photographs("camera,astronaut,chelsea", channels=1)
    rng = np.random.default_rng(0)
    noisy = (clean + rng.normal(0, 0.14, clean.shape)).clip(0, 1)
    _draw_use(
        trained,
        "(a)  Trained: weights learnt from many pairs, then fixed",
        [("noisy patches", noisy), ("restored patches", 0.85 * clean + 0.15 * noisy)],
        ("clean patches", clean),
    )
    noise = rng.random((1, 32, 32))
    _draw_use(
        prior,
        "(b)  Deep Image Prior: no training set, weights fitted to a single image",
        [("fixed noise z", noise), ("output", 0.85 * clean[:1] + 0.15 * noisy[:1])],
        ("the one noisy image x₀", noisy[:1]),
    )
    draw_rule(prior, 2.78)
    return figure


def _draw_use(
    ax: Axes,
    title: str,
    ends: list[tuple[str, np.ndarray]],
    target: tuple[str, np.ndarray],
) -> None:
    """Input, network, output, compared with a target."""
    draw_title(ax, 0.3, 2.5, title)
    for x, (name, images) in zip((1.1, 6.8, 9.75), (*ends, target), strict=True):
        draw_stack(ax, x, 1.45, images)
        draw_name(ax, x, 0.65, name)
    architecture = Architecture(3, (0, 2))
    boxes = _u_shape(architecture.depth)
    network = ax.inset_axes((2.8, 0.82, 2.3, 1.25), transform=ax.transData)
    network.set_xlim(boxes[0].left - 0.1, boxes[-1].right + 0.1)
    network.set_ylim(boxes[architecture.depth].bottom - 0.1, boxes[0].top + 0.1)
    _draw_network(network, architecture, boxes, slc=False)
    draw_name(ax, 3.95, 0.65, "network with weights θ")
    draw_flow(ax, 1.95, 2.7, 1.45)
    draw_flow(ax, 5.2, 5.95, 1.45)
    text = "gradient: only the weights θ move"
    draw_loss(ax, (7.65, 8.9), 1.45, (3.95, 0.43), text, "error")
