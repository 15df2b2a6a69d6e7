"""What tests of figures look for: arrows, texts, and what overlaps."""

from __future__ import annotations

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyArrowPatch


def arrows(ax, kind):
    found = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    return [arrow for arrow in found if arrow.get_gid().startswith(kind)]


def collisions(figure):
    """Pairs of labels that overlap, and labels that leave the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    labels = [text for ax in figure.axes for text in ax.texts if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in labels]
    outside = [
        name
        for name, box in boxes
        if not (figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1)
        or not (figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1)
    ]
    return outside + [(a, b) for (a, p), (b, q) in combinations(boxes, 2) if p.overlaps(q)]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def fits(figure):
    """Nothing leaves the figure: labels, titles, ticks and legends."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    edges = (box.x0, box.y0, width - box.x1, height - box.y1)
    return min(edges) > -0.01 and collisions(figure) == []


def words(ax):
    return [text.get_text() for text in ax.texts]
