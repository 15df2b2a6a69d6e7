"""Pictures of the multi-task study: landmarks on faces, and feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from lib.figures.charts import handles_of, legend, wrapped
from lib.figures.style import INK, PALETTE, SMALL, TINY, WIDTH

TRUTH = {"marker": "o", "markerfacecolor": "none", "color": PALETTE[8], "markersize": 8}
TRUTH["path_effects"] = [withStroke(linewidth=2, foreground=INK)]  # seen on bright faces too
PREDICTION = {"marker": "X", "markeredgecolor": "white", "color": PALETTE[0], "markersize": 7}
SIDE = 3  # channels along each side of a mosaic


def draw_faces(
    images: ArrayLike,
    truth: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    titles: Sequence[str],
    errors: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """The paper's fig. 4: true and predicted landmarks, a row a network, a column a face.

    images: (N, 3, S, S) uint8. truth and each of predictions: (N, 5, 2) shares of the sides.
    errors: (N,) NME of each, written below the pictures.
    """
    images, truth = np.asarray(images), np.asarray(truth)
    shapes = {np.shape(points) for points in predictions.values()}
    if not len(images) == len(truth) == len(titles) > 0 or shapes != {truth.shape}:
        raise ValueError("as many titles and sets of points as images are needed, at least one")
    side = min(1.7, (WIDTH - 0.3) / len(images))
    size = (side * len(images) + 0.3, (side + 0.2) * len(predictions) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(predictions), len(images), squeeze=False)
    for line, (key, points) in zip(panels, predictions.items(), strict=True):
        line[0].set_ylabel(wrapped(key, 18), fontsize=SMALL)
        for index, ax in enumerate(line):
            _draw_face(ax, images[index], truth[index], np.asarray(points)[index])
            if errors is not None:
                ax.set_xlabel(f"NME {100 * float(errors[key][index]):.1f} %", fontsize=TINY)
    for ax, title in zip(panels[0], titles, strict=True):
        ax.set_title(title)
    legend(figure, handles_of({"truth": TRUTH, "prediction": PREDICTION}, linestyle=""))
    return figure


def draw_feature_maps(
    image: ArrayLike, maps: Mapping[str, Sequence[ArrayLike]], layers: Sequence[int]
) -> Figure:
    """The paper's fig. 5: a row a stream, for each layer the channels that vary most.

    image: (3, S, S) uint8. maps: for each stream (C, H, W) of every layer. layers: those shown,
    counted from 1. Each channel has its own grey scale, its brightest hundredth is white.
    """
    depth = min(map(len, maps.values()), default=0)
    if not layers or not 1 <= min(layers) <= max(layers) <= depth:
        raise ValueError("layers are counted from 1, and every stream must have them")
    cell = min(2.1, (WIDTH - 1.6) / len(layers))
    size = (cell * len(layers) + 1.6, max(1.8, cell * len(maps) + 0.4))
    figure = Figure(figsize=size, layout="constrained")
    widths = [1.3, *[cell] * len(layers)]
    grid = figure.add_gridspec(len(maps), len(widths), width_ratios=widths)
    ax = figure.add_subplot(grid[:, 0], title="input")
    _show(ax, np.moveaxis(np.asarray(image), 0, -1))
    for row, (name, stream) in enumerate(maps.items()):
        for column, layer in enumerate(layers, 1):
            ax = figure.add_subplot(grid[row, column])
            _show(ax, _mosaic(np.asarray(stream[layer - 1])))
            ax.set_title("" if row else f"layer {layer}")
            ax.set_ylabel("" if column > 1 else wrapped(name, 18), fontsize=SMALL)
    return figure


def _show(ax: Axes, picture: np.ndarray) -> None:
    """A picture without ticks and frame; it may have a title and labels."""
    ax.imshow(picture, cmap="gray")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(False)


def _draw_face(ax: Axes, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    _show(ax, np.moveaxis(image, 0, -1))
    side = image.shape[-1]
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    for points, style in ((truth, TRUTH), (predicted, PREDICTION)):
        ax.plot(*(side * points.T - 0.5), linestyle="", markeredgewidth=1, **style)


def _mosaic(maps: np.ndarray) -> np.ndarray:
    """The channels of (C, H, W) that vary most, each from 0 to 1, side by side with a gap."""
    most = np.argsort(-maps.var((1, 2)), kind="stable")[: SIDE**2]
    height, width = maps.shape[1:]
    gap = max(1, width // 16)
    shape = (SIDE * (height + gap) - gap, SIDE * (width + gap) - gap)
    mosaic = np.full(shape, np.nan)
    for place, channel in enumerate(maps[most]):
        top, left = (height + gap) * (place // SIDE), (width + gap) * (place % SIDE)
        low, high = channel.min(), np.quantile(channel, 0.99)
        spread = max(high - low, 0) or np.ptp(channel) or 1  # what is the same everywhere is black
        scaled = ((channel - low) / spread).clip(0, 1)
        mosaic[top : top + height, left : left + width] = scaled
    return mosaic
