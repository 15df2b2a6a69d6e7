"""Notebook 03's plan, scoring and tables: on drawn pictures, and on tables made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.engine.profiles import PROFILES
from lib.engine.sweep import Context, trial_key
from lib.ledger.claims import Ledger
from lib.transfer import analysis, claims, plan
from lib.transfer import score_trials as scoring
from lib.transfer.all_scores import SCORES
from lib.transfer.profile import TRANSFER_STUDY
from lib.transfer.sources import Source, Task

BLANK = Source(architecture="vgg5", width=4, weights="", vocabulary="colours")
TARGET = Task(name="objects", size=32, train=80, test=20)
TRIAL = scoring.ScoreTrial(source=BLANK, target=TARGET, words="scenes", draws=8)


@pytest.fixture
def context(tmp_path):
    return Context(torch.device("cpu"), artefacts=tmp_path)


def test_the_paper_profile_has_the_papers_six_sources():
    sizes = TRANSFER_STUDY["paper"]
    for family in sizes.families:
        assert [each.name for each in plan.sources(sizes, family)] == [
            "no training", "imagenet", "imagenet & caltech256", "places365",
            "places365 & caltech256", "caltech256",
        ]  # fmt: skip
    recipe = plan.recipe(sizes)
    assert (recipe.epochs, recipe.lr, recipe.decay_every, recipe.decay) == (30, 1e-3, 7, 0.1)
    assert not recipe.frozen


@pytest.mark.parametrize("profile", PROFILES)
def test_no_trial_comes_twice(profile):
    sizes = TRANSFER_STUDY[profile]
    keys = [trial_key(each) for each in plan.fine_tunings(sizes) + plan.scores(sizes)]
    assert len(set(keys)) == len(keys)


def test_nothing_is_frozen_in_what_was_not_trained():
    sizes = TRANSFER_STUDY["medium"]
    scratch = plan.sources(sizes, sizes.families[0])[-1]
    assert not scratch.stages[0].recipe.frozen
    assert plan.sources(sizes, sizes.families[0])[2].stages[0].recipe.frozen


def test_scores_of_a_source(context):
    found = scoring.run_scores(TRIAL, context)
    assert found["images"] == 80
    assert found["outputs"] == 10
    for name in SCORES:
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["normalised_emd"] == pytest.approx(found["emd"] / found["uniform_emd"])
    assert found["shuffled_low"] <= found["shuffled"] <= found["shuffled_high"]
    assert found["target_class_coverage"] == 1


def test_permuted_names_are_permuted_distances(context):
    """Against a whole score for each permutation."""
    bank = scoring.load_bank(scoring.BankTrial(source=BLANK, target=TARGET), context)
    arrays = {name: each.numpy() for name, each in bank.items()}
    distances, *_ = scoring.named_distances(TRIAL, context)
    rng, values = np.random.default_rng(0), []
    for _ in range(scoring.PERMUTATIONS):
        permuted = distances[rng.permutation(len(distances))]
        flows = arrays["probabilities"].astype(float) * permuted.T[arrays["labels"]]
        values.append(flows.sum() / distances.mean(0)[arrays["labels"]].sum())
    found = scoring.run_scores(TRIAL, context)
    assert found["shuffled"] == pytest.approx(np.mean(values))


def test_halves_are_half_of_each_class():
    labels = np.repeat([0, 1, 2], [10, 4, 3])
    half = scoring._half(labels, np.random.default_rng(0))
    assert np.bincount(labels[half]).tolist() == [5, 2, 2]
    assert len(set(half)) == len(half)


def tables():
    """Three networks' worth of the medium plan, with accuracy as the normalised EMD says."""
    sizes = TRANSFER_STUDY["medium"]
    fine, scores = [], []
    for place, (family, source) in enumerate(plan.all_sources(sizes)):
        key = {"network": family.architecture, "source": source.name}
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
    ranks = analysis.agreement(models, analysis.groups(sizes)).query("score in @SCORES")
    assert ranks["value"].to_numpy() == pytest.approx(1)
    lost = analysis.regrets(models, analysis.groups(sizes)).set_index(["score", "network"])
    assert lost.loc[("emd", "all"), "regret"] == 0
    assert lost.loc[(analysis.RANDOM, "all"), "regret"] == pytest.approx(0.225)


def test_claims_follow_the_tables():
    sizes, fine, scores = tables()
    models = analysis.models(fine, scores, 0.9)
    book = Ledger("03", profile="medium", dataset="x", device="CPU")
    claims.enter(book, claims.Results(sizes, fine, scores, models))
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


def test_ids_of_claims_are_those_of_every_profile():
    """Or a quick row would stand beside the medium one in the README."""
    from lib.engine.files import committed_reports

    ids = [
        pd.read_csv(committed_reports() / profile / "03_transfer_emd/claims.csv")["id"]
        for profile in ("quick", "medium")
    ]
    assert set(ids[0]) - set(ids[1]) == set()


def test_a_class_without_a_word_is_named(context):
    trial = replace(TRIAL, source=replace(BLANK, vocabulary="cifar10"))
    with pytest.raises(ValueError, match=r"synonyms\.csv"):
        scoring.run_scores(trial, context)
