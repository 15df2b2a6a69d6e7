"""Drawn scenes on photographs: labelled, captioned, in any number, without any download.

Ten categories of objects with a silhouette and typical colours of their own stand on crops of the
photographs inside the scikit-image wheel, are shaded and throw shadows. Embedded data for
segmentation, colourisation, style transfer and classification.

A silhouette lies in a circle of radius 1 around 0, x to the right, y down. It is a sequence of
parts, painted in order; a part is a polygon and its paint: ``main`` (the colour of the one object
drawn), ``shade`` or ``tint`` (``main`` made darker or lighter), or a colour of ``COLOURS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from lib.data.catalogue import refuse_below
from lib.data.images import load_images

SCENES = yaml.safe_load(files("lib.data").joinpath("scenes.yaml").read_text(encoding="utf-8"))
CATEGORIES = {domain: tuple(names) for domain, names in SCENES["categories"].items()}
COLOURS = {name: tuple(colour) for name, colour in SCENES["colours"].items()}
BORDER = 255  # label of the border around an object, as in PASCAL VOC
OVERSAMPLING = 3  # a pixel of a silhouette is the mean of 3 x 3
_BACKGROUNDS = SCENES["backgrounds"]
# the words for what objects stand on
GROUNDS = tuple(ground["words"].split()[-1] for ground in _BACKGROUNDS["A"] + _BACKGROUNDS["B"])
_STREAMS = {"A": 0, "B": 1, "objects": 2, "order": 3}  # of random numbers, by what they decide
_TYPICAL_SHARE = 0.65
_ANY = tuple(name for name in COLOURS if name not in ("black", "glass"))
_GRAINS = ("grass", "gravel", "brick", "chelsea")  # photographs
_PHOTO_SIZE = 256  # pixels; backgrounds are crops of this
_LEAST = 6  # visible pixels; less of an object is counted as border
Shape = tuple[tuple[str, np.ndarray], ...]
Drawn = tuple[np.ndarray, np.ndarray, str]  # (3, S, S) uint8, (S, S) uint8 labels, caption


def _background(rng: np.random.Generator, size: int, fields: dict[str, Any]) -> np.ndarray:
    """A random square of a photograph: (3, S, S) float32, perhaps mirrored, lighter or darker."""
    left, top, right, bottom = (_PHOTO_SIZE * part for part in fields.get("part", (0, 0, 1, 1)))
    side = rng.uniform(0.45, 0.95) * min(right - left, bottom - top)
    x, y = rng.uniform((left, top), (right - side, bottom - side))
    photo = _photo(fields["photo"], *fields.get("tint", (1, 1, 1)))
    box = (x, y, x + side, y + side)
    pixels = np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, box))
    pixels = pixels[:, :: 1 if rng.random() < 0.5 else -1].transpose(2, 0, 1)
    return pixels.astype(np.float32, "C") * rng.uniform(0.75, 1.2)


@cache
def _photo(name: str, *tint: float) -> Image.Image:
    image = load_images(f"photos:{name}", size=_PHOTO_SIZE, channels=3)[1][0]
    values = image.permute(1, 2, 0).numpy().astype(np.float32) * tint
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Scenes:
    """Drawn pictures.

    images: (N, 3, S, S) uint8. labels: (N, S, S) uint8, 0 background, else 1 + the place in
    ``CATEGORIES[domain]``, ``BORDER`` around every object. captions: of scenes, a sentence
    each; of single objects, their category, colour and ground, a word each.
    """

    images: Tensor
    labels: Tensor
    captions: tuple[str, ...]


def render_scenes(count: int, *, size: int, seed: int, domain: str = "A") -> Scenes:
    """``count`` scenes of 1 to 4 objects that hide parts of each other.

    size: height and width in pixels, at least 16. domain: "A", or "B": fewer categories with
    numbers of their own, and other backgrounds. Scene i depends on (seed, i, size, domain) alone,
    so a smaller set is the start of a larger one. A caption names what the labels show, from front
    to back. Raises ValueError, naming the value, for one that is too small or unknown.
    """
    if domain not in CATEGORIES:
        raise ValueError(f"domain must be one of {list(CATEGORIES)}, not {domain!r}")
    return _gather(count, partial(_scene, domain=domain), size, seed)


def render_objects(count: int, *, size: int, seed: int) -> Scenes:
    """``count`` pictures of one object each, of the categories of domain A.

    Every ten pictures from the first on have each category once, in random order. Made hard by
    clutter: parts of another category at the edge, something in front, odd colours, weak contrast,
    noise. Otherwise as ``render_scenes``.
    """
    return _gather(count, _object, size, seed)


def _gather(count: int, draw: Callable[..., Drawn], size: int, seed: int) -> Scenes:
    refuse_below(1, count=count)
    refuse_below(16, size=size)
    refuse_below(0, seed=seed)
    pictures = (draw(size, seed, index) for index in range(count))
    images, labels, captions = zip(*pictures, strict=True)
    return Scenes(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), captions)


class _Canvas:
    """A picture in the making.

    picture: (3, S, S) float32, 0..255. owner: (S, S), the object seen in each pixel: 0 none, 1 the
    rearmost, and so on. names: colour and category of each object. masks: its pixels, seen or not.
    """

    def __init__(self, picture: np.ndarray, rng: np.random.Generator) -> None:
        self.picture, self.rng = picture, rng
        self.owner = np.zeros(picture.shape[1:], np.uint8)
        self.names: list[tuple[str, str]] = []
        self.masks: list[np.ndarray] = []

    def put(
        self, category: str, colour: str, centre: np.ndarray, *, radius: float, tilt: float
    ) -> None:
        """Draw an object in front of all others; centre (x, y) and radius as parts of the size."""
        rng, size = self.rng, len(self.owner)
        radius = radius * size
        side = 2 * int(1.3 * radius + 2)  # leaves room for the shadow
        paint = tuple(np.array(COLOURS[colour]) * rng.uniform(0.82, 1.12) + rng.uniform(-10, 10, 3))
        shape, flip = SHAPES[category][rng.integers(len(SHAPES[category]))], rng.random() < 0.5
        drawn = draw_shape(shape, paint, side=side, radius=radius, angle=tilt, flip=flip)
        (columns, patch_columns), (rows, patch_rows) = (
            _overlap(round(at * size) - side // 2, side, size) for at in centre
        )
        place, patch = (..., rows, columns), (..., patch_rows, patch_columns)
        alpha = drawn[3] / 255
        under = self.picture[place]
        under *= 1 - 0.5 * _shadow(alpha, radius)[patch]
        fill = drawn[:3] * _relief(rng, side, radius)
        under += alpha[patch] * (fill[patch] - under)
        mask = np.zeros((size, size), bool)
        mask[place] = alpha[patch] >= 0.5
        self.names.append((colour, category))
        self.masks.append(mask)
        self.owner[mask] = len(self.masks)

    def visible(self) -> np.ndarray:
        """``owner``, with ``BORDER`` where something further in front begins next to a pixel."""
        owner = self.owner
        front = np.asarray(Image.fromarray(owner).filter(ImageFilter.MaxFilter(3)))
        seen = np.where(front > owner, np.uint8(BORDER), owner)
        for number in range(1, len(self.masks) + 1):
            if (seen == number).sum() < _LEAST:
                seen[seen == number] = BORDER
        return seen

    def labels(self, seen: np.ndarray, categories: tuple[str, ...]) -> np.ndarray:
        """``visible()`` with the numbers of the objects' categories."""
        numbers = np.full(256, BORDER, np.uint8)
        places = [categories.index(category) + 1 for _, category in self.names]
        numbers[: len(places) + 1] = [0, *places]
        return numbers[seen]


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Where a patch and the canvas meet along one axis: in the canvas, and in the patch."""
    low, high = min(max(start, 0), size), min(max(start + length, 0), size)
    return slice(low, high), slice(low - start, high - start)


def _as_bytes(picture: np.ndarray) -> np.ndarray:
    return picture.clip(0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, category: str, share: float = _TYPICAL_SHARE) -> str:
    typical, *others = SCENES["typical"][category]
    return typical if rng.random() < share else others[rng.integers(len(others))]


def _scene(size: int, seed: int, index: int, domain: str) -> Drawn:
    rng = np.random.default_rng((seed, index, _STREAMS[domain]))
    categories, backgrounds = CATEGORIES[domain], _BACKGROUNDS[domain]
    background = backgrounds[rng.integers(len(backgrounds))]
    canvas = _Canvas(_background(rng, size, background), rng)
    count = int(rng.integers(1, 5))
    for centre in _places(rng, count):
        category = categories[rng.integers(len(categories))]
        radius, tilt = rng.uniform(0.23 - 0.015 * count, 0.37 - 0.032 * count), rng.normal(0, 0.25)
        canvas.put(category, _colour(rng, category), centre, radius=radius, tilt=tilt)
    seen = canvas.visible()
    labels = canvas.labels(seen, categories)
    return _as_bytes(canvas.picture), labels, _caption(canvas, seen, background["words"])


def _places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Centres (count, 2) as fractions of the size, the lower in front, not all on one heap."""
    places = rng.uniform(0.18, 0.82, (1, 2))
    while len(places) < count:
        candidates = rng.uniform(0.18, 0.82, (3, 2))
        apart = np.abs(candidates[:, None] - places).max(2).min(1)
        places = np.concatenate([places, candidates[apart.argmax()][None]])
    return places[places[:, 1].argsort()]


