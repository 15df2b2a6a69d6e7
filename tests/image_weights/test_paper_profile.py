"""Notebook 05's paper profile, walked through at its real counts and sizes: see ``walk``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from walk import Walk, patched

from lib.data.labelled import CIFAR10_CLASSES, Labelled
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context
from lib.image_weights import classifiers
from lib.image_weights import trials as study
from lib.image_weights.layer import Recipe, UntilReached
from lib.image_weights.synthesis import TARGETS, Attack

WORKING = 4  # GiB that a trial may take beside the data
PAPER = load_profile(study.ImageWeightStudy, "paper")
CONTEXT = Context(torch.device("cpu"))
COUNTS = {"cifar10": (50_000, 10_000), "digits": (1_297, 500)}


def shorter(method: Recipe | Attack) -> Recipe | Attack:
    """One update is like another; of those until reached there are two."""
    return replace(method, steps=2 if isinstance(method, UntilReached) else 1)


def labelled(name: str, *, train: int, test: int, root) -> Labelled:
    most = COUNTS[name]
    assert train <= most[0] and test <= most[1]
    parts = []
    for count in (train or most[0], test or most[1]):
        parts += [torch.empty(count, 3, 32, 32, dtype=torch.uint8)]
        parts += [torch.empty(count, dtype=torch.int64)]
    return Labelled(*parts, CIFAR10_CLASSES)


@pytest.fixture(scope="module")
def walk():
    walk, train = Walk(lambda: labelled("cifar10", train=0, test=0, root=None)), classifiers.train
    cached: dict[tuple, Labelled] = {}

    def load(name, *, train, test, root):
        key = (name, train, test)
        if key not in cached:
            cached[key] = labelled(name, train=train, test=test, root=root)
        return cached[key]

    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        patch.setattr(classifiers, "load_labelled", load)
        patch.setattr(classifiers, "train", lambda *a, **k: train(*a, **k | {"steps": 1}))
        for module in (classifiers, study):
            patch.setattr(module, "artefact", walk.artefact)
        yield walk


@pytest.mark.parametrize(
    "trial",
    [*PAPER.networks, PAPER.digits],
    ids=lambda trial: f"{trial.dataset} {classifiers.network_name(vars(trial))}",
)
def test_classifiers(trial, walk):
    with walk.working():
        assert study.run_classifier(trial, CONTEXT)["parameters"] > 1e4
    assert walk.gib < WORKING


WAYS = {trial.label: trial for trial in study.synthesis(PAPER) if trial.targets == "mixture"}


@pytest.mark.parametrize(
    "label",
    [
        "SGD",
        "momentum + low-pass",
        "Fourier, momentum",
        "until reached",
        "clamp, SGD",
        "FGSM, hard",
        "PGD, soft",
    ],
)
def test_every_kind_of_way(label, walk):
    trial = replace(WAYS[label], method=shorter(WAYS[label].method))
    with walk.working():
        record = study.run_synthesis(trial, CONTEXT)
    assert len(record["kl"]) == 1_000 and walk.gib < WORKING


@pytest.mark.parametrize("targets", TARGETS)
def test_every_target(targets, walk):
    trials = [trial for trial in study.synthesis(PAPER) if trial.targets == targets]
    with walk.working():
        study.run_synthesis(replace(trials[0], method=shorter(trials[0].method)), CONTEXT)
    assert walk.gib < WORKING


def made(trial):
    return replace(trial, recipe=shorter(trial.recipe))


def test_a_generated_set(walk):
    """Half of the 50,000 images."""
    with walk.working():
        record = study.run_generation(made(study.generated(PAPER)[0]), CONTEXT)
    assert record["count"] == 25_000 and walk.gib < WORKING


@pytest.mark.parametrize("arm", study.ARMS)
def test_students(arm, walk):
    plan = [*study.students(PAPER), *study.small_students(PAPER)]
    trial = next(trial for trial in plan if trial.arm == arm)
    with walk.working():
        study.run_student(replace(trial, generated=made(trial.generated)), CONTEXT)
    assert walk.gib < WORKING


def test_every_arm_is_planned():
    plan = [*study.students(PAPER), *study.small_students(PAPER)]
    assert {trial.arm for trial in plan} == {*study.ARMS}
