"""The tables behind the claims of notebook 01, on hand-made records."""

import numpy as np
import pandas as pd
import pytest
import torch
from stream_records import NAMES, record

from lib.continual import analysis, plan
from lib.ledger.claims import above, below
from lib.ledger.estimates import Estimate

BETTER = {1: 20.0, 2: 40.0, 3: 500.0, 4: 1e5, 5: 2e5}  # right after a task was learned
NOTHING = np.array([5.0, 10.0, 700.0, 3e5, 3e5])


@pytest.fixture
def trials():
    """Piggyback forgets nothing; fine-tuning halves T1 with T2 and loses all of T3's gain."""
    rows = []
    for seed in (0, 1):
        rows.append(record("scratch", 1, seed, {1: 20.0 + seed}))
        learned = {1: 20.0 + seed}
        for task in (2, 3, 4, 5):
            learned = learned | {task: BETTER[task] + seed}
            rows.append(record("piggyback", task, seed, learned))
            rows.append(record("scratch", task, seed, {task: BETTER[task] / 2}))
        rows.append(record("fine-tune", 2, seed, {1: 10.0, 2: 30.0}))
        rows.append(record("fine-tune", 3, seed, {1: 8.0, 2: 10.0, 3: 600.0}))
        rows.append(record("fine-tune", 4, seed, {1: 8.0, 2: 10.0, 3: 900.0, 4: 2e5}))
    rows.append(record("piggyback", 2, 0, {2: 99.0}, norms="frozen", alone=True))
    rows.append(record("piggyback", 2, 1, {2: 77.0}, status="error"))
    return pd.DataFrame(rows)


@pytest.fixture
def rows(trials):
    return analysis.scores(trials)


def test_a_number_is_found_by_method_task_and_seed(rows):
    assert analysis.pick(rows, "piggyback", 2).to_dict() == {0: 40.0, 1: 41.0}
    assert analysis.pick(rows, "fine-tune", 1, after=2).to_dict() == {0: 10.0, 1: 10.0}


def test_task_1_of_a_unet_method_is_the_bases(rows):
    for method in ("piggyback", "fine-tune", "decoder"):
        assert analysis.pick(rows, method, 1).to_dict() == {0: 20.0, 1: 21.0}
    assert analysis.pick(rows, "resblock", 1).empty


def test_controls_and_failures_are_kept_out_of_the_main_table(rows):
    assert 99.0 not in set(analysis.pick(rows, "piggyback", 2))
    assert 77.0 not in set(rows["value"])
    control = analysis.pick(rows, "piggyback", 2, norms="frozen", alone=True)
    assert control.to_dict() == {0: 99.0}


def test_forgetting_by_hand(rows):
    matrix = analysis.forgetting(rows, "fine-tune")
    assert matrix[0, 0] == 20.5 and matrix[1, :2].tolist() == [10.0, 30.0]
    assert np.isnan(matrix[0, 1]) and np.isnan(matrix[4]).all()
    kept = analysis.kept(matrix, NOTHING)
    # T1: (10 - 5) / (20.5 - 5); T3: 900 is worse than the 700 of doing nothing
    assert kept[1, 0] == pytest.approx(5 / 15.5)
    assert kept[3, 2] == 0 and kept[2, 2] == 1
    assert kept[3, 3] == 1 and np.isnan(kept[4, 4])


def test_a_task_that_was_never_better_than_nothing_has_nothing_to_lose():
    matrix = np.full((5, 5), np.nan)
    matrix[0, 0], matrix[1, :2] = 4.0, (4.0, 40.0)
    kept = analysis.kept(matrix, NOTHING)
    assert np.isnan(kept[:2, 0]).all() and kept[1, 1] == 1


def test_the_largest_change_is_zero_only_if_nothing_changes(rows):
    still = analysis.largest_change(rows, "piggyback")
    assert (still.value, still.low, still.high, still.n) == (0, 0, 0, 20)
    assert analysis.largest_change(rows, "fine-tune").value == 300  # T3 after T4


