"""Notebook 03's tables and claims, on records made by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from lib.engine.profiles import load_profile
from lib.ledger.claims import Ledger
from lib.transfer import analysis, trials
from lib.transfer.scores import SCORES


def tables():
    """Three networks' worth of the medium plan, with accuracy as the normalised EMD says."""
    sizes = load_profile(trials.TransferStudy, "medium")
    fine, scores = [], []
    for place, scored in enumerate(trials.score_trials(sizes)):
        key = {"network": scored.source.architecture, "source": scored.source.name}
        for seed in range(3):
            for momentum in sizes.momenta[: 1 + (seed == 0)]:
                accuracy = 90 - 5 * place + seed
                fine.append(key | {
                    "momentum": momentum, "seed": seed, "best": accuracy, "chosen": accuracy - 1,
                    "best_epoch": 3, "reached": 1 + place, "curve": [accuracy / 2, accuracy],
                })  # fmt: skip
        row = key | {"images": 100, "outputs": 1000 if place < 5 else 20,
                     "shuffled": 1.0, "shuffled_low": 0.9, "shuffled_high": 1.1}  # fmt: skip
        for name, sign in SCORES.items():
            value = 100 - place if sign == 1 else 1 + place
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        scores.append(row)
    return sizes, pd.DataFrame(fine), pd.DataFrame(scores)


def test_tables_by_hand():
    sizes, fine, scores = tables()
    found = analysis.accuracies(fine, 0.9)
    assert found["value"].tolist() == [91 - 5 * place for place in range(10)]
    # Student's t of 90, 91, 92: 4.303 / sqrt(3)
    assert (found["high"] - found["value"]).iloc[0] == pytest.approx(2.484, abs=1e-3)
    assert analysis.accuracies(fine, 0.0)["low"].isna().all()
    lines = analysis.curves(fine, 0.9)
    assert lines.iloc[1][["accuracy", "low", "high"]].tolist() == pytest.approx([0.91, 0.9, 0.92])
    models = analysis.models(fine, scores, 0.9)
    assert models["emd"].tolist() == [-1 - place for place in range(10)]
    assert models[analysis.IMAGENET].tolist()[:3] == [0, 70.8, 70.8]
    assert "91.0 [88.5, 93.5]" in analysis.table_1(fine, scores, 0.9)["max accuracy %"].tolist()
    ranks = analysis.rank_correlations(models, analysis.groups(sizes)).query("score in @SCORES")
    assert ranks["value"].to_numpy() == pytest.approx(1)
    lost = analysis.regrets(models, analysis.groups(sizes)).set_index(["score", "network"])
    assert lost.loc[("emd", "all"), "regret"] == 0
    assert lost.loc[(analysis.RANDOM, "all"), "regret"] == pytest.approx(0.225)


def test_claims_follow_the_tables():
    sizes, fine, scores = tables()
    models = analysis.models(fine, scores, 0.9)
    book = Ledger("03", profile="medium", dataset="x", device="CPU")
    analysis.enter_claims(book, analysis.Results(sizes, fine, scores, models))
    found = book.table().set_index("id")
    assert found.loc["softmax-all", "verdict"] == "reproduced"
    assert found.loc["emd-softmax", "our_value"] == 0
    assert found.loc["early-emd", "verdict"] == "reproduced"
    assert found.loc["regret-emd", "verdict"] == "reproduced"
    # imagenet is second, birds & VOC fifth: 15 points; ImageNet & VOC third: -5
    assert found.loc["generality", "our_value"] == pytest.approx(15)
    assert found.loc["stage", "our_value"] == pytest.approx(-5)
    assert found.loc["stage", "verdict"] == "contradicted"
    assert found.loc["alike", "our_value"] == pytest.approx(-25)
    assert found.loc["flattery", "our_value"] == pytest.approx(1)
    # birds are fourth and the untrained network first: 4 - 1, ends sqrt(2) * 0.1 away
    assert found.loc["unrelated", "our_value"] == 3
    assert found.loc["unrelated", "ci_low"] == pytest.approx(3 - 0.1414, abs=1e-4)
    assert found.loc["counts", "our_value"] == pytest.approx(0.95)
    assert found.loc["counts", "verdict"] == "contradicted"
