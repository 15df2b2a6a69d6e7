"""Vector drawing of the multi-task study's networks: hard sharing and separate streams."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Circle

from lib.data.images import load_images
from lib.drawings import (
    BOTTLENECK,
    DECODER,
    ENCODER,
    FAINT,
    LABEL,
    SMALL,
    draw_arrow,
    draw_name,
    draw_padlock,
    draw_stack,
    draw_title,
    prepare,
)
from lib.drawings_continual import draw_box
from lib.style import INK

SIZE = (11.0, 4.5)  # inches: the axes' units, in which the labels fit
MOST_LAYERS = 6  # more would leave no room for the circles
SHARED = "#f3cf9b"  # of shared layers that are trained
TASK_COLOURS = (ENCODER, DECODER)
MIDDLE = 2.3  # height of the shared layers
OFFSETS = (1.1, -1.1)  # of the tasks' layers from these
HEIGHT = 0.8  # of a layer
KEY = 0.35  # height of the line that explains the signs


def draw_networks(layers: int, tasks: Sequence[str] = ("landmarks", "attributes")) -> Figure:
    """The paper's figs. 1 and 2: hard sharing, and a stream of layers for each of two tasks.

    Right: the image enters all three streams; what a shared layer gives is concatenated to what
    the task's own layer beside it gives, and that is what the task's next layer reads. Grey with a
    padlock: frozen. Raises ValueError for other than two tasks or 1 to ``MOST_LAYERS`` layers.
    """
    if not 1 <= layers <= MOST_LAYERS or len(tasks) != len(OFFSETS):
        raise ValueError(f"drawn are 2 tasks and 1 to {MOST_LAYERS} layers")
    # "none" would be the style's constrained layout again after the first saving
    figure = Figure(figsize=SIZE, layout=PlaceHolderLayoutEngine(True, True))
    ax = figure.add_axes((0, 0, 1, 1))
    prepare(ax, SIZE)
    image = _photograph()
    _draw_hard_sharing(ax, image, layers, tasks)
    ax.plot((4.25, 4.25), (0.2, 4.3), color=FAINT, linewidth=1)
    _draw_separation(ax, image, layers, tasks)
    return figure


def _photograph() -> np.ndarray:
    """A face, (1, H, W, 3)."""
    _, images = load_images("photos:astronaut", size=96, channels=3)
    return images.permute(0, 2, 3, 1).numpy()


def _draw_hard_sharing(ax: Axes, image: np.ndarray, layers: int, tasks: Sequence[str]) -> None:
    draw_title(ax, 0.2, 4.2, "(a)  Hard sharing (stage 1)")
    _draw_image(ax, 0.6, image)
    step = 1.4 / layers
    xs = 1.2 + step * (np.arange(layers) + 0.5)
    half = min(0.19, 0.25 * step)
    ends = [0.97, *(xs[:-1] + half)]
    for number, (x, start) in enumerate(zip(xs, ends, strict=True), 1):
        draw_arrow(ax, (start, MIDDLE), (x - half, MIDDLE), gid="flow")
        draw_box(ax, x, MIDDLE, 2 * half, HEIGHT, SHARED, f"shared {number}")
        ax.text(x, MIDDLE, number, ha="center", va="center", fontsize=SMALL)
    draw_name(ax, 1.9, MIDDLE - 0.5, "shared layers")
    fork = 2.68
    ax.plot((xs[-1] + half, fork), (MIDDLE, MIDDLE), color=INK, linewidth=1.2, zorder=0)
    for task, offset, colour in zip(tasks, OFFSETS, TASK_COLOURS, strict=True):
        y = MIDDLE + 0.6 * offset
        draw_arrow(ax, (fork, MIDDLE), (2.89, y), gid="fork", bend="vertical")
        _draw_head(ax, 3.0, y, task, colour)
    _draw_key(ax, 0.3, SHARED, "trained for both tasks")


def _draw_separation(ax: Axes, image: np.ndarray, layers: int, tasks: Sequence[str]) -> None:
    draw_title(ax, 4.5, 4.2, "(b)  Separation Multi-task Network (stage 2)")
    _draw_image(ax, 4.9, image)
    step = 3.5 / (layers - 0.5)
    xs = 5.9 + step * np.arange(layers)
    half = min(0.19, 0.2 * step)
    circles = xs + 0.5 * step  # before each next layer, the last one before the head
    for number, x in enumerate(xs, 1):
        draw_box(ax, x, MIDDLE, 2 * half, HEIGHT, BOTTLENECK, f"frozen {number}")
        ax.text(x, MIDDLE + 0.15, number, ha="center", va="center", fontsize=SMALL)
        draw_padlock(ax, x, MIDDLE - 0.15, 0.6)
    draw_arrow(ax, (5.27, MIDDLE), (xs[0] - half, MIDDLE), gid="flow")
    for before, after in pairwise(xs):
        draw_arrow(ax, (before + half, MIDDLE), (after - half, MIDDLE), gid="flow")
    ax.plot((xs[-1] + half, circles[-1]), (MIDDLE, MIDDLE), color=INK, linewidth=1.2, zorder=0)
    for task, offset, colour in zip(tasks, OFFSETS, TASK_COLOURS, strict=True):
        _draw_stream(ax, xs, circles, half, offset, (task, colour))
    _draw_key(ax, 4.6, BOTTLENECK, "shared, frozen after stage 1", locked=True)
    draw_box(ax, 7.2, KEY, 0.2, 0.2, TASK_COLOURS[0])
    _draw_key(ax, 7.3, TASK_COLOURS[1], "trained for its task")
    _draw_circle(ax, 9.45, KEY)
    ax.text(9.61, KEY, "concatenation", va="center", fontsize=SMALL)


def _draw_stream(
    ax: Axes,
    xs: np.ndarray,
    circles: np.ndarray,
    half: float,
    offset: float,
    task: tuple[str, str],
) -> None:
    """A task's own layers at xs, each followed by a circle that the shared layer feeds too."""
    y, (name, colour) = MIDDLE + offset, task
    draw_arrow(ax, (5.55, MIDDLE), (xs[0] - half, y), gid="image", bend="vertical")
    for number, (x, circle) in enumerate(zip(xs, circles, strict=True), 1):
        draw_box(ax, x, y, 2 * half, HEIGHT, colour, f"{name} {number}")
        ax.text(x, y, number, ha="center", va="center", fontsize=SMALL)
        draw_arrow(ax, (x + half, y), (circle - 0.07, y), gid="flow")
        up = np.sign(offset)
        draw_arrow(ax, (circle, MIDDLE), (circle, y - 0.08 * up), gid=f"shared to {name}")
        _draw_circle(ax, circle, y)
        following = xs[number] - half if number < len(xs) else 9.62
        draw_arrow(ax, (circle + 0.07, y), (following, y), gid="flow")
    _draw_head(ax, 9.73, y, name, colour)


