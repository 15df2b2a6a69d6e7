"""Notebook 01: what follows from the paper alone, as one table.

Sizes and similarities of the masks, counted again, and what Matsumoto and Yanai write beside their
own results (Table 2).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pandas as pd

from lib.continual import similarities as piggyback_similarities
from lib.continual import sizes as piggyback_sizes
from lib.continual.sizes import CLASSES
from lib.ledger.claims import judged

METHODS = ["Scratch", "Fine-tune", "Decoder", "Piggyback", "Resblock"]
# the text at hand is a scan without the first four numbers of task 1, one cell: here the base's,
# which Decoder and Piggyback have after task 2
_TABLE_2 = {
    "mIoU of task 1": (21.47, 21.47, 21.47, 21.47, 0.57),
    "mIoU of task 2": (58.59, 64.87, 61.63, 61.45, 4.26),
    "MSE of task 3": (244.00, 237.92, 241.66, 242.49, 532.83),
    "SSIM of task 3": (0.9138, 0.9148, 0.9121, 0.9058, 0.9281),
    "SSIM of task 4": (0.3678, 0.3555, 0.3595, 0.3501, 0.3467),
    "loss of task 4": (413833, 405893, 473723, 528587, 460268),
    "loss of task 5": (447480, 400400, 544249, 591476, 520221),
}
NAN = float("nan")
# after the next task (of task 3: after task 4)
_AFTER = {
    "mIoU of task 1": (NAN, 0.70, 21.47, 21.47, 0.57),
    "mIoU of task 2": (NAN, 1.87, 61.63, 61.45, 4.26),
    "MSE of task 3": (NAN, 870.18, 241.66, 242.49, 532.83),
    "SSIM of task 3": (NAN, 0.5321, 0.9121, 0.9058, 0.9281),
}
RESULTS = pd.DataFrame.from_dict(_TABLE_2, orient="index", columns=METHODS)
AFTER = pd.DataFrame.from_dict(_AFTER, orient="index", columns=METHODS)
# the scan has the losses of task 5 a second time, with these digits
SECOND_READING = {"Fine-tune": 490490, "Decoder": 344348, "Piggyback": 521470, "Resblock": 320221}
EPOCHS = (200, 200, 200, 100, 200)  # of the losses of task 4
KINDS = ("segmentation", "segmentation", "colour", "style", "style")  # of the tasks of Table 1
WORST = {
    "Piggyback": ("SSIM of task 3", "loss of task 4", "loss of task 5"),
    "Resblock": ("MSE of task 3", "SSIM of task 4"),
}
_Row = tuple[str, str, float, float, str, str]


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ...

    agrees: is our number the paper's, within the rounding of the terms that the paper adds up?
    """
    columns = ["id", "statement", "paper", "ours", "unit", "explanation"]
    claims = pd.DataFrame([*_comparisons(), *_counts()], columns=columns).set_index("id")
    parts = (piggyback_sizes.findings(), piggyback_similarities.findings(), claims)
    return judged(pd.concat([part.assign(slack=part.get("slack", 0.0)) for part in parts]))


def readings(measure: str) -> list[dict[str, float]]:
    """A row of Table 2 by method, in every combination of the two readings of its cells."""
    cells = {method: (value,) for method, value in RESULTS.loc[measure].items()}
    if measure == "loss of task 5":
        cells |= {method: (*cells[method], value) for method, value in SECOND_READING.items()}
    return [dict(zip(cells, values, strict=True)) for values in product(*cells.values())]


def share(measure: str, holds: Callable[[dict[str, float]], bool]) -> float:
    """Share of the readings under which something holds of the methods' scores.

    Scores are the numbers of Table 2, MSE and losses negative: higher is better.
    """
    sign = 1 if measure.startswith(("mIoU", "SSIM")) else -1
    rows = readings(measure)
    return sum(holds({m: sign * value for m, value in row.items()}) for row in rows) / len(rows)


def _comparisons() -> list[_Row]:
    """The text: Resblock equals the networks of one task or is better, but for segmentation."""
    equal, worst = "Resblock is no worse than Scratch", "{} is the worst of the five"
    rows = [
        ("resblock", equal, measure, 1.0, lambda scores: scores["Resblock"] >= scores["Scratch"])
        for measure in RESULTS.index[2:]
    ]
    rows += [
        (f"worst-{method.lower()}", worst.format(method), measure, NAN, _is_worst(method))
        for method, measures in WORST.items()
        for measure in measures
    ]
    return [
        (
            f"{name}-{measure.lower().replace(' of task ', '-')}",
            f"{measure}: {statement}",
            paper,
            share(measure, holds),
            "share of readings",
            _text(measure),
        )
        for name, statement, measure, paper, holds in rows
    ]


def _is_worst(method: str) -> Callable[[dict[str, float]], bool]:
    return lambda scores: min(scores, key=scores.get) == method


def _text(measure: str) -> str:
    """A row of Table 2, in words."""
    cells = pd.DataFrame(readings(measure))
    texts = (f"{m} {' or '.join(f'{v:g}' for v in cells[m].unique())}" for m in METHODS)
    return ", ".join(texts)


# a table: the numbers of a row in its first line, the reason below
# fmt: off
def _counts() -> list[_Row]:
    before, loss = RESULTS.loc[AFTER.index], RESULTS.loc["loss of task 4"]
    kept, changed = before == AFTER, (before != AFTER) & AFTER.notna()
    constant = [f"{value:g}" for value in _constant()]
    return [
        ("kept", "Numbers that a later task leaves alone: Decoder, Piggyback and Resblock",
         12, kept[METHODS[2:]].to_numpy().sum(), "numbers",
         "4 numbers of each in Table 2, if all had the base's mIoU of task 1 at first"),
        ("changed-fine-tune", "Numbers that a later task changes: Fine-tune",
         4, changed["Fine-tune"].sum(), "numbers", "all that Table 2 has"),
        ("changed-scratch", "Numbers that a later task changes: Scratch",
         4, changed["Scratch"].sum(), "numbers",
         "the text reads from Table 2 that Scratch forgets too; its cells are empty"),
        ("constant", "Numbers of segmentation that one class everywhere may reach",
         NAN, len(constant), "numbers",
         "its mIoU in % is at most 100 / classes: 1.23 for task 1, 4.76 for task 2; no more are "
         + ", ".join(constant)),
        ("piggyback-ratio-loss-4", "Piggyback's loss of task 4 over that of the best baseline",
         NAN, loss["Piggyback"] / loss[METHODS[:3]].min(), "ratio", "the paper: almost equal"),
        ("epochs-4", "Methods with 200 epochs for task 4", NAN, EPOCHS.count(200), "methods",
         "Piggyback has 100, the other four 200"),
        ("kinds", "Kinds of tasks", 4, len(set(KINDS)), "kinds",
         "section 4 says 4; Table 1 has 5 tasks of 3 kinds, and the conclusion says 3"),
        ("methods", "Methods that are proposed", 2, 3, "methods",
         "section 3 says 2; sections 1 and 5.2 have the third, both together"),
    ]
# fmt: on


def _constant() -> list[float]:
    """Numbers of Table 2 that one class everywhere may reach, with an IoU of 1 at most, else 0."""
    both = pd.concat([RESULTS, AFTER])
    rows = {task: both.loc[f"mIoU of task {task}"].to_numpy() for task in (1, 2)}
    return sorted({v for task, row in rows.items() for v in row[row <= 100 / CLASSES[task]]})
