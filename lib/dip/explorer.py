"""A scatter in which every dot shows its network, drawn as plain SVG."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike
from PIL import Image

from lib.dip.network import Architecture
from lib.figures.style import GREY, ordered_colours

SQUARE, BESIDE, THUMBNAIL = 420, 400, 120  # pixels: of an explorer, its cards, their pictures
HOVER = """<style>
.explorer text { font: 13px sans-serif }
.explorer .dot > circle { cursor: pointer; stroke: white }
.explorer .card { visibility: hidden }
.explorer .dot:is(:hover, :focus) .card { visibility: visible }
.explorer .dot:is(:hover, :focus) > circle { stroke: black; stroke-width: 3 }
.explorer .dot:focus { outline: none }
</style>"""


@dataclass(frozen=True)
class Card:
    """What an explorer shows of a dot: lines of text, a drawing in SVG, and pictures by title.

    A picture is (1, H, W) or (3, H, W) uint8.
    """

    lines: Sequence[str]
    drawing: str = ""
    pictures: Mapping[str, ArrayLike] = field(default_factory=dict)


def explorer(
    rows: pd.DataFrame, x: str, y: str, hue: str, cards: Sequence[Card], labels: tuple[str, str]
) -> str:
    """HTML of a scatter; where a dot is pointed at, or reached by Tab, its card is shown beside.

    Plain SVG and CSS, without any script or file, so that it works inside a saved notebook. Larger
    numbers lie further to the right and further up. labels: of the axes.
    """
    colours = ordered_colours(sorted(rows[hue].unique()))
    across, up = (_places(rows[column]) for column in (x, y))
    dots = []
    for left, top, level, card in zip(across, SQUARE - up, rows[hue], cards, strict=True):
        shown = [_text(line, 0, 16 + 20 * i) for i, line in enumerate(card.lines)]
        shown.append(f'<g transform="translate(8,70)">{card.drawing}</g>')
        titled = enumerate(card.pictures.items())
        shown += [_thumbnail(title, image, i * (THUMBNAIL + 20)) for i, (title, image) in titled]
        dots.append(
            f'<g class="dot" tabindex="0"><title>{escape(card.lines[0])}</title>'
            f'<circle cx="{left:.0f}" cy="{top:.0f}" r="6" fill="{to_hex(colours[level])}"/>'
            f'<g class="card" transform="translate({SQUARE + 30},10)">{"".join(shown)}</g></g>'
        )
    axes = f'<path d="M10 10V{SQUARE}H{SQUARE}" fill="none" stroke="{GREY}"/>'
    axes += _text(labels[0], 60, SQUARE + 20)
    axes += f'<g transform="translate(2,320) rotate(-90)">{_text(labels[1], 0, 0)}</g>'
    box = f'viewBox="-20 0 {SQUARE + BESIDE + 20} {SQUARE + 30}" width="{SQUARE + BESIDE}"'
    return f'{HOVER}<svg class="explorer" {box} role="img">{axes}{"".join(dots)}</svg>'


def _places(values: pd.Series) -> np.ndarray:
    """Pixels from the origin, with a margin."""
    spread = values.max() - values.min()
    return np.asarray(30 + (SQUARE - 60) * (values - values.min()) / (spread or 1), float)


def _text(text: str, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def _thumbnail(title: str, image: ArrayLike, x: int) -> str:
    pixels = np.moveaxis(np.asarray(image), 0, -1)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    data = b64encode(buffer.getvalue()).decode()
    place = f'x="{x}" y="250" width="{THUMBNAIL}" height="{THUMBNAIL}"'
    return f'<image {place} href="data:image/jpeg;base64,{data}"/>' + _text(title, x, 242)


def drawing(network: Architecture, width: float, height: float) -> str:
    """The network as a U, in SVG: a dot a level on both sides, a dashed line for each skip."""
    inward, down = width / 2 / network.depth, height / network.depth
    left = [(inward * level, down * level) for level in range(network.depth + 1)]
    right = [(width - x, y) for x, y in left]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in left + right[-2::-1])
    shapes = [f'<polyline points="{path}" fill="none" stroke="black" stroke-width="2"/>']
    for level in network.skips:
        (x, y), (end, _) = left[level], right[level]
        line = f'x1="{x:.0f}" y1="{y:.0f}" x2="{end:.0f}" y2="{y:.0f}"'
        shapes.append(f'<line {line} stroke="grey" stroke-width="2" stroke-dasharray="5 3"/>')
    shapes += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4"/>' for x, y in left + right]
    return "".join(shapes)
