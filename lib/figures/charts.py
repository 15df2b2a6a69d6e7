"""The charts that all studies share, where intervals are given and not computed from the data.

``intervals``, ``bands``, ``cells`` and ``pictures`` draw a whole figure or panel from a table;
below them are the parts that they are made of. Where the data itself is shown, notebooks call
seaborn directly.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import yaml
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from pandas.api.types import is_integer_dtype

from lib.figures.style import DISTINCT, GREY, INK, WIDE, WIDTH

BLUES = ListedColormap(colormaps["Blues"](np.linspace(0.1, 0.8, 256)), "cells")
NO_COLOUR = "#c8c8c8"  # of a cell with a number that has no place on the scale
BASELINES = (  # trivial: grey
    "mean shape",
    "majority class",
    "no training",
    "ImageNet accuracy",
    "ImageNet model",
    "random choice",
)
# how networks, data sets and scores are called in figures and captions
READABLE = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"))


def intervals(
    rows: pd.DataFrame,
    names: str,
    *,
    panels: str = "",
    colours: str = "",
    columns: tuple[str, str, str] = ("value", "low", "high"),
    reference: float | None = None,
    **settings: Any,
) -> Figure:
    """Values with intervals, one line a name, the first row on top.

    names, panels, colours: columns that say the line, the panel and the colour of a row.
    columns: value, low and high; a missing interval has no bar, a missing value is left out.
    reference: where a dotted line stands. settings: of every panel, for ``Axes.set``.
    """
    parts, order = _parts(rows, panels), list(dict.fromkeys(rows[names]))
    shades = dict.fromkeys(rows[colours]) if colours else {"": None}
    styles, lanes = looks(shades), len(shades)
    if colours and rows.groupby(names)[colours].nunique().max() == 1:
        lanes = 1  # a name has one colour and needs no room for the others
    height = 1.2 + 0.13 * len(order) * (1 + lanes)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False, sharey=True)[0]
    for ax, (title, part) in zip(axes, parts.items(), strict=True):
        if reference is not None:
            ax.axvline(reference, color=GREY, linestyle=":", linewidth=1)
        for index, shade in enumerate(shades):
            shown = part[part[colours] == shade] if colours else part
            value, low, high = (shown[column].astype(float) for column in columns)
            y = shown[names].map(order.index) + 0.6 * (index % lanes + 0.5) / lanes - 0.3
            look = styles[shade] | {"fmt": "o", "linestyle": ""}
            ax.errorbar(value, y, xerr=reach(value, low, high), label=shade, **look)
        ax.set(title=title, **settings)
        ax.grid(axis="y", visible=False)
        if len(parts) > 1 and ax.get_xscale() == "linear":
            ax.locator_params(axis="x", nbins=5)  # so that numbers do not run into each other
    name_rows(axes[0], order)
    axes[0].invert_yaxis()
    if colours:
        legend(figure, handles_of(styles, marker="o", linestyle=""))
    return figure


def bands(
    rows: pd.DataFrame,
    x: str,
    value: str,
    lines: str,
    *,
    panels: str,
    scale: float = 100,
    marker: str = "",
    **settings: Any,
) -> Figure:
    """Lines over x with bands from ``low`` to ``high``, a panel for each value of ``panels``.

    lines: the column that says whose line a row belongs to. settings: as of ``intervals``.
    """
    styles, parts = looks(rows[lines]), _parts(rows, panels)
    across = min(3, len(parts))
    down = -(-len(parts) // across)
    height = 1 + down * (2.5 if len(parts) > 1 else 3.4)  # an inch is left for the legend
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for ax in axes[len(parts) :]:
        ax.remove()
    for ax, (title, part) in zip(axes, parts.items(), strict=False):
        for name, line in part.groupby(lines, sort=False):
            line = line.sort_values(x)
            low, middle, high = (scale * line[column] for column in ("low", value, "high"))
            ax.plot(line[x], middle, marker=marker, **styles[name])
            ax.fill_between(line[x], low, high, color=styles[name]["color"], alpha=0.2, linewidth=0)
        ax.xaxis.get_major_locator().set_params(integer=is_integer_dtype(rows[x]))
        ax.set(title=wrapped(str(title), 24), xlabel=x, **settings)
    legend(figure, handles_of(styles, marker=marker))
    return figure


def _parts(rows: pd.DataFrame, panels: str) -> dict[str, pd.DataFrame]:
    """The rows of each panel by its title; ValueError where there are none."""
    if rows.empty:
        raise ValueError("nothing to draw: no rows")
    return dict(list(rows.groupby(panels, sort=False))) if panels else {"": rows}


def cells(
    ax: Axes, values: ArrayLike, texts: Sequence[Sequence[str]], low: float, high: float
) -> ScalarMappable:
    """A matrix in blues, pale (low) to dark (high), each cell with its text; for a colour bar.

    Where there is no value, a cell is grey, or white without a text.
    """
    values, names = np.asarray(values, float), np.asarray(texts, object)
    blank = np.isnan(values) & (names != "")
    draw = partial(sns.heatmap, ax=ax, cbar=False, annot=names, fmt="")
    draw(np.zeros(values.shape), mask=~blank, cmap=ListedColormap([NO_COLOUR]))
    draw(values, mask=np.isnan(values), cmap=BLUES, vmin=low, vmax=high)
    ax.grid(visible=False)
    return ScalarMappable(Normalize(low, high), BLUES)


def pictures(rows: Mapping[str, Mapping[str, ArrayLike]], *, letters: int = 15) -> Figure:
    """A grid of pictures: row label -> title -> (3, H, W) or (1, H, W), values 0 to 1."""
    titles = list(next(iter(rows.values())))
    width = WIDE if len(titles) > 5 else WIDTH
    size = (width, (width - 0.7) / len(titles) * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (label, shown) in zip(axes, rows.items(), strict=True):
        for ax, title in zip(line, titles, strict=True):
            picture = np.moveaxis(np.asarray(shown[title], float), 0, -1).clip(0, 1)
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[], title=wrapped(title, letters) if ax in axes[0] else "")
            ax.spines[:].set_visible(False)
            ax.grid(visible=False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each name; where colours repeat, the lines differ. Baselines are grey."""
    styles: dict[str, dict[str, Any]] = {}
    learnt = 0
    for name in dict.fromkeys(names):
        again, colour = divmod(learnt, len(DISTINCT))
        styles[name] = {"color": DISTINCT[colour], "linestyle": ("-", "--", "-.")[again % 3]}
        if name in BASELINES:
            styles[name] = {"color": GREY, "linestyle": ":"}
        learnt += name not in BASELINES
    return styles


def reach(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths of error bars, (2, rows): 0 where there is no interval, or an infinite one."""
    ends = np.array([np.subtract(value, low), np.subtract(high, value)], float).reshape(2, -1)
    return np.nan_to_num(ends, posinf=0).clip(0)


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


def readable(name: str) -> str:
    """A network, data set, score or source ("base & stage") as ``READABLE`` has it, else itself."""
    parts = [part.partition("@")[0] for part in name.split(" & ")]
    return " & ".join(READABLE.get(part, part) for part in parts)
