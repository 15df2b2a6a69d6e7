"""Figures of the multi-task study: landmarks, attributes, feature maps and what streams hold.

Errors, accuracies and their intervals are shares in the tables and percent in the figures. Empty
tables and tables without a column that is needed raise ValueError, as do pictures and points whose
numbers differ. A missing interval has no bar.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.figures.charts import (
    BASELINES,
    check_rows,
    draw_bands,
    handles_of,
    legend,
    looks,
    name_rows,
    panel_grid,
    reach,
    wrapped,
)
from lib.figures.style import GREY, INK, MARKERS, PALETTE, SMALL, TINY, WIDTH

# what records call it -> what captions call it
KINDS = {"paper": PALETTE[0], "control": PALETTE[1], "literature": PALETTE[2], "trivial": GREY}
MEASURES = {"nme": "NME (%), ← better", "accuracy": "mean accuracy (%), better →"}
COMPARED = {
    "nme": "NME less the baseline's (points)\n← better",
    "accuracy": "accuracy less the baseline's (points)\nbetter →",
}
PROBED = {"landmarks": "variance explained, R² (%)", "attributes": "balanced accuracy (%)"}
REACHED = 0.95  # share of the faces that an error curve follows


def draw_landmark_errors(
    bars: pd.DataFrame, curves: pd.DataFrame, baseline: float | None = None
) -> Figure:
    """The paper's fig. 3: the NME of each landmark, and their mean over the epochs.

    bars: variant, landmark, nme, low, high. curves: variant, epoch, nme, low, high.
    baseline: NME of the mean shape, a line in the right panel, or a remark where it lies far
        above. The first epochs leave that panel where they would flatten the last ones.
    """
    check_rows(bars, ["variant", "landmark", "nme", "low", "high"])
    check_rows(curves, ["variant", "epoch", "nme", "low", "high"])
    styles = looks([*bars["variant"], *curves["variant"]])
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _grouped_bars(left, bars, styles)
    left.set(ylabel="NME (%)", title="each landmark, after training")
    draw_bands(right, curves, ("epoch", "nme", "variant"), styles)
    final = 100 * curves.sort_values("epoch").groupby("variant")["nme"].last()
    bottom = 0.95 * 100 * curves["low"].fillna(curves["nme"]).min()
    top = min(1.02 * 100 * curves[["nme", "high"]].max().max(), 2 * final.max())
    if baseline is not None:
        top = _draw_baseline(right, 100 * baseline, top)
    right.set(xlabel="epoch", ylabel="NME (%)", title="mean of all landmarks", ylim=(bottom, top))
    legend(figure, handles_of(styles))
    return figure


def draw_error_curves(rows: pd.DataFrame) -> Figure:
    """The share of the faces with at most some error: variant, error (of a face), share.

    The axis ends where all have reached ``REACHED`` of the faces, ``BASELINES`` left aside.
    """
    check_rows(rows, ["variant", "error", "share"])
    styles = looks(rows["variant"])
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    ax = figure.subplots()
    for name, part in rows.groupby("variant", sort=False):
        part = part.sort_values("error")
        ax.plot(100 * part["error"], 100 * part["share"], label=name, **styles[name])
    learnt = rows[~rows["variant"].isin(BASELINES)]
    late = learnt[learnt["share"] >= REACHED].groupby("variant")["error"].min()
    end = late.max() if len(late) else rows["error"].max()
    ax.set(xlabel="NME of a face (%)", ylabel="faces with at most this error (%)")
    ax.set(xlim=(0, 100 * end), ylim=(0, 101))
    legend(figure, ax.lines)
    return figure


def draw_variants(
    rows: pd.DataFrame, baseline: str = "stage 1 (baseline)", *, compared: bool = False
) -> Figure:
    """All variants, a line each, grouped by kind: landmark errors and attribute accuracies.

    rows: variant, kind (of ``KINDS``), nme, nme_low, nme_high, accuracy, accuracy_low,
    accuracy_high; a missing value is left out. baseline: the variant with the dashed lines.
    Trivial predictions do not stretch the axes: beyond them they are arrows at the edge.
    compared: the values are differences from the baseline's.
    """
    labels = COMPARED if compared else MEASURES
    ends = [f"{measure}{end}" for measure in labels for end in ("", "_low", "_high")]
    check_rows(rows, ["variant", "kind", *ends])
    if unknown := set(rows["kind"]) - set(KINDS):
        raise ValueError(f"a kind is one of {list(KINDS)}, not {sorted(unknown)}")
    rows = rows.sort_values("kind", key=lambda kinds: kinds.map(list(KINDS).index), kind="stable")
    groups, kinds = pd.factorize(rows["kind"])
    y = -(np.arange(len(rows)) + 0.4 * groups)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, (measure, label) in zip(panels, labels.items(), strict=True):
        _forest(ax, rows, measure, y)
        for value in 100 * rows.loc[rows["variant"] == baseline, measure]:
            ax.axvline(value, color=INK, linewidth=1, linestyle="--", zorder=1, gid="baseline")
        for last in np.flatnonzero(np.diff(groups)):
            ax.axhline((y[last] + y[last + 1]) / 2, color=GREY, linewidth=0.6, gid="separator")
        ax.set_xlabel(label)
        ax.grid(axis="y", visible=False)
    names = [wrapped(name, 28) for name in rows["variant"]]
    panels[0].set_yticks(y, names, linespacing=0.95)
    panels[0].set_ylim(y[-1] - 0.6, 0.6)
    legend(figure, handles_of({kind: {"color": KINDS[kind]} for kind in kinds}, marker="o"))
    return figure


def draw_similarity(rows: pd.DataFrame) -> Figure:
    """Linear CKA of two streams by layer, a panel a setting.

    rows: pair, layer, cka, low, high, setting. The axis goes on past 1, the most that CKA can be,
    where intervals do.
    """
    check_rows(rows, ["pair", "layer", "cka", "low", "high", "setting"])
    figure, panels = _panels_by_layer(rows, ("setting", "cka", "pair"), scale=1, sharey=True)
    ends = min(0, rows["low"].min()), max(1, rows["high"].max())
    margin = 0.02 * (ends[1] - ends[0])
    for ax in panels:
        ax.set(ylabel="linear CKA" if ax in panels[::3] else "", yticks=np.linspace(0, 1, 6))
        ax.set_ylim(ends[0] - margin if ends[0] < 0 else 0, ends[1] + margin)
    return figure


def draw_probes(rows: pd.DataFrame) -> Figure:
    """What a linear probe reads from each stream by layer, a panel a task.

    rows: stream, layer, task, value (R² or balanced accuracy), low, high.
    """
    check_rows(rows, ["stream", "layer", "task", "value", "low", "high"])
    figure, panels = _panels_by_layer(rows, ("task", "value", "stream"), scale=100)
    for ax, task in zip(panels, rows["task"].unique(), strict=True):
        ax.set_ylabel(PROBED.get(task, "%"))
    return figure


def draw_attributes(rows: pd.DataFrame) -> Figure:
    """Accuracy of each attribute, those on top that nearly all faces have or lack.

    rows: attribute, variant, accuracy, majority (the accuracy of always saying what is commoner).
    """
    check_rows(rows, ["attribute", "variant", "accuracy", "majority"])
    majority = rows.groupby("attribute")["majority"].first().sort_values(kind="stable")
    heights = {attribute: y for y, attribute in enumerate(majority.index)}
    styles = looks(rows["variant"])
    figure = Figure(figsize=(WIDTH, 1.5 + 0.22 * len(heights)), layout="constrained")
    ax = figure.subplots()
    tick = {"marker": "|", "markersize": 12, "markeredgewidth": 3, "color": GREY}
    ax.plot(100 * majority, range(len(majority)), linestyle="", label="majority class", **tick)
    for index, (name, part) in enumerate(rows.groupby("variant", sort=False)):
        style = {"marker": MARKERS[index % len(MARKERS)], "linestyle": "", "alpha": 0.85}
        place = part["attribute"].map(heights)
        ax.plot(100 * part["accuracy"], place, label=name, color=styles[name]["color"], **style)
    name_rows(ax, majority.index)
    ax.set_xlabel("accuracy (%)")
    legend(figure, ax.lines)
    return figure


def _grouped_bars(ax: Axes, bars: pd.DataFrame, styles: dict[str, dict]) -> None:
    landmarks = list(bars["landmark"].unique())
    variants = list(bars["variant"].unique())
    width = 0.8 / len(variants)
    for index, name in enumerate(variants):
        part = bars[bars["variant"] == name]
        x = part["landmark"].map(landmarks.index) + width * (index - (len(variants) - 1) / 2)
        lengths = 100 * reach(part["nme"], part["low"], part["high"])
        style = {"color": styles[name]["color"], "ecolor": INK, "error_kw": {"linewidth": 1}}
        if styles[name]["linestyle"] != "-":  # another has this colour
            style |= {"hatch": "////", "edgecolor": "white", "linewidth": 0}
        ax.bar(x, 100 * part["nme"], width, yerr=lengths, label=name, **style)
    names = [landmark.replace(" ", "\n") for landmark in landmarks]
    ax.set_xticks(range(len(landmarks)), names)
    ax.grid(axis="x", visible=False)


def _draw_baseline(ax: Axes, value: float, top: float) -> float:
    """The mean shape, as a line if that is near; what is then the axis' end."""
    if value > 1.3 * top:
        text = f"mean shape: {value:.1f} % ↑"
        place = {"transform": ax.transAxes, "ha": "right", "va": "top"}
        ax.text(0.98, 0.98, text, fontsize=SMALL, color=GREY, **place)
        return top
    ax.axhline(value, color=GREY, linestyle="--")
    up = {"xytext": (-2, 3), "textcoords": "offset points", "ha": "right", "va": "bottom"}
    place = {"xycoords": ("axes fraction", "data"), "fontsize": SMALL, "color": GREY}
    ax.annotate("mean shape", (1, value), **place, **up)
    return max(top, 1.08 * value)


