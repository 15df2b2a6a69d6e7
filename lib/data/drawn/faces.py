"""Drawn faces with exact landmarks and attributes: in any number, without any download.

A head is an ellipsoid that is turned, lit and seen in parallel projection. Its face is painted on
it, and nose, ears, hair and hat are put on, from back to front. Landmarks are projections of points
on the head.

Coordinates on the skin are fixed to the head: x points to the right of the picture and y down, in
half heights of the head, seen from the front. A face is symmetric, so most of it is painted by |x|
alone. Colours are 0..1. Outlines are signed distances from them, negative inside.
"""

from importlib.resources import files
from math import cos, radians, sin, sqrt
from types import SimpleNamespace

import numpy as np
import yaml
from numpy.typing import ArrayLike
from PIL import Image

from lib.data.images import load_images

FACES = yaml.safe_load(files("lib.data").joinpath("faces.yaml").read_text(encoding="utf-8"))
HAIR = FACES["hair"]
ATTRIBUTES = tuple(sorted((*FACES["attributes"], *HAIR.keys() - {"red"})))
PHOTOS = "photos:brick,chelsea,coffee,grass,gravel,motorcycle_left,rocket"
PHOTO_SIZE = 128  # pixels; backgrounds are crops of this, a little out of focus
FOREHEAD = -0.6  # y of the upper end of a face: what is above may leave the picture
EYE_WIDTH, IRIS = 0.15, 0.078  # half width of an eye, radius of its iris
LENS = 0.23  # half width of a spectacle lens
Pose = tuple[np.ndarray, float, float, np.ndarray]  # turn, roll, scale, centre: see ``_Easel``


