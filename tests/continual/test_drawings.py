"""The drawings hold what the paper's figures 1, 3 and 11 hold, as the networks are."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from drawing_checks import arrows, collisions, texts
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Polygon, Rectangle
from matplotlib.path import Path

from lib.continual.drawings import (
    METHODS,
    METHODS_SIZE,
    NO_COLOUR,
    REAL,
    WEIGHT,
    contrast,
    draw_cells,
    draw_methods,
    readable,
)
from lib.continual.drawings_networks import GENERATOR_SIZE, UNET_SIZE, draw_generator, draw_unet
from lib.continual.generator import BLOCKS, Generator
from lib.continual.masks import THRESHOLD
from lib.continual.trials import METHODS as STORED
from lib.continual.unet import LAYERS, UNet
from lib.figures.network_drawings import FROZEN, HIGHLIGHT, TASKS
from lib.figures.style import use_style
from lib.networks.sizes import count_weights, mib

SIZES = {draw_methods: METHODS_SIZE, draw_unet: UNET_SIZE, draw_generator: GENERATOR_SIZE}
FRACTIONS = ("1", "1/2", "1/4", "1/8", "1/16")


@cache
def drawn(draw, inches=11):
    width, height = SIZES[draw]
    with rc_context():
        use_style()
        figure = Figure(figsize=(inches, inches * height / width))
        draw(figure.subplots())
    return figure.axes[0]


@cache
def rendered(ax):
    """Labels with their places on the screen."""
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw(renderer)
    return [(t.get_text(), t.get_window_extent(renderer)) for t in ax.texts if t.get_text()]


def boxes(ax, gid=""):
    found = [p for p in ax.patches if isinstance(p, (Rectangle, Polygon)) and p.get_gid()]
    return [box for box in found if gid in box.get_gid()]


def padlocks(ax):
    return [patch.center for patch in ax.patches if isinstance(patch, Arc)]


def extent(patch):
    """Left, bottom, right and top in the axes' units."""
    path = patch.get_patch_transform().transform_path(patch.get_path())
    return (*path.vertices.min(0), *path.vertices.max(0))


@pytest.mark.parametrize("draw", SIZES)
@pytest.mark.parametrize("inches", [11, 12])
def test_labels_fit(draw, inches):
    ax = drawn(draw, inches)
    assert collisions(ax.figure) == []
    assert all(ax.bbox.contains(*corner) for _, box in rendered(ax) for corner in box.corners())


@pytest.mark.parametrize("draw", SIZES)
def test_no_label_crosses_the_border_of_a_box_or_a_line(draw):
    ax = drawn(draw)
    labels = rendered(ax)
    routes = arrows(ax, "")
    shapes = [thing for thing in [*ax.patches, *ax.lines] if thing not in routes]
    paths = [thing.get_transform().transform_path(thing.get_path()) for thing in shapes]
    paths += [ax.transData.transform_path(route.get_path()) for route in routes]
    strokes = [Path(part) for path in paths for part in path.to_polygons(closed_only=False)]
    assert len(strokes) > 40
    crossed = [
        name
        for name, box in labels
        if any(stroke.intersects_bbox(box, filled=False) for stroke in strokes)
    ]
    assert crossed == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", SIZES)
def test_every_glyph_is_in_the_font(draw):
    rendered(drawn(draw))


def test_the_methods_name_what_a_task_adds():
    with torch.device("meta"):
        net, blocks = UNet(), Generator().add_task("any")
    unet, decoder = count_weights(net.encoder, net.decoder), count_weights(net.decoder)
    block = count_weights(blocks)
    whole, swapped = f"{mib(unet):.1f} MiB", f"{mib(block):.1f} MiB"
    bits, block_bits = f"{mib(unet, 1):.2f} MiB", f"{mib(block, 1):.2f} MiB"
    sizes = [text for text in texts(drawn(draw_methods)) if text.endswith("MiB")]
    expected = {
        "scratch": [whole] * 3,
        "fine-tune": [whole] * 3,
        "decoder": [whole] + [f"{mib(decoder):.1f} MiB"] * 2,
        "Piggyback": [whole] + [bits] * 2,
        "Resblock": [swapped] * 3,
        "Resblock + Piggyback": [swapped] + [block_bits] * 2,
    }
    assert list(METHODS) == list(expected)
    assert sizes == [size for three in expected.values() for size in three]
    assert set(sizes) == {"56.4 MiB", "20.5 MiB", "1.76 MiB", "27.0 MiB", "0.84 MiB"}


