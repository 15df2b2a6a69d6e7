"""What lies on the skin of a drawn head: eyes, mouth, beard, wrinkles, glasses.

Coordinates on the skin are fixed to the head: x points to the right of the picture and y down, in
half heights of the head, seen from the front. A face is symmetric, so most of it is painted by |x|
alone. Colours are 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

EYE_WIDTH, IRIS = 0.15, 0.078  # half width of an eye, radius of its iris
LENS = 0.23  # half width of a spectacle lens


@dataclass(frozen=True)
class Anatomy:
    """Measures of one face, in half heights of its head, and its colours (3,) float32.

    width and depth are the head's other half axes, taper is how much narrower the chin is. The
    mouth's corners are at (+-mouth_width, mouth); its middle is lower than they are by ``bend``.
    """

    width: float
    depth: float
    taper: float
    eye_distance: float
    eye: float
    eye_opening: float
    brow: float
    nose: float
    nose_width: float
    nose_height: float
    mouth: float
    mouth_width: float
    mouth_opening: float
    bend: float
    lip: float
    skin: np.ndarray
    hair: np.ndarray
    lips: np.ndarray
    iris: np.ndarray

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


def cover(distance: np.ndarray, softness: float) -> np.ndarray:
    """Share of each pixel inside an outline, 0..1; distance: from it, negative inside."""
    return np.clip(0.5 - distance / softness, 0, 1)


def paint(layer: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lay a colour, (3,) or (3, S, S), over a layer (3, S, S), in place."""
    colour = np.asarray(colour, np.float32)
    layer += alpha * ((colour[:, None, None] if colour.ndim == 1 else colour) - layer)


