"""Vector drawings of the networks and of what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike

from lib.data.images import load_images
from lib.models.encoder_decoder import Architecture
from lib.style import INK, PALETTE

ENCODER, DECODER, BOTTLENECK, GREY = "#9cc3e0", "#9bd3bd", "#c9ced6", "#5b6570"
FAINT, HIGHLIGHT = "#e3e6ea", PALETTE[3]
SMALLEST = 0.16  # height of the bottleneck's box, of the largest; 2^-8 could not be seen
LABEL, SMALL, TINY = 10, 9, 8  # points


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


def draw_encoder_decoder(ax: Axes, architecture: Architecture, highlight_slc: bool = True) -> None:
    """The network as a U: a box a feature map, its height the resolution (not to scale).

    Arrows down halve the resolution, arrows up double it, level ones are the skip connections.
    highlight_slc: colour and name the shallowest of these, or the bottleneck if there is none.
    The labels need axes of at least 3.5 x 2.5 inches at depth 8.
    """
    boxes = _u_shape(architecture.depth)
    deep = boxes[architecture.depth]
    wide = (boxes[-1].right - boxes[0].left) / 0.63  # the rest is for the labels
    high = (boxes[0].top - deep.bottom) / 0.8
    ax.set_xlim(boxes[0].left - 0.2 * wide, boxes[-1].right + 0.17 * wide)
    ax.set_ylim(deep.bottom - 0.1 * high, boxes[0].top + 0.1 * high)
    _draw_network(ax, architecture, boxes, highlight_slc)
    _label_levels(ax, architecture, boxes, wide, highlight_slc)
    for box, name in ((boxes[0], "input"), (boxes[-1], "output")):
        ax.text(box.x, box.top + 0.02 * high, name, ha="center", va="bottom", fontsize=SMALL)
    y = deep.bottom - 0.02 * high
    ax.text(deep.x, y, "bottleneck", ha="center", va="top", fontsize=SMALL)
    _bracket(ax, boxes[0].left - 0.13 * wide, boxes[0].top, deep.bottom, 0.015 * wide)
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
        colour = ENCODER if index < depth else DECODER
        if index == depth:
            colour = HIGHLIGHT if slc and not architecture.skips else BOTTLENECK
        corner = (box.left, box.bottom)
        ax.add_patch(Rectangle(corner, box.width, box.height, facecolor=colour, edgecolor=INK))
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


def _label_levels(
    ax: Axes, architecture: Architecture, boxes: list[_Box], wide: float, slc: bool
) -> None:
    """Resolutions in a column on the left, levels on the right, a faint line between them."""
    left, right = boxes[0].left - 0.015 * wide, boxes[-1].right + 0.015 * wide
    for box in boxes[: architecture.depth + 1]:
        ax.plot((left, right), (box.y, box.y), color=FAINT, linewidth=0.8, zorder=0)
        size = f"1/{2**box.level}" if box.level else "1"
        style = {"va": "center", "fontsize": TINY, "color": GREY}
        ax.text(left, box.y, size, ha="right", **style)
        text = f"level {box.level}"
        if slc and box.level == architecture.slc:
            text = f"SLC = {box.level}"
            style |= {"color": HIGHLIGHT, "weight": "bold"}
        ax.text(right, box.y, text, ha="left", **style)


def _bracket(ax: Axes, x: float, top: float, bottom: float, depth: float) -> None:
    ax.plot([x + depth, x, x, x + depth], [top, top, bottom, bottom], color=INK, linewidth=1)


def draw_arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    gid: str,
    bend: str = "",
    color: str = INK,
    linewidth: float = 1.2,
    **options: object,
) -> None:
    """An arrow in the axes' units.

    gid: what it stands for, kept in the svg. bend: straight, or one corner, going first down
        (``vertical``) or sideways (``level``).
    """
    bends = {"vertical": "angle,angleA=-90,angleB=180", "level": "angle,angleA=0,angleB=90"}
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=9,
        shrinkA=1,
        shrinkB=1,
        connectionstyle=f"{bends[bend]},rad=3" if bend else "arc3",
        color=color,
        linewidth=linewidth,
        **options,
    )
    arrow.set_gid(gid)
    ax.add_patch(arrow)


def draw_padlock(ax: Axes, x: float, y: float, size: float = 1) -> None:
    """Something is not trained; y is where the shackle enters the body."""
    arc = (0.16 * size, 0.24 * size)
    style = {"color": INK, "linewidth": 1.6 * size}
    ax.add_patch(Arc((x, y), *arc, theta1=0, theta2=180, **style))
    corner = (x - 0.13 * size, y - 0.18 * size)
    ax.add_patch(Rectangle(corner, 0.26 * size, 0.19 * size, color=INK))


def prepare(ax: Axes, size: tuple[float, float]) -> None:
    """Empty axes of so many units, without distortion; at this size in inches a unit is one."""
    ax.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="equal")
    ax.axis("off")


def draw_title(ax: Axes, x: float, y: float, text: str) -> None:
    """Bold, from x to the right."""
    ax.text(x, y, text, fontsize=11, weight="bold", va="center")


def draw_name(ax: Axes, x: float, y: float, name: str, more: str = "") -> None:
    """Below (x, y), a second line in grey."""
    ax.text(x, y, name, ha="center", va="top", fontsize=LABEL)
    if more:
        ax.text(x, y - 0.23, more, ha="center", va="top", fontsize=SMALL, color=GREY)


def draw_two_uses() -> Figure:
    """The same network trained on many pairs of images, and as a prior for a single one."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    trained, prior = figure.subplots(2)
    clean = _photographs()
    rng = np.random.default_rng(0)
    noisy = (clean + rng.normal(0, 0.14, clean.shape)).clip(0, 1)
    _draw_use(
        trained,
        "(i)  Trained: weights learnt from many pairs, then fixed",
        [("noisy patches", noisy), ("restored patches", 0.85 * clean + 0.15 * noisy)],
        ("clean patches", clean),
    )
    noise = rng.random((1, 32, 32))
    _draw_use(
        prior,
        "(ii)  Deep Image Prior: no training set, weights fitted to a single image",
        [("fixed noise z", noise), ("output", 0.85 * clean[:1] + 0.15 * noisy[:1])],
        ("the one noisy image x₀", noisy[:1]),
    )
    prior.plot((0.3, 9.3), (2.8, 2.8), color=FAINT, linewidth=1)
    return figure


