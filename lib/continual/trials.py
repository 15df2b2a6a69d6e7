"""Notebook 01: one task learned by one method, and what it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lib.continual.generator import NORMS
from lib.continual.masks import NORM_POLICIES
from lib.continual.profile import Stream
from lib.continual.tasks import KINDS, TASKS

METHODS = {
    "scratch": "each task from random weights",
    "fine-tune": "the whole network, from the task before",
    "ewc": "fine-tune, important weights held where they were",
    "decoder": "task 1's encoder frozen, a decoder for each task",
    "piggyback": "task 1's network frozen, a mask and a last layer for each task",
    "resblock": "an auto-encoder frozen, residual blocks for each task",
    "resblock+piggyback": "task 3's residual blocks frozen, a mask for task 4",
}
ONE_BODY = ("scratch", "fine-tune", "ewc")  # a later task changes the weights of earlier ones
IMAGE_LOSSES = ("adversarial", "ce", "l1", "l2")
_NORMS = {"piggyback": NORM_POLICIES, "resblock": tuple(NORMS)}
_NORMS["resblock+piggyback"] = _NORMS["resblock"]
MASKED_BLOCKS = {"base": 3, "task": 4}  # the paper's experiment with both methods
# fields of the main table's trials; others are controls
PLAIN = {"loss": "", "start": 0, "run": 0, "shuffled": False, "alone": False}


@dataclass(frozen=True, kw_only=True)
class TaskTrial:
    """Task ``task`` of a stream, learned by ``method``.

    Task 1 is what every U-Net method starts from (method ``scratch``), and task 0, of ``resblock``,
    the auto-encoder on the identity.
    norms: of piggyback a policy of ``NORM_POLICIES``, of the generator ``instance`` or ``batch``.
    loss: of residual blocks that learn a segmentation; the others have one loss only.
    start: fine-tune's task to start from; 0: the one before.
    seed: of everything; run: another order of images and another last layer on the same base.
    shuffled: label maps belong to other images, so that there is nothing to learn but their mean.
    alone: a control, scored on its own task only.
    """

    stream: Stream
    method: str
    task: int
    norms: str = ""
    loss: str = ""
    start: int = 0
    seed: int = 0
    run: int = 0
    shuffled: bool = False
    alone: bool = False
    version: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {tuple(METHODS)}, not {self.method!r}")
        allowed = {
            "scratch": TASKS,
            "resblock": (0, *TASKS),
            "resblock+piggyback": (MASKED_BLOCKS["task"],),
        }.get(self.method, TASKS[1:])
        if self.task not in allowed:
            raise ValueError(f"{self.method} has the tasks {allowed}, not {self.task!r}")
        if self.norms not in _NORMS.get(self.method, ("",)):
            raise ValueError(f"{self.method} has no norms {self.norms!r}")
        segments = self.method == "resblock" and KINDS.get(self.task) == "segmentation"
        if self.loss not in ("", *(IMAGE_LOSSES if segments else ())):
            raise ValueError(f"{self.method} has no loss {self.loss!r} for task {self.task}")
        if self.start and not (self.method == "fine-tune" and 0 < self.start < self.task):
            raise ValueError(f"{self.method} cannot start task {self.task} from {self.start}")

    @property
    def on_images(self) -> bool:
        """Whether outputs are RGB images, from the generator's frozen decoder."""
        return self.method.startswith("resblock")

    @property
    def masked(self) -> bool:
        """Whether what is learned is a mask."""
        return self.method.endswith("piggyback")


def base(trial: TaskTrial) -> TaskTrial:
    """Task 1's U-Net, or the auto-encoder."""
    if trial.on_images:
        return TaskTrial(
            stream=trial.stream, method="resblock", task=0, norms=trial.norms, seed=trial.seed
        )
    return TaskTrial(stream=trial.stream, method="scratch", task=1, seed=trial.seed)


def in_stream(trial: TaskTrial, task: int) -> TaskTrial:
    """The trial of another task in the stream that a trial belongs to."""
    if task == 1 and not trial.on_images:
        return base(trial)
    method = trial.method
    if method == "resblock+piggyback" and task != trial.task:
        method = "resblock"
    return replace(trial, method=method, task=task, **PLAIN)


def parent(trial: TaskTrial) -> TaskTrial | None:
    """The trial whose weights it starts from."""
    if trial.task == 0 or trial.method == "scratch":
        return None
    if trial.method in ("fine-tune", "ewc"):
        return in_stream(trial, trial.start or trial.task - 1)
    if trial.method == "resblock+piggyback":
        return in_stream(trial, MASKED_BLOCKS["base"])
    return base(trial)


def origin(trial: TaskTrial) -> TaskTrial:
    """The parent of a trial that has one; ValueError for one that starts from random weights."""
    found = parent(trial)
    if found is None:
        raise ValueError(f"task {trial.task} of {trial.method} starts from random weights")
    return found


def history(trial: TaskTrial) -> list[TaskTrial]:
    """The trials whose tasks a network has met once this one is done, itself the last."""
    if trial.task == 0:
        return []
    if trial.method == "resblock+piggyback":
        return [origin(trial), trial]
    if trial.alone:
        return [trial]
    last = trial.start or trial.task - 1
    return [*(in_stream(trial, task) for task in range(1, last + 1)), trial]
