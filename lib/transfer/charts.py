"""Figures of the transfer study: the EMD as a flow, learning curves, scores against accuracy.

Accuracies and regrets are shares in the tables and percent in the figures; names are written as
``figures.names`` says. Empty tables and tables without a column that is needed raise ValueError.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from lib.figures.charts import (
    check_rows,
    draw_bands,
    handles_of,
    legend,
    looks,
    name_rows,
    panel_grid,
    reach,
)
from lib.figures.names import readable
from lib.figures.network_drawings import (
    OUTPUT,
    draw_classifier,
    draw_flow,
    draw_name,
    draw_share,
    draw_stack,
    draw_title,
    drawing_figure,
)
from lib.figures.style import GREY, INK, LABEL, LIGHTEST, MARKERS, PALETTE, SMALL, TINY, WIDTH

# what records call it -> what figures and captions call it
NAMED = 6  # source classes with a flow of their own
DISTANCES = ListedColormap(colormaps["viridis"](np.linspace(0, LIGHTEST, 256)))
NEAR_BEST = 0.2  # accuracy: sources that end this close to a network's best are in its zoom
NEARLY_ALL = 0.7  # of what a panel shows: a zoom into more tells nothing
UNTRAINED = "no training"  # the baseline among the sources


def draw_emd_flow(image: np.ndarray, truth: str, flows: pd.DataFrame, network: str) -> Figure:
    """The paper's fig. 1 with an example: all probability flows to the true class.

    image: (H, W, 3) uint8. flows: source, probability, distance, a row for every source class; the
    most probable have a ribbon of their own, the others one at their mean distance. The EMD is
    the sum of probability times distance.
    """
    check_rows(flows, ["source", "probability", "distance"])
    if (flows["probability"] < 0).any() or abs(flows["probability"].sum() - 1) > 1e-3:
        raise ValueError("the probabilities of the source classes must add up to 1")
    figure = drawing_figure((WIDTH, 4.3))
    (ax,) = figure.axes
    draw_stack(ax, 0.8, 2.3, image[None], side=1.2)
    draw_name(ax, 0.8, 1.55, "target image")
    draw_flow(ax, 1.42, 1.7, 2.3)
    draw_classifier(ax, 2.35, 2.3, frozen=True)
    draw_name(ax, 2.35, 1.55, readable(network))
    draw_flow(ax, 2.98, 3.25, 2.3)
    scale = Normalize(flows["distance"].min(), flows["distance"].max())
    _ribbons(ax, _grouped(flows), scale)
    name = "\n".join(_cut(part, 9) for part in truth.split(maxsplit=2))
    ax.text(7.08, 2.3, name, va="center", fontsize=SMALL, weight="bold")
    bar = ax.inset_axes((5.1, 0.52, 2.2, 0.1), transform=ax.transData)
    figure.colorbar(ScalarMappable(scale, DISTANCES), cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=TINY)
    ax.text(5.0, 0.57, "distance d", ha="right", va="center", fontsize=SMALL)
    emd = (flows["probability"] * flows["distance"]).sum()
    draw_title(ax, 0.2, 0.57, f"EMD = Σ p · d = {emd:.2f}")
    return figure


def draw_curves(rows: pd.DataFrame) -> Figure:
    """The paper's figs. 2 to 5: test accuracy over epochs, a panel a network, zoomed below.

    rows: network, source, epoch, accuracy (mean), low, high. The frame in the upper panel is what
    the lower one shows: the sources that end within ``NEAR_BEST`` of the best. Where that is
    ``NEARLY_ALL`` there is no frame and one panel.
    """
    rows = _named(rows, ["network", "source", "epoch", "accuracy", "low", "high"])
    styles = looks(rows["source"])
    parts = dict(list(rows.groupby("network", sort=False)))
    framed = {network: zoom_of(part) for network, part in parts.items()}
    high = 5.6 if any(framed.values()) else 3.8
    figure = Figure(figsize=(WIDTH, high), layout="constrained")
    grid = figure.add_gridspec(2 if any(framed.values()) else 1, len(parts))
    wholes, zooms = {}, {}
    for column, network in enumerate(parts):
        rest = 0 if framed[network] else slice(None)
        wholes[network] = figure.add_subplot(grid[rest, column], title=network, xlabel="epoch")
    for column, network in enumerate(parts):
        if framed[network]:
            below = {"sharex": wholes[network], "ylim": framed[network], "xlabel": "epoch"}
            zooms[network] = figure.add_subplot(grid[1, column], **below)
            wholes[network].tick_params(labelbottom=False)
            wholes[network].set_xlabel("")
            _draw_frame(wholes[network], parts[network]["epoch"], *framed[network])
    for panels, label in ((wholes, "test accuracy (%)"), (zooms, "framed part (%)")):
        for network, ax in panels.items():
            draw_bands(ax, parts[network], ("epoch", "accuracy", "source"), styles)
            ax.autoscale_view()  # the frame's upper edge is above all curves
        for ax in list(panels.values())[:1]:
            ax.set_ylabel(label)
    legend(figure, handles_of(styles))
    return figure


def zoom_of(part: pd.DataFrame) -> tuple[float, float] | None:
    """Of a network's curves: from how many to how many per cent its zoom goes; None without one."""
    bottom, top = _zoomed(part)
    shown = 100 * (part["high"].max() - part["low"].min())
    return (bottom, top) if top - bottom < NEARLY_ALL * shown else None


