"""Faults of the world around papermill_runs.py, as a user calls it, with real kernels.

Beside these: Ctrl-C, failing notebooks, a lock in one process, and odd paths of notebooks in
test_papermill_runs; faults of a sweep in test_faults.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
from faults import (
    DRAWING,
    PARAMETERS,
    SWEEP,
    contents,
    drawn,
    dying,
    finish,
    kill_nine,
    mount,
    printed,
    short_files,
    small_disk,
    start,
    status,
    wait_for,
    write_study,
)
from matplotlib.figure import Figure
from trials import grid, work

from lib.engine.files import REPOSITORY
from lib.engine.runner import Job, run_one, stored_run
from lib.engine.sweep import run
from lib.ledger.report import Report

RUNNER = "papermill_runs.py"
TRIALS = 6
NUMBERS = pd.DataFrame({"number": range(20_000), "square": np.arange(20_000) ** 2})
WAITING = """
from pathlib import Path
from faults import wait_for
Path("started").touch()
wait_for(Path("go").exists)
print("the first run")
"""


@pytest.fixture
def undisturbed(tmp_path, monkeypatch) -> dict[Path, bytes]:
    """What the study shows when its cells run in this process, and nothing happens to them."""
    results = tmp_path / "undisturbed" / "quick" / "01_study"
    results.mkdir(parents=True)
    for gate in ("go", "go_on_drawing"):
        (results / gate).touch()
    with monkeypatch.context() as patch, mpl.rc_context():
        mpl.rcdefaults()
        patch.setenv("REPORTS_ROOT", str(tmp_path / "undisturbed"))
        exec(PARAMETERS + SWEEP + DRAWING, {})
    return drawn(results)


def test_kill_nine_of_a_batch(tmp_path, undisturbed):
    """The process in mid-trial, then its group when the first of two figures is drawn."""
    study, reports = write_study(tmp_path / "notebooks", SWEEP, DRAWING), tmp_path / "reports"
    results = reports / "quick" / "01_study"

    def records() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in results.glob("trials/*.json")}

    process = start(study, reports, "-p", "jobs", "2")
    wait_for(lambda: len(records()) == 3, process)  # the others wait for ``go``
    kill_nine(process, os.kill)
    first = records()
    assert len(first) == 3 and not (results / "figures").exists()
    (results / "go").touch()
    process = start(study, reports)
    wait_for((results / "contents.json").exists, process)
    kill_nine(process, os.killpg)
    second = records()
    assert len(second) == TRIALS and second.items() >= first.items()
    assert [path.stem for path in results.glob("figures/*.png")] == ["square"]
    assert (results / "executed.partial.ipynb").exists()
    assert not (results / "executed.ipynb").exists()
    (results / "go_on_drawing").touch()
    said = finish(start(study, reports))
    assert status(said) == "ok", said
    assert f"{TRIALS} stored, 0 to do" in printed(results)
    assert records() == second and drawn(results) == undisturbed
    assert len((results / "records.jsonl").read_text().splitlines()) == TRIALS
    ran = [line.split()[0] for line in (results / "log").read_text().splitlines()]
    assert sorted(ran) == [str(number) for number in range(TRIALS)]  # each once
    assert not (results / "executed.partial.ipynb").exists()


def test_kill_nine_while_results_are_put_in_place(tmp_path):
    """Before the notebook replaces the earlier, before its record is there, before it goes back."""
    study, reports = write_study(tmp_path / "notebooks", "print('new')"), tmp_path / "reports"
    results = reports / "quick" / "01_study"
    results.mkdir(parents=True)
    (results / "executed.ipynb").write_text("earlier")
    source = (study / "01_study.ipynb").read_bytes()

    def kill(name: str) -> None:
        process = start(study, reports, "--refresh", environment=dying(tmp_path, name))
        said = finish(process)
        # the child, which is a failed row, or the runner itself
        assert process.returncode in (1, -signal.SIGKILL), said
        assert process.returncode < 0 or "its process was killed" in said
        assert (study / "01_study.ipynb").read_bytes() == source

    kill("executed.ipynb")
    assert (results / "executed.ipynb").read_text() == "earlier"
    assert (results / "executed.partial.ipynb").exists()
    assert not (results / "fingerprint.json").exists()
    kill("fingerprint.json")
    assert "new" in printed(results)
    assert not (results / "executed.partial.ipynb").exists()
    assert not (results / "fingerprint.json").exists()
    kill("01_study.ipynb")
    assert (results / "fingerprint.json").exists()
    whole = (results / "executed.ipynb").read_bytes()
    said = finish(start(study, reports, "--refresh"))
    assert status(said) == "skipped", said
    assert (results / "executed.ipynb").read_bytes() == whole
    assert nbformat.read(study / "01_study.ipynb", 4).cells[-1].outputs[0].text == "new\n"


def test_a_full_disk_while_a_notebook_is_written(tmp_path):
    """While its page is made, and while papermill saves it."""
    study, small, large = tmp_path / "notebooks", "print('small')", f"print('x' * {2**18})"
    with small_disk(tmp_path / "disk", 4096) as disk:
        results = disk / "quick" / "01_study"
        results.mkdir(parents=True)
        (results / "executed.ipynb").write_text("earlier")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "somebody_elses").write_bytes(bytes(free - 2**17))
        for code, file in ((small, "notebook.html"), (large, "executed.partial.ipynb")):
            process = start(write_study(study, code), disk)
            said = finish(process)
            assert process.returncode == 1 and status(said) == "failed", said
            assert "No space left on device" in said and str(results / file) in said
            assert (results / "executed.ipynb").read_text() == "earlier"
            assert not list(results.glob(".*.*"))  # nothing half written beside the lock
        (disk / "somebody_elses").unlink()
        said = finish(start(write_study(study, small), disk))
        assert status(said) == "ok" and printed(results) == "small\n", said


def test_a_read_only_disk_is_one_message(tmp_path):
    study = write_study(tmp_path / "notebooks", "1")
    with small_disk(tmp_path / "disk", 256) as disk:
        assert mount(disk, "remount,ro")
        process = start(study, disk)
        said = finish(process)
        assert process.returncode == 1
        assert said == (
            f"Error: results cannot be written to {disk / 'quick'}: Read-only file system\n"
        )


def test_two_runs_of_one_notebook_at_once(tmp_path):
    """The second gets one error; the first is not disturbed, and afterwards its result holds."""
    study, reports = write_study(tmp_path / "notebooks", WAITING), tmp_path / "reports"
    first = start(study, reports)
    wait_for((study / "started").exists, first)
    second = start(study, reports)
    said = finish(second)
    lock = reports / "quick" / "01_study" / ".lock"
    assert second.returncode == 1 and first.poll() is None
    assert status(said) == "failed"
    assert said.count(f"being run by another process ({lock})") == 1
    assert "Traceback" not in said
    (study / "go").touch()
    said = finish(first)
    assert first.returncode == 0 and status(said) == "ok", said
    assert "the first run" in printed(lock.parent)


def test_a_damaged_result_does_not_count_as_done(tmp_path):
    """A crash of the machine may leave a file that is there and cut off."""
    job = Job(write_study(tmp_path, "1") / "01_study.ipynb", tmp_path / "results", {})
    notebook = job.notebook.read_bytes()
    record = json.dumps({"fingerprint": job.fingerprint(), "minutes": 1, "peak_gib": 1}).encode()
    job.folder.mkdir()
    for executed, about, done in (
        (notebook, record, True),
        (notebook[:-20], record, False),
        (b"", record, False),
        (notebook, record[:-20], False),
        (notebook, b"[]", False),
        (notebook, record, True),
    ):
        job.executed.write_bytes(executed)
        job.record.write_bytes(about)
        assert (stored_run(job) is not None) == done


def test_records_are_packed_at_the_end_or_the_row_says_why_not(tmp_path):
    job = Job(write_study(tmp_path, "1") / "01_study.ipynb", tmp_path / "results", {})
    run(work, grid(2), job.folder / "trials", jobs=1)
    job.executed.write_bytes(job.notebook.read_bytes())
    record = {"fingerprint": job.fingerprint(), "minutes": 1, "peak_gib": 1}
    job.record.write_text(json.dumps(record))
    packed = job.folder / "records.jsonl"
    assert run_one(job).status == "skipped"
    assert len(packed.read_text().splitlines()) == 2
    packed.unlink()
    packed.mkdir()
    row = run_one(job)
    assert row.status == "failed" and str(packed) in row.error


def test_a_repository_with_odd_names(tmp_path):
    """Code, notebooks, reports and data in folders with spaces and accents; a plain locale."""
    top, data = tmp_path / "my リポ é {x}", tmp_path / "data größe 数"
    shutil.copytree(REPOSITORY / "lib", top / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (RUNNER, "requirements.txt"):
        shutil.copy(REPOSITORY / file, top)
    data.mkdir()
    (data / "größe 数.txt").write_text("数", encoding="utf-8")
    code = """
