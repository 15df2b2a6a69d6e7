"""Runs a list of trials and keeps one JSON record for each, so that no finished work is lost.

A trial is a frozen dataclass that holds everything that decides its result. Its record is a file
named by the hash of the trial, written in one atomic step: a run that is killed loses the trials
it was in the middle of and nothing else. ``run`` does all trials of a list that have no record,
``gather`` those that medium runs lack, while there is time. ``python -m lib.engine.sweep pack
FOLDER`` gathers the files of ``FOLDER/trials`` into ``FOLDER/records.jsonl``, for version control.
"""

import hashlib
import json
import os
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from traceback import format_exc
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from lib.data.catalogue import fingerprints
from lib.engine.cluster import run_on_cluster
from lib.engine.files import write_atomically
from lib.engine.provenance import describe_device, provenance
from lib.engine.training import progress

ENGINES = ("joblib", "dask", "stored")


@dataclass(frozen=True)
class Context:
    """Where a trial runs; nothing in it may change the result beyond rounding.

    checkpoint: a file from which a long trial may resume, removed once the trial is stored.
    data_root: where data sets are looked for first. artefacts: folder of what several trials share
    (see lib/engine/artefacts.py). stored: whether one that is not there may not be built.
    """

    device: torch.device
    checkpoint: Path | None = None
    data_root: Path | None = None
    artefacts: Path | None = None
    stored: bool = False


Trial = Any  # a frozen dataclass
TrialFunction = Callable[[Trial, Context], dict]
Plan = Callable[[], Iterable[tuple[TrialFunction, Trial]]]
SAID = 240  # characters of an error that are shown


