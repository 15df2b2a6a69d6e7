"""Draws ``05_training.svg``: generated images replace a part of what a new classifier learns.

The frames mark generated images.
"""

from __future__ import annotations

from image_weight_parts import CLASSES, SIZE, draw_bars, draw_grid
from lib.figures.style import GREY, SMALL, use_style
from parts import (
    OUTPUT,
    TARGET,
    draw_arrow,
    draw_classifier,
    draw_flow,
    draw_line,
    draw_loss,
    draw_name,
    draw_title,
    drawing_figure,
    save_svg,
)

REPLACED = (1, 5, 8)  # of these ten
EQUATION_9 = {  # by height in the drawing
    2.06: "for a generated image:",
    1.80: r"$\frac{1}{2}\,D_{KL}(p, q) + \frac{1}{2}\,L_c(p, t)$",
    1.42: "for an original image:",
    1.16: r"$\frac{1}{2}\,D_{KL}(p, t) + \frac{1}{2}\,L_c(p, t)$",
    0.78: "q: output of the frozen classifier",
    0.56: "t: the true class",
}

use_style()
figure = drawing_figure(SIZE)
(ax,) = figure.axes

draw_title(ax, 0.3, 5.05, "(a)  A trained classifier generates")
draw_grid(ax, 1.65, 4.1)
draw_name(ax, 1.65, 3.4, "training set")
ax.text(3.15, 4.1, "+", fontsize=16, ha="center", va="center")
draw_bars(ax, 4.6, 4.1, {"own class 0.9": 0.9, "random 0.1": 0.1}, TARGET)
draw_name(ax, 4.3, 3.4, "target")
draw_flow(ax, 5.15, 5.55, 4.1)
draw_classifier(ax, 6.3, 4.1, frozen=True)
draw_name(ax, 6.3, 3.4, "frozen classifier", "100 updates of each image")
draw_flow(ax, 7.0, 7.5, 4.1)
draw_grid(ax, 9.0, 4.1, framed=range(10))
draw_name(ax, 9.0, 3.4, "generated images")

draw_line(ax, (9.0, 9.0, 2.4), (3.15, 2.85, 2.85))
draw_arrow(ax, (2.4, 2.85), (2.4, 2.1), gid="replaced")
draw_arrow(ax, (0.9, 3.15), (0.9, 2.1), gid="kept")
ax.text(1.0, 2.6, "the others stay", va="center", fontsize=SMALL, color=GREY)
text = "x % are replaced by the images made of them"
ax.text(5.7, 2.8, text, ha="center", va="top", fontsize=SMALL, color=GREY)

draw_title(ax, 3.75, 2.38, "(b)  A new classifier learns from the mixture")
draw_grid(ax, 1.65, 1.5, framed=REPLACED)
draw_name(ax, 1.65, 0.8, "new training set")
draw_flow(ax, 3.1, 3.6, 1.5)
draw_classifier(ax, 4.4, 1.5, frozen=False)
draw_name(ax, 4.4, 0.8, "new classifier")
draw_flow(ax, 5.1, 5.5, 1.5)
draw_bars(ax, 6.3, 1.5, dict(zip(CLASSES, (0.5, 0.3, 0.1, 0.1), strict=True)), OUTPUT)
draw_name(ax, 6.3, 0.8, "output p")
for y, text in EQUATION_9.items():
    ax.text(7.7, y, text, va="center", fontsize=SMALL)
text = "gradient: all weights of the new classifier"
draw_loss(ax, (6.9, 7.5), 1.5, (4.4, 0.54), text)

save_svg(figure, __file__)
