"""Drawn scenes on photographs: labelled, captioned, in any number, without any download.

Ten categories of objects with a silhouette and typical colours of their own stand on crops of the
photographs inside the scikit-image wheel, are shaded and throw shadows. Embedded data for
segmentation, colourisation, style transfer and classification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lib.data.catalogue import refuse_below
from lib.data.drawn.shapes import COLOURS, SCENES, SHAPES, draw_shape, relief, shadow
from lib.data.images import load_images

CATEGORIES = {domain: tuple(names) for domain, names in SCENES["categories"].items()}
BORDER = 255  # label of the border around an object, as in PASCAL VOC
_STREAMS = {"A": 0, "B": 1, "objects": 2, "order": 3}  # of random numbers, by what they decide
_TYPICAL_SHARE = 0.65
_ANY = tuple(name for name in COLOURS if name not in ("black", "glass"))
_PHOTO_SIZE = 256  # pixels; backgrounds are crops of this
_LEAST = 6  # visible pixels; less of an object is counted as border


@dataclass(frozen=True)
class _Background:
    """A photograph as a background: its words in a caption, the part used, a tint if it is grey."""

    photo: str
    words: str
    part: Sequence[float] = (0, 0, 1, 1)  # left, top, right, bottom
    tint: Sequence[float] = (1, 1, 1)

    @property
    def word(self) -> str:
        """The last of its words."""
        return self.words.split()[-1]

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """A random square: (3, S, S) float32, perhaps mirrored, lighter or darker."""
        left, top, right, bottom = (part * _PHOTO_SIZE for part in self.part)
        side = rng.uniform(0.45, 0.95) * min(right - left, bottom - top)
        x, y = rng.uniform(left, right - side), rng.uniform(top, bottom - side)
        photo, box = _photo(self.photo, tuple(self.tint)), (x, y, x + side, y + side)
        pixels = np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, box))
        pixels = pixels[:, :: 1 if rng.random() < 0.5 else -1].transpose(2, 0, 1)
        return pixels.astype(np.float32, "C") * rng.uniform(0.75, 1.2)


_BACKGROUNDS = {
    domain: [_Background(**fields) for fields in backgrounds]
    for domain, backgrounds in SCENES["backgrounds"].items()
}


@cache
def _photo(name: str, tint: tuple[float, float, float]) -> Image.Image:
    image = load_images(f"photos:{name}", size=_PHOTO_SIZE, channels=3)[1][0]
    values = image.permute(1, 2, 0).numpy().astype(np.float32) * tint
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Scenes:
    """Scenes of one domain.

    images: (N, 3, S, S) uint8. labels: (N, S, S) uint8, 0 background, 1..K the place in
    ``CATEGORIES[domain]``, plus 1, ``BORDER`` around every object. captions: a sentence each.
    """

    images: Tensor
    labels: Tensor
    captions: list[str]


def render_scenes(count: int, *, size: int, seed: int, domain: str = "A") -> Scenes:
    """``count`` scenes of 1 to 4 objects that hide parts of each other.

    size: height and width in pixels, at least 16. domain: "A", or "B": fewer categories with
    numbers of their own, and other backgrounds. Scene i depends on (seed, i, size, domain) alone,
    so a smaller set is the start of a larger one. A caption names what the labels show, from front
    to back. Kept in memory; each call returns its own copy.
    Raises ValueError, naming the value, for an unknown domain, count < 1, size < 16, seed < 0.
    """
    if domain not in CATEGORIES:
        raise ValueError(f"domain must be one of {list(CATEGORIES)}, not {domain!r}")
    _check(count, size, seed)
    scenes = _scenes(count, size, seed, domain)
    return Scenes(scenes.images.clone(), scenes.labels.clone(), list(scenes.captions))


def render_objects(count: int, *, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) uint8 of one object each and its class (N,) int64, 0 to 9.

    The class is the place in ``CATEGORIES["A"]``. Every ten images from the first on have each
    class once, in random order. Made hard by clutter: parts of another category at the edge,
    something in front, odd colours, weak contrast, noise. Otherwise as ``render_scenes``.
    """
    _check(count, size, seed)
    images, classes = _objects(count, size, seed)[:2]
    return images.clone(), classes.clone()


def object_names(count: int, *, size: int, seed: int) -> list[tuple[str, str, str]]:
    """(category, colour, ground) of each picture of ``render_objects``, one word each."""
    _check(count, size, seed)
    return list(_objects(count, size, seed)[3])


