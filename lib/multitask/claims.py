"""Notebook 04: every claim of the paper with its rule, entered into the ledger.

Differences are paired by face and seed, their intervals over both where not said otherwise; n is
the number of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS
from lib.ledger.claims import Evidence, Ledger, above, below, between
from lib.ledger.estimates import Estimate, crossed_interval, mean_interval
from lib.multitask.plan import (
    ATTENTION,
    BASELINE,
    CONV,
    COPIES,
    JOINT,
    LONG,
    LOOSE,
    RANDOM,
    SINGLE,
    SMTN,
    STITCH,
    TRIVIAL,
    TUNED,
    WEIGHTED,
    WIDE,
)
from lib.multitask.predictions import Predictions, difference, turned
from lib.multitask.separation import by_seed

LEAST = 3  # seeds
_NME, _RIGHT = "nme", "right"
_UNIT = {_NME: "points of NME, < 0", _RIGHT: "points of accuracy, > 0"}
_APART = below(0.5, LEAST)
_LESS, _MORE = below(0, LEAST), above(0, LEAST)
_BETTER = {_NME: _LESS, _RIGHT: _MORE}


@dataclass(frozen=True)
class Results:
    """What a run has found: predictions on the main test part, the trainings, the looks inside."""

    found: Predictions
    trainings: pd.DataFrame
    looks: pd.DataFrame

    def gain(self, first: str, second: str, what: str) -> Estimate:
        """A variant less another, in points."""
        return _points(difference(self.found, first, second, what))


def enter(book: Ledger, results: Results) -> None:
    """Enter all claims."""
    _trivial(Evidence(book, "figures/variants.png"), results)
    _landmarks(Evidence(book, "figures/landmark_errors.png"), results)
    _attributes(Evidence(book, "figures/variants.png"), results)
    _controls(Evidence(book, "figures/variants.png"), results)
    _starts(Evidence(book, "tables/trainings.csv"), results)
    _separation(Evidence(book, "figures/similarity.png"), results)
    _probes(Evidence(book, "figures/probes.png"), results)


def _trivial(entry: Evidence, results: Results) -> None:
    """A network that learned nothing would pass for one on these numbers."""
    for what, name in ((_NME, "mean shape"), (_RIGHT, "majority class")):
        found = results.gain(BASELINE, TRIVIAL, what)
        text = f"The baseline is better than the {name} ({_UNIT[what]})"
        entry.add(f"trivial-{what}", text, found, _BETTER[what], "none printed")


def _landmarks(entry: Evidence, results: Results) -> None:
    """The paper's section 4.1."""
    text = "Task-specific low-level features help landmarks: SMTN against the baseline"
    found = results.gain(SMTN, BASELINE, _NME)
    entry.add("landmarks", f"{text} ({_UNIT[_NME]})", found, _LESS, "better, by figure 3")
    for id, name in (("conv", CONV), ("tuned", TUNED)):
        text = f"{name} is better than the baseline on landmarks ({_UNIT[_NME]})"
        found = results.gain(name, BASELINE, _NME)
        entry.add(f"landmarks-{id}", text, found, _LESS, "not printed")
    errors = results.found.errors
    gains = errors[BASELINE] - errors[SMTN]
    for place, name in enumerate(LANDMARKS):
        found = _points(crossed_interval(-gains[:, :, place]))
        text = f"SMTN is better than the baseline: {name} ({_UNIT[_NME]})"
        entry.add(f"landmarks-{name.replace(' ', '-')}", text, found, _LESS, "better, by figure 3")
    nose = LANDMARKS.index("nose")
    others = [place for place in range(len(LANDMARKS)) if place != nose]
    found = _points(crossed_interval(gains[:, :, nose] - gains[:, :, others].mean(2)))
    text = "The nose gains more than the mean of the others (points of NME, > 0)"
    entry.add("nose", text, found, _MORE, "by far, by figure 3")
    found = _points(_turned(gains.mean(2), turned(results.found.truth.landmarks.numpy())))
    text = "Turned faces gain more than frontal ones (points of NME, over seeds, > 0)"
    entry.add("turned", text, found, _MORE, "by figure 4")


def _turned(gains: np.ndarray, away: np.ndarray) -> Estimate:
    """What turned faces gain more than others, (seeds, N); of no seeds without either."""
    if away.all() or not away.any():
        return Estimate(0.0, -np.inf, np.inf, 0)
    return mean_interval(gains[:, away].mean(1) - gains[:, ~away].mean(1))


def _attributes(entry: Evidence, results: Results) -> None:
    """The paper's Table 1."""
    for name, id, printed in ((SMTN, "smtn", "-0.3"), (CONV, "conv", "-0.5")):
        found = results.gain(name, BASELINE, _RIGHT)
        text = f"{name} is below the baseline on attributes (points of accuracy, < 0)"
        entry.add(f"attributes-{id}", text, found, _LESS, printed)
    found = results.gain(TUNED, BASELINE, _RIGHT)
    text = f"{TUNED} beats the baseline on attributes ({_UNIT[_RIGHT]})"
    entry.add("attributes-tuned", text, found, _MORE, "+0.1")
    text = "Fine-tuning helps: copied start and 1x1 that pass it on, against neither"
    found = results.gain(TUNED, CONV, _RIGHT)
    entry.add("tuning", f"{text} ({_UNIT[_RIGHT]})", found, _MORE, "+0.6")
    found = results.gain(CONV, SMTN, _RIGHT)
    text = "Without fine-tuning the 1x1 convolution costs accuracy against SMTN (points, < 0)"
    entry.add("conv", text, found, _LESS, "-0.2")


