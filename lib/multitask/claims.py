"""Notebook 04: every claim of the paper with its rule, entered into the ledger.

Differences are paired by face and seed, their intervals over both where not said otherwise; n is
the number of seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS
from lib.ledger.claims import Ledger, Rule, above, below, between
from lib.ledger.estimates import Estimate, crossed_interval, mean_interval
from lib.multitask import trials as plan
from lib.multitask.analysis import NME, RIGHT, Predictions, by_seed, turned

LEAST = 3  # seeds
LESS, MORE, APART = below(0, LEAST), above(0, LEAST), below(0.5, LEAST)
UNITS = {NME: "points of NME, < 0", RIGHT: "points of accuracy, > 0"}
VARIANTS, ERRORS = "figures/variants.png", "figures/landmark_errors.png"
GAINS = (  # id, statement, first and second variant, measure, rule, paper, evidence
    ("trivial-nme", f"The baseline is better than the mean shape ({UNITS[NME]})",
     plan.BASELINE, plan.TRIVIAL, NME, LESS, "none printed", VARIANTS),
    ("trivial-right", f"The baseline is better than the majority class ({UNITS[RIGHT]})",
     plan.BASELINE, plan.TRIVIAL, RIGHT, MORE, "none printed", VARIANTS),
    ("landmarks", "Task-specific low-level features help landmarks: SMTN against the baseline "
     f"({UNITS[NME]})", plan.SMTN, plan.BASELINE, NME, LESS, "better, by figure 3", ERRORS),
    ("landmarks-conv", f"{plan.CONV} is better than the baseline on landmarks ({UNITS[NME]})",
     plan.CONV, plan.BASELINE, NME, LESS, "not printed", ERRORS),
    ("landmarks-tuned", f"{plan.TUNED} is better than the baseline on landmarks ({UNITS[NME]})",
     plan.TUNED, plan.BASELINE, NME, LESS, "not printed", ERRORS),
    ("attributes-smtn", "SMTN is below the baseline on attributes (points of accuracy, < 0)",
     plan.SMTN, plan.BASELINE, RIGHT, LESS, "-0.3", VARIANTS),
    ("attributes-conv",
     f"{plan.CONV} is below the baseline on attributes (points of accuracy, < 0)",
     plan.CONV, plan.BASELINE, RIGHT, LESS, "-0.5", VARIANTS),
    ("attributes-tuned", f"{plan.TUNED} beats the baseline on attributes ({UNITS[RIGHT]})",
     plan.TUNED, plan.BASELINE, RIGHT, MORE, "+0.1", VARIANTS),
    ("tuning", "Fine-tuning helps: copied start and 1x1 that pass it on, against neither "
     f"({UNITS[RIGHT]})", plan.TUNED, plan.CONV, RIGHT, MORE, "+0.6", VARIANTS),
    ("conv", "Without fine-tuning the 1x1 convolution costs accuracy against SMTN (points, < 0)",
     plan.CONV, plan.SMTN, RIGHT, LESS, "-0.2", VARIANTS),
)  # fmt: skip
CONTROLS = {  # separation, or only more training, more weights, more balance?
    "longer": (plan.TUNED, plan.LONG, "stage 1 trained as long as both stages"),
    "copies": (
        plan.TUNED,
        plan.COPIES,
        "a tuned copy of stage 1 for each task, without shared stream",
    ),
    "split": (plan.COPIES, plan.LONG, "stage 1 trained as long: it is splitting that helps"),
    "wide": (plan.SMTN, plan.WIDE, "hard sharing with as many weights, trained as long"),
    "random": (plan.SMTN, plan.RANDOM, "SMTN with a random shared stream"),
    "joint": (plan.JOINT, plan.SMTN, "SMTN in two stages"),
    "single": (plan.SMTN, plan.SINGLE, "two single-task networks"),
    "stitch": (plan.SMTN, plan.STITCH, "cross-stitch"),
    "mtan": (plan.SMTN, plan.ATTENTION, "MTAN"),
    "loose": (plan.TUNED, plan.LOOSE, "the same with 1x1 convolutions that begin at random"),
    "weighted": (plan.SMTN, plan.WEIGHTED, "stage 1 trained on with the landmarks' loss weighted"),
}


@dataclass(frozen=True)
class Results:
    """What a run gives: predictions on the main test part, the trainings, the looks inside."""

    predictions: Predictions
    trainings: pd.DataFrame
    looks: pd.DataFrame


class Claim(NamedTuple):
    """A row of the ledger before it is judged; without a paper's value it is a claim of ours."""

    id: str
    statement: str
    estimate: Estimate
    rule: Rule
    evidence: str
    paper_value: str = "not in the paper"
    baseline: str = "equal: 0"


def enter(book: Ledger, results: Results) -> None:
    """Enter all claims, in the order of the paper's sections."""
    gains = [
        Claim(id, text, _points(results.predictions.difference(*of)), rule, evidence, paper)
        for id, text, *of, rule, paper, evidence in GAINS
    ]
    more = (_controls, _starts, _separation, _probes)
    others = (claim for part in more for claim in part(results))
    for claim in (*gains[:5], *_landmarks(results), *gains[5:], *others):
        book.add(**claim._asdict())


