"""Notebook 01's paper profile, walked through at its real counts and sizes: see ``walk``."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice

import pytest
import torch
import torchvision
from torch import Tensor
from walk import GIB, Walk, patched

from lib.continual import losses, masks, methods, pictures, tasks
from lib.continual.trials import (
    KINDS,
    TASKS,
    ContinualStudy,
    GatysTrial,
    TaskTrial,
    TrivialTrial,
    phases,
    planned,
)
from lib.data.segmented import Segmented
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context

WORKING = 4  # GiB that a trial may take beside the data
PAPER = load_profile(ContinualStudy, "paper")
# one step is like another, and so is an image of the Fisher information
STREAM = replace(PAPER.stream, base_steps=1, steps=1, gatys_steps=1, importance_images=2)
SIZES = replace(PAPER, stream=STREAM)
THERE = {  # (scenes, split) -> images, classes
    ("coco2017", "train"): (118_287, 81),
    ("coco2017", "test"): (5_000, 81),
    ("voc2012_aug", "train"): (10_582, 21),
    ("voc2012_aug", "test"): (1_449, 21),
}
CONTEXT = Context(torch.device("cpu"))

# torchmetrics looks for NaN, and here every condition holds
pytestmark = pytest.mark.filterwarnings("ignore:Encountered `nan` values")


def kind(trial: TaskTrial) -> str:
    learned = KINDS.get(trial.task, "identity")
    control = trial.loss or "shuffled" * trial.shuffled
    return f"{trial.method} {learned} {control}".strip()


TRIALS: dict[str, TaskTrial] = {}
for each in chain(*phases(SIZES).values()):
    TRIALS.setdefault(kind(each), each)


def scenes(name: str, split: str, *, size: int, count: int, root) -> Segmented:
    there, classes = THERE[name, split]
    images = torch.empty(count or there, 3, size, size, dtype=torch.uint8)
    return Segmented(images, images.new_empty(images[:, 0].shape), ("",) * classes, (), 0)


def painting(name: str, *, size: int, channels: int, root) -> tuple[list[str], Tensor]:
    return [name], torch.empty(1, channels, size, size, dtype=torch.uint8)


def data() -> None:
    for number in TASKS:
        tasks.stream_task(STREAM, number, CONTEXT)


@pytest.fixture(scope="module")
def walk():
    walk, vgg16 = Walk(data), torchvision.models.vgg16
    caches = tasks._load, tasks._scenes
    with pytest.MonkeyPatch.context() as patch:
        for cached in caches:
            cached.cache_clear()
        for module in (methods, tasks):
            patch.setattr(module, "artefact", walk.artefact)
        patch.setattr(tasks, "load_segmented", scenes)
        patch.setattr(tasks, "load_images", painting)
        patch.setattr(losses, "torchvision_network", lambda *_: vgg16())
        patch.setattr(masks, "fingerprint", lambda network: "")
        patched(patch)
        yield walk
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def two_batches(monkeypatch):
    scored = tasks._scored
    monkeypatch.setattr(tasks, "_scored", lambda *what: islice(scored(*what), 2))


def test_no_trial_asks_for_more_images_than_there_are():
    for trial in chain(*phases(PAPER).values()):
        stream = trial.task_stream
        train, test = (
            [THERE[name, split][0] for name in stream.scenes] for split in ("train", "test")
        )
        assert all(count <= there for count, there in zip(stream.train, train, strict=True))
        assert max(stream.test, stream.gatys_images) <= min(test)
        least = min(count or there for count, there in zip(stream.train, train, strict=True))
        assert max(stream.batch, stream.importance_images) <= least


def test_the_data_are_held_once(walk):
    """37,031 images of 256 px and their label maps, a byte a value; four tasks share COCO's."""
    with walk.working():
        loaded = [tasks.stream_task(STREAM, number, CONTEXT) for number in TASKS]
    counts = [(len(task.train.images), len(task.test.images)) for task in loaded]
    assert counts == [(20_000, 5_000), (10_582, 1_449), *[(20_000, 5_000)] * 3]
    assert [task.channels for task in loaded] == [81, 21, 2, 3, 3]
    parts = [part for task in loaded for part in (task.train, task.test)]
    held = [x.untyped_storage() for part in parts for x in (part.images, part.labels)]
    assert sum({x._cdata: x.nbytes() for x in held}.values()) == 37_031 * 4 * 256**2


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_of_each_kind(name, walk, two_batches):
    with walk.working():
        assert methods.run_task(TRIALS[name], CONTEXT)
    print(f"{name}: {walk.gib:.2f} GiB")
    assert walk.gib < WORKING


@pytest.mark.parametrize("number", TASKS)
def test_trivial_answers(number, walk, two_batches):
    with walk.working():
        assert tasks.run_trivial(TrivialTrial(STREAM, number), CONTEXT)["answers"]
    assert walk.gib < WORKING


def test_pictures_by_optimisation(walk):
    with walk.working():
        assert tasks.run_gatys(GatysTrial(STREAM, 4), CONTEXT)
    assert walk.gib < WORKING


def scores(inputs: Tensor) -> Tensor:
    return inputs.new_empty(len(inputs), 81, *inputs.shape[2:])


def test_a_whole_test_set_is_scored_batch_by_batch(walk):
    with walk.working():
        assert tasks.evaluate(tasks.stream_task(STREAM, 1, CONTEXT), scores)
    assert walk.gib < WORKING


def test_the_scores_of_a_whole_test_set_would_not_fit(walk):
    """5,000 images of 256 px, 81 classes, 4 bytes a value: 98.9 GiB."""
    with walk.working():
        assert list(tasks._scored(tasks.stream_task(STREAM, 1, CONTEXT), scores, None))
    assert walk.gib > 5_000 * 81 * 256**2 * 4 / GIB


def test_chains_hold_a_batch_whatever_the_number_of_images(walk, monkeypatch):
    colour, style = (planned(SIZES, "resblock", number, 0) for number in (3, 4))
    taken = []
    for count in (64, 64, 160):  # at first both are learned
        with walk.working():
            task = tasks.style_task(STREAM, 4, CONTEXT)
            few = replace(task, test=replace(task.test, images=task.test.images[:count]))
            monkeypatch.setattr(pictures, "style_task", lambda *_, few=few: few)
            assert len(pictures.compare_chains(colour, style, CONTEXT)) == 10
        taken.append(walk.gib)
    assert taken[2] < WORKING and taken[2] == pytest.approx(taken[1], rel=0.01)
