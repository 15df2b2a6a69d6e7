"""Drawn faces with exact landmarks and attributes: in any number, without any download.

A head is an ellipsoid that is turned, lit and seen in parallel projection; its face is painted on
it, and nose, ears, hair and hat are put on (``face_parts``).
Landmarks are projections of points on the head. Embedded data for learning landmarks and
attributes together.
"""

from __future__ import annotations

from functools import cache
from math import cos, radians, sin

import numpy as np
import torch
from PIL import Image

from lib.data.drawn.face_parts import Anatomy, View, draw_head
from lib.data.images import load_images

ATTRIBUTES = tuple(  # as CelebA spells them
    "Bald Bangs Big_Nose Black_Hair Blond_Hair Brown_Hair Bushy_Eyebrows Eyeglasses Goatee"
    " Gray_Hair Mouth_Slightly_Open Mustache Narrow_Eyes Pale_Skin Rosy_Cheeks Smiling Wearing_Hat"
    " Wearing_Lipstick Young".split()
)
_PHOTOS = "photos:brick,chelsea,coffee,grass,gravel,motorcycle_left,rocket"
_PHOTO_SIZE = 128  # pixels; backgrounds are crops of this, a little out of focus
_HAIR = {
    "Black_Hair": (0.08, 0.07, 0.08),
    "Brown_Hair": (0.36, 0.2, 0.1),
    "Blond_Hair": (0.88, 0.7, 0.36),
    "Gray_Hair": (0.66, 0.66, 0.68),
    "red": (0.66, 0.24, 0.08),  # none of CelebA's
}
_PALE, _LIGHT, _DARK = (1.0, 0.92, 0.88), (0.9, 0.7, 0.56), (0.4, 0.25, 0.17)
_IRISES = ((0.2, 0.11, 0.05), (0.14, 0.25, 0.4), (0.15, 0.26, 0.13))  # brown, blue, green
_FOREHEAD = -0.6  # y of the upper end of a face: what is above may leave the picture


