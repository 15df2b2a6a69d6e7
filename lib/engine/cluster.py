"""Sweeps on the workers of a Dask scheduler; whatever would be waited for in vain is told."""

import importlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from typing import Any

from lib.engine.provenance import code_fingerprint
from lib.engine.training import progress

ANSWER = 45  # seconds until a scheduler must have answered; Dask itself gives up after 30
HOURS = 6  # without any worker, after which a sweep stops: jobs may wait in a queue
LOOK = 10  # seconds between two looks at the workers


def run_on_cluster(execute: Callable, calls: Sequence[tuple], address: str) -> None:
    """Call ``execute`` with each of the calls, whose first part is a function of a trial's module.

    Raises ValueError without an address, OSError where nothing answers there, and BrokenExecutor,
    in one sentence, where the scheduler or the workers cannot do the work.
    """
    if not address:
        raise ValueError("engine='dask' needs the address of a scheduler, e.g. tcp://host:8786")
    with _connected(address) as client:
        _check_workers(client, address, calls[0][0].__module__)
        # a trial may outlive several dead workers; its record makes a second run of it harmless
        futures = [client.submit(execute, *call, pure=False, retries=3) for call in calls]
        for future in progress(_finished(client, futures), total=len(calls), desc="trials"):
            try:
                future.result()
            except Exception as error:  # of the machinery: a trial's own became its record
                raise BrokenExecutor(f"{error}") from error


def _connected(address: str) -> Any:
    """A client; BrokenExecutor where something else than a scheduler answers."""
    from dask.distributed import Client

    answer: Future = Future()

    def connect() -> None:
        try:
            answer.set_result(Client(address))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()  # one that hangs cannot be ended
    with suppress(TimeoutError):
        return answer.result(ANSWER)
    raise BrokenExecutor(f"what answers at {address} is no Dask scheduler, perhaps its dashboard")


def _check_workers(client: Any, address: str, module: str) -> None:
    """BrokenExecutor where no worker comes, or where one lacks this code or has another version."""
    if not client.scheduler_info()["workers"]:
        print(f"waiting for workers at {address}", flush=True)
        try:
            client.wait_for_workers(1, timeout=3600 * HOURS)
        except TimeoutError:
            raise BrokenExecutor(f"no worker came to {address} in {HOURS} h") from None
    try:
        codes = client.run(_imported, module)
    except Exception as error:  # whatever the import there raised
        raise BrokenExecutor(f"a worker at {address} lacks this code: {error}") from error
    if others := [name for name, code in codes.items() if code != code_fingerprint()]:
        raise BrokenExecutor(f"workers with another version of lib: {', '.join(others)}")


def _imported(module: str) -> str:
    """On a worker: import what trials need; returns the fingerprint of its ``lib``."""
    importlib.import_module(module)
    return code_fingerprint()


def _finished(client: Any, futures: Sequence[Any]) -> Iterator[Any]:
    """Futures as they end; BrokenExecutor when no worker has been left for a while."""
    from dask.distributed import wait

    waiting, alone = set(futures), 0.0  # since when there is no worker
    while waiting:
        with suppress(TimeoutError):
            done = wait(waiting, timeout=LOOK, return_when="FIRST_COMPLETED").done
            waiting -= done
            yield from done
        if client.scheduler_info()["workers"] or not waiting:
            alone = 0.0
        elif not alone:
            print("no worker is left: waiting for others", flush=True)
            alone = time.monotonic()
        elif time.monotonic() - alone > 3600 * HOURS:
            raise BrokenExecutor(f"no worker has been left for {HOURS} h")
