"""The encoder-decoder as a U, which both drawings of notebook 02 show."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from lib.dip.network import Architecture
from lib.figures.style import GREY
from parts import DECODER, ENCODER, HIGHLIGHT, draw_arrow, draw_box

SMALLEST = 0.16  # height of the bottleneck's box, of the largest; 2^-8 could not be seen


@dataclass(frozen=True)
class Box:
    """One feature map, at its level: centre and height; all are ``Box.width`` wide."""

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


def u_shape(depth: int) -> list[Box]:
    """Input, encoder, bottleneck, decoder: 2 depth + 1 boxes from left to right."""
    ratio = max(0.5, SMALLEST ** (1 / depth))
    heights = [1.3 * ratio**level for level in range(depth + 1)]
    y = [0.0]
    for above, here in pairwise(heights):
        y.append(y[-1] - (above + here) / 2 - 0.34)
    levels = [*range(depth + 1), *reversed(range(depth))]
    return [Box(float(i), y[level], heights[level], level) for i, level in enumerate(levels)]


def draw_network(ax: Axes, architecture: Architecture, boxes: list[Box], *, slc: bool) -> None:
    """Boxes and arrows; with ``slc`` the shallowest skip, or else the bottleneck, is coloured."""
    depth = architecture.depth
    for index, box in enumerate(boxes):
        colour = ENCODER if index <= depth else DECODER
        if slc and index == depth and not architecture.skips:
            colour = HIGHLIGHT
        draw_box(ax, box.x, box.y, box.width, box.height, colour)
    for left, right in pairwise(boxes):
        if left.y > right.y:
            start, end = (left.x, left.bottom), (right.left, right.y)
            draw_arrow(ax, start, end, gid="down", bend="vertical")
        else:
            draw_arrow(ax, (left.right, left.y), (right.x, right.bottom), gid="up", bend="level")
    for level in architecture.skips:
        left, right = boxes[level], boxes[-1 - level]
        lit = slc and level == architecture.slc
        start, end = (left.right, left.y), (right.left, right.y)
        if lit:
            draw_arrow(ax, start, end, gid=f"skip {level}", color=HIGHLIGHT, linewidth=2.4)
        else:
            draw_arrow(ax, start, end, gid=f"skip {level}", color=GREY)
    ax.axis("off")
