"""Drawn scenes: pictures, label maps and captions agree; the same again, in any number."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch
from skimage.measure import regionprops
from torch.nn.functional import max_pool2d

from lib.data.drawn import scenes
from lib.data.drawn.scenes import (
    BORDER,
    CATEGORIES,
    COLOURS,
    GROUNDS,
    SHAPES,
    draw_shape,
    render_objects,
    render_scenes,
)

COUNT = {"A": 300, "B": 150}


@pytest.fixture(scope="module", params=["A", "B"])
def domain(request):
    return request.param


@pytest.fixture(scope="module")
def drawn(domain):
    return render_scenes(COUNT[domain], size=64, seed=0, domain=domain)


def named(caption: str) -> list[str]:
    """The categories in a sentence, by its words alone."""
    return [word for word in re.findall(r"[a-z]+", caption) if word in CATEGORIES["A"]]


def alone(drawn):
    """Picture (S, S, 3), its object's mask, number and caption, for every scene of one object."""
    for image, labels, caption in zip(drawn.images, drawn.labels, drawn.captions, strict=True):
        if len(named(caption)) == 1:
            (number,) = set(labels.unique().tolist()) - {0, BORDER}
            yield image.permute(1, 2, 0).numpy(), (labels == number).numpy(), number, caption


def shape_of(category: str, variant: int = 0, **changed) -> np.ndarray:
    """Coverage (S, S) in 0..1 of one shape."""
    options = {"side": 100, "radius": 40, "angle": 0.0, "flip": False} | changed
    return draw_shape(SHAPES[category][variant], COLOURS["red"], **options)[3] / 255


def test_what_comes_back(drawn, domain):
    count = COUNT[domain]
    assert drawn.images.shape == (count, 3, 64, 64) and drawn.images.dtype == torch.uint8
    assert drawn.labels.shape == (count, 64, 64) and drawn.labels.dtype == torch.uint8
    assert len(drawn.captions) == count and all(type(c) is str for c in drawn.captions)
    assert (drawn.images.float().flatten(1).std(1) > 5).all(), "no flat picture"
    assert len(drawn.images.flatten(1).unique(dim=0)) == count, "no scene twice"


def test_every_category_comes_and_nothing_else(drawn, domain):
    categories = len(CATEGORIES[domain])
    assert categories == {"A": 10, "B": 5}[domain]
    assert drawn.labels.unique().tolist() == [*range(categories + 1), BORDER]
    objects = [len(named(caption)) for caption in drawn.captions]
    assert set(objects) == {1, 2, 3, 4}


def test_a_border_of_one_pixel_lies_between_all_that_differs(drawn):
    labels = drawn.labels.int()
    border = labels == BORDER
    highest = max_pool2d(torch.where(border, -1, labels).float()[:, None], 3, 1, 1)[:, 0]
    lowest = -max_pool2d(torch.where(border, -300, -labels).float()[:, None], 3, 1, 1)[:, 0]
    assert (highest == lowest)[~border].all(), "no two labels are neighbours"
    inner = -max_pool2d(-border.float()[:, None], 3, 1, 1)[:, 0]
    assert border.flatten(1).any(1).all()
    assert inner.sum() < 0.02 * border.sum(), "nowhere thick, but around a hidden remnant"


def test_a_caption_names_exactly_what_the_labels_show(drawn, domain):
    for labels, caption in zip(drawn.labels, drawn.captions, strict=True):
        shown = set(labels.unique().tolist()) - {0, BORDER}
        assert {CATEGORIES[domain][number - 1] for number in shown} == set(named(caption))


def test_captions_are_sentences_of_known_words(drawn):
    thing = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(CATEGORIES['A'])})"
    sentence = rf"{thing}(( in front of| beside) {thing})* (on|in|at) [a-z ]+"
    for caption in drawn.captions:
        assert re.fullmatch(sentence, caption), caption
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption


def test_the_domains_share_no_background():
    noun = rf"\b(?:{'|'.join(CATEGORIES['A'])})\b"
    drawn = {name: render_scenes(COUNT[name], size=64, seed=0, domain=name) for name in "AB"}
    a, b = ({re.split(noun, caption)[-1] for caption in drawn[n].captions} for n in "AB")
    assert len(a) == len(b) == 5 and not a & b
    assert set(CATEGORIES["B"]) < set(CATEGORIES["A"])