def grounds() -> tuple[str, ...]:
    """The words for what objects stand on."""
    return tuple(ground.word for domain in _BACKGROUNDS.values() for ground in domain)


def _check(count: int, size: int, seed: int) -> None:
    refuse_below(1, count=count)
    refuse_below(16, size=size)
    refuse_below(0, seed=seed)


@cache
def _scenes(count: int, size: int, seed: int, domain: str) -> Scenes:
    made = [_scene(size, seed, index, domain) for index in range(count)]
    images, labels, captions = zip(*made, strict=True)
    return Scenes(_stack(images), _stack(labels), list(captions))


@cache
def _objects(count: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, tuple]:
    """Images, classes, label maps as those of domain A, and names."""
    made = [_object(size, seed, index) for index in range(count)]
    images, classes, labels, names = zip(*made, strict=True)
    return _stack(images), torch.tensor(classes), _stack(labels), names


def _stack(arrays: tuple[np.ndarray, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


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
        under *= 1 - 0.5 * shadow(alpha, radius)[patch]
        fill = drawn[:3] * relief(rng, side, radius)
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
        numbers[0] = 0
        for number, (_, category) in enumerate(self.names, start=1):
            numbers[number] = categories.index(category) + 1
        return numbers[seen]


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Where a patch and the canvas meet along one axis: in the canvas, and in the patch."""
    low, high = min(max(start, 0), size), min(max(start + length, 0), size)
    return slice(low, high), slice(low - start, high - start)


def _colour(rng: np.random.Generator, category: str, share: float = _TYPICAL_SHARE) -> str:
    typical, *others = SCENES["typical"][category]
    return typical if rng.random() < share else others[rng.integers(len(others))]


def _scene(size: int, seed: int, index: int, domain: str) -> tuple[np.ndarray, np.ndarray, str]:
    """One scene: (3, S, S) uint8, (S, S) uint8 labels, caption."""
    rng = np.random.default_rng((seed, index, _STREAMS[domain]))
    categories, backgrounds = CATEGORIES[domain], _BACKGROUNDS[domain]
    background = backgrounds[rng.integers(len(backgrounds))]
    canvas = _Canvas(background.crop(rng, size), rng)
    count = int(rng.integers(1, 5))
    for centre in _places(rng, count):
        category = categories[rng.integers(len(categories))]
        radius, tilt = rng.uniform(0.23 - 0.015 * count, 0.37 - 0.032 * count), rng.normal(0, 0.25)
        canvas.put(category, _colour(rng, category), centre, radius=radius, tilt=tilt)
    seen = canvas.visible()
    labels = canvas.labels(seen, categories)
    return _bytes(canvas.picture), labels, _caption(canvas, seen, background.words)


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


def _object(
    size: int, seed: int, index: int
) -> tuple[np.ndarray, int, np.ndarray, tuple[str, str, str]]:
    """One object: (3, S, S) uint8, its class, (S, S) uint8 labels, (category, colour, ground)."""
    categories = CATEGORIES["A"]
    block = np.random.default_rng((seed, index // 10, _STREAMS["order"]))
    number = int(block.permutation(10)[index % 10])
    rng = np.random.default_rng((seed, index, _STREAMS["objects"]))
    backgrounds = _BACKGROUNDS["A"] + _BACKGROUNDS["B"]
    background = backgrounds[rng.integers(len(backgrounds))]
    canvas = _Canvas(background.crop(rng, size), rng)
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
    return _bytes(picture), number, labels, (category, colour, background.word)


def _cover(canvas: _Canvas, background: _Background, centre: np.ndarray, radius: float) -> None:
    """Another photograph over one side of the picture, and up to a third of the object."""
    rng, size = canvas.rng, len(canvas.owner)
    edge = round(size * (0.5 + np.abs(centre - 0.5).max() + radius * rng.uniform(0.3, 0.8)))
    turns = int(rng.integers(4))
    picture = np.rot90(canvas.picture, turns, (1, 2))
    picture[..., edge:] = background.crop(rng, size)[..., edge:]
    np.rot90(canvas.owner, turns)[:, edge:] = 0


def _bytes(picture: np.ndarray) -> np.ndarray:
    return picture.clip(0, 255).astype(np.uint8)
