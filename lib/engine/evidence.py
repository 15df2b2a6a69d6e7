"""Computes trials that the medium runs still lack, for as long as there is time.

A trial in progress is finished when the time is up. Whoever stops it earlier, by Ctrl-C, loses
that one trial (which may resume from its checkpoint) and nothing else.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from lib.engine.sweep import Store, TrialFunction, execute, trial_key

Plan = Callable[[], Iterable[tuple[TrialFunction, object]]]
SAID = 240  # characters of an error that are shown


@dataclass
class Notebook:
    """The trials of one notebook by their keys, in the order in which they are wanted."""

    name: str
    store: Store
    trials: dict[str, tuple[TrialFunction, object]]

    def missing(self) -> list[str]:
        """The keys of trials without a record of success."""
        return [key for key, (_, trial) in self.trials.items() if not self.store.is_done(trial)]


def gather(
    plans: Mapping[str, Plan], folder: Path, minutes: float, data_root: str | None = None
) -> pd.DataFrame:
    """Run missing trials until the time is up, then pack the records.

    plans: notebook -> its plan, which gives every trial with its function, the most decisive ones
        first. The notebooks take turns, one trial each.
    folder: reports of the profile; records go to ``<notebook>/trials`` and ``records.jsonl``.
    A failed trial is not tried twice in one call. A notebook whose data set is missing is skipped,
    with one line that says so. Returns a row for each notebook: trials stored and missing.
    """
    torch.set_num_threads(1)  # as in the notebooks
    notebooks = [n for name, plan in plans.items() if (n := _open(name, plan, folder / name))]
    try:
        _take_turns(notebooks, time.monotonic() + 60 * minutes, data_root)
    except KeyboardInterrupt:
        print("stopped")
    rows = []
    for notebook in notebooks:
        notebook.store.pack()
        missing = len(notebook.missing())
        rows.append((notebook.name, len(notebook.trials) - missing, missing))
    return pd.DataFrame(rows, columns=["notebook", "stored", "missing"])


def be_nice() -> None:
    """Leave the processor to whoever else wants it; Windows knows no such priority."""
    if hasattr(os, "nice"):
        os.nice(19)


def _open(name: str, plan: Plan, folder: Path) -> Notebook | None:
    try:
        trials = {trial_key(trial): (function, trial) for function, trial in plan()}
    except FileNotFoundError as error:
        print(f"{name} is skipped: {error}"[:SAID])
        return None
    return Notebook(name, Store(folder / "trials"), trials)


def _take_turns(notebooks: Iterable[Notebook], deadline: float, data_root: str | None) -> None:
    turns = deque((notebook, iter(notebook.missing())) for notebook in notebooks)
    while turns and time.monotonic() < deadline:
        notebook, keys = turns.popleft()
        key = next(keys, None)
        if key is not None and _run(notebook, key, data_root):
            turns.append((notebook, keys))


def _run(notebook: Notebook, key: str, data_root: str | None) -> bool:
    """Run one trial and say so; whether the notebook's data set is there."""
    function, trial = notebook.trials[key]
    start = time.monotonic()
    execute(function, trial, str(notebook.store.folder), "", data_root)
    record = notebook.store.read(trial) or {"error": "no record"}
    error = record["error"]
    if error.startswith("FileNotFoundError"):
        print(f"{notebook.name} is skipped: {error}"[:SAID], flush=True)
        return False
    result = f"failed: {error}"[:SAID] if error else "done"
    seconds = time.monotonic() - start
    print(f"{notebook.name} {type(trial).__name__} {key} {result}, {seconds:.0f} s", flush=True)
    return True
