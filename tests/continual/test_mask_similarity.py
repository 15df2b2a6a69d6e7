"""Agreement and kappa against scikit-learn and the paper's table; the null by real permutations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from lib.continual.mask_similarity import kappa, similarity, zero_rate, zero_rates


def masks(seed: int, used: dict[str, float]) -> dict[str, torch.Tensor]:
    """Layers of different sizes, with about these shares of ones."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 3, 3, 3), "b": (10, 6, 3, 3), "c": (4, 5, 2, 2)}
    return {name: torch.rand(shapes[name], generator=rng) < share for name, share in used.items()}


HALF = {"a": 0.5, "b": 0.45, "c": 0.6}
UNEVEN = {"a": 0.9, "b": 0.2, "c": 0.5}


def flat(one: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([mask.numpy().ravel() for mask in one.values()])


@pytest.mark.parametrize("shares", [(HALF, HALF), (HALF, UNEVEN), (UNEVEN, UNEVEN)])
def test_kappa_is_scikit_learns(shares):
    a, b = masks(0, shares[0]), masks(1, shares[1])
    b["a"][:3] = a["a"][:3]
    found = similarity(a, b, draws=9)
    assert found.bits == 782
    assert found.agreement == pytest.approx((flat(a) == flat(b)).mean())
    assert found.kappa == pytest.approx(cohen_kappa_score(flat(a), flat(b)), abs=1e-12)


def test_the_papers_table():
    """Table 3: agreement of two masks; column of task 1 (no mask) is the share of ones."""
    used = {2: 0.5075, 3: 0.5042, 4: 0.4326, 5: 0.4529}
    agreement = {
        (2, 3): 0.5054,
        (2, 4): 0.5034,
        (2, 5): 0.5029,
        (3, 4): 0.5020,
        (3, 5): 0.5025,
        (4, 5): 0.5210,
    }
    found = [round(kappa(v, used[a], used[b]), 3) for (a, b), v in agreement.items()]
    assert found == [0.011, 0.009, 0.007, 0.005, 0.006, 0.030]


def test_equal_opposite_and_full_masks():
    a = masks(0, {"a": 0.5})
    same, opposite = similarity(a, a), similarity(a, {"a": ~a["a"]})
    assert (same.agreement, same.kappa) == (1, pytest.approx(1)) and same.p == 1e-4
    assert opposite.agreement == 0 and opposite.kappa < -0.9 and opposite.p == 1
    full = {"a": torch.ones_like(a["a"])}
    against = similarity(a, full)
    assert against.agreement == pytest.approx(a["a"].float().mean().item())
    assert against.kappa == pytest.approx(0, abs=1e-12) and against.p == 1
    assert math.isnan(similarity(full, full).kappa)


def test_the_null_by_permutations():
    """Bits of one mask moved about inside each layer, kappa by scikit-learn."""
    a, b = masks(0, UNEVEN), masks(1, UNEVEN)
    found = similarity(a, b, draws=20_000)
    rng = np.random.default_rng(0)
    drawn = [
        cohen_kappa_score(
            flat(a), np.concatenate([rng.permutation(mask.numpy().ravel()) for mask in b.values()])
        )
        for _ in range(500)
    ]
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert found.null_mean == pytest.approx(np.mean(drawn), abs=4 * error)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.null_low == pytest.approx(low, abs=0.3 * np.std(drawn))
    assert found.null_high == pytest.approx(high, abs=0.3 * np.std(drawn))
    assert found.null_mean > 0.05  # the layers' densities alone


def test_a_small_null_by_counting():
    """Of 6 places two ones each: 1, 8 and 6 of the 15 placements share 2, 1 and 0."""
    a = {"l": torch.tensor([1, 1, 0, 0, 0, 0], dtype=torch.bool)}
    one = {"l": torch.tensor([1, 0, 1, 0, 0, 0], dtype=torch.bool)}
    draws = 40_000
    assert similarity(a, a, draws=draws).p == pytest.approx(1 / 15, abs=0.005)
    assert similarity(a, one, draws=draws).p == pytest.approx(9 / 15, abs=0.01)
    # kappa is 1, 1/4 and -1/2 there
    found = similarity(a, one, draws=draws)
    assert found.kappa == pytest.approx(0.25)
    assert (found.null_low, found.null_high) == (pytest.approx(-0.5), pytest.approx(1))
    assert found.null_mean == pytest.approx((1 + 8 / 4 - 6 / 2) / 15, abs=1e-12)


def test_independent_masks_are_rarely_significant():
    p = [
        similarity(masks(seed, UNEVEN), masks(1000 + seed, UNEVEN), draws=199).p
        for seed in range(100)
    ]
    assert 0.35 < np.mean(p) < 0.65 and 1 <= sum(value <= 0.1 for value in p) <= 22


def test_common_weights_are_found():
    a, b = masks(0, UNEVEN), masks(1, UNEVEN)
    copied = torch.rand(a["b"].shape, generator=torch.Generator().manual_seed(2)) < 0.3
    b["b"] = torch.where(copied, a["b"], b["b"])
    found = similarity(a, b)
    assert found.p < 0.001 and found.kappa > found.null_high > found.null_mean > found.null_low


def test_draws_depend_on_the_seed_alone():
    a, b = masks(0, HALF), masks(1, HALF)
    assert similarity(a, b, seed=3) == similarity(a, b, seed=3)
    assert similarity(a, b, draws=50, seed=3) != similarity(a, b, draws=50, seed=4)


def test_the_order_of_layers_is_no_matter():
    a, b = masks(0, HALF), masks(1, UNEVEN)
    turned = dict(reversed(b.items()))
    assert similarity(a, turned, draws=99).kappa == similarity(a, b, draws=99).kappa


def test_the_papers_size_is_no_trouble():
    """14,776,000 bits: a kappa of .03 lies far outside the null, however small it is."""
    rng = torch.Generator().manual_seed(0)
    a = {"all": torch.rand(14_776_000, generator=rng) < 0.45}
    shared = torch.rand(14_776_000, generator=rng) < 0.03
    b = {"all": torch.where(shared, a["all"], torch.rand(14_776_000, generator=rng) < 0.45)}
    found = similarity(a, b)
    assert found.kappa == pytest.approx(0.03, abs=0.001)
    assert found.null_high < 0.001 and found.p == 1e-4


def test_zero_rates_by_hand():
    one = {
        "conv1": torch.tensor([[True, False], [False, False]]),
        "conv2": torch.tensor([True] * 9 + [False]),
        "up": torch.ones(2, dtype=torch.bool),
    }
    rates = zero_rates(one)
    assert rates == {"conv1": 0.75, "conv2": pytest.approx(0.1), "up": 0}
    assert list(rates) == ["conv1", "conv2", "up"]
    assert zero_rate(one) == pytest.approx(4 / 16)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"a": torch.ones(2, 3, dtype=torch.bool)}, "not of the same layers"),
        ({"b": torch.ones(3, 2, dtype=torch.bool)}, "not of the same layers"),
        ({}, "not of the same layers"),
        ({"a": torch.ones(3, 2)}, "masks are bool"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(other, named):
    a = {"a": torch.ones(3, 2, dtype=torch.bool)}
    with pytest.raises(ValueError, match=named):
        similarity(a, other)
    with pytest.raises(ValueError, match="not of the same layers"):
        similarity({}, {})
