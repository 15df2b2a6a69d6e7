"""Notebook 04: the paper's four networks, the controls, and networks of the literature."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

from lib.data.faces import LANDMARKS
from lib.multitask.build import matched_widths, multitask_network
from lib.multitask.profile import MultiTaskStudy
from lib.multitask.trials import FaceTask, MultiTaskTrial
from lib.networks.sizes import count_parameters

BASELINE, SMTN = "stage 1 (baseline)", "SMTN"
CONV, TUNED = "SMTN + conv1x1", "SMTN + conv1x1 + fine-tuning"
LONG, WEIGHTED = "stage 1, trained on", "stage 1, trained on, landmarks weighted"
WIDE, COPIES = "hard sharing, width-matched", "stage 1, a copy tuned for each task"
RANDOM, JOINT = "SMTN, random shared stream", "SMTN, end to end"
LOOSE = "SMTN + conv1x1 + fine-tuning, random 1x1"
SINGLE, STITCH, ATTENTION = "single-task networks", "cross-stitch", "MTAN"
PAPER, CONTROL, LITERATURE, TRIVIAL = "paper", "control", "literature", "trivial"
KINDS = {
    PAPER: (BASELINE, SMTN, CONV, TUNED),
    CONTROL: (LONG, WEIGHTED, WIDE, COPIES, RANDOM, JOINT, LOOSE),
    LITERATURE: (SINGLE, STITCH, ATTENTION),
}
VARIANTS = tuple(name for names in KINDS.values() for name in names)


class Variant(NamedTuple):
    """A training with its name."""

    name: str
    trial: MultiTaskTrial


def face_task(sizes: MultiTaskStudy) -> FaceTask:
    """The faces of a profile."""
    return FaceTask(
        name=sizes.faces, size=sizes.size, train=sizes.train, test=sizes.test, tests=sizes.tests
    )


def stage1(sizes: MultiTaskStudy, seed: int) -> MultiTaskTrial:
    """The hard-sharing network that everything else is compared with, or begins from."""
    return MultiTaskTrial(
        faces=face_task(sizes),
        network="hard sharing",
        widths=sizes.widths,
        hidden=sizes.hidden,
        epochs=sizes.epochs,
        lr=sizes.lr,
        batch=sizes.batch,
        seed=seed,
    )


def variants(sizes: MultiTaskStudy, seed: int, attributes: int) -> list[Variant]:
    """Every training of a seed; what replaces both stages is trained for the epochs of both.

    attributes: how many the faces have, from which the width-matched network follows.
    """
    first = stage1(sizes, seed)
    second = replace(first, stage1=first)
    smtn = replace(second, network="separation", fusion="concat", frozen=True, shared="stage 1")
    conv = replace(smtn, fusion="conv1x1")
    whole = replace(first, epochs=2 * sizes.epochs)
    longer = replace(second, copied=True)
    trials = {
        BASELINE: first,
        SMTN: smtn,
        CONV: conv,
        TUNED: replace(conv, copied=True, pass_own=True),
        LONG: longer,
        WEIGHTED: replace(longer, landmark_weight=sizes.landmark_weight),
        WIDE: replace(whole, widths=wide(sizes, attributes)),
        COPIES: replace(longer, network="independent"),
        RANDOM: replace(smtn, shared="", stage1=None),
        JOINT: replace(whole, network="separation", fusion="concat"),
        LOOSE: replace(conv, copied=True),
        SINGLE: replace(whole, network="independent"),
        STITCH: replace(whole, network="cross-stitch"),
        ATTENTION: replace(whole, network="mtan"),
    }
    return [Variant(name, trials[name]) for name in VARIANTS]


def all_variants(sizes: MultiTaskStudy, attributes: int) -> list[Variant]:
    """Every training of every seed."""
    return [each for seed in range(sizes.seeds) for each in variants(sizes, seed, attributes)]


@cache  # it builds many networks
def wide(sizes: MultiTaskStudy, attributes: int) -> tuple[int, ...]:
    """Widths of hard sharing with as many weights as the paper's network."""
    tasks = {"landmarks": 2 * len(LANDMARKS), "attributes": attributes}
    shape = {"widths": sizes.widths, "size": sizes.size, "hidden": sizes.hidden}
    network = multitask_network("separation", tasks, seed=0, fusion="concat", **shape)
    return matched_widths(tasks, count_parameters(network), **shape)