def _landmarks(results: Results) -> Iterator[Claim]:
    """The paper's section 4.1, landmark by landmark."""
    errors = results.predictions.errors
    gains = errors[plan.BASELINE] - errors[plan.SMTN]
    for place, name in enumerate(LANDMARKS):
        text = f"SMTN is better than the baseline: {name} ({UNITS[NME]})"
        estimate = _points(crossed_interval(-gains[:, :, place]))
        id = f"landmarks-{name.replace(' ', '-')}"
        yield Claim(id, text, estimate, LESS, ERRORS, "better, by figure 3")
    nose = LANDMARKS.index("nose")
    others = np.delete(gains, nose, 2).mean(2)
    text = "The nose gains more than the mean of the others (points of NME, > 0)"
    estimate = _points(crossed_interval(gains[:, :, nose] - others))
    yield Claim("nose", text, estimate, MORE, ERRORS, "by far, by figure 3")
    text = "Turned faces gain more than frontal ones (points of NME, over seeds, > 0)"
    away, gain = turned(results.predictions.truth.landmarks.numpy()), gains.mean(2)
    estimate = Estimate(0.0, -np.inf, np.inf, 0)  # without faces of both kinds
    if away.any() and not away.all():
        estimate = _points(mean_interval(gain[:, away].mean(1) - gain[:, ~away].mean(1)))
    yield Claim("turned", text, estimate, MORE, ERRORS, "by figure 4")


def _controls(results: Results) -> Iterator[Claim]:
    for id, (first, second, name) in CONTROLS.items():
        paper = "named as future work" if id == "joint" else "not in the paper"
        for measure, rule in ((NME, LESS), (RIGHT, MORE)):
            text = f"Control: {first} is better than {name} ({UNITS[measure]})"
            estimate = _points(results.predictions.difference(first, second, measure))
            yield Claim(f"control-{id}-{measure}", text, estimate, rule, VARIANTS, paper)


def _starts(results: Results) -> Iterator[Claim]:
    """What must hold by construction: the largest of some numbers that leave nothing to chance."""
    rows, file = results.trainings, "tables/trainings.csv"
    for id, values, bound, paper, baseline, text in (
        ("frozen", rows.loc[rows["frozen"], "moved"], 1e-12, "0 by definition", "trained: not 0",
         "The frozen shared stream does not change in stage 2 (largest change, < 1e-12)"),
        ("start", rows.loc[rows["pass_own"], "gap"], 1e-4, "not said", "random 1x1: not 0",
         "conv1x1 + fine-tuning begins at stage 1's predictions (largest difference, < 1e-4)"),
    ):  # fmt: skip
        largest = float(values.max())
        exact = Estimate(largest, largest, largest, len(values))
        yield Claim(id, text, exact, between(-1, bound, 1), file, paper, baseline)


def _separation(results: Results) -> Iterator[Claim]:
    """The paper's section 4.3: the two kinds of features are apart. Mean CKA over the layers."""
    rows = by_seed(results.looks, "cka", ["first", "second", "layer", "value"])
    cka = rows.groupby(["variant", "first", "second", "seed"])["value"].mean()
    file = "figures/similarity.png"
    for task in ("landmarks", "attributes"):
        for id, name, text in (
            (f"apart-{task}", plan.SMTN, f"SMTN's {task} stream is"),
            (f"apart-tuned-{task}", plan.TUNED, f"{plan.TUNED}: the {task} stream is"),
        ):
            text += " apart from the shared one (mean CKA < 0.5)"
            estimate = mean_interval(cka.loc[(name, "shared", task)].to_numpy())
            yield Claim(id, text, estimate, APART, file, "by figure 5", "same: 1")
        text = f"SMTN's {task} stream is further from the shared one than a single-task network's"
        less = cka.loc[(plan.SMTN, "shared", task)] - cka.loc[(plan.SINGLE, "shared", task)]
        yield Claim(f"pushed-{task}", f"{text} (CKA, < 0)", mean_interval(less), LESS, file)
    tasks = ("landmarks", "attributes")
    text = "SMTN's two task streams are more apart than two single-task networks (CKA, < 0)"
    less = cka.loc[(plan.SMTN, *tasks)] - cka.loc[(plan.SINGLE, *tasks)]
    yield Claim("apart-tasks", text, mean_interval(less), LESS, file)


def _probes(results: Results) -> Iterator[Claim]:
    """ "Only task-specific features": what a stream knows of the other task, last layer."""
    rows = by_seed(results.looks, "probes", ["stream", "layer", "task", "value"])
    last = rows[rows["layer"] == rows["layer"].max()]
    value = last.set_index(["variant", "stream", "task", "seed"])["value"].sort_index()
    file = "figures/probes.png"
    for stream, task in (("landmarks", "attributes"), ("attributes", "landmarks")):
        name, chance = f"SMTN's {stream} stream holds", 0.5 if task == "attributes" else 0.0
        above_chance = mean_interval(value.loc[(plan.SMTN, stream, task)] - chance)
        text = f"{name} nothing of the {task} (probe less than .05 above chance)"
        rule = below(0.05, LEAST)
        yield Claim(f"only-{stream}", text, above_chance, rule, file, "asserted", "chance: 0")
        text = f"{name} less of the {task} than a single-task network's (< 0)"
        less = value.loc[(plan.SMTN, stream, task)] - value.loc[(plan.SINGLE, stream, task)]
        yield Claim(f"less-{stream}", text, mean_interval(less), LESS, file)


def _points(estimate: Estimate) -> Estimate:
    return Estimate(100 * estimate.value, 100 * estimate.low, 100 * estimate.high, estimate.n)
