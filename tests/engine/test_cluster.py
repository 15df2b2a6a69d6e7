"""What a Dask scheduler or its workers cannot do is told in one sentence, not waited for."""

from __future__ import annotations

import socket
from concurrent.futures import BrokenExecutor
from types import SimpleNamespace

import pytest
from trials import grid, work

from lib.engine import cluster
from lib.engine.provenance import code_fingerprint
from lib.engine.sweep import run


class Scheduler:
    """A client's view of a scheduler; code: what the workers say of theirs, or what they raise."""

    def __init__(self, workers: int, code: object = "") -> None:
        self.workers, self.code = {f"tcp://w{n}": {} for n in range(workers)}, code

    def scheduler_info(self) -> dict:
        return {"workers": self.workers}

    def wait_for_workers(self, count: int, timeout: float) -> None:
        raise TimeoutError

    def run(self, function, module: str) -> dict:
        if isinstance(self.code, Exception):
            raise self.code
        return dict.fromkeys(self.workers, self.code or function(module))


def test_an_address_where_something_else_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=f"answers at {address} is no Dask scheduler"):
            run(work, grid(1), tmp_path / "store", engine="dask", address=address)


def test_a_scheduler_without_workers(capsys):
    with pytest.raises(BrokenExecutor, match="no worker came to tcp://s in 6 h"):
        cluster._check_workers(Scheduler(0), "tcp://s", "json")
    assert capsys.readouterr().out == "waiting for workers at tcp://s\n"


def test_workers_that_lack_the_code_or_have_another_version():
    cluster._check_workers(Scheduler(2), "tcp://s", "json")
    cluster._check_workers(Scheduler(1, code_fingerprint()), "tcp://s", "json")
    missing = ModuleNotFoundError("No module named 'mine'")
    with pytest.raises(BrokenExecutor, match="a worker at tcp://s lacks this code: No module nam"):
        cluster._check_workers(Scheduler(1, missing), "tcp://s", "mine")
    with pytest.raises(BrokenExecutor, match="another version of lib: tcp://w0, tcp://w1"):
        cluster._check_workers(Scheduler(2, "older"), "tcp://s", "json")


def test_workers_that_are_gone_are_told_and_not_waited_for_without_end(monkeypatch, capsys):
    def nothing_yet(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(cluster, "HOURS", 0)
    monkeypatch.setattr("dask.distributed.wait", nothing_yet)
    with pytest.raises(BrokenExecutor, match="no worker has been left"):
        list(cluster._finished(Scheduler(0), ["future"]))
    assert capsys.readouterr().out == "no worker is left: waiting for others\n"


def test_futures_come_as_they_are_done(monkeypatch):
    done = iter([{"b"}, {"a", "c"}])
    monkeypatch.setattr("dask.distributed.wait", lambda *_, **__: SimpleNamespace(done=next(done)))
    ended = list(cluster._finished(Scheduler(1), ["a", "b", "c"]))
    assert ended[0] == "b" and set(ended[1:]) == {"a", "c"}
