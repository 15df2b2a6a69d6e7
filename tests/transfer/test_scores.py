"""Scores against POT, scikit-learn, scipy's optimiser, explicit loops and values by hand."""

from __future__ import annotations

from math import log

import numpy as np
import ot
import pytest
from scipy.optimize import minimize
from scipy.stats import entropy, multivariate_normal, spearmanr
from sklearn.preprocessing import StandardScaler

from lib.transfer import scores
from lib.transfer.scores import SCORES, all_scores, h_score, log_me, parc
from lib.transfer.scores import nearest_neighbour_accuracy as knn

RNG = np.random.default_rng(0)
N, C, T = 40, 7, 4
PROBABILITIES = RNG.dirichlet(np.full(C, 0.3), N)
LABELS = RNG.permutation(np.arange(N) % T)
DISTANCES = RNG.random((C, T)) + 0.1


def test_closed_form_is_pots_emd_of_one_hot_targets():
    targets = np.eye(T)[LABELS]
    expected = sum(ot.emd2(p, q, DISTANCES) for p, q in zip(PROBABILITIES, targets, strict=True))
    found = scores.emd_score(PROBABILITIES, LABELS, DISTANCES)
    assert found == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    p = np.array([[0.7, 0.3], [0.2, 0.8]])
    d = np.array([[1.0, 4.0], [3.0, 0.0]])
    labels = np.array([0, 1])
    assert scores.softmax_score(p) == pytest.approx(1.5)
    # image 0: .7 * 1 + .3 * 3; image 1: .2 * 4 + .8 * 0
    assert scores.emd_score(p, labels, d) == pytest.approx(1.6 + 0.8)
    assert scores.uniform_emd(labels, d) == pytest.approx(2 + 2)
    values = all_scores(p, p, labels, d)
    assert values["normalised_emd"] == pytest.approx(0.6)
    assert values["centred_emd"] == pytest.approx(-0.8)


def test_an_uninformed_model_scores_the_vocabulary_alone():
    uniform = np.full((N, C), 1 / C)
    values = all_scores(uniform, PROBABILITIES, LABELS, DISTANCES)
    assert values["normalised_emd"] == pytest.approx(1)
    assert values["centred_emd"] == pytest.approx(0, abs=1e-12)
    assert scores.softmax_score(uniform) == pytest.approx(N / C)


def test_a_class_without_a_word_is_left_out_of_the_emd_alone():
    """As if outputs 1 and 4 and the images of class 2 were not there."""
    distances = DISTANCES.copy()
    distances[[1, 4]], distances[:, 2] = np.nan, np.nan
    features = RNG.normal(size=(N, 5))
    found = all_scores(PROBABILITIES, features, LABELS, distances)
    outputs, images = [0, 2, 3, 5, 6], LABELS != 2
    p = PROBABILITIES[images][:, outputs]
    p = p / p.sum(1, keepdims=True)
    expected = sum(
        ot.emd2(row, np.eye(T)[label], DISTANCES[outputs])
        for row, label in zip(p, LABELS[images], strict=True)
    )
    assert found["emd"] == pytest.approx(expected, abs=1e-6)
    whole = all_scores(PROBABILITIES, features, LABELS, DISTANCES)
    same = {name for name in SCORES if found[name] == whole[name]}
    assert same == SCORES.keys() - NAMED
    nothing = all_scores(PROBABILITIES, features, LABELS, np.full((C, T), np.nan))
    assert {name for name in SCORES if np.isnan(nothing[name])} == NAMED


def test_main_directions_are_a_rotation_of_features_that_have_no_more():
    """34 directions in sixty columns: every score of the features stays what it is."""
    rng = np.random.default_rng(4)
    features = (rng.normal(size=(N, 34)) + 1) @ rng.normal(size=(34, 60))
    few = scores.main_directions(features, 36)
    assert few.shape == (N, 36)
    for score in (log_me, h_score, knn, parc):
        assert score(few, LABELS) == pytest.approx(score(features, LABELS), rel=1e-4), score


def test_leep_is_the_double_loop():
    joint = np.zeros((T, C))
    for p, label in zip(PROBABILITIES, LABELS, strict=True):
        joint[label] += p / N
    total = 0.0
    for p, label in zip(PROBABILITIES, LABELS, strict=True):
        total += log(sum(joint[label, z] / joint[:, z].sum() * p[z] for z in range(C)))
    assert scores.leep(PROBABILITIES, LABELS) == pytest.approx(total / N)


