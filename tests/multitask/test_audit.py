"""The audit against numbers worked out by hand or by exact tests from the paper's Table 1."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from lib.multitask.audit import audit, p_of_lead, standard_error, table_1
from lib.multitask.trials import KINDS, PAPER

IMAGES, DECISIONS = 19_962, 798_480


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
        "variants-above": 3,
        "best": 90,
        "lead": 0.1,
        "lead-least": 0,
        "lead-most": 0.2,
        "structure": -0.3,
        "channel-wise": -0.2,
        "fine-tuning": 0.6,
        "mean-lead": -0.7 / 3,
        "baseline-share": 100 * 26 / 27,
        "errors-fewer": 100 / 101,
        "decisions": DECISIONS,
        "lead-decisions": 798,
    }
    assert table["ours"][list(expected)].to_dict() == pytest.approx(expected)
    parts = table["ours"][["structure", "channel-wise", "fine-tuning"]]
    assert parts.sum() == pytest.approx(table["ours"]["lead"])
    assert table["agrees"][["best", "variants-above"]].all()


@pytest.mark.parametrize(("name", "n"), [("independent", DECISIONS), ("dependent", IMAGES)])
def test_intervals_and_p_by_exact_tests(table, name, n):
    """scipy's binomial test, a chi-squared test of counts and statsmodels' interval."""
    right = [round(share * n) for share in (0.9, 0.899)]
    interval = stats.binomtest(right[0], n).proportion_ci(method="exact")
    half = 100 * (interval.high - interval.low) / 2
    assert table["ours"][f"half-{name}"] == pytest.approx(half, rel=0.01)
    assert standard_error(90, n) == pytest.approx(30 / n**0.5)
    assert standard_error(50, 100) == 5  # of a coin
    low, high = confint_proportions_2indep(right[0], n, right[1], n, method="wald", compare="diff")
    found = table["ours"][f"half-difference-{name}"]
    assert found == pytest.approx(50 * (high - low), rel=1e-4)
    counts = [[each, n - each] for each in right]
    p = stats.chi2_contingency(counts, correction=False).pvalue
    assert table["ours"][f"p-{name}"] == pytest.approx(p, rel=0.02)
    counts[0] = [round(0.901 * n), n - round(0.901 * n)]
    p = stats.chi2_contingency(counts, correction=False).pvalue
    assert table["ours"][f"p-most-{name}"] == pytest.approx(p, rel=0.02)


def test_the_demands_give_a_p_of_5_percent(table):
    ours = table["ours"]
    assert p_of_lead(0.1, IMAGES * ours["needed-attributes"]) == pytest.approx(0.05)
    assert 34 < ours["needed-attributes"] < 35
    for more, significant in ((0, True), (400, False)):
        differ = ours["needed-alike"] + more
        better, worse = (differ + 798.48) / 2, (differ - 798.48) / 2
        cells = [[0, better], [worse, 0]]
        assert (mcnemar(cells, exact=False, correction=False).pvalue < 0.05) == significant
    assert ours["differ-most"] == 160_494 < ours["needed-alike"]
    draws = np.random.default_rng(0).normal(scale=ours["needed-std"], size=(2, 200_000))
    assert (abs(draws[0] - draws[1]) > 0.1).mean() == pytest.approx(0.05, abs=0.002)


def test_training(table):
    """5,086 full batches are 162,752 images; 18 are left."""
    expected = {
        "steps-both": 1_017_400,
        "budget": 2,
        "unused": 19_867,
    }
    assert table["ours"][list(expected)].round(3).to_dict() == expected


def test_weights_of_a_layer(table):
    """16 channels: the baseline has 16 * 16 * 9 weights."""
    plain, joined, fused = 16 * 16 * 9, 32 * 16 * 9, 32 * 16 + 16 * 16 * 9
    ours = table["ours"] * plain
    assert ours["weights-ours"] == pytest.approx(plain + 2 * joined)
    assert ours["weights-ours+cw"] == pytest.approx(plain + 2 * fused)
    assert ours["weights-streams-of-their-own"] == pytest.approx(3 * plain)


def test_the_frame_and_misprints(table):
    assert table["ours"]["aspect"] == pytest.approx((128 / 178) / (128 / 218))
    assert table["ours"]["aspect"] * table["ours"]["vertical"] == pytest.approx(1)
    assert table["explanation"]["misprints"] == "PANFA-l, LNet+ANet"
    assert table["ours"]["misprints"] == 2


def test_every_finding_has_a_name_of_its_own_and_a_reason(table):
    assert table.index.is_unique
    assert (table["explanation"] != "").all() and np.isfinite(table["ours"]).all()
    assert table["agrees"].isna().equals(table["paper"].isna())
