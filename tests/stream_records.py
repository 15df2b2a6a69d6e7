"""Rows of notebook 01's sweep, made by hand."""

from lib.continual import plan

NAMES = {1: "miou", 2: "miou", 3: "mse", 4: "total", 5: "total"}


def record(method, task, seed, numbers, **fields):
    """A row of the sweep's table; numbers: task met -> its main metric."""
    plain = {"norms": plan.norms_of(method), "loss": "", "start": 0, "run": 0}
    plain |= {"shuffled": False, "alone": False, "status": "ok", "zero_rates": None}
    metrics = {f"T{met} {NAMES[met]}": value for met, value in numbers.items()}
    return {"method": method, "task": task, "seed": seed, **plain, **fields, **metrics}
