"""Rank agreement against values by hand; that of the paper's Table 1 is in test_audit.py."""

from __future__ import annotations

import numpy as np
import pytest

from lib.transfer.agreement import MEASURES, kendall, over_models, selection_regret


def test_kendall_by_hand():
    # of six pairs one is the wrong way round
    assert kendall([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(4 / 6)


@pytest.mark.parametrize("measure", MEASURES)
def test_ends(measure):
    accuracy = np.array([3.0, 1.0, 2.0, 5.0])
    assert MEASURES[measure](accuracy, accuracy) == pytest.approx(1)
    assert MEASURES[measure](-accuracy, accuracy) == pytest.approx(-1)
    assert MEASURES[measure](np.ones(4), accuracy) == 0


def test_interval_holds_the_value_and_shrinks_with_models():
    rng = np.random.default_rng(0)
    widths = []
    for count in (6, 60):
        accuracy = rng.normal(size=count)
        found = over_models(kendall, accuracy + rng.normal(size=count), accuracy)
        assert found.low <= found.value <= found.high
        assert found.n == count
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_difference_is_that_of_the_two():
    def difference(first, second, accuracy):
        return kendall(first, accuracy) - kendall(second, accuracy)

    accuracy, first, second = [1, 2, 3, 4], [1, 2, 3, 4], [2, 1, 3, 4]
    found = over_models(difference, first, second, accuracy)
    assert found.value == pytest.approx(1 - 4 / 6)
    same = over_models(difference, first, first, accuracy)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_regret_interval_holds_the_value():
    accuracy = [50, 80, 90, 60, 70, 85]
    found = over_models(selection_regret, [1, 3, 2, 0, 4, 5], accuracy)
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
        kendall(score, [1, 2, 3])
