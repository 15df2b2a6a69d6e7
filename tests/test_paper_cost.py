"""What the paper profile would take: the sum, and the order in which devices take trials."""

import sys
from dataclasses import dataclass

import pandas as pd
import pytest
import torch

from lib.engine.files import REPOSITORY
from lib.engine.sweep import Context, trial_key

sys.path.append(str(REPOSITORY / "benchmarks"))
from paper import add_up, measure, wall_seconds
from paper_trials import Work, paper_work


@dataclass(frozen=True)
class Trial:
    units: int


@pytest.fixture(scope="module")
def work():
    return paper_work()


@pytest.mark.parametrize(("devices", "wall"), [(1, 13), (2, 4 + 5), (8, 3 + 5)])
def test_the_next_trial_goes_to_the_first_free_device(devices, wall):
    """By hand. On two: 2 and 3 begin, 2 follows the 2 and ends at 4; then 5 beside 1."""
    assert wall_seconds([(0, 2), (0, 3), (0, 2), (1, 5), (1, 1)], devices) == wall


def test_hours_add_up():
    trials = [_toy("01", 0, "a", 3600), _toy("01", 1, "b", 1800), _toy("02", 0, "a", 7200)]
    costs = pd.DataFrame(
        {
            "notebook": ["01", "01", "02"],
            "kind": ["a", "b", "a"],
            "seconds_a_unit": [1.0, 2.0, 0.5],
            "error": "",
        }
    )
    kinds, walls = add_up(trials, costs)
    assert list(kinds["hours"]) == [1, 1, 1]
    assert list(walls["on 1"]) == [2, 1]
    assert list(walls["on 64"]) == [2, 1]  # the phases wait for each other


def _toy(study: str, phase: int, kind: str, units: float) -> Work:
    return Work(study, phase, kind, units, lambda trial, context: {}, lambda units: units)


def test_every_trial_of_every_notebook_is_there(work):
    counts = pd.Series([each.study for each in work]).value_counts()
    assert set(counts.index) == {"01", "02", "03", "04", "05"}
    assert counts["04"] == 16 * 3
    ladders, budgets, noise, grids = 3 * 9, 44, 60, 2 * 2 * 23
    assert counts["02"] == 2 * (510 + 2 * 60) + ladders + 16 + budgets + noise + grids
    assert all(each.units > 0 for each in work)


def test_a_kind_is_measured_at_the_papers_size(work):
    """The stand-in differs from the paper's trial in its data and in how much is done."""
    by_kind = {(each.study, each.kind): each for each in work}
    student = by_kind["05", "student, generated"].measured(10)
    assert (student.student.architecture, student.student.width) == ("vgg16", 64)
    assert student.student.train == 10 * student.student.batch == 1280
    prior = by_kind["02", "prior of 9 images, depth 8"].measured(10)
    assert (prior.patch, prior.images, prior.iterations) == (272, 9, 10)
    assert prior.width == (64, 128, 256)
    faces = by_kind["04", "SMTN"].measured(10)
    assert (faces.faces.size, faces.widths[0], faces.faces.train) == (128, 32, 320)
    assert trial_key(faces) != trial_key(by_kind["04", "SMTN"].measured(11))
    task = by_kind["01", "piggyback, task 2"].measured(10)
    assert (task.stream.size, task.stream.width, task.stream.steps) == (256, 64, 10)


def test_a_failure_is_a_row(capsys, tmp_path):
    def fails(trial, context):
        raise ValueError("no such thing")

    work = Work("01", 0, "a", 1, fails, lambda units: units)
    table = measure([work], Context(torch.device("cpu"), artefacts=tmp_path))
    assert table["error"].tolist() == ["ValueError: no such thing"]
    assert table["seconds_a_unit"].isna().all()


def test_time_a_unit_is_the_difference_of_two_runs(tmp_path):
    """What a run costs besides its units does not count."""
    ran = []

    def takes(trial, context):
        ran.append(trial.units)
        return {"train_seconds": 100 + 2.5 * trial.units}

    work = Work("01", 0, "a", 1, takes, Trial, (10, 40))
    table = measure([work], Context(torch.device("cpu"), artefacts=tmp_path))
    assert table["seconds_a_unit"].tolist() == [2.5]
    assert ran == [10, 40, 10, 40]  # the first two warm up
