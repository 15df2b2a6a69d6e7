"""Parts of the two drawings of notebook 05: a map's graph, the layer, distributions, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from lib.figures.style import GREY, INK, PALETTE, SMALL, TINY, WIDE
from parts import OUTLINE, draw_line, draw_share, draw_stack, photographs

SIZE = (WIDE, 5.3)  # inches, in which the labels fit
PHOTOS = "chelsea,astronaut,coffee,rocket,camera,motorcycle_left,retina,coins,moon,brick"
CLASSES = ("cat", "dog", "frog", "ship")


def draw_curve(ax: Axes, x: float, y: float, function: Callable, reach: float) -> None:
    """The graph of a function from -reach to reach, centred on (x, y), with its axes."""
    values, half = np.linspace(-reach, reach, 101), 0.55
    draw_line(ax, (x - half, x + half), (y, y), GREY)
    draw_line(ax, (x, x), (y - half, y + half), GREY)
    heights = y + half * function(values) / function(reach)
    ax.plot(x + half * values / reach, heights, color=PALETTE[0])


def draw_layer(ax: Axes, x: float, y: float, image: np.ndarray) -> None:
    """One input fanned out to some outputs, coloured as pixels across the middle of the image."""
    colours = image[len(image) // 2, 6::12]
    for height, colour in zip(np.linspace(0.55, -0.55, len(colours)), colours, strict=True):
        draw_line(ax, (x - 0.6, x + 0.6), (y, y + height), GREY)
        draw_node(ax, x + 0.6, y + height, 0.07, colour)
    draw_node(ax, x - 0.6, y, 0.14, "white")
    ax.text(x - 0.6, y, "1", ha="center", va="center", fontsize=SMALL)


def draw_node(ax: Axes, x: float, y: float, radius: float, colour: str | np.ndarray) -> None:
    """A neuron of the layer."""
    ax.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor=INK, linewidth=OUTLINE))


def draw_bars(ax: Axes, x: float, y: float, values: dict[str, float], colour: str) -> None:
    """A distribution as bars around height y that begin at x - 0.25 and go as far as x + 0.45."""
    step = min(0.27, 1.1 / len(values))
    for index, (name, value) in enumerate(values.items()):
        middle = y + step * ((len(values) - 1) / 2 - index)
        ax.text(x - 0.3, middle, name, ha="right", va="center", fontsize=TINY)
        draw_share(ax, x - 0.25, middle, value, colour, 0.7)


def draw_grid(ax: Axes, x: float, y: float, framed: Iterable[int] = ()) -> None:
    """Ten photographs in two rows, centred on (x, y); ``framed`` are the generated ones."""
    for index, image in enumerate(photographs(PHOTOS)):
        column, row = index % 5 - 2, 0.5 - index // 5
        left, low = x + 0.54 * column - 0.23, y + 0.54 * row - 0.23
        draw_stack(ax, left + 0.23, low + 0.23, image[None], side=0.46)
        if index in framed:
            frame = Rectangle((left, low), 0.46, 0.46, fill=False, edgecolor=PALETTE[1])
            frame.set(linewidth=3, zorder=4)
            ax.add_patch(frame)
