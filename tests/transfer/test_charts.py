"""The figures of the transfer study hold the numbers given, with labels that can be read."""

import numpy as np
import pandas as pd
import pytest
from drawing_checks import fits, words
from matplotlib import rc_context
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch, Rectangle

from lib.figures.names import readable
from lib.figures.style import GREY, use_style
from lib.transfer.charts import (
    DISTANCES,
    draw_agreement,
    draw_curves,
    draw_emd_flow,
    draw_regret,
    draw_scores_against_accuracy,
)

NETWORKS = ("AlexNet", "ResNet-18", "small ResNet")
SOURCES = ("no training", "ImageNet", "ImageNet & Caltech-256", "Places365")
SCORES = ("softmax", "EMD", "normalised EMD", "LEEP", "NCE", "LogME", "H-score", "PARC", "k-NN")
ENDS = ("", "_low", "_high")
IMAGE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
PROBABILITIES = [0.02, 0.4, 0.1, 0.05, 0.2, 0.08, 0.06, 0.05, 0.04]
DISTANCE = [9.0, 1, 4, 5, 3, 6, 7, 2, 8]


@pytest.fixture(autouse=True)
def style():
    with rc_context():
        use_style()
        yield


def flows(probabilities=PROBABILITIES, distances=DISTANCE):
    names = [f"class {i}" for i in range(len(probabilities))]
    return pd.DataFrame({"source": names, "probability": probabilities, "distance": distances})


def curves():
    keys = [(n, s, e) for n in NETWORKS for s in SOURCES for e in range(1, 31)]
    rows = pd.DataFrame(keys, columns=["network", "source", "epoch"])
    ends = rows["source"].map(dict(zip(SOURCES, (0.2, 0.8, 0.85, 0.7), strict=True)))
    rows["accuracy"] = ends * (1 - 0.5 * np.exp(-rows["epoch"] / 3))
    return rows.assign(low=rows["accuracy"] - 0.02, high=rows["accuracy"] + 0.01)


def scores(names=SCORES):
    keys = [(n, s, k) for k in names for n in NETWORKS for s in SOURCES]
    rows = pd.DataFrame(keys, columns=["network", "source", "score"])
    rng = np.random.default_rng(0)
    for name, low, high in (("value", "low", "high"), *[[f"accuracy{e}" for e in ENDS]]):
        rows[name] = rng.uniform(0.2, 0.9, len(rows))
        rows[low], rows[high] = rows[name] - 0.03, rows[name] + 0.05
    return rows


def agreements():
    keys = [(k, m) for k in SCORES for m in ("Kendall", "weighted tau", "Spearman")]
    rows = pd.DataFrame(keys, columns=["score", "measure"])
    rows["value"] = np.random.default_rng(0).uniform(-0.4, 0.6, len(rows))
    return rows.assign(low=rows["value"] - 0.3, high=rows["value"] + 0.2)


def regrets():
    names = ["random choice", "EMD", "ImageNet accuracy"]
    keys = [(k, n) for k in names for n in NETWORKS[:2]]
    rows = pd.DataFrame(keys, columns=["score", "network"])
    return rows.assign(regret=[0.2, 0.1, 0, 0, 0.01, 0.03])


