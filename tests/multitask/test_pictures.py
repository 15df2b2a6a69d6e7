"""Pictures of the multi-task study hold the images, points and channels that are given."""

from __future__ import annotations

import numpy as np
import pytest
from drawing_checks import fits

from lib.multitask.pictures import LOOKS, astronauts, draw_faces, mosaic

IMAGES = np.arange(4 * 3 * 16 * 16).reshape(4, 3, 16, 16).astype(np.uint8)
TITLES = ["worst", "median", "best", "profile"]


def points():
    """Truth, and what two networks predict."""
    truth = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 2))
    return truth, {"baseline": truth + 0.1, "SMTN": truth - 0.05}


def faces(**options):
    return draw_faces(IMAGES, *points(), TITLES, **options)


def test_faces_have_both_sets_of_points_in_pixels():
    """A share of 0 is the outer edge of the first pixel, at -0.5."""
    truth, predictions = points()
    figure = faces(errors={"baseline": [0.1, 0.2, 0.3, 0.4], "SMTN": [0.04] * 4})
    assert len(figure.axes) == 8
    assert [ax.get_title() for ax in figure.axes[:4]] == TITLES
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == list(predictions)
    assert [ax.get_xlabel() for ax in figure.axes[1:5]] == [
        *["NME 20.0 %", "NME 30.0 %", "NME 40.0 %"],
        "NME 4.0 %",
    ]
    for index, ax in enumerate(figure.axes):
        key, face = list(predictions)[index // 4], index % 4
        assert np.allclose(ax.images[0].get_array(), IMAGES[face].transpose(1, 2, 0) / 255)
        true, predicted = ax.lines
        assert true.get_xydata() == pytest.approx(16 * truth[face] - 0.5)
        assert predicted.get_xydata() == pytest.approx(16 * predictions[key][face] - 0.5)
        markers = [look["marker"] for look in LOOKS.values()]
        assert [true.get_marker(), predicted.get_marker()] == markers
        assert ax.get_xlim() == (-0.5, 15.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "prediction"]
    assert fits(figure)


def test_a_mosaic_holds_the_channels_that_vary_most():
    """Channel c is 0 everywhere but for one pixel of c: the larger, the higher its variance."""
    stream = np.zeros((11, 16, 16))
    stream[np.arange(11), np.arange(11), 0] = np.arange(11)
    shown = mosaic(stream)[0]
    assert shown.shape == (50, 50)
    for place, channel in enumerate([10, 9, 8, 7, 6, 5, 4, 3, 2]):
        top, left = 17 * (place // 3), 17 * (place % 3)
        tile = shown[top : top + 16, left : left + 16]
        assert tile[channel, 0] == tile.max() == 1 and tile.sum() == 1
    assert np.isnan(shown[16]).all()
    only = mosaic(stream[:1])[0]  # a constant channel, and eight empty places
    assert np.nanmax(only) == 0 and np.isfinite(only).sum() == 16 * 16


def test_faces_that_are_not_shown_are_outlined():
    """A line through eyes, mouth and nose behind each set of points, on white."""
    truth, predictions = points()
    figure = draw_faces(None, truth, predictions, TITLES)
    ax = figure.axes[5]
    assert (np.asarray(ax.images[0].get_array()) == 1).all()
    outline, true, other, predicted = ax.lines
    for line, dots, where in ((outline, true, truth), (other, predicted, predictions["SMTN"])):
        expected = 64 * where[1] - 0.5
        assert dots.get_xydata() == pytest.approx(expected)
        left_eye, right_eye, nose, left, right = expected
        path = [left_eye, right_eye, right, left, left_eye, nose, right_eye]
        assert line.get_xydata() == pytest.approx(np.array(path))
        assert line.get_color() == dots.get_color() and line.get_marker() == "None"


def test_the_astronauts_landmarks_are_on_her_face():
    """Irises are darker than what is around them, and the left eye is the one further left."""
    images, landmarks = astronauts(64)
    assert images.shape == (4, 3, 64, 64) and landmarks.shape == (4, 5, 2)
    assert len({image.numpy().tobytes() for image in images}) == 4
    grey = images.float().mean(1).numpy()
    for picture, points in zip(grey, 64 * landmarks.numpy(), strict=True):
        assert points[0, 0] + 20 < points[1, 0] and points[3, 0] + 15 < points[4, 0]
        for x, y in points[:2]:
            row, column = int(y), int(x)
            iris = picture[row - 1 : row + 2, column - 1 : column + 2].mean()
            cheek = picture[row + 5 : row + 9, column - 2 : column + 3].mean()
            assert iris < cheek - 40
    width = landmarks[0, :, 0].max() - landmarks[0, :, 0].min()
    assert 1 / float(width) == pytest.approx(2.6, rel=0.02)  # as MTFL's crops of middle size
