"""Trials that the medium runs lack: in turns, until the time is up, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time

import pytest
from faults import python, wait_for
from trials import Toy, grid, unlucky, work

from lib.engine import sweep
from lib.engine.files import REPOSITORY
from lib.engine.sweep import Store, run, trial_key

A, B = (
    [Toy(number, label="a") for number in range(4)],
    [Toy(number, label="b") for number in (7, 8)],
)


def plan(trials, function=work):
    return lambda: [(function, trial) for trial in trials]


def no_data(trial, context):
    raise FileNotFoundError("data set 'faces' is not here")


def no_plan():
    raise FileNotFoundError("data set 'words' is not here")


def ran(folder, notebook: str) -> list[int]:
    log = folder / notebook / "log"
    return [int(line.split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


def test_notebooks_take_turns_and_only_what_is_missing_runs(tmp_path, capsys):
    run(work, A[1:2], tmp_path / "01_a" / "trials", jobs=1)
    Store(tmp_path / "01_a" / "trials").pack()
    for path in (tmp_path / "01_a" / "trials").glob("*.json"):
        path.unlink()  # as in a fresh clone: records.jsonl alone
    capsys.readouterr()
    table = sweep.gather({"01_a": plan(A + A), "02_b": plan(B)}, tmp_path, 1)
    assert table.values.tolist() == [["01_a", 4, 0], ["02_b", 2, 0]]
    assert ran(tmp_path, "01_a") == [1, 0, 2, 3] and ran(tmp_path, "02_b") == [7, 8]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "01_a", "02_b", "01_a", "02_b", "01_a",
    ]  # fmt: skip
    for notebook, count in (("01_a", 4), ("02_b", 2)):
        assert len((tmp_path / notebook / "records.jsonl").read_text().splitlines()) == count


def test_time_that_is_up_before_the_first_trial_still_gives_the_table(tmp_path):
    run(work, A[:1], tmp_path / "01_a" / "trials", jobs=1)
    table = sweep.gather({"01_a": plan(A)}, tmp_path, 0)
    assert table.values.tolist() == [["01_a", 1, 3]]
    assert (tmp_path / "01_a" / "records.jsonl").exists()


def test_a_trial_in_progress_is_finished_and_then_it_stops(tmp_path):
    slow = [Toy(number, pause=0.2) for number in range(3)]
    table = sweep.gather({"01_a": plan(slow)}, tmp_path, 0.1 / 60)
    assert table.values.tolist() == [["01_a", 1, 2]]


def test_a_failure_stops_nothing_and_is_not_tried_twice_in_a_call(tmp_path, capsys):
    plans = {"01_a": plan(A + A, unlucky)}
    assert sweep.gather(plans, tmp_path, 1).values.tolist() == [["01_a", 2, 2]]
    assert capsys.readouterr().out.count("failed: ValueError: odd numbers are unlucky") == 2
    (tmp_path / "01_a" / "luck").touch()
    assert sweep.gather(plans, tmp_path, 1).values.tolist() == [["01_a", 4, 0]]
    assert ran(tmp_path, "01_a") == [0, 2, 1, 3]


def test_a_notebook_without_its_data_set_is_skipped_with_one_line(tmp_path, capsys):
    plans = {"01_a": plan(A, no_data), "02_b": plan(B), "03_c": no_plan}
    table = sweep.gather(plans, tmp_path, 1)
    assert table.values.tolist() == [["01_a", 0, 4], ["02_b", 2, 0]]
    lines = capsys.readouterr().out.splitlines()
    skipped = [line for line in lines if "skipped" in line]
    assert skipped == [
        "03_c is skipped: data set 'words' is not here",
        "01_a is skipped: FileNotFoundError: data set 'faces' is not here",
    ]


def test_ctrl_c_stops_it_with_a_table_and_without_a_traceback(tmp_path):
    code = (
        "from pathlib import Path; from lib.engine.sweep import gather; "
        "from faults import waits; from trials import grid; "
        f"plans = {{'01_a': lambda: [(waits, trial) for trial in grid(6)]}}; "
        f"print(gather(plans, Path({str(tmp_path)!r}), 1).values.tolist())"
    )
    # a shell that runs the tests in the background has switched Ctrl-C off
    process = python(
        code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    trials = tmp_path / "01_a" / "trials"
    wait_for(lambda: len(list(trials.glob("*.json"))) == 3, process)  # number 3 waits for ``go``
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "Traceback" not in said, said
    assert said.endswith("stopped\n[['01_a', 3, 3]]\n")
    assert len((tmp_path / "01_a" / "records.jsonl").read_text().splitlines()) == 3


def test_the_low_priority_is_asked_for_where_there_is_one(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "nice", asked.append)
    sweep.be_nice()
    monkeypatch.delattr(os, "nice")
    sweep.be_nice()
    assert asked == [19]


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    import papermill_runs

    return papermill_runs


def test_the_command_limits_it_to_some_notebooks(command, monkeypatch, tmp_path):
    from click.testing import CliRunner

    monkeypatch.setattr(os, "nice", lambda increment: None)
    monkeypatch.setattr(command, "medium_trials", lambda name: [(work, t) for t in grid(2)])
    options = ["--evidence", "1", "02", "05"]
    done = CliRunner(env={"REPORTS_ROOT": str(tmp_path)}).invoke(command.main, options)
    assert done.exit_code == 0, done.output
    table = [line.split() for line in done.output.splitlines()[-3:]]
    assert table == [
        ["notebook", "stored", "missing"],
        ["02_dip_architecture_study", "2", "0"],
        ["05_image_weight_synthesis", "2", "0"],
    ]
    assert sorted(path.name for path in (tmp_path / "medium").iterdir()) == [
        "02_dip_architecture_study", "05_image_weight_synthesis",
    ]  # fmt: skip


def test_every_notebook_has_a_plan(command):
    names = [path.stem for path in (REPOSITORY / "notebooks").glob("0[1-9]*.ipynb")]
    assert set(command.STUDIES) == set(names)
    for name in names:
        function, trial = next(iter(command.medium_trials(name)))
        assert callable(function) and trial_key(trial)
