"""Draws 01_methods.svg: what each way of learning one more task freezes, trains and stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Patch, Polygon, Rectangle

from lib.continual.audit import audit, sizes
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
    draw_line,
    draw_lines,
    draw_loss,
    draw_name,
    draw_padlock,
    draw_rule,
    draw_title,
    drawing_figure,
    save_svg,
)

SIZE = (WIDE, 9.9)  # inches: axes in which the labels fit
# Of a part of a network. Tuned: trained in the place of what the task before left there; held: and
# weights that matter to earlier tasks hardly move.
OWN, TUNED, HELD, KEPT, MASKED, ABSENT = "own", "tuned", "held", "frozen", "masked", "absent"
PALE = 0.25  # opacity of what is overwritten


class Method(NamedTuple):
    """States of encoder, blocks, decoder and last layer, in the first task and in later ones.

    from_first: later tasks start from the first one's weights.
    """

    note: str
    first: tuple[str, ...]
    later: tuple[str, ...]
    from_first: bool = False
    tasks: tuple[int, ...] = (1, 2, 3)


_ALL, _SWAP = (OWN, ABSENT, OWN, OWN), (KEPT, OWN, KEPT, ABSENT)
METHODS = {
    "scratch": Method("a network for each task, from random weights", _ALL, _ALL),
    "fine-tune": Method(
        "one network, trained on: the last task is in it", _ALL, (TUNED, ABSENT, TUNED, OWN)
    ),
    "EWC": Method(
        "fine-tune, important weights held where they were", _ALL, (HELD, ABSENT, HELD, OWN)
    ),
    "decoder": Method(
        "a decoder for each task, which starts as task 1's", _ALL, (KEPT, ABSENT, OWN, OWN), True
    ),
    "Piggyback": Method(
        "a choice among the weights of task 1", _ALL, (MASKED, ABSENT, MASKED, OWN), True
    ),
    "Resblock": Method("new blocks in one frozen auto-encoder", _SWAP, _SWAP),
    "Resblock + Piggyback": Method(
        "task 3's blocks frozen, a choice among their weights",
        _SWAP,
        (KEPT, MASKED, KEPT, ABSENT),
        True,
        (3, 4),
    ),
}
COLUMNS, ROWS = (0.3, 3.9, 7.5), (9.6, 7.25, 4.9)  # where methods begin
PLACES = dict(zip(METHODS, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (1, 2)], strict=True))
REAL = np.array([[12, 3, 9, 4], [1, 11, 7, 2], [8, 4, 2, 10]]) / 1000  # an example of r
WEIGHT = np.array([[3, -1, -4, 2], [5, 1, -2, 6], [-3, 4, 2, -1]]) / 10  # and of W
CELL = 0.06  # of a mask on a network; 6 x 6 on the residual blocks
CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


def draw_methods(ax: Axes) -> None:
    """The paper's fig. 1, EWC, and both methods combined; below, the mask step.

    Grey with a padlock: frozen; in a task's colour: trained for it. MiB: float32 weights of
    convolutions and bits of masks, without last layers. A unit of the axes is an inch of ``SIZE``.
    """
    counts = _counts()
    for name, method in METHODS.items():
        column, row = PLACES[name]
        x, y = COLUMNS[column], ROWS[row]
        draw_title(ax, x, y, name)
        ax.text(x, y - 0.27, method.note, va="center", fontsize=SMALL, color=GREY)
        _tasks(ax, x + 0.45, y - 1.2, name, method, counts)
    _legend(ax, COLUMNS[2], ROWS[1])
    _store(ax, COLUMNS[2], ROWS[2])
    draw_rule(ax, 2.55)
    _mask_step(ax, 1.3)


def _tasks(
    ax: Axes, x: float, y: float, name: str, method: Method, counts: tuple[int, int, int]
) -> None:
    """A method's network after each task, the first one about (x, y)."""
    places = [x + 1.14 * index for index in range(len(method.tasks))]
    overwrites = {TUNED, HELD} & {*method.later}
    for index, (task, centre) in enumerate(zip(method.tasks, places, strict=True)):
        states = method.later if index else method.first
        opacity = PALE if overwrites and task != method.tasks[-1] else 1.0
        colours = [TASKS[task - 1] for task in method.tasks[: index + 1]]
        _network(ax, centre, y, states, colours, f"{name} {task}:", opacity)
        draw_name(ax, centre, y - 0.55, _stored(states, counts, index), f"task {task}")
        if overwrites and index:
            draw_arrow(ax, (centre - 0.67, y), (centre - 0.4, y), gid="start")
        elif method.from_first and index:
            _start(ax, x, centre, y, 0.27 if states[1] == ABSENT else 0.5)


