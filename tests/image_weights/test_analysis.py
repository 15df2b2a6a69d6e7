"""The tables behind the claims of notebook 05, on hand-made trials."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.image_weights import analysis
from lib.image_weights.layer import Recipe
from lib.image_weights.trials import UNTIL_REACHED


def student(arm, seed, accuracy, share=0.3, status="ok", recipe=None):
    return {
        "arm": arm,
        "share": 0.0 if arm == "original" else share,
        "direction": "forward",
        "student": {"seed": seed},
        "generated": {"recipe": asdict(recipe or Recipe())},
        "accuracy": accuracy,
        "status": status,
    }


@pytest.fixture
def trials():
    """Three seeds; the arm is better by 1, 2 and 3 points, though the seeds differ by more."""
    rows = []
    for seed, base in enumerate((60.0, 70.0, 80.0)):
        rows.append(student("original", seed, base))
        rows.append(student("generated", seed, base + 1 + seed))
        rows.append(student("generated", seed, base - 1, recipe=UNTIL_REACHED))
    rows.append(student("soft label", 0, 61.0))
    return pd.DataFrame([*rows, student("hard label", 0, 99.0, status="error")])


def synthesis(label, kl, targets="mixture", **more):
    kl = list(kl)
    values = dict.fromkeys((*analysis.MEASURES, "largest_error", "in_order"), [0.5] * len(kl))
    shared = {"label": label, "targets": targets, "kl": kl, "start_kl": [1.0] * len(kl)}
    return values | shared | {"steps_to": [-1] * len(kl), "images_per_second": 1.0} | more


def test_runs_that_failed_are_left_out_and_arms_have_names(trials):
    runs = analysis.arm_runs(trials)
    names = {"original", "generated 30%", "generated 30%, reached", "soft label 30%"}
    assert set(runs["name"]) == names
    assert len(runs) == len(trials) - 1


def test_differences_are_paired_by_seed(trials):
    table = analysis.arms(analysis.arm_runs(trials)).set_index("arm")
    row = table.loc["generated 30%"]
    theirs = stats.ttest_rel([61.0, 72.0, 83.0], [60.0, 70.0, 80.0])
    interval = theirs.confidence_interval()
    assert (row.n, row["mean"], row.difference) == (3, 72.0, 2.0)
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
    assert row.p == pytest.approx(theirs.pvalue)
    assert row["std"] == pytest.approx(11.0)
    assert table.loc["soft label 30%"].n == 1 and np.isnan(table.loc["soft label 30%"].p)


def test_contrast_of_arms_and_of_their_mean(trials):
    runs = analysis.arm_runs(trials)
    pair = analysis.contrast(runs, "generated 30%", "generated 30%, reached")
    assert (pair.value, pair.n) == (3.0, 3)
    both = analysis.contrast(runs, ("generated 30%", "generated 30%, reached"))
    assert both.value == pytest.approx(0.5)
    only = analysis.contrast(runs, ("generated 30%", "soft label 30%"))
    assert (only.value, only.n) == (1.0, 1), "a seed that lacks an arm does not count"


def test_a_share_is_reached_within_the_tolerance():
    row = pd.Series(synthesis("SGD", [0.0, 0.0099, 0.01, 0.0101]))
    assert analysis.reached(row).value == 0.75


def test_summary_has_a_row_a_trial():
    rows = [synthesis("SGD", [0.1, 0.3], steps_to=[-1, 7]), synthesis("momentum", [0.0, 0.0])]
    table = analysis.summary(pd.DataFrame(rows)).set_index("way")
    assert table.loc["SGD", "KL"] == pytest.approx(0.2)
    assert table.loc["SGD", "median steps"] == 7
    assert np.isnan(table.loc["momentum", "median steps"])
    assert table.loc["momentum", "reached"] == 1


def test_one_finds_the_one_trial():
    table = pd.DataFrame([synthesis("SGD", [1.0]), synthesis("SGD", [2.0], targets="two")])
    assert analysis.one(table, "SGD", "two").kl == [2.0]
    with pytest.raises(ValueError):
        analysis.one(table, "momentum")


def test_drop_and_ratio_are_of_means():
    row = pd.Series(synthesis("SGD", [0.1, 0.3], start_kl=[1.0, 3.0]))
    assert analysis.drop(row).value == pytest.approx(0.9)
    row["twin 1: start_kl"], row["twin 1: kl"] = [1.0, 1.0], [2.0, 2.0]
    assert analysis.drop(row, "twin 1").value == pytest.approx(-1), "further away than before"
    estimate = analysis.ratio(row.kl, [0.2, 0.6])
    assert estimate.value == estimate.low == estimate.high == pytest.approx(0.5)


def test_history_share_knows_the_two_extremes():
    rng = np.random.default_rng(0)
    quiet, loud = (pd.Series({"fine": list(level + rng.random(50))}) for level in (1, 20))
    assert analysis.history_share(quiet, loud, loud).value == pytest.approx(1)
    assert analysis.history_share(quiet, loud, quiet).value == pytest.approx(0)
    middle = pd.Series(
        {"fine": list(np.sqrt(np.mean(quiet.fine) * np.mean(loud.fine)) * np.ones(50))}
    )
    assert analysis.history_share(quiet, loud, middle).value == pytest.approx(0.5)


def test_the_papers_table_is_the_papers():
    best = max(analysis.PAPER_ACCURACY, key=analysis.PAPER_ACCURACY.get)
    gain = analysis.PAPER_ACCURACY[best] - analysis.PAPER_ACCURACY[0]
    assert (best, round(gain, 3)) == (30, 0.084)
    others = [analysis.PAPER_ACCURACY[share] - 92.476 for share in (10, 20, 40, 50)]
    assert np.mean(others) == pytest.approx(-0.156)
