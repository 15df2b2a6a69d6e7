"""The audit against numbers worked out by hand or by exact tests from the paper's Table 1."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lib.multitask.audit import audit, p_of_lead, table_1
from lib.multitask.trials import KINDS, PAPER


@pytest.fixture(scope="module")
def table():
    return audit()


def test_the_table_is_the_papers():
    """The column added up by hand; the last four are networks of ours too."""
    table = table_1()
    assert table["accuracy"].sum() == pytest.approx(692.5)
    assert table["variant"].tolist()[4:] == list(KINDS[PAPER])
    assert table.iloc[4].tolist()[:2] == ["Baseline", 89.9] and table["variant"][:4].isna().all()


def test_the_lead_and_its_parts(table):
    """Tenths of a point; the parts add up."""
    expected = {
        "variants-below": 2,
        "best": 90,
        "structure": -0.3,
        "channel-wise": -0.2,
        "fine-tuning": 0.6,
        "budget": 2,
    }
    assert table["ours"][list(expected)].to_dict() == pytest.approx(expected)
    parts = table["ours"][["structure", "channel-wise", "fine-tuning"]]
    assert parts.sum() == pytest.approx(0.1)
    assert table["agrees"]["best"]


@pytest.mark.parametrize(("name", "n"), [("independent", 798_480), ("dependent", 19_962)])
def test_p_by_a_chi_squared_test_of_counts(table, name, n):
    for share, p in ((0.9, table["ours"][f"p-{name}"]), (0.901, p_of_lead(0.2, n))):
        counts = [[right, n - right] for right in (round(share * n), round(0.899 * n))]
        expected = stats.chi2_contingency(counts, correction=False).pvalue
        assert p == pytest.approx(expected, rel=0.02)


def test_the_demand_gives_a_p_of_5_percent(table):
    draws = np.random.default_rng(0).normal(scale=table["ours"]["needed-std"], size=(2, 200_000))
    assert (abs(draws[0] - draws[1]) > 0.1).mean() == pytest.approx(0.05, abs=0.002)


def test_weights_of_a_layer(table):
    """16 channels: the baseline has 16 * 16 * 9 weights, a layer that reads both twice as many."""
    plain, joined = 16 * 16 * 9, 32 * 16 * 9
    assert table["ours"]["weights-ours"] * plain == pytest.approx(plain + 2 * joined)


def test_every_finding_has_a_name_of_its_own_and_a_reason(table):
    assert table.index.is_unique
    assert (table["explanation"] != "").all() and np.isfinite(table["ours"]).all()
    assert table["agrees"].isna().equals(table["paper"].isna())
