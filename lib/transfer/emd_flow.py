"""The paper's figure 1 with an example: all probability of a source's output flows to one class.

Numbers are those of its four steps: distances of names, output for an image, EMD, sum.
"""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from lib.figures.style import FAINT, GREY, INK, LIGHTEST, PALETTE, SMALL, WIDTH

NAMED = 6  # source classes with a ribbon of their own
DISTANCES = ListedColormap(colormaps["viridis"](np.linspace(0, LIGHTEST, 256)))
LEAST = 0.22  # of the height of a row, where all ribbons together have 1


def draw_emd_flow(
    image: np.ndarray, truth: str, flows: pd.DataFrame, network: str, *, total: float, images: int
) -> Figure:
    """Image, the network's most probable classes, and their ribbons to the true class.

    image: (H, W, 3) uint8. flows: source, probability, distance, a row for every source class; the
    most probable have a ribbon of their own, the others one at their mean distance. The EMD is
    the sum of probability times distance. total: of all the target's training images.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 4))
    left.imshow(image)
    left.set(xticks=[], yticks=[], title="target image")
    arrow = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    left.annotate("", (1.62, 0.5), (1.06, 0.5), xycoords="axes fraction", arrowprops=arrow)
    left.text(1.34, 0.56, network, ha="center", fontsize=SMALL, transform=left.transAxes)
    scale = Normalize(flows["distance"].min(), flows["distance"].max())
    _draw_ribbons(right, _grouped(flows), scale)
    right.text(1.34, 0, "\n".join(truth.split(maxsplit=2)), va="center", weight="bold")
    emd = (flows["probability"] * flows["distance"]).sum()
    steps = f"3  EMD = Σ p · d = {emd:.2f}\n4  sum over {images:,} images = {total:,.0f}"
    right.set_title(steps, weight="bold")
    label = "1  distance d of names"
    colours = ScalarMappable(scale, DISTANCES)
    figure.colorbar(colours, ax=right, location="bottom", shrink=0.5, label=label)
    return figure


def _grouped(flows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Name, probability and distance of the most probable classes, then of all others together."""
    ordered = flows.sort_values("probability", ascending=False, kind="stable")
    ordered, rest = ordered[["source", "probability", "distance"]][:NAMED], ordered[NAMED:]
    groups = list(ordered.itertuples(index=False, name=None))
    if total := rest["probability"].sum():
        mean = float(np.average(rest["distance"], weights=rest["probability"]))
        groups.append((f"{len(rest)} others", total, mean))
    return groups


def _draw_ribbons(ax: Axes, groups: list[tuple[str, float, float]], scale: Normalize) -> None:
    """A row a class with name, share, bar, and a ribbon as high as its probability."""
    heights = [max(LEAST, probability) for _, probability, _ in groups]
    x = np.linspace(0.55, 1.25, 50)
    ease = (1 - np.cos(np.linspace(0, np.pi, 50))) / 2  # from 0 to 1, level at both ends
    y, end = sum(heights) / 2, 0.5
    headings = {"source class": (0, y), "2  probability p": (0.5, y), "true class": (1.34, end)}
    for heading, (place, top) in headings.items():
        ax.text(place, top + 0.05, heading, ha="right", va="bottom", fontsize=SMALL, color=GREY)
    for (name, probability, distance), height in zip(groups, heights, strict=True):
        y -= height / 2
        colour, half = DISTANCES(scale(distance)), probability / 2
        cut = name if len(name) < 20 else f"{name[:18].rstrip()}…"
        ax.text(0, y, cut, ha="right", va="center", fontsize=SMALL)
        ax.text(0.5, y, f"{100 * probability:.1f} %", ha="right", va="center", fontsize=SMALL)
        ax.barh(y, 0.22, 0.12, 0.05, color=FAINT)
        ax.barh(y, 0.22 * probability, 0.12, 0.05, color=PALETTE[0], gid="share")
        middle = y + (end - half - y) * ease
        ax.fill_between(x, middle - half, middle + half, color=colour, linewidth=0.4, gid="ribbon")
        y, end = y - height / 2, end - 2 * half
    ax.barh(0, 0.05, 1, 1.25, color=INK)
    ax.set(xlim=(-0.42, 1.6), ylim=(y - 0.05, -y + 0.2))
    ax.axis("off")
