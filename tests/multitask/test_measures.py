"""Errors of landmarks by hand; scores, similarity and probes against scikit-learn and numpy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.stats import ortho_group
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.multitask.measures import (
    PENALTIES,
    FaceBatches,
    attribute_probe,
    attribute_scores,
    landmark_errors,
    linear_cka,
    linear_probe,
    majority,
    mirrored,
    move,
    squares,
    trivial_answers,
)

# left eye, right eye, nose, mouth corners
FACE = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.6], [0.4, 0.75], [0.6, 0.75]])
RNG = np.random.default_rng(0)
SQUARE = (128, 128)  # pixels of the paper's input


def test_errors_by_hand():
    """Eyes 50 pixels apart; the nose is 3 right and 4 down of its place, a corner 10 left."""
    moved = FACE.copy()
    moved[2] += [0.03, 0.02]
    moved[3] -= [0.1, 0]
    errors = landmark_errors(moved[None], FACE[None], (100, 200))
    assert errors == pytest.approx(np.array([[0, 0, 5 / 50, 10 / 50, 0]]))
    for median in (True, False):
        assert (landmark_errors(FACE[None], FACE[None], SQUARE, median=median) == 0).all()


def test_the_frame_changes_the_error():
    """In a square frame a vertical error weighs 178 / 218 of what it weighs in CelebA's."""
    moved = FACE + np.array([0, 0.01])
    square = landmark_errors(moved[None], FACE[None], SQUARE)
    assert square == pytest.approx(np.full((1, 5), 0.01 / 0.5))
    original = landmark_errors(moved[None], FACE[None], (178, 218))
    assert square / original == pytest.approx(178 / 218)


def test_eyes_closer_than_a_pixel_count_as_one():
    profile = FACE.copy()
    profile[1] = profile[0] + [0.5 / 128, 0]
    errors = landmark_errors(profile[None] + [2 / 128, 0], profile[None], SQUARE)
    assert errors == pytest.approx(np.full((1, 5), 2))


def test_the_median_eye_distance_ignores_a_profile():
    """Eye distances 50, 50 and 0 pixels of frames of their own; all are off by 5 pixels."""
    profile = FACE.copy()
    profile[1] = profile[0]
    truth, extent = np.stack([FACE, FACE, profile]), np.array([[100, 50], [100, 200], [10, 10]])
    predicted = truth + 5 * np.eye(2)[0] / extent[:, None]
    errors = landmark_errors(predicted, truth, extent, median=True)
    assert errors == pytest.approx(np.full((3, 5), 0.1))
    assert landmark_errors(predicted, truth, extent)[2] == pytest.approx(5)
    with pytest.raises(ValueError, match="median"):
        landmark_errors(profile[None], profile[None], (10, 10), median=True)


def test_trivial_answers_by_hand():
    """The faces differ by .2 in x: the mean one is .1 from both, a fifth of the eye distance."""
    points = np.stack([FACE, FACE + np.array([0.2, 0])])
    labels = torch.tensor([[1, 0, 1, UNKNOWN], [1, 1, UNKNOWN, 0]], dtype=torch.int8)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    faces = Faces(images, torch.tensor(points), labels, torch.ones(2, 2), ("a", "b"), tuple("pqrs"))
    mean, usual = trivial_answers(faces, 2)
    assert mean == pytest.approx(np.broadcast_to(FACE + np.array([0.1, 0]), points.shape))
    errors = landmark_errors(mean, points, SQUARE)
    assert errors == pytest.approx(np.full((2, 5), 0.2))
    assert usual.tolist() == [[0.5, -0.5, 0.5, -0.5]] * 2  # a tie is no


def test_attribute_scores_are_scikit_learns():
    truth = RNG.choice([-1, 0, 1], p=[0.2, 0.5, 0.3], size=(60, 4)).astype(np.int8)
    logits = RNG.normal(size=(60, 4)) + truth
    scores = attribute_scores(logits, truth)
    for column in range(4):
        known = truth[:, column] >= 0
        args = truth[known, column], logits[known, column] > 0
        expected = [f(*args) for f in (accuracy_score, balanced_accuracy_score, f1_score)]
        expected += [args[0].mean(), known.sum()]
        assert scores.iloc[column].tolist() == pytest.approx(expected)
    assert scores.equals(attribute_scores(logits > 0, truth))
    assert not scores.equals(attribute_scores(logits > 0.5, truth))


