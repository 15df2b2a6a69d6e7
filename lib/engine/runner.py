"""Runs notebooks one after another or several at once, each into its own results folder.

A run goes to ``executed.partial.ipynb`` and becomes ``executed.ipynb`` only when it succeeded, so
a kill or a failure costs no earlier result. ``fingerprint.json`` says what that was made from.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO

import nbformat
from tqdm import tqdm

from lib.engine import notebooks
from lib.engine.files import reports_root, write_atomically
from lib.engine.processes import is_running, locked, start_module, tree_memory

SAMPLE_SECONDS = 0.5
GIB = 2**30


@dataclass(frozen=True)
class Job:
    """One notebook to run: its file, where its results go, the parameters as typed."""

    notebook: Path
    folder: Path
    values: dict[str, str]
    force: bool = False
    refresh: bool = False

    @property
    def executed(self) -> Path:
        """The last run that succeeded."""
        return self.folder / "executed.ipynb"

    @property
    def partial(self) -> Path:
        """The run that is going on, or the last one that failed."""
        return self.folder / "executed.partial.ipynb"

    @property
    def record(self) -> Path:
        """What the last success was made from, its minutes and memory."""
        return self.folder / "fingerprint.json"

    @property
    def cells(self) -> int:
        """Code cells to run."""
        return len(notebooks.code_cells(notebooks.read(self.notebook)))

    def fingerprint(self) -> str:
        """Equal as long as a new run would do the same."""
        return notebooks.fingerprint(self.notebook, self.values)


@dataclass
class Row:
    """A line of the closing table."""

    notebook: str
    status: str = "failed"
    minutes: float = 0.0
    peak_gib: float = 0.0
    error: str = ""

    def __str__(self) -> str:
        return f"{self.notebook:40} {self.status:8} {self.minutes:8.2f} {self.peak_gib:9.2f}"


class Stopped(Exception):
    """The user stopped the batch."""


def stored_run(job: Job) -> Row | None:
    """The row of an earlier run that still holds; None if the notebook must run."""
    try:
        record = json.loads(job.record.read_text(encoding="utf-8"))
        notebooks.read(job.executed)  # a crash of the machine may have cut it off
        holds = record["fingerprint"] == job.fingerprint()
        row = Row(job.notebook.stem, "skipped", record["minutes"], record["peak_gib"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return row if holds else None


def papermill_arguments(job: Job) -> list[str]:
    """The command line that runs a notebook into its partial file."""
    paths = [notebooks.format_safe(path) for path in (job.notebook, job.partial)]
    values = [word for pair in job.values.items() for word in ("-p", *pair)]
    return [*paths, "--cwd", str(job.notebook.parent), "--no-progress-bar", *values]


def environment() -> dict[str, str]:
    """The notebook runs in its own folder, so relative roots must not reach it."""
    roots = {"REPORTS_ROOT": str(reports_root().resolve())}
    if os.environ.get("DATA_ROOT"):
        roots["DATA_ROOT"] = str(Path(os.environ["DATA_ROOT"]).resolve())
    return os.environ | roots


def run_papermill(job: Job, lock: IO, stop: Event, bar: tqdm) -> tuple[str, float]:
    """Run a notebook and return what went wrong ("" for nothing) and the peak memory in GiB."""
    peak, done, cells = 0, 0, job.cells
    with (
        tempfile.TemporaryFile() as log,
        start_module(
            "papermill", papermill_arguments(job), log=log, lock=lock, environment=environment()
        ) as child,
    ):
        while is_running(child, SAMPLE_SECONDS):
            if stop.is_set():
                raise Stopped
            peak = max(peak, tree_memory(child.pid))
            now = done if bar.disable else notebooks.executed_cells(job.partial) or done
            bar.update(now - done)
            done = now
        bar.update(cells - done)
        log.seek(0)
        said = notebooks.last_lines(log.read().decode("utf-8", "replace"))
    if child.returncode == 0:
        return "", peak / GIB
    why = notebooks.failure(job.partial) or said or f"papermill ended with {child.returncode}"
    return f"{why}\nas far as it came: {job.partial}", peak / GIB


def keep(job: Job, row: Row, fingerprint: str) -> None:
    """Make a finished partial the result, with its page and its record."""
    from nbconvert import HTMLExporter

    title = {"metadata": {"name": job.notebook.stem}}
    page, _ = HTMLExporter().from_notebook_node(notebooks.read(job.partial), resources=title)
    job.record.unlink(missing_ok=True)  # killed between here and the end, it runs again
    write_atomically(job.folder / "notebook.html", page)
    os.replace(job.partial, job.executed)
    record = {"fingerprint": fingerprint, "minutes": row.minutes, "peak_gib": row.peak_gib}
    write_atomically(job.record, json.dumps(record, indent=1) + "\n")


def write_back(job: Job) -> None:
    """Put the outputs of the last run into the committed notebook."""
    notebook = notebooks.committed(notebooks.read(job.notebook), notebooks.read(job.executed))
    text = nbformat.writes(notebook) + "\n"
    if job.notebook.read_text(encoding="utf-8") != text:
        write_atomically(job.notebook, text)


def execute(job: Job, row: Row, lock: IO, stop: Event, bar: tqdm) -> None:
    """Run a notebook and fill in its row."""
    fingerprint, start = job.fingerprint(), time.monotonic()
    job.partial.unlink(missing_ok=True)
    row.error, row.peak_gib = run_papermill(job, lock, stop, bar)
    row.minutes = round((time.monotonic() - start) / 60, 4)
    if not row.error:
        keep(job, row, fingerprint)
        row.status = "ok"


def run_one(job: Job, stop: Event, bar: tqdm) -> Row:
    """Bring one notebook's results up to date; whatever goes wrong becomes its row."""
    row = Row(job.notebook.stem)
    try:
        with locked(job.folder) as lock:
            stored = None if job.force else stored_run(job)
            if stored:
                row = stored
                bar.total -= job.cells
            else:
                execute(job, row, lock, stop, bar)
            if job.refresh and not row.error:
                write_back(job)
    except Stopped:
        raise
    except Exception as error:
        row.status, row.error = "failed", f"{type(error).__name__}: {error}"
    return row


def run_all(jobs: Sequence[Job], workers: int) -> list[Row]:
    """The rows of all notebooks, ``workers`` of them at once; Ctrl-C ends their processes."""
    watched = sys.stderr.isatty() and not os.environ.get("TQDM_DISABLE")
    stop = Event()
    total = sum(job.cells for job in jobs)
    with (
        tqdm(total=total, unit="cell", disable=not watched, dynamic_ncols=True) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        runs = [pool.submit(run_one, job, stop, bar) for job in jobs]
        try:
            for run in as_completed(runs):
                row = run.result()
                bar.set_postfix_str(f"{row.notebook} {row.status}")
                if not watched:
                    print(f"{row.notebook}: {row.status}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [run.result() for run in runs]
