"""Draws ``05_layer.svg``: an image becomes weights, and a frozen classifier's loss moves them."""

from __future__ import annotations

import numpy as np

from image_weight_parts import CLASSES, PHOTOS, SIZE, draw_bars, draw_curve, draw_layer
from lib.figures.style import LABEL, use_style
from parts import (
    OUTPUT,
    TARGET,
    draw_classifier,
    draw_flow,
    draw_loss,
    draw_name,
    draw_rule,
    draw_stack,
    draw_title,
    drawing_figure,
    photographs,
    save_svg,
)

use_style()
figure = drawing_figure(SIZE)
(ax,) = figure.axes
image = photographs(PHOTOS)[:1]

draw_title(ax, 0.3, 5.05, "(a)  The image becomes the weights of a layer")
draw_stack(ax, 1.2, 4.05, image)
draw_name(ax, 1.2, 3.35, "image x", "c·h·w pixels in [0, 1]")
draw_curve(ax, 4.1, 4.05, np.tan, 1.45)
draw_name(ax, 4.1, 3.35, "x′ = tan(π (x − ½))", "onto the whole real line")
draw_layer(ax, 7.0, 4.05, image[0])
draw_name(ax, 7.0, 3.35, "image-weight layer", "fully connected, 1 input, c·h·w outputs")
draw_flow(ax, 2.05, 3.25, 4.05)
draw_flow(ax, 4.95, 6.0, 4.05)
for line, text in enumerate(("y = W · 1 + b", "weights W = x′", "input 1, bias b = 0")):
    ax.text(8.35, 4.4 - 0.35 * line, text, va="center", fontsize=LABEL)
draw_rule(ax, 2.8)

draw_title(ax, 0.3, 2.5, "(b)  Forward to the loss, backward to the weights")
draw_layer(ax, 1.1, 1.5, image[0])
draw_curve(ax, 3.0, 1.5, np.arctan, 7)
draw_stack(ax, 4.85, 1.5, image)
draw_classifier(ax, 6.65, 1.5, frozen=True)
draw_bars(ax, 8.5, 1.5, dict(zip(CLASSES, (0.9, 0.05, 0.03, 0.02), strict=True)), OUTPUT)
draw_bars(ax, 10.2, 1.5, dict(zip(CLASSES, (0.6, 0.4, 0, 0), strict=True)), TARGET)
names = ("weights W", "arctan(y) / π + ½", "image z", "frozen classifier", "output", "target")
for x, name in zip((1.1, 3.0, 4.85, 6.65, 8.5, 10.2), names, strict=True):
    draw_name(ax, x, 0.8, name)
for start, end in ((1.9, 2.25), (3.75, 4.1), (5.6, 5.9), (7.35, 7.7)):
    draw_flow(ax, start, end, 1.5)
text = "gradient: through the classifier, to the weights W alone, until the loss is small"
draw_loss(ax, (9.1, 9.5), 1.5, (1.1, 0.54), text)

save_svg(figure, __file__)
