"""A drawn head from back to front: its shaded surface, and nose, ears, hair and hat put on.

Coordinates and colours are those of ``lib.data.drawn.face_texture``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.drawn.face_texture import Anatomy, cover, ellipse, paint, texture


@dataclass(frozen=True)
class Easel:
    """A picture (3, S, S) and where its pixels lie.

    turn: (3, 3), from the head's coordinates to the viewer's: x right, y down, z to the viewer.
    light: (3,), to the lamp, in the head's coordinates. x, y: (S, S), pixels from the head's
    centre, tilted with the head; level_x, level_y: the same, as the picture is held. pixel: a
    pixel's side. All float32, lengths in half heights of the head.
    """

    picture: np.ndarray
    turn: np.ndarray
    light: np.ndarray
    x: np.ndarray
    y: np.ndarray
    level_x: np.ndarray
    level_y: np.ndarray
    pixel: float

    def place(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point of the head is seen, in the terms of ``Easel.x`` and ``Easel.y``."""
        return tuple((self.turn[:2] @ np.array((x, y, z), np.float32)).tolist())

    def lay(self, colour: np.ndarray, distance: np.ndarray) -> None:
        """Paint all that is inside an outline; distance: from it, negative inside."""
        paint(self.picture, colour, cover(distance, self.pixel))


