"""What notebook 01 runs: its sizes, one task learned by one method, and all trials in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

TASKS = (1, 2, 3, 4, 5)
KINDS = {1: "segmentation", 2: "segmentation", 3: "colour", 4: "style", 5: "style"}
_FACTS = yaml.safe_load(Path(__file__).with_name("methods.yaml").read_text(encoding="utf-8"))
METHODS = {name: facts["what"] for name, facts in _FACTS.items()}
TITLES = {name: facts["title"] for name, facts in _FACTS.items()}  # of figures
STREAMS = tuple(METHODS)[:6]  # the methods that learn all five tasks
# what the paper's main question compares: the seeds after those of the main table have these only
DECISIVE = ("scratch", "fine-tune", "piggyback")
ONE_BODY = ("scratch", "fine-tune", "ewc")  # a later task changes the weights of earlier ones
IMAGE_LOSSES = ("adversarial", "ce", "l1", "l2")
POLICY = _FACTS["piggyback"]["norms"][0]
MASKED_BLOCKS = {"base": 3, "task": 4}  # the paper's experiment with both methods
SEEDED = (2, 4)  # tasks whose masks are learned twice on the same base


@dataclass(frozen=True)
class Stream:
    """The five tasks in order, and the budget each is learned with."""

    scenes: tuple[str, str]
    train: tuple[int, int]
    test: int
    size: int
    styles: tuple[str, str]
    style_size: int
    features: str
    content: float
    style: float
    width: int
    base_steps: int
    steps: int
    batch: int
    mask_lr: float
    patches: int
    gatys_images: int
    gatys_steps: int
    importance_images: int
    strength: float
    lr: float


@dataclass(frozen=True)
class ClassifierSizes:
    """Of the VGG16 that is trained on one data set, and masked for another."""

    data: tuple[str, str]
    train: tuple[int, int]
    test: tuple[int, int]
    width: int
    base_steps: int
    batch: int


@dataclass(frozen=True)
class Pruning:
    """Of task 1's U-Net without some of its weights."""

    shares: tuple[float, ...]
    images: int


@dataclass(frozen=True)
class ContinualStudy:
    """The sizes of the whole notebook; ``profile.yaml`` says what each is."""

    stream: Stream
    seeds: int
    more: int
    controls: int
    harder: str
    pictures: str
    photograph: str
    classifier: ClassifierSizes
    pruned: Pruning


@dataclass(frozen=True)
class GatysTrial:
    """The first test images in the style of task 4 or 5, each optimised by itself."""

    stream: Stream
    task: int
    version: int = 1


@dataclass(frozen=True)
class TrivialTrial:
    """A task's trivial answers, scored on its test images."""

    stream: Stream
    task: int
    version: int = 2


@dataclass(frozen=True, kw_only=True)
class TaskTrial:
    """Task ``task`` of a stream, learned by ``method``; tasks and norms are in ``methods.yaml``.

    Task 1 of ``scratch`` is what every U-Net method starts from, and task 0 the auto-encoder.
    loss: of residual blocks that learn a segmentation; the others have one loss only.
    start: fine-tune's task to start from; 0 is the one before.
    seed: of everything. run: another order of images and another last layer on the same base.
    shuffled: label maps belong to other images, so that there is nothing to learn but their mean.
    scenes: task 2 with another data set than the stream's. alone: scored on its own task only.
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
    scenes: str = ""
    alone: bool = False
    version: int = 2

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {tuple(METHODS)}, not {self.method!r}")
        tasks, norms = tuple(_FACTS[self.method]["tasks"]), _FACTS[self.method]["norms"]
        if self.task not in tasks:
            raise ValueError(f"{self.method} has the tasks {tasks}, not {self.task!r}")
        if self.norms not in norms:
            raise ValueError(f"{self.method} has no norms {self.norms!r}")
        segments = self.method == "resblock" and KINDS.get(self.task) == "segmentation"
        if self.loss not in ("", *(IMAGE_LOSSES if segments else ())):
            raise ValueError(f"{self.method} has no loss {self.loss!r} for task {self.task}")
        if self.start and not (self.method == "fine-tune" and 0 < self.start < self.task):
            raise ValueError(f"{self.method} cannot start task {self.task} from {self.start}")
        if self.scenes and self.task != 2:
            raise ValueError(f"only task 2 has other scenes, not task {self.task}: {self.scenes!r}")

    @property
    def task_stream(self) -> Stream:
        """The stream, with the task's own scenes."""
        first = self.stream.scenes[0]
        return replace(self.stream, scenes=(first, self.scenes)) if self.scenes else self.stream

    @property
    def on_images(self) -> bool:
        """Whether outputs are RGB images, from the generator's frozen decoder."""
        return self.method.startswith("resblock")

    @property
    def masked(self) -> bool:
        """Whether what is learned is a mask."""
        return self.method.endswith("piggyback")


