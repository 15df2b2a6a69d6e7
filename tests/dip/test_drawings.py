"""The drawings show what the architecture is, with labels that can be read."""

from io import BytesIO

import pytest
from drawing_checks import arrows, collisions, texts
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.dip.drawings import draw_encoder_decoder, draw_two_uses
from lib.dip.network import Architecture
from lib.figures.network_drawings import HIGHLIGHT
from lib.figures.style import use_style

SMALLEST_AXES = (3.5, 2.5)  # inches


def drawn(architecture):
    figure = Figure(figsize=SMALLEST_AXES)
    ax = figure.add_axes((0, 0, 1, 1))
    draw_encoder_decoder(ax, architecture)
    return ax


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
