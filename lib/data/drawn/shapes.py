"""Ten silhouettes as painted polygons, their anti-aliased drawing, light and shadow.

A shape lies in a circle of radius 1 around 0, x to the right, y down. It is a sequence of parts,
painted in order; a part is a polygon and its paint: ``main`` (the colour of the one object drawn),
``shade`` or ``tint`` (``main`` made darker or lighter), or a colour of ``COLOURS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFilter

from lib.data.images import load_images

OVERSAMPLING = 3  # a pixel is the mean of 3 x 3
_PHOTO_SIZE = 256  # pixels
_GRAINS = ("grass", "gravel", "brick", "chelsea")  # photographs
SCENES = yaml.safe_load(files("lib.data").joinpath("scenes.yaml").read_text(encoding="utf-8"))
COLOURS = {name: tuple(colour) for name, colour in SCENES["colours"].items()}
Part = tuple[str, np.ndarray]
Shape = tuple[Part, ...]


def draw_shape(
    shape: Shape, colour: tuple[float, ...], *, side: int, radius: float, angle: float, flip: bool
) -> np.ndarray:
    """One shape in the middle of a transparent square: (4, side, side) float32 RGBA in 0..255.

    colour: RGB of the paint ``main``. radius: in pixels. angle: radians, clockwise; ``flip``
    mirrors left and right first.
    """
    paints = COLOURS | {"main": _bytes(colour)}
    paints["shade"] = _bytes(0.62 * value for value in colour)
    paints["tint"] = _bytes(0.5 * value + 120 for value in colour)
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]]) * radius * OVERSAMPLING
    turn[0] *= -1 if flip else 1
    picture = Image.new("RGBA", (side * OVERSAMPLING,) * 2)
    pencil = ImageDraw.Draw(picture)
    for paint, points in shape:
        corners = points @ turn + (side * OVERSAMPLING - 1) / 2
        pencil.polygon(corners.ravel().tolist(), fill=(*paints[paint], 255))
    # Pillow weights colours by alpha when it averages: no dark fringe
    return np.asarray(picture.reduce(OVERSAMPLING)).transpose(2, 0, 1).astype(np.float32, "C")


def shadow(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A soft shadow to the lower right of an object: of (side, side) coverage, both in 0..1."""
    picture = Image.fromarray((alpha * 255).astype(np.uint8))
    blurred = np.asarray(picture.filter(ImageFilter.BoxBlur(0.1 * radius)), np.float32) / 255
    step = round(0.12 * radius)
    return np.roll(blurred, (step, step), (0, 1))


def relief(rng: np.random.Generator, side: int, radius: float) -> np.ndarray:
    """Factors on a fill (side, side): light from the upper left, and the grain of a photograph."""
    offsets = (np.arange(side, dtype=np.float32) - side / 2) / radius
    light = 1.06 - 0.2 * (offsets[:, None] + offsets)
    photo = _grey(_GRAINS[rng.integers(len(_GRAINS))])
    rows, columns = (rng.integers(_PHOTO_SIZE, size=2)[:, None] + np.arange(side)) % _PHOTO_SIZE
    return light * (1 + rng.uniform(0.04, 0.15) * photo[rows[:, None], columns])


@cache
def _grey(photo: str) -> np.ndarray:
    """A photograph as grain: (256, 256) float32, mean 0, deviation about 1."""
    image = load_images(f"photos:{photo}", size=_PHOTO_SIZE, channels=1)[1][0, 0].float().numpy()
    return np.clip((image - image.mean()) / image.std(), -2, 2)


def _bytes(colour: Iterable[float]) -> tuple[int, ...]:
    return tuple(min(255, max(0, round(value))) for value in colour)


def _polygon(*numbers: float) -> list[np.ndarray]:
    return [np.array(numbers, float).reshape(-1, 2)]


def _box(left: float, top: float, right: float, bottom: float) -> list[np.ndarray]:
    return _polygon(left, top, right, top, right, bottom, left, bottom)


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """Points of an elliptic arc; degrees, clockwise from the right."""
    turn = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1)


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0) -> list[np.ndarray]:
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    upright = _arc(0, 0, rx, ry, 0, 360)
    return [upright @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)]


def _band(*numbers: float) -> list[np.ndarray]:
    """What lies between two arcs that run the same way, as a ring or a crescent does."""
    outer, inner = _arc(*numbers[:6]), _arc(*numbers[6:])
    return [np.concatenate([outer, inner[::-1]])]


def _sector(radius: float, start: float, stop: float) -> list[np.ndarray]:
    return [np.concatenate([[(0, 0)], _arc(0, 0, radius, radius, start, stop)])]


def _star(waist: float, scale: float) -> list[np.ndarray]:
    """Five points; waist: the radius between them."""
    turn = np.radians(np.arange(10) * 36 - 90)
    points = np.stack([np.cos(turn), np.sin(turn)], 1)
    points[1::2] *= waist
    return [points * scale]


def _blade(width: float) -> list[np.ndarray]:
    """A leaf without its stalk."""
    y = np.linspace(-0.95, 0.6, 25)
    half = width * np.sin(np.linspace(0, np.pi, 25)) ** 0.8 * np.linspace(0.75, 1.1, 25)
    return [np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]])]


def _veins(width: float) -> list[np.ndarray]:
    """Of a leaf: three on each side."""
    return [
        np.array([(0, low), (side * reach * width, low - 0.3), (0, low - 0.09)])
        for side in (-1, 1)
        for low, reach in ((0.4, 0.75), (0.05, 0.85), (-0.3, 0.6))
    ]


def _petals(count: float, y: float, reach: float) -> list[np.ndarray]:
    """In a circle; y: of its centre."""
    crown = []
    for turn in np.arange(count) * 360 / count:
        x, down = reach * np.cos(np.radians(turn)), reach * np.sin(np.radians(turn))
        crown += _ellipse(x, y + down, 0.62 * reach, 2.1 * reach / count, turn)
    return crown


_KINDS: dict[str, Callable[..., list[np.ndarray]]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "band": _band,
    "sector": _sector,
    "star": _star,
    "blade": _blade,
    "veins": _veins,
    "petals": _petals,
}


def _shape(lines: list[str]) -> Shape:
    """The parts of one silhouette in scenes.yaml."""
    parts: list[Part] = []
    for paint, kind, *numbers in map(str.split, lines):
        parts += [(paint, points) for points in _KINDS[kind](*map(float, numbers))]
    return tuple(parts)


SHAPES: dict[str, tuple[Shape, ...]] = {
    name: tuple(map(_shape, variants)) for name, variants in SCENES["shapes"].items()
}
