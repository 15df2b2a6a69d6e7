"""A child process that is measured, holds a lock, and ends with the one that started it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

LOCK_SECONDS = 5  # a run that was killed needs a moment to end its children

# ``python -m`` with a watch on standard input. It closes when the parent closes it or dies, be it
# by kill -9; then the child goes, and all below it.
RUN_MODULE = """
import os, runpy, sys, threading, psutil

def end_with_parent():
    os.read(0, 1)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def start_module(
    module: str, arguments: Sequence[str], *, log: IO, lock: IO, environment: Mapping[str, str]
) -> subprocess.Popen:
    """Start ``python -m module arguments``; leaving the ``with`` block of it ends it.

    log: file for standard error.
    lock: a file locked by ``locked``; the child keeps it too, so that the lock outlives a parent
        that is killed until the child is gone.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-c", RUN_MODULE, module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env=dict(environment),
        pass_fds=[lock.fileno()],
        start_new_session=True,  # Ctrl-C in a terminal reaches the parent only
    )


def is_running(child: subprocess.Popen, seconds: float) -> bool:
    """Wait at most so long for the child's end; whether it still runs."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return child.returncode is None


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and all below it (a page that two share counts twice)."""
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


@contextmanager
def locked(folder: Path) -> Iterator[IO]:
    """Hold a folder (made if need be) by its ``.lock``; RuntimeError if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as file:
        _acquire(file, time.monotonic() + LOCK_SECONDS)
        yield file


def _acquire(file: IO, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"being run by another process ({file.name})") from None
            time.sleep(0.2)
