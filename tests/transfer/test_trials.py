"""Notebook 03's plan and its scoring, on drawn pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.engine.profiles import load_profile
from lib.engine.sweep import Context
from lib.transfer import trials
from lib.transfer.scores import SCORES
from lib.transfer.sources import Source, Task

BLANK = Source(architecture="vgg5", width=4, weights="", vocabulary="colours")
TARGET = Task(name="objects", size=32, train=80, test=20)
TRIAL = trials.ScoreTrial(source=BLANK, target=TARGET, words="scenes", draws=8)


@pytest.fixture
def context(tmp_path):
    return Context(torch.device("cpu"), artefacts=tmp_path)


def test_the_paper_profile_has_the_papers_six_sources():
    sizes = load_profile(trials.TransferStudy, "paper")
    for family in sizes.families:
        assert [source.name for source in trials.sources(sizes, family)] == [
            "no training", "imagenet", "imagenet & caltech256", "places365",
            "places365 & caltech256", "caltech256",
        ]  # fmt: skip
    recipe = sizes.recipe
    assert (recipe.epochs, recipe.lr, recipe.decay_every, recipe.decay) == (30, 1e-3, 7, 0.1)
    assert not recipe.frozen


def test_nothing_is_frozen_in_what_was_not_trained():
    sizes = load_profile(trials.TransferStudy, "medium")
    scratch = trials.sources(sizes, sizes.families[0])[-1]
    assert not scratch.stages[0].recipe.frozen
    assert trials.sources(sizes, sizes.families[0])[2].stages[0].recipe.frozen


def test_scores_of_a_source(context):
    found = trials.run_scores(TRIAL, context)
    assert found["images"] == 80
    assert found["outputs"] == 10
    for name in SCORES:
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["normalised_emd"] == pytest.approx(found["emd"] / found["uniform_emd"])
    assert found["shuffled_low"] <= found["shuffled"] <= found["shuffled_high"]
    assert found["target_class_coverage"] == 1
    assert found["own_normalised_emd"] == found["normalised_emd"], "every name has its own vector"
    assert (found["own_images"], found["own_outputs"]) == (80, 10)


def test_permuted_names_are_permuted_distances(context):
    """Against a whole score for each permutation."""
    bank = trials.load_bank(trials.BankTrial(source=BLANK, target=TARGET), context)
    arrays = {name: tensor.numpy() for name, tensor in bank.items()}
    distances, *_ = trials.named_distances(TRIAL, context)
    rng, values = np.random.default_rng(0), []
    for _ in range(trials.PERMUTATIONS):
        permuted = distances[rng.permutation(len(distances))]
        flows = arrays["probabilities"].astype(float) * permuted.T[arrays["labels"]]
        values.append(flows.sum() / distances.mean(0)[arrays["labels"]].sum())
    found = trials.run_scores(TRIAL, context)
    assert found["shuffled"] == pytest.approx(np.mean(values))


def test_halves_are_half_of_each_class(monkeypatch):
    """Sums count twice as much of a half; nine images of seventeen here."""
    labels, drawn = np.repeat([0, 1, 2], [10, 4, 3]), []

    def scores_of(places, labels, features, distances):
        drawn.append(places[:, 0].astype(int))
        return dict.fromkeys(SCORES, float(len(drawn)))

    monkeypatch.setattr(
        trials.scores, "all_scores", lambda probabilities, **rest: scores_of(probabilities, **rest)
    )
    arrays = {"probabilities": np.arange(17)[:, None], "features": np.eye(17), "labels": labels}
    found = trials.score_spread(arrays, np.ones((1, 3)), replace(TRIAL, draws=3))
    for half in drawn:
        assert np.bincount(labels[half]).tolist() == [5, 2, 2]
        assert len(set(half)) == 9
    assert found["knn"] == pytest.approx(1)  # of 1, 2 and 3
    assert found["emd"] == found["softmax"] == pytest.approx(17 / 9)


def test_a_class_without_a_word_is_named(context):
    trial = replace(TRIAL, source=replace(BLANK, vocabulary="cifar10"))
    with pytest.raises(ValueError, match=r"synonyms\.csv"):
        trials.run_scores(trial, context)