@dataclass(frozen=True)
class Surface:
    """An ellipsoid seen: where it is hit, in the head's coordinates, and its light; all (S, S)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    light: np.ndarray
    outline: np.ndarray  # signed distance, negative inside


def surface(
    easel: Easel, axes: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)
) -> Surface:
    """An ellipsoid of these half axes around a point of the head."""
    turn, half, middle = easel.turn, np.array(axes, np.float32), np.array(centre, np.float32)
    # the line of sight through a pixel, where the ellipsoid is the unit sphere: start + z * along
    along = turn[2] / half
    start = [(turn[0, i] * easel.x + turn[1, i] * easel.y - middle[i]) / half[i] for i in range(3)]
    square = (along**2).sum()
    nearest = sum(along[i] * start[i] for i in range(3)) / square
    from_axis = sum(s * s for s in start) - square * nearest**2  # 1 on the outline
    z = np.sqrt(np.maximum(1 - from_axis, 0) / square) - nearest
    sphere = [start[i] + along[i] * z for i in range(3)]
    normal = [sphere[i] / half[i] for i in range(3)]
    lit = sum(normal[i] * easel.light[i] for i in range(3)) / np.sqrt(sum(n * n for n in normal))
    x, y, z = (sphere[i] * half[i] + middle[i] for i in range(3))
    outline = (np.sqrt(np.maximum(from_axis, 0)) - 1) * half.min()
    return Surface(x, y, z, 0.6 + 0.5 * np.maximum(lit, 0), outline)


def draw_head(
    easel: Easel, face: Anatomy, has: dict[str, bool], *, long_hair: bool, rng: np.random.Generator
) -> None:
    """Paint a head from back to front, with random clothes. has: the attributes."""
    bare = has["Bald"] or has["Wearing_Hat"]
    clothes, hat, band = rng.uniform(0.05, 0.95, (3, 3)).astype(np.float32)
    phase, brimmed = rng.uniform(0, 6), rng.random() < 0.5
    near = 1 if easel.turn[2, 0] > 0 else -1  # the side turned to the viewer
    if long_hair and not bare:
        _long_hair(easel, face)
    _body(easel, face, clothes)
    _ear(easel, face, -near)
    head = surface(easel, (face.width, 1, face.depth))
    easel.lay(texture(face, has, head.x, head.y, easel.pixel) * head.light, head.outline)
    _nose(easel, face)
    _ear(easel, face, near)
    if not bare:
        _hair(easel, face, has["Bangs"], long_hair, phase)
    if has["Wearing_Hat"]:
        _hat(easel, face, hat, band, brimmed)


def _long_hair(easel: Easel, face: Anatomy) -> None:
    """What hangs behind the neck."""
    behind, _ = easel.place(0, 0, -0.3)
    easel.lay(face.hair * 0.75, ellipse(easel.x - behind, easel.y - 0.45, face.width + 0.25, 1.15))


def _body(easel: Easel, face: Anatomy, clothes: np.ndarray) -> None:
    """Neck and shoulders, upright however the head is held."""
    x, y = easel.level_x, easel.level_y
    easel.lay(face.skin * 0.62, np.maximum(np.abs(x) - 0.42, 0.3 - y))
    easel.lay(clothes, ellipse(x, y - 2.2, 1.5, 1.0))


def _ear(easel: Easel, face: Anatomy, side: int) -> None:
    x, y = easel.place(side * face.width, face.eye + 0.14, -0.1)
    seen_width = 0.08 + 0.08 * abs(float(easel.turn[2, 0]))
    outline = ellipse(easel.x - x, easel.y - y, seen_width, 0.19)
    easel.lay(face.skin * 0.78, outline)
    easel.lay(face.skin * 0.6, outline + 0.07)


def _nose(easel: Easel, face: Anatomy) -> None:
    """A rounded cone from between the eyes to the tip, and two nostrils below the tip."""
    tip = face.nose_tip()
    (x0, y0), (x1, y1) = easel.place(*face.on_skin(0, face.eye - 0.02)), easel.place(*tip)
    x, y, dx, dy = easel.x - x0, easel.y - y0, x1 - x0, y1 - y0
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
    across, down = x - along * dx, y - along * dy
    radius = 0.045 + (face.nose_width - 0.045) * along**2
    lamp = easel.turn @ easel.light
    lit = 0.95 + 0.16 * (across * lamp[0] + down * lamp[1]) / radius  # one flank is brighter
    rim = np.sqrt(across**2 + down**2) - radius
    paint(easel.picture, face.skin * 0.55, 0.45 * cover(rim - 0.02, 2 * easel.pixel))
    easel.lay(face.skin[:, None, None] * lit, rim)
    for side in (-0.45, 0.45):
        nostril = np.add(tip, (side * face.nose_width, 0.6 * face.nose_width, -0.02))
        x2, y2 = easel.place(*nostril)
        easel.lay(face.skin * 0.3, ellipse(easel.x - x2, easel.y - y2, 0.035, 0.025))


def _hair(easel: Easel, face: Anatomy, bangs: bool, long: bool, phase: float) -> None:
    """A shell around the head above the hairline, which falls from the forehead to the nape."""
    shell = surface(easel, (face.width + 0.1, 1.06, face.depth + 0.1), (0, -0.07, -0.06))
    strands = np.sin(shell.x * 34 + 3 * np.sin(shell.y * 5 + phase))
    front = -0.33 + 0.03 * strands if bangs else -0.64 + 0.12 * np.abs(shell.x + phase / 12 - 0.25)
    fall = (2.6 if long else 1.5) * np.clip(0.42 - shell.z, 0, 0.7)
    colour = face.hair[:, None, None] * (shell.light * (1 + 0.09 * strands))
    easel.lay(colour, np.maximum(shell.outline, shell.y - front - fall))


def _hat(easel: Easel, face: Anatomy, colour: np.ndarray, band: np.ndarray, brimmed: bool) -> None:
    """A cap, or a higher hat with a brim, with a band in another colour."""
    edge, height = -0.46, 1.25 if brimmed else 1.1
    dome = surface(easel, (face.width + 0.14, height, face.depth + 0.14), (0, -0.12, 0))
    above = np.maximum(dome.outline, dome.y - edge)
    easel.lay(colour[:, None, None] * dome.light, above)
    easel.lay(band[:, None, None] * dome.light, np.maximum(above, edge - 0.2 - dome.y))
    if brimmed:
        x, y = easel.place(0, edge, 0)
        flat = 0.09 + 0.5 * abs(float(easel.turn[2, 1]))  # a disc, seen nearly from the side
        easel.lay(colour * 0.8, ellipse(easel.x - x, easel.y - y, 1.3, flat))
