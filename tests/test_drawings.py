"""The drawings show what the architecture is, with labels that can be read."""

from io import BytesIO
from itertools import combinations

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from lib.drawings import draw_encoder_decoder, draw_two_uses
from lib.models.encoder_decoder import Architecture
from lib.network_drawings import HIGHLIGHT
from lib.style import use_style

SMALLEST_AXES = (3.5, 2.5)  # inches


def drawn(architecture):
    figure = Figure(figsize=SMALLEST_AXES)
    ax = figure.add_axes((0, 0, 1, 1))
    draw_encoder_decoder(ax, architecture)
    return ax


def texts(ax):
    return [text.get_text() for text in ax.texts]


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


@pytest.mark.parametrize("skips", [(), (0,), (1, 3), (0, 1, 2, 3)])
def test_every_skip_is_an_arrow_and_every_level_a_box(skips):
    ax = drawn(Architecture(4, skips))
    assert len(arrows(ax, "skip")) == len(skips)
    assert len(arrows(ax, "down")) == len(arrows(ax, "up")) == 4
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(boxes) == 9
    heights = [box.get_height() for box in boxes]
    assert heights[:5] == sorted(heights[:5], reverse=True)
    assert heights == heights[::-1]


def test_depth_and_slc_are_named():
    assert {"depth = 4", "SLC = 1", "level 0", "1/16", "bottleneck"} <= set(
        texts(drawn(Architecture(4, (1, 3))))
    )
    assert "SLC = 3" in texts(drawn(Architecture(3)))


def test_the_shallowest_skip_alone_is_coloured():
    ax = drawn(Architecture(4, (1, 3)))
    lit = {a.get_gid() for a in arrows(ax, "") if to_hex(a.get_edgecolor()) == HIGHLIGHT}
    assert lit == {"skip 1"}


def test_without_a_skip_the_bottleneck_is_coloured():
    boxes = [p for p in drawn(Architecture(2)).patches if isinstance(p, Rectangle)]
    assert [to_hex(box.get_facecolor()) == HIGHLIGHT for box in boxes] == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("depth", range(1, 9))
@pytest.mark.parametrize("skips", ["none", "all"])
def test_labels_fit(depth, skips):
    ax = drawn(Architecture(depth, tuple(range(depth)) if skips == "all" else ()))
    assert collisions(ax.figure) == []


@pytest.mark.filterwarnings("error")
def test_the_two_uses_can_be_saved_twice():
    with rc_context():
        use_style()
        figure = draw_two_uses()
        sizes = []
        for _ in range(2):
            buffer = BytesIO()
            figure.savefig(buffer, format="png")
            sizes.append(len(buffer.getvalue()))
    assert sizes[0] == sizes[1]


def test_the_two_uses_share_a_network_and_differ_in_what_goes_in():
    figure = draw_two_uses()
    words = [text for ax in figure.axes for text in texts(ax)]
    assert words.count("network with weights θ") == 2
    for name in ("noisy patches", "clean patches", "fixed noise z", "the one noisy image x₀"):
        assert words.count(name) == 1
    assert [len(ax.images) for ax in figure.axes] == [9, 3]
    assert collisions(figure) == []