def test_the_numbers_mean_the_silhouettes(drawn, domain):
    """A disc is convex and fills pi/4 of its box; a star, a crescent and petals are not convex."""
    solidity = {name: [] for name in CATEGORIES[domain]}
    for _, mask, number, _ in alone(drawn):
        region = regionprops(mask.astype(np.uint8))[0]
        solidity[CATEGORIES[domain][number - 1]].append(region.solidity)
    means = {name: np.mean(values) for name, values in solidity.items() if values}
    assert len(means) == len(solidity)
    assert max(means["star"], means["flower"]) < 0.75 < min(means["car"], means["fish"])
    assert means["house"] > 0.85
    if domain == "A":
        assert means["moon"] < 0.75 and means["ball"] > 0.95
        assert 0.85 < means["leaf"] < means["ball"] and means["tree"] < 0.85


def test_the_picture_has_the_colour_that_the_caption_tells(drawn):
    """Nearest of all colours, brightness left aside, by the median below the mask."""
    plain = {name: COLOURS[name] for name in COLOURS if name not in ("black", "glass", "grey")}
    names, table = list(plain), np.array(list(plain.values()), float)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    agreed = []
    for picture, mask, _, caption in alone(drawn):
        _, told, category = caption.split()[:3]
        if category in ("ball", "house", "tree") or told not in plain:
            continue  # those have large parts in another colour
        median = np.median(picture[mask], axis=0)
        agreed.append(names[(table @ median / np.linalg.norm(median)).argmax()] == told)
    assert len(agreed) > 15 and np.mean(agreed) > 0.8


def test_the_background_is_what_the_caption_tells():
    drawn = render_scenes(COUNT["A"], size=64, seed=0)
    for words, strongest in (("on grass", 1), ("at dusk", 2), ("on sand", 0), ("on bricks", 0)):
        chosen = [i for i, caption in enumerate(drawn.captions) if caption.endswith(words)]
        assert len(chosen) > 20
        for i in chosen:
            pixels = drawn.images[i][:, drawn.labels[i] == 0].float()
            assert pixels.mean(1).argmax() == strongest


def test_what_is_hidden_is_neither_labelled_nor_named():
    rng = np.random.default_rng(0)
    canvas = scenes._Canvas(np.full((3, 64, 64), 90, np.float32), rng)
    middle = np.array([0.5, 0.5])
    canvas.put("star", "yellow", middle, radius=0.1, tilt=0)
    canvas.put("ball", "red", middle, radius=0.3, tilt=0)
    canvas.put("car", "blue", middle + 0.2, radius=0.2, tilt=0)
    seen = canvas.visible()
    assert scenes._caption(canvas, seen, "on grass") == "a blue car in front of a red ball on grass"
    labels = canvas.labels(seen, CATEGORIES["A"])
    assert set(np.unique(labels)) == {0, 1, 8, BORDER}


def test_an_object_lies_where_it_is_put():
    canvas = scenes._Canvas(np.full((3, 64, 64), 90, np.float32), np.random.default_rng(0))
    canvas.put("ball", "red", np.array([0.25, 0.75]), radius=0.2, tilt=0)
    np.testing.assert_allclose(np.mean(canvas.masks[0].nonzero(), 1), (47.5, 15.5), atol=1)


def test_the_lower_object_is_in_front(drawn, domain):
    """A caption goes from front to back, so the rows of its two objects go up, as a rule."""
    lower = []
    for labels, caption in zip(drawn.labels, drawn.captions, strict=True):
        numbers = [CATEGORIES[domain].index(name) + 1 for name in named(caption)]
        if len(set(numbers)) == len(numbers) == 2:
            front, back = ((labels == n).nonzero()[:, 0].float().mean() for n in numbers)
            lower.append(bool(front > back))
    assert len(lower) > 10 and np.mean(lower) > 0.8


def test_the_same_again_and_a_smaller_set_is_its_start(domain):
    first, again, start = (render_scenes(n, size=32, seed=5, domain=domain) for n in (12, 12, 5))
    for right in (again, start):
        count = len(right.images)
        assert torch.equal(first.images[:count], right.images)
        assert torch.equal(first.labels[:count], right.labels)
        assert first.captions[:count] == right.captions
    other = render_scenes(12, size=32, seed=6, domain=domain)
    assert (first.images != other.images).flatten(1).any(1).all()
    assert first.captions != other.captions


@pytest.mark.parametrize("size", [16, 33, 300])
def test_any_size(size):
    drawn = render_scenes(4, size=size, seed=0)
    assert drawn.images.shape[2:] == drawn.labels.shape[1:] == (size, size)
    assert all(named(caption) for caption in drawn.captions)
    assert render_objects(2, size=size, seed=0).images.shape == (2, 3, size, size)


