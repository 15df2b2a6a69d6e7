"""Pictures of the multi-task study: landmarks on faces, and feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from skimage.util import montage

from lib.figures.charts import handles_of, legend, pictures, wrapped
from lib.figures.style import INK, PALETTE, TINY

LOOKS: dict[str, dict[str, Any]] = {
    "truth": {
        "marker": "o",
        "markerfacecolor": "none",
        "color": PALETTE[8],
        "markersize": 8,
        "path_effects": [withStroke(linewidth=2, foreground=INK)],  # seen on bright faces too
    },
    "prediction": {
        "marker": "X",
        "markeredgecolor": "white",
        "color": PALETTE[0],
        "markersize": 7,
    },
}
SIDE = 3  # channels along each side of a mosaic


def draw_faces(
    images: np.ndarray,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    titles: Sequence[str],
    errors: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """The paper's fig. 4: true and predicted landmarks, a row a network, a column a face.

    images: (N, 3, S, S) uint8. truth and each of predictions: (N, 5, 2) shares of the sides.
    errors: (N,) NME of each, written below the pictures.
    """
    shown = {title: image / 255 for title, image in zip(titles, images, strict=True)}
    figure = pictures({wrapped(name, 18): shown for name in predictions})
    side = images.shape[-1]
    cells = [(name, place) for name in predictions for place in range(len(images))]
    for ax, (name, place) in zip(figure.axes, cells, strict=True):
        for points, look in zip((truth, predictions[name]), LOOKS.values(), strict=True):
            ax.plot(*(side * points[place].T - 0.5), linestyle="", markeredgewidth=1, **look)
        ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
        if errors is not None:
            ax.set_xlabel(f"NME {100 * errors[name][place]:.1f} %", fontsize=TINY)
    legend(figure, handles_of(LOOKS, linestyle=""))
    return figure


def mosaic(maps: np.ndarray) -> np.ndarray:
    """The channels of (C, H, W) that vary most, side by side with a gap: (1, H', W'), 0 to 1.

    Each channel has its own grey scale; its brightest hundredth is white.
    """
    most = np.argsort(-maps.var((1, 2)), kind="stable")[: SIDE**2]
    maps, gap = maps[most], max(1, maps.shape[2] // 16)
    maps = maps - maps.min((1, 2), keepdims=True)
    high, most = np.quantile(maps, 0.99, (1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    spread = np.where(high > 0, high, np.where(most > 0, most, 1))  # what never varies is black
    scaled = (maps / spread).clip(0, 1)
    grid = (SIDE, SIDE)
    return montage(scaled, np.nan, grid_shape=grid, padding_width=gap)[None, gap:-gap, gap:-gap]
