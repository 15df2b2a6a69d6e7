"""Figures of the multi-task study: landmarks, attributes, feature maps and what streams hold.

Errors, accuracies and their intervals are shares in the tables and percent in the figures. Empty
tables and tables without a column that is needed raise ValueError, as do pictures and points whose
numbers differ. A missing interval has no bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.drawings import GREY, LABEL, SMALL, TINY, check_rows, reach
from lib.drawings_transfer import DISTINCT, MARKERS, WIDTH
from lib.style import INK, PALETTE

BASELINES = ("mean shape", "majority class")  # grey and dashed: they look at no image
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
    looks = _looks([*bars["variant"], *curves["variant"]])
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _grouped_bars(left, bars, looks)
    left.set(ylabel="NME (%)", title="each landmark, after training")
    _bands(right, curves, ("epoch", "nme", "variant"), looks)
    final = 100 * curves.sort_values("epoch").groupby("variant")["nme"].last()
    bottom = 0.95 * 100 * curves["low"].fillna(curves["nme"]).min()
    top = min(1.02 * 100 * curves[["nme", "high"]].max().max(), 2 * final.max())
    if baseline is not None:
        top = _draw_baseline(right, 100 * baseline, top)
    right.set(xlabel="epoch", title="mean of all landmarks", ylim=(bottom, top))
    handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    legend(figure, handles)
    return figure


def draw_error_curves(rows: pd.DataFrame) -> Figure:
    """The share of the faces with at most some error: variant, error (of a face), share.

    The axis ends where all have reached ``REACHED`` of the faces, ``BASELINES`` left aside.
    """
    check_rows(rows, ["variant", "error", "share"])
    looks = _looks(rows["variant"])
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    ax = figure.subplots()
    for name, part in rows.groupby("variant", sort=False):
        part = part.sort_values("error")
        ax.plot(100 * part["error"], 100 * part["share"], label=name, **looks[name])
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
    groups = pd.factorize(rows["kind"])[0]
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
    panels[0].set_yticks(y, names, fontsize=SMALL, linespacing=0.95)
    panels[0].set_ylim(y[-1] - 0.6, 0.6)
    shown = {kind: KINDS[kind] for kind in rows["kind"].unique()}
    handles = [Line2D([], [], marker="o", color=c, label=kind) for kind, c in shown.items()]
    legend(figure, handles)
    return figure


def draw_similarity(rows: pd.DataFrame) -> Figure:
    """Linear CKA of two streams by layer, a panel a setting.

    rows: pair, layer, cka, low, high, setting.
    """
    check_rows(rows, ["pair", "layer", "cka", "low", "high", "setting"])
    figure, panels = _panels_by_layer(rows, ("setting", "cka", "pair"), scale=1)
    for ax in panels:
        ax.set(ylim=(0, 1.02), ylabel="linear CKA" if ax is panels[0] else "")
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
    looks = _looks(rows["variant"])
    figure = Figure(figsize=(WIDTH, 1.5 + 0.22 * len(heights)), layout="constrained")
    ax = figure.subplots()
    tick = {"marker": "|", "markersize": 12, "markeredgewidth": 3, "color": GREY}
    ax.plot(100 * majority, range(len(majority)), linestyle="", label="majority class", **tick)
    for index, (name, part) in enumerate(rows.groupby("variant", sort=False)):
        style = {"marker": MARKERS[index % len(MARKERS)], "linestyle": "", "alpha": 0.85}
        place = part["attribute"].map(heights)
        ax.plot(100 * part["accuracy"], place, label=name, color=looks[name]["color"], **style)
    ax.set_yticks(range(len(majority)), majority.index, fontsize=SMALL)
    ax.set(xlabel="accuracy (%)", ylim=(-0.6, len(majority) - 0.4))
    legend(figure, ax.lines)
    return figure


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Below the panels, in as many columns as the longest name leaves room for."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, int(WIDTH / (0.068 * longest + 0.55)))  # inches of a letter and of a line
    place = {"loc": "outside lower center", "ncols": columns, "fontsize": SMALL}
    figure.legend(handles=handles, **place)


def wrapped(name: str, width: int) -> str:
    """A name in lines of at most so many letters, cut between words."""
    return fill(name, width, break_on_hyphens=False)


def _looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and line of each name; where colours repeat, the lines differ."""
    learnt = [name for name in dict.fromkeys(names) if name not in BASELINES]
    looks = {
        name: {
            "color": DISTINCT[index % len(DISTINCT)],
            "linestyle": ("-", "-.", ":")[index // len(DISTINCT) % 3],
        }
        for index, name in enumerate(learnt)
    }
    flat = {"color": GREY, "linestyle": "--"}
    return {name: looks.get(name, flat) for name in dict.fromkeys(names)}


def _grouped_bars(ax: Axes, bars: pd.DataFrame, looks: dict[str, dict]) -> None:
    landmarks = list(bars["landmark"].unique())
    variants = list(bars["variant"].unique())
    width = 0.8 / len(variants)
    for index, name in enumerate(variants):
        part = bars[bars["variant"] == name]
        x = part["landmark"].map(landmarks.index) + width * (index - (len(variants) - 1) / 2)
        lengths = 100 * reach(part["nme"], part["low"], part["high"])
        style = {"color": looks[name]["color"], "ecolor": INK, "error_kw": {"linewidth": 1}}
        if looks[name]["linestyle"] != "-":  # another has this colour
            style |= {"hatch": "////", "edgecolor": "white", "linewidth": 0}
        ax.bar(x, 100 * part["nme"], width, yerr=lengths, label=name, **style)
    names = [landmark.replace(" ", "\n") for landmark in landmarks]
    ax.set_xticks(range(len(landmarks)), names, fontsize=SMALL)
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
    at = (1, value)
    ax.annotate("mean shape", at, xycoords=("axes fraction", "data"), color=GREY, **up)
    return max(top, 1.08 * value)


def _bands(
    ax: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], looks: dict, scale: float = 100
) -> None:
    """Lines with bands from low to high. columns: x, value, and whose line it is."""
    x, value, line = columns
    for name, part in rows.groupby(line, sort=False):
        part = part.sort_values(x)
        ax.plot(part[x], scale * part[value], label=name, **looks[name])
        band = (scale * part["low"], scale * part["high"])
        ax.fill_between(part[x], *band, color=looks[name]["color"], alpha=0.2, linewidth=0)


