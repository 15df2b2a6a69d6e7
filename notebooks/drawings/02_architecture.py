"""Notebook 02: what depth and SLC of an encoder-decoder are; writes 02_architecture.svg."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from encoder_decoder_parts import Box, draw_network, u_shape
from lib.dip.network import Architecture
from lib.figures.style import FAINT, GREY, SMALL, TINY, WIDE, use_style
from parts import HIGHLIGHT, draw_line, save_svg


def draw_encoder_decoder(ax: Axes, architecture: Architecture) -> None:
    """The network as a U: a box a feature map, its height the resolution (not to scale).

    Arrows down halve the resolution, arrows up double it, level ones are the skip connections.
    The shallowest of these, or the bottleneck if there is none, is coloured and named.
    """
    boxes = u_shape(architecture.depth)
    deep = boxes[architecture.depth]
    wide = (boxes[-1].right - boxes[0].left) / 0.63  # the rest is for the labels
    high = (boxes[0].top - deep.bottom) / 0.8
    ax.set_xlim(boxes[0].left - 0.2 * wide, boxes[-1].right + 0.17 * wide)
    ax.set_ylim(deep.bottom - 0.1 * high, boxes[0].top + 0.1 * high)
    draw_network(ax, architecture, boxes, slc=True)
    _label_levels(ax, architecture, boxes, wide)
    for box, name in ((boxes[0], "input"), (boxes[-1], "output")):
        ax.text(box.x, box.top + 0.02 * high, name, ha="center", va="bottom", fontsize=SMALL)
    y = deep.bottom - 0.02 * high
    ax.text(deep.x, y, "bottleneck", ha="center", va="top", fontsize=SMALL)
    inner, outer = boxes[0].left - 0.115 * wide, boxes[0].left - 0.13 * wide
    high_low = (boxes[0].top, boxes[0].top, deep.bottom, deep.bottom)
    draw_line(ax, (inner, outer, outer, inner), high_low)
    x, middle = boxes[0].left - 0.145 * wide, (boxes[0].top + deep.bottom) / 2
    text = f"depth = {architecture.depth}"
    ax.text(x, middle, text, ha="right", va="center", rotation=90, fontsize=SMALL)


def _label_levels(ax: Axes, architecture: Architecture, boxes: list[Box], wide: float) -> None:
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


if __name__ == "__main__":
    use_style()
    figure, axes = plt.subplots(1, 2, figsize=(WIDE, 3.9))
    draw_encoder_decoder(axes[0], Architecture(4, (1, 3)))
    draw_encoder_decoder(axes[1], Architecture(3))
    save_svg(figure, __file__)
