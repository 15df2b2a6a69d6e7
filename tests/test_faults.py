"""Faults of the world around a run: kills, full and read-only disks, dying workers, odd clocks.

Nothing that is finished may be lost, and the message names the cause. Beside what they belong to:
damaged records and full disks in test_sweep, artefacts in test_artefacts, checkpoints in
test_training, masks in test_mask_files, photographs in test_images and test_faces, half-built
shards in test_shards, Ctrl-C, locked folders and odd paths in test_papermill_runs.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from trials import Toy, gives_much, grid, leaves_once, runs_out_of_memory, work

from lib.artefacts import artefact
from lib.files import REPOSITORY
from lib.sweep import Context, Store, run

TRIALS = 6
CELLS = (
    'profile = "quick"  # quick | medium | paper',
    """
import os, time
from pathlib import Path
from lib import sweep
from lib.report import Report
from trials import grid, work
marks, report = Path(os.environ["MARKS"]), Report("01_study", profile)
table = sweep.run(work, grid(6, 0.5), report.trials, jobs=2)
""",
    """
(marks / "figures").touch()
time.sleep(1)
print(len(report.table(table[["number", "square"]], "squares", "Squares.")))
""",
    '(marks / "end").touch()',
)


@pytest.fixture
def study(tmp_path):
    """A folder with one notebook: trials, then a table."""
    cells = [new_code_cell(code.strip()) for code in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "01_study.ipynb"
    )
    return folder


def start(study: Path, reports: Path, *arguments: str) -> subprocess.Popen:
    marks = study.parent / "marks"
    marks.mkdir(exist_ok=True)
    own = {"REPORTS_ROOT": str(reports), "MARKS": str(marks)}
    own["PYTHONPATH"] = os.pathsep.join((str(REPOSITORY), str(Path(__file__).parent)))
    command = [sys.executable, str(REPOSITORY / "papermill_runs.py"), "--folder", str(study)]
    return subprocess.Popen(
        [*command, *arguments], env=os.environ | own, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """What it printed."""
    try:
        return process.communicate(timeout=90)[0]
    finally:
        process.kill()


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def squares(reports: Path) -> list[int]:
    table = pd.read_csv(reports / "quick" / "01_study" / "tables" / "squares.csv")
    return list(table["square"])


@pytest.mark.parametrize(
    ("phase", "whole_group"),
    [("trials", False), ("trials", True), ("figures", False), ("keep", False)],
)
def test_kill_nine_of_a_batch(study, tmp_path, phase, whole_group):
    """In mid-trial, while tables are made, while the finished notebook is put in its place."""
    reports, marks = tmp_path / "reports", tmp_path / "marks"
    results = reports / "quick" / "01_study"
    process = start(study, reports)
    reached = {
        "trials": lambda: len(list(results.glob("trials/*.json"))) >= 2,
        "figures": (marks / "figures").exists,
        "keep": lambda: (marks / "end").exists() and not psutil.Process(process.pid).children(),
    }
    wait_for(reached[phase], process)
    below = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (results / "executed.ipynb").exists()
    assert (results / "executed.partial.ipynb").exists()
    assert not psutil.wait_procs(below, timeout=20)[1]  # nothing goes on computing
    stored = {path: path.read_bytes() for path in results.glob("trials/*.json")}
    assert len(stored) == TRIALS or (phase == "trials" and 2 <= len(stored) < TRIALS)
    said = finish(start(study, reports))
    assert "01_study" in said and " ok " in said, said
    assert squares(reports) == [number**2 for number in range(TRIALS)]
    assert {path: path.read_bytes() for path in stored} == stored
    executed = nbformat.read(results / "executed.ipynb", 4)
    assert f"{len(stored)} stored, {TRIALS - len(stored)} to do" in str(executed)
    assert not (results / "executed.partial.ipynb").exists()


def mount(folder: Path, options: str, *more: str) -> bool:
    command = ["mount", *more, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def small_disk(folder: Path, kilobytes: int):
    folder.mkdir()
    try:
        mounted = mount(folder, f"size={kilobytes}k")
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_while_records_are_stored(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        with pytest.raises(RuntimeError, match="No space left on device") as caught:
            run(gives_much, grid(TRIALS), disk / "trials", jobs=1)
        stored = {path: path.read_bytes() for path in disk.glob("trials/*.json")}
        assert 1 <= len(stored) < TRIALS
        assert f"{len(stored)} of {TRIALS} trials are stored in {disk / 'trials'}" in str(
            caught.value
        )
        assert not list(disk.glob("trials/.*"))  # no half record
        assert mount(disk, "remount,size=4m")
        table = run(gives_much, grid(TRIALS), disk / "trials", jobs=1)
        assert len(table) == TRIALS and set(table["status"]) == {"ok"}
        assert {path: path.read_bytes() for path in stored} == stored


def test_a_full_disk_while_an_artefact_is_stored(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        context = Context(torch.device("cpu"), artefacts=disk)
        artefact(Toy(1), context, lambda: {"a": torch.zeros(100)})
        with pytest.raises(OSError, match=r"disk/\w+\.safetensors .*No space left on device"):
            artefact(Toy(2), context, lambda: {"a": torch.zeros(10**6)})
        assert len(list(disk.iterdir())) == 1
        kept = artefact(Toy(1), context, lambda: pytest.fail("it was kept"))
        assert kept["a"].shape == (100,)


def test_a_full_disk_while_a_notebook_is_written(study, tmp_path):
    with small_disk(tmp_path / "disk", 4096) as disk:
        first = finish(start(study, disk))
        assert " ok " in first, first
        before = (disk / "quick" / "01_study" / "executed.ipynb").read_bytes()
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "somebody_elses").write_bytes(bytes(free - 2 * 2**16))
        notebook = nbformat.read(study / "01_study.ipynb", 4)
        notebook.cells[-1].source = "print('x' * 10**6)"
        nbformat.write(notebook, study / "01_study.ipynb")
        second = finish(start(study, disk))
        assert "failed" in second and "No space left on device" in second
        assert (disk / "quick" / "01_study" / "executed.ipynb").read_bytes() == before
        (disk / "somebody_elses").unlink()
        assert " ok " in finish(start(study, disk))


def test_a_read_only_disk_is_one_message(study, tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        assert mount(disk, "remount,ro")
        process = start(study, disk)
        said = finish(process)
        assert process.returncode == 1
        assert f"cannot be written to {disk / 'quick'}: Read-only file system" in said
        assert "Traceback" not in said


def test_a_worker_that_leaves_stops_the_sweep_and_the_next_call_goes_on(tmp_path):
    with pytest.raises(RuntimeError, match=r"the sweep stopped: .*the same call does the others"):
        run(leaves_once, grid(TRIALS), tmp_path / "trials", jobs=2)
    stored = len(list((tmp_path / "trials").glob("*.json")))
    assert 2 <= stored < TRIALS
    table = run(leaves_once, grid(TRIALS), tmp_path / "trials", jobs=2)
    assert set(table["status"]) == {"ok"} and len(table) == TRIALS


def test_too_little_memory_is_a_failed_row(tmp_path):
    table = run(runs_out_of_memory, grid(2), tmp_path, jobs=1)
    assert list(table["status"]) == ["ok", "error"]
    assert "MemoryError" in table["error"][1] and "Unable to allocate" in table["error"][1]


@pytest.mark.parametrize("year", [1999, 2199])
def test_what_was_stored_at_another_time_counts(tmp_path, capsys, year):
    run(work, grid(3), tmp_path / "trials", jobs=1)
    then = (year - 1970) * 365.25 * 86400
    for path in (tmp_path / "trials").iterdir():
        os.utime(path, (then, then))
    capsys.readouterr()
    assert len(run(work, grid(3), tmp_path / "trials", jobs=1)) == 3
    assert "3 stored, 0 to do" in capsys.readouterr().out


def test_a_clock_that_goes_back_gives_no_negative_seconds(tmp_path, monkeypatch):
    times = iter(np.arange(2e9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(times))
    table = run(work, grid(2, pause=0.05), tmp_path / "trials", jobs=1)
    assert table["seconds"].between(0.05, 5).all()


def test_a_damaged_record_of_any_kind_is_done_again(tmp_path):
    store, damage = Store(tmp_path), (b"", b"\x00\xff\xfe", b'{"status": "o', b"[1, 2]", b"null")
    trials = grid(len(damage))
    run(work, trials, tmp_path, jobs=1)
    for trial, content in zip(trials, damage, strict=True):
        store.path(trial).write_bytes(content)
    with pytest.warns(UserWarning) as caught:
        table = run(work, trials, tmp_path, jobs=1)
    said = "\n".join(str(warning.message) for warning in caught)
    assert all(f"damaged record {store.path(trial)}" in said for trial in trials)
    assert list(table["square"]) == [trial.number**2 for trial in trials]