def trial_key(trial: Trial) -> str:
    """Name of a trial: a hash over its class and all its fields."""
    spec = {"trial": type(trial).__name__, **asdict(trial)}
    text = json.dumps(spec, sort_keys=True, default=_to_json, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """A folder of records, one file a trial; safe for several writers at once.

    Beside it may lie ``records.jsonl`` with earlier records; a file goes before a line.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.packed = self.folder.with_name("records.jsonl")

    def path(self, trial: Trial) -> Path:
        return self.folder / f"{trial_key(trial)}.json"

    def read(self, trial: Trial) -> dict | None:
        """The record of a trial; None if there is none that can be read."""
        path = self.path(trial)
        record = self._read_file(path)
        return record if _is_success(record) else self._lines.get(path.stem, record)

    def _read_file(self, path: Path) -> dict | None:
        try:
            return _checked(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"damaged record {path} ({error}): its trial runs again", stacklevel=1)
            return None

    @cached_property
    def _lines(self) -> dict[str, dict]:
        """The records of ``records.jsonl``; what is packed later has a file as well."""
        return read_packed(self.packed)[0]

    def pack(self) -> int:
        """Gather the folder's finished records into ``records.jsonl``; returns how many it holds.

        They are sorted by key, so that equal records make an equal file. A failed trial stays where
        it is, a damaged line at the end. Two runs that pack at once wait for each other.
        """
        with FileLock(self.folder / ".pack.lock"):
            records, damaged = read_packed(self.packed)
            for path in self.folder.glob("*.json"):
                if _is_success(record := self._read_file(path)):
                    records[path.stem] = record
            whole = sorted(records.items())
            lines = [json.dumps({"key": key, **record}, default=_to_json) for key, record in whole]
            text = "".join(f"{line}\n" for line in lines + damaged)
            if text and (not self.packed.exists() or self.packed.read_text("utf-8") != text):
                write_atomically(self.packed, text)
        return len(records)

    def is_empty(self) -> bool:
        """Whether it holds no record, of any trial."""
        return not self._lines and not any(self.folder.glob("*.json"))

    def is_done(self, trial: Trial) -> bool:
        return _is_success(self.read(trial))

    def has_file(self, trial: Trial, data: Mapping[str, str] | None = None) -> bool:
        """Whether the folder itself holds a success, which another run may just have written.

        data: fingerprints of the data sets here; a success on others then does not count.
        """
        record = self._read_file(self.path(trial))
        return _is_success(record) and same_data(record.get("fingerprints"), data)

    def is_of_other_data(self, trial: Trial, root: str | None) -> bool:
        """Whether the folder holds a success on other data than lies in the data root."""
        record = self._read_file(self.path(trial))
        if not _is_success(record):
            return False
        return not same_data(record.get("fingerprints"), fingerprints(asdict(trial), root))

    def write(self, trial: Trial, record: dict) -> None:
        """Store a record; a failure never replaces a success that another run stored."""
        if _is_success(record) or not self.has_file(trial, record.get("fingerprints")):
            write_atomically(self.path(trial), json.dumps(record, indent=1, default=_to_json))

    def table(self, trials: Iterable[Trial]) -> pd.DataFrame:
        """One row for each trial that has a record: its fields, metrics and circumstances."""
        records = [record for record in map(self.read, trials) if record is not None]
        rows = [record["trial"] | record["metrics"] | record for record in records]
        return pd.DataFrame(rows).drop(columns=["trial", "metrics"], errors="ignore")


def rows_with(table: pd.DataFrame, status: str) -> pd.DataFrame:
    """The trials of a table that are ``ok``, or ``error``; an empty table has no columns."""
    return table[table["status"] == status] if len(table) else table


def read_packed(path: Path) -> tuple[dict[str, dict], list[str]]:
    """The records of a ``records.jsonl`` by key, and its lines that are none, with a warning."""
    records, damaged = {}, {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = _checked(json.loads(line))
            records[str(record.pop("key"))] = record
        except (ValueError, KeyError, TypeError):
            damaged[str(number)] = line
    if damaged:
        where = f"line{'s' * (len(damaged) > 1)} {', '.join(damaged)} of {path}"
        warnings.warn(f"damaged {where}: what was recorded there runs again", stacklevel=2)
    return records, list(damaged.values())


def _checked(record: dict) -> dict:
    """A record, if it has the shape of one; ValueError, KeyError or TypeError if not."""
    whole = all(isinstance(record[part], dict) for part in ("trial", "metrics"))
    if not whole or record["status"] not in ("ok", "error"):
        raise ValueError("not a record's shape")
    return record


def _is_success(record: dict | None) -> TypeGuard[dict]:
    return record is not None and record["status"] == "ok"


def same_data(stored: Mapping[str, str] | None, here: Mapping[str, str] | None) -> bool:
    """Whether no data set has two fingerprints; older records have none, nor have absent sets."""
    stored, here = stored or {}, here or {}
    return all(here.get(name, digest) == digest for name, digest in stored.items())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, numbers are computed by one thread, as rounding differs with their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)  # with one job this is the caller's own process


def execute(
    function: TrialFunction,
    trial: Trial,
    folder: str,
    device: str = "",
    data_root: str | None = None,
) -> None:
    """Run one trial and store its record; an exception becomes a record too.

    device: "" is the first GPU of this machine, else the CPU.
    """
    store, data = Store(folder), fingerprints(asdict(trial), data_root)
    if store.has_file(trial, data):  # another run on the same store was faster
        return
    checkpoint = store.path(trial).with_suffix(".checkpoint")
    place = torch.device(device or available_devices()[0])
    root = Path(data_root) if data_root else None
    record: dict[str, Any] = {"status": "ok", "trial": asdict(trial), "metrics": {}, "error": ""}
    start = time.perf_counter()
    with _one_thread():
        try:
            metrics = function(trial, Context(place, checkpoint, root, store.folder))
            if not isinstance(metrics, dict):
                raise TypeError(f"a trial returns a dict, not {type(metrics).__name__}")
            json.dumps(metrics, default=_to_json)  # whether it can be stored
            record["metrics"] = metrics
        except Exception as error:
            told = [f"{type(error).__name__}: {error}", format_exc()]
            # without the surrogates that stand for bytes of a path that are no UTF-8
            told = [text.encode("utf-8", "backslashreplace").decode() for text in told]
            record |= {"status": "error", "error": told[0], "traceback": told[1]}
        record["seconds"] = round(time.perf_counter() - start, 3)
        record |= {"device": describe_device(place), "fingerprints": data, **provenance()}
    store.write(trial, record)
    if record["status"] == "ok":
        checkpoint.unlink(missing_ok=True)


def run(
    function: TrialFunction,
    trials: Sequence[Trial],
    store: str | Path,
    *,
    engine: str = "joblib",
    jobs: int = 0,
    address: str = "",
    device: str = "",
    data_root: str | Path = "",
) -> pd.DataFrame:
    """Bring the store up to date with the trials and return their table.

    function: an importable function ``(trial, context) -> metrics`` (a flat dict).
    engine: ``joblib`` on this machine with ``jobs`` processes (default: one a GPU, else one a
        core), ``dask`` on the scheduler at ``address`` (workers must see ``store``), or
        ``stored``, which runs nothing.
    device: default: the GPUs in turn, else the CPU. data_root: where data sets are looked for
        first. A trial whose record is of other data than lies there runs again; a packed record
        counts wherever its data came from.
    Failed trials are rows with status ``error`` and are tried again by the next call. Raises
    RuntimeError, with the number of stored trials, when a worker dies or cannot store its record,
    and FileNotFoundError for ``stored`` where no record is, of any trial.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}, not {engine!r}")
    records = Store(store)
    if engine == "stored" and records.is_empty():
        told = f"nothing is stored in {records.folder.parent}; run without engine=stored"
        raise FileNotFoundError(told)
    unique = list({trial_key(trial): trial for trial in trials}.values())
    root = str(Path(data_root).expanduser().resolve()) if data_root else None
    others = {trial for trial in unique if records.is_of_other_data(trial, root)}
    missing = [trial for trial in unique if trial in others or not records.is_done(trial)]
    print(f"{len(unique) - len(missing)} stored, {len(missing)} to do")
    if others:
        print(f"{len(others)} of them are stored, but of other data than lies here")
    # a Dask worker looks for a GPU on its own machine, not on the caller's
    devices = [device] if device or engine == "dask" else available_devices()
    calls = [
        (function, trial, str(records.folder.resolve()), devices[i % len(devices)], root)
        for i, trial in enumerate(missing)
    ]
    try:
        if calls and engine == "dask":
            run_on_cluster(execute, calls, address)
        elif calls and engine == "joblib":
            jobs = jobs or (len(devices) if devices[0] != "cpu" else cpu_count())
            with Parallel(min(jobs, len(calls)), return_as="generator_unordered") as pool:
                done = pool(delayed(execute)(*call) for call in calls)
                deque(progress(done, total=len(calls), desc="trials"), maxlen=0)
    except (BrokenExecutor, OSError) as error:
        cause, stored = str(error).partition("\n")[0], sum(map(records.is_done, unique))
        raise RuntimeError(
            f"the sweep stopped: {cause.rstrip('.')}; {stored} of {len(unique)} trials "
            f"are stored in {records.folder}; the same call does the others"
        ) from error
    table = records.table(unique)
    for reason, count in Counter(rows_with(table, "error").get("error", ())).most_common():
        print(f"{count} failed: {reason}")
    return table