def ellipse(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """Signed distance, nearly, from an ellipse of these half axes around the origin."""
    return (np.sqrt((x / width) ** 2 + (y / height) ** 2) - 1) * min(width, height)


def blob(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """A soft spot around the origin: 1 in the middle, 0 outside the ellipse."""
    return np.maximum(1 - (x / width) ** 2 - (y / height) ** 2, 0)


def texture(
    face: Anatomy, has: dict[str, bool], x: np.ndarray, y: np.ndarray, pixel: float
) -> np.ndarray:
    """Everything on the skin, unshaded: (3, S, S) float32.

    has: the attributes. x, y: (S, S), where on the head each pixel is. pixel: its side.
    """
    layer = np.repeat(face.skin[:, None, None], x.size, 1).reshape(3, *x.shape)
    side = np.abs(x)
    if has["Rosy_Cheeks"]:
        cheek = blob(side - 0.42, y - face.nose + 0.1, 0.3, 0.26)
        paint(layer, face.skin * (1.0, 0.42, 0.45) + (0.1, 0, 0), 0.85 * cheek)
    if not has["Young"]:
        _wrinkles(layer, face, side, y, pixel)
    if has["Goatee"]:
        _goatee(layer, face, side, y, pixel)
    _mouth(layer, face, x, y, pixel)
    if has["Mustache"]:
        arc = y - (face.nose + face.mouth) / 2 - 0.04 - 0.9 * side**2
        paint(layer, 0.8 * face.hair, cover(np.maximum(np.abs(arc) - 0.065, side - 0.3), pixel))
    _eyes(layer, face, side, y, pixel)
    if has["Eyeglasses"]:
        _glasses(layer, face, side, y, pixel)
    return layer


def _wrinkles(
    layer: np.ndarray, face: Anatomy, side: np.ndarray, y: np.ndarray, pixel: float
) -> None:
    """Lines on the forehead, bags under the eyes, folds from the nose past the mouth."""
    dark = face.skin * (0.5, 0.42, 0.4)
    for height in (0.32, 0.42, 0.52):
        line = np.abs(y - face.eye + height + 0.1 * side**2) - 0.012
        paint(layer, dark, 0.75 * cover(np.maximum(line, side - 0.42), pixel))
    from_eye = (side - face.eye_distance) / EYE_WIDTH
    bag = np.abs(y - face.eye - 0.17 + 0.06 * from_eye**2) - 0.018
    paint(layer, dark, 0.75 * cover(np.maximum(bag, np.abs(from_eye) * 0.15 - 0.17), pixel))
    down = y - face.nose + 0.04
    fold = np.abs(side - 0.17 - 0.75 * down + 0.4 * down**2) - 0.02
    paint(layer, dark, 0.8 * cover(np.maximum(fold, np.abs(down - 0.16) - 0.16), pixel))


def _goatee(
    layer: np.ndarray, face: Anatomy, side: np.ndarray, y: np.ndarray, pixel: float
) -> None:
    """A beard on the chin and in a ring around the mouth."""
    chin = ellipse(side, y - face.mouth - 0.28, 0.36, 0.24)
    ring = np.abs(ellipse(side, y - face.mouth, face.mouth_width + 0.08, 0.24)) - 0.03
    below = np.maximum(ring, face.mouth - 0.08 - y)
    paint(layer, 0.8 * face.hair, cover(np.minimum(chin, below), 1.5 * pixel))


def _mouth(layer: np.ndarray, face: Anatomy, x: np.ndarray, y: np.ndarray, pixel: float) -> None:
    """Two lips that meet in the corners; between them teeth, and the dark below the teeth."""
    arch = 1 - (x / face.mouth_width) ** 2  # 0 in the corners, 1 in the middle
    from_middle = y - face.mouth - face.bend * arch
    opening = face.mouth_opening * arch
    # the lips end in a point, but are full nearly to there
    full = np.where(arch > 0, np.sqrt(np.maximum(arch, 0)), arch)
    paint(layer, face.lips, cover(np.abs(from_middle) - opening - face.lip * full, pixel))
    paint(layer, face.lips * 0.35, cover(np.abs(from_middle) - opening - 0.016 * full, pixel))
    if face.mouth_opening:
        paint(layer, (0.2, 0.05, 0.06), cover(np.abs(from_middle) - opening, pixel))
        teeth = np.maximum(np.abs(from_middle + 0.35 * opening) - 0.6 * opening, -0.1 * arch)
        paint(layer, (0.95, 0.93, 0.88), cover(teeth, pixel))


def _eyes(layer: np.ndarray, face: Anatomy, side: np.ndarray, y: np.ndarray, pixel: float) -> None:
    """Eye sockets, eyes as two arcs with an iris in the middle, lashes and brows."""
    across, down = side - face.eye_distance, y - face.eye
    paint(layer, face.skin * 0.72, 0.6 * blob(across, down + 0.03, 0.26, 0.2))
    lid = face.eye_opening * (1 - (across / EYE_WIDTH) ** 2)
    inside = np.abs(down) - lid
    paint(layer, face.skin * 0.3, cover(np.maximum(inside - 0.022, down - 0.4 * lid), pixel))
    seen = cover(inside, pixel)
    paint(layer, (0.95, 0.94, 0.92), seen)
    away = np.sqrt(across**2 + down**2)
    paint(layer, face.iris, seen * cover(away - IRIS, pixel))
    paint(layer, (0.03, 0.03, 0.03), seen * cover(away - 0.6 * IRIS, pixel))
    arc = np.abs(down + 0.23 + face.brow / 2 - 1.3 * (across - 0.02) ** 2) - face.brow
    paint(layer, 0.7 * face.hair, cover(np.maximum(arc, np.abs(across) - 0.19), pixel))


def _glasses(
    layer: np.ndarray, face: Anatomy, side: np.ndarray, y: np.ndarray, pixel: float
) -> None:
    """Rims around the eyes, pale lenses, a bridge and the bows to the ears."""
    across, down = side - face.eye_distance, y - face.eye - 0.02
    # between a circle and a square
    rim = (np.sqrt(np.sqrt((across / LENS) ** 4 + (down / 0.19) ** 4)) - 1) * 0.2
    paint(layer, (0.8, 0.9, 1.0), 0.15 * cover(rim, pixel))
    bar = np.abs(down + 0.05) - 0.022
    bars = np.maximum(bar, LENS - np.abs(across))
    frame = np.minimum(np.abs(rim) - 0.026, bars)
    paint(layer, (0.06, 0.05, 0.07), cover(frame, pixel))
