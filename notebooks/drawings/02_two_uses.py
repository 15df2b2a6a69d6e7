"""Notebook 02: one network on many pairs of images, and as a prior; writes 02_two_uses.svg."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encoder_decoder_parts import draw_network, u_shape
from lib.dip.network import Architecture
from lib.figures.style import WIDE, use_style
from parts import (
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


def draw_two_uses() -> Figure:
    """The same network trained on many pairs of images, and as a prior for a single one."""
    figure = drawing_figure((WIDE, 5.6), rows=2)
    trained, prior = figure.axes
    clean = photographs("camera,astronaut,chelsea", channels=1)
    rng = np.random.default_rng(0)
    noisy = (clean + rng.normal(0, 0.14, clean.shape)).clip(0, 1)
    _draw_use(
        trained,
        "(a)  Trained: weights learnt from many pairs, then fixed",
        [("noisy patches", noisy), ("restored patches", 0.85 * clean + 0.15 * noisy)],
        ("clean patches", clean),
    )
    noise = rng.random((1, 32, 32))
    _draw_use(
        prior,
        "(b)  Deep Image Prior: no training set, weights fitted to a single image",
        [("fixed noise z", noise), ("output", 0.85 * clean[:1] + 0.15 * noisy[:1])],
        ("the one noisy image x₀", noisy[:1]),
    )
    draw_rule(prior, 2.78)
    return figure


def _draw_use(
    ax: Axes, title: str, ends: list[tuple[str, np.ndarray]], target: tuple[str, np.ndarray]
) -> None:
    """Input, network, output, compared with a target."""
    draw_title(ax, 0.3, 2.5, title)
    for x, (name, images) in zip((1.1, 6.8, 9.75), (*ends, target), strict=True):
        draw_stack(ax, x, 1.45, images)
        draw_name(ax, x, 0.65, name)
    architecture = Architecture(3, (0, 2))
    boxes = u_shape(architecture.depth)
    network = ax.inset_axes((2.8, 0.82, 2.3, 1.25), transform=ax.transData)
    network.set_xlim(boxes[0].left - 0.1, boxes[-1].right + 0.1)
    network.set_ylim(boxes[architecture.depth].bottom - 0.1, boxes[0].top + 0.1)
    draw_network(network, architecture, boxes, slc=False)
    draw_name(ax, 3.95, 0.65, "network with weights θ")
    draw_flow(ax, 1.95, 2.7, 1.45)
    draw_flow(ax, 5.2, 5.95, 1.45)
    text = "gradient: only the weights θ move"
    draw_loss(ax, (7.65, 8.9), 1.45, (3.95, 0.43), text, "error")


if __name__ == "__main__":
    use_style()
    save_svg(draw_two_uses(), __file__)