def test_nce_is_the_conditional_entropy():
    """H(Y | Z) = H(Y, Z) - H(Z), with scipy's entropies."""
    top = PROBABILITIES.argmax(1)
    pairs = np.unique(np.stack([top, LABELS]), axis=1, return_counts=True)[1]
    expected = entropy(pairs) - entropy(np.unique(top, return_counts=True)[1])
    assert scores.nce(PROBABILITIES, LABELS) == pytest.approx(-expected)


def test_a_perfect_source_reaches_the_upper_ends():
    perfect = np.eye(T)[LABELS]
    assert scores.leep(perfect, LABELS) == pytest.approx(0)
    assert scores.nce(perfect, LABELS) == pytest.approx(0)
    assert scores.softmax_score(perfect) == N


def test_half_precision_is_enough():
    wide = RNG.dirichlet(np.full(1000, 0.05), N)
    distances = RNG.random((1000, T))
    exact = scores.emd_score(wide, LABELS, distances)
    assert scores.emd_score(wide.astype(np.float16), LABELS, distances) == pytest.approx(
        exact, rel=1e-3
    )


def test_classes_without_images_count_nothing():
    labels = np.where(LABELS == 2, 0, LABELS)
    sums = scores.class_sums(PROBABILITIES, labels, T)
    assert not sums[2].any()
    assert sums[3] == pytest.approx(PROBABILITIES[labels == 3].sum(0))


def test_all_scores_have_a_direction_and_are_those_of_the_functions():
    features = RNG.normal(size=(N, 5))
    found = all_scores(PROBABILITIES, features, LABELS, DISTANCES)
    assert found.keys() == SCORES.keys()
    assert set(SCORES.values()) == {1, -1}
    assert found["emd"] == scores.emd_score(PROBABILITIES, LABELS, DISTANCES)


NAMED = {"emd", "normalised_emd", "centred_emd"}


@pytest.mark.parametrize(
    ("left_out", "needed_by"),
    [
        ("probabilities", NAMED | {"softmax", "leep", "nce"}),
        ("distances", NAMED),
        ("features", {"log_me", "h_score", "parc"}),
    ],
)
def test_a_score_hangs_on_what_it_needs_and_on_nothing_else(left_out, needed_by):
    rng = np.random.default_rng(2)
    arrays = {
        "probabilities": PROBABILITIES,
        "features": rng.normal(size=(N, 5)),
        "distances": DISTANCES,
    }
    other = {
        "probabilities": rng.dirichlet(np.full(C, 0.3), N),
        "features": rng.normal(size=(N, 5)),
        "distances": rng.random((C, T)),
    }
    before = all_scores(**arrays, labels=LABELS)
    after = all_scores(**arrays | {left_out: other[left_out]}, labels=LABELS)
    changed = {name for name in SCORES if before[name] != after[name]}
    # the share of right neighbours has few values, and may be the same by chance
    assert changed - {"knn"} == needed_by


GOOD = {
    "probabilities": PROBABILITIES,
    "features": np.random.default_rng(3).normal(size=(N, 5)),
    "labels": LABELS,
    "distances": DISTANCES,
}


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("probabilities", lambda p: p * 0.9, "add up to 0.9"),
        ("probabilities", lambda p: np.where(p == p[3, 2], np.nan, p), "probabilities is NaN"),
        ("probabilities", lambda p: p - 0.5, "probabilities are 0 or more"),
        ("probabilities", lambda p: p[:0], "at least one row"),
        ("labels", lambda t: t + 1, "labels are"),
        ("labels", lambda t: t - 1, "labels are"),
        ("labels", lambda t: t[:-1], "labels are"),
        ("labels", lambda t: t.astype(float), "integers"),
        ("labels", np.zeros_like, "two classes"),
        ("distances", lambda d: d[:1], "1 rows for 7"),  # numpy would repeat its row
        ("distances", lambda d: d[0], "a table"),
        ("distances", lambda d: np.where(d == d[1, 1], np.nan, d), "distances is NaN"),
        ("distances", lambda d: d - 1, "distances are 0 or more"),
        ("features", lambda f: f[:-1], "labels are"),
        ("features", lambda f: np.where(f == f[2, 3], np.inf, f), "features is NaN"),
    ],
)
def test_bad_input_is_named(name, change, match):
    with pytest.raises(ValueError, match=match):
        all_scores(**GOOD | {name: change(GOOD[name])})


