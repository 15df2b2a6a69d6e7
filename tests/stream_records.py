"""Rows of notebook 01's sweep, made by hand."""

from lib.continual.trials import PLAIN, norms_of

NAMES = {1: "miou", 2: "miou", 3: "mse", 4: "total", 5: "total"}


def record(method, task, seed, numbers, **fields):
    """A row of the sweep's table; numbers: task scored -> its main metric."""
    plain = {"norms": norms_of(method), **PLAIN, "status": "ok", "zero_rates": None}
    metrics = {f"T{scored} {NAMES[scored]}": value for scored, value in numbers.items()}
    return {"method": method, "task": task, "seed": seed, **plain, **fields, **metrics}
