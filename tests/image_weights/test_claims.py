"""The quantities of notebook 05's claims on small tables, and the paper's numbers in its rules."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.image_weights import analysis
from lib.ledger.claims import judge_run, load_claims, parse_rule
from lib.ledger.tables import Missing, Tables

STUDY = load_claims("lib.image_weights")
SEEDS = range(3)


@pytest.fixture
def saved(tmp_path):
    """A function that saves tables and returns what reads them."""

    def save(**tables):
        (tmp_path / "tables").mkdir(exist_ok=True)
        for name, table in tables.items():
            pd.DataFrame(table).to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
        return Tables(tmp_path)

    return save


def images(**ways):
    """Rows of the table of images: way -> fine."""
    return [{"way": way, "fine": value} for way, values in ways.items() for value in values]


def test_a_gain_is_over_the_most_frequent_class(saved):
    row = {"network": "driven", "accuracy": 80.0, "trivial_accuracy": 12.0, "tested": 50}
    found = analysis.gain(saved(classifiers=[row]), "driven")
    interval = stats.binomtest(40, 50).proportion_ci(0.95, method="wilson")
    assert (found.value, found.n) == (68.0, 50)
    assert (found.low, found.high) == pytest.approx(
        (100 * interval.low - 12, 100 * interval.high - 12)
    )


def test_classifiers_are_the_unit_of_what_is_reached(saved):
    rows = [{"way": "SGD", "reached": share, "reached before": 0.1} for share in (0.9, 0.6, 0.0)]
    tables = saved(reached=[*rows, {"way": "until reached", "reached": 1.0}])
    found = analysis.reached(tables, "SGD")
    half = stats.t.ppf(0.975, 2) * np.std([0.9, 0.6, 0.0], ddof=1) / np.sqrt(3)
    assert (found.value, found.high - 0.5, found.n) == pytest.approx((0.5, half, 3))
    assert analysis.reached(tables, "SGD", "reached before").value == pytest.approx(0.1)


def test_images_are_the_unit_for_another_target(saved):
    row = {"way": "until reached", "images": 128, "reached before": 0.0}
    tables = saved(
        ways=[row | {"target": "random", "reached": 0.9375}, row | {"target": "two", "reached": 1}]
    )
    found = analysis.target_reached(tables, "random")
    interval = stats.binomtest(120, 128).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.n) == pytest.approx((0.9375, interval.low, 128))
    assert analysis.target_reached(tables, "random", "reached before").value == 0


def test_the_kl_that_is_gone(saved):
    tables = saved(images=[{"way": "PGD, hard", "KL before": 2.0, "KL": 3.0}] * 4)
    assert analysis.kl_gone(tables, "PGD, hard").value == -0.5


@pytest.mark.parametrize("pair", [("vgg16 0", "vgg16 1"), ("vgg5 0", "vgg5 1")])
def test_two_kinds_of_onlookers_at_the_same_images(pair, saved):
    """The pair may be driven or come second; the classifier without a twin is not asked."""
    numbers = {"way": "SGD", "low": 0.0, "high": 1.0, "n": 9}
    rows = [
        ("resnet20 0", "(itself)", 0.9),
        ("resnet20 0", pair[0], 0.8),
        (pair[0], "(itself)", 0.7),
        (pair[0], pair[1], 0.2),
        (pair[0], "resnet20 0", 0.1),
    ]
    rows = [{"driven": a, "onlooker": b, "value": value, **numbers} for a, b, value in rows]
    tables = saved(onlookers=[*rows, rows[3] | {"way": "momentum"}])
    assert [analysis.seen(tables, same).value for same in (True, False)] == [0.2, 0.1]
    assert analysis.seen(tables, True).n == 9
    with pytest.raises(Missing, match="0 rows"):
        analysis.seen(saved(onlookers=rows[:2]), True)


def test_levels_ratios_and_differences_are_of_the_same_images(saved):
    tables = saved(images=images(SGD=[1, 2, 4], momentum=[2, 8, 8]))
    assert analysis.level(tables, "SGD", "fine", 3).value == pytest.approx(7)
    found = analysis.times(tables, "fine", "momentum", "SGD")
    assert found.value == pytest.approx((2 * 4 * 2) ** (1 / 3)) and found.log and found.n == 3
    found = analysis.more(tables, "fine", "momentum", "SGD")
    theirs = stats.ttest_rel([2, 8, 8], [1, 2, 4]).confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((11 / 3, *theirs))


@pytest.mark.parametrize(("equal", "share"), [(1, 0), (16, 1), (4, 0.5), (2, 0.25)])
def test_the_share_of_the_history_is_one_of_logarithms(equal, share, saved):
    noise = np.array([1.0, 1.5, 2.0])
    ways = {"SGD": noise, "momentum": 16 * noise, "momentum, lr / 10": equal * noise}
    found = analysis.history(saved(images=images(**ways)))
    assert (found.value, found.low, found.high) == pytest.approx((share,) * 3)


def test_label_errors_are_stored_with_their_interval(saved):
    row = {"way": "SGD, 100", "extra": 0.2, "low": 0.1, "high": 0.3, "count": 40}
    found = analysis.label_errors(
        saved(generated=[row, row | {"way": "until reached"}]), row["way"]
    )
    assert (found.value, found.low, found.high, found.n) == (0.2, 0.1, 0.3, 40)


def scores(**arms):
    """Arm -> accuracy of every seed."""
    return [
        {"arm": arm, "seed": seed, "accuracy": value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]


def test_arms_are_compared_seed_by_seed(saved):
    arms = {"original": [60, 70, 80], "a": [61, 72, 83], "b": [61, 74], "c": [60, 70, 80]}
    tables = saved(scores=scores(**arms))
    found = analysis.contrast(tables, ["a"])
    theirs = stats.ttest_rel(arms["a"], arms["original"]).confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((2, *theirs))
    found = analysis.contrast(tables, ["a", "b"], "c")
    assert (found.value, found.n) == (2.0, 2), "1 and 3: a seed that lacks an arm does not count"
    with pytest.raises(Missing, match="no arm d"):
        analysis.contrast(tables, ["d"])


def test_the_trend_of_the_papers_means_is_the_printed_one(saved):
    """Three seeds around the paper's means, whose own slopes are -0.0318 and 1 beside it."""
    arms = {
        f"generated {share}%" if share else "original": [
            mean + shift * share / 10 for shift in (-1, 0, 1)
        ]
        for share, mean in analysis.PAPER_ACCURACY.items()
    }
    found = analysis.trend(saved(scores=scores(**arms)))
    slope = stats.linregress(range(6), list(analysis.PAPER_ACCURACY.values())).slope
    assert (found.value, found.n) == (pytest.approx(slope), 3)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) / np.sqrt(3))
    (claim,) = (claim for claim in STUDY.claims if claim.id == "trend")
    assert claim.printed == (pytest.approx(slope, abs=5e-5),)


def test_the_papers_own_numbers_pass_its_rules():
    fails = {
        claim.id
        for claim in STUDY.claims
        if claim.printed and not all(map(parse_rule(claim.rule).holds, claim.printed))
    }
    assert fails == set()
    assert {claim.id for claim in STUDY.claims if claim.printed} == {
        "gain-30",
        "loss-others",
        "trend",
    }


def test_no_constant_trivial_answer_passes_its_rule():
    for claim in STUDY.claims:
        numbers = [value for value in claim.trivial.values() if not isinstance(value, dict)]
        assert claim.trivial and not any(map(parse_rule(claim.rule).holds, numbers)), claim.id


def test_a_run_without_tables_is_judged_as_one_that_awaits_them(tmp_path):
    ledger = judge_run("lib.image_weights", tmp_path, "quick")
    assert set(ledger["comparable"]) == {"awaits its records"} and not ledger["finding"].any()
    assert 5 <= ledger["headline"].sum() <= 8
