"""Notebook 04: what follows from Matsui et al.'s Table 1 and settings alone.

Eight average accuracies, of one training each, without spread: the findings are what the best
variant's lead can be, what it would take to show it, and what the comparison leaves out.
"""

from __future__ import annotations

from math import ceil, floor, hypot, sqrt

import pandas as pd
from scipy import stats

from lib.ledger.claims import judged

OURS = "Ours"  # how the names of the proposed networks begin
BASELINE, BEST = "Baseline", "Ours+CW+FT"
_ACCURACY = {  # %, mean of the attributes; CW: channel-wise convolution, FT: fine-tuning
    "FaceTracer": 81.1,
    "PANDA-w": 79.8,
    "PANDA-l": 85.4,
    "LNets+ANet": 87.3,
    BASELINE: 89.9,
    "Ours": 89.6,
    "Ours+CW": 89.4,
    BEST: 90.0,
}
HALF = 0.05  # of the last digit printed
NAMED = ("FaceTracer", "PANDA-w", "PANFA-l", "LNet+ANet")  # in section 4, as printed
ALL, TRAIN, TEST = 202_599, 162_770, 19_962  # images; all: CelebA's, the others: section 4
ATTRIBUTES, BATCH, EPOCHS = 40, 32, 100
STAGES = 2  # of the proposed; 100 epochs of each is a reading
WIDTH, HEIGHT = 178, 218  # of CelebA's aligned images; the paper's are squares
LEVEL = 0.95
TASKS, KERNEL = 2, 3  # the kernel's side is a reading, the paper has none
NAN = float("nan")
_Row = tuple[str, str, float, float, str, str]


def table_1() -> pd.DataFrame:
    """Table 1: method, accuracy (%), proposed."""
    table = pd.DataFrame(_ACCURACY.items(), columns=["method", "accuracy"])
    return table.assign(proposed=table["method"].str.startswith(OURS))


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    columns = ["id", "statement", "paper", "ours", "unit", "explanation"]
    rows = [*_lead(), *_decisions(), *_chance(), *_demands(), *_training(), *_weights(), *_rest()]
    return judged(pd.DataFrame(rows, columns=columns).set_index("id"))


def standard_error(accuracy: float, decisions: float) -> float:
    """Binomial, in points, of an accuracy in % of so many independent decisions."""
    return sqrt(accuracy * (100 - accuracy) / decisions)


def p_of_lead(lead: float, decisions: float) -> float:
    """Two-sided p of a lead in points over the baseline, each on test images of its own."""
    baseline = _ACCURACY[BASELINE]
    error = hypot(*(standard_error(each, decisions) for each in (baseline, baseline + lead)))
    return float(2 * stats.norm.sf(abs(lead) / error))


# a table: the numbers of a row in its first line, the reason below
# fmt: off
def _lead() -> list[_Row]:
    """The best of three variants leads by a digit's step; the others lag."""
    accuracy, proposed = _ACCURACY, table_1().query("proposed")["accuracy"]
    baseline, lead = accuracy[BASELINE], _difference(BEST, BASELINE)
    before = baseline - accuracy["LNets+ANet"]
    return [
        ("variants-below", f"Proposed variants below the baseline, of {len(proposed)}", NAN,
         int((proposed < baseline).sum()), "variants", "the text calls the proposal effective"),
        ("variants-above", "Proposed variants above LNets+ANet", len(proposed),
         int((proposed > accuracy["LNets+ANet"]).sum()), "variants",
         "all, as the text says; and so is the baseline"),
        ("best", "Best accuracy of the table", 90.0, max(accuracy.values()), "%", BEST),
        ("lead", "Lead of the best variant over the baseline", NAN, lead, "points",
         "one training each"),
        ("lead-least", "A lead that rounds to it is more than", NAN, round(lead - 2 * HALF, 9),
         "points", "both numbers are rounded to 0.1"),
        ("lead-most", "A lead that rounds to it is less than", NAN, round(lead + 2 * HALF, 9),
         "points", "both numbers are rounded to 0.1"),
        ("mean-lead", "Mean of the proposed variants less the baseline", NAN,
         round(proposed.mean() - baseline, 9), "points", "a variant not chosen by test accuracy"),
        ("structure", "Parallel layers alone, less the baseline", NAN,
         _difference("Ours", BASELINE), "points", "the structure without its other two parts"),
        ("channel-wise", "What channel-wise convolution adds", NAN,
         _difference("Ours+CW", "Ours"), "points", "it lowers the accuracy by itself"),
        ("fine-tuning", "What starting from the baseline's parameters adds", NAN,
         _difference(BEST, "Ours+CW"), "points",
         "all of the lead: the only variant above the baseline is the one that starts from it"),
        ("baseline-share", "Of the best variant's lead over LNets+ANet, the baseline has", NAN,
         100 * before / (before + lead), "%", "little is left for the proposal"),
        ("errors-fewer", "Errors of the baseline that the best variant does not make, net", NAN,
         100 * lead / (100 - baseline), "%", "net of those that got worse"),
    ]


def _decisions() -> list[_Row]:
    lead, decisions = _difference(BEST, BASELINE) / 100, TEST * ATTRIBUTES
    return [
        ("decisions", "Decisions in an average accuracy", NAN, decisions, "decisions",
         f"{TEST} images of {ATTRIBUTES} attributes"),
        ("lead-decisions", "Decisions in the lead", NAN, round(lead * decisions), "decisions",
         "net of those that got worse"),
        ("lead-image", "Images for one decision of the lead", NAN,
         round(1 / (lead * ATTRIBUTES), 9), "images", "net of those that got worse"),
    ]


