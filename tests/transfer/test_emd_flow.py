"""The flow of the EMD holds the numbers given, with labels that can be read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawing_checks import fits, words

from lib.transfer.emd_flow import DISTANCES, draw_emd_flow

IMAGE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
PROBABILITIES = [0.02, 0.4, 0.1, 0.05, 0.2, 0.08, 0.06, 0.05, 0.04]
DISTANCE = [9.0, 1, 4, 5, 3, 6, 7, 2, 8]
SUM = {"total": 39016.4, "images": 6903}


def flows(probabilities=PROBABILITIES, distances=DISTANCE):
    names = [f"class {i}" for i in range(len(probabilities))]
    return pd.DataFrame({"source": names, "probability": probabilities, "distance": distances})


def parts(figure, collection, kind):
    return [part for part in getattr(figure.axes[1], collection) if part.get_gid() == kind]


@pytest.mark.parametrize("table", [flows(), flows([0.97, *[0.003] * 10], range(11))])
def test_labels_fit(table):
    figure = draw_emd_flow(IMAGE, "inline skate", table, "MobileNetV2", **SUM)
    assert fits(figure)
    assert 7 <= figure.get_figwidth() <= 8


def test_a_long_name_is_cut_and_fits():
    table = flows().assign(source=[f"{i} black-and-gold garden spider" for i in range(9)])
    figure = draw_emd_flow(IMAGE, "extraordinarily long-legged animal", table, "ResNet-18", **SUM)
    assert fits(figure)
    assert "1 black-and-gold g…" in words(figure.axes[1])


def test_ribbons_are_as_high_as_probabilities_and_end_at_the_true_class():
    """Six classes by probability, and three others with 0.11 at 6 = (0.18 + 0.1 + 0.32) / 0.11."""
    figure = draw_emd_flow(IMAGE, "cat", flows(), "ResNet-18", **SUM)
    ribbons = parts(figure, "collections", "ribbon")
    ends = []
    for ribbon in ribbons:
        x, y = ribbon.get_paths()[0].vertices.T
        ends.append((y[x == x.max()].max(), y[x == x.max()].min()))
    tops, bottoms = np.array(ends).T
    assert tops - bottoms == pytest.approx([0.4, 0.2, 0.1, 0.08, 0.06, 0.05, 0.11])
    assert tops[1:] == pytest.approx(bottoms[:-1])  # no gaps at the end
    nearness = [1, 3, 4, 6, 7, 5, 0.6 / 0.11]
    for ribbon, distance in zip(ribbons, nearness, strict=True):
        assert ribbon.get_facecolor()[0] == pytest.approx(DISTANCES((distance - 1) / 8), abs=0.02)


def test_the_flow_names_classes_shares_and_the_sum():
    """0.18+0.4+0.4+0.25+0.6+0.48+0.42+0.1+0.32 = 3.15."""
    figure = draw_emd_flow(IMAGE, "cat", flows(), "ResNet-18", **SUM)
    shown = words(figure.axes[1])
    names = ["class 1", "class 4", "class 2", "class 5", "class 6", "class 3", "3 others"]
    assert [text for text in shown if text in names] == names
    assert {"40.0 %", "11.0 %", "cat"} <= set(shown)
    assert "ResNet-18" in words(figure.axes[0])
    assert (
        figure.axes[1].get_title() == "3  EMD = Σ p · d = 3.15\n4  sum over 6,903 images = 39,016"
    )
    bars = [bar.get_width() for bar in parts(figure, "patches", "share")]
    assert np.array(bars) / bars[0] == pytest.approx([1, 0.5, 0.25, 0.2, 0.15, 0.125, 0.275])
    assert np.array_equal(figure.axes[0].images[0].get_array(), IMAGE)


def test_few_classes_have_no_others():
    ax = draw_emd_flow(IMAGE, "cat", flows([0.75, 0.25], [1, 5]), "x", **SUM).axes[1]
    assert ax.get_title().startswith("3  EMD = Σ p · d = 2.00\n")
    assert not any("others" in text for text in words(ax))
