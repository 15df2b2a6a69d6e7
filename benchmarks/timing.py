"""Times two ways of doing the same work."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from lib.engine.provenance import describe_device, provenance

REPEATS = 5
Row = dict[str, Any]


def compare(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    work: tuple[float, float],
    unit: str,
    target: float,
    device: torch.device,
) -> Row:
    """Alternate the two, so that both meet the same disturbances; medians of the repeats.

    work: how much ours and the reference do in a call; a slow reference may do less.
    """
    ours(), reference()
    pairs = [(seconds(ours, device), seconds(reference, device)) for _ in range(REPEATS)]
    mine, theirs = (
        amount / statistics.median(times)
        for amount, times in zip(work, zip(*pairs, strict=True), strict=True)
    )
    return _row(name, unit, mine, theirs, target, device)


def at_most(name: str, ours: float, unit: str, target: float, device: torch.device) -> Row:
    """A row without reference: ours is to be the target or less."""
    return _row(name, unit, ours, float("nan"), target, device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def file_name(text: str) -> str:
    """What a device is called as a file: a-z, 0-9 and _."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _row(
    name: str, unit: str, ours: float, reference: float, target: float, device: torch.device
) -> Row:
    return {
        "what": name,
        "unit": unit,
        "ours": ours,
        "reference": reference,
        "ratio": ours / reference,
        "target": target,
        "note": "",
        "device": describe_device(device),
        "commit": provenance()["commit"],
    }