# what the trials of the main table have; with another value a trial is a control
PLAIN: dict[str, Any] = {"loss": "", "start": 0, "run": 0, "shuffled": False}
PLAIN |= {"scenes": "", "alone": False}


def base(trial: TaskTrial) -> TaskTrial:
    """What all trials of a stream start from: task 1's U-Net, or the auto-encoder."""
    method, task = ("resblock", 0) if trial.on_images else ("scratch", 1)
    norms = trial.norms if trial.on_images else ""
    return replace(trial, method=method, task=task, norms=norms, **PLAIN)


def in_stream(trial: TaskTrial, task: int) -> TaskTrial:
    """The trial of another task in the stream that a trial belongs to."""
    if task == 1 and not trial.on_images:
        return base(trial)
    other = trial.method == "resblock+piggyback" and task != trial.task
    method = "resblock" if other else trial.method
    return replace(trial, method=method, task=task, **PLAIN)


def parent(trial: TaskTrial) -> TaskTrial | None:
    """The trial whose weights it starts from; None for one that starts from random weights."""
    if trial.task == 0 or trial.method == "scratch":
        return None
    if trial.method in ("fine-tune", "ewc"):
        return in_stream(trial, trial.start or trial.task - 1)
    if trial.method == "resblock+piggyback":
        return in_stream(trial, MASKED_BLOCKS["base"])
    return base(trial)


def history(trial: TaskTrial) -> list[TaskTrial]:
    """The trials whose tasks a network has learned once this one is done, itself the last."""
    if trial.task == 0:
        return []
    if trial.method == "resblock+piggyback":
        return [in_stream(trial, MASKED_BLOCKS["base"]), trial]
    if trial.alone:
        return [trial]
    last = trial.start or trial.task - 1
    return [*(in_stream(trial, task) for task in range(1, last + 1)), trial]


def norms_of(method: str) -> str:
    """The reading of a method's norms that the main table takes."""
    return _FACTS[method]["norms"][0]


def planned(sizes: ContinualStudy, method: str, task: int, seed: int, **changes: Any) -> TaskTrial:
    """A trial of the main table; with changes of its fields it is a control.

    Task 1 of every U-Net method is the base, learned from scratch.
    """
    if task == 1 and method != "resblock":
        method = "scratch"
    norms = norms_of(method)
    plain = TaskTrial(stream=sizes.stream, method=method, task=task, norms=norms, seed=seed)
    return replace(plain, **changes)


def pictures(sizes: ContinualStudy) -> list[GatysTrial]:
    """Both styles by optimisation."""
    return [GatysTrial(sizes.stream, task) for task in TASKS if KINDS[task] == "style"]


def trivial_answers(sizes: ContinualStudy) -> list[TrivialTrial]:
    """Of every task."""
    return [TrivialTrial(sizes.stream, task) for task in TASKS]


