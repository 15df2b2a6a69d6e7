"""Vector drawings of the image-weight layer and of training with the images it generates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from lib.figures.network_drawings import (
    OUTLINE,
    OUTPUT,
    TARGET,
    draw_arrow,
    draw_classifier,
    draw_flow,
    draw_line,
    draw_loss,
    draw_name,
    draw_rule,
    draw_share,
    draw_stack,
    draw_title,
    photographs,
    prepare,
)
from lib.figures.style import DISTINCT, GREY, INK, LABEL, PALETTE, SMALL, TINY, WIDE

if TYPE_CHECKING:
    from lib.image_weights.layer import Recipe

SIZE = (WIDE, 5.3)  # inches: axes in which the labels fit
PHOTOS = "chelsea,astronaut,coffee,rocket,camera,motorcycle_left,retina,coins,moon,brick"
REPLACED = (1, 5, 8)  # of these ten
CLASSES = ("cat", "dog", "frog", "ship")
EQUATION_9 = {  # by height in the drawing
    2.06: "for a generated image:",
    1.80: r"$\frac{1}{2}\,D_{KL}(p, q) + \frac{1}{2}\,L_c(p, t)$",
    1.42: "for an original image:",
    1.16: r"$\frac{1}{2}\,D_{KL}(p, t) + \frac{1}{2}\,L_c(p, t)$",
    0.78: "q: output of the frozen classifier",
    0.56: "t: the true class",
}


def draw_image_weight_layer(ax: Axes) -> None:
    """The paper's fig. 2: an image becomes weights, and a frozen classifier's loss moves them.

    A unit of the axes is an inch of ``SIZE``.
    """
    prepare(ax, SIZE)
    image = photographs(PHOTOS)[:1]
    draw_title(ax, 0.3, 5.05, "(a)  The image becomes the weights of a layer")
    draw_stack(ax, 1.2, 4.05, image)
    draw_name(ax, 1.2, 3.35, "image x", "c·h·w pixels in [0, 1]")
    _curve(ax, 4.1, 4.05, np.tan, 1.45)
    draw_name(ax, 4.1, 3.35, "x′ = tan(π (x − ½))", "onto the whole real line")
    _layer(ax, 7.0, 4.05, image[0])
    draw_name(ax, 7.0, 3.35, "image-weight layer", "fully connected, 1 input, c·h·w outputs")
    draw_flow(ax, 2.05, 3.25, 4.05)
    draw_flow(ax, 4.95, 6.0, 4.05)
    for line, text in enumerate(("y = W · 1 + b", "weights W = x′", "input 1, bias b = 0")):
        ax.text(8.35, 4.4 - 0.35 * line, text, va="center", fontsize=LABEL)
    draw_rule(ax, 2.8)

    draw_title(ax, 0.3, 2.5, "(b)  Forward to the loss, backward to the weights")
    _layer(ax, 1.1, 1.5, image[0])
    _curve(ax, 3.0, 1.5, np.arctan, 7)
    draw_stack(ax, 4.85, 1.5, image)
    draw_classifier(ax, 6.65, 1.5, frozen=True)
    _bars(ax, 8.5, 1.5, dict(zip(CLASSES, (0.9, 0.05, 0.03, 0.02), strict=True)), OUTPUT)
    _bars(ax, 10.2, 1.5, dict(zip(CLASSES, (0.6, 0.4, 0, 0), strict=True)), TARGET)
    names = ("weights W", "arctan(y) / π + ½", "image z", "frozen classifier", "output", "target")
    for x, name in zip((1.1, 3.0, 4.85, 6.65, 8.5, 10.2), names, strict=True):
        draw_name(ax, x, 0.8, name)
    for start, end in ((1.9, 2.25), (3.75, 4.1), (5.6, 5.9), (7.35, 7.7)):
        draw_flow(ax, start, end, 1.5)
    text = "gradient: through the classifier, to the weights W alone, until the loss is small"
    draw_loss(ax, (9.1, 9.5), 1.5, (1.1, 0.54), text)


def draw_training_with_generated(ax: Axes) -> None:
    """The paper's fig. 6: generated images replace a part of the set that a new classifier learns.

    The frames mark generated images. A unit of the axes is an inch of ``SIZE``.
    """
    prepare(ax, SIZE)
    draw_title(ax, 0.3, 5.05, "(a)  A trained classifier generates")
    _grid(ax, 1.65, 4.1)
    draw_name(ax, 1.65, 3.4, "training set")
    ax.text(3.15, 4.1, "+", fontsize=16, ha="center", va="center")
    _bars(ax, 4.6, 4.1, {"own class 0.9": 0.9, "random 0.1": 0.1}, TARGET)
    draw_name(ax, 4.3, 3.4, "target")
    draw_flow(ax, 5.15, 5.55, 4.1)
    draw_classifier(ax, 6.3, 4.1, frozen=True)
    draw_name(ax, 6.3, 3.4, "frozen classifier", "100 updates of each image")
    draw_flow(ax, 7.0, 7.5, 4.1)
    _grid(ax, 9.0, 4.1, framed=range(10))
    draw_name(ax, 9.0, 3.4, "generated images")

    draw_line(ax, (9.0, 9.0, 2.4), (3.15, 2.85, 2.85))
    draw_arrow(ax, (2.4, 2.85), (2.4, 2.1), gid="replaced")
    draw_arrow(ax, (0.9, 3.15), (0.9, 2.1), gid="kept")
    ax.text(1.0, 2.6, "the others stay", va="center", fontsize=SMALL, color=GREY)
    text = "x % are replaced by the images made of them"
    ax.text(5.7, 2.8, text, ha="center", va="top", fontsize=SMALL, color=GREY)

    draw_title(ax, 3.75, 2.38, "(b)  A new classifier learns from the mixture")
    _grid(ax, 1.65, 1.5, framed=REPLACED)
    draw_name(ax, 1.65, 0.8, "new training set")
    draw_flow(ax, 3.1, 3.6, 1.5)
    draw_classifier(ax, 4.4, 1.5, frozen=False)
    draw_name(ax, 4.4, 0.8, "new classifier")
    draw_flow(ax, 5.1, 5.5, 1.5)
    _bars(ax, 6.3, 1.5, dict(zip(CLASSES, (0.5, 0.3, 0.1, 0.1), strict=True)), OUTPUT)
    draw_name(ax, 6.3, 0.8, "output p")
    for y, text in EQUATION_9.items():
        ax.text(7.7, y, text, va="center", fontsize=SMALL)
    text = "gradient: all weights of the new classifier"
    draw_loss(ax, (6.9, 7.5), 1.5, (4.4, 0.54), text)


def looks_of_recipes(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Lines of recipes: a colour for the updates; dashed: low-pass, dash-dotted: Fourier basis."""
    colours: dict[Recipe, str] = {}
    found = {}
    for name, recipe in recipes.items():
        updates = replace(recipe, low_pass=None, basis="pixel")
        colour = colours.setdefault(updates, DISTINCT[len(colours) % len(DISTINCT)])
        line, marker = ("-", "o")
        if recipe.low_pass is not None:
            line, marker = ("--", "s")
        elif recipe.basis == "fourier":
            line, marker = ("-.", "D")
        found[name] = {"color": colour, "linestyle": line, "marker": marker}
    return found