@pytest.mark.filterwarnings("error")
def test_attributes_of_one_class():
    """All have it; none has it, none or one is said to; nothing is known."""
    truth = np.array([[1, 0, 0, -1], [1, 0, 0, -1]])
    scores = attribute_scores(np.array([[1, 0, 1, 1], [0, 0, 0, 0]]), truth)
    assert scores["n"].tolist() == [2, 2, 2, 0]
    assert scores["balanced_accuracy"].isna().all()
    for column, expected in {
        "accuracy": [0.5, 1, 0.5, np.nan],
        "f1": [2 / 3, np.nan, 0, np.nan],
        "rate": [1, 0, 0, np.nan],
    }.items():
        assert scores[column].tolist() == pytest.approx(expected, nan_ok=True)
    for column, said in ((1, [0, 0]), (2, [1, 0])):  # scikit-learn agrees
        expected = f1_score(truth[:, column], said, zero_division=np.nan)
        assert scores["f1"][column] == pytest.approx(expected, nan_ok=True)


def test_majority():
    """Two of three known, one of two, none known, none has it."""
    truth = np.array([[1, 1, -1, 0], [1, 0, -1, 0], [0, -1, -1, 0], [-1, -1, -1, 0]])
    assert majority(truth).tolist() == [True, False, False, False]
    usual = np.broadcast_to(majority(truth), truth.shape)
    assert attribute_scores(usual, truth)["accuracy"][0] == pytest.approx(2 / 3)


# batches

NAMES = ("Male", "Turned_Left", "Turned_Right")


def some_faces(count=7, size=16) -> Faces:
    """A bright square of 2 px at every landmark of a dark face, within the middle."""
    rng = np.random.default_rng(1)
    places = rng.integers(5, size - 6, (count, 5, 2))
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    for image, points in zip(images, places, strict=True):
        for channel, (x, y) in zip((0, 1, 2, 0, 1), points, strict=True):
            image[channel, y : y + 2, x : x + 2] = 255
    landmarks = torch.from_numpy(places + 1).float() / size
    attributes = torch.from_numpy(rng.integers(-1, 2, (count, 3)).astype(np.int8))
    extent = torch.full((count, 2), float(size))
    return Faces(images, landmarks, attributes, extent, tuple(map(str, range(count))), NAMES)


def batches_of(faces: Faces, *, moved: bool, seed=0) -> FaceBatches:
    return FaceBatches(faces, batch=3, seed=seed, moved=moved, device=torch.device("cpu"))


def test_batches_that_do_not_move_are_the_faces():
    faces = some_faces()
    batches = batches_of(faces, moved=False)
    assert len(batches) == 3
    images, landmarks, attributes = (
        torch.cat(parts) for parts in zip(*map(batches, range(3)), strict=True)
    )
    order = [int((faces.landmarks == each).all((1, 2)).nonzero()) for each in landmarks]
    assert sorted(order) == list(range(7)) and order != sorted(order)
    assert torch.equal(images, faces.images[order].float() / 255)
    assert torch.equal(attributes, faces.attributes[order])