def _panels_by_layer(
    rows: pd.DataFrame, columns: tuple[str, str, str], scale: float
) -> tuple[Figure, list[Axes]]:
    """columns: what has a panel of its own, value, what has a line."""
    panel, value, line = columns
    names, looks = rows[panel].unique(), _looks(rows[line])
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(WIDTH, 2.5 * down + 0.9), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for ax, name in zip(panels, names, strict=False):
        part = rows[rows[panel] == name]
        marked = {key: look | {"marker": "o"} for key, look in looks.items()}
        _bands(ax, part, ("layer", value, line), marked, scale)
        ax.set_title(wrapped(name, 24), fontsize=LABEL)
        ax.set_xlabel("layer")
        ax.set_xticks(sorted(part["layer"].unique()))
    for ax in panels[len(names) :]:
        ax.remove()
    handles = [Line2D([], [], marker="o", label=key, **look) for key, look in looks.items()]
    legend(figure, handles)
    return figure, panels[: len(names)]


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
            ax.errorbar(
                value, at, xerr=reach(*values.iloc[index]), fmt="o", color=KINDS[kind], zorder=3
            )
        else:
            arrow = ">" if value > shown else "<"
            ax.plot(shown, at, arrow, color=KINDS[kind], markersize=8, clip_on=False)
        right = {"transform": ax.get_yaxis_transform(), "va": "center", "color": GREY}
        ax.text(1.05, at, f"{value:.2f}", fontsize=TINY, **right)