def test_ratios_and_differences_are_paired_by_seed(rows):
    a, b = (analysis.pick(rows, method, 3) for method in ("piggyback", "scratch"))
    assert analysis.ratio(a, b).value == pytest.approx((500 / 250 + 501 / 250) / 2)
    assert analysis.difference(a, b).value == pytest.approx(250.5)
    assert analysis.ratio(a, b[:1]).n == 1


@pytest.mark.parametrize(
    ("rule", "found", "idle", "loss", "verdict"),
    [
        (below(1.1), 1.0, 1.5, False, "reproduced"),  # as good as the best, unlike a blank
        (below(1.1), 1.0, 1.05, False, "not tested at this scale"),  # a blank is as good
        (below(1.1), 1.3, 1.05, False, "contradicted"),  # worse than a blank is an answer
        (below(0.5), 0.2, 0.1, True, "reproduced"),  # all is lost
        (below(0.5), 0.9, 0.1, True, "contradicted"),  # most is left
        (below(0.5), 0.9, 0.9, True, "not tested at this scale"),  # there was nothing to lose
        (above(1.5), 9.0, 1.1, True, "reproduced"),  # worse than a blank: lost all the same
    ],
)
def test_what_doing_nothing_would_get_as_well_is_no_verdict(rule, found, idle, loss, verdict):
    estimate = Estimate(found, found - 0.01, found + 0.01, 3)
    rule = analysis.guarded(rule, estimate, idle, loss=loss)
    assert rule.verdict(estimate, "medium") == verdict


def test_the_best_baseline_is_the_highest_miou_and_the_lowest_loss(rows):
    assert analysis.best_baseline(rows, 2) == "fine-tune"  # 30 to 20
    assert analysis.best_baseline(rows, 3) == "scratch"  # 250 to 600


def test_table_2_has_every_method_and_says_what_doing_nothing_gives(rows):
    trivial = {task: {NAMES[task]: NOTHING[task - 1]} for task in NAMES}
    table = analysis.table_2(rows, trivial).set_index(["task", "method"])
    assert len(table) == 5 * len(plan.STREAMS)
    row = table.loc[(2, "piggyback")]
    assert (row["mean"], row["n"], row["nothing"]) == (40.5, 2, 10.0)
    assert row["std"] == pytest.approx(np.sqrt(0.5))
    assert table.loc[(5, "decoder"), "n"] == 0


def test_masks_are_compared_inside_a_seed_only():
    ones, halves = torch.ones(8, dtype=torch.bool), torch.arange(8) % 2 == 0
    masks = {(0, "a"): {"l": halves}, (0, "b"): {"l": ~halves}, (1, "a"): {"l": ones}}
    pairs = analysis.compare_masks(masks, draws=99)
    assert len(pairs) == 1 and pairs.agreement[0] == 0 and pairs.kappa[0] == -1
    assert analysis.kappas(pairs, "b", "a").to_dict() == {0: -1.0}


def test_zero_rates_by_layer_and_their_mean():
    rates = {"decoder.conv9_2.conv": 0.6, "encoder.conv1_1.conv": 0.2, "decoder.up-conv1": 0.4}
    plain = record("piggyback", 2, 3, {2: 1.0}, zero_rates=rates)
    other = record("piggyback", 2, 3, {2: 1.0}, zero_rates=rates, shuffled=True, alone=True)
    trials = pd.DataFrame([plain, other, record("scratch", 2, 3, {2: 1.0})])
    layers = analysis.zero_rate_rows(trials)
    assert len(layers) == 6
    ordered = layers[~layers.shuffled].sort_values("place").layer.tolist()
    assert ordered == ["conv1_1", "up-conv1", "conv9_2"]
    assert analysis.zero_share(trials, "piggyback", 2).to_dict() == pytest.approx({3: 0.4})
    assert analysis.zero_share(trials, "piggyback", 4).empty