FIGURES = {
    "flow": lambda: draw_emd_flow(IMAGE, "inline skate", flows(), "ResNet-18"),
    "flow-certain": lambda: draw_emd_flow(
        IMAGE, "a", flows([0.97, *[0.003] * 10], range(11)), "AlexNet"
    ),
    "curves": lambda: draw_curves(curves()),
    "scores": lambda: draw_scores_against_accuracy(scores()),
    "agreement": lambda: draw_agreement(agreements()),
    "regret": lambda: draw_regret(regrets()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_labels_fit(name):
    figure = FIGURES[name]()
    assert fits(figure)
    assert 7 <= figure.get_figwidth() <= 8


def test_a_long_name_is_cut_and_fits():
    table = flows().assign(source=[f"{i} black-and-gold garden spider" for i in range(9)])
    figure = draw_emd_flow(IMAGE, "extraordinarily long-legged animal", table, "ResNet-18")
    assert fits(figure)
    assert "1 black-and-gold g…" in words(figure.axes[0])


def test_ribbons_are_as_high_as_probabilities_and_end_at_the_true_class():
    """Six classes by probability, and three others with 0.11 at 6 = (0.18 + 0.1 + 0.32) / 0.11."""
    ax = draw_emd_flow(IMAGE, "cat", flows(), "ResNet-18").axes[0]
    ribbons = [p for p in ax.patches if isinstance(p, PathPatch) and p.get_gid() == "ribbon"]
    assert len(ribbons) == 7
    ends = [patch.get_path().vertices for patch in ribbons]
    heights = np.array([v[0, 1] - v[-1, 1] for v in ends])
    largest = [0.4, 0.2, 0.1, 0.08, 0.06, 0.05]
    assert heights / heights.sum() == pytest.approx([*largest, 0.11])
    stacked = [v[3, 1] for v in ends], [v[4, 1] for v in ends]
    assert stacked[0][1:] == pytest.approx(stacked[1][:-1])  # no gaps at the end
    nearness = [1, 3, 4, 6, 7, 5, 0.6 / 0.11]
    for patch, distance in zip(ribbons, nearness, strict=True):
        assert patch.get_facecolor() == pytest.approx(DISTANCES((distance - 1) / 8), abs=0.02)


def test_the_flow_names_classes_shares_and_the_sum():
    """0.18+0.4+0.4+0.25+0.6+0.48+0.42+0.1+0.32 = 3.15."""
    ax = draw_emd_flow(IMAGE, "cat", flows(), "ResNet-18").axes[0]
    shown = words(ax)
    names = ["class 1", "class 4", "class 2", "class 5", "class 6", "class 3", "3 others"]
    assert [text for text in shown if text in names] == names
    assert {"40.0 %", "11.0 %", "cat", "ResNet-18", "EMD = Σ p · d = 3.15"} <= set(shown)
    bars = [p.get_width() for p in ax.patches if p.get_gid() == "share"]
    assert np.array(bars) / bars[0] == pytest.approx([1, 0.5, 0.25, 0.2, 0.15, 0.125, 0.275])
    assert np.array_equal(ax.images[0].get_array(), IMAGE)


def test_few_classes_have_no_others():
    ax = draw_emd_flow(IMAGE, "cat", flows([0.75, 0.25], [1, 5]), "x").axes[0]
    assert "EMD = Σ p · d = 2.00" in words(ax)
    assert not any("others" in text for text in words(ax))


@pytest.mark.parametrize("bad", [[0.5, 0.4], [1.2, -0.2]])
def test_flow_refuses_what_is_no_distribution(bad):
    with pytest.raises(ValueError, match="add up to 1"):
        draw_emd_flow(IMAGE, "cat", flows(bad, [1, 2]), "x")


def test_curves_and_bands_are_the_tables():
    rows = curves()
    figure = draw_curves(rows[::-1].sort_values("network"))
    assert len(figure.axes) == 6
    assert [ax.get_title() for ax in figure.axes[:3]] == list(NETWORKS)
    for network, whole, zoom in zip(NETWORKS, figure.axes[:3], figure.axes[3:], strict=True):
        for ax in (whole, zoom):
            assert {line.get_label() for line in ax.lines} == set(SOURCES)
        for line, band in zip(whole.lines, whole.collections, strict=True):
            part = rows[(rows["network"] == network) & (rows["source"] == line.get_label())]
            assert np.array_equal(line.get_xdata(), part["epoch"])
            assert line.get_ydata() == pytest.approx(100 * part["accuracy"])
            edges = band.get_paths()[0].vertices[:, 1]
            assert edges.min() == pytest.approx(100 * part["low"].min())
            assert edges.max() == pytest.approx(100 * part["high"].max())


def test_the_zoom_shows_the_best_sources_and_is_framed():
    """Above: no training ends at 20 %, 65 points below the best."""
    rows = curves()
    whole, zoom = draw_curves(rows[rows["network"] == "AlexNet"]).axes
    bottom, top = zoom.get_ylim()
    assert 40 < bottom < 68 and top == pytest.approx(100 * rows["high"].max() + 1)
    (frame,) = (p for p in whole.patches if isinstance(p, Rectangle))
    assert (frame.get_y(), frame.get_y() + frame.get_height()) == pytest.approx((bottom, top))
    assert whole.get_ylim()[1] >= top


def test_a_zoom_into_nearly_everything_is_left_out():
    """Without the source that ends at 20 %, a network's sources end within 15 points."""
    rows = curves()[lambda table: table["epoch"] > 8]
    near = rows[rows["source"] != "no training"]
    figure = draw_curves(near)
    assert [ax.get_title() for ax in figure.axes] == list(NETWORKS)
    assert not [p for ax in figure.axes for p in ax.patches]
    assert fits(figure) and figure.get_figheight() < draw_curves(rows).get_figheight()
    mixed = pd.concat([rows[rows["network"] == "AlexNet"], near[near["network"] != "AlexNet"]])
    first, *others, zoom = draw_curves(mixed).axes
    assert [bool(ax.patches) for ax in (first, *others)] == [True, False, False]
    assert {ax.get_xlabel() for ax in (*others, zoom)} == {"epoch"} and not first.get_xlabel()
    assert (first.get_ylabel(), zoom.get_ylabel()) == ("test accuracy (%)", "framed part (%)")


def test_one_colour_a_source_in_every_panel_and_in_the_legend():
    figure = draw_curves(curves())
    (legend,) = figure.legends
    colours = {h.get_label(): to_rgba(h.get_color()) for h in legend.legend_handles}
    assert len(set(colours.values())) == len(SOURCES)
    for line in (line for ax in figure.axes for line in ax.lines):
        assert to_rgba(line.get_color()) == colours[line.get_label()]
    assert colours["no training"] == to_rgba(GREY)


def test_scores_hold_every_model_with_its_intervals():
    rows = scores()
    figure = draw_scores_against_accuracy(rows)
    panels = {ax.get_title(): ax for ax in figure.axes if ax.axison}
    assert list(panels) == list(SCORES)
    part = rows[rows["score"] == "LEEP"].reset_index(drop=True)
    points = panels["LEEP"].containers
    assert len(points) == len(part) == 12
    for row, (point, _, (across, up)) in zip(part.itertuples(), points, strict=True):
        assert point.get_xydata()[0] == pytest.approx((row.value, 100 * row.accuracy))
        assert across.get_segments()[0][:, 0] == pytest.approx((row.low, row.high))
        edges = (100 * row.accuracy_low, 100 * row.accuracy_high)
        assert up.get_segments()[0][:, 1] == pytest.approx(edges)
    looks = {(p.get_color(), p.get_marker()) for p, *_ in points}
    assert len(looks) == 12 and len({c for c, _ in looks}) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name for name in names if name.strip()] == [*NETWORKS, *SOURCES]
    grey = [p.get_markerfacecolor() == GREY for p, *_ in points]
    assert grey == (part["source"] == "no training").tolist()
    handles = {h.get_label(): h.get_color() for h in figure.legends[0].legend_handles}
    assert [name for name in SOURCES if handles[name] == GREY] == ["no training"]


def test_a_score_that_a_source_lacks_is_left_out():
    rows = scores(("normalised EMD",))
    rows.loc[0, "value"] = np.nan
    rows.loc[1, ["low", "high"]] = np.nan
    (ax,) = draw_scores_against_accuracy(rows).axes
    assert len(ax.containers) == 11
    assert np.ptp(ax.containers[0][2][0].get_segments()[0][:, 0]) == 0


def test_agreement_is_sorted_and_has_intervals_and_a_zero_line():
    rows = agreements()
    figure = draw_agreement(rows)
    assert [ax.get_title() for ax in figure.axes] == ["Kendall", "weighted tau", "Spearman"]
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    kendall = rows[rows["measure"] == "Kendall"].set_index("score")
    assert labels == kendall["value"].sort_values().index.tolist()
    for ax in figure.axes:
        part = rows[rows["measure"] == ax.get_title()].set_index("score").loc[labels]
        point, _, (bars,) = ax.containers[0]
        drawn = {round(y): x for x, y in point.get_xydata()}
        assert [drawn[y] for y in range(9)] == pytest.approx(part["value"].tolist())
        spans = {round(s[0, 1]): s[:, 0] for s in bars.get_segments()}
        for y, (low, high) in enumerate(part[["low", "high"]].to_numpy()):
            assert spans[y] == pytest.approx((low, high))
        assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)


