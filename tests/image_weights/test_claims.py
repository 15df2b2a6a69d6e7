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


def images(measure="fine", target="mixture", **ways):
    """Rows of the table of images: way -> (networks, images) of a measure."""
    return [
        {"network": network, "image": image, "way": way, "target": target, measure: value}
        for way, values in ways.items()
        for network, row in enumerate(np.atleast_2d(values))
        for image, value in enumerate(row)
    ]


def test_a_gain_is_over_the_most_frequent_class(saved):
    row = {"network": "driven", "accuracy": 80.0, "trivial_accuracy": 12.0, "tested": 50}
    found = analysis.gain(saved(classifiers=[row]), "driven")
    interval = stats.binomtest(40, 50).proportion_ci(0.95, method="wilson")
    assert (found.value, found.n) == (68.0, 50)
    assert (found.low, found.high) == pytest.approx(
        (100 * interval.low - 12, 100 * interval.high - 12)
    )
    weaker = row | {"accuracy": 40.0}
    tables = saved(classifiers=[row, weaker, weaker | {"network": "digits", "accuracy": 1.0}])
    assert analysis.gain(tables, "driven").value == 28.0, "the least of the driven ones"


def test_the_interval_of_what_is_reached_is_over_classifiers(saved):
    """Five classifiers, one of which brings no image there: Student's t of 1, 1, 1, 1, 0."""
    kl = np.full((5, 40), 0.01)
    kl[4] = 0.0101
    tables = saved(images=images("KL", SGD=kl) + images("KL", "random", SGD=[[0.5] * 4] * 5))
    found = analysis.reached(tables, "SGD")
    half = stats.t.ppf(0.975, 4) * np.std([1, 1, 1, 1, 0], ddof=1) / np.sqrt(5)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.8, 0.8 - half, 1, 5))
    assert analysis.reached(tables, "SGD", "random").value == 0


def test_all_images_reached_is_no_certainty(saved):
    """Then the spread is 0, and Wilson's interval of the images is left."""
    tables = saved(images=images("KL", SGD=np.zeros((3, 20))))
    found = analysis.reached(tables, "SGD")
    interval = stats.binomtest(20, 20).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((1, interval.low, 1))


def test_the_kl_that_is_gone_is_a_mean_of_classifiers(saved):
    """Of one it has grown by a half, of the other all but a quarter is gone."""
    rows = images("KL before", hard=[[2.0, 2.0], [1.0, 3.0]])
    for row, after in zip(rows, (3.0, 3.0, 0.5, 0.5), strict=True):
        row["KL"] = after
    found = analysis.kl_gone(saved(images=rows), "hard")
    assert (found.value, found.n) == (pytest.approx((-0.5 + 0.75) / 2), 2)


def test_two_kinds_of_onlookers(saved):
    """Two networks of one architecture, and a third of another; and one that no claim counts."""
    numbers = {"way": "SGD", "n": 9}
    rows = [
        ("resnet20 0", "(itself)", 0.9, 0.8, 1.0),
        ("resnet20 0", "vgg16 0", 0.1, 0.0, 0.3),
        ("vgg16 0", "vgg16 1", 0.2, 0.1, 0.3),
        ("vgg16 1", "vgg16 0", 0.4, 0.2, 0.5),
        ("vgg16 0", "resnet20 0", 0.3, 0.2, 0.4),
        ("vgg5 0", "resnet20 0", 0.9, 0.8, 1.0),
    ]
    counted = [{"network": name} for name in ("resnet20 0", "vgg16 0", "none")]
    columns = ("driven", "onlooker", "value", "low", "high")
    rows = [dict(zip(columns, row, strict=True)) | numbers for row in rows]
    watched = [*rows, rows[3] | {"way": "momentum", "value": 0.9}]
    tables = saved(onlookers=watched, images=counted)
    same, other = (analysis.seen(tables, same) for same in (True, False))
    assert (same.value, same.low, same.high, same.n) == pytest.approx((0.3, 0.1, 0.5, 2))
    assert (other.value, other.low, other.high, other.n) == pytest.approx((0.2, 0.0, 0.4, 2))
    with pytest.raises(Missing, match="no pair"):
        analysis.seen(saved(onlookers=rows[:2], images=counted), True)


def test_levels_ratios_and_differences_are_of_the_same_images(saved):
    """With one classifier the interval is that of the images."""
    tables = saved(images=images(SGD=[1, 2, 4], momentum=[2, 8, 8]))
    assert analysis.level(tables, "SGD", "fine", 3).value == pytest.approx(7)
    found = analysis.times(tables, "fine", "momentum", "SGD")
    assert found.value == pytest.approx((2 * 4 * 2) ** (1 / 3)) and found.log and found.n == 1
    found = analysis.more(tables, "fine", "momentum", "SGD")
    theirs = stats.ttest_rel([2, 8, 8], [1, 2, 4]).confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((11 / 3, *theirs))


def test_classifiers_count_beside_images(saved):
    """Images alike, classifiers apart: the interval is that of the classifiers."""
    tables = saved(images=images(SGD=[[1, 1, 1], [2, 2, 2], [6, 6, 6]]))
    found = analysis.level(tables, "SGD", "fine")
    half = stats.t.ppf(0.975, 2) * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert (found.value, found.high - 3, found.n) == pytest.approx((3, half, 3))


@pytest.mark.parametrize(("equal", "share"), [(1, 0), (16, 1), (4, 0.5), (2, 0.25)])
def test_the_share_of_the_history_is_one_of_logarithms(equal, share, saved):
    noise = np.array([[1.0, 1.5, 2.0], [3.0, 1.0, 1.0]])
    ways = {"SGD": noise, "momentum": 16 * noise, "momentum, lr / 10": equal * noise}
    found = analysis.history(saved(images=images(**ways)))
    assert (found.value, found.low, found.high) == pytest.approx((share,) * 3)
    assert found.n == 2


def test_label_errors_are_stored_with_their_interval(saved):
    row = {"seed": 0, "extra": 0.2, "low": 0.1, "high": 0.3, "count": 40}
    found = analysis.label_errors(saved(generated=[row, row | {"seed": 1, "extra": 0.9}]), 0)
    assert (found.value, found.low, found.high, found.n) == (0.2, 0.1, 0.3, 40)


def scores(**arms):
    """Arm -> accuracy of every seed."""
    return [
        {"arm": arm, "images": 500, "seed": seed, "accuracy": value}
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
    small = [row | {"images": 60} for row in scores(original=[0, 0], a=[9, 9], e=[0, 0])]
    tables = saved(scores=scores(**arms) + small)
    assert analysis.contrast(tables, ["a"]).value == 2, "the larger set alone"
    assert analysis.contrast(tables, ["e"]).n == 2
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
