"""Effect sizes and intervals against scipy, statsmodels and hand-made cases."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats as scipy_stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from lib.ledger.estimates import (
    Estimate,
    bootstrap,
    crossed_interval,
    eta_null,
    eta_squared,
    holm,
    mean_interval,
    partial_eta_squared,
    ratio_interval,
    redraw_within,
    runs_needed,
    share_interval,
    spearman,
    spearman_within,
)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    depth = rng.integers(1, 6, 90)
    slc = np.minimum(rng.integers(0, 5, 90), depth)
    y = 0.3 * slc + 0.1 * depth + rng.normal(size=90)
    return pd.DataFrame({"depth": depth, "slc": slc, "y": y})


def test_eta_squared_is_the_anova_ratio(rows):
    squares = anova_lm(smf.ols("y ~ C(depth)", rows).fit())["sum_sq"]
    expected = squares["C(depth)"] / squares.sum()
    assert eta_squared(rows, "y", "depth") == pytest.approx(expected, rel=1e-9)


def test_eta_squared_at_its_ends():
    rows = pd.DataFrame({"g": [0, 0, 1, 1], "same": [1.0, 1, 3, 3], "none": [1.0, 3, 1, 3]})
    assert eta_squared(rows, "same", "g") == pytest.approx(1)
    assert eta_squared(rows, "none", "g") == pytest.approx(0)


def test_partial_eta_squared_is_type_two(rows):
    squares = anova_lm(smf.ols("y ~ C(depth) + C(slc)", rows).fit(), typ=2)["sum_sq"]
    for factor, given in (("slc", "depth"), ("depth", "slc")):
        effect = squares[f"C({factor})"]
        expected = effect / (effect + squares["Residual"])
        assert partial_eta_squared(rows, "y", factor, given) == pytest.approx(expected, rel=1e-8)


def test_partial_eta_squared_of_what_is_explained_already_is_zero():
    rows = pd.DataFrame({"a": [0, 1, 2, 0], "b": [0, 1, 2, 1], "y": [1.0, 2, 5, 1]})
    assert partial_eta_squared(rows, "y", "b", "a") == 0


def test_eta_null_is_what_shuffled_labels_give(rows):
    rng = np.random.default_rng(1)
    shuffled = [
        eta_squared(rows.assign(depth=rng.permutation(rows.depth)), "y", "depth")
        for _ in range(2000)
    ]
    assert np.mean(shuffled) == pytest.approx(eta_null(rows, "depth"), abs=0.004)


def test_bootstrap_agrees_with_scipy(rows):
    ours = bootstrap(lambda r: r.y.mean(), rows, draws=4000)
    theirs = scipy_stats.bootstrap(
        (rows.y.to_numpy(),), np.mean, method="percentile", n_resamples=4000, rng=0
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.03)
    assert ours.value == pytest.approx(rows.y.mean())
    assert ours.n == 90


def test_bootstrap_refuses_a_statistic_that_is_mostly_undefined(rows):
    with pytest.raises(ValueError, match="undefined in 50 of 50"):
        bootstrap(lambda r: np.nan, rows, draws=50)


def test_mean_interval_is_students():
    values = np.array([1.0, 2, 4, 8])
    ours = mean_interval(values)
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert mean_interval([3.0]).high == np.inf


def test_spearman_within_sees_through_simpsons_paradox():
    """Inside each group x and y fall together; between the groups they rise."""
    rows = pd.DataFrame({"g": np.repeat([0, 1, 2], 10), "x": np.arange(30.0)})
    rows["y"] = rows.g * 100 - rows.x
    assert scipy_stats.spearmanr(rows.x, rows.y).statistic > 0.6
    assert spearman_within(rows, "x", "y", "g") == pytest.approx(-1)


def test_spearman_is_scipys(rows):
    """With many ties, as depth and SLC have them."""
    expected = scipy_stats.spearmanr(rows.depth, rows.slc).statistic
    assert spearman(rows, "depth", "slc") == pytest.approx(expected, rel=1e-12)


def test_spearman_within_one_group_is_spearman(rows):
    expected = scipy_stats.spearmanr(rows.depth, rows.y).statistic
    ours = spearman_within(rows.assign(g=0), "depth", "y", "g")
    assert ours == pytest.approx(expected, rel=1e-9)


def test_redraw_within_keeps_to_the_group(rows):
    drawn = redraw_within(rows.y, rows.depth, np.random.default_rng(0))
    for depth, part in rows.assign(drawn=drawn).groupby("depth"):
        assert set(part.drawn) <= set(part.y), depth
    assert not np.array_equal(drawn, rows.y)


@pytest.mark.parametrize("successes", [0, 3, 117, 120])
def test_share_interval_is_wilsons(successes):
    ours = share_interval(successes, 120)
    expected = proportion_confint(successes, 120, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(expected, abs=1e-12)
    assert ours.value == successes / 120 and ours.n == 120


@pytest.mark.parametrize("std", [0.05, 0.10, 0.40, 1.0])
def test_runs_needed_are_as_many_as_statsmodels_asks_for(std):
    runs = TTestPower().solve_power(0.084 / std, power=0.8, alpha=0.05)
    assert runs_needed(0.084, std) == min(np.ceil(runs), 1001)


def test_runs_that_never_differ_need_two():
    assert runs_needed(0.1, 0.0) == 2


@pytest.mark.parametrize(("difference", "std"), [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_no_number_of_runs(difference, std):
    with pytest.raises(ValueError, match="no number of runs"):
        runs_needed(difference, std)


def test_ratios_have_the_interval_of_their_logarithms():
    over, under = np.array([1.0, 2.0, 4.0]), np.array([2.0, 1.0, 2.0])
    found = ratio_interval(over, under)
    logs = np.log(over / under)
    expected = scipy_stats.t.interval(0.95, 2, logs.mean(), scipy_stats.sem(logs))
    assert found.value == pytest.approx(2 ** (1 / 3))  # of 1/2, 2 and 2
    assert [found.low, found.high] == pytest.approx(np.exp(expected))
    assert found.low > 0 and found.log and found.n == 3
    with pytest.raises(ValueError, match="above 0"):
        ratio_interval(over, np.array([1.0, 0.0, 1.0]))


def test_p_and_spread_of_an_interval_are_those_of_its_t_test():
    values = np.random.default_rng(0).normal(0.4, 1, 9)
    found = mean_interval(values)
    assert found.p_of(0.1) == pytest.approx(scipy_stats.ttest_1samp(values, 0.1).pvalue)
    assert found.std == pytest.approx(values.std(ddof=1))
    ratio = ratio_interval(np.exp(values), np.ones(9))
    assert ratio.p_of(np.exp(0.1)) == pytest.approx(found.p_of(0.1))
    assert mean_interval(values[:1]).p_of(0) == 1
    assert Estimate(0.5, 0, 1, 6, p=0.03).p_of(0) == 0.03


def test_holm_is_statsmodels():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.8])
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    assert holm([]).size == 0


def test_crossed_interval_of_one_run_is_the_items():
    values = np.random.default_rng(0).exponential(size=(1, 80))
    found = crossed_interval(values)
    expected = scipy_stats.t.interval(0.95, 79, values.mean(), scipy_stats.sem(values[0]))
    assert (found.value, found.n) == (values.mean(), 1)
    assert [found.low, found.high] == pytest.approx(expected)
    # runs that all say the same are one
    same = crossed_interval(np.repeat(values, 4, 0))
    assert [same.low, same.high, same.n] == pytest.approx([*expected, 4])


def test_crossed_interval_without_differences_of_items_is_the_runs():
    runs = np.random.default_rng(0).normal(size=(5, 1))
    found = crossed_interval(runs + np.zeros((5, 300)))
    expected = scipy_stats.t.interval(0.95, 4, runs.mean(), scipy_stats.sem(runs[:, 0]))
    assert [found.low, found.high] == pytest.approx(expected)
    constant = crossed_interval(np.full((3, 7), 0.5))
    assert (constant.low, constant.value, constant.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("runs", "of_runs", "of_rest"), [(3, 0.0, 0.5), (3, 1.0, 1.0), (5, 1.0, 0.2), (12, 0.5, 0.5)]
)
def test_crossed_interval_covers_the_mean(runs, of_runs, of_rest):
    """95 % intervals of simulated runs on the same items; a bootstrap of three covers 80 %."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        values = rng.normal(size=(1, 60)) + of_rest * rng.normal(size=(runs, 60))
        found = crossed_interval(values + of_runs * rng.normal(size=(runs, 1)))
        covered += found.low <= 0 <= found.high
    assert 0.9 <= covered / 400 < 0.995