def _panels_by_layer(
    rows: pd.DataFrame, columns: tuple[str, str, str], scale: float, **options: bool
) -> tuple[Figure, list[Axes]]:
    """columns: what has a panel of its own, value, what has a line."""
    panel, value, line = columns
    names, styles = rows[panel].unique(), looks(rows[line])
    marked = {name: look | {"marker": "o"} for name, look in styles.items()}
    figure, panels = panel_grid(len(names), 3, 2.5, **options)
    for ax, name in zip(panels, names, strict=True):
        part = rows[rows[panel] == name]
        draw_bands(ax, part, ("layer", value, line), marked, scale)
        ax.set_title(wrapped(name, 24))
        ax.set(xlabel="layer", xticks=sorted(part["layer"].unique()))
    legend(figure, handles_of(marked))
    return figure, panels


def _forest(ax: Axes, rows: pd.DataFrame, measure: str, y: np.ndarray) -> None:
    """Values with intervals at the heights y, and in figures to the right."""
    values = 100 * rows[[measure, f"{measure}_low", f"{measure}_high"]].astype(float)
    trivial = rows["kind"] == "trivial"
    aimed = values if trivial.all() else values[~trivial]
    low, high = aimed.min().min(), aimed.max().max()
    margin = 0.08 * (high - low) or 1
    ax.set_xlim(low - margin, high + margin)
    for index, (kind, at) in enumerate(zip(rows["kind"], y, strict=True)):
        value = values.iloc[index, 0]
        if np.isnan(value):
            continue
        shown = np.clip(value, low - margin, high + margin)
        if shown == value:
            lengths = reach(*values.iloc[index])
            ax.errorbar(value, at, xerr=lengths, fmt="o", color=KINDS[kind], zorder=3)
        else:
            arrow = ">" if value > shown else "<"
            ax.plot(shown, at, arrow, color=KINDS[kind], markersize=8, clip_on=False)
        right = {"transform": ax.get_yaxis_transform(), "va": "center", "color": GREY}
        ax.text(1.05, at, f"{value:.2f}".replace("-", "−"), fontsize=TINY, **right)
