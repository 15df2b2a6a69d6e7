"""The drawings hold what the paper's figures 2 and 6 hold, with labels that can be read."""

import numpy as np
import pytest
from drawing_checks import arrows, collisions
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Rectangle

from lib.figures.style import DISTINCT, PALETTE, use_style
from lib.image_weights.drawings import (
    SIZE,
    draw_image_weight_layer,
    draw_training_with_generated,
    looks_of_recipes,
)
from lib.image_weights.plan import OPTIMISERS

BOTH = (draw_image_weight_layer, draw_training_with_generated)


def drawn(draw, width=SIZE[0]):
    with rc_context():
        use_style()
        figure = Figure(figsize=(width, width * SIZE[1] / SIZE[0]))
        draw(figure.subplots())
    return figure.axes[0]


def place(ax, name):
    """Where the only label of this name is."""
    (found,) = (text for text in ax.texts if text.get_text() == name)
    return found.get_position()


@pytest.mark.parametrize("draw", BOTH)
@pytest.mark.parametrize("width", [11, 12])
def test_labels_fit(draw, width):
    ax = drawn(draw, width)
    assert collisions(ax.figure) == []


@pytest.mark.parametrize("draw", BOTH)
def test_no_label_lies_on_a_picture_or_a_bar(draw):
    ax = drawn(draw)
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw(renderer)
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    things = [thing.get_window_extent(renderer) for thing in [*ax.images, *boxes]]
    texts = [text for text in ax.texts if text.get_text()]
    covered = [
        text.get_text()
        for text in texts
        if any(text.get_window_extent(renderer).overlaps(thing) for thing in things)
    ]
    assert len(things) > 10 and covered == []


@pytest.mark.parametrize(
    ("draw", "learns"),
    [(draw_image_weight_layer, "weights W"), (draw_training_with_generated, "new classifier")],
)
def test_the_gradient_goes_to_what_learns_and_the_padlock_is_on_what_does_not(draw, learns):
    ax = drawn(draw)
    (feedback,) = arrows(ax, "feedback")
    start, (x, y) = feedback.get_path().vertices[0], place(ax, learns)
    assert start[0] == pytest.approx(x, abs=0.05) and start[1] < y
    (shackle,) = (patch for patch in ax.patches if isinstance(patch, Arc))
    assert abs(shackle.center[0] - place(ax, "frozen classifier")[0]) < 0.6


def test_the_weights_are_the_pixels_of_the_picture():
    ax = drawn(draw_image_weight_layer)
    pixels = ax.images[0].get_array().reshape(-1, 3)
    nodes = [
        p for p in ax.patches if isinstance(p, Circle) and to_rgb(p.get_facecolor()) != (1, 1, 1)
    ]
    assert len(nodes) == 16  # eight outputs, in both parts
    for node in nodes:
        assert np.abs(pixels - to_rgb(node.get_facecolor())).max(1).min() < 1e-6


def test_the_maps_are_tan_and_its_inverse():
    """Slopes: tan is steepest at its ends, arctan in its middle."""
    ax = drawn(draw_image_weight_layer)
    tan, arctan = (line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 101)
    for curve, steepest in ((np.diff(tan), (0, 99)), (np.diff(arctan), (49, 50))):
        assert (curve > 0).all() and int(curve.argmax()) in steepest


def test_the_new_set_has_some_generated_images_at_their_own_places():
    ax = drawn(draw_training_with_generated)
    pictures = [image.get_array() for image in ax.images]
    assert len(pictures) == 30
    orange = [p for p in ax.patches if p.get_edgecolor()[:3] == to_rgb(PALETTE[1])]
    marks = [any(in_front(frame, image) for frame in orange) for image in ax.images]
    assert marks[:20] == [False] * 10 + [True] * 10 and 0 < sum(marks[20:]) < 10
    for first, second in zip(pictures[:10], pictures[20:], strict=True):
        assert np.array_equal(first, second)


def in_front(frame, image):
    left, _, bottom, _ = image.get_extent()
    return np.allclose(frame.get_xy(), (left, bottom))


def test_a_way_has_the_colour_of_its_updates_and_the_line_of_its_family():
    styles = looks_of_recipes(OPTIMISERS)
    assert list(styles) == list(OPTIMISERS)
    assert len({tuple(look.values()) for look in styles.values()}) == len(OPTIMISERS)
    for line, first, second in (
        ("--", "SGD + low-pass", "momentum + low-pass"),
        ("-.", "Fourier", "Fourier, momentum"),
    ):
        for name, updates in ((first, "SGD"), (second, "momentum")):
            assert styles[name]["color"] == styles[updates]["color"]
            assert (styles[name]["linestyle"], styles[updates]["linestyle"]) == (line, "-")
    assert {look["color"] for look in styles.values()} == set(DISTINCT[:6])