def test_categories_are_balanced_and_shuffled():
    drawn = render_objects(60, size=32, seed=0)
    assert drawn.images.shape == (60, 3, 32, 32) and drawn.images.dtype == torch.uint8
    words = [caption.split() for caption in drawn.captions]
    assert all(colour in COLOURS and ground in GROUNDS for _, colour, ground in words)
    blocks = torch.tensor([CATEGORIES["A"].index(word) for word, _, _ in words]).reshape(6, 10)
    assert (blocks.sort(1).values == torch.arange(10)).all()
    assert len(blocks.unique(dim=0)) == 6


def test_objects_again_and_a_smaller_set_is_its_start():
    first, again, start = (render_objects(count, size=32, seed=3) for count in (25, 25, 13))
    for right in (again, start):
        count = len(right.images)
        assert torch.equal(first.images[:count], right.images)
        assert first.captions[:count] == right.captions
    other = render_objects(25, size=32, seed=4)
    assert (other.images != first.images).flatten(1).any(1).all()
    assert other.captions != first.captions


def test_what_is_named_is_what_is_drawn_largest():
    drawn = render_objects(400, size=32, seed=0)
    named = [CATEGORIES["A"].index(caption.split()[0]) for caption in drawn.captions]
    numbers = range(1, 11)
    areas = torch.stack([(drawn.labels == number).flatten(1).sum(1) for number in numbers], 1)
    assert areas.argmax(1).tolist() == named
    assert areas.max(1).values.min() > 25, "never hidden"
    clutter = (areas > 0).sum(1) > 1
    assert 0.2 < clutter.float().mean() < 0.6


def test_every_byte_is_what_it_was():
    """What quick runs show and learn from; a change of these changes all their numbers."""
    found = {}
    for domain in "AB":
        drawn = render_scenes(6, size=32, seed=0, domain=domain)
        found[domain] = digest(drawn)
    found["objects"] = digest(render_objects(20, size=32, seed=0))
    assert found == {
        "A": "1ea81d58dcade973",
        "B": "2de2accf492c51f7",
        "objects": "00cf5d462175e97c",
    }


def digest(drawn) -> str:
    content = drawn.images.numpy().tobytes() + drawn.labels.numpy().tobytes()
    return hashlib.sha256(content + "; ".join(drawn.captions).encode()).hexdigest()[:16]


def test_areas_are_those_of_geometry():
    disc, star = shape_of("ball").sum(), shape_of("star", 0).sum()
    assert disc == pytest.approx(np.pi * (0.95 * 40) ** 2, rel=0.03)
    assert star == pytest.approx(10 * 0.5 * 0.42 * np.sin(np.radians(36)) * 40**2, rel=0.05)


@pytest.mark.parametrize("category", SHAPES)
def test_edges_are_smooth_and_inside_the_square(category):
    for variant in range(len(SHAPES[category])):
        cover = shape_of(category, variant, angle=0.3)
        assert cover.max() == 1 and 0.01 < ((cover > 0) & (cover < 1)).mean() < 0.2
        away = np.hypot(*(np.indices(cover.shape) - 49.5))
        assert cover[away > 1.15 * 40].max() == 0


def test_angle_is_clockwise_and_flip_mirrors():
    columns = np.arange(100) - 49.5
    assert (shape_of("moon") * columns).sum() < 0 < (shape_of("moon", flip=True) * columns).sum()
    plain = shape_of("mug")
    for changed, expected in (
        ({"flip": True}, plain[:, ::-1]),
        ({"angle": np.pi / 2}, np.rot90(plain, -1)),
        ({"angle": np.pi / 2, "flip": True}, np.rot90(plain[:, ::-1], -1)),
    ):
        assert np.abs(shape_of("mug", **changed) - expected).mean() < 0.01


def test_bad_input_is_named():
    for name, value, least in (("count", 0, 1), ("size", 15, 16), ("seed", -1, 0)):
        options = {"count": 1, "size": 16, "seed": 0} | {name: value}
        for draw in (render_scenes, render_objects):
            with pytest.raises(ValueError, match=f"{name} must be at least {least}, not {value}"):
                draw(**options)
    with pytest.raises(ValueError, match=r"domain must be one of \['A', 'B'\], not 'C'"):
        render_scenes(1, size=16, seed=0, domain="C")