def test_trained_parts_have_their_tasks_colour_and_the_others_a_padlock():
    ax = drawn(draw_methods)
    locks, parts = padlocks(ax), {}
    for shape in boxes(ax, ": "):
        owner, part = shape.get_gid().split(": ")
        trained = part.endswith("own")
        colour = TASKS[int(owner[-1]) - 1] if trained else FROZEN
        assert to_hex(shape.get_facecolor()) == colour
        if not trained:
            parts.setdefault(shape.get_gid(), []).append(extent(shape))
    for extents in parts.values():
        left, right, top = min(e[0] for e in extents), max(e[2] for e in extents), extents[0][3]
        assert sum(left < x < right and 0 < y - top < 0.2 for x, y in locks) == 1
    assert len(locks) == len(parts) + 3  # two in the legend, one on W


def test_each_method_freezes_and_masks_what_it_says():
    ax = drawn(draw_methods)
    states = {}
    for shape in boxes(ax, " 2: "):
        owner, part = shape.get_gid().split(" 2: ")
        states.setdefault(owner, []).append(part)
    trained = ["encoder own", "decoder own", "last own"]
    assert states["scratch"] == states["fine-tune"] == trained
    assert states["decoder"] == ["encoder frozen", "decoder own", "last own"]
    assert states["Piggyback"] == ["encoder masked", "decoder masked", "last own"]
    halves = ["encoder frozen", "decoder frozen"]
    assert states["Resblock"] == halves + ["blocks own"] * BLOCKS
    assert states["Resblock + Piggyback"] == halves + ["blocks masked"] * BLOCKS
    assert len(ax.collections) == 2 * (2 + BLOCKS)  # the masks of two tasks


def test_a_mask_lies_within_its_part_and_leaves_about_half():
    ax = drawn(draw_methods)
    masked = [shape for shape in boxes(ax, "Piggyback") if shape.get_gid().endswith("masked")]
    assert len(masked) == len(ax.collections)
    cells = []
    for shape, mask in zip(masked, ax.collections, strict=True):
        left, bottom, right, top = extent(shape)
        points = np.concatenate([path.vertices for path in mask.get_paths()])
        assert (points > np.array([left, bottom]) - 1e-6).all()
        assert (points < np.array([right, top]) + 1e-6).all()
        cells.append(len(mask.get_paths()))
    assert 0.3 * 36 < sum(cells[-BLOCKS:]) < 0.7 * 36


def test_the_mask_step_computes_what_it_shows():
    words = texts(drawn(draw_methods))
    start = words.index(".012")
    real, bits, weight, used = (
        np.array([float(word.replace("−", "-")) for word in words[start + i : start + i + 12]])
        for i in (0, 12, 24, 36)
    )
    assert (real == REAL.ravel()).all() and (weight == WEIGHT.ravel()).all()
    assert (bits == (real > THRESHOLD)).all() and 0 < bits.sum() < 12
    assert (used == weight * bits).all()
    assert f"m = [r > {THRESHOLD:g}]" in words


def test_the_loss_compares_the_output_with_a_target():
    ax = drawn(draw_methods)
    (output,), (target,) = boxes(ax, "output"), boxes(ax, "target")
    (loss,) = arrows(ax, "compare")
    xs = [x for x, _ in loss.get_path().vertices if x > 1]  # a closed path ends in (0, 0)
    left, right = min(xs), max(xs)
    assert 0 <= left - extent(output)[2] < 0.1 and 0 <= extent(target)[0] - right < 0.1
    assert {"output", "target"} <= set(texts(ax))


def test_methods_are_called_as_in_the_drawing():
    found = {readable(method) for method in STORED if method != "ewc"}
    assert found == set(METHODS) and readable("ewc") == "EWC"
    assert readable("input") == "input"


def test_contrast_is_that_of_the_guidelines():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)


def test_numbers_on_cells_can_be_read_and_two_kinds_of_nothing_be_told_apart():
    values = np.append(np.linspace(0, 1, 48), [np.nan, np.nan]).reshape(5, 10)
    names = np.full(values.shape, "1.0", object)
    names[-1, -1] = ""  # no number: white
    ax = Figure().subplots()
    picture = draw_cells(ax, values, names, 0, 1)
    colours = [picture.to_rgba(value) for value in values.flat[:-2]] + [NO_COLOUR]
    inks = [text.get_color() for text in ax.texts][:-1]
    assert min(map(contrast, inks, colours)) > 3.8 and len(set(inks)) == 2
    grey, blues = (image.get_array() for image in ax.images)
    assert np.argwhere(~np.ma.getmaskarray(grey)).tolist() == [[4, 8]]
    assert np.ma.getmaskarray(blues).sum() == 2
    shades = [contrast(colour, "white") for colour in colours[:-1]]
    assert shades == sorted(shades) and shades[0] > 1.1


