"""Drawn faces with exact landmarks and attributes: in any number, without any download.

A head is an ellipsoid that is turned, lit and seen in parallel projection; its face is painted on
it, and nose, ears, hair and hat are put on (``face_parts``).
Landmarks are projections of points on the head. Embedded data for learning landmarks and
attributes together.
"""

from __future__ import annotations

from importlib.resources import files
from math import cos, radians, sin

import numpy as np
import yaml
from PIL import Image

from lib.data.drawn.face_parts import Anatomy, View, draw_head
from lib.data.images import load_images

FACES = yaml.safe_load(files("lib.data").joinpath("faces.yaml").read_text(encoding="utf-8"))
HAIR = FACES["hair"]
ATTRIBUTES = tuple(sorted((*FACES["attributes"], *HAIR.keys() - {"red"})))
_PHOTOS = "photos:brick,chelsea,coffee,grass,gravel,motorcycle_left,rocket"
_PHOTO_SIZE = 128  # pixels; backgrounds are crops of this, a little out of focus
_FOREHEAD = -0.6  # y of the upper end of a face: what is above may leave the picture


def draw_face(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    """``ATTRIBUTES``, and "feminine", and "red" for the hair that has no attribute."""
    has = {"feminine": feminine}
    for name, rule in FACES["attributes"].items():
        with_it, without = np.broadcast_to(rule["share"], 2)
        share = with_it if has.get(rule.get("given"), True) else without
        has[name] = not any(has[other] for other in rule.get("unless", ())) and bool(
            rng.random() < share
        )
        if name == "Bald":  # then the colour of the hair
            has |= _hair(rng, has)
    return has


def _hair(rng: np.random.Generator, has: dict[str, bool]) -> dict[str, bool]:
    grey = FACES["grey"][not has["Young"]]
    *coloured, _ = HAIR.values()
    shares = [*(np.array([hair["share"] for hair in coloured]) * (1 - grey)), grey]
    colour = list(HAIR)[rng.choice(len(HAIR), p=shares)]
    seen = not (has["Wearing_Hat"] or has["Bald"])
    return {name: seen and name == colour for name in HAIR}


def _anatomy(rng: np.random.Generator, has: dict[str, bool]) -> Anatomy:
    """Measures and colours that show the attributes and otherwise differ at random."""
    vary, smiling, tones = rng.uniform, has["Smiling"], FACES["skin"]
    eye = vary(-0.08, 0.04)
    nose = eye + vary(0.36, 0.47)
    tint = vary(0, 1)
    tone = np.array(tones["light"]) * (1 - tint) + np.array(tones["dark"]) * tint
    skin = (tones["pale"] if has["Pale_Skin"] else tone) * vary(0.95, 1.03, 3)
    colour = next((name for name in HAIR if has[name]), "Brown_Hair")
    hair = np.array(HAIR[colour]["colour"]) * vary(0.85, 1.12) + vary(0, 0.03)
    lipstick = np.array((vary(0.7, 0.9), vary(0.02, 0.15), vary(0.12, 0.35)))
    skin = skin.astype(np.float32)
    lips = lipstick if has["Wearing_Lipstick"] else skin * (0.88, 0.66, 0.66)
    measures = {}
    for name, (usual, *others) in ((n, r.items()) for n, r in FACES["measures"].items()):
        shown = [bounds for attribute, bounds in others if has[attribute]]
        measures[name] = vary(*(shown or [usual[1]])[0])
    measures["mouth"] += nose - 0.04 * smiling
    measures["mouth_width"] += 0.08 * smiling
    measures["mouth_opening"] *= has["Mouth_Slightly_Open"]
    iris = FACES["irises"]["colours"][rng.choice(3, p=FACES["irises"]["shares"])]
    return Anatomy(
        eye=eye,
        nose=nose,
        **measures,
        skin=skin,
        hair=hair.astype(np.float32),
        lips=lips.astype(np.float32),
        iris=np.array(iris, np.float32),
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


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random square of a photograph, 0..1: (3, S, S) float32."""
    photos = load_images(_PHOTOS, size=_PHOTO_SIZE, channels=3)[1]
    side = rng.uniform(0.3, 0.95) * _PHOTO_SIZE
    x, y = rng.uniform(0, _PHOTO_SIZE - side, 2)
    box = (x, y, x + side, y + side)
    photo = Image.fromarray(photos[rng.integers(len(photos))].permute(1, 2, 0).numpy())
    crop = photo.resize((size, size), Image.Resampling.BILINEAR, box)
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
