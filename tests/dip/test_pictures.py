"""The explorer: SVG that a parser reads, with every network, its drawing and its pictures."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import torch
from PIL import Image

from lib.dip.pictures import explorer

ROWS = pd.DataFrame(
    {
        "name": ["d1-s-", "d3-s02", "d2-s1"],
        "depth": [1, 3, 2],
        "slc": [1, 0, 1],
        "trained": [0.05, 0.07, 0.09],
        "dip_fixed": [0.08, 0.06, 0.07],
    }
)
PICTURES = {
    "d3-s02": {
        "trained": torch.full((1, 200, 200), 100, dtype=torch.uint8),
        "prior": torch.full((3, 64, 64), 200, dtype=torch.uint8),
    }
}


def drawn() -> ElementTree.Element:
    _, _, svg = explorer(ROWS, PICTURES).partition("</style>")
    return ElementTree.fromstring(svg)


def test_every_network_is_a_dot_in_its_place():
    networks = drawn().findall("g[@class='network']")
    dots = np.array([[float(g.find("circle").get(c)) for c in ("cx", "cy")] for g in networks])
    across, up = dots.T
    assert across[0] < across[1] < across[2], "a larger trained error lies further right"
    assert up[0] < up[2] < up[1], "SVG counts down: the largest error as a prior is on top"
    texts = ["".join(g.itertext()) for g in networks]
    for text, row in zip(texts, ROWS.itertuples(), strict=True):
        assert f"depth {row.depth}, SLC {row.slc}" in text and f"{row.trained:.4f}" in text
    colours = [g.find("circle").get("fill") for g in networks]
    assert colours[0] == colours[2] != colours[1]


def test_the_drawing_has_a_dot_a_level_on_both_sides_and_a_line_a_skip():
    for network, (depth, skips) in zip(
        drawn().findall("g[@class='network']"), ((1, 0), (3, 2), (2, 1)), strict=True
    ):
        card = network.find("g")
        assert len(card.findall("circle")) == 2 * (depth + 1)
        assert len(card.findall("line")) == skips
        assert len(card.find("polyline").get("points").split()) == 2 * depth + 1


def test_pictures_are_inside_and_small():
    images = list(drawn().iter("image"))
    assert len(images) == 2
    for image, grey in zip(images, (100, 200), strict=True):
        kind, _, data = image.get("href").partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= 120
            assert abs(np.asarray(picture).mean() - grey) < 2


def test_nothing_is_loaded_and_nothing_runs():
    html = explorer(ROWS, PICTURES)
    assert "<script" not in html and "http" not in html and "onclick" not in html
