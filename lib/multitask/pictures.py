"""Pictures of the multi-task study: landmarks on faces, and feature maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import skimage.data
import torch
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from skimage.util import montage
from torch import Tensor

from lib.data.faces import LANDMARKS, cut_out, mtfl_boxes
from lib.figures.charts import handles_of, legend, pictures, wrapped
from lib.figures.style import INK, PALETTE, TINY
from lib.multitask.measures import mirrored

RIM = [withStroke(linewidth=2, foreground=INK)]  # seen on bright faces too
LOOKS: dict[str, dict[str, Any]] = {
    "truth": dict(marker="o", mfc="none", color=PALETTE[8], markersize=8, path_effects=RIM),
    "prediction": dict(marker="X", mec="white", color=PALETTE[0], markersize=7),
}
SIDE = 3  # channels along each side of a mosaic
OUTLINE = [0, 1, 4, 3, 0, 2, 1]  # a line through eyes, mouth and nose
BLANK = 64  # pixels of a face that is not shown
# landmarks of scikit-image's astronaut in pixels, set by eye
ASTRONAUT = ((202.5, 100.8), (246.5, 103.3), (224.5, 126.3), (205.0, 140.5), (243.8, 141.3))


def astronauts(size: int) -> tuple[Tensor, Tensor]:
    """A photograph that may be shown: cropped as MTFL's, mirrored, and cropped elsewhere, twice.

    Returns (4, 3, size, size) uint8 and the landmarks (4, 5, 2) as shares of the sides.
    """
    points, images, places = np.array(ASTRONAUT), [], []
    left, top, right, bottom = mtfl_boxes(points[None], np.full((1, 3), 0.5))[0]
    for by, scale in ((0, 1), (0, 1), (8, 1.1), (-8, 0.9)):
        side = round(scale * (right - left))
        corner = np.array([(left + right - side) // 2 + by, (top + bottom - side) // 2 - by])
        image = cut_out(skimage.data.astronaut(), [*corner, *(corner + side)], size)
        images.append(torch.tensor(image).permute(2, 0, 1))
        places.append(torch.tensor((points - corner) / side).float())
    images[1] = images[1].flip(2)
    places[1] = torch.tensor([1, 0]) + torch.tensor([-1, 1]) * places[1][mirrored(LANDMARKS)]
    return torch.stack(images), torch.stack(places)


def draw_faces(
    images: np.ndarray | None,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    titles: Sequence[str],
    errors: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """The paper's fig. 4: true and predicted landmarks, a row a network, a column a face.

    images: (N, 3, S, S) uint8; without them eyes, nose and mouth are joined by lines.
    truth and each of predictions: (N, 5, 2) shares of the sides.
    errors: (N,) NME of each, written below the pictures.
    """
    hidden = images is None
    if images is None:
        images = np.full((len(truth), 3, BLANK, BLANK), 255, np.uint8)
    shown = {title: image / 255 for title, image in zip(titles, images, strict=True)}
    figure = pictures({wrapped(name, 18): shown for name in predictions})
    side = images.shape[-1]
    cells = [(name, place) for name in predictions for place in range(len(images))]
    for ax, (name, place) in zip(figure.axes, cells, strict=True):
        for points, look in zip((truth, predictions[name]), LOOKS.values(), strict=True):
            where = side * points[place] - 0.5
            if hidden:
                ax.plot(*where[OUTLINE].T, color=look["color"], linewidth=1)
            ax.plot(*where.T, linestyle="", markeredgewidth=1, **look)
        ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
        if errors is not None:
            ax.set_xlabel(f"NME {100 * errors[name][place]:.1f} %", fontsize=TINY)
    second = "prediction" if errors is not None else ", ".join(predictions)
    looks = dict(zip(("truth", second), LOOKS.values(), strict=True))
    legend(figure, handles_of(looks, linestyle=""))
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
