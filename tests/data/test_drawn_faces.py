import hashlib

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lib.data.drawn import faces as drawn_faces
from lib.data.drawn.faces import ATTRIBUTES
from lib.data.faces import LANDMARKS, draw_faces

COUNT, SIZE = 500, 48
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")


@pytest.fixture(scope="module")
def faces():
    return draw_faces(COUNT, size=SIZE, seed=0)


@pytest.fixture(scope="module")
def has(faces):
    return {name: faces.attributes[:, k].bool() for k, name in enumerate(faces.names)}


def nearly_frontal(faces) -> torch.Tensor:
    """Where the nose is halfway between the eyes, by the landmarks alone."""
    left, right, nose = faces.landmarks[:, :3].unbind(1)
    along = ((nose - left) * (right - left)).sum(1) / ((right - left) ** 2).sum(1)
    return (along - 0.5).abs() < 0.25


def colours(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(N, K, 3) of the pixels at points (N, K, 2), shares of the picture."""
    column, row = (points * SIZE).long().clamp(0, SIZE - 1).unbind(-1)
    return images.float()[torch.arange(len(points))[:, None], :, row, column]


def brightness(faces, points: torch.Tensor) -> torch.Tensor:
    return colours(faces.images, points).mean(-1)


def test_what_comes_back(faces):
    assert faces.images.shape == (COUNT, 3, SIZE, SIZE) and faces.images.dtype == torch.uint8
    assert faces.landmarks.shape == (COUNT, len(LANDMARKS), 2)
    assert faces.landmarks.dtype == faces.extent.dtype == torch.float32
    assert faces.attributes.shape == (COUNT, len(ATTRIBUTES))
    assert faces.attributes.dtype == torch.int8 and faces.names == ATTRIBUTES
    assert (faces.extent == SIZE).all() and faces.extent.shape == (COUNT, 2)
    assert faces.ids[:2] == ("0", "1") and len(faces.ids) == len(faces) == COUNT
    assert (faces.images.float().flatten(1).std(1) > 10).all(), "no flat picture"


def test_the_same_again_and_a_smaller_set_is_its_start(faces):
    again = draw_faces(20, size=SIZE, seed=0)
    for name in ("images", "landmarks", "attributes"):
        assert torch.equal(getattr(faces, name)[:20], getattr(again, name))
    other = draw_faces(20, size=SIZE, seed=1)
    assert (other.images != again.images).flatten(1).any(1).all()


def test_every_byte_is_what_it_was():
    """What quick runs show and learn from; a change of these changes all their numbers."""
    drawn = draw_faces(6, size=32, seed=0)
    parts = (drawn.images, drawn.landmarks, drawn.attributes)
    content = b"".join(part.numpy().tobytes() for part in parts)
    assert hashlib.sha256(content).hexdigest()[:16] == "ee4325097bd3e474"


@pytest.mark.parametrize("size", [24, 65, 128])
def test_a_face_is_the_same_person_at_any_size(size, faces):
    drawn = draw_faces(8, size=size, seed=0)
    assert drawn.images.shape == (8, 3, size, size)
    assert torch.equal(drawn.attributes, faces.attributes[:8])
    assert torch.equal(drawn.landmarks, faces.landmarks[:8])


def test_landmarks_are_inside_and_in_order(faces):
    assert faces.landmarks.min() > 0 and faces.landmarks.max() < 1
    left, right, nose, *mouth = faces.landmarks.unbind(1)
    assert (left[:, 0] < right[:, 0]).all() and (mouth[0][:, 0] < mouth[1][:, 0]).all()
    frontal = nearly_frontal(faces)
    assert 0.5 < frontal.float().mean() < 0.95, "some heads are turned away"
    eyes, lips = ((first + second)[:, 1] / 2 for first, second in ((left, right), mouth))
    assert (eyes < nose[:, 1])[frontal].all() and (nose[:, 1] < lips)[frontal].all()


def test_the_mean_shape_is_no_good_predictor(faces):
    between = (faces.landmarks[:, 1] - faces.landmarks[:, 0]).norm(dim=1)
    error = (faces.landmarks - faces.landmarks.mean(0)).norm(dim=2) / between[:, None]
    assert error.mean() > 0.25
    assert 0.2 < between.median() < 0.4 and between.std() > 0.03


def test_rates_are_unequal_and_possible(has):
    rates = {name: float(values.float().mean()) for name, values in has.items()}
    assert all(0.07 < rate < 0.61 for rate in rates.values()), rates
    covered = has["Wearing_Hat"] | has["Bald"]
    assert not (has["Wearing_Hat"] & has["Bald"]).any()
    assert not any((has[name] & covered).any() for name in (*HAIR, "Bangs"))
    assert torch.stack([has[name] for name in HAIR]).sum(0).max() == 1
    bearded = has["Goatee"] | has["Mustache"]
    assert not (has["Wearing_Lipstick"] & bearded).any()


def test_irises_are_where_the_landmarks_say(faces, has):
    """Darker than the rest of the eye and the cheek; anywhere else this fails."""
    chosen = nearly_frontal(faces) & ~has["Eyeglasses"] & has["Pale_Skin"] & ~has["Narrow_Eyes"]
    eyes = faces.landmarks[:, :2]
    unit = (eyes[:, 1] - eyes[:, 0])[:, None]
    down = torch.stack((-unit[..., 1], unit[..., 0]), -1)
    iris = brightness(faces, eyes)[chosen]
    cheeks = brightness(faces, eyes + 0.36 * down)[chosen]
    assert chosen.sum() > 20
    assert (iris < 0.6 * cheeks).float().mean() > 0.95
    wrong = brightness(faces, eyes + 0.3 * unit)[chosen]
    assert (wrong < 0.6 * cheeks).float().mean() < 0.3


def test_lipstick_ends_at_the_corners_of_the_mouth(faces, has):
    """Redder just inside the corners than just outside, on the line through both."""
    chosen = nearly_frontal(faces) & has["Wearing_Lipstick"] & ~has["Rosy_Cheeks"]
    corners = faces.landmarks[chosen, 3:]
    inwards = corners.flip(1) - corners
    inside, outside, further = (
        redness(faces, chosen, corners + part * inwards) for part in (0.25, -0.25, -0.4)
    )
    assert chosen.sum() > 50
    assert (inside > outside + 0.03).float().mean() > 0.6
    assert (outside > further + 0.03).float().mean() < 0.2


def redness(faces, chosen: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(M, K), share of red in the colours at points (M, K, 2) of the M chosen pictures."""
    pixels = colours(faces.images[chosen], points)
    return pixels[..., 0] / pixels.sum(-1).clamp(min=1)


def test_the_nose_sticks_out_of_a_turned_head(faces):
    """Its tip moves sideways by more than the width of the face gets narrower."""
    left, right, nose = faces.landmarks[:, :3].unbind(1)
    along = ((nose - left) * (right - left)).sum(1) / ((right - left) ** 2).sum(1)
    assert along.min() < 0 and along.max() > 1, "beyond an eye at the strongest turns"
    assert along.median() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", ["Smiling", "Mouth_Slightly_Open"])
def test_a_linear_classifier_sees_the_mouth(faces, has, name):
    pixels, labels = mouths(faces).numpy(), has[name].numpy()
    model = LogisticRegression(C=0.01, max_iter=300, class_weight="balanced")
    model.fit(pixels[:350], labels[:350])
    right = model.predict(pixels[350:]) == labels[350:]
    recalls = [right[labels[350:] == value].mean() for value in (0, 1)]
    assert min(recalls) > 0.75, recalls


def mouths(faces, size: int = 24) -> torch.Tensor:
    """(N, size * size), upright grey squares around the mouth, of equal mean and contrast."""
    left, right, _, *mouth = faces.landmarks.unbind(1)
    across = 0.6 * (right - left)[:, None, None]
    down = torch.stack((-across[..., 1], across[..., 0]), -1)
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    grid = steps[:, None, None] * down + steps[:, None] * across
    points = ((mouth[0] + mouth[1]) / 2)[:, None] + grid.flatten(1, 2)
    grey = brightness(faces, points)
    return (grey - grey.mean(1, keepdim=True)) / grey.std(1, keepdim=True)


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name not in HAIR])
def test_an_attribute_alone_changes_the_picture(name, monkeypatch):
    """The same faces with and without it, all else being equal."""
    draw, change, changes = drawn_faces._attributes, {"Wearing_Hat": False, "Bald": False}, []
    monkeypatch.setattr(drawn_faces, "_attributes", lambda rng, sex: draw(rng, sex) | change)
    for seed in range(6):
        pictures = []
        for change[name] in (True, False):
            pictures.append(drawn_faces.draw_face(np.random.default_rng(seed), SIZE)[0].astype(int))
        changes.append((np.abs(pictures[0] - pictures[1]).max(0) > 20).sum())
    assert np.median(changes) > 3 and max(changes) < 0.7 * SIZE**2, changes


def test_hair_has_the_colour_that_is_told(faces, has):
    eyes, lips = faces.landmarks[:, :2].mean(1), faces.landmarks[:, 3:].mean(1)
    shade = brightness(faces, (eyes + 0.95 * (eyes - lips))[:, None])[:, 0]
    black, blond, brown, grey = (shade[has[name]].median() for name in HAIR)
    assert black + 15 < brown < min(blond, grey) - 30


@pytest.mark.parametrize(
    ("name", "value", "least"), [("count", 0, 1), ("size", 23, 24), ("seed", -1, 0)]
)
def test_bad_input_is_named(name, value, least):
    with pytest.raises(ValueError, match=f"{name} must be at least {least}, not {value}"):
        draw_faces(**{"count": 1, "size": 24, "seed": 0} | {name: value})
