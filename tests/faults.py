"""Small disks, kills at a chosen moment, and trial functions for the tests of faults."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from trials import Toy, beside, work

from lib.engine.artefacts import artefact
from lib.engine.files import REPOSITORY

ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests")))
}
PARAMETERS = 'profile = "quick"  # quick | medium | paper\njobs = 1  # processes'
SWEEP = """
from lib.engine import sweep
from lib.ledger.report import Report
from faults import wait_for, waits
from trials import grid
report = Report("01_study", profile)
table = sweep.run(waits, grid(6), report.trials, jobs=jobs)
"""
DRAWING = """
from matplotlib.figure import Figure
for name in ("square", "half"):
    figure = Figure()
    figure.subplots().plot(table["number"], table[name])
    report.figure(figure, name, table[["number", name]], f"The {name}.")
    wait_for((report.folder / "go_on_drawing").exists)
report.table(table[["number", "square", "half", "status"]], "numbers", "Numbers.")
"""
# Every process with this on its path looks at $DIE_BEFORE, the name of a file. It kills itself by
# signal 9 when the new content of that file is written and about to replace the old.
DIE_BEFORE = """
import os, signal
from pathlib import Path
replace, name = os.replace, os.environ.get("DIE_BEFORE")

def replace_or_die(source, target):
    if Path(target).name == name:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace_or_die
"""


def wait_for(condition, process: subprocess.Popen | None = None, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if process and process.poll() is not None:
            pytest.fail(f"it ended too soon: {process.communicate()[0]}")
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def python(code: str, environment: dict[str, str] = ENVIRONMENT, **options) -> subprocess.Popen:
    """A process that runs some code and can import what the tests can."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of its own; the test is skipped where none can be mounted."""
    folder.mkdir()
    if not mount(folder, f"size={kilobytes}k"):
        pytest.skip("no disk can be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def short_files(size: int) -> Iterator[None]:
    """No file may be longer: a write that fails half way, for any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_study(folder: Path, *code: str, parameters: str = PARAMETERS) -> Path:
    """A folder with one notebook."""
    cells = [new_code_cell(text.strip()) for text in (parameters, *code)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    folder.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "01_study.ipynb")
    return folder


def dying(folder: Path, file: str) -> dict[str, str]:
    """The environment of processes that do not survive the replacement of a file."""
    (folder / "sitecustomize.py").write_text(DIE_BEFORE)
    path = os.pathsep.join((str(folder), ENVIRONMENT["PYTHONPATH"]))
    return ENVIRONMENT | {"PYTHONPATH": path, "DIE_BEFORE": file}


def start(
    study: Path, reports: Path, *arguments: str, environment: dict[str, str] = ENVIRONMENT
) -> subprocess.Popen:
    """The batch runner, in a session of its own."""
    program = [str(REPOSITORY / "papermill_runs.py"), "--folder", str(study), *arguments]
    return subprocess.Popen(
        [sys.executable, *program],
        env=environment | {"REPORTS_ROOT": str(reports)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    """What it printed."""
    try:
        return process.communicate(timeout=300)[0]
    finally:
        process.kill()


def kill_nine(process: subprocess.Popen, kill: Callable[[int, int], None]) -> None:
    """Nothing that it started goes on computing."""
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2  # papermill and the kernel
    kill(process.pid, signal.SIGKILL)
    said = finish(process)
    assert process.returncode == -signal.SIGKILL, said
    assert not psutil.wait_procs(below, timeout=60)[1]


def status(said: str) -> str:
    return re.findall(r"^01_study +(\w+) ", said, re.MULTILINE)[-1]


def printed(results: Path) -> str:
    """All text that the last successful run put out."""
    cells = nbformat.read(results / "executed.ipynb", 4).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


def drawn(results: Path) -> dict[Path, bytes]:
    """What a study shows, without the dates and seconds."""
    parts = ("figures", "tables", "contents.json")
    files = {path.relative_to(results): data for path, data in contents(results).items()}
    return {path: data for path, data in files.items() if path.parts[0] in parts}


def waits(trial: Toy, context: object) -> dict:
    """From number 3 on, wait until somebody makes the file ``go``."""
    if trial.number >= 3:
        wait_for(beside(context, "go").exists)
    return work(trial, context)


def meets(trial: Toy, context: object) -> dict:
    """Go on when a second process is here too."""
    beside(context, f"here_{os.getpid()}").touch()
    wait_for(lambda: len(list(beside(context, "").glob("here_*"))) == 2)
    return work(trial, context)


def needs_artefact(trial: Toy, context: object) -> dict:
    """Its number, by way of 400 kB that are kept."""
    tensors = artefact(trial, context, lambda: {"a": torch.full((10**5,), float(trial.number))})
    return {"mean": tensors["a"].mean().item()}


def reads_data(trial: Toy, context: object) -> dict:
    return {"word": (context.data_root / "größe 数.txt").read_text(encoding="utf-8")}