def _controls(entry: Evidence, results: Results) -> None:
    """Separation, or only more training, more weights, more balance?"""
    best = {
        "longer": (TUNED, LONG, "stage 1 trained as long as both stages"),
        "copies": (TUNED, COPIES, "a tuned copy of stage 1 for each task, without shared stream"),
        "split": (COPIES, LONG, "stage 1 trained as long: it is splitting that helps"),
        "wide": (SMTN, WIDE, "hard sharing with as many weights, trained as long"),
        "random": (SMTN, RANDOM, "SMTN with a random shared stream"),
        "joint": (JOINT, SMTN, "SMTN in two stages"),
        "single": (SMTN, SINGLE, "two single-task networks"),
        "stitch": (SMTN, STITCH, "cross-stitch"),
        "mtan": (SMTN, ATTENTION, "MTAN"),
        "loose": (TUNED, LOOSE, "the same with 1x1 convolutions that begin at random"),
        "weighted": (SMTN, WEIGHTED, "stage 1 trained on with the landmarks' loss weighted"),
    }
    for id, (first, second, name) in best.items():
        told = {"paper": "named as future work"} if id == "joint" else {}
        for what in (_NME, _RIGHT):
            found = results.gain(first, second, what)
            text = f"Control: {first} is better than {name} ({_UNIT[what]})"
            entry.add(f"control-{id}-{what}", text, found, _BETTER[what], **told)


def _starts(entry: Evidence, results: Results) -> None:
    """What must hold by construction."""
    rows = results.trainings
    moved = rows.loc[rows["frozen"], "moved"]
    exact = _exact(moved)
    text = "The frozen shared stream does not change in stage 2 (largest change, < 1e-12)"
    entry.add("frozen", text, exact, between(-1, 1e-12, 1), "0 by definition", "trained: not 0")
    gap = rows.loc[rows["pass_own"], "gap"]
    exact = _exact(gap)
    text = "conv1x1 + fine-tuning begins at stage 1's predictions (largest difference, < 1e-4)"
    entry.add("start", text, exact, between(-1, 1e-4, 1), "not said", "random 1x1: not 0")


def _separation(entry: Evidence, results: Results) -> None:
    """The paper's section 4.3: the two kinds of features are apart."""
    cka = _means(by_seed(results.looks, "cka", ["first", "second", "layer", "value"]))
    for task in ("landmarks", "attributes"):
        smtn = cka.loc[(SMTN, "shared", task)]
        text = f"SMTN's {task} stream is apart from the shared one (mean CKA < 0.5)"
        entry.add(f"apart-{task}", text, mean_interval(smtn), _APART, "by figure 5", "same: 1")
        tuned = cka.loc[(TUNED, "shared", task)]
        text = f"{TUNED}: the {task} stream is apart from the shared one (mean CKA < 0.5)"
        entry.add(
            f"apart-tuned-{task}", text, mean_interval(tuned), _APART, "by figure 5", "same: 1"
        )
        found = mean_interval(smtn - cka.loc[(SINGLE, "shared", task)])
        text = f"SMTN's {task} stream is further from the shared one than a single-task network's"
        entry.add(f"pushed-{task}", f"{text} (CKA, < 0)", found, _LESS)
    found = mean_interval(
        cka.loc[(SMTN, "landmarks", "attributes")] - cka.loc[(SINGLE, "landmarks", "attributes")]
    )
    text = "SMTN's two task streams are more apart than two single-task networks (CKA, < 0)"
    entry.add("apart-tasks", text, found, _LESS)


def _probes(entry: Evidence, results: Results) -> None:
    """ "Only task-specific features": what a stream knows of the other task, last layer."""
    rows = by_seed(results.looks, "probes", ["stream", "layer", "task", "value"])
    last = rows[rows["layer"] == rows["layer"].max()]
    keys = ["variant", "stream", "task", "seed"]
    value = last.set_index(keys)["value"].sort_index()
    for stream, task in (("landmarks", "attributes"), ("attributes", "landmarks")):
        mine = value.loc[(SMTN, stream, task)]
        chance = 0.5 if task == "attributes" else 0.0
        text = (
            f"SMTN's {stream} stream holds nothing of the {task} (probe less than .05 above chance)"
        )
        found = mean_interval(mine - chance)
        entry.add(f"only-{stream}", text, found, below(0.05, LEAST), "asserted", "chance: 0")
        found = mean_interval(mine - value.loc[(SINGLE, stream, task)])
        text = f"SMTN's {stream} stream holds less of the {task} than a single-task network's (< 0)"
        entry.add(f"less-{stream}", text, found, _LESS)


def _means(rows: pd.DataFrame) -> pd.Series:
    """Mean over layers by variant, first and second stream, seed."""
    return rows.groupby(["variant", "first", "second", "seed"])["value"].mean()


def _points(estimate: Estimate) -> Estimate:
    return Estimate(100 * estimate.value, 100 * estimate.low, 100 * estimate.high, estimate.n)


def _exact(values: pd.Series) -> Estimate:
    """The largest of some numbers that leave nothing to chance."""
    largest = float(values.max())
    return Estimate(largest, largest, largest, len(values))
