"""The figures of the multi-task study hold the numbers given, with labels that can be read."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from drawing_checks import arrows, fits, words
from matplotlib import rc_context
from matplotlib.colors import to_rgba
from matplotlib.patches import Arc, Circle, Rectangle

from lib.data.faces import LANDMARKS
from lib.figures.network_drawings import FROZEN
from lib.figures.style import GREY, use_style
from lib.multitask.charts import (
    KINDS,
    draw_attributes,
    draw_error_curves,
    draw_landmark_errors,
    draw_probes,
    draw_similarity,
    draw_variants,
)
from lib.multitask.drawings import MOST_LAYERS, STREAMS, draw_networks
from lib.multitask.pictures import PREDICTION, TRUTH, draw_faces, draw_feature_maps

VARIANTS = ("stage 1 (baseline)", "SMTN", "SMTN + conv1x1", "SMTN + conv1x1 + fine-tuning")
CONTROLS = (
    "stage 1, trained on",
    "stage 1, trained on, landmarks weighted",
    "SMTN, end to end",
    "SMTN + conv1x1 + fine-tuning, random 1x1",
)
LITERATURE = ("cross-stitch", "MTAN")
ALL_STREAMS = ("shared", *STREAMS)
IMAGES = np.arange(4 * 3 * 16 * 16).reshape(4, 3, 16, 16).astype(np.uint8)
TITLES = ["worst", "median", "best", "profile"]


@pytest.fixture(autouse=True)
def style():
    with rc_context():
        use_style()
        yield


def table(keys, columns, value, low=0.2, high=0.9, ends=("low", "high")):
    """A row for each of the keys, with a value and an interval around it."""
    rows = pd.DataFrame(keys, columns=columns)
    rows[value] = np.random.default_rng(0).uniform(low, high, len(rows))
    return rows.assign(**{ends[0]: rows[value] - 0.003, ends[1]: rows[value] + 0.002})


def bars(variants=VARIANTS):
    keys = [(v, mark) for v in variants for mark in LANDMARKS]
    return table(keys, ["variant", "landmark"], "nme", 0.03, 0.06)


def curves():
    keys = [(v, epoch) for v in VARIANTS for epoch in range(1, 31)]
    rows = pd.DataFrame(keys, columns=["variant", "epoch"])
    rows["nme"] = 0.05 + 0.2 * np.exp(-rows["epoch"] / 2)
    return rows.assign(low=rows["nme"] - 0.002, high=rows["nme"] + 0.001)


def points():
    """Truth, and what two networks predict."""
    truth = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 2))
    return truth, {"baseline": truth + 0.1, "SMTN": truth - 0.05}


def faces(**options):
    return draw_faces(IMAGES, *points(), TITLES, **options)


def maps(channels=12):
    rng = np.random.default_rng(0)
    return {s: [rng.normal(0, 1, (channels, n, n)) for n in (32, 16, 8)] for s in ALL_STREAMS}


def error_curves():
    error = np.linspace(0, 0.5, 51)
    spreads = dict(zip((*VARIANTS, "mean shape"), (0.03, 0.04, 0.05, 0.06, 0.3), strict=True))
    parts = [
        pd.DataFrame({"variant": v, "error": error, "share": 1 - np.exp(-((error / s) ** 2))})
        for v, s in spreads.items()
    ]
    return pd.concat(parts, ignore_index=True)


def variants():
    """Trivial ones first: the figure puts them last. The mean shape has no accuracy."""
    names = ["mean shape", "majority class", *VARIANTS, *CONTROLS, *LITERATURE]
    kinds = ["trivial"] * 2 + ["paper"] * 4 + ["control"] * 4 + ["literature"] * 2
    rows = pd.DataFrame({"variant": names, "kind": kinds})
    spread = np.linspace(0, 0.01, 10)
    for measure, values in (
        ("nme", [0.21, np.nan, *(0.045 + spread)]),
        ("accuracy", [np.nan, 0.8, *(0.9 - spread)]),
    ):
        rows[measure] = values
        rows[f"{measure}_low"], rows[f"{measure}_high"] = (
            rows[measure] - 0.001,
            rows[measure] + 0.002,
        )
    return rows


def similarities():
    pairs = ("shared and landmarks", "shared and attributes", "landmarks and attributes")
    keys = [(p, layer, v) for p in pairs for layer in (1, 2, 3) for v in VARIANTS]
    return table(keys, ["pair", "layer", "setting"], "cka")[
        ["pair", "layer", "setting", "cka", "low", "high"]
    ]


def probes():
    keys = [(s, layer, task) for s in ALL_STREAMS for layer in (1, 2, 3, 4) for task in STREAMS]
    return table(keys, ["stream", "layer", "task"], "value")


def attributes(count=40, names=VARIANTS):
    rng = np.random.default_rng(0)
    majority = rng.uniform(0.5, 0.95, count)
    parts = [
        pd.DataFrame(
            {
                "attribute": [f"wearing something {i}" for i in range(count)],
                "variant": name,
                "accuracy": majority + rng.uniform(0, 0.05, count),
                "majority": majority,
            }
        )
        for name in names
    ]
    return pd.concat(parts, ignore_index=True)


def names_in(legend):
    return [text.get_text() for text in legend.get_texts()]


def spans(container):
    """Values, lower and upper ends of points with error bars."""
    _, _, (lines,) = container
    return np.array([segment[:, 0] for segment in lines.get_segments()])


FIGURES = {
    "landmarks": lambda: draw_landmark_errors(bars(), curves(), 0.21),
    "landmarks-near": lambda: draw_landmark_errors(bars(), curves(), 0.08),
    "landmarks-many": lambda: draw_landmark_errors(bars((*VARIANTS, *CONTROLS, "a")), curves()),
    "faces": lambda: faces(errors={"baseline": [0.1] * 4, "SMTN": [0.05] * 4}),
    "maps": lambda: draw_feature_maps(IMAGES[0], maps(), (1, 3)),
    "errors": lambda: draw_error_curves(error_curves()),
    "variants": lambda: draw_variants(variants()),
    "similarity": lambda: draw_similarity(similarities()),
    "probes": lambda: draw_probes(probes()),
    "attributes": lambda: draw_attributes(attributes()),
    "attributes-few": lambda: draw_attributes(attributes(6)),
    **{f"networks-{n}": lambda n=n: draw_networks(n) for n in (1, 4, MOST_LAYERS)},
}


@pytest.mark.parametrize("name", FIGURES)
def test_labels_fit(name):
    figure = FIGURES[name]()
    assert fits(figure)
    assert figure.get_figwidth() <= 11


@pytest.mark.parametrize("layers", [1, 3, MOST_LAYERS])
def test_each_shared_layer_feeds_the_next_layer_of_both_tasks(layers):
    (ax,) = draw_networks(layers).axes
    assert len(arrows(ax, "shared to landmarks")) == layers
    assert len(arrows(ax, "shared to attributes")) == layers
    assert len(arrows(ax, "image")) == 2 and len(arrows(ax, "output")) == 4
    boxes = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_gid()]
    frozen = [box for box in boxes if box.get_gid().startswith("frozen")]
    assert len(frozen) == layers == len([b for b in boxes if b.get_gid().startswith("shared")])
    assert {box.get_facecolor() for box in frozen} == {to_rgba(FROZEN)}
    assert len([p for p in ax.patches if isinstance(p, Arc)]) == layers + 1  # one in the key
    circles = [p for p in ax.patches if isinstance(p, Circle)]
    assert len(circles) == 2 * layers + 1
    for task, colour in STREAMS.items():
        own = [box for box in boxes if box.get_gid().startswith(f"{task} ")]
        assert {box.get_facecolor() for box in own} == {to_rgba(colour)}
        left = [box.get_x() for box in own]
        right = [
            x.center[0] for x in circles if own[0].get_y() < x.center[1] < own[0].get_y() + 0.8
        ]
        assert len(left) == layers and np.all(np.array(left) < right)
        assert np.all(np.array(right[:-1]) < left[1:])
    assert words(ax).count("landmarks") == words(ax).count("attributes") == 2


@pytest.mark.parametrize("layers", [0, MOST_LAYERS + 1])
def test_networks_that_would_not_fit_are_refused(layers):
    with pytest.raises(ValueError, match="1 to"):
        draw_networks(layers)


def test_bars_are_the_tables_beside_each_other():
    rows = bars()
    left, right = draw_landmark_errors(rows[::-1], curves()).axes
    ticks = [text.get_text().replace("\n", " ") for text in left.get_xticklabels()]
    assert ticks == list(LANDMARKS[::-1])
    drawn = [c for c in left.containers if c.get_label() in VARIANTS]
    assert [c.get_label() for c in drawn] == list(VARIANTS[::-1])
    for container in drawn:
        part = rows[rows["variant"] == container.get_label()][::-1]
        assert [bar.get_height() for bar in container] == pytest.approx(100 * part["nme"])
        segments = container.errorbar.lines[2][0].get_segments()
        assert [s[0, 1] for s in segments] == pytest.approx(100 * part["low"])
        assert [s[1, 1] for s in segments] == pytest.approx(100 * part["high"])
    edges = sorted((b.get_x(), b.get_x() + b.get_width()) for c in drawn for b in c)
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(edges))
    assert not words(right)


def test_lines_of_the_landmarks_end_large_in_the_panel():
    _, ax = draw_landmark_errors(bars(), curves(), 0.21).axes
    rows = curves()
    part = rows[rows["variant"] == "SMTN"]
    line = ax.lines[1]
    assert line.get_xydata() == pytest.approx(np.c_[part["epoch"], 100 * part["nme"]])
    edges = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert edges.min() == pytest.approx(100 * part["low"].min())
    assert edges.max() == pytest.approx(100 * part["high"].max())
    assert ax.get_ylim() == pytest.approx((95 * rows["low"].min(), 10), abs=0.01)
    assert len(ax.lines) == len(VARIANTS) and words(ax) == ["mean shape: 21.0 % ↑"]


def test_a_mean_shape_nearby_is_a_line():
    _, ax = draw_landmark_errors(bars(), curves(), 0.12).axes
    line = ax.lines[-1]
    assert (line.get_linestyle(), line.get_ydata()[0]) == ("--", pytest.approx(12))
    assert ax.get_ylim()[1] > 12 and words(ax) == ["mean shape"]


def test_variants_that_share_a_colour_are_hatched():
    rows = bars((*VARIANTS, *CONTROLS, "ninth"))
    left, _ = draw_landmark_errors(rows, curves()).axes
    looks = [(c[0].get_facecolor(), c[0].get_hatch()) for c in left.containers if len(c) == 5]
    assert len(set(looks)) == 9 and len({colour for colour, _ in looks}) == 8


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
        assert np.array_equal(ax.images[0].get_array(), IMAGES[face].transpose(1, 2, 0))
        true, predicted = ax.lines
        assert true.get_xydata() == pytest.approx(16 * truth[face] - 0.5)
        assert predicted.get_xydata() == pytest.approx(16 * predictions[key][face] - 0.5)
        assert (true.get_marker(), predicted.get_marker()) == (
            TRUTH["marker"],
            PREDICTION["marker"],
        )
        assert ax.get_xlim() == (-0.5, 15.5)
    assert names_in(figure.legends[0]) == ["truth", "prediction"]


@pytest.mark.parametrize("bad", ["titles", "truth", "prediction", "nothing", "no network"])
def test_faces_that_do_not_match_are_refused(bad):
    truth, predictions = points()
    images, titles = IMAGES, TITLES
    if bad == "titles":
        titles = TITLES[:3]
    elif bad == "truth":
        truth = truth[:3]
    elif bad == "prediction":
        predictions["SMTN"] = predictions["SMTN"][:1]
    elif bad == "no network":
        predictions = {}
    else:
        images, titles, truth, predictions = IMAGES[:0], [], truth[:0], {"a": truth[:0]}
    with pytest.raises(ValueError, match="at least one"):
        draw_faces(images, truth, predictions, titles)


def test_a_mosaic_holds_the_channels_that_vary_most():
    """Channel c is 0 everywhere but for one pixel of c: the larger, the higher its variance."""
    stream = np.zeros((11, 16, 16))
    stream[np.arange(11), np.arange(11), 0] = np.arange(11)
    figure = draw_feature_maps(IMAGES[0], {"shared": [stream], "own": [stream[:1]]}, [1])
    image, mosaic, single = figure.axes
    assert np.array_equal(image.images[0].get_array(), IMAGES[0].transpose(1, 2, 0))
    assert (mosaic.get_title(), mosaic.get_ylabel()) == ("layer 1", "shared")
    shown = mosaic.images[0].get_array()
    assert shown.shape == (50, 50)
    order = [10, 9, 8, 7, 6, 5, 4, 3, 2]
    for place, channel in enumerate(order):
        top, left = 17 * (place // 3), 17 * (place % 3)
        tile = shown[top : top + 16, left : left + 16]
        assert tile[channel, 0] == tile.max() == 1 and tile.sum() == 1
    assert np.ma.getmaskarray(shown)[16].all()
    only = single.images[0].get_array()
    assert only.max() == 0 and only.count() == 16 * 16  # a constant channel, and eight empty places


def test_maps_have_a_row_a_stream_and_a_column_a_layer():
    figure = draw_feature_maps(IMAGES[0], maps(), (1, 3))
    assert [ax.get_title() for ax in figure.axes[:3]] == ["input", "layer 1", "layer 3"]
    assert [ax.get_ylabel() for ax in figure.axes[1::2]] == list(ALL_STREAMS)
    assert [ax.images[0].get_array().shape for ax in figure.axes[1:3]] == [(100, 100), (26, 26)]


@pytest.mark.parametrize("layers", [(), (0,), (1, 4)])
def test_layers_that_a_stream_lacks_are_refused(layers):
    with pytest.raises(ValueError, match="counted from 1"):
        draw_feature_maps(IMAGES[0], maps(), layers)
    with pytest.raises(ValueError, match="counted from 1"):
        draw_feature_maps(IMAGES[0], {}, (1,))


def test_error_curves_end_where_all_have_most_faces():
    """exp(-(x / 0.06)^2) <= 0.05 from x = 0.104 on, which is 0.11 in steps of 0.01."""
    rows = error_curves()
    (ax,) = draw_error_curves(rows.sample(frac=1, random_state=0)).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {*VARIANTS, "mean shape"}
    for name, line in lines.items():
        part = 100 * rows[rows["variant"] == name][["error", "share"]]
        assert line.get_xydata() == pytest.approx(part.to_numpy())
        assert (line.get_linestyle() == ":") == (name == "mean shape")
    assert lines["mean shape"].get_color() == GREY
    assert ax.get_xlim() == pytest.approx((0, 11))


def test_error_curves_of_which_none_gets_there_are_shown_whole():
    rows = error_curves()
    (ax,) = draw_error_curves(rows[rows["variant"] == "mean shape"]).axes
    assert ax.get_xlim() == pytest.approx((0, 50))


def test_variants_are_grouped_by_kind_with_their_intervals():
    rows = variants()
    left, right = draw_variants(rows).axes
    ordered = [*VARIANTS, *CONTROLS, *LITERATURE, "mean shape", "majority class"]
    labels = [text.get_text().replace("\n", " ") for text in left.get_yticklabels()]
    height = dict(zip(labels, left.get_yticks(), strict=True))
    assert list(height) == ordered and list(height.values()) == sorted(height.values())[::-1]
    for ax, measure in ((left, "nme"), (right, "accuracy")):
        part = rows[rows["kind"] != "trivial"].set_index("variant")
        drawn = {y: c for c in ax.containers for _, y in c[0].get_xydata()}
        assert len(drawn) == 10
        for name, row in part.iterrows():
            container = drawn[height[name]]
            assert container[0].get_xdata()[0] == pytest.approx(100 * row[measure])
            ends = (100 * row[f"{measure}_low"], 100 * row[f"{measure}_high"])
            assert spans(container)[0] == pytest.approx(ends)
            assert container[0].get_color() == KINDS[row["kind"]]
        assert len([line for line in ax.lines if line.get_gid() == "separator"]) == 3
        (dashed,) = (line for line in ax.lines if line.get_gid() == "baseline")
        assert dashed.get_xdata()[0] == pytest.approx(100 * part.loc[VARIANTS[0], measure])


def test_trivial_predictions_do_not_stretch_the_axes():
    left, right = draw_variants(variants()).axes
    for ax, marker, text in ((left, ">", "21.00"), (right, "<", "80.00")):
        (arrow,) = (line for line in ax.lines if line.get_marker() == marker)
        assert arrow.get_xdata()[0] in ax.get_xlim()
        assert words(ax)[-1] == text and len(words(ax)) == 11
    assert left.get_xlim()[1] < 6 and right.get_xlim()[0] > 88


def test_trivial_predictions_nearby_are_points():
    rows = variants().assign(nme=lambda t: t["nme"].where(t["kind"] != "trivial", 0.05))
    left, right = draw_variants(rows, baseline="nobody").axes
    assert len(left.containers) == 12 and len(right.containers) == 10
    assert not [line for line in left.lines if line.get_gid() == "baseline"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is one of"):
        draw_variants(variants().replace({"kind": {"paper": "ours"}}))


@pytest.mark.parametrize(
    ("draw", "rows", "names", "scale"),
    [
        (draw_similarity, similarities(), ("setting", "pair", "cka"), 1),
        (draw_probes, probes(), ("task", "stream", "value"), 100),
    ],
)
def test_lines_by_layer_are_the_tables(draw, rows, names, scale):
    panel, label, value = names
    figure = draw(rows.sample(frac=1, random_state=0).sort_values(panel, kind="stable"))
    assert len(figure.axes) == rows[panel].nunique()
    for ax, name in zip(figure.axes, sorted(rows[panel].unique()), strict=True):
        assert ax.get_title().replace("\n", " ") == name
        assert {line.get_label() for line in ax.lines} == set(rows[label])
        for line, band in zip(ax.lines, ax.collections, strict=True):
            part = rows[(rows[panel] == name) & (rows[label] == line.get_label())]
            assert line.get_xdata().tolist() == sorted(part["layer"])
            assert line.get_ydata() == pytest.approx(scale * part[value])
            edges = band.get_paths()[0].vertices[:, 1]
            assert edges.min() == pytest.approx(scale * part["low"].min())
            assert edges.max() == pytest.approx(scale * part["high"].max())
    (legend,) = figure.legends
    colours = {h.get_label(): h.get_color() for h in legend.legend_handles}
    assert len(set(colours.values())) == 3
    assert all(line.get_color() == colours[line.get_label()] for line in figure.axes[1].lines)


@pytest.mark.parametrize("beyond", [False, True])
def test_intervals_of_similarities_are_shown_whole(beyond):
    rows = similarities()
    if beyond:
        rows.loc[0, ["low", "high"]] = -0.2, 1.3
    for ax in draw_similarity(rows).axes:
        low, high = ax.get_ylim()
        assert (low < -0.2, high > 1.3) == (beyond, beyond)
        assert low <= 0 and high > 1
        assert ax.get_yticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_probes_say_what_they_measure():
    labels = [ax.get_ylabel() for ax in draw_probes(probes()).axes]
    assert ["R²" in labels[0], "accuracy" in labels[1]] == [True, True]


@pytest.mark.parametrize("count", [6, 40])
def test_attributes_are_sorted_by_the_majority_rate(count):
    rows = attributes(count)
    figure = draw_attributes(rows.sample(frac=1, random_state=0))
    (ax,) = figure.axes
    majority = rows.groupby("attribute")["majority"].first().sort_values()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == majority.index.tolist()
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["majority class"].get_xdata() == pytest.approx(100 * majority)
    for name in VARIANTS:
        part = rows[rows["variant"] == name].set_index("attribute")["accuracy"]
        drawn = {labels[int(y)]: x for x, y in lines[name].get_xydata()}
        assert drawn == pytest.approx((100 * part).to_dict())
    assert len({line.get_marker() for line in ax.lines}) == 5
    assert set(names_in(figure.legends[0])) == {"majority class", *VARIANTS}


def test_more_attributes_need_a_higher_figure():
    heights = [draw_attributes(attributes(n)).get_figheight() for n in (6, 40)]
    assert 2 < heights[0] < 4 < heights[1] < 12


@pytest.mark.parametrize(
    ("draw", "rows"),
    [
        (lambda rows: draw_landmark_errors(rows, curves()), bars()),
        (lambda rows: draw_landmark_errors(bars(), rows), curves()),
        (draw_error_curves, error_curves()),
        (draw_variants, variants()),
        (draw_similarity, similarities()),
        (draw_probes, probes()),
        (draw_attributes, attributes()),
    ],
)
def test_nothing_to_draw_is_refused(draw, rows):
    with pytest.raises(ValueError, match="no rows"):
        draw(rows[:0])
    with pytest.raises(ValueError, match=f"no {rows.columns[-1]}"):
        draw(rows.drop(columns=rows.columns[-1]))
