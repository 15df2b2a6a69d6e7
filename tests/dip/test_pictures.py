"""The explorer: SVG that a parser reads, with every network, its drawing and its pictures."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.dip.explorer import Card, drawing, explorer
from lib.dip.network import Architecture

ROWS = pd.DataFrame({"trained": [0.05, 0.07, 0.09], "prior": [0.08, 0.06, 0.07], "slc": [1, 0, 1]})
NETWORKS = [Architecture(1), Architecture(3, (0, 2)), Architecture(2, (1,))]
PICTURES = {
    "trained": torch.full((1, 200, 200), 100, dtype=torch.uint8),
    "prior": torch.full((3, 64, 64), 200, dtype=torch.uint8),
}


@pytest.fixture(scope="module")
def html() -> str:
    cards = [
        Card([place.name, "<&>"], drawing(place, 260, 130), PICTURES if place.depth == 3 else {})
        for place in NETWORKS
    ]
    return explorer(ROWS, "trained", "prior", "slc", cards, ("across", "up"))


@pytest.fixture(scope="module")
def dots(html) -> list[ElementTree.Element]:
    return ElementTree.fromstring(html.partition("</style>")[2]).findall("g[@class='dot']")


def test_every_network_is_a_dot_in_its_place(dots):
    places = np.array([[float(g.find("circle").get(c)) for c in ("cx", "cy")] for g in dots])
    across, up = places.T
    assert across[0] < across[1] < across[2], "a larger trained error lies further right"
    assert up[0] < up[2] < up[1], "SVG counts down: the largest error as a prior is on top"
    for dot, place in zip(dots, NETWORKS, strict=True):
        assert place.name in "".join(dot.itertext()) and "<&>" in "".join(dot.itertext())
    colours = [dot.find("circle").get("fill") for dot in dots]
    assert colours[0] == colours[2] != colours[1]


def test_the_drawing_has_a_dot_a_level_on_both_sides_and_a_line_a_skip(dots):
    for dot, place in zip(dots, NETWORKS, strict=True):
        drawn = dot.find("g/g")
        assert len(drawn.findall("circle")) == 2 * (place.depth + 1)
        assert len(drawn.findall("line")) == len(place.skips)
        assert len(drawn.find("polyline").get("points").split()) == 2 * place.depth + 1


def test_pictures_are_inside_and_small(dots):
    assert [len(list(dot.iter("image"))) for dot in dots] == [0, 2, 0]
    for image, grey in zip(dots[1].iter("image"), (100, 200), strict=True):
        kind, _, data = image.get("href").partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= 120
            assert abs(np.asarray(picture).mean() - grey) < 2


def test_nothing_is_loaded_and_nothing_runs(html):
    assert "<script" not in html and "http" not in html and "onclick" not in html