DRAW = np.random.default_rng(1)
M, D, K = 45, 6, 3  # images, features, classes
CODES = np.arange(M) % K
CENTRES = DRAW.normal(size=(K, D))
FEATURES = CENTRES[CODES] + DRAW.normal(size=(M, D))


def evidence(features, target):
    """The largest log density of the target under M(0, F F^K / alpha + I / beta)."""

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(len(target)) / beta
        return -multivariate_normal(cov=covariance).logpdf(target)

    return -minimize(negative, np.zeros(2), method="Nelder-Mead", tol=1e-10).fun


@pytest.mark.parametrize("columns", [D, 60])
def test_log_me_is_the_largest_evidence(columns):
    """More features than images too."""
    features = (
        FEATURES
        if columns == D
        else FEATURES @ DRAW.normal(size=(D, 60)) + DRAW.normal(size=(M, 60))
    )
    expected = np.mean([evidence(features, (t == CODES).astype(float)) / M for t in range(K)])
    assert log_me(features, CODES) == pytest.approx(expected, abs=1e-4)


def test_h_score_is_the_trace_of_the_covariances():
    centred = FEATURES - FEATURES.mean(0)
    covariance = np.cov(centred.T, bias=True)
    means = np.stack([centred[label == CODES].mean(0) for label in CODES])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(covariance) @ between)
    assert h_score(FEATURES, CODES) == pytest.approx(expected)


def test_h_score_does_not_see_a_change_of_basis_and_has_its_bounds():
    turned = FEATURES @ DRAW.normal(size=(D, D)) + 5
    assert h_score(turned, CODES) == pytest.approx(h_score(FEATURES, CODES))
    assert h_score(np.eye(K)[CODES], CODES) == pytest.approx(K - 1)
    assert h_score(DRAW.normal(size=(M, 60)), CODES) == pytest.approx(K - 1)  # N < D


def test_knn_is_the_double_loop():
    units = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    others = [[units[i] @ units[j] if i != j else -2 for j in range(M)] for i in range(M)]
    assert knn(FEATURES, CODES) == np.mean(CODES[np.argmax(others, axis=1)] == CODES)
    twice = np.repeat(FEATURES, 2, axis=0)  # the nearest other image is the twin
    assert knn(twice, np.repeat(CODES, 2)) == 1


def test_parc_is_spearmans_correlation_of_pairs():
    apart, differ = [], []
    one_hot, scaled = np.eye(K)[CODES], StandardScaler().fit_transform(FEATURES)
    for i in range(M):
        for j in range(i):
            apart.append(1 - np.corrcoef(scaled[i], scaled[j])[0, 1])
            differ.append(round(1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1], 9))  # ties
    expected = 100 * spearmanr(apart, differ).statistic
    assert parc(FEATURES, CODES) == pytest.approx(expected)


def test_parc_takes_principal_components_and_a_probe(monkeypatch):
    wide = FEATURES @ DRAW.normal(size=(D, 50))  # rank 6: six components keep every angle
    left, sizes, _ = np.linalg.svd(wide - wide.mean(0), full_matrices=False)
    left *= np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    monkeypatch.setattr(scores, "COMPONENTS", 6)
    assert parc(wide, CODES) == pytest.approx(parc(left[:, :6] * sizes[:6], CODES))
    many = np.tile(FEATURES, (4, 1)), np.tile(CODES, 4)
    whole = parc(*many)
    monkeypatch.setattr(scores, "PROBE", 60)
    assert parc(*many) == parc(*many) != whole


@pytest.mark.parametrize("score", [log_me, h_score, knn, parc])
def test_better_features_score_higher(score):
    far = 5 * CENTRES[CODES] + DRAW.normal(size=(M, D))
    noise = DRAW.normal(size=(M, D))
    assert score(far, CODES) > score(FEATURES, CODES) > score(noise, CODES)


def test_a_probe_of_one_class_tells_nothing(monkeypatch):
    monkeypatch.setattr(scores, "PROBE", 2)
    only = [(np.arange(M) == place).astype(int) for place in range(5)]
    assert 0 in [parc(FEATURES, labels) for labels in only]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("score", "expected"), [(h_score, 0), (parc, 0)])
def test_features_that_are_all_the_same_tell_nothing(score, expected):
    assert score(np.zeros((M, D)), CODES) == expected


@pytest.mark.filterwarnings("error")
def test_log_me_of_no_features_is_the_noise_alone():
    expected = np.mean([-0.5 * (np.log(2 * np.pi * np.mean(t == CODES)) + 1) for t in range(K)])
    assert log_me(np.zeros((M, D)), CODES) == pytest.approx(expected)