def harder_answers(sizes: ContinualStudy) -> list[TrivialTrial]:
    """Of task 2 with the harder scenes, where the profile has such."""
    of_task_2 = planned(sizes, "scratch", 2, 0, scenes=sizes.harder)
    return [TrivialTrial(of_task_2.task_stream, 2)] if sizes.harder else []


def phases(sizes: ContinualStudy) -> dict[str, list[TaskTrial]]:
    """All trials in an order that can be run: a phase needs the weights of earlier ones only."""
    seeds, controls = range(sizes.seeds + sizes.more), range(sizes.controls)
    bases = [planned(sizes, "scratch", 1, seed) for seed in seeds]
    bases += [planned(sizes, "resblock", 0, seed) for seed in range(sizes.seeds)]
    tasks = {
        f"task {task}": [trial for seed in seeds for trial in _streams(sizes, task, seed)]
        for task in TASKS[1:]
    }
    norms = [planned(sizes, "resblock", 0, seed, norms="batch") for seed in controls]
    others = [trial for seed in controls for trial in _controls(sizes, seed)]
    return {"bases": bases, **tasks, "bases of controls": norms, "controls": others}


def _streams(sizes: ContinualStudy, task: int, seed: int) -> Iterator[TaskTrial]:
    """The methods' trials of one of the tasks 2 to 5."""
    whole = seed < sizes.seeds
    if whole and task == 2:  # first, as task 2's blocks are scored on task 1 as well
        yield planned(sizes, "resblock", 1, seed)
    for method in STREAMS if whole else DECISIVE:
        yield planned(sizes, method, task, seed)
    if whole and task == MASKED_BLOCKS["task"]:
        yield planned(sizes, "resblock+piggyback", task, seed)
    if task == 5:  # the paper's reading is that fine-tuning starts from task 3
        yield planned(sizes, "fine-tune", task, seed, start=3)


def _controls(sizes: ContinualStudy, seed: int) -> Iterator[TaskTrial]:
    """Norm policies, a second learning of the same mask, targets without meaning, a harder task 2,
    image losses, the auto-encoder's norm.
    """
    for task in SEEDED:
        for policy in ("frozen", "affine"):
            yield planned(sizes, "piggyback", task, seed, norms=policy, alone=True)
        yield planned(sizes, "piggyback", task, seed, run=1, alone=True)
    yield planned(sizes, "piggyback", 2, seed, shuffled=True, alone=True)
    if sizes.harder:
        for method in ("scratch", "fine-tune", "decoder", "piggyback"):
            yield planned(sizes, method, 2, seed, scenes=sizes.harder)
    for loss in IMAGE_LOSSES[1:]:
        yield planned(sizes, "resblock", 2, seed, loss=loss, alone=True)
    for task in (3, 4):
        yield planned(sizes, "resblock", task, seed, norms="batch", alone=True)


def evidence(sizes: ContinualStudy) -> Iterator[tuple[Callable[..., dict], object]]:
    """Every trial with its function, in the order in which a long run should take them.

    First what every seed is compared with, then seed after seed: whenever the run is stopped, all
    seeds but the last are complete. Last what looks for reasons of the masks' zeros.
    """
    from lib.continual.methods import run_task  # here: these need the trials
    from lib.continual.reasons import classifiers, prunings, run_classifier, run_pruned
    from lib.continual.tasks import run_gatys, run_trivial

    yield from ((run_gatys, picture) for picture in pictures(sizes))
    yield from ((run_trivial, one) for one in trivial_answers(sizes) + harder_answers(sizes))
    for trial in sorted(chain(*phases(sizes).values()), key=attrgetter("seed")):
        yield run_task, trial  # in the order of the phases, as sorting is stable
    yield from ((run_pruned, pruning) for pruning in prunings(sizes))
    for classifier in sorted(chain(*classifiers(sizes)), key=attrgetter("seed")):
        yield run_classifier, classifier