def available_devices() -> list[str]:
    """Every accelerator that PyTorch sees, else the CPU."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    numbers = range(torch.accelerator.device_count() if kind else 0)
    return [f"{kind.type}:{number}" for number in numbers if kind] or ["cpu"]


def checked_device(name: str) -> str:
    """A device's name, "" for "auto"; ValueError for one that this machine does not have."""
    here = [*dict.fromkeys([*available_devices(), "cpu"])]
    if name not in ("", "auto", *here, *(other.partition(":")[0] for other in here)):
        raise ValueError(f"device must be auto, {' or '.join(here)}, not {name!r}")
    return "" if name == "auto" else name


def chosen_device(name: str = "auto") -> torch.device:
    """The device of a name, "auto" for the first accelerator, else the CPU."""
    return torch.device(checked_device(name) or available_devices()[0])


def gather(plans: Mapping[str, Plan], folder: Path, minutes: float) -> pd.DataFrame:
    """Run missing trials until the time is up, then pack the records.

    plans: notebook -> its plan, which gives every trial with its function, the most decisive ones
        first. The notebooks take turns, one trial each. folder: reports of the profile.
    A trial in progress is finished when the time is up; Ctrl-C, before, loses that one. A failed
    trial is not tried twice, and a notebook whose data set is missing is skipped, with one line.
    Returns a row for each notebook: trials stored and missing.
    """
    deadline = time.monotonic() + 60 * minutes
    trials: dict[str, dict[str, tuple[TrialFunction, Trial]]] = {}  # by key, as they are wanted
    for name, plan in plans.items():
        try:
            trials[name] = {trial_key(trial): (function, trial) for function, trial in plan()}
        except FileNotFoundError as error:
            print(f"{name} is skipped: {error}"[:SAID])
    stores = {name: Store(folder / name / "trials") for name in trials}
    turns = deque((name, deque(_missing(trials[name], stores[name]))) for name in trials)
    try:
        while turns and time.monotonic() < deadline:
            name, keys = turns.popleft()
            if keys and _run_one(name, stores[name], *trials[name][keys.popleft()]):
                turns.append((name, keys))
    except KeyboardInterrupt:
        print("stopped")
    rows = []
    for name, store in stores.items():
        store.pack()
        missing = len(_missing(trials[name], store))
        rows.append((name, len(trials[name]) - missing, missing))
    return pd.DataFrame(rows, columns=["notebook", "stored", "missing"])


def be_nice() -> None:
    """Leave the processor to whoever else wants it; Windows knows no such priority."""
    if hasattr(os, "nice"):
        os.nice(19)


def _missing(trials: Mapping[str, tuple], store: Store) -> list[str]:
    return [key for key, (_, trial) in trials.items() if not store.is_done(trial)]


def _run_one(name: str, store: Store, function: TrialFunction, trial: Trial) -> bool:
    """Run one trial and say so; whether the notebook's data set is there."""
    start = time.monotonic()
    execute(function, trial, str(store.folder))
    error = (store.read(trial) or {"error": "no record"})["error"]
    if error.startswith("FileNotFoundError"):
        print(f"{name} is skipped: {error}"[:SAID], flush=True)
        return False
    result = f"failed: {error}"[:SAID] if error else "done"
    what = f"{name} {type(trial).__name__} {trial_key(trial)}"
    print(f"{what} {result}, {time.monotonic() - start:.0f} s", flush=True)
    return True


def _to_json(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"a trial or metric of type {type(value).__name__} cannot be stored as JSON")


def _main(arguments: Sequence[str]) -> None:
    folders = [Path(name) for name in arguments[1:]]
    if arguments[:1] != ["pack"] or not folders:
        sys.exit("usage: python -m lib.engine.sweep pack FOLDER ...")
    for folder in folders:
        if not folder.is_dir():
            sys.exit(f"no folder {folder}")
        store = Store(folder / "trials")
        print(f"{store.pack()} records in {store.packed}")


if __name__ == "__main__":
    _main(sys.argv[1:])