def _draw_frame(ax: Axes, epochs: pd.Series, bottom: float, top: float) -> None:
    frame = {"fill": False, "edgecolor": GREY, "linewidth": 1, "linestyle": "--", "zorder": 3}
    first, last = epochs.min(), epochs.max()
    ax.add_patch(Rectangle((first, bottom), last - first, top - bottom, gid="zoom", **frame))


def draw_scores_against_accuracy(rows: pd.DataFrame) -> Figure:
    """Accuracy against each score, a panel a score: colours are networks, markers sources.

    rows: network, source, score, value, low, high, accuracy, accuracy_low, accuracy_high. A missing
    value is left out, a missing interval has no bar. ``UNTRAINED`` is filled with grey.
    """
    ends = ["value", "low", "high", "accuracy", "accuracy_low", "accuracy_high"]
    rows = _named(rows, ["network", "source", "score", *ends])
    scores, styles = rows["score"].unique(), looks(rows["network"])
    markers = dict(zip(rows["source"].unique(), MARKERS, strict=False))
    figure, panels = panel_grid(len(scores), 4, 2.1, sharey=True)
    for ax, score in zip(panels, scores, strict=True):
        ax.set_title(score)
        ax.locator_params(axis="x", nbins=4)
        for row in rows[(rows["score"] == score) & rows["value"].notna()].itertuples():
            style = {"color": styles[row.network]["color"], "marker": markers[row.source]}
            if row.source == UNTRAINED:
                style |= {"markerfacecolor": GREY, "markeredgewidth": 1.5}
            across = reach(row.value, row.low, row.high)
            up = reach(100 * row.accuracy, 100 * row.accuracy_low, 100 * row.accuracy_high)
            at = (row.value, 100 * row.accuracy)
            ax.errorbar(*at, xerr=across, yerr=up, linewidth=1, alpha=0.85, **style)
    figure.supylabel("accuracy after fine-tuning (%)", fontsize=LABEL)
    networks = {name: {"marker": "s", "color": style["color"]} for name, style in styles.items()}
    sources = {
        name: {"marker": marker, "color": GREY if name == UNTRAINED else INK}
        for name, marker in markers.items()
    }
    lines = max(len(networks), -(-len(sources) // 2))
    blank = [Line2D([], [], linestyle="", label=" ")]
    plain = {"linestyle": "", "markersize": 7}
    handles = []
    for part in (handles_of(networks, **plain), handles_of(sources, **plain)):
        handles += part + blank * (-len(part) % lines)  # networks have columns of their own
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) // lines)
    return figure


def draw_agreement(rows: pd.DataFrame) -> Figure:
    """Rank correlations with intervals: a panel a measure, a line a score, sorted by the first.

    rows: score, measure, value, low, high. Dotted: what a ranking by chance has on average.
    """
    rows = _named(rows, ["score", "measure", "value", "low", "high"])
    measures = rows["measure"].unique()
    first = rows[rows["measure"] == measures[0]].set_index("score")["value"]
    order = first.reindex(rows["score"].unique()).sort_values(na_position="first").index
    height = {score: y for y, score in enumerate(order)}
    figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for ax, measure in zip(panels, measures, strict=True):
        part = rows[rows["measure"] == measure]
        y = part["score"].map(height)
        lengths = reach(part["value"], part["low"], part["high"])
        ax.axvline(0, color=GREY, linewidth=1, linestyle=":")
        ax.errorbar(part["value"], y, xerr=lengths, fmt="o", color=PALETTE[0])
        ax.set(title=measure, xlim=(-1.08, 1.08), xticks=(-1, 0, 1), xlabel="rank correlation")
    name_rows(panels[0], order)
    return figure


def draw_regret(rows: pd.DataFrame) -> Figure:
    """Accuracy points lost by taking each ranker's first model, least on top.

    rows: score, network, regret. Names of ``BASELINES`` are grey: they look at no score.
    """
    rows = _named(rows, ["score", "network", "regret"])
    styles = looks(rows["network"])
    means = rows.groupby("score")["regret"].mean().sort_values(ascending=False, kind="stable")
    height = {score: y for y, score in enumerate(means.index)}
    figure = Figure(figsize=(WIDTH, 1.4 + 0.17 * len(styles) * len(means)), layout="constrained")
    ax = figure.subplots()
    step = 0.7 / len(styles)
    for index, (network, part) in enumerate(rows.groupby("network", sort=False)):
        y = part["score"].map(height) + step * ((len(styles) - 1) / 2 - index)
        points = 100 * part["regret"]
        style = {"color": styles[network]["color"], "clip_on": False, "zorder": 3}
        ax.hlines(y, 0, points, linewidth=2, **style)
        ax.plot(points, y, "o", label=network, **style)
        for value, at in zip(points, y, strict=True):
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(f"{value:.1f}", (value, at), fontsize=TINY, color=GREY, **place)
    name_rows(ax, means.index)
    ax.grid(axis="y", visible=False)
    ax.set_xlim(left=0, right=max(1.0, 110 * rows["regret"].max()))
    ax.set_xlabel("accuracy lost against the best model (points)")
    legend(figure, handles_of(styles, marker="o"))
    return figure


def _named(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The checked table with the names that its figure shows."""
    check_rows(rows, columns)
    names = [name for name in ("network", "source", "score") if name in columns]
    return rows.assign(**{name: rows[name].map(readable) for name in names})


def _grouped(flows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """The most probable classes, then all others at their mean distance."""
    ordered = flows.sort_values("probability", ascending=False, kind="stable")
    named, rest = ordered[:NAMED], ordered[NAMED:]
    groups = list(named[["source", "probability", "distance"]].itertuples(index=False, name=None))
    if len(rest):
        total = rest["probability"].sum()
        # where all have 0 their mean distance weighs nothing
        weights = rest["probability"] if total else None
        distance = np.average(rest["distance"], weights=weights)
        groups.append((f"{len(rest)} others", total, distance))
    return groups


def _ribbons(ax: Axes, groups: list[tuple[str, float, float]], scale: Normalize) -> None:
    """Rows with name, bar and share; ribbons as high as their probability, 1.3 inches in all."""
    slots = [max(0.3, 1.3 * probability) for _, probability, _ in groups]
    y, end = 2.3 + sum(slots) / 2, 2.3 + 1.3 / 2
    heading = {"va": "bottom", "fontsize": SMALL, "color": GREY}
    for x, top, text in (
        (4.3, y, "source class"),
        (5.68, y, "probability p"),
        (7.7, end, "true class"),
    ):
        ax.text(x, top + 0.08, text, ha="right", **heading)
    for (name, probability, distance), slot in zip(groups, slots, strict=True):
        middle, half = y - slot / 2, 1.3 * probability / 2
        colour = DISTANCES(scale(distance))
        ax.text(4.3, middle, _cut(name, 19), ha="right", va="center", fontsize=SMALL)
        draw_share(ax, 4.37, middle, probability, OUTPUT, 0.75)
        share = f"{100 * probability:.1f} %"
        ax.text(5.68, middle, share, ha="right", va="center", fontsize=TINY)
        ax.add_patch(_ribbon((5.75, middle), (6.9, end - half), half, colour))
        y, end = y - slot, end - 2 * half
    ax.add_patch(Rectangle((6.9, 2.3 - 0.65), 0.12, 1.3, facecolor=INK))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _ribbon(
    start: tuple[float, float], end: tuple[float, float], half: float, colour: tuple
) -> PathPatch:
    """From left to right, level at both ends."""
    (x, y), (to_x, to_y), middle = start, end, (start[0] + end[0]) / 2
    corners = [(x, y + half), (middle, y + half), (middle, to_y + half), (to_x, to_y + half)]
    corners += [(to_x, to_y - half), (middle, to_y - half), (middle, y - half), (x, y - half)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    patch = PathPatch(Path(corners, codes), facecolor=colour, linewidth=0.4, edgecolor=colour)
    patch.set_gid("ribbon")
    return patch


def _zoomed(part: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest per cent of the best sources, without the first quarter's rise."""
    final = part.sort_values("epoch").groupby("source")["accuracy"].last()
    best = final.index[final > final.max() - NEAR_BEST]
    late = part["epoch"] >= part["epoch"].quantile(0.25)
    shown = part[part["source"].isin(best) & late]
    low, high = 100 * shown["accuracy"].min(), 100 * shown["accuracy"].max()
    low, high = min(low, 100 * shown["low"].min()), max(high, 100 * shown["high"].max())
    return low - 1, high + 1