def _chance() -> list[_Row]:
    """Test images are a sample: between independent and identical attributes of an image."""
    best, lead, rows = _ACCURACY[BEST], _difference(BEST, BASELINE), []
    z = stats.norm.ppf((1 + LEVEL) / 2)
    apart = "each network on test images of its own"
    cases = {"independent": (TEST * ATTRIBUTES, "all decisions independent"),
             "dependent": (TEST, "attributes of an image right or wrong together")}
    for name, (count, case) in cases.items():
        error = standard_error(best, count)
        both = hypot(error, standard_error(_ACCURACY[BASELINE], count))
        rows += [
            (f"error-{name}", f"Standard error of {best:g} %, {case}", NAN, error, "points",
             f"binomial, of {count} decisions"),
            (f"half-{name}", f"Half the {LEVEL:.0%} interval of {best:g} %, {case}", NAN,
             z * error, "points", f"binomial, of {count} decisions"),
            (f"half-difference-{name}", f"Half the {LEVEL:.0%} interval of the lead, {case}", NAN,
             z * both, "points", apart),
            (f"p-{name}", f"p of the lead, {case}", NAN, p_of_lead(lead, count), "probability",
             apart),
            (f"p-most-{name}", f"p of the largest lead that rounds to it, {case}", NAN,
             p_of_lead(lead + 2 * HALF, count), "probability", apart),
        ]
    return rows


def _demands() -> list[_Row]:
    """What has to hold for the lead to differ from 0 with p < 0.05."""
    accuracy, lead = _ACCURACY, _difference(BEST, BASELINE)
    z = stats.norm.ppf((1 + LEVEL) / 2)
    variance = sum(standard_error(accuracy[name], 1) ** 2 for name in (BEST, BASELINE))
    won = lead / 100 * TEST * ATTRIBUTES
    wrong = sum(100 - accuracy[name] for name in (BEST, BASELINE)) / 100 * TEST * ATTRIBUTES
    return [
        ("needed-attributes", "Independent attributes of an image with which the lead has p = 0.05",
         NAN, variance * (z / lead) ** 2 / TEST, "attributes",
         f"of {ATTRIBUTES}; each network on test images of its own"),
        ("needed-alike", "Decisions in which the networks differ, at most, for p < 0.05", NAN,
         floor((won / z) ** 2), "decisions", "the same images and independent decisions: McNemar"),
        ("differ-most", "Decisions in which they differ if none is wrong in both", NAN,
         round(wrong), "decisions",
         "fewer: the lead is not by chance of the images if their decisions are independent; "
         "what is missing is the spread of trainings"),
        ("needed-std", "Std of the accuracy over trainings, at most, for p < 0.05", NAN,
         lead / z / sqrt(2), "points",
         "if the std is known, one training each; with more the lead is chance"),
    ]


def _training() -> list[_Row]:
    steps, twice = ceil(TRAIN / BATCH), f"a reading: {EPOCHS} epochs is not said to be of each"
    unused = ALL - TRAIN - TEST
    return [
        ("steps-epoch", "Steps of an epoch", NAN, steps, "steps", "the last batch is smaller"),
        ("steps", f"Steps of {EPOCHS} epochs", NAN, steps * EPOCHS, "steps", "the baseline's"),
        ("steps-both", "Steps of both stages", NAN, STAGES * steps * EPOCHS, "steps", twice),
        ("budget", "Epochs of the proposed over the baseline's", NAN,
         STAGES, "ratio", f"{twice}; no baseline was trained as long"),
        ("unused", "Images in neither train nor test", NAN, unused, "images",
         "CelebA's validation images: what chose the epoch and the variant is not said"),
        ("unused-share", "Images in neither train nor test, share", NAN, 100 * unused / ALL,
         "%", f"of {ALL}"),
    ]


def _weights() -> list[_Row]:
    """Over the shared stream's: it, and by task a stream with twice the inputs, or 1 x 1 first."""
    why = f"a reading: {KERNEL} x {KERNEL} kernels, equal widths, all layers shared in Stage 1"
    streams = {"Ours": 2, "Ours+CW": 1 + 2 / KERNEL**2, "streams of their own": 1}
    return [
        (f"weights-{name}".lower().replace(" ", "-"), f"Weights over the baseline's: {name}", NAN,
         1 + TASKS * stream, "ratio", f"{why}; no baseline has as many")
        for name, stream in streams.items()
    ]


def _rest() -> list[_Row]:
    """The frame of the landmarks, and misprints."""
    unknown = [name for name in NAMED if name not in _ACCURACY]
    return [
        ("aspect", f"A square from {WIDTH} x {HEIGHT}: faces are widened by", NAN, HEIGHT / WIDTH,
         "ratio", "if the aligned images are squeezed and not cut, which is not said"),
        ("vertical", "A vertical error in the square, over its value before", NAN,
         WIDTH / HEIGHT, "ratio", "the eye distance is horizontal: eq. 2 depends on the frame"),
        ("misprints", "Names of methods in section 4 that differ from Table 1", NAN,
         len(unknown), "names", ", ".join(unknown)),
    ]
# fmt: on


def _difference(first: str, second: str) -> float:
    """Accuracy points of one method over another, without what rounding leaves."""
    return round(_ACCURACY[first] - _ACCURACY[second], 9)