def _draw_circle(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(Circle((x, y), 0.09, facecolor="white", edgecolor=INK, zorder=3, gid="concat"))
    for side in (-0.025, 0.025):  # ‖, which not every font has
        ax.plot((x + side, x + side), (y - 0.045, y + 0.045), color=INK, linewidth=1, zorder=4)


def _draw_image(ax: Axes, x: float, image: np.ndarray) -> None:
    draw_stack(ax, x, MIDDLE, image, side=0.7)
    draw_name(ax, x, MIDDLE - 0.42, "image")


def _draw_head(ax: Axes, x: float, y: float, task: str, colour: str) -> None:
    """A task's last layer and, to its right, what comes out."""
    draw_box(ax, x, y, 0.22, 0.5, colour, f"head {task}")
    draw_name(ax, x, y - 0.29, "head")
    draw_arrow(ax, (x + 0.11, y), (x + 0.36, y), gid="output")
    ax.text(x + 0.38, y, task, va="center", fontsize=LABEL)


def _draw_key(ax: Axes, x: float, colour: str, text: str, locked: bool = False) -> None:
    draw_box(ax, x + 0.1, KEY, 0.2, 0.2, colour)
    if locked:
        draw_padlock(ax, x + 0.34, KEY + 0.02, 0.6)
    ax.text(x + (0.5 if locked else 0.28), KEY, text, va="center", fontsize=SMALL)
