"""Rank agreement against the paper's Table 1 and values by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kendalltau

from lib.transfer.agreement import (
    MEASURES,
    agreement,
    agreement_difference,
    agreement_interval,
    kendall_p,
    regret_interval,
    selection_regret,
)
from lib.transfer.audit import TABLE_1

# by hand from Table 1: Kendall, weighted tau, Spearman
EXPECTED = {
    ("AlexNet", "softmax"): (0.733, 0.804, 0.886),
    ("AlexNet", "emd"): (0.600, 0.729, 0.771),
    ("ResNet-18", "softmax"): (0.733, 0.762, 0.829),
    ("ResNet-18", "emd"): (0.467, 0.663, 0.714),
}


@pytest.mark.parametrize(("network", "score"), EXPECTED)
def test_the_papers_table(network, score):
    rows = TABLE_1[TABLE_1["network"] == network]
    values = rows[score] * (1 if score == "softmax" else -1)
    found = [agreement(values, rows["accuracy"], measure) for measure in MEASURES]
    assert found == pytest.approx(EXPECTED[network, score], abs=5e-4)


def test_kendall_by_hand():
    # of six pairs one is the wrong way round
    assert agreement([1, 2, 3, 4], [10, 30, 20, 40], "Kendall") == pytest.approx(4 / 6)


@pytest.mark.parametrize("measure", MEASURES)
def test_ends(measure):
    accuracy = np.array([3.0, 1.0, 2.0, 5.0])
    assert agreement(accuracy, accuracy, measure) == pytest.approx(1)
    assert agreement(-accuracy, accuracy, measure) == pytest.approx(-1)
    assert agreement(np.ones(4), accuracy, measure) == 0


def test_interval_holds_the_value_and_shrinks_with_models():
    rng = np.random.default_rng(0)
    widths = []
    for count in (6, 60):
        accuracy = rng.normal(size=count)
        found = agreement_interval(accuracy + rng.normal(size=count), accuracy, "Kendall")
        assert found.low <= found.value <= found.high
        assert found.n == count
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_difference_is_that_of_the_two():
    accuracy, first, second = [1, 2, 3, 4], [1, 2, 3, 4], [2, 1, 3, 4]
    found = agreement_difference(first, second, accuracy, "Kendall")
    assert found.value == pytest.approx(1 - 4 / 6)
    same = agreement_difference(first, first, accuracy, "Kendall")
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("network", "score", "expected"),
    [  # all 720 orders of six models, by hand: 40, 98 and 196 are as far from 0 or farther
        ("AlexNet", "softmax", 40 / 720),
        ("AlexNet", "emd", 98 / 720),
        ("ResNet-18", "softmax", 40 / 720),
        ("ResNet-18", "emd", 196 / 720),
    ],
)
def test_p_of_the_papers_table(network, score, expected):
    rows = TABLE_1[TABLE_1["network"] == network]
    assert kendall_p(rows[score], rows["accuracy"]) == pytest.approx(expected)


def test_p_with_ties_is_the_share_of_orders():
    score, accuracy = np.array([1, 2, 2, 3, 5.0]), np.array([1, 2, 3, 3, 4.0])
    taus = np.array([kendalltau(order, accuracy).statistic for order in permutations(score)])
    observed = kendalltau(score, accuracy).statistic
    expected = 2 * np.mean(taus >= observed - 1e-9)
    assert kendall_p(score, accuracy) == pytest.approx(expected)
    assert kendall_p(np.ones(5), accuracy) == 1


def test_regret_interval_holds_the_value():
    accuracy = [50, 80, 90, 60, 70, 85]
    found = regret_interval([1, 3, 2, 0, 4, 5], accuracy)
    assert found.value == 5
    assert 0 <= found.low <= found.value <= found.high <= 40


def test_regret_by_hand():
    accuracy = [50, 80, 90]
    assert selection_regret([1, 3, 2], accuracy) == 10
    assert selection_regret([1, 2, 3], accuracy) == 0
    assert selection_regret([0, 0, 0], accuracy) == pytest.approx(90 - 220 / 3)
    assert selection_regret([2, 2, 1], accuracy) == 25


@pytest.mark.parametrize(
    ("score", "match"),
    [
        ([1, 2], "three models"),
        ([1, np.nan, 2], "not finite"),
        ([1, 2, 3, 4], "three models"),
    ],
)
def test_bad_input(score, match):
    with pytest.raises(ValueError, match=match):
        agreement(score, [1, 2, 3], "Kendall")
