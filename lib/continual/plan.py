"""Notebook 01: which trials make up its streams and controls, in an order that can be run."""

from __future__ import annotations

from lib.continual.profile import ContinualStudy
from lib.continual.tasks import TASKS, GatysTrial
from lib.continual.trials import IMAGE_LOSSES, MASKED_BLOCKS, TaskTrial

# The paper does not say what becomes of batch norm. In PyTorch a frozen norm still uses and
# collects the batch's statistics while it trains: that is the reading, the others are controls.
POLICY = "statistics"
NORM = "instance"  # of the generator: CycleGAN's
STREAMS = ("scratch", "fine-tune", "ewc", "decoder", "piggyback", "resblock")
SEEDED = (2, 4)  # tasks whose masks are learned twice on the same base


def norms_of(method: str) -> str:
    """The reading of a method's norms that the main table takes."""
    return {"piggyback": POLICY, "resblock": NORM, "resblock+piggyback": NORM}.get(method, "")


def trial(sizes: ContinualStudy, method: str, task: int, seed: int, **changes) -> TaskTrial:
    """A trial of the main table, or with changes a control.

    Task 1 of every U-Net method is the base, learned from scratch.
    """
    if task == 1 and method != "resblock":
        method = "scratch"
    shared = {"stream": sizes.stream, "method": method, "task": task, "seed": seed}
    return TaskTrial(**{**shared, "norms": norms_of(method), **changes})


def pictures(sizes: ContinualStudy) -> list[GatysTrial]:
    """Both styles by optimisation."""
    return [GatysTrial(sizes.stream, task) for task in (4, 5)]


def bases(sizes: ContinualStudy) -> list[TaskTrial]:
    """Task 1's U-Nets and the auto-encoders, which everything else starts from."""
    found = [trial(sizes, "scratch", 1, seed) for seed in range(sizes.seeds)]
    found += [trial(sizes, "resblock", 0, seed) for seed in range(sizes.seeds)]
    controls = range(sizes.controls)
    return found + [trial(sizes, "resblock", 0, seed, norms="batch") for seed in controls]


def streams(sizes: ContinualStudy, task: int) -> list[TaskTrial]:
    """Every method's trial of one of the tasks 2 to 5, from every seed."""
    found = []
    for seed in range(sizes.seeds):
        if task == 2:  # first, as task 2's blocks are scored on task 1 as well
            found.append(trial(sizes, "resblock", 1, seed))
        found += [trial(sizes, method, task, seed) for method in STREAMS]
        if task == MASKED_BLOCKS["task"]:
            found.append(trial(sizes, "resblock+piggyback", task, seed))
        if task == 5:  # the paper's reading: from task 3
            found.append(trial(sizes, "fine-tune", task, seed, start=3))
    return found


def controls(sizes: ContinualStudy) -> list[TaskTrial]:
    """Norm policies, a second learning of the same mask, targets without meaning, image losses."""
    found, alone = [], {"alone": True}
    for seed in range(sizes.controls):
        for task in SEEDED:
            found += [
                trial(sizes, "piggyback", task, seed, norms=policy, **alone)
                for policy in ("frozen", "affine")
            ]
            found.append(trial(sizes, "piggyback", task, seed, run=1, **alone))
        found.append(trial(sizes, "piggyback", 2, seed, shuffled=True, **alone))
        found += [
            trial(sizes, "resblock", 2, seed, loss=loss, **alone) for loss in IMAGE_LOSSES[1:]
        ]
        found += [trial(sizes, "resblock", task, seed, norms="batch", **alone) for task in (3, 4)]
    return found


def phases(sizes: ContinualStudy) -> dict[str, list[TaskTrial]]:
    """All trials; each phase needs only those before it."""
    found = {"bases": bases(sizes)}
    found |= {f"task {task}": streams(sizes, task) for task in TASKS[1:]}
    return found | {"controls": controls(sizes)}
