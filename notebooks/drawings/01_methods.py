"""Draws 01_methods.svg: what each way of learning one more task freezes, trains and stores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Patch, Polygon, Rectangle

from lib.continual.masks import INITIAL, THRESHOLD
from lib.continual.networks import BLOCKS, Generator, UNet
from lib.figures.style import FAINT, GREY, INK, LABEL, SMALL, WIDE, use_style
from lib.networks.sizes import count_weights, mib
from parts import (
    FROZEN,
    OUTLINE,
    TASKS,
    draw_arrow,
    draw_box,
    draw_flow,
    draw_key,
    draw_loss,
    draw_name,
    draw_padlock,
    draw_rule,
    draw_title,
    drawing_figure,
    save_svg,
)

SIZE = (WIDE, 8.0)  # inches: axes in which the labels fit
OWN, KEPT, MASKED, ABSENT = "own", "frozen", "masked", "absent"
_ALL, _SWAP = (OWN, ABSENT, OWN, OWN), (KEPT, OWN, KEPT, ABSENT)
METHODS = {  # encoder, blocks, decoder and last layer: in the first task, and in later ones
    "scratch": ("a new network for each task", _ALL, _ALL),
    "fine-tune": ("starts from the weights of the task before", _ALL, _ALL),
    "decoder": ("the encoder of task 1, a new decoder", _ALL, (KEPT, ABSENT, OWN, OWN)),
    "Piggyback": ("a choice among the weights of task 1", _ALL, (MASKED, ABSENT, MASKED, OWN)),
    "Resblock": ("new blocks in one frozen auto-encoder", _SWAP, _SWAP),
    "Resblock + Piggyback": (
        "a choice among the weights of task 1's blocks",
        _SWAP,
        (KEPT, MASKED, KEPT, ABSENT),
    ),
}
REAL = np.array([[12, 3, 9, 4], [1, 11, 7, 2], [8, 4, 2, 10]]) / 1000  # an example of r
WEIGHT = np.array([[3, -1, -4, 2], [5, 1, -2, 6], [-3, 4, 2, -1]]) / 10  # and of W
CELL = 0.06  # of a mask on a network; 6 x 6 on the residual blocks
CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


def draw_methods(ax: Axes) -> None:
    """The paper's fig. 1 and both methods combined, three tasks each; below, the mask step.

    Grey with a padlock: frozen; in a task's colour: trained for it. MiB: what a task adds, float32
    weights of convolutions and bits of masks, without last layers. A unit of the axes is an inch
    of ``SIZE``.
    """
    _legend(ax, 7.7)
    counts = _counts()
    for index, (name, (note, first, later)) in enumerate(METHODS.items()):
        x, y = 0.3 + 3.6 * (index % 3), 7.2 - 2.4 * (index // 3)
        draw_title(ax, x, y, name)
        ax.text(x, y - 0.27, note, va="center", fontsize=SMALL, color=GREY)
        for task, states in enumerate((first, later, later)):
            centre = x + 0.45 + 1.14 * task
            _network(ax, centre, y - 1.05, states, TASKS[task], f"{name} {task + 1}:")
            draw_name(ax, centre, y - 1.6, _stored(states, counts), f"task {task + 1}")
            if name == "fine-tune" and task:
                draw_arrow(ax, (centre - 0.67, y - 1.05), (centre - 0.4, y - 1.05), gid="next")
    draw_rule(ax, 2.6)
    _mask_step(ax, 1.3)


def _counts() -> tuple[int, int, int]:
    """Weights of the U-Net's encoder, of a task's residual blocks, of the U-Net's decoder."""
    with torch.device("meta"):
        unet, blocks = UNet(), Generator().add_task("any")
    return count_weights(unet.encoder), count_weights(blocks), count_weights(unet.decoder)


def _stored(states: Iterable[str], counts: tuple[int, int, int]) -> str:
    """What a task adds: 32 bits for each weight of its own, 1 for a masked one."""
    bits = {OWN: 32, MASKED: 1}
    size = sum(mib(n, bits.get(state, 0)) for state, n in zip(states, counts, strict=False))
    return f"{size:.1f} MiB" if size >= 10 else f"{size:.2f} MiB"


def _legend(ax: Axes, y: float) -> None:
    draw_key(ax, 0.3, y, TASKS[:3], "trained for task 1, 2, 3")
    draw_key(ax, 2.85, y, [FROZEN], "frozen", locked=True)
    draw_key(ax, 4.25, y, [FROZEN, TASKS[1]], "frozen, weights masked", locked=True)
    draw_box(ax, 7.0, y, 0.07, 0.2, TASKS[1])
    ax.text(7.12, y, "own last layer", va="center", fontsize=SMALL)
    ax.text(8.6, y, "MiB: what the task adds", va="center", fontsize=SMALL)


