"""Similarity of features by explicit Gram matrices, probes against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from sklearn.linear_model import RidgeCV
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler

from lib.multitask.probes import PENALTIES, attribute_probe, linear_cka, linear_probe, pooled

RNG = np.random.default_rng(0)
N = 200


def features(columns, rows=N):
    return RNG.normal(size=(rows, columns))


def biased(k, ell):
    """tr(K H L H)."""
    centring = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ centring @ ell @ centring)


def unbiased(k, ell):
    """Mean inner product of U-centred matrices, Székely and Rizzo 2014, definition 2."""

    def u_centred(a):
        n = len(a)
        a = a - np.diag(np.diag(a))
        sums = a.sum(0)
        a = a - (sums[:, None] + sums) / (n - 2) + a.sum() / (n - 1) / (n - 2)
        return a - np.diag(np.diag(a))

    return (u_centred(k) * u_centred(ell)).sum()


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("columns", [(3, 8), (8, 90), (90, 70)])  # N of 40: narrow, mixed, wide
def test_cka_is_that_of_gram_matrices(columns, debiased):
    hidden = features(3, 40)
    x, y = (hidden @ features(d, 3) + 0.5 * features(d, 40) + 7 for d in columns)
    hsic, k, ell = unbiased if debiased else biased, x @ x.T, y @ y.T
    expected = hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell))
    assert linear_cka(x, y, debiased=debiased) == pytest.approx(expected)
    assert linear_cka(x, x, debiased=debiased) == pytest.approx(1)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_does_not_see_a_rotation_a_scale_or_a_shift(debiased):
    x, y = features(20), features(30)
    y[:, :20] += x
    turned = 1e-9 * y @ ortho_group.rvs(30, random_state=0) + 1e-6
    first, second = (linear_cka(x, each, debiased=debiased) for each in (y, turned))
    assert 0.2 < first < 0.9 and second == pytest.approx(first, rel=1e-4)


def test_cka_of_independent_features():
    """With more features than images the biased one is near 1 of noise."""
    x, y = features(400), features(400)
    assert abs(linear_cka(x, y)) < 0.05
    assert linear_cka(x, y, debiased=False) > 0.6


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("debiased", [True, False])
def test_constant_features_share_nothing(debiased):
    constant = np.full((N, 3), 0.1)  # whose mean is not 0.1 to the last bit
    for pair in ((constant, features(4)), (features(4), constant), (constant, constant)):
        assert linear_cka(*pair, debiased=debiased) == 0
    if debiased:
        assert linear_cka(np.eye(N), features(4)) == 0


def test_pooled_maps():
    maps = torch.arange(2 * 3 * 8 * 4.0).reshape(2, 3, 8, 4).requires_grad_()
    found = pooled(maps, 2)
    assert found.shape == (2, 12) and found.dtype == np.float64
    blocks = maps.detach().numpy().reshape(2, 3, 2, 4, 2, 2).mean((3, 5))
    assert found == pytest.approx(blocks.reshape(2, -1))
    assert pooled(maps).shape == (2, 3 * 4 * 4)
    assert pooled(maps[:, :, :2, :2].half()).tolist() == maps[:, :, :2, :2].flatten(1).tolist()
    fine = torch.tensor([1, 1 + 2**-10], dtype=torch.half)[None, None, None]
    assert pooled(fine, 1).item() == 1 + 2**-11  # which half precision does not have
    with pytest.raises(ValueError, match="maps are"):
        pooled(maps[0])


@pytest.mark.parametrize("columns", [30, 300])  # fewer and more than images
def test_the_linear_probe_is_scikit_learns(columns):
    x, test = features(columns) * RNG.uniform(0.1, 9, columns) + 3, features(columns, 50) + 3
    weights = features(4, columns)
    y, truth = (each @ weights + 9 * features(4, len(each)) for each in (x, test))
    scaler = StandardScaler().fit(x)
    x_, test_ = scaler.transform(x), scaler.transform(test)
    grid = PENALTIES * np.linalg.norm(x_, 2) ** 2
    model = RidgeCV(grid, alpha_per_target=True).fit(x_, y)
    assert linear_probe(x, y, test, truth) == pytest.approx(r2_score(truth, model.predict(test_)))


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


X, Y = features(3, 10), features(2, 10)
YES = (Y > 0).astype(int)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: linear_cka(X * np.nan, Y), "NaN"),
        (lambda: linear_cka(X, Y[:9]), "same four"),
        (lambda: linear_cka(X[:3], Y[:3]), "same four"),
        (lambda: linear_cka(X[:, 0], Y), "features are"),
        (lambda: linear_probe(X, Y[:9], X, Y), "do not fit"),
        (lambda: linear_probe(X, Y, X[:, :2], Y), "do not fit"),
        (lambda: linear_probe(X, Y, X, Y[:9]), "targets of the test"),
        (lambda: linear_probe(X, Y, X, np.ones_like(Y)), "constant"),
        (lambda: linear_probe(X, Y * np.inf, X, Y), "infinite"),
        (lambda: attribute_probe(X, YES, X, YES[:, :1]), "do not fit"),
        (lambda: attribute_probe(X, YES, X, YES[:9]), "do not fit"),
        (lambda: attribute_probe(X, Y, X, YES), "attributes are"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
