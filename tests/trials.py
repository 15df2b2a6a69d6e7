"""Trial functions that worker processes can import, for the tests of the sweep."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Toy:
    """A trial that takes ``pause`` seconds."""

    number: int
    pause: float = 0.0
    label: str = "a"
    levels: tuple[int, ...] = ()


def grid(count: int, pause: float = 0.0) -> list[Toy]:
    return [Toy(number, pause) for number in range(count)]


def beside(context: object, name: str) -> Path:
    """A file next to the store that the sweep writes into."""
    return context.checkpoint.parent.parent / name


def work(trial: Toy, context: object) -> dict:
    """Note down that it ran and where, then give numpy numbers."""
    with open(beside(context, "log"), "a", encoding="utf-8") as log:
        log.write(f"{trial.number} {os.getpid()}\n")
    time.sleep(trial.pause)
    return {
        "square": np.float64(trial.number**2),
        "odd": np.bool_(trial.number % 2),
        "half": np.float32(trial.number / 2),
        "list": [np.int64(trial.number)],
    }


def unlucky(trial: Toy, context: object) -> dict:
    """Fail for odd numbers, until the file ``luck`` is there."""
    if trial.number % 2 and not beside(context, "luck").exists():
        raise ValueError("odd numbers are unlucky")
    return work(trial, context)


def dies_once(trial: Toy, context: object) -> dict:
    """Number 3 kills the process it runs in, the first time."""
    mark = beside(context, "died")
    if trial.number == 3 and not mark.exists():
        mark.touch()
        while len(list(context.checkpoint.parent.glob("*.json"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    return work(trial, context)


def blocks_its_record(trial: Toy, context: object) -> dict:
    """Number 2 puts a folder where its record should go: storing it must fail."""
    if trial.number == 2:
        context.checkpoint.with_suffix(".json").mkdir(exist_ok=True)
    return work(trial, context)


def gives_a_set(trial: Toy, context: object) -> dict:
    return {"numbers": {trial.number}}


def gives_nothing(trial: Toy, context: object) -> None:
    return None


def gives_much(trial: Toy, context: object) -> dict:
    """A record of 60 KiB."""
    return {"text": "x" * 60 * 1024}


def runs_out_of_memory(trial: Toy, context: object) -> dict:
    """Number 1 wants more than there is."""
    return {"sum": float(np.ones(10**15 if trial.number else 1).sum())}
