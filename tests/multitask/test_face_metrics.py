"""Errors of landmarks by hand, scores of attributes against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from lib.multitask.face_metrics import (
    attribute_scores,
    cumulative_errors,
    landmark_errors,
    majority,
    mean_shape,
    median_errors,
)

# left eye, right eye, nose, mouth corners
FACE = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.6], [0.4, 0.75], [0.6, 0.75]])
RNG = np.random.default_rng(0)


def test_a_perfect_prediction():
    faces = RNG.uniform(size=(7, 5, 2))
    assert (landmark_errors(faces, faces) == 0).all()
    assert (median_errors(faces, faces, (178, 218)) == 0).all()


def test_errors_by_hand():
    """Eyes 50 pixels apart; the nose is 3 right and 4 down of its place, a corner 10 left."""
    moved = FACE.copy()
    moved[2] += [0.03, 0.02]
    moved[3] -= [0.1, 0]
    errors = landmark_errors(moved[None], FACE[None], (100, 200))
    assert errors == pytest.approx(np.array([[0, 0, 5 / 50, 10 / 50, 0]]))


def test_the_frame_changes_the_error():
    """In a square frame a vertical error weighs 178 / 218 of what it weighs in CelebA's."""
    moved = FACE + np.array([0, 0.01])
    square = landmark_errors(moved[None], FACE[None])
    assert square == pytest.approx(np.full((1, 5), 0.01 / 0.5))
    original = landmark_errors(moved[None], FACE[None], (178, 218))
    assert square / original == pytest.approx(178 / 218)


def test_eyes_closer_than_a_pixel_count_as_one():
    profile = FACE.copy()
    profile[1] = profile[0] + [0.5 / 128, 0]
    errors = landmark_errors(profile[None] + [2 / 128, 0], profile[None])
    assert errors == pytest.approx(np.full((1, 5), 2))


def test_the_median_eye_distance_ignores_a_profile():
    """Eye distances 50, 50 and 0 pixels of frames of their own; all are off by 5 pixels."""
    profile = FACE.copy()
    profile[1] = profile[0]
    truth, extent = np.stack([FACE, FACE, profile]), np.array([[100, 50], [100, 200], [10, 10]])
    predicted = truth + 5 * np.eye(2)[0] / extent[:, None]
    assert median_errors(predicted, truth, extent) == pytest.approx(np.full((3, 5), 0.1))
    assert landmark_errors(predicted, truth, extent)[2] == pytest.approx(5)
    with pytest.raises(ValueError, match="median"):
        median_errors(profile[None], profile[None], (10, 10))


def test_cumulative_errors():
    """Mean errors .02, .1 and .3."""
    errors = np.array([[0.02] * 5, [0, 0, 0, 0, 0.5], [0.3] * 5])
    assert cumulative_errors(errors, [0, 0.02, 0.1, 0.2, 1]).tolist() == [0, 1 / 3, 2 / 3, 2 / 3, 1]


def test_mean_shape_by_hand():
    """The faces differ by .2 in x: the mean one is .1 from both, a fifth of the eye distance."""
    faces = np.stack([FACE, FACE + np.array([0.2, 0])])
    mean = mean_shape(faces)
    assert mean == pytest.approx(FACE + np.array([0.1, 0]))
    errors = landmark_errors(np.broadcast_to(mean, faces.shape), faces)
    assert errors == pytest.approx(np.full((2, 5), 0.2))


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


FACES = np.tile(FACE, (2, 1, 1))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: landmark_errors(FACES * np.nan, FACES), "NaN"),
        (lambda: landmark_errors(FACES, FACES[:1]), "fit"),
        (lambda: landmark_errors(FACES[:, :4], FACES[:, :4]), "landmarks are"),
        (lambda: landmark_errors(FACES[:0], FACES[:0]), "some numbers"),
        (lambda: landmark_errors(FACES, FACES, (128, 128, 3)), "fit"),
        (lambda: landmark_errors(FACES, FACES, (128, 0)), "extent"),
        (lambda: median_errors(FACES, FACES, (128, np.nan)), "extent"),
        (lambda: cumulative_errors([[np.inf]], [0.1]), "infinite"),
        (lambda: mean_shape(FACE), "3 dimensions"),
        (lambda: attribute_scores([[np.nan]], [[1]]), "NaN"),
        (lambda: attribute_scores([[1.0, 2.0]], [[1]]), "do not fit"),
        (lambda: attribute_scores([[1.0]], [[2]]), "attributes are"),
        (lambda: majority(np.zeros((0, 3))), "attributes are"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