from lib.engine import files, sweep
from faults import reads_data
from lib.ledger.report import Report
from trials import grid
report = Report("01_study", profile)
table = sweep.run(reads_data, grid(2), report.trials, data_root=files.data_root(), jobs=2)
print(files.__file__, table["word"].tolist(), table["error"].tolist())
len(report.table(table[["number", "word"]], "words", "数"))
"""
    write_study(top / "notebooks", code)
    paths = os.pathsep.join((str(top), str(REPOSITORY / "tests")))
    own = {"PYTHONPATH": paths, "DATA_ROOT": str(data), "LC_ALL": "C", "REPORTS_ROOT": ""}
    command = [sys.executable, str(top / RUNNER)]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    results = top / "reports" / "quick" / "01_study"
    assert f"{top}/lib/engine/files.py ['数', '数'] ['', '']" in printed(results)
    assert pd.read_csv(results / "tables" / "words.csv")["word"].tolist() == ["数"] * 2


def save_report(report: Report, count: int) -> None:
    figure = Figure()
    figure.subplots().plot(NUMBERS["number"][:count], NUMBERS["square"][:count])
    report.table(NUMBERS[:count], "squares", "Squares.")
    report.figure(figure, "squares", NUMBERS[:count], "Squares.")


def test_a_figure_that_fails_half_way_keeps_the_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path))
    report = Report("01_study", "quick")
    save_report(report, 10)
    before = contents(tmp_path)
    with short_files(2**13), pytest.raises(OSError, match=r"squares\.png could not be written"):
        save_report(report, 10)
    assert contents(tmp_path) == before