def _photographs() -> np.ndarray:
    """Three small grey photographs, (3, H, W) in [0, 1]."""
    _, images = load_images("photos:camera,astronaut,chelsea", size=96, channels=1)
    return images[:, 0].numpy() / 255


def _draw_use(
    ax: Axes,
    title: str,
    ends: list[tuple[str, np.ndarray]],
    target: tuple[str, np.ndarray],
) -> None:
    """Input, network, output, compared with a target; a unit of the axes is about an inch."""
    prepare(ax, (9.6, 2.8))
    draw_title(ax, 0.3, 2.5, title)
    for x, (name, images) in zip((1.1, 6.0, 8.5), (*ends, target), strict=True):
        draw_stack(ax, x, 1.45, images)
        draw_name(ax, x, 0.64, name)
    network = ax.inset_axes((2.55, 0.82, 2.0, 1.25), transform=ax.transData)
    _draw_plain_network(network, Architecture(3, (0, 2)))
    draw_name(ax, 3.55, 0.64, "network with weights θ")
    draw_arrow(ax, (1.92, 1.45), (2.5, 1.45), gid="flow")
    draw_arrow(ax, (4.6, 1.45), (5.18, 1.45), gid="flow")
    draw_arrow(ax, (6.82, 1.45), (7.68, 1.45), gid="compare", color=HIGHLIGHT)
    ax.text(7.25, 1.52, "error", ha="center", va="bottom", fontsize=LABEL, color=HIGHLIGHT)
    _feedback(ax)


def _draw_plain_network(ax: Axes, architecture: Architecture) -> None:
    boxes = _u_shape(architecture.depth)
    ax.set_xlim(boxes[0].left - 0.1, boxes[-1].right + 0.1)
    ax.set_ylim(boxes[architecture.depth].bottom - 0.1, boxes[0].top + 0.1)
    _draw_network(ax, architecture, boxes, slc=False)


def _feedback(ax: Axes) -> None:
    """From the error back to the weights."""
    style = {"color": HIGHLIGHT, "linewidth": 1.2}
    ax.plot((7.25, 7.25, 3.55), (1.4, 0.22, 0.22), linestyle="--", **style)
    draw_arrow(ax, (3.55, 0.22), (3.55, 0.43), gid="feedback", **style)
    text = "gradient: only the weights θ move"
    ax.text(5.4, 0.18, text, ha="center", va="top", fontsize=SMALL, color=HIGHLIGHT)


def draw_stack(ax: Axes, x: float, y: float, images: np.ndarray, side: float = 1.25) -> None:
    """Images on top of each other, the first in front, centred on (x, y)."""
    for index, image in enumerate(images):
        shift = 0.12 * (index - (len(images) - 1) / 2)
        left, bottom = x + shift - side / 2, y + shift - side / 2
        extent, order = (left, left + side, bottom, bottom + side), 3 - 0.1 * index
        shown = {"cmap": "gray", "vmin": 0, "vmax": 1, "zorder": order}
        ax.imshow(image, extent=extent, **shown)
        frame = Rectangle((left, bottom), side, side, fill=False, edgecolor=INK)
        frame.set_zorder(order + 0.05)
        ax.add_patch(frame)


def check_rows(rows: pd.DataFrame, columns: list[str]) -> None:
    """ValueError for a table without rows, or without one of these columns."""
    missing = [column for column in columns if column not in rows]
    if missing or rows.empty:
        raise ValueError(f"nothing to draw: no {', '.join(missing) or 'rows'}")


def reach(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths of error bars, (2, rows): 0 where there is no interval."""
    ends = np.array([np.subtract(value, low), np.subtract(high, value)], float).reshape(2, -1)
    return np.nan_to_num(ends).clip(0)