@cache
def face_tensors(count: int, size: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Images (N, 3, S, S) uint8, landmarks (N, 5, 2) float32, attributes (N, A) int8.

    They are kept in memory: do not write into them. See ``lib.data.faces.draw_faces``.
    """
    made = [_face(np.random.default_rng((seed, index)), size) for index in range(count)]
    return tuple(torch.from_numpy(np.stack(values)) for values in zip(*made, strict=True))


def _face(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One face: (3, S, S) uint8, (5, 2) float32 landmarks, (A,) int8."""
    feminine = rng.random() < 0.5  # no attribute, but what many of them depend on
    has = _attributes(rng, feminine)
    face = _anatomy(rng, has)
    view = _view(rng, face)
    picture = _background(rng, size)
    light = rng.uniform((-0.8, -0.8, 0.5), (0.8, 0.2, 1))  # from the front, rarely from below
    long_hair = feminine and rng.random() < 0.75
    draw_head(picture, view, face, has, light=light, long_hair=long_hair, rng=rng)
    marks = view.to_picture(face.landmarks()).astype(np.float32)
    return _photographed(picture, rng), marks, np.array([has[n] for n in ATTRIBUTES], np.int8)


def _attributes(rng: np.random.Generator, feminine: bool) -> dict[str, bool]:
    """``ATTRIBUTES``, and "red" for the hair that has no attribute."""

    def chance(share: float, otherwise: float = 0, *, given: bool = True) -> bool:
        return bool(rng.random() < (share if given else otherwise))

    has = {"Young": chance(0.54), "Wearing_Hat": chance(0.14), "Smiling": chance(0.48)}
    has["Bald"] = not (has["Wearing_Hat"] or feminine) and chance(0.17, 0.37, given=has["Young"])
    grey = 0.04 if has["Young"] else 0.4
    shares = [*(np.array((0.33, 0.31, 0.28, 0.08)) * (1 - grey)), grey]
    names = ("Black_Hair", "Brown_Hair", "Blond_Hair", "red", "Gray_Hair")
    colour = names[rng.choice(5, p=shares)]
    hair = not (has["Wearing_Hat"] or has["Bald"])
    has |= {name: hair and name == colour for name in names}
    has["Bangs"] = hair and chance(0.45, 0.15, given=feminine)
    has["Eyeglasses"] = chance(0.13, 0.28, given=has["Young"])
    has["Mouth_Slightly_Open"] = chance(0.65, 0.25, given=has["Smiling"])
    has["Mustache"] = not feminine and chance(0.3)
    has["Goatee"] = not feminine and chance(0.6, 0.16, given=has["Mustache"])
    bearded = has["Mustache"] or has["Goatee"]
    has["Wearing_Lipstick"] = not bearded and chance(0.65, 0.04, given=feminine)
    has["Narrow_Eyes"] = chance(0.24, 0.14, given=has["Smiling"])
    has["Bushy_Eyebrows"] = chance(0.1, 0.32, given=feminine)
    has["Big_Nose"] = chance(0.12, 0.32, given=feminine)
    has["Rosy_Cheeks"] = chance(0.22, 0.08, given=feminine)
    has["Pale_Skin"] = chance(0.15)
    return has


def _anatomy(rng: np.random.Generator, has: dict[str, bool]) -> Anatomy:
    """Measures and colours that show the attributes and otherwise differ at random."""
    vary, smiling = rng.uniform, has["Smiling"]
    eye = vary(-0.08, 0.04)
    nose = eye + vary(0.36, 0.47)
    tint = vary(0, 1)
    tone = np.array(_LIGHT) * (1 - tint) + np.array(_DARK) * tint
    skin = np.asarray((_PALE if has["Pale_Skin"] else tone) * vary(0.95, 1.03, 3), np.float32)
    colour = next((c for name, c in _HAIR.items() if has[name]), _HAIR["Brown_Hair"])
    hair = (np.array(colour) * vary(0.85, 1.12) + vary(0, 0.03)).astype(np.float32)
    lipstick = (vary(0.7, 0.9), vary(0.02, 0.15), vary(0.12, 0.35))
    lips = lipstick if has["Wearing_Lipstick"] else skin * (0.88, 0.66, 0.66)
    return Anatomy(
        width=vary(0.7, 0.82),
        depth=vary(0.8, 0.92),
        taper=vary(0.12, 0.4),
        eye_distance=vary(0.29, 0.36),
        eye=eye,
        eye_opening=vary(0.022, 0.036) if has["Narrow_Eyes"] else vary(0.075, 0.1),
        brow=vary(0.06, 0.075) if has["Bushy_Eyebrows"] else vary(0.018, 0.028),
        nose=nose,
        nose_width=vary(0.17, 0.2) if has["Big_Nose"] else vary(0.085, 0.11),
        nose_height=vary(0.2, 0.32),
        mouth=nose + vary(0.22, 0.28) - 0.04 * smiling,
        mouth_width=vary(0.2, 0.27) + 0.08 * smiling,
        mouth_opening=vary(0.06, 0.1) * has["Mouth_Slightly_Open"],
        bend=vary(0.08, 0.13) if smiling else vary(-0.03, 0.01),
        lip=vary(0.06, 0.075) if has["Wearing_Lipstick"] else vary(0.035, 0.055),
        skin=skin,
        hair=hair,
        lips=np.array(lips, np.float32),
        iris=np.array(_IRISES[rng.choice(3, p=(0.6, 0.25, 0.15))], np.float32),
    )


def _view(rng: np.random.Generator, face: Anatomy) -> View:
    """A random pose, size and place that leave the whole face inside the picture."""
    yaw = rng.normal(0, 14) if rng.random() < 0.85 else rng.uniform(-60, 60)
    pitch, roll = (radians(np.clip(rng.normal(0, 8), -20, 20)) for _ in range(2))
    yaw = radians(np.clip(yaw, -60, 60))
    around_y = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    turn = around_x @ around_y
    flat = np.array([[cos(roll), -sin(roll)], [sin(roll), cos(roll)]])
    rows = flat @ turn[:2]
    reach = np.linalg.norm(rows * (face.width, 1, face.depth), axis=1)  # of the turned ellipsoid
    tip = rows @ face.nose_tip()
    low = np.minimum((-reach[0], _FOREHEAD), tip - 0.1)
    high = np.maximum(reach, tip + 0.1)
    scale = min(rng.uniform(0.31, 0.54), 0.97 / (high - low).max())
    centre = rng.uniform(0.01 - scale * low, 0.99 - scale * high)
    return View(turn, roll, scale, centre, face.taper)


@cache
def _photos() -> tuple[Image.Image, ...]:
    images = load_images(_PHOTOS, size=_PHOTO_SIZE, channels=3)[1]
    return tuple(Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random square of a photograph, 0..1: (3, S, S) float32."""
    photos = _photos()
    side = rng.uniform(0.3, 0.95) * _PHOTO_SIZE
    x, y = rng.uniform(0, _PHOTO_SIZE - side, 2)
    box = (x, y, x + side, y + side)
    crop = photos[rng.integers(len(photos))].resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(crop).transpose(2, 0, 1).astype(np.float32, "C") / 255


def _photographed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a camera sees it: a little blurred, tinted and noisy, (3, S, S) uint8."""
    blur = rng.uniform(0, 0.15)
    for axis in (1, 2):
        before, after = (np.roll(picture, step, axis) for step in (1, -1))
        picture = picture + blur * (before + after - 2 * picture)
    picture = picture * rng.uniform(0.85, 1.1) * rng.uniform(0.95, 1.05, (3, 1, 1)).astype("f4")
    picture += rng.uniform(0.005, 0.03) * rng.standard_normal(picture.shape, np.float32)
    return (picture * 255).clip(0, 255).astype(np.uint8)