def draw_face(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One face: (3, S, S) uint8, (5, 2) float32 landmarks, (A,) int8."""
    feminine = rng.random() < 0.5  # no attribute, but what many of them depend on
    has = _attributes(rng, feminine)
    face = _anatomy(rng, has)
    pose = _pose(rng, face)
    picture = _background(rng, size)
    light = rng.uniform((-0.8, -0.8, 0.5), (0.8, 0.2, 1))  # from the front, rarely from below
    easel = _Easel(picture, pose, face.taper, light)
    _head(easel, face, has, long_hair=feminine and rng.random() < 0.75, rng=rng)
    marks = easel.to_picture(face.landmarks()).astype(np.float32)
    return _photographed(picture, rng), marks, np.array([has[n] for n in ATTRIBUTES], np.int8)


def _attributes(rng: np.random.Generator, feminine: bool) -> dict[str, bool]:
    """``ATTRIBUTES``, and "feminine", and "red" for the hair that has no attribute."""
    has = {"feminine": feminine}
    for name, rule in FACES["attributes"].items():
        with_it, without = np.broadcast_to(rule["share"], 2)
        share = with_it if has.get(rule.get("given"), True) else without
        possible = not any(has[other] for other in rule.get("unless", ()))
        has[name] = possible and bool(rng.random() < share)
        if name == "Bald":  # then the colour of the hair
            grey = FACES["grey"][not has["Young"]]
            shares = [hair.get("share", 1) * (1 - grey) for hair in HAIR.values()]
            colour = list(HAIR)[rng.choice(len(HAIR), p=[*shares[:-1], grey])]
            seen = not (has["Wearing_Hat"] or has["Bald"])
            has |= {name: seen and name == colour for name in HAIR}
    return has


class Anatomy(SimpleNamespace):
    """One face: the ``measures`` of faces.yaml as floats, colours as (3,) float32.

    Measures are in half heights of the head, and so are ``eye`` and ``nose``, the y of eyes and of
    the nose's tip. width and depth are the head's other half axes, taper is how much narrower the
    chin is. The mouth's corners are at (+-mouth_width, mouth); its middle is lower than they are by
    ``bend``. Colours: skin, hair, lips and iris.
    """

    def on_skin(self, x: float, y: float) -> tuple[float, float, float]:
        """The point of the head that is seen there from the front."""
        return x, y, self.depth * sqrt(1 - (x / self.width) ** 2 - y**2)

    def nose_tip(self) -> tuple[float, float, float]:
        x, y, z = self.on_skin(0, self.nose)
        return x, y, z + self.nose_height

    def landmarks(self) -> np.ndarray:
        """``lib.data.faces.LANDMARKS`` as points (5, 3) fixed to the head."""
        eyes = [self.on_skin(side * self.eye_distance, self.eye) for side in (-1, 1)]
        corners = [self.on_skin(side * self.mouth_width, self.mouth) for side in (-1, 1)]
        return np.array([*eyes, self.nose_tip(), *corners])


def _anatomy(rng: np.random.Generator, has: dict[str, bool]) -> Anatomy:
    """Measures and colours that show the attributes and otherwise differ at random."""
    vary, tones = rng.uniform, {name: np.array(tone) for name, tone in FACES["skin"].items()}
    eye = vary(-0.08, 0.04)
    nose = eye + vary(0.36, 0.47)
    tint = vary(0, 1)
    tone = tones["light"] * (1 - tint) + tones["dark"] * tint
    skin = (tones["pale"] if has["Pale_Skin"] else tone) * vary(0.95, 1.03, 3)
    skin = skin.astype(np.float32)
    colour = next((name for name in HAIR if has[name]), "Brown_Hair")
    hair = np.array(HAIR[colour]["colour"]) * vary(0.85, 1.12) + vary(0, 0.03)
    lipstick = vary((0.7, 0.02, 0.12), (0.9, 0.15, 0.35))
    lips = lipstick if has["Wearing_Lipstick"] else skin * (0.88, 0.66, 0.66)
    measures = {
        name: vary(*next((of for trait, of in ranges.items() if has.get(trait)), ranges["range"]))
        for name, ranges in FACES["measures"].items()
    }
    measures["mouth"] += nose - 0.04 * has["Smiling"]
    measures["mouth_width"] += 0.08 * has["Smiling"]
    measures["mouth_opening"] *= has["Mouth_Slightly_Open"]
    iris = FACES["irises"]["colours"][rng.choice(3, p=FACES["irises"]["shares"])]
    colours = {"skin": skin, "hair": hair, "lips": lips, "iris": iris}
    colours = {name: np.asarray(values, np.float32) for name, values in colours.items()}
    return Anatomy(eye=eye, nose=nose, **measures, **colours)


def _pose(rng: np.random.Generator, face: Anatomy) -> Pose:
    """At random, with the whole face in the picture."""
    yaw = rng.normal(0, 14) if rng.random() < 0.85 else rng.uniform(-60, 60)
    pitch, roll = (radians(np.clip(rng.normal(0, 8), -20, 20)) for _ in range(2))
    yaw = radians(np.clip(yaw, -60, 60))
    around_y = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    turn = around_x @ around_y
    rows = np.array([[cos(roll), -sin(roll)], [sin(roll), cos(roll)]]) @ turn[:2]
    reach = np.linalg.norm(rows * (face.width, 1, face.depth), axis=1)  # of the turned ellipsoid
    tip = rows @ face.nose_tip()
    low = np.minimum((-reach[0], FOREHEAD), tip - 0.1)
    high = np.maximum(reach, tip + 0.1)
    scale = min(rng.uniform(0.31, 0.54), 0.97 / (high - low).max())
    return turn, roll, scale, rng.uniform(0.01 - scale * low, 0.99 - scale * high)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random square of a photograph, 0..1: (3, S, S) float32."""
    photos = load_images(PHOTOS, size=PHOTO_SIZE, channels=3)[1]
    side = rng.uniform(0.3, 0.95) * PHOTO_SIZE
    x, y = rng.uniform(0, PHOTO_SIZE - side, 2)
    photo = Image.fromarray(photos[rng.integers(len(photos))].permute(1, 2, 0).numpy())
    crop = photo.resize((size, size), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
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


def _cover(distance: np.ndarray, softness: float) -> np.ndarray:
    """Share of each pixel inside an outline, 0..1; distance: from it."""
    return np.clip(0.5 - distance / softness, 0, 1)


def _ellipse(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """Signed distance, nearly, from an ellipse of these half axes around the origin."""
    return (np.sqrt((x / width) ** 2 + (y / height) ** 2) - 1) * min(width, height)


def _blob(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """A soft spot around the origin: 1 in the middle, 0 outside the ellipse."""
    return np.maximum(1 - (x / width) ** 2 - (y / height) ** 2, 0)


class _Canvas:
    """A picture (3, S, S) float32 in the making; pixel: a pixel's side in half heights."""

    def __init__(self, picture: np.ndarray, pixel: float) -> None:
        self.picture, self.pixel = picture, pixel

    def lay(
        self, colour: ArrayLike, distance: np.ndarray, strength: float = 1, softness: float = 1
    ) -> None:
        """Paint all that is inside an outline; softness: of its edge, in pixels."""
        self.tint(colour, strength * _cover(distance, softness * self.pixel))

    def tint(self, colour: ArrayLike, alpha: np.ndarray) -> None:
        """Lay a colour, (3,) or (3, S, S), over the picture."""
        values = np.asarray(colour, np.float32)
        shown = values[:, None, None] if values.ndim == 1 else values
        self.picture[:] += alpha * (shown - self.picture)


class _Easel(_Canvas):
    """A picture, how the head is seen in it, and where its pixels lie.

    turn: (3, 3), from the head's coordinates to the viewer's (x right, y down, z to the viewer),
    before it is tilted by ``roll`` in the picture. scale: half the head's height, and centre: its
    place, both as shares of the picture. taper: the plane of the picture is narrowed below the
    nose, as chins are. light: (3,), to the lamp; in the head's coordinates, once it is an
    attribute. x, y: (S, S), pixels from the head's centre, tilted with the head; level_x, level_y:
    the same, as the picture is held; float32, in half heights of the head.
    """

    def __init__(self, picture: np.ndarray, pose: Pose, taper: float, light: np.ndarray) -> None:
        size, (turn, roll, scale, centre) = picture.shape[1], pose
        # a little more than a pixel, against jagged edges
        super().__init__(picture, 1.2 / (scale * size))
        self.exact_turn, self.roll, self.scale, self.centre = turn, roll, scale, centre
        self.taper, self.turn = taper, turn.astype(np.float32)
        places = ((np.arange(size) + 0.5) / size - centre[:, None]) / scale
        self.level_x, self.level_y = np.meshgrid(*places.astype(np.float32))
        self.y = cos(roll) * self.level_y - sin(roll) * self.level_x
        upright = cos(roll) * self.level_x + sin(roll) * self.level_y
        self.x = upright * self.narrowing(self.y)
        self.light = (light / np.linalg.norm(light) @ turn).astype(np.float32)

    def narrowing(self, y: np.ndarray) -> np.ndarray:
        return 1 + self.taper * np.clip(y, 0, 1) ** 2

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the head to (N, 2) shares of the picture."""
        x, y, _ = self.exact_turn @ points.T
        x = x / self.narrowing(y)
        turned = cos(self.roll) * x - sin(self.roll) * y, sin(self.roll) * x + cos(self.roll) * y
        return self.centre + self.scale * np.stack(turned, 1)

    def place(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point of the head is seen, in the terms of ``x`` and ``y``."""
        return tuple((self.turn[:2] @ np.array((x, y, z), np.float32)).tolist())

    def surface(
        self, axes: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)
    ) -> SimpleNamespace:
        """An ellipsoid of these half axes around a point of the head, as it is seen.

        x, y, z: where it is hit, in the head's coordinates; light: on it; outline: signed distance,
        negative inside; all (S, S).
        """
        turn, half, middle = self.turn, np.array(axes, np.float32), np.array(centre, np.float32)
        # the line of sight through a pixel where the ellipsoid is a unit sphere: start + z * along
        along = turn[2] / half
        start = [
            (turn[0, i] * self.x + turn[1, i] * self.y - middle[i]) / half[i] for i in range(3)
        ]
        square = (along**2).sum()
        nearest = sum(along[i] * start[i] for i in range(3)) / square
        from_axis = sum(s * s for s in start) - square * nearest**2  # 1 on the outline
        z = np.sqrt(np.maximum(1 - from_axis, 0) / square) - nearest
        sphere = [start[i] + along[i] * z for i in range(3)]
        normal = [sphere[i] / half[i] for i in range(3)]
        length = np.sqrt(sum(n * n for n in normal))
        light = 0.6 + 0.5 * np.maximum(sum(normal[i] * self.light[i] for i in range(3)) / length, 0)
        x, y, z = (sphere[i] * half[i] + middle[i] for i in range(3))
        outline = (np.sqrt(np.maximum(from_axis, 0)) - 1) * half.min()
        return SimpleNamespace(x=x, y=y, z=z, light=light, outline=outline)


def _head(
    easel: _Easel, face: Anatomy, has: dict[str, bool], long_hair: bool, rng: np.random.Generator
) -> None:
    """Paint a head from back to front, with random clothes; has: the attributes."""
    bare = has["Bald"] or has["Wearing_Hat"]
    clothes, hat, band = rng.uniform(0.05, 0.95, (3, 3)).astype(np.float32)
    phase, brimmed = rng.uniform(0, 6), bool(rng.random() < 0.5)
    near = 1 if easel.turn[2, 0] > 0 else -1  # the side turned to the viewer
    if long_hair and not bare:  # what hangs behind the neck
        behind, _ = easel.place(0, 0, -0.3)
        easel.lay(
            face.hair * 0.75, _ellipse(easel.x - behind, easel.y - 0.45, face.width + 0.25, 1.15)
        )
    # neck and shoulders, upright however the head is held
    x, y = easel.level_x, easel.level_y
    easel.lay(face.skin * 0.62, np.maximum(np.abs(x) - 0.42, 0.3 - y))
    easel.lay(clothes, _ellipse(x, y - 2.2, 1.5, 1.0))
    _ear(easel, face, -near)
    head = easel.surface((face.width, 1, face.depth))
    easel.lay(_texture(face, has, head, easel.pixel) * head.light, head.outline)
    _nose(easel, face)
    _ear(easel, face, near)
    if not bare:
        _hair(easel, face, has["Bangs"], long_hair, phase)
    if has["Wearing_Hat"]:
        _hat(easel, face, hat, band, brimmed)


def _ear(easel: _Easel, face: Anatomy, side: int) -> None:
    x, y = easel.place(side * face.width, face.eye + 0.14, -0.1)
    seen_width = 0.08 + 0.08 * abs(float(easel.turn[2, 0]))
    outline = _ellipse(easel.x - x, easel.y - y, seen_width, 0.19)
    easel.lay(face.skin * 0.78, outline)
    easel.lay(face.skin * 0.6, outline + 0.07)


def _nose(easel: _Easel, face: Anatomy) -> None:
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
    easel.lay(face.skin * 0.55, rim - 0.02, 0.45, softness=2)
    easel.lay(face.skin[:, None, None] * lit, rim)
    for side in (-0.45, 0.45):
        nostril = np.add(tip, (side * face.nose_width, 0.6 * face.nose_width, -0.02))
        x2, y2 = easel.place(*nostril)
        easel.lay(face.skin * 0.3, _ellipse(easel.x - x2, easel.y - y2, 0.035, 0.025))


def _hair(easel: _Easel, face: Anatomy, bangs: bool, long: bool, phase: float) -> None:
    """A shell around the head above the hairline, which falls from the forehead to the nape."""
    shell = easel.surface((face.width + 0.1, 1.06, face.depth + 0.1), (0, -0.07, -0.06))
    strands = np.sin(shell.x * 34 + 3 * np.sin(shell.y * 5 + phase))
    front = -0.33 + 0.03 * strands if bangs else -0.64 + 0.12 * np.abs(shell.x + phase / 12 - 0.25)
    fall = (2.6 if long else 1.5) * np.clip(0.42 - shell.z, 0, 0.7)
    colour = face.hair[:, None, None] * (shell.light * (1 + 0.09 * strands))
    easel.lay(colour, np.maximum(shell.outline, shell.y - front - fall))


def _hat(easel: _Easel, face: Anatomy, colour: np.ndarray, band: np.ndarray, brimmed: bool) -> None:
    """A cap, or a higher hat with a brim, with a band in another colour."""
    edge, height = -0.46, 1.25 if brimmed else 1.1
    dome = easel.surface((face.width + 0.14, height, face.depth + 0.14), (0, -0.12, 0))
    above = np.maximum(dome.outline, dome.y - edge)
    easel.lay(colour[:, None, None] * dome.light, above)
    easel.lay(band[:, None, None] * dome.light, np.maximum(above, edge - 0.2 - dome.y))
    if brimmed:
        x, y = easel.place(0, edge, 0)
        flat = 0.09 + 0.5 * abs(float(easel.turn[2, 1]))  # a disc, seen nearly from the side
        easel.lay(colour * 0.8, _ellipse(easel.x - x, easel.y - y, 1.3, flat))


def _texture(
    face: Anatomy, has: dict[str, bool], head: SimpleNamespace, pixel: float
) -> np.ndarray:
    """Everything on the skin, unshaded: (3, S, S) float32; has: the attributes."""
    bare = np.repeat(face.skin[:, None, None], head.x.size, 1).reshape(3, *head.x.shape)
    skin, side, y = _Canvas(bare, pixel), np.abs(head.x), head.y
    if has["Rosy_Cheeks"]:
        cheek = _blob(side - 0.42, y - face.nose + 0.1, 0.3, 0.26)
        skin.tint(face.skin * (1.0, 0.42, 0.45) + (0.1, 0, 0), 0.85 * cheek)
    if not has["Young"]:
        _wrinkles(skin, face, side, y)
    if has["Goatee"]:  # a beard on the chin and in a ring around the mouth
        chin = _ellipse(side, y - face.mouth - 0.28, 0.36, 0.24)
        ring = np.abs(_ellipse(side, y - face.mouth, face.mouth_width + 0.08, 0.24)) - 0.03
        below = np.maximum(ring, face.mouth - 0.08 - y)
        skin.lay(0.8 * face.hair, np.minimum(chin, below), softness=1.5)
    _mouth(skin, face, head.x, y)
    if has["Mustache"]:
        arc = y - (face.nose + face.mouth) / 2 - 0.04 - 0.9 * side**2
        skin.lay(0.8 * face.hair, np.maximum(np.abs(arc) - 0.065, side - 0.3))
    _eyes(skin, face, side - face.eye_distance, y - face.eye, has["Eyeglasses"])
    return skin.picture


def _wrinkles(skin: _Canvas, face: Anatomy, side: np.ndarray, y: np.ndarray) -> None:
    """Lines on the forehead, bags under the eyes, folds from the nose past the mouth."""
    dark = face.skin * (0.5, 0.42, 0.4)
    for height in (0.32, 0.42, 0.52):
        line = np.abs(y - face.eye + height + 0.1 * side**2) - 0.012
        skin.lay(dark, np.maximum(line, side - 0.42), 0.75)
    from_eye = (side - face.eye_distance) / EYE_WIDTH
    bag = np.abs(y - face.eye - 0.17 + 0.06 * from_eye**2) - 0.018
    skin.lay(dark, np.maximum(bag, np.abs(from_eye) * 0.15 - 0.17), 0.75)
    down = y - face.nose + 0.04
    fold = np.abs(side - 0.17 - 0.75 * down + 0.4 * down**2) - 0.02
    skin.lay(dark, np.maximum(fold, np.abs(down - 0.16) - 0.16), 0.8)


def _mouth(skin: _Canvas, face: Anatomy, x: np.ndarray, y: np.ndarray) -> None:
    """Two lips that meet in the corners; between them teeth, and the dark below the teeth."""
    arch = 1 - (x / face.mouth_width) ** 2  # 0 in the corners, 1 in the middle
    from_middle = y - face.mouth - face.bend * arch
    opening = face.mouth_opening * arch
    # the lips end in a point, but are full nearly to there
    full = np.where(arch > 0, np.sqrt(np.maximum(arch, 0)), arch)
    skin.lay(face.lips, np.abs(from_middle) - opening - face.lip * full)
    skin.lay(face.lips * 0.35, np.abs(from_middle) - opening - 0.016 * full)
    if face.mouth_opening:
        skin.lay((0.2, 0.05, 0.06), np.abs(from_middle) - opening)
        teeth = np.maximum(np.abs(from_middle + 0.35 * opening) - 0.6 * opening, -0.1 * arch)
        skin.lay((0.95, 0.93, 0.88), teeth)


def _eyes(
    skin: _Canvas, face: Anatomy, across: np.ndarray, down: np.ndarray, glasses: bool
) -> None:
    """Eyes as two arcs with an iris in the middle, sockets, lashes, brows, perhaps glasses."""
    skin.tint(face.skin * 0.72, 0.6 * _blob(across, down + 0.03, 0.26, 0.2))
    lid = face.eye_opening * (1 - (across / EYE_WIDTH) ** 2)
    inside = np.abs(down) - lid
    skin.lay(face.skin * 0.3, np.maximum(inside - 0.022, down - 0.4 * lid))
    seen = _cover(inside, skin.pixel)
    skin.tint((0.95, 0.94, 0.92), seen)
    away = np.sqrt(across**2 + down**2)
    skin.tint(face.iris, seen * _cover(away - IRIS, skin.pixel))
    skin.tint((0.03, 0.03, 0.03), seen * _cover(away - 0.6 * IRIS, skin.pixel))
    arc = np.abs(down + 0.23 + face.brow / 2 - 1.3 * (across - 0.02) ** 2) - face.brow
    skin.lay(0.7 * face.hair, np.maximum(arc, np.abs(across) - 0.19))
    if glasses:  # rims between a circle and a square, pale lenses, a bridge, bows to the ears
        down = down - 0.02
        rim = (np.sqrt(np.sqrt((across / LENS) ** 4 + (down / 0.19) ** 4)) - 1) * 0.2
        skin.lay((0.8, 0.9, 1.0), rim, 0.15)
        bars = np.maximum(np.abs(down + 0.05) - 0.022, LENS - np.abs(across))
        skin.lay((0.06, 0.05, 0.07), np.minimum(np.abs(rim) - 0.026, bars))
