"""The tables behind the claims of notebook 05, on hand-made trials."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lib.image_weights import analysis


def student(arm, seed, accuracy, train=500, status="ok", direction="forward"):
    return {
        "arm": arm,
        "share": 0.0 if arm == "original" else 0.3,
        "direction": direction,
        "student": {"seed": seed, "train": train},
        "accuracy": accuracy,
        "status": status,
    }


@pytest.fixture
def runs():
    """Three seeds; the arm is better by 1, 2 and 3 points, though the seeds differ by more."""
    rows = []
    for seed, base in enumerate((60.0, 70.0, 80.0)):
        rows.append(student("original", seed, base))
        rows.append(student("generated", seed, base + 1 + seed))
        rows.append(student("generated", seed, base - seed, direction="reverse"))
        rows.append(student("original", seed, 20.0, train=60))
    rows.append(student("soft label", 0, 61.0))
    return analysis.arm_runs(pd.DataFrame([*rows, student("hard label", 0, 99.0, status="error")]))


def synthesis(label, kl, targets="mixture", network=("vgg5", 8, 0), **more):
    values = {name: [0.5] * len(kl) for name in analysis.PER_IMAGE}
    shared = {"label": label, "targets": targets, "kl": kl, "start_kl": [1.0] * len(kl)}
    shared |= {"teacher": dict(zip(("architecture", "width", "seed"), network, strict=True))}
    return values | shared | {"steps_to": [], "images_per_second": 1.0} | more


def test_runs_that_failed_are_left_out_and_arms_have_names(runs):
    names = {"original", "generated 30%", "generated 30%, KL(p||q)", "soft label 30%"}
    assert set(runs["arm"]) == names and len(runs) == 13


def test_differences_are_paired_by_seed_and_corrected_for_the_arms(runs):
    table = analysis.arms(runs)
    assert list(table.loc[table["images"] == 60, "mean"]) == [20.0], "another training set"
    table = table[table["images"] == 500].set_index("arm")
    row = table.loc["generated 30%"]
    theirs = stats.ttest_rel([61.0, 72.0, 83.0], [60.0, 70.0, 80.0])
    interval = theirs.confidence_interval()
    assert (row.n, row["mean"], row.difference) == (3, 72.0, 2.0)
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
    assert (row["std"], row.paired_std) == pytest.approx((11.0, 1.0))
    assert row.p == pytest.approx(theirs.pvalue)
    single = table.loc["soft label 30%"]
    assert (single.n, single.p) == (1, 1.0)
    others = table.drop("original")
    assert list(others.p_holm) == pytest.approx(list(multipletests(others.p, method="holm")[1]))
    assert np.isnan(table.p_holm["original"])


def test_images_have_a_row_each_and_trials_too():
    rows = [
        synthesis("SGD", [0.0101, 0.01], start_kl=[0.0, 0.4], steps_to=[-1, 7], rms=[1.0, 2.0]),
        synthesis("PGD, hard", [0.0, 0.2], local=[0.1, np.nan]),
    ]
    images, table = (make(pd.DataFrame(rows)) for make in (analysis.by_image, analysis.summary))
    assert list(images["way"]) == ["SGD"] * 2 + ["PGD, hard"] * 2
    assert list(images["image"]) == [0, 1, 0, 1] and set(images["network"]) == {"vgg5-8 0"}
    assert list(images["KL before"]) == [0.0, 0.4, 1.0, 1.0] and list(images["rms"][:2]) == [1, 2]
    sgd, attack = table.to_dict("records")
    assert (sgd["way"], sgd["target"], sgd["images"], sgd["rms"]) == ("SGD", "mixture", 2, 1.5)
    assert (sgd["reached before"], sgd["reached"], sgd["median steps"]) == (0.5, 0.5, 7)
    assert (attack["KL"], attack["reached before"], attack["local"]) == (0.1, 0.0, 0.1)
    assert np.isnan(attack["median steps"]) and attack["reached low"] < 0.5 < attack["reached high"]


def test_onlookers_are_shown_the_mixture():
    observers = [{"architecture": "vgg5", "width": 8, "seed": 1}]
    twin = {"vgg5-8 1: start_kl": [1.0, 3.0], "vgg5-8 1: kl": [1.1, 0.9], "observers": observers}
    rows = [synthesis(way, [0.2, 0.2], **twin) for way in ("SGD", "momentum", "PGD")]
    rows.append(synthesis("SGD", [0.9], "two", **twin | {"observers": []}))
    back = {"vgg5-8 0: start_kl": [1.0, 1.0], "vgg5-8 0: kl": [2.0, 2.0]}
    back |= {"observers": [{"architecture": "vgg5", "width": 8, "seed": 0}]}
    rows.append(synthesis("SGD", [0.4, 0.4], network=("vgg5", 8, 1), **back))
    table = analysis.onlookers(pd.DataFrame(rows), ["SGD", "momentum"])
    assert list(table["driven"]) == ["vgg5-8 0"] * 4 + ["vgg5-8 1"] * 2
    assert list(table["onlooker"]) == ["(itself)", "vgg5-8 1"] * 2 + ["(itself)", "vgg5-8 0"]
    assert list(table["value"]) == pytest.approx([0.8, 0.5, 0.8, 0.5, 0.6, -1])
    assert list(table) == ["driven", "way", "onlooker", "value", "low", "high", "n"]


def test_the_papers_table_is_the_papers():
    assert analysis.PAPER_ACCURACY[30] - analysis.PAPER_ACCURACY[0] == pytest.approx(0.084)
    others = [analysis.PAPER_ACCURACY[share] - 92.476 for share in (10, 20, 40, 50)]
    assert np.mean(others) == pytest.approx(-0.156)
