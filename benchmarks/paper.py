"""What the paper profile would take: measures a little of each kind of trial, and adds up.

``python benchmarks/paper.py`` measures on this machine and writes reports/bench/paper_<device>.csv
(a row a kind); then it lets 1, 8 and 64 such devices take the trials in their order, and writes
reports/bench/paper_wall_<device>.csv. Loading and the test of a network are not counted.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import click
import pandas as pd
import torch
import torchvision
from paper_trials import Work, paper_work
from timing import file_name

from lib.engine.files import reports_root, write_atomically
from lib.engine.provenance import describe_device, provenance
from lib.engine.sweep import Context, trial_key

DEVICES = (1, 8, 64)


def measure(kinds: Iterable[Work], context: Context) -> pd.DataFrame:
    """Seconds a unit of each kind; NaN and the error where it cannot be run."""
    rows = []
    for work in kinds:
        row = {"notebook": work.study, "kind": work.kind, "seconds_a_unit": float("nan")}
        try:
            row |= {"seconds_a_unit": _seconds_a_unit(work, context), "error": ""}
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        rows.append(row)
        print(f"{row['notebook']}  {row['kind']:50}  {row['seconds_a_unit']:.4g} s", flush=True)
    return pd.DataFrame(rows)


def _seconds_a_unit(work: Work, context: Context) -> float:
    for units in work.sample:  # what they start from is trained here, and all is warm
        _run(work, units, context)
    less, more = (_run(work, units, context) for units in work.sample)
    return (more - less) / (work.sample[1] - work.sample[0])


def _run(work: Work, units: int, context: Context) -> float:
    """Seconds of a run; what it keeps of its own is deleted, what it starts from stays."""
    trial = work.measured(units)
    begin = time.perf_counter()
    metrics = work.function(trial, context)
    if context.device.type == "cuda":
        torch.cuda.synchronize(context.device)
    seconds = metrics.get("train_seconds", time.perf_counter() - begin)
    if context.artefacts:
        (context.artefacts / f"{trial_key(trial)}.safetensors").unlink(missing_ok=True)
    return seconds


def wall_seconds(work: Iterable[tuple[int, float]], devices: int) -> float:
    """When the last of (phase, seconds) ends, if the first free device takes the next in order.

    A phase begins when the one before has ended.
    """
    phases: dict[int, list[float]] = {}
    for phase, seconds in work:
        phases.setdefault(phase, []).append(seconds)
    total = 0.0
    for phase in sorted(phases):
        free = [0.0] * devices
        for seconds in phases[phase]:
            heapq.heapreplace(free, free[0] + seconds)
        total += max(free)
    return total


def add_up(work: list[Work], costs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(hours of each kind, wall hours of each notebook on so many devices)."""
    unit = costs.set_index(["notebook", "kind"])["seconds_a_unit"]
    each = pd.DataFrame(
        {
            "notebook": [w.study for w in work],
            "kind": [w.kind for w in work],
            "phase": [w.phase for w in work],
            "units": [w.units for w in work],
            "hours": [w.units * unit[w.study, w.kind] / 3600 for w in work],
        }
    )
    groups = each.groupby(["notebook", "kind"], as_index=False, sort=False)
    kinds = groups.agg(trials=("units", "size"), units=("units", "sum"), hours=("hours", "sum"))
    walls = []
    for study, rows in each.groupby("notebook"):
        pairs = list(zip(rows["phase"], rows["hours"], strict=True))
        hours = {f"on {count}": wall_seconds(pairs, count) for count in DEVICES}
        walls.append({"notebook": study, "trials": len(rows), **hours})
    return kinds.merge(costs, on=["notebook", "kind"]), pd.DataFrame(walls)


@click.command()
@click.option("--only", default="", help="Measure kinds whose name contains this, write nothing.")
def main(only: str) -> None:
    """Measure, add up, print and store."""
    work = paper_work()
    kinds = list({(w.study, w.kind): w for w in work if only in f"{w.study} {w.kind}"}.values())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    untrained = partial(torchvision.models.vgg16, weights=None)  # as fast as the published one
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("torchvision.models.vgg16", lambda weights: untrained()),
    ):
        costs = measure(kinds, Context(device, artefacts=Path(folder)))
    if only:
        return
    by_kind, walls = add_up(work, costs)
    stamp = {"device": describe_device(device), "commit": provenance()["commit"]}
    for name, table in (("paper", by_kind), ("paper_wall", walls)):
        path = reports_root() / "bench" / f"{name}_{file_name(describe_device(device))}.csv"
        text = table.assign(**stamp).to_csv(index=False, float_format="%.5g")
        write_atomically(path, text)
        print(f"\n{table.to_string(index=False, float_format='%.3g')}\nwritten to {path}")


if __name__ == "__main__":
    main()
