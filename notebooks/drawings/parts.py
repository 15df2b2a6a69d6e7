"""What all drawings of networks are made of: boxes, arrows, padlocks, pictures and names.

A colour has one meaning: pale blue and green are encoders and decoders that are trained, grey with
a padlock is frozen, a strong colour is one task's own, ``HIGHLIGHT`` is the loss and its gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Arc, FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike

from lib.data.images import load_images
from lib.figures.style import FAINT, GREY, INK, LABEL, PALETTE, SMALL, TINY, TITLE

ENCODER, DECODER, FROZEN = "#9cc3e0", "#9bd3bd", "#c9ced6"
HIGHLIGHT = PALETTE[3]
TASKS = [PALETTE[i] for i in (0, 1, 2, 4, 9)]
OUTPUT, TARGET = PALETTE[0], PALETTE[2]  # distributions
OUTLINE, LINE = 0.9, 1.2  # points


def drawing_figure(size: tuple[float, float], rows: int = 1) -> Figure:
    """A figure that empty axes fill, below each other; a unit of them is an inch."""
    # "none" would be the style's constrained layout again after the first saving
    figure = Figure(figsize=size, layout=PlaceHolderLayoutEngine(True, True))
    for row in reversed(range(rows)):
        prepare(figure.add_axes((0, row / rows, 1, 1 / rows)), (size[0], size[1] / rows))
    return figure


def prepare(ax: Axes, size: tuple[float, float]) -> None:
    """Empty axes of so many units, without distortion; at this size in inches a unit is one."""
    ax.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="equal")
    ax.axis("off")


def draw_box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    gid: str = "",
    text: str = "",
) -> None:
    """A filled rectangle around (x, y) with a text in it; gid as in ``draw_arrow``."""
    corner, style = (
        (x - width / 2, y - height / 2),
        {"edgecolor": INK, "linewidth": OUTLINE},
    )
    ax.add_patch(Rectangle(corner, width, height, facecolor=colour, gid=gid, **style))
    ink = "white" if np.dot((0.3, 0.6, 0.1), to_rgb(colour)) < 0.4 else INK
    ax.text(x, y, text, ha="center", va="center", fontsize=TINY, color=ink)


def draw_line(ax: Axes, xs: ArrayLike, ys: ArrayLike, colour: str = INK, **style: object) -> None:
    """A line through some points, behind the boxes."""
    ax.plot(xs, ys, **{"color": colour, "linewidth": LINE, "zorder": 0} | style)


def draw_rule(ax: Axes, y: float) -> None:
    """Between the parts of a drawing."""
    draw_line(ax, (0.3, ax.get_xlim()[1] - 0.3), (y, y), FAINT)


def draw_arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    gid: str,
    bend: str = "",
    color: str = INK,
    linewidth: float = LINE,
) -> None:
    """An arrow in the axes' units.

    gid: what it stands for, kept in the svg. bend: straight, or one corner, going first down
        (``vertical``) or sideways (``level``).
    """
    bends = {
        "vertical": "angle,angleA=-90,angleB=180",
        "level": "angle,angleA=0,angleB=90",
    }
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
    )
    arrow.set_gid(gid)
    ax.add_patch(arrow)


def draw_flow(ax: Axes, start: float, end: float, y: float) -> None:
    """A level arrow: what comes out on the left goes in on the right."""
    draw_arrow(ax, (start, y), (end, y), gid="flow")


def draw_loss(
    ax: Axes,
    ends: tuple[float, float],
    y: float,
    learner: tuple[float, float],
    text: str,
    name: str = "loss",
) -> None:
    """An arrow from output to target, and dashed, with a text, the gradient back to what learns."""
    style, middle, low = {"color": HIGHLIGHT}, sum(ends) / 2, learner[1] - 0.22
    draw_arrow(ax, (ends[0], y), (ends[1], y), gid="compare", **style)
    ax.text(middle, y + 0.07, name, ha="center", va="bottom", fontsize=LABEL, **style)
    draw_line(
        ax,
        (middle, middle, learner[0]),
        (y - 0.05, low, low),
        HIGHLIGHT,
        linestyle="--",
    )
    draw_arrow(ax, (learner[0], low), learner, gid="feedback", **style)
    x = (middle + learner[0]) / 2
    ax.text(x, low - 0.05, text, ha="center", va="top", fontsize=SMALL, **style)


def draw_padlock(ax: Axes, x: float, y: float) -> None:
    """Something is not trained; y is where the shackle enters the body."""
    ax.add_patch(Arc((x, y), 0.11, 0.17, theta1=0, theta2=180, color=INK, linewidth=LINE))
    ax.add_patch(Rectangle((x - 0.09, y - 0.12), 0.18, 0.13, color=INK))


def draw_key(
    ax: Axes,
    x: float,
    y: float,
    colours: Sequence[str],
    text: str,
    locked: bool = False,
) -> None:
    """What colours mean, from x to the right."""
    for index, colour in enumerate(colours):
        draw_box(ax, x + 0.1 + 0.2 * index, y, 0.2, 0.2, colour)
    x += 0.2 * len(colours)
    if locked:
        draw_padlock(ax, x + 0.15, y + 0.02)
        x += 0.24
    ax.text(x + 0.08, y, text, va="center", fontsize=SMALL)


def draw_title(ax: Axes, x: float, y: float, text: str) -> None:
    """Bold, from x to the right."""
    ax.text(x, y, text, fontsize=TITLE, weight="bold", va="center")


def draw_name(ax: Axes, x: float, y: float, name: str, more: str = "") -> None:
    """Below (x, y), a second line in grey."""
    ax.text(x, y, name, ha="center", va="top", fontsize=LABEL)
    if more:
        ax.text(x, y - 0.23, more, ha="center", va="top", fontsize=SMALL, color=GREY)


def draw_lines(ax: Axes, x: float, y: float, texts: Iterable[str], colour: str = INK) -> None:
    """A remark of several lines, the first one at (x, y)."""
    for line, text in enumerate(texts):
        ax.text(x, y - 0.27 * line, text, va="center", fontsize=SMALL, color=colour)


def draw_classifier(ax: Axes, x: float, y: float, *, frozen: bool) -> None:
    """Feature maps that get smaller, centred on (x, y); with a padlock where nothing is trained."""
    for index, height in enumerate((1.2, 0.95, 0.7, 0.45)):
        place = (x + 0.32 * (index - 1.5), y, 0.24, height)
        draw_box(ax, *place, FROZEN if frozen else ENCODER)
    if frozen:
        draw_padlock(ax, x + 0.48, y + 0.42)


def draw_share(ax: Axes, x: float, y: float, share: float, colour: str, length: float) -> None:
    """A bar to the right of x as a part of its length, which is faint."""
    for width, face, gid in ((1, FAINT, "whole"), (share, colour, "share")):
        bar = {"facecolor": face, "linewidth": 0, "gid": gid}
        ax.add_patch(Rectangle((x, y - 0.085), length * width, 0.17, **bar))


def draw_stack(ax: Axes, x: float, y: float, images: np.ndarray, side: float = 1.25) -> None:
    """Images on top of each other, the first in front, centred on (x, y)."""
    for index, image in enumerate(images):
        shift = 0.12 * (index - (len(images) - 1) / 2)
        left, bottom = x + shift - side / 2, y + shift - side / 2
        extent, order = (left, left + side, bottom, bottom + side), 3 - 0.1 * index
        ax.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=1, zorder=order)
        frame = {
            "fill": False,
            "edgecolor": INK,
            "linewidth": OUTLINE,
            "zorder": order + 0.05,
        }
        ax.add_patch(Rectangle((left, bottom), side, side, **frame))


def photographs(names: str, channels: int = 3) -> np.ndarray:
    """Small photographs by their names, (N, H, W, 3) or, of one channel, (N, H, W), in [0, 1]."""
    _, images = load_images(f"photos:{names}", size=96, channels=channels)
    return images.permute(0, 2, 3, 1).numpy().squeeze(-1 if channels == 1 else ()) / 255


def save_svg(figure: Figure, script: str) -> None:
    """Write the drawing beside its script, ``unet.py`` -> ``unet.svg``, the same bytes every time.

    script: ``__file__`` of the script. Texts become paths, so that no font is needed to see them.
    """
    path = Path(script).with_suffix(".svg")
    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    print(path.name)