def test_regret_in_points_least_on_top():
    (ax,) = draw_regret(regrets()).axes
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["random choice", "ImageNet accuracy", "EMD"]
    dots = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert dots["AlexNet"][:, 0] == pytest.approx([20, 0, 1])
    assert dots["ResNet-18"][:, 0] == pytest.approx([10, 0, 3])
    assert dots["AlexNet"][:, 1].round().tolist() == [0, 2, 1]
    assert words(ax) == ["20.0", "0.0", "1.0", "10.0", "0.0", "3.0"]
    colours = [text.get_color() for text in ax.get_yticklabels()]
    assert colours[0] == colours[1] != colours[2]


def test_names_of_records_are_written_out():
    assert readable("inat_birds & voc2012") == "iNaturalist birds & VOC 2012"
    assert readable("no training") == "no training"
    (ax,) = draw_regret(regrets().replace({"EMD": "emd", "AlexNet": "all"})).axes
    assert ax.get_yticklabels()[2].get_text() == "EMD"
    assert ax.lines[0].get_label() == "all networks"


@pytest.mark.parametrize(
    ("draw", "rows"),
    [
        (lambda rows: draw_emd_flow(IMAGE, "cat", rows, "x"), flows()),
        (draw_curves, curves()),
        (draw_scores_against_accuracy, scores()),
        (draw_agreement, agreements()),
        (draw_regret, regrets()),
    ],
)
def test_nothing_to_draw_is_refused(draw, rows):
    with pytest.raises(ValueError, match="no rows"):
        draw(rows[:0])
    with pytest.raises(ValueError, match=f"no {rows.columns[-1]}"):
        draw(rows.drop(columns=rows.columns[-1]))