def test_the_unet_has_the_networks_layers_and_channels():
    words = texts(drawn(draw_unet))
    layers = UNet().weight_layers()
    assert [word.split("\n")[0] for word in words if word.startswith(("conv", "up-conv"))][
        : len(LAYERS)
    ] == list(LAYERS)
    for name, layer in layers.items():
        assert words.count(f"{name}\n{layer.out_channels}") == 1
    for level, stage in ((4, 1), (3, 2), (2, 3), (1, 4)):
        bypass, up = layers[f"conv{level}_2"].out_channels, layers[f"up-conv{stage}"].out_channels
        assert f"{bypass} + {up}" in words
        assert bypass + up == layers[f"conv{stage + 5}_1"].in_channels
    total = sum(layer.weight.numel() for layer in layers.values())
    assert f"a mask: {len(LAYERS)} layers, {total:,} weights" in words


def test_the_unets_levels_and_its_last_layer():
    ax = drawn(draw_unet)
    shapes = {box.get_gid(): extent(box) for box in boxes(ax)}
    assert set(shapes) == {*LAYERS, "last"}
    assert len(arrows(ax, "skip")) == len(arrows(ax, "down")) == 4
    rows = [text.get_position()[1] for text in ax.texts if text.get_text() in FRACTIONS]
    for level, y in enumerate(rows, start=1):
        at_level = {name for name, (_, low, _, high) in shapes.items() if low < y < high}
        decoder = {f"conv{10 - level}_1", f"conv{10 - level}_2"} if level < 5 else set()
        last = {"last"} if level == 1 else set()
        assert at_level == {f"conv{level}_1", f"conv{level}_2"} | decoder | last
    (own,) = (text for text in ax.texts if text.get_text() == "the task's own")
    _, low, right, _ = shapes["last"]
    assert own.get_position()[0] == pytest.approx(right) and 0 < low - own.get_position()[1] < 0.2
    assert "last\n1×1" in texts(ax) and UNet(width=8).last.kernel_size == (1, 1)


def test_the_generator_has_the_networks_layers_twice_and_they_are_frozen():
    ax = drawn(draw_generator)
    words = texts(ax)
    names = ["c7s1-64", "d128", "d256", "u128", "u64", "c7s1-3"]
    assert [word for word in words if word in names] == names * 2
    frozen = boxes(ax, "frozen")
    assert [to_hex(box.get_facecolor()) for box in frozen] == [FROZEN] * 12
    assert len(padlocks(ax)) == words.count("encoder") + words.count("decoder") == 4


def test_the_resolutions_are_those_of_the_features():
    net = Generator(width=8)
    reduced = [net.encoder[: 3 * n](torch.zeros(1, 3, 16, 16)).shape[-1] for n in (1, 2, 3)]
    assert [16 // size for size in reduced] == [1, 2, 4]
    words = texts(drawn(draw_generator))
    assert [word for word in words if word in FRACTIONS][:6] == ["1", "1/2", "1/4", "1/2", "1", "1"]


def test_blocks_are_swapped_above_and_chained_below():
    ax = drawn(draw_generator)
    with torch.device("meta"):
        blocks = Generator().add_task("any")
    assert texts(ax).count(f"{BLOCKS} × R256, {mib(count_weights(blocks)):.1f} MiB") == 5
    (slot,) = boxes(ax, "slot")
    left, low, right, high = extent(slot)
    tasks = {}
    for box in boxes(ax, "block"):
        tasks.setdefault(to_hex(box.get_facecolor()), []).append(extent(box))
    assert [len(found) for found in tasks.values()] == [2 * BLOCKS, 2 * BLOCKS, BLOCKS]
    colour, gogh, _ = tasks.values()
    assert HIGHLIGHT not in tasks  # which is the loss everywhere
    inside = [e for found in tasks.values() for e in found if left < e[0] < e[2] < right]
    assert [e for e in inside if low < e[1] < e[3] < high] == colour[:BLOCKS]
    chain = colour[BLOCKS:] + gogh[BLOCKS:]
    assert len({e[1] for e in chain}) == 1 and all(a[2] < b[0] for a, b in pairwise(chain))
    assert len(arrows(ax, "swap")) == 2