def _curve(ax: Axes, x: float, y: float, function: Callable, reach: float) -> None:
    """The graph of a function from -reach to reach, centred on (x, y), with its axes."""
    at = np.linspace(-reach, reach, 101)
    half = 0.55
    for across, up in (((x - half, x + half), (y, y)), ((x, x), (y - half, y + half))):
        draw_line(ax, across, up, GREY)
    ax.plot(x + half * at / reach, y + half * function(at) / function(reach), color=PALETTE[0])


def _layer(ax: Axes, x: float, y: float, image: np.ndarray) -> None:
    """One input fanned out to some outputs, coloured as pixels across the middle of the image."""
    colours = image[len(image) // 2, 6::12]
    outline = {"edgecolor": INK, "linewidth": OUTLINE}
    for height, colour in zip(np.linspace(0.55, -0.55, len(colours)), colours, strict=True):
        draw_line(ax, (x - 0.6, x + 0.6), (y, y + height), GREY)
        ax.add_patch(Circle((x + 0.6, y + height), 0.07, facecolor=colour, **outline))
    ax.add_patch(Circle((x - 0.6, y), 0.14, facecolor="white", **outline))
    ax.text(x - 0.6, y, "1", ha="center", va="center", fontsize=SMALL)


def _bars(ax: Axes, x: float, y: float, values: dict[str, float], colour: str) -> None:
    """A distribution as bars around height y that begin at x - 0.25 and go as far as x + 0.45."""
    step = min(0.27, 1.1 / len(values))
    for index, (name, value) in enumerate(values.items()):
        middle = y + step * ((len(values) - 1) / 2 - index)
        ax.text(x - 0.3, middle, name, ha="right", va="center", fontsize=TINY)
        draw_share(ax, x - 0.25, middle, value, colour, 0.7)


def _grid(ax: Axes, x: float, y: float, framed: Iterable[int] = ()) -> None:
    """Ten photographs in two rows, centred on (x, y); ``framed`` are the generated ones."""
    for index, image in enumerate(photographs(PHOTOS)):
        column, row = index % 5 - 2, 0.5 - index // 5
        centre = (x + 0.54 * column, y + 0.54 * row)
        draw_stack(ax, *centre, image[None], side=0.46)
        if index in framed:
            corner = (centre[0] - 0.23, centre[1] - 0.23)
            style = {"edgecolor": PALETTE[1], "linewidth": 3, "zorder": 4}
            ax.add_patch(Rectangle(corner, 0.46, 0.46, fill=False, **style))
