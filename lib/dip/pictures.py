"""The scatter of notebook 02 as a drawing in which every dot shows its network.

Plain SVG and CSS without any script or file beside it, so that it works inside a saved notebook.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from PIL import Image
from torch import Tensor

from lib.dip.network import Architecture
from lib.figures.style import GREY, INK, ordered_colours

SIZE, CARD = 420, 400  # pixels: the square with the dots, and what is shown beside it
PICTURE = 120  # pixels a side that a restored photograph is shown with; none is stored larger
STYLE = """<style>
.networks text { font: 13px sans-serif; fill: INK }
.networks .network circle { cursor: pointer; stroke: white }
.networks .card { visibility: hidden }
.networks .network:is(:hover, :focus) .card { visibility: visible }
.networks .network:is(:hover, :focus) circle { stroke: INK; stroke-width: 3 }
.networks .network:focus { outline: none }
</style>""".replace("INK", INK)


def explorer(rows: pd.DataFrame, pictures: Mapping[str, Mapping[str, Tensor]]) -> str:
    """HTML of the dots; where one is pointed at, or reached by Tab, its network is shown.

    rows: name, depth, slc, trained and dip_fixed of every network. pictures: name -> title ->
    (C, H, W) uint8, for the networks of which they were kept.
    """
    colours = ordered_colours(sorted(rows["slc"].unique()))
    across, up = (_places(rows[axis]) for axis in ("trained", "dip_fixed"))
    dots = []
    for row, x, y in zip(rows.itertuples(), across, SIZE - up, strict=True):
        levels = row.name.partition("-s")[2].strip("-")
        network = Architecture(row.depth, tuple(map(int, levels)))
        head = f"{row.name}: depth {row.depth}, SLC {row.slc}"
        errors = f"RMSE trained {row.trained:.4f}, as a prior {row.dip_fixed:.4f}"
        card = [_text(head, 0, 16), _text(errors, 0, 36), _drawing(network)]
        for index, (title, image) in enumerate(pictures.get(row.name, {}).items()):
            card.append(_picture(title, image, index * (PICTURE + 20)))
        dots.append(
            f'<g class="network" tabindex="0"><title>{escape(head)}</title>'
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="6" fill="{to_hex(colours[row.slc])}"/>'
            f'<g class="card" transform="translate({SIZE + 30},10)">{"".join(card)}</g></g>'
        )
    axes = f'<path d="M10 10V{SIZE}H{SIZE}" fill="none" stroke="{GREY}"/>'
    axes += _text("error when trained, larger to the right", 90, SIZE + 20)
    axes += f'<g transform="translate(8,300) rotate(-90)">{_text("error as a prior", 0, -2)}</g>'
    box = f'viewBox="-20 0 {SIZE + CARD + 20} {SIZE + 30}" width="{SIZE + CARD}"'
    return f'{STYLE}<svg class="networks" {box} role="img">{axes}{"".join(dots)}</svg>'


def _places(values: pd.Series) -> np.ndarray:
    """Pixels from the origin, with a margin."""
    spread = values.max() - values.min()
    return np.asarray(30 + (SIZE - 60) * (values - values.min()) / (spread or 1), float)


def _text(text: str, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def _drawing(network: Architecture) -> str:
    """The network as a U: a dot a level on both sides, a line for each skip."""
    step, left, right, top = 130 / network.depth, 20, 300, 60
    inward = (right - left) / 2 / network.depth
    levels = range(network.depth + 1)
    sides = [
        [(start + sign * inward * level, top + step * level) for level in levels]
        for start, sign in ((left, 1), (right, -1))
    ]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in sides[0] + sides[1][-2::-1])
    shapes = [f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="2"/>']
    for level in network.skips:
        (x, y), (end, _) = sides[0][level], sides[1][level]
        line = f'x1="{x:.0f}" y1="{y:.0f}" x2="{end:.0f}" y2="{y:.0f}"'
        shapes.append(f'<line {line} stroke="{GREY}" stroke-width="2" stroke-dasharray="5 3"/>')
    shapes += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4"/>' for side in sides for x, y in side]
    return "".join(shapes)


def _picture(title: str, image: Tensor, x: int) -> str:
    pixels = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
    pixels.thumbnail((PICTURE, PICTURE))
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    place = f'x="{x}" y="240" width="{PICTURE}" height="{PICTURE}"'
    return f'<image {place} href="data:image/jpeg;base64,{data}"/>' + _text(title, x, 232)
