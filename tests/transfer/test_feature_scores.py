"""Scores of features against scikit-learn, scipy's optimiser and explicit loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, spearmanr
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from lib.transfer.feature_scores import h_score, knn_accuracy, log_me, parc

RNG = np.random.default_rng(1)
N, D, T = 45, 6, 3
LABELS = np.arange(N) % T
CENTRES = RNG.normal(size=(T, D))
FEATURES = CENTRES[LABELS] + RNG.normal(size=(N, D))


def evidence(features, target):
    """The largest log density of the target under N(0, F F^T / alpha + I / beta)."""

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(len(target)) / beta
        return -multivariate_normal(cov=covariance).logpdf(target)

    return -minimize(negative, np.zeros(2), method="Nelder-Mead", tol=1e-10).fun


@pytest.mark.parametrize("columns", [D, 60])
def test_log_me_is_the_largest_evidence(columns):
    """More features than images too."""
    features = (
        FEATURES if columns == D else FEATURES @ RNG.normal(size=(D, 60)) + RNG.normal(size=(N, 60))
    )
    expected = np.mean([evidence(features, (t == LABELS).astype(float)) / N for t in range(T)])
    assert log_me(features, LABELS) == pytest.approx(expected, abs=1e-4)


def test_h_score_is_the_trace_of_the_covariances():
    centred = FEATURES - FEATURES.mean(0)
    covariance = np.cov(centred.T, bias=True)
    means = np.stack([centred[label == LABELS].mean(0) for label in LABELS])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(covariance) @ between)
    assert h_score(FEATURES, LABELS) == pytest.approx(expected)


def test_h_score_does_not_see_a_change_of_basis_and_has_its_bounds():
    turned = FEATURES @ RNG.normal(size=(D, D)) + 5
    assert h_score(turned, LABELS) == pytest.approx(h_score(FEATURES, LABELS))
    assert h_score(np.eye(T)[LABELS], LABELS) == pytest.approx(T - 1)
    assert h_score(RNG.normal(size=(N, 60)), LABELS) == pytest.approx(T - 1)  # N < D


@pytest.mark.parametrize("k", [1, 5])
def test_knn_is_scikit_learns(k):
    found = []
    for train, test in LeaveOneOut().split(FEATURES):
        model = KNeighborsClassifier(k, metric="cosine").fit(FEATURES[train], LABELS[train])
        votes = LABELS[train][model.kneighbors(FEATURES[test])[1][0]]
        counts = np.bincount(votes, minlength=T)
        ties = np.flatnonzero(counts == counts.max())
        found.append(next(vote for vote in votes if vote in ties) == LABELS[test][0])
    assert knn_accuracy(FEATURES, LABELS, k) == np.mean(found)
    if k == 1:
        model = KNeighborsClassifier(1, metric="cosine")
        predicted = cross_val_predict(model, FEATURES, LABELS, cv=LeaveOneOut())
        assert knn_accuracy(FEATURES, LABELS) == np.mean(predicted == LABELS)


def test_knn_in_several_blocks(monkeypatch):
    whole = knn_accuracy(FEATURES, LABELS, 3)
    monkeypatch.setattr("lib.transfer.feature_scores.BLOCK", 7)
    assert knn_accuracy(FEATURES, LABELS, 3) == whole


def test_parc_is_spearmans_correlation_of_pairs():
    apart, differ = [], []
    one_hot = np.eye(T)[LABELS]
    for i in range(N):
        for j in range(i):
            apart.append(1 - np.corrcoef(FEATURES[i], FEATURES[j])[0, 1])
            differ.append(round(1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1], 9))  # ties
    expected = 100 * spearmanr(apart, differ).statistic
    assert parc(FEATURES, LABELS) == pytest.approx(expected)


def test_parc_takes_principal_components_and_a_probe():
    wide = FEATURES @ RNG.normal(size=(D, 50))  # rank 6: six components keep every angle
    centred = wide - wide.mean(0)
    reduced = parc(wide, LABELS, components=6)
    turned = np.linalg.svd(centred, full_matrices=False)
    assert reduced == pytest.approx(parc(turned[0][:, :6] * turned[1][:6], LABELS, components=None))
    many = np.tile(LABELS, 4), np.tile(FEATURES, (4, 1))
    first, again, other = (parc(many[1], many[0], probe=60, seed=s) for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("score", [log_me, h_score, knn_accuracy, parc])
def test_better_features_score_higher(score):
    far = 5 * CENTRES[LABELS] + RNG.normal(size=(N, D))
    noise = RNG.normal(size=(N, D))
    assert score(far, LABELS) > score(FEATURES, LABELS) > score(noise, LABELS)


@pytest.mark.parametrize("score", [log_me, h_score, knn_accuracy, parc])
@pytest.mark.parametrize(
    ("features", "labels", "match"),
    [
        (np.where(FEATURES[2, 3] == FEATURES, np.nan, FEATURES), LABELS, "NaN"),
        (FEATURES[:-1], LABELS, "features are"),
        (FEATURES, np.zeros(N, int), "one class"),
        (FEATURES[:0], LABELS[:0], "features are"),
    ],
)
def test_bad_input(score, features, labels, match):
    with pytest.raises(ValueError, match=match):
        score(features, labels)


def test_a_probe_of_one_class_is_refused():
    labels = (np.arange(N) == 0).astype(int)
    with pytest.raises(ValueError, match="one class"):
        for seed in range(20):  # the only image of its class is in a probe of two once in 22
            parc(FEATURES, labels, probe=2, seed=seed)


def test_k_is_checked():
    with pytest.raises(ValueError, match="k is 1 to 44"):
        knn_accuracy(FEATURES, LABELS, 45)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("score", "expected"), [(h_score, 0), (parc, 0)])
def test_features_that_are_all_the_same_tell_nothing(score, expected):
    assert score(np.zeros((N, D)), LABELS) == expected


@pytest.mark.filterwarnings("error")
def test_log_me_of_no_features_is_the_noise_alone():
    expected = np.mean([-0.5 * (np.log(2 * np.pi * np.mean(t == LABELS)) + 1) for t in range(T)])
    assert log_me(np.zeros((N, D)), LABELS) == pytest.approx(expected)
