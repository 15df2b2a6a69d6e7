"""Runs notebooks one after another or several at once, each into its own results folder.

A notebook runs in a child process, which holds the lock of the results folder and ends with the
process that started it. A run becomes the result only when it succeeded, so a kill or a failure
costs no earlier result.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from filelock import FileLock, Timeout

from lib.engine import notebooks
from lib.engine.files import REPOSITORY, data_root, reports_root, write_atomically

SAMPLE_SECONDS = 0.5
LOCK_SECONDS = 5  # a run that was killed needs a moment to end its processes


@dataclass(frozen=True)
class Job:
    """One notebook to run: its file, where its results go, its parameters.

    In its folder, ``executed`` is the last run that succeeded, ``partial`` the one that is going on
    or the last that failed, and ``record`` what the success was made from, its minutes and memory.
    """

    notebook: Path
    folder: Path
    values: dict[str, notebooks.Value]
    force: bool = False
    refresh: bool = False

    @property
    def executed(self) -> Path:
        return self.folder / "executed.ipynb"

    @property
    def partial(self) -> Path:
        return self.folder / "executed.partial.ipynb"

    @property
    def record(self) -> Path:
        return self.folder / "fingerprint.json"

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


def run_all(jobs: Sequence[Job], workers: int) -> list[Row]:
    """The rows of all notebooks, ``workers`` of them at once; Ctrl-C ends their processes."""
    bar = workers == 1 and sys.stderr.isatty() and not os.environ.get("TQDM_DISABLE")
    with futures.ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(run_one, job, bar) for job in jobs]
        try:
            for run in futures.as_completed(runs):
                row = run.result()
                line = f"{row.notebook}: {row.status}, {row.minutes:.2f} minutes"
                print(line, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(run.done() for run in runs):
                for child in multiprocessing.active_children():
                    end_below(child.pid)
                    child.kill()
                time.sleep(0.1)
            raise
    return [run.result() for run in runs]


def run_one(job: Job, bar: bool = False) -> Row:
    """Bring one notebook's results up to date; whatever goes wrong becomes its row.

    The records of its trials are packed, and with ``refresh`` its outputs go into the committed
    notebook.
    """
    row = (None if job.force else stored_run(job)) or _run_in_child(job, bar)
    if row.error:
        return row
    try:
        if (job.folder / "trials").is_dir():
            from lib.engine.sweep import Store  # here: what lists notebooks needs no torch

            Store(job.folder / "trials").pack()
        if job.refresh:
            source, executed = map(notebooks.read, (job.notebook, job.executed))
            text = nbformat.writes(notebooks.committed(source, executed)) + "\n"
            if job.notebook.read_text(encoding="utf-8") != text:
                write_atomically(job.notebook, text)
    except Exception as error:
        row.status, row.error = "failed", f"{type(error).__name__}: {error}"
    return row


def stored_run(job: Job) -> Row | None:
    """The row of an earlier run that is still valid; None if the notebook must run."""
    try:
        record = json.loads(job.record.read_text(encoding="utf-8"))
        notebooks.read(job.executed)  # a crash of the machine may have cut it off
        row = Row(job.notebook.stem, "skipped", record["minutes"], record["peak_gib"])
        return row if record["fingerprint"] == job.fingerprint() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _run_in_child(job: Job, bar: bool) -> Row:
    """The row of a run in a process of its own, even if that process is killed."""
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare_child) as pool:
        try:
            return pool.submit(execute, job, bar).result()
        except futures.BrokenExecutor:
            return Row(job.notebook.stem, error=f"its process was killed; so far: {job.partial}")


def _prepare_child() -> None:
    """Leave Ctrl-C to the parent, and set what a notebook and its kernel inherit.

    Roots become absolute, as a notebook runs in its own folder. The code that it imports is this
    repository's. A kernel warns of its debugger on descriptor 2, which is silenced; the bar has
    another.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["REPORTS_ROOT"] = str(reports_root().resolve())
    if os.environ.get("DATA_ROOT"):
        os.environ["DATA_ROOT"] = str(data_root().resolve())
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def execute(job: Job, bar: bool = False) -> Row:
    """Run a notebook and keep its results; whatever goes wrong becomes its row."""
    row, watch, start = Row(job.notebook.stem), Watch(), time.monotonic()
    watch.start()
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(job.folder / ".lock", timeout=LOCK_SECONDS):
            made_from = job.fingerprint()
            row.error = notebooks.run(job.notebook, job.partial, job.values, bar)
            row.minutes = round((time.monotonic() - start) / 60, 4)
            row.peak_gib = round(watch.peak, 4)
            if not row.error:
                page = notebooks.page(job.partial, job.notebook)
                job.record.unlink(missing_ok=True)  # killed between here and the end, it runs again
                write_atomically(job.folder / "notebook.html", page)
                os.replace(job.partial, job.executed)
                record = {"minutes": row.minutes, "peak_gib": row.peak_gib}
                text = json.dumps({"fingerprint": made_from, **record}, indent=1)
                write_atomically(job.record, f"{text}\n")
                row.status = "ok"
    except Timeout:
        row.error = f"being run by another process ({job.folder / '.lock'})"
    except Exception as error:
        row.error = f"{type(error).__name__}: {error}"
    return row


class Watch(threading.Thread):
    """Measures this process and all below it, and ends them when the parent process has ended.

    peak: largest resident memory so far, in GiB; a shared page counts twice.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        parent, process = multiprocessing.parent_process(), psutil.Process()
        while parent is None or parent.is_alive():
            total = 0
            for member in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):  # it has just ended
                    total += member.memory_info().rss
            self.peak = max(self.peak, total / 2**30)
            time.sleep(SAMPLE_SECONDS)
        end_below(os.getpid())
        os._exit(1)


def end_below(pid: int | None) -> None:
    """Kill all processes below one."""
    with suppress(psutil.Error):  # it has just ended
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
