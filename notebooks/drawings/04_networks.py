"""Draws 04_networks.svg: hard sharing, and the paper's network with a stream for each task."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lib.figures.style import FAINT, INK, LABEL, SMALL, WIDE, use_style
from parts import (
    ENCODER,
    FROZEN,
    OUTLINE,
    TASKS,
    draw_arrow,
    draw_box,
    draw_flow,
    draw_key,
    draw_line,
    draw_name,
    draw_padlock,
    draw_stack,
    draw_title,
    drawing_figure,
    photographs,
    save_svg,
)

SIZE = (WIDE, 4.5)  # inches: the axes' units, in which the labels fit
LAYERS = 4  # as in the quick and medium profiles
STREAMS = {"landmarks": TASKS[0], "attributes": TASKS[1]}
MIDDLE = 2.3  # height of the shared layers
OFFSETS = (1.1, -1.1)  # of the tasks' layers from these
HEIGHT = 0.8  # of a layer
KEY = 0.35  # height of the line that explains the signs


def draw_networks(layers: int) -> Figure:
    """The paper's figs. 1 and 2: hard sharing, and a stream of layers for each of two tasks.

    Right: the image enters all three streams. What a shared layer gives is concatenated to what
    the task's own layer beside it gives, and that is what the task's next layer reads. Grey with a
    padlock: frozen.
    """
    figure = drawing_figure(SIZE)
    (ax,) = figure.axes
    face = photographs("astronaut")
    _draw_hard_sharing(ax, face, layers)
    draw_line(ax, (4.25, 4.25), (0.2, 4.3), FAINT)
    _draw_separation(ax, face, layers)
    return figure


def _draw_hard_sharing(ax: Axes, image: np.ndarray, layers: int) -> None:
    draw_title(ax, 0.2, 4.2, "(a)  Hard sharing (stage 1)")
    _draw_image(ax, 0.6, image)
    step = 1.4 / layers
    xs = 1.2 + step * (np.arange(layers) + 0.5)
    half = min(0.19, 0.25 * step)
    ends = [0.97, *(xs[:-1] + half)]
    for number, (x, start) in enumerate(zip(xs, ends, strict=True), 1):
        draw_flow(ax, start, x - half, MIDDLE)
        draw_box(ax, x, MIDDLE, 2 * half, HEIGHT, ENCODER, f"shared {number}", str(number))
    draw_name(ax, 1.9, MIDDLE - 0.5, "shared layers")
    fork = 2.68
    draw_line(ax, (xs[-1] + half, fork), (MIDDLE, MIDDLE))
    for task, offset in zip(STREAMS, OFFSETS, strict=True):
        y = MIDDLE + 0.6 * offset
        draw_arrow(ax, (fork, MIDDLE), (2.89, y), gid="fork", bend="vertical")
        _draw_head(ax, 3.0, y, task)
    draw_key(ax, 0.3, KEY, [ENCODER], "trained for both tasks")


def _draw_separation(ax: Axes, image: np.ndarray, layers: int) -> None:
    draw_title(ax, 4.5, 4.2, "(b)  Separation Multi-task Network (stage 2)")
    _draw_image(ax, 4.9, image)
    step = 3.5 / (layers - 0.5)
    xs = 5.9 + step * np.arange(layers)
    half = min(0.19, 0.2 * step)
    circles = xs + 0.5 * step  # before each next layer, the last one before the head
    for number, x in enumerate(xs, 1):
        draw_box(ax, x, MIDDLE, 2 * half, HEIGHT, FROZEN, f"frozen {number}", str(number))
        draw_padlock(ax, x, MIDDLE - 0.22)
    draw_flow(ax, 5.27, xs[0] - half, MIDDLE)
    for before, after in pairwise(xs):
        draw_flow(ax, before + half, after - half, MIDDLE)
    draw_line(ax, (xs[-1] + half, circles[-1]), (MIDDLE, MIDDLE))
    for task, offset in zip(STREAMS, OFFSETS, strict=True):
        _draw_stream(ax, xs, circles, half, offset, task)
    draw_key(ax, 4.6, KEY, [FROZEN], "shared, frozen after stage 1", locked=True)
    draw_key(ax, 7.1, KEY, list(STREAMS.values()), "trained for its task")
    _draw_circle(ax, 9.45, KEY)
    ax.text(9.61, KEY, "concatenation", va="center", fontsize=SMALL)


def _draw_stream(
    ax: Axes,
    xs: np.ndarray,
    circles: np.ndarray,
    half: float,
    offset: float,
    name: str,
) -> None:
    """A task's own layers at xs, each followed by a circle that the shared layer feeds too."""
    y = MIDDLE + offset
    draw_arrow(ax, (5.55, MIDDLE), (xs[0] - half, y), gid="image", bend="vertical")
    for number, (x, circle) in enumerate(zip(xs, circles, strict=True), 1):
        draw_box(ax, x, y, 2 * half, HEIGHT, STREAMS[name], f"{name} {number}", str(number))
        draw_flow(ax, x + half, circle - 0.07, y)
        up = np.sign(offset)
        draw_arrow(ax, (circle, MIDDLE), (circle, y - 0.08 * up), gid=f"shared to {name}")
        _draw_circle(ax, circle, y)
        following = xs[number] - half if number < len(xs) else 9.62
        draw_flow(ax, circle + 0.07, following, y)
    _draw_head(ax, 9.73, y, name)


def _draw_circle(ax: Axes, x: float, y: float) -> None:
    style = {"facecolor": "white", "edgecolor": INK, "linewidth": OUTLINE, "zorder": 3}
    ax.add_patch(Circle((x, y), 0.09, gid="concat", **style))
    for side in (-0.025, 0.025):  # ‖, which not every font has
        draw_line(ax, (x + side, x + side), (y - 0.045, y + 0.045), zorder=4)


def _draw_image(ax: Axes, x: float, image: np.ndarray) -> None:
    draw_stack(ax, x, MIDDLE, image, side=0.7)
    draw_name(ax, x, MIDDLE - 0.42, "image")


def _draw_head(ax: Axes, x: float, y: float, task: str) -> None:
    """A task's last layer and, to its right, what comes out."""
    draw_box(ax, x, y, 0.22, 0.5, STREAMS[task], f"head {task}")
    draw_name(ax, x, y - 0.29, "head")
    draw_arrow(ax, (x + 0.11, y), (x + 0.36, y), gid="output")
    ax.text(x + 0.38, y, task, va="center", fontsize=LABEL)


if __name__ == "__main__":
    use_style()
    save_svg(draw_networks(LAYERS), __file__)