def _caption(canvas: _Canvas, seen: np.ndarray, where: str) -> str:
    """Names what is seen from front to back: "a red ball in front of a white house on grass"."""
    words, before = [], None
    for number in range(len(canvas.masks), 0, -1):
        if not (seen == number).any():
            continue
        colour, category = canvas.names[number - 1]
        mask = canvas.masks[number - 1]
        if before is not None:
            words.append("in front of" if (mask & before).any() else "beside")
        words.append(f"{'an' if colour == 'orange' else 'a'} {colour} {category}")
        before = mask
    return " ".join([*words, where])


def _object(size: int, seed: int, index: int) -> Drawn:
    categories = CATEGORIES["A"]
    block = np.random.default_rng((seed, index // 10, _STREAMS["order"]))
    number = int(block.permutation(10)[index % 10])
    rng = np.random.default_rng((seed, index, _STREAMS["objects"]))
    backgrounds = _BACKGROUNDS["A"] + _BACKGROUNDS["B"]
    background = backgrounds[rng.integers(len(backgrounds))]
    canvas = _Canvas(_background(rng, size, background), rng)
    centre, radius = rng.uniform(0.36, 0.64, 2), rng.uniform(0.22, 0.42)
    if rng.random() < 0.5:  # part of a smaller object behind the one that counts
        other = categories[(number + rng.integers(1, 10)) % 10]
        direction = rng.uniform(0, 2 * np.pi)
        place = centre + 1.1 * radius * np.array([np.cos(direction), np.sin(direction)])
        tilt = rng.normal(0, 0.5)
        canvas.put(other, _colour(rng, other), place, radius=0.5 * radius, tilt=tilt)
    category = categories[number]
    colour = _colour(rng, category, 0.4) if rng.random() < 0.5 else _ANY[rng.integers(len(_ANY))]
    canvas.put(category, colour, centre, radius=radius, tilt=rng.normal(0, 0.5))
    if rng.random() < 0.3:
        _cover(canvas, backgrounds[rng.integers(len(backgrounds))], centre, radius)
    labels = canvas.labels(canvas.visible(), categories)
    # weaker contrast, a cast of colour, noise
    grey = canvas.picture.mean()
    picture = grey + rng.uniform(0.45, 1.1) * (canvas.picture - grey)
    picture = picture + rng.normal(0, 12, (3, 1, 1))
    picture = picture + rng.normal(0, rng.uniform(2, 15), picture.shape)
    return _as_bytes(picture), labels, f"{category} {colour} {background['words'].split()[-1]}"


def _cover(canvas: _Canvas, background: dict[str, Any], centre: np.ndarray, radius: float) -> None:
    """Another photograph over one side of the picture, and up to a third of the object."""
    rng, size = canvas.rng, len(canvas.owner)
    edge = round(size * (0.5 + np.abs(centre - 0.5).max() + radius * rng.uniform(0.3, 0.8)))
    turns = int(rng.integers(4))
    picture = np.rot90(canvas.picture, turns, (1, 2))
    picture[..., edge:] = _background(rng, size, background)[..., edge:]
    np.rot90(canvas.owner, turns)[:, edge:] = 0


def draw_shape(
    shape: Shape, colour: tuple[float, ...], *, side: int, radius: float, angle: float, flip: bool
) -> np.ndarray:
    """One shape in the middle of a transparent square: (4, side, side) float32 RGBA in 0..255.

    colour: RGB of the paint ``main``. radius: in pixels. angle: radians, clockwise; ``flip``
    mirrors left and right first.
    """
    main = np.array(colour)
    varied = {"main": main, "shade": 0.62 * main, "tint": 0.5 * main + 120}
    paints = COLOURS | {
        name: tuple(v.round().clip(0, 255).astype(int)) for name, v in varied.items()
    }
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


def _shadow(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A soft shadow to the lower right of an object: of (side, side) coverage, both in 0..1."""
    picture = Image.fromarray((alpha * 255).astype(np.uint8))
    blurred = np.asarray(picture.filter(ImageFilter.BoxBlur(0.1 * radius)), np.float32) / 255
    step = round(0.12 * radius)
    return np.roll(blurred, (step, step), (0, 1))


def _relief(rng: np.random.Generator, side: int, radius: float) -> np.ndarray:
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


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """Points of an elliptic arc; degrees, clockwise from the right."""
    turn = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1)


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0) -> np.ndarray:
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    upright = _arc(0, 0, rx, ry, 0, 360)
    return upright @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def _band(*numbers: float) -> np.ndarray:
    """What lies between two arcs that run the same way, as a ring or a crescent does."""
    outer, inner = _arc(*numbers[:6]), _arc(*numbers[6:])
    return np.concatenate([outer, inner[::-1]])


def _star(waist: float, scale: float) -> np.ndarray:
    """Five points; waist: the radius between them."""
    turn = np.radians(np.arange(10) * 36 - 90)
    points = np.stack([np.cos(turn), np.sin(turn)], 1)
    points[1::2] *= waist
    return points * scale


def _blade(width: float) -> np.ndarray:
    """A leaf without its stalk."""
    y = np.linspace(-0.95, 0.6, 25)
    half = width * np.sin(np.linspace(0, np.pi, 25)) ** 0.8 * np.linspace(0.75, 1.1, 25)
    return np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]])


_KINDS: dict[str, Callable[..., np.ndarray]] = {
    "polygon": lambda *numbers: np.array(numbers).reshape(-1, 2),
    **{"ellipse": _ellipse, "band": _band, "star": _star, "blade": _blade},
}


def _part(line: str) -> tuple[str, np.ndarray]:
    """A part of a silhouette, of a line in scenes.yaml."""
    paint, kind, *numbers = line.split()
    return paint, _KINDS[kind](*map(float, numbers))


SHAPES: dict[str, tuple[Shape, ...]] = {
    name: tuple(tuple(map(_part, lines)) for lines in variants)
    for name, variants in SCENES["shapes"].items()
}
