"""What all charts share: checked tables, looks of lines, panels, bands, intervals and legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from lib.figures.style import DISTINCT, GREY, INK, WIDTH

NO_SCORE = ("ImageNet accuracy", "ImageNet model", "random choice")
BASELINES = ("mean shape", "majority class", "no training", *NO_SCORE)  # trivial: grey


def check_rows(rows: pd.DataFrame, columns: list[str]) -> None:
    """ValueError for a table without rows, or without one of these columns."""
    missing = [column for column in columns if column not in rows]
    if missing or rows.empty:
        raise ValueError(f"nothing to draw: no {', '.join(missing) or 'rows'}")


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each name; where colours repeat, the lines differ. Baselines are grey."""
    learnt = [name for name in dict.fromkeys(names) if name not in BASELINES]
    found = {
        name: {
            "color": DISTINCT[index % len(DISTINCT)],
            "linestyle": ("-", "--", "-.")[index // len(DISTINCT) % 3],
        }
        for index, name in enumerate(learnt)
    }
    flat = {"color": GREY, "linestyle": ":"}
    return {name: found.get(name, flat) for name in dict.fromkeys(names)}


def panel_grid(count: int, across: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most ``across`` beside each other, each so many inches high.

    An inch is left for the legend.
    """
    across = min(across, count)
    down = -(-count // across)
    figure = Figure(figsize=(WIDTH, height * down + 1), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, **options).flat)
    for ax in panels[count:]:
        ax.remove()
    return figure, panels[:count]


def draw_bands(
    ax: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], styles: dict, scale: float = 100
) -> None:
    """Lines with bands from low to high. columns: x, value, and whose line it is."""
    x, value, line = columns
    for name, part in rows.groupby(line, sort=False):
        part = part.sort_values(x)
        ax.plot(part[x], scale * part[value], label=name, **styles[name])
        band = (scale * part["low"], scale * part["high"])
        ax.fill_between(part[x], *band, color=styles[name]["color"], alpha=0.2, linewidth=0)


def reach(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths of error bars, (2, rows): 0 where there is no interval."""
    ends = np.array([np.subtract(value, low), np.subtract(high, value)], float).reshape(2, -1)
    return np.nan_to_num(ends).clip(0)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """The names of the rows 0, 1, ... of a chart, those of ``BASELINES`` in grey."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    for name, label in zip(names, ax.get_yticklabels(), strict=True):
        label.set_color(GREY if name in BASELINES else INK)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Below the panels, in as many columns as the longest name leaves room for."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, int(WIDTH / (0.068 * longest + 0.55)))  # inches of a letter and of a line
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def handles_of(styles: dict[str, dict], **options: Any) -> list[Line2D]:
    """What a legend shows of ``looks``."""
    return [Line2D([], [], label=name, **look | options) for name, look in styles.items()]


def wrapped(name: str, width: int) -> str:
    """A name in lines of at most so many letters, cut between words."""
    return fill(name, width, break_on_hyphens=False)
