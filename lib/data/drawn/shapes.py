"""Ten silhouettes as painted polygons, their anti-aliased drawing, light and shadow.

A shape lies in a circle of radius 1 around 0, x to the right, y down. It is a sequence of parts,
painted in order; a part is a polygon and its paint: ``main`` (the colour of the one object drawn),
``shade`` or ``tint`` (``main`` made darker or lighter), or a colour of ``COLOURS``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lib.data.images import load_images

OVERSAMPLING = 3  # a pixel is the mean of 3 x 3
_PHOTO_SIZE = 256  # pixels
_GRAINS = ("grass", "gravel", "brick", "chelsea")  # photographs
COLOURS = {
    "red": (196, 44, 38),
    "orange": (232, 128, 36),
    "yellow": (238, 205, 70),
    "green": (66, 136, 52),
    "blue": (46, 92, 186),
    "purple": (128, 66, 164),
    "pink": (232, 124, 168),
    "brown": (128, 82, 48),
    "white": (238, 234, 224),
    "grey": (132, 134, 138),
    "black": (34, 32, 36),
    "glass": (176, 212, 226),
}
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


def _polygon(paint: str, *points: tuple[float, float]) -> Part:
    return paint, np.array(points, float)


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """Points of an elliptic arc; degrees, clockwise from the right."""
    turn = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1)


def _ellipse(paint: str, x: float, y: float, rx: float, ry: float, angle: float = 0) -> Part:
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    round_zero = _arc(0, 0, rx, ry, 0, 360)
    return paint, round_zero @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def _box(paint: str, left: float, top: float, right: float, bottom: float) -> Part:
    return _polygon(paint, (left, top), (right, top), (right, bottom), (left, bottom))


def _band(paint: str, outer: np.ndarray, inner: np.ndarray) -> Part:
    """What lies between two arcs that run the same way: a ring, a crescent."""
    return paint, np.concatenate([outer, inner[::-1]])


def _ball(stripes: bool) -> Shape:
    disc = _ellipse("main", 0, 0, 0.95, 0.95)
    if stripes:
        return disc, _band("white", _arc(0, 0, 0.95, 0.95, 180, 0), _arc(0, 0, 0.95, 0.4, 180, 0))
    sectors = [
        ("white", np.concatenate([[(0, 0)], _arc(0, 0, 0.95, 0.95, turn, turn + 60)]))
        for turn in (0, 120, 240)
    ]
    return (disc, *sectors, _ellipse("main", 0, 0, 0.18, 0.18))


def _house(chimney: bool) -> Shape:
    wall, door = _box("main", -0.7, -0.1, 0.7, 0.85), _box("brown", -0.5, 0.3, -0.15, 0.85)
    window = _box("glass", 0.12, 0.12, 0.5, 0.45)
    roof = _polygon("red", (-0.95, -0.08), (0, -0.9), (0.95, -0.08))
    stack = (_box("grey", 0.35, -0.85, 0.6, -0.2),) if chimney else ()
    return *stack, roof, wall, door, window


def _round_tree() -> Shape:
    places = [(0, -0.5), (-0.42, -0.2), (0.42, -0.2), (0, -0.05)]
    crown = [_ellipse("main", x, y, 0.45, 0.42) for x, y in places]
    light = _ellipse("tint", -0.18, -0.5, 0.2, 0.16)
    return (_box("brown", -0.14, 0.1, 0.14, 0.95), *crown, light)


def _fir() -> Shape:
    tiers = [(-0.15, 0.72, 0.62), (-0.5, 0.56, 0.2), (-0.95, 0.4, -0.25)]
    layers = [
        _polygon(paint, (0, top), (width, bottom), (-width, bottom))
        for (top, width, bottom), paint in zip(tiers, ("shade", "main", "main"), strict=True)
    ]
    return (_box("brown", -0.12, 0.55, 0.12, 0.95), *layers)


def _star(waist: float) -> Shape:
    turn = np.radians(np.arange(10) * 36 - 90)
    points = np.stack([np.cos(turn), np.sin(turn)], 1)
    points[1::2] *= waist
    return ("main", points), ("tint", points * 0.5)


def _fish(stripes: bool) -> Shape:
    tail = _polygon("shade", (0.45, 0), (0.98, -0.5), (0.85, 0), (0.98, 0.5))
    fin = _polygon("shade", (-0.25, -0.4), (0.3, -0.68), (0.35, -0.25))
    body = _ellipse("main", -0.17, 0, 0.78, 0.48)
    eye = (_ellipse("white", -0.6, -0.12, 0.13, 0.13), _ellipse("black", -0.62, -0.12, 0.07, 0.07))
    bands = [
        _polygon("white", (x - 0.08, -y), (x + 0.08, -y), (x + 0.08, y), (x - 0.08, y))
        for x, y in ((-0.3, 0.45), (0.12, 0.43))
    ]
    return (tail, fin, body, *(bands if stripes else ()), *eye)


def _mug(belt: bool) -> Shape:
    x, top, bottom = -0.15, -0.62, 0.65
    handle = _band("shade", *(_arc(0.42, 0.1, rx, rx - 0.02, -90, 90) for rx in (0.53, 0.3)))
    wall = _band("main", _arc(x, top, 0.68, 0.2, 180, 360), _arc(x, bottom, 0.58, 0.2, 180, 0))
    rim, drink = _ellipse("tint", x, top, 0.68, 0.2), _ellipse("brown", x, -0.6, 0.56, 0.13)
    stripe = _box("white", -0.8, 0.0, 0.5, 0.25)
    return (handle, wall, *((stripe,) if belt else ()), rim, drink)


def _leaf(width: float) -> Shape:
    y = np.linspace(-0.95, 0.6, 25)
    half = width * np.sin(np.linspace(0, np.pi, 25)) ** 0.8 * np.linspace(0.75, 1.1, 25)
    blade = np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]])
    veins = [
        _polygon("tint", (0, low), (side * reach * width, low - 0.3), (0, low - 0.09))
        for side in (-1, 1)
        for low, reach in ((0.4, 0.75), (0.05, 0.85), (-0.3, 0.6))
    ]
    stalk, rib = _box("shade", -0.06, 0.4, 0.06, 0.98), _box("tint", -0.045, -0.75, 0.045, 0.5)
    return stalk, ("main", blade), *veins, rib


def _car(van: bool) -> Shape:
    x = -0.78 if van else -0.48  # of the windscreen's foot
    cabin = _polygon("main", (x, -0.05), (x + 0.2, -0.55), (0.45, -0.55), (0.75, -0.05))
    body = _polygon("main", (-0.97, 0.0), (-0.8, -0.12), (0.9, -0.12), (0.97, 0.3), (-0.97, 0.3))
    windows = (
        _polygon("glass", (x + 0.13, -0.1), (x + 0.26, -0.45), (-0.03, -0.45), (-0.03, -0.1)),
        _polygon("glass", (0.07, -0.1), (0.07, -0.45), (0.4, -0.45), (0.6, -0.1)),
    )
    wheels = [_ellipse("black", x, 0.3, 0.24, 0.24) for x in (-0.52, 0.52)]
    hubs = [_ellipse("grey", x, 0.3, 0.1, 0.1) for x in (-0.52, 0.52)]
    return (cabin, body, *windows, *wheels, *hubs, _box("yellow", -0.97, 0.02, -0.85, 0.14))


def _moon(bite: float) -> Shape:
    outer, inner = _arc(0.2, 0, 0.95, 0.95, 60, 300), _arc(0.675, 0, bite, 0.823, 90, 270)
    craters = [_ellipse("shade", x, y, r, r) for x, y, r in ((-0.4, -0.3, 0.11), (-0.3, 0.4, 0.13))]
    return _band("main", outer, inner), *craters


def _flower(petals: int, stem: bool) -> Shape:
    y, reach = (-0.3, 0.42) if stem else (0, 0.58)
    crown = []
    for turn in np.arange(petals) * 360 / petals:
        x, down = reach * np.cos(np.radians(turn)), reach * np.sin(np.radians(turn))
        crown.append(_ellipse("main", x, y + down, 0.62 * reach, 2.1 * reach / petals, turn))
    stalk = (_box("green", -0.05, 0, 0.05, 0.98), _ellipse("green", 0.25, 0.6, 0.28, 0.1, -35))
    return (*(stalk if stem else ()), *crown, _ellipse("yellow", 0, y, 0.45 * reach, 0.45 * reach))


SHAPES: dict[str, tuple[Shape, ...]] = {
    "ball": (_ball(True), _ball(False)),
    "house": (_house(True), _house(False)),
    "tree": (_round_tree(), _fir()),
    "star": (_star(0.42), _star(0.55)),
    "fish": (_fish(True), _fish(False)),
    "mug": (_mug(True), _mug(False)),
    "leaf": (_leaf(0.45), _leaf(0.62)),
    "car": (_car(True), _car(False)),
    "moon": (_moon(0.85), _moon(0.65)),
    "flower": (_flower(5, False), _flower(7, False), _flower(6, True)),
}