def _start(ax: Axes, source: float, target: float, y: float, low: float) -> None:
    """An arrow over the networks: the one at the target takes over the weights of the other."""
    draw_line(ax, (source, source, target), (y + 0.27, y + 0.72, y + 0.72), linewidth=1.0)
    draw_arrow(ax, (target, y + 0.74), (target, y + low), gid="start", linewidth=1.0)


def _counts() -> tuple[int, int, int]:
    """Weights of the U-Net's encoder, of a task's residual blocks, of the U-Net's decoder."""
    with torch.device("meta"):
        unet, blocks = UNet(), Generator().add_task("any")
    return count_weights(unet.encoder), count_weights(blocks), count_weights(unet.decoder)


def _stored(states: Iterable[str], counts: tuple[int, int, int], earlier: int) -> str:
    """What a task adds: 32 bits for each weight of its own, 1 for a masked one.

    earlier: tasks before it. The second one of EWC begins to keep, for all that follow, two numbers
    a weight: its importance and the value to stay at.
    """
    bits = {OWN: 32, MASKED: 1, HELD: 64 if earlier == 1 else 0}
    size = sum(mib(n, bits.get(state, 0)) for state, n in zip(states, counts, strict=False))
    return f"+ {size:.{1 if size >= 10 else 2}f} MiB" if size else "+ 0 MiB"


def _legend(ax: Axes, x: float, y: float) -> None:
    """From (x, y) down."""
    draw_key(ax, x, y, TASKS[:4], "trained for task 1, 2, 3, 4")
    draw_key(ax, x, y - 0.29, [FROZEN], "frozen", locked=True)
    draw_key(ax, x + 1.25, y - 0.29, [FROZEN, TASKS[1]], "frozen, masked", locked=True)
    draw_key(ax, x, y - 0.58, TASKS[1::-1], "trained, but held near an earlier task")
    pale = {"facecolor": TASKS[0], "edgecolor": INK, "linewidth": OUTLINE, "alpha": PALE}
    ax.add_patch(Rectangle((x, y - 0.97), 0.4, 0.2, **pale))
    draw_arrow(ax, (x, y - 1.16), (x + 0.4, y - 1.16), gid="key", linewidth=1.0)
    draw_box(ax, x + 0.2, y - 1.45, 0.07, 0.2, TASKS[1])
    texts = ("overwritten by the next task", "weights taken over", "a task's own last layer")
    for line, text in enumerate(texts):
        ax.text(x + 0.48, y - 0.87 - 0.29 * line, text, va="center", fontsize=SMALL)
    text = "+ MiB: what a task adds, last layers left out"
    ax.text(x, y - 1.74, text, va="center", fontsize=SMALL)


