"""Notebook 03's tables, on records made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.engine.profiles import load_profile
from lib.transfer import analysis, trials
from lib.transfer.scores import SCORES


def tables():
    """Ten models of three networks of the medium plan, with accuracy as the normalised EMD says."""
    sizes = load_profile(trials.TransferStudy, "medium")
    families = tuple(replace(f, alone=()) for f in sizes.families[:3])
    sizes = replace(sizes, parts=(), families=families)
    fine, scores = [], []
    for place, scored in enumerate(trials.score_trials(sizes)):
        key = {"network": scored.source.architecture, "source": scored.source.name}
        key["target"] = "caltech101@medium"
        for seed in range(3):
            accuracy = 90 - 5 * place + seed
            fine.append(key | {
                "seed": seed, "best": accuracy, "chosen": accuracy - 1, "chance": 1.0,
                "best_epoch": 3, "reached": 1 + place, "curve": [accuracy / 2, accuracy],
            })  # fmt: skip
        row = key | {"images": 100, "outputs": 1000 if place < 5 else 20}
        row["source_word_coverage"] = 0.5
        for name, sign in SCORES.items():
            value = 100 - place if sign == 1 else 1 + place
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        scores.append(row)
    return sizes, pd.DataFrame(fine), pd.DataFrame(scores)


def test_tables_by_hand():
    sizes, fine, scores = tables()
    found = analysis.accuracies(fine)
    assert found["value"].tolist() == [91 - 5 * place for place in range(10)]
    # Student's t of 90, 91, 92: 4.303 / sqrt(3)
    assert (found["high"] - found["value"]).iloc[0] == pytest.approx(2.484, abs=1e-3)
    assert analysis.accuracies(fine[fine["seed"] == 0])["low"].isna().all()
    lines = analysis.curves(fine)
    assert lines.iloc[1][["epoch", "accuracy", "low", "high"]].tolist() == [2, 0.91, 0.9, 0.92]
    models = analysis.models(analysis.against_accuracy(fine, scores))
    assert models["emd"].tolist() == [-1 - place for place in range(10)]
    assert models[analysis.IMAGENET].tolist()[:3] == [0, 70.8, 70.8]
    assert "91.0 [88.5, 93.5]" in analysis.table_1(fine, scores)["max accuracy %"].tolist()
    ranks = analysis.rank_correlations(models, analysis.groups(sizes)).query("score in @SCORES")
    assert ranks["value"].to_numpy() == pytest.approx(1)
    lost = analysis.regrets(models, analysis.groups(sizes)).set_index(["score", "network", "pool"])
    assert lost.loc[("emd", "all", 3), "regret"] == lost.loc[("emd", "all", 5), "regret"] == 0
    # 5 points from one to the next: of three random ones of ten the best is 11 / 4 places above
    # their mean, as the largest of three of 1..10 is 33 / 4 and their mean 22 / 4
    assert lost.loc[(analysis.RANDOM, "all", 3), "regret"] == pytest.approx(0.05 * 11 / 4)
    # of five the largest is 55 / 6
    assert lost.loc[(analysis.RANDOM, "all", 5), "regret"] == pytest.approx(0.05 * 11 / 3)


def test_the_whole_target_counts_once_it_has_all_models():
    names = ["c/target2", "c/target1", "c"]
    rows = pd.DataFrame([(t, "n", s, 0) for t in names for s in "ab"] + [("c", "n", "a", 1)])
    rows.columns = [*analysis.MODEL, "seed"]
    assert analysis.of_whole(rows)["target"].tolist() == ["c"] * 3
    assert set(analysis.of_parts(rows)["target"]) == set(names[:2])
    grows = rows.query("not (target == 'c' and source == 'b')")
    assert set(analysis.of_whole(grows)["target"]) == {"c/target1"}


def test_every_target_and_seed_has_its_own_tau():
    """On the second target two neighbours of the ten models change places: 1 of 45 pairs."""
    _, fine, scores = tables()
    parts = []
    for target in ("c/target1", "c/target2"):
        best = fine["best"].copy()
        if target == "c/target2":
            best[:6] = best[[3, 4, 5, 0, 1, 2]].to_numpy()
        parts.append(fine.assign(target=target, best=best))
    parts[1] = parts[1][parts[1]["seed"] == 0]
    every = pd.concat([scores.assign(target=name) for name in ("c/target1", "c/target2", "c")])
    found = analysis.taus(pd.concat(parts), every).query("score == 'emd'")
    assert found[["target", "seed"]].to_numpy().tolist() == [
        ["c/target1", 0], ["c/target2", 0], ["c/target1", 1], ["c/target1", 2],
    ]  # fmt: skip
    assert found["tau"].tolist() == pytest.approx([1, 1 - 2 / 45, 1, 1])


@pytest.mark.parametrize("measure", analysis.MEASURES)
def test_ends_of_rank_correlations(measure):
    accuracy = np.array([3.0, 1.0, 2.0, 5.0])
    assert analysis.agreement(accuracy, accuracy, measure) == pytest.approx(1)
    assert analysis.agreement(-accuracy, accuracy, measure) == pytest.approx(-1)
    assert analysis.agreement(np.ones(4), accuracy, measure) == 0


def test_accuracy_of_a_choice_by_hand():
    """Pools of four models: 123, 124, 134, 234; the second row is a second seed."""
    accuracy = np.array([[50.0, 80, 90, 10], [10, 20, 30, 40]])
    score = np.array([3.0, 2, 1, 0])
    expected = [(50 + 50 + 50 + 80) / 4, (10 + 10 + 10 + 20) / 4]
    assert analysis.chosen_accuracy(score, accuracy).tolist() == expected
    assert analysis.chosen_accuracy(np.zeros(4), accuracy) == pytest.approx([57.5, 25])
    shared = (65 + 65 + 50 + 80) / 4  # the first two share the choice where both are there
    assert analysis.chosen_accuracy(np.array([1.0, 1, 0, 0]), accuracy[0]) == shared
