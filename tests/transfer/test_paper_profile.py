"""Notebook 03's paper profile, walked through at its real counts and sizes: see ``walk``."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from walk import GIB, Walk, patched

from lib.data.labelled import Labelled
from lib.data.words import ClassVectors
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context
from lib.networks.sources import TRAINED_ON
from lib.transfer import sources
from lib.transfer import trials as study
from lib.transfer.audit import FOLDERS

WORKING = 4  # GiB that a trial may take beside the data
PAPER = load_profile(study.TransferStudy, "paper")
CONTEXT = Context(torch.device("cpu"))
TESTS = int((FOLDERS // 4).sum())
COUNTS = {  # training and test images, classes
    "caltech101": (int(FOLDERS.sum()) - TESTS, TESTS, len(FOLDERS)),
    "caltech256": (23_050, 7_557, 257),
}
SOURCES = {
    f"{family.architecture}, {source.name}": (source, scored.target)
    for family in PAPER.families
    for source in study.sources(PAPER, family)
    for scored in study.score_trials(PAPER)
    if scored.source == source
}
WITHOUT = [trial for trial in study.fine_tunings(PAPER) if trial.recipe.momentum == 0]


@cache
def task_data(task, context):
    train, test, classes = COUNTS[task.name]
    assert (task.train, task.test, task.size) == (0, 0, 224)
    parts = []
    for count in (train, test):
        parts += [torch.empty(count, 3, 224, 224, dtype=torch.uint8)]
        parts += [torch.empty(count, dtype=torch.int64)]
    return Labelled(*parts, tuple(f"class {place}" for place in range(classes)))


def load():
    for name in COUNTS:
        size = PAPER.families[0].size
        task_data(sources.Task(name=name, size=size), CONTEXT)


@pytest.fixture(scope="module")
def walk():
    task_data.cache_clear()
    walk, train = Walk(load), sources.train

    def one_step(network, loss, batches, *, steps, observe, **options):
        """One step is like another; two epochs end with it, as a list may be asked for its 1."""
        assert steps == len(batches) * PAPER.recipe.epochs

        def ends(_):
            observe(len(batches))
            observe(2 * len(batches))

        return train(network, loss, batches, steps=1, observe=ends, **options)

    def names(vocabulary, root):
        return tuple(f"name {place}" for place in range(TRAINED_ON[vocabulary]))

    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        patch.setattr(sources, "train", one_step)
        patch.setattr(sources, "class_names", names)
        patch.setattr(sources, "load_published", lambda *_: None)
        for module in (sources, study):
            patch.setattr(module, "artefact", walk.artefact)
            patch.setattr(module, "task_data", task_data)
        yield walk
    task_data.cache_clear()


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_made_tuned_and_described(name, walk):
    source, target = SOURCES[name]
    with walk.working():
        outputs = sources.run_source(source, CONTEXT)["outputs"]
        trial = study.FineTuneTrial(source=source, target=target, recipe=PAPER.recipe)
        record = study.run_fine_tuning(trial, CONTEXT)
        bank = study.load_bank(study.BankTrial(source=source, target=target), CONTEXT)
    assert (record["train_images"], record["test_images"]) == (6_903, 2_241)
    width = 4096 if source.architecture == "alexnet" else 512
    assert bank["probabilities"].shape == (6_903, outputs) and bank["labels"].shape == (6_903,)
    assert bank["features"].shape == (6_903, width)
    assert outputs == (257 if source.stages else TRAINED_ON[source.weights or "imagenet"])
    assert walk.gib < WORKING


def test_without_momentum(walk):
    """The longest way to a source: a base, the task in between, the target."""
    (trial,) = (each for each in WITHOUT if each.source.name == "imagenet & caltech256")
    with walk.working():
        assert study.run_fine_tuning(trial, CONTEXT)["train_images"] == 6_903
    assert walk.gib < WORKING


def test_scores_of_all_images(monkeypatch):
    """ResNet-18's width; numbers take the place of a bank and of word vectors."""
    train, _, classes = COUNTS["caltech101"]
    rng = np.random.default_rng(0)
    odds = rng.random((train, 1000), dtype=np.float32) ** 8
    bank = {
        "probabilities": torch.from_numpy(odds / odds.sum(1, keepdims=True)),
        "features": torch.from_numpy(rng.random((train, 512), dtype=np.float32)),
        "labels": torch.from_numpy(rng.permutation(np.arange(train) % classes)),
    }

    def vectors(count):
        own = np.arange(count) % 3 > 0
        return ClassVectors(("name",) * count, np.zeros((count, 2)), (), 1.0, 1.0, own)

    named = rng.random((1000, classes)), vectors(1000), vectors(classes)
    monkeypatch.setattr(study, "load_bank", lambda trial, context: bank)
    monkeypatch.setattr(study, "named_distances", lambda trial, context: named)
    trial = replace(study.score_trials(PAPER)[-1], draws=2)
    tracemalloc.start()
    record = study.run_scores(trial, CONTEXT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record["images"] == 6_903 and record["own_outputs"] == 666
    assert 0.9 < record["own_normalised_emd"] < 1.1
    assert all(np.isfinite(value) for value in record.values()) and peak < WORKING * GIB