def _store(ax: Axes, x: float, y: float) -> None:
    """What each method stores in all, counted and as the paper prints it."""
    found, known = audit(), sizes()
    blocks = known["auto_encoder"] + known["blocks"] + known["block_mask"]
    printed = found["paper"].map("{:.1f}".format)
    one = found.at["size-fine-tune", "ours"]
    rows = (
        ("scratch: 5 networks", found.at["size-scratch", "ours"], printed["size-scratch"]),
        ("fine-tune: 1 network", one, printed["size-fine-tune"]),
        ("EWC: and what holds it", 3 * one, "not run"),
        ("decoder", found.at["size-decoders", "ours"], printed["size-decoders"]),
        ("Piggyback", found.at["size-piggyback", "ours"], printed["size-piggyback"]),
        ("Resblock", found.at["size-resblock-cyclegan", "ours"], printed["size-resblock"]),
        ("both, tasks 3 and 4", blocks, printed["size-two-tasks-masked"]),
    )
    draw_title(ax, x, y, "5 tasks, MiB")
    for line, row in enumerate((("", "counted", "printed"), *rows)):
        cells = (row[0], row[1] if isinstance(row[1], str) else f"{row[1]:.1f}", row[2])
        for place, text, side in zip(
            (0, 2.25, 3.1), cells, ("left", "right", "right"), strict=True
        ):
            style = {"ha": side, "va": "center", "fontsize": SMALL}
            ax.text(x + place, y - 0.21 * line, text, color=INK if line else GREY, **style)
    notes = (
        "Printed sizes are of 5 fine-tuned networks, scores",
        "of one that forgets; and of 5 × the blocks' true size.",
    )
    draw_lines(ax, x, y - 1.72, notes, GREY)


def _network(
    ax: Axes,
    x: float,
    y: float,
    states: tuple[str, ...],
    colours: Sequence[str],
    gid: str,
    opacity: float,
) -> None:
    """Encoder, residual blocks, decoder and last layer, about (x, y).

    colours: of the tasks so far, the network's own last. opacity: of all but the last layer.
    """
    encoder, blocks, decoder, last = states
    half = 0.02 if blocks == ABSENT else 0.21
    for side, name, state in ((-1, "encoder", encoder), (1, "decoder", decoder)):
        ends = ((half, 0.2), (half + 0.3, 0.45), (half + 0.3, -0.45), (half, -0.2))
        shape = Polygon([(x + side * across, y + up) for across, up in ends], alpha=opacity)
        _part(ax, shape, state, colours, f"{gid} {name}")
        if state in (KEPT, MASKED):
            draw_padlock(ax, x + side * (half + 0.2), y + 0.52)
    for index in range(BLOCKS if blocks != ABSENT else 0):
        corner = (x + CELL * (index - BLOCKS / 2), y - 3 * CELL)
        _part(ax, Rectangle(corner, CELL, 6 * CELL), blocks, colours, f"{gid} blocks")
    if blocks == MASKED:
        draw_padlock(ax, x, y + 0.35)
    if last != ABSENT:
        draw_box(ax, x + half + 0.37, y, 0.07, 0.9, colours[-1], f"{gid} last {last}")


def _part(ax: Axes, shape: Patch, state: str, colours: Sequence[str], gid: str) -> None:
    """In the colour of its state, half of the cells in others.

    A mask is in its task's colour; weights that are held have the colours of the tasks before.
    """
    face = FROZEN if state in (KEPT, MASKED) else colours[-1]
    shape.set(facecolor=face, edgecolor=INK, linewidth=OUTLINE, gid=f"{gid} {state}")
    ax.add_patch(shape)
    inks = {MASKED: colours[-1:], HELD: colours[:-1]}.get(state, ())
    if not inks:
        return
    outline = shape.get_patch_transform().transform_path(shape.get_path())
    corners = np.asarray(outline.vertices)
    low, high = corners.min(0), corners.max(0)
    columns, rows = ((high - low) / CELL + 1e-6).astype(int)
    rng = np.random.default_rng(int(100 * low.sum()))
    cells: list[list[Polygon]] = [[] for _ in inks]
    for index, cell in enumerate(np.argwhere(rng.random((columns, rows)) < 0.5)):
        corners = low + CELL * (cell + CORNERS)
        middle = corners.mean(0)
        if outline.contains_points(middle + 0.98 * (corners - middle)).all():
            cells[index % len(inks)].append(Polygon(corners))
    for ink, some in zip(inks, cells, strict=True):
        style = {"facecolor": ink, "linewidth": 0, "zorder": 1.5, "alpha": shape.get_alpha()}
        ax.add_collection(PatchCollection(some, **style))


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
