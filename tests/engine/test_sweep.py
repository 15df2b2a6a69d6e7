"""The sweep: no finished trial is ever lost, repeated or half written."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from faults import ENVIRONMENT, python, wait_for
from threadpoolctl import threadpool_info
from trials import (
    Toy,
    blocks_its_record,
    dies_once,
    gives_a_set,
    gives_nothing,
    grid,
    unlucky,
    work,
)

from lib.engine.sweep import Store, run, trial_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def logged(folder: Path) -> list[str]:
    log = folder.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


def results(table) -> list[tuple]:
    return list(table[["number", "square", "odd", "half", "status"]].itertuples(index=False))


def test_key_is_the_same_in_another_process_and_changes_with_every_field():
    trial = Toy(1, 0.5, "b", (0, 2))
    call = "print(trial_key(Toy(1, .5, 'b', (0, 2))))"
    code = f"from trials import Toy; from lib.engine.sweep import trial_key; {call}"
    other = python(code, ENVIRONMENT | {"PYTHONHASHSEED": "7"})
    assert other.communicate(timeout=60)[0].strip() == trial_key(trial)

    @dataclass(frozen=True)
    class Other(Toy):
        pass

    changed = [
        replace(trial, number=2),
        replace(trial, pause=0.25),
        replace(trial, label="c"),
        replace(trial, levels=(0,)),
        Other(1, 0.5, "b", (0, 2)),
    ]
    assert len({trial_key(t) for t in (trial, *changed)}) == 6


def test_a_trial_with_a_nan_has_no_key():
    with pytest.raises(ValueError):
        trial_key(Toy(1, float("nan")))


def test_only_what_is_missing_runs_and_numpy_values_are_stored(folder, capsys):
    run(work, grid(2), folder, jobs=1)
    assert capsys.readouterr().out == "0 stored, 2 to do\n"
    table = run(work, [*grid(5), Toy(4)], folder, jobs=1)
    assert capsys.readouterr().out == "2 stored, 3 to do\n"
    assert [line.split()[0] for line in logged(folder)] == ["0", "1", "2", "3", "4"]
    assert results(table) == [(n, n * n, bool(n % 2), n / 2, "ok") for n in range(5)]
    assert table["list"].tolist() == [[n] for n in range(5)]
    assert {"seconds", "device", "commit", "dirty", "versions"} <= set(table.columns)


def test_a_failure_is_a_row_and_is_tried_again(folder, capsys):
    table = run(unlucky, grid(4), folder, jobs=1)
    assert table["status"].tolist() == ["ok", "error", "ok", "error"]
    assert table["error"].tolist() == ["", "ValueError: odd numbers are unlucky"] * 2
    assert "in unlucky" in table["traceback"][1]
    assert capsys.readouterr().out.endswith("2 failed: ValueError: odd numbers are unlucky\n")
    (folder.parent / "luck").touch()
    table = run(unlucky, grid(4), folder, jobs=1)
    assert capsys.readouterr().out == "2 stored, 2 to do\n"
    assert table["status"].tolist() == ["ok"] * 4
    assert sorted(line.split()[0] for line in logged(folder)) == ["0", "1", "2", "3"]


def raises_odd_bytes(trial, context):
    raise ValueError(f"{os.fsdecode(b'caf' + bytes([0xE9]))}.png cannot be read")


def test_a_file_name_that_is_no_utf_8_can_be_told(folder, capsys):
    told = run(raises_odd_bytes, grid(1), folder, jobs=1)["error"].item()
    assert told == r"ValueError: caf\udce9.png cannot be read"
    capsys.readouterr().out.encode("utf-8")  # as a terminal or a log would


@pytest.mark.parametrize(
    ("function", "message"),
    [(gives_a_set, "type set cannot be stored"), (gives_nothing, "not NoneType")],
)
def test_metrics_that_cannot_be_stored_are_a_failed_row(folder, function, message):
    table = run(function, grid(2), folder, jobs=1)
    assert table["status"].tolist() == ["error"] * 2
    assert table["error"].str.contains(message).all()


def threads(trial, context):
    """How many threads torch, BLAS and OpenMP would take."""
    pools = [pool["num_threads"] for pool in threadpool_info()]
    return {"torch": torch.get_num_threads(), "most": max(pools)}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_a_trial_has_one_thread_however_many_run(folder, count, jobs):
    """Rounding differs with the number of threads, so that the last missing trial would differ."""
    torch.set_num_threads(2)
    table = run(threads, grid(count), folder, jobs=jobs)
    assert torch.get_num_threads() == 2  # the caller's own are as they were
    assert table[["torch", "most"]].to_numpy().tolist() == [[1, 1]] * count
    assert table["device"].str.endswith(", 1 threads)").all() or torch.cuda.is_available()


def test_a_failure_never_replaces_a_success(folder):
    store, trial = Store(folder), Toy(1)
    success = {"status": "ok", "trial": {"number": 1}, "metrics": {"square": 1}}
    failure = {"status": "error", "trial": {"number": 1}, "metrics": {}}
    store.write(trial, failure)
    assert store.read(trial) == failure
    store.write(trial, success)
    store.write(trial, failure)
    assert store.read(trial) == success


def test_a_worker_that_cannot_store_stops_the_sweep_with_one_message(folder):
    with pytest.raises(RuntimeError) as caught, pytest.warns(UserWarning, match="damaged record"):
        run(blocks_its_record, grid(4), folder, jobs=2)
    blocked = Store(folder).path(Toy(2))
    assert f"{blocked} could not be written" in str(caught.value)
    blocked.rmdir()
    # of the failed write itself; a worker that is ended in mid-write beside it leaves its own
    assert not list(folder.glob(f".{blocked.name}.*")), "temporary files are left"
    kept = len(records(folder))
    assert f"{kept} of 4 trials are stored" in str(caught.value)
    assert results(run(work, grid(4), folder, jobs=1))[2] == (2, 4, False, 1.0, "ok")


def test_a_killed_worker_stops_the_sweep_and_the_next_call_goes_on(folder, capsys):
    with pytest.raises(RuntimeError) as caught:
        run(dies_once, grid(8, pause=0.05), folder, jobs=2)
    stored = len(records(folder))
    assert 2 <= stored < 8
    assert f"{stored} of 8 trials are stored" in str(caught.value)
    capsys.readouterr()
    table = run(dies_once, grid(8, pause=0.05), folder, jobs=2)
    assert capsys.readouterr().out == f"{stored} stored, {8 - stored} to do\n"
    assert table["square"].tolist() == [n * n for n in range(8)]


def test_kill_nine_in_mid_run_loses_only_what_was_running(folder, tmp_path, capsys):
    trials = grid(12, pause=0.2)
    call = f"run(work, grid(12, 0.2), {str(folder)!r}, jobs=2)"
    code = f"from trials import grid, work; from lib.engine.sweep import run; {call}"
    process = python(code, start_new_session=True)
    wait_for(lambda: len(logged(folder)) >= 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ran, stored = len(logged(folder)), len(records(folder))
    assert 1 <= stored < 12
    assert ran - stored <= 2, "more than the two running trials were lost"
    table = run(work, trials, folder, jobs=1)
    assert capsys.readouterr().out == f"{stored} stored, {12 - stored} to do\n"
    assert len(logged(folder)) - ran == 12 - stored
    undisturbed = run(work, grid(12), tmp_path / "a" / "store", jobs=1)
    assert results(table) == results(undisturbed)


def test_dask_survives_a_killed_worker(folder):
    from dask.distributed import LocalCluster

    trials = grid(12, pause=0.2)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    killed = []

    def kill_one():
        wait_for(lambda: len(logged(folder)) >= 4)
        killed.append(int(logged(folder)[-1].split()[1]))
        os.kill(killed[0], signal.SIGKILL)

    with LocalCluster(**options, dashboard_address=None) as cluster:
        killer = threading.Thread(target=kill_one)
        killer.start()
        table = run(work, trials, folder, engine="dask", address=cluster.scheduler_address)
        killer.join()
    assert killed and killed[0] != os.getpid()
    assert table["status"].tolist() == ["ok"] * 12
    assert sorted(r["trial"]["number"] for r in records(folder)) == list(range(12))
    assert len(list(folder.iterdir())) == 12
    workers = {line.split()[1] for line in logged(folder)}
    assert len(workers) >= 2


def test_unknown_engine_and_missing_address_are_refused(folder):
    with pytest.raises(ValueError, match="'slurm'"):
        run(work, grid(1), folder, engine="slurm")
    with pytest.raises(ValueError, match="address of a scheduler"):
        run(work, grid(1), folder, engine="dask")