def test_a_batch_hangs_on_seed_and_step_alone():
    faces = some_faces()
    again, other = batches_of(faces, moved=True), batches_of(faces, moved=True, seed=1)
    first = batches_of(faces, moved=True)
    first(0), first(5)
    for one, same in zip(first(4), again(4), strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(first(4)[1], other(4)[1])
    assert not torch.equal(first(1)[1], first(4)[1])  # another epoch


def test_landmarks_stay_on_what_they_mark():
    """After a mirroring, a shift and a scaling of each face."""
    rng = torch.Generator().manual_seed(3)
    image = torch.rand(64, 1, 12, 12, generator=rng)
    images = torch.nn.functional.interpolate(image, size=96, mode="bicubic").clamp(0, 1)
    points = 0.3 + 0.4 * torch.rand(64, 5, 2, generator=rng)
    flips = torch.arange(64) % 2 == 1
    x, y = 0.24 * torch.rand(2, 64, generator=rng) - 0.12
    scales = 0.85 + 0.3 * torch.rand(64, generator=rng)
    moved, places = move(images, points, flips, x, y, scales)

    def brightness(pictures, where):  # scipy reads pixels at their centres
        return np.stack(
            [
                map_coordinates(picture[0].numpy(), (96 * spots.numpy() - 0.5).T[::-1], order=1)
                for picture, spots in zip(pictures, where, strict=True)
            ]
        )

    assert brightness(moved, places) == pytest.approx(brightness(images, points), abs=0.03)
    assert (places - points).abs().mean() > 0.05


def test_moves_by_hand():
    """A face mirrored, shifted right by a quarter; another one grown to twice, about its middle."""
    images = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(2, 1, 1, 1)
    points = torch.tensor([[[0.25, 0.5]], [[0.25, 0.5]]])
    flips, zero = torch.tensor([True, False]), torch.zeros(2)
    shift, scales = torch.tensor([0.25, 0.0]), torch.tensor([1.0, 2.0])
    moved, places = move(images, points, flips, shift, zero, scales)
    assert places[:, 0].tolist() == [[1.0, 0.5], [0.0, 0.5]]
    expected = images[0].flip(2).roll(2, 2)
    expected[:, :, :2] = expected[:, :, 2:3]  # the edge is repeated
    torch.testing.assert_close(moved[0], expected)
    assert moved[1, 0, 4, 4] == pytest.approx(images[1, 0, 4, 4] - 2.25)  # a quarter pixel each way
    down = move(images, points, flips & False, zero, shift, torch.ones(2))
    assert down[1][0, 0].tolist() == [0.25, 0.75]
    torch.testing.assert_close(down[0][0, :, 2:], images[0, :, :6])


def test_a_mirrored_face_has_its_sides_swapped():
    assert mirrored(LANDMARKS) == [1, 0, 2, 4, 3]
    assert mirrored(NAMES) == [0, 2, 1]
    assert mirrored(("Straight_Hair", "Bright")) == [0, 1]  # which have "raight" and "right"
    faces = some_faces(40)
    batches = FaceBatches(faces, batch=40, seed=0, moved=True, device=torch.device("cpu"))
    _, landmarks, attributes = batches(0)
    order, flips, x, y, scales = batches._draw(0)
    assert 10 < flips.sum() < 30
    for place, (face, flip) in enumerate(zip(order.tolist(), flips.tolist(), strict=True)):
        points = faces.landmarks[face].numpy().copy()
        labels = faces.attributes[face].tolist()
        if flip:
            points[:, 0] = 1 - points[:, 0]
            points, labels = points[[1, 0, 2, 4, 3]], [labels[0], labels[2], labels[1]]
        expected = 0.5 + scales[place].item() * (points - 0.5)
        expected += [x[place].item(), y[place].item()]
        assert landmarks[place].numpy() == pytest.approx(expected, abs=1e-5)
        assert attributes[place].tolist() == labels
    assert 0.05 < x.abs().max() <= 0.12 and y.abs().max() <= 0.12
    assert scales.min() < 0.9 and scales.max() > 1.1 and (scales - 1).abs().max() <= 0.15
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.4


# features

N = 200


def features(columns, rows=N):
    return RNG.normal(size=(rows, columns))


def unbiased(k, ell):
    """HSIC by Song et al., JMLR 2012: the mean of its kernel over every four different images."""
    i, j, q, r = np.array(list(permutations(range(len(k)), 4))).T
    return (k[i, j] * (ell[i, j] + ell[q, r] - 2 * ell[i, q])).mean()


@pytest.mark.parametrize("columns", [(3, 8), (8, 30), (30, 20)])  # N of 10: narrow, mixed, wide
def test_cka_is_that_of_gram_matrices(columns):
    hidden = features(3, 10)
    x, y = (hidden @ features(d, 3) + 0.5 * features(d, 10) + 7 for d in columns)
    k, ell = x @ x.T, y @ y.T
    expected = unbiased(k, ell) / np.sqrt(unbiased(k, k) * unbiased(ell, ell))
    assert linear_cka(x, y) == pytest.approx(expected)
    assert linear_cka(x, x) == pytest.approx(1)


def test_cka_does_not_see_a_rotation_a_scale_or_a_shift():
    x, y = features(20), features(30)
    y[:, :20] += x
    turned = 1e-9 * y @ ortho_group.rvs(30, random_state=0) + 1e-6
    first, second = (linear_cka(x, each) for each in (y, turned))
    assert 0.2 < first < 0.9 and second == pytest.approx(first, rel=1e-4)


def test_cka_of_independent_features():
    """With more features than images, where without the correction noise is near 1."""
    assert abs(linear_cka(features(400), features(400))) < 0.05


@pytest.mark.filterwarnings("error")
def test_constant_features_share_nothing():
    constant = np.full((N, 3), 0.1)  # whose mean is not 0.1 to the last bit
    for pair in ((constant, features(4)), (features(4), constant), (constant, constant)):
        assert linear_cka(*pair) == 0
    assert linear_cka(np.eye(N), features(4)) == 0


def test_squares_of_maps():
    maps = torch.arange(2 * 3 * 8 * 4.0).reshape(2, 3, 8, 4)
    found = squares(maps)
    assert found.shape == (2, 48) and found.dtype == np.float64
    blocks = maps.numpy().reshape(2, 3, 4, 2, 4, 1).mean((3, 5))
    assert found == pytest.approx(blocks.reshape(2, -1))
    small = maps[:, :, :2, :2]
    assert squares(small.half()).tolist() == small.flatten(1).tolist()
    fine = torch.tensor([1, 1 + 2**-10], dtype=torch.half).repeat(1, 1, 4, 4)
    assert (squares(fine) == 1 + 2**-11).all()  # which half precision does not have


def test_the_linear_probe_finds_a_linear_map_and_nothing_in_noise():
    x, test, weights = features(20), features(20, 100), features(10, 20)
    y, truth = (each @ weights + 1 for each in (x, test))
    assert linear_probe(x, y, test, truth) == pytest.approx(1, abs=1e-6)
    shaped = [each.reshape(-1, 5, 2) for each in (y, truth)]
    assert linear_probe(x, shaped[0], test, shaped[1]) == linear_probe(x, y, test, truth)
    for columns in (20, 400):
        found = linear_probe(features(columns), y, features(columns, 100), truth)
        assert -0.15 < found < 0.05
    truth[:, 0] = 3  # cannot be explained, and does not count
    assert linear_probe(x, y, test, truth) == pytest.approx(1, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_probes_of_constant_features():
    x, test = np.ones((N, 3)), np.ones((50, 3))
    assert -0.2 < linear_probe(x, features(2), test, features(2, 50)) <= 0
    yes, truth = features(4) > 0.5, features(4, 50) > 0.5
    assert attribute_probe(x, yes.astype(int), test, truth.astype(int)) == 0.5


@pytest.mark.parametrize("columns", [10, 400])
def test_the_attribute_probe_of_rare_attributes(columns):
    """One face in ten has it: balanced still, also with more features than images."""
    x, test = features(columns, 300), features(columns, 2000)
    direction = features(3, columns) / np.sqrt(columns)
    yes, truth = ((each @ direction > 1.28).astype(int) for each in (x, test))
    assert yes.mean() < 0.15
    found = attribute_probe(x, yes, test, truth)
    assert found > (0.9 if columns == 10 else 0.55)
    noise = features(columns, 300), yes, features(columns, 2000), truth
    assert attribute_probe(*noise) == pytest.approx(0.5, abs=0.05)
    hidden = np.where(RNG.uniform(size=yes.shape) < 0.3, -1, yes)
    assert found - 0.1 < attribute_probe(x, hidden, test, truth) < found + 0.02


def test_the_attribute_probe_by_leaving_out_every_image():
    """One attribute, scikit-learn's ridge of the codes, fitted once for every image left out."""
    x, test = features(6, 40), features(6, 300)
    yes, truth = ((each[:, 0] + features(1, len(each))[:, 0] > 0.8) for each in (x, test))
    code = np.where(yes, 1 / yes.sum(), -1 / (~yes).sum())
    scaler = StandardScaler().fit(x)
    x_, test_ = scaler.transform(x), scaler.transform(test)
    model = RidgeCV(PENALTIES * np.linalg.norm(x_, 2) ** 2).fit(x_, code)
    left_out = np.array(
        [
            RidgeCV([model.alpha_]).fit(np.delete(x_, i, 0), np.delete(code, i)).predict(x_[[i]])[0]
            for i in range(40)
        ]
    )
    cut = (left_out[yes].mean() + left_out[~yes].mean()) / 2
    expected = balanced_accuracy_score(truth, model.predict(test_) > cut)
    found = attribute_probe(x, yes[:, None].astype(int), test, truth[:, None].astype(int))
    assert found == pytest.approx(expected)


def test_attributes_of_one_class_do_not_count():
    x, test = features(5), features(5, 50)
    yes, truth = ((each[:, :2] > 0).astype(int) for each in (x, test))
    expected = attribute_probe(x, yes[:, :1], test, truth[:, :1])
    yes[:, 1] = 1
    assert attribute_probe(x, yes, test, truth) == expected
    with pytest.raises(ValueError, match="both classes"):
        attribute_probe(x, yes[:, 1:], test, truth[:, 1:])


FACES = np.tile(FACE, (2, 1, 1))
X, Y = features(3, 10), features(2, 10)
YES = (Y > 0).astype(int)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: landmark_errors(FACES * np.nan, FACES, SQUARE), "NaN"),
        (lambda: landmark_errors(FACES, FACES[:1], SQUARE), "fit"),
        (lambda: landmark_errors(FACES, FACES, (128, 128, 3)), "fit"),
        (lambda: attribute_scores([[np.nan]], [[1]]), "NaN"),
        (lambda: linear_cka(X * np.nan, Y), "NaN"),
        (lambda: linear_cka(X, Y[:9]), "same four"),
        (lambda: linear_cka(X[:3], Y[:3]), "same four"),
        (lambda: linear_probe(X, Y, X, np.ones_like(Y)), "constant"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