def _network(ax: Axes, x: float, y: float, states: tuple[str, ...], colour: str, gid: str) -> None:
    """Encoder, residual blocks, decoder and last layer, about (x, y)."""
    encoder, blocks, decoder, last = states
    half = 0.02 if blocks == ABSENT else 0.21
    for side, name, state in ((-1, "encoder", encoder), (1, "decoder", decoder)):
        ends = ((half, 0.2), (half + 0.3, 0.45), (half + 0.3, -0.45), (half, -0.2))
        shape = Polygon([(x + side * across, y + up) for across, up in ends])
        _part(ax, shape, state, colour, f"{gid} {name}")
        if state != OWN:
            draw_padlock(ax, x + side * (half + 0.09), y + 0.52)
    for index in range(BLOCKS if blocks != ABSENT else 0):
        corner = (x + CELL * (index - BLOCKS / 2), y - 3 * CELL)
        _part(ax, Rectangle(corner, CELL, 6 * CELL), blocks, colour, f"{gid} blocks")
    if blocks == MASKED:
        draw_padlock(ax, x, y + 0.35)
    if last != ABSENT:
        draw_box(ax, x + half + 0.37, y, 0.07, 0.9, colour, f"{gid} last {last}")


def _part(ax: Axes, shape: Patch, state: str, colour: str, gid: str) -> None:
    """In the colour of its state; on a masked part, half of the cells have the task's colour."""
    face = colour if state == OWN else FROZEN
    shape.set(facecolor=face, edgecolor=INK, linewidth=OUTLINE, gid=f"{gid} {state}")
    ax.add_patch(shape)
    if state != MASKED:
        return
    outline = shape.get_patch_transform().transform_path(shape.get_path())
    corners = np.asarray(outline.vertices)
    low, high = corners.min(0), corners.max(0)
    columns, rows = ((high - low) / CELL + 1e-6).astype(int)
    rng, cells = np.random.default_rng(int(100 * low.sum())), []
    for cell in np.argwhere(rng.random((columns, rows)) < 0.5):
        corners = low + CELL * (cell + CORNERS)
        middle = corners.mean(0)
        if outline.contains_points(middle + 0.98 * (corners - middle)).all():
            cells.append(Polygon(corners))
    ax.add_collection(PatchCollection(cells, facecolor=colour, linewidth=0, zorder=1.5))


def _mask_step(ax: Axes, y: float) -> None:
    """One layer: r makes m, which selects among W; the gradient goes to r."""
    draw_title(ax, 0.3, y + 1.0, f"The mask step:  weight ⊙ [r > {THRESHOLD:g}]")
    on = REAL > THRESHOLD
    chosen = [_signed(w) if bit else "0" for w, bit in zip(WEIGHT.flat, on.flat, strict=True)]
    _matrix(ax, 1.1, y, [f"{r:.3f}"[1:] for r in REAL.flat], [FAINT] * on.size)
    _matrix(ax, 3.65, y, [f"{bit:d}" for bit in on.flat], np.where(on, TASKS[1], "white").flat)
    _matrix(ax, 5.75, y, [_signed(w) for w in WEIGHT.flat], [FROZEN] * on.size)
    _matrix(ax, 7.85, y, chosen, np.where(on, FROZEN, "white").flat)
    draw_padlock(ax, 5.75, y + 0.58)
    draw_flow(ax, 1.9, 2.85, y)
    ax.text(2.37, y + 0.06, f"> {THRESHOLD:g}", ha="center", va="bottom", fontsize=LABEL)
    for x, sign in ((4.7, "⊙"), (6.8, "=")):
        ax.text(x, y, sign, ha="center", va="center", fontsize=15)
    names = {
        1.1: ("real mask r", f"trained, from {INITIAL:g}"),
        3.65: (f"m = [r > {THRESHOLD:g}]", "stored: 1 bit a weight"),
        5.75: ("weight W", "frozen"),
        7.85: ("W ⊙ m", "what the layer computes with"),
    }
    for x, (name, more) in names.items():
        draw_name(ax, x, y - 0.48, name, more)
    draw_flow(ax, 8.6, 8.88, y)
    for x, name in ((9.2, "output"), (10.38, "target")):
        draw_box(ax, x, y, 0.6, 0.5, FAINT, gid=name, text=name)
    text = "gradient as if there were no threshold:  ∂L/∂r = ∂L/∂(W ⊙ m) ⊙ W"
    draw_loss(ax, (9.52, 10.06), y, (1.1, y - 0.89), text)


def _matrix(ax: Axes, x: float, y: float, texts: Iterable[str], colours: Iterable[str]) -> None:
    """Three rows of four cells around (x, y)."""
    for index, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        centre = (x + 0.36 * (index % 4 - 1.5), y + 0.27 * (1 - index // 4))
        draw_box(ax, *centre, 0.36, 0.27, str(colour), text=text)


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


if __name__ == "__main__":
    use_style()
    drawing = drawing_figure(SIZE)
    draw_methods(drawing.axes[0])
    save_svg(drawing, __file__)
