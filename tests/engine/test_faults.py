"""Faults of the world around a sweep: kills, full and read-only disks, dying workers, odd clocks.

Nothing that is finished may be lost, and the message names the path and the cause. The same of a
batch of notebooks is in test_faults_notebooks. Beside what they belong to: killed workers and
records that cannot be stored, in test_sweep; writes that fail or are interrupted in test_files;
damaged artefacts in test_artefacts, checkpoints in test_training.
"""

from __future__ import annotations

import errno
import os
import signal
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from faults import (
    contents,
    dying,
    mount,
    needs_artefact,
    python,
    short_files,
    small_disk,
)
from trials import gives_much, grid, runs_out_of_memory, work

from lib.engine.sweep import Store, run, trial_key

TRIALS = 6
SWEEP = (
    "from trials import *; from lib.engine.sweep import run; "
    "table = run(work, grid({}), {!r}, jobs=1)"
)


def ok(table: pd.DataFrame) -> bool:
    return list(table["status"]) == ["ok"] * TRIALS


def test_kill_nine_while_a_record_is_written(tmp_path):
    """Its new content lies beside it; that is no record, and the trial runs again."""
    trial, folder = grid(TRIALS)[3], tmp_path / "trials"
    environment = dying(tmp_path, f"{trial_key(trial)}.json")
    killed = python(SWEEP.format(TRIALS, str(folder)), environment)
    said = killed.communicate(timeout=60)[0]
    assert killed.returncode == -signal.SIGKILL, said
    (half,) = folder.glob(f".{trial_key(trial)}.json.*")
    assert half.stat().st_size > 0
    stored = {path: path.read_bytes() for path in folder.glob("*.json")}
    assert len(stored) == 3
    table = run(work, grid(TRIALS), folder, jobs=1)
    assert ok(table) and list(table["square"]) == [n * n for n in range(TRIALS)]
    assert {path: path.read_bytes() for path in stored} == stored
    ran = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert ran == ["0", "1", "2", "3", "3", "4", "5"]


def test_a_record_that_fails_half_way(tmp_path):
    run(gives_much, grid(2), tmp_path, jobs=1)
    stored = contents(tmp_path)
    with short_files(2**14), pytest.raises(RuntimeError) as caught:
        run(gives_much, grid(TRIALS), tmp_path, jobs=1)
    failed = Store(tmp_path).path(grid(TRIALS)[2])
    assert f"{failed} could not be written: {os.strerror(errno.EFBIG)}" in str(caught.value)
    assert f"2 of {TRIALS} trials are stored in {tmp_path}" in str(caught.value)
    assert contents(tmp_path) == stored
    assert ok(run(gives_much, grid(TRIALS), tmp_path, jobs=1))
    assert contents(tmp_path).items() >= stored.items()


def test_an_artefact_that_fails_half_way(tmp_path):
    run(needs_artefact, grid(3), tmp_path, jobs=1)
    stored = contents(tmp_path)
    with short_files(2**16):
        table = run(needs_artefact, grid(TRIALS), tmp_path, jobs=1)
    failed = table["status"] == "error"
    assert list(failed) == [False] * 3 + [True] * 3
    for number in table.index[failed]:
        path = tmp_path / f"{trial_key(grid(TRIALS)[number])}.safetensors"
        cause = os.strerror(errno.EFBIG)
        assert table["error"][number].endswith(f"{path} could not be written: {cause}")
        assert not path.exists()
    assert not list(tmp_path.glob(".*"))  # and nothing half written
    assert contents(tmp_path).items() >= stored.items()
    assert ok(run(needs_artefact, grid(TRIALS), tmp_path, jobs=1))


def test_a_store_on_a_read_only_disk_is_read_and_not_written(tmp_path, capsys):
    with small_disk(tmp_path / "disk", 1024) as disk:
        folder = disk / "trials"
        run(work, grid(3), folder, jobs=1)
        assert mount(disk, "remount,ro")
        capsys.readouterr()
        assert list(run(work, grid(3), folder, jobs=1)["square"]) == [0, 1, 4]
        assert capsys.readouterr().out == "3 stored, 0 to do\n"
        with pytest.raises(RuntimeError, match="Read-only file system") as caught:
            run(gives_much, grid(TRIALS), folder, jobs=1)
        failed = Store(folder).path(grid(TRIALS)[3])
        assert f"{failed} could not be written" in str(caught.value)
        with pytest.raises(OSError, match=f"Read-only file system: .*{disk / 'new'}"):
            run(work, grid(1), disk / "new", jobs=1)


def test_too_little_memory_is_a_failed_row(tmp_path):
    """More than any machine has."""
    table = run(runs_out_of_memory, grid(2), tmp_path, jobs=1)
    assert list(table["status"]) == ["ok", "error"]
    assert "MemoryError" in table["error"][1] and "Unable to allocate" in table["error"][1]


@pytest.mark.parametrize("year", [1999, 2199])
def test_what_was_stored_at_another_time_counts(tmp_path, capsys, year):
    run(needs_artefact, grid(3), tmp_path, jobs=1)
    then = (year - 1970) * 365.25 * 86400
    for path in tmp_path.iterdir():
        os.utime(path, (then, then))
    Store(tmp_path).path(grid(3)[0]).unlink()
    artefacts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    capsys.readouterr()
    assert list(run(needs_artefact, grid(3), tmp_path, jobs=1)["mean"]) == [0, 1, 2]
    assert capsys.readouterr().out == "2 stored, 1 to do\n"
    assert artefacts == {path: path.stat().st_mtime_ns for path in artefacts}  # none built anew


def test_a_clock_that_goes_back_gives_no_negative_seconds(tmp_path, monkeypatch):
    times = iter(np.arange(2e9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(times))
    before = time.time()
    table = run(work, grid(2, pause=0.05), tmp_path / "trials", jobs=1)
    assert time.time() < before
    assert table["seconds"].between(0.05, 5).all()


DAMAGE = {
    "empty": b"",
    "zeros": bytes(400),
    "binary": b"\x00\xff\xfe",
    "cut off": b'{"status": "o',
    "a list": b"[1, 2]",
    "null": b"null",
    "a text": b'"status"',
    "no metrics": b'{"status": "ok", "trial": {}}',
    "metrics of a wrong type": b'{"status": "ok", "trial": {"number": 1}, "metrics": null}',
    "another status": b'{"status": ["ok"], "trial": {"number": 1}, "metrics": {}}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_one_warning_and_done_again(tmp_path, damage):
    expected = run(work, grid(3), tmp_path, jobs=1)["square"]
    path = Store(tmp_path).path(grid(3)[1])
    path.write_bytes(DAMAGE[damage])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        table = run(work, grid(3), tmp_path, jobs=1)
    assert [str(warning.message).partition(" (")[0] for warning in caught] == [
        f"damaged record {path}"
    ]
    assert table["square"].equals(expected) and set(table["status"]) == {"ok"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(run(work, grid(3), tmp_path, engine="stored")) == 3


def test_two_sweeps_on_one_store_both_return_the_whole_table(tmp_path):
    code = SWEEP.replace("(work", "(meets").format(12, str(tmp_path / "trials"))
    code = f"from faults import meets; {code}; print(table['half'].tolist())"
    processes = [python(code) for _ in range(2)]
    said = [process.communicate(timeout=90)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert all(text.endswith(f"{[n / 2 for n in range(12)]}\n") for text in said), said
    workers = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}
    assert workers == {str(process.pid) for process in processes}  # they did run at once
    assert len(contents(tmp_path / "trials")) == 12
