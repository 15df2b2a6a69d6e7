"""Notebook 04: what follows from Matsui et al.'s Table 1 and settings alone.

Eight average accuracies, of one training each, without spread: the findings are what the best
variant's lead can be, what it would take to show it, and what the comparison leaves out. Their
words stand in ``paper_findings.csv``, the paper's table in ``paper_table_1.csv``.
"""

from __future__ import annotations

from math import ceil, floor, hypot, sqrt
from pathlib import Path

import pandas as pd
from scipy import stats

from lib.ledger.claims import judged

HERE = Path(__file__).parent
BEST = "Ours+CW+FT"  # CW: channel-wise convolution, FT: fine-tuning
NAMED = ("FaceTracer", "PANDA-w", "PANFA-l", "LNet+ANet")  # in section 4, as printed
ALL, TRAIN, TEST = 202_599, 162_770, 19_962  # images; all: CelebA's, the others: section 4
ATTRIBUTES, BATCH, EPOCHS = 40, 32, 100
STAGES = 2  # of the proposed; 100 epochs of each is a reading
WIDTH, HEIGHT = 178, 218  # of CelebA's aligned images; the paper's are squares
TASKS, KERNEL = 2, 3  # the kernel's side is a reading, the paper has none
HALF = 0.05  # points: of the last digit printed
DECISIONS = TEST * ATTRIBUTES
Z = float(stats.norm.ppf(0.975))  # of a 95 % interval


def table_1() -> pd.DataFrame:
    """Table 1: method, accuracy (%, mean of the attributes), proposed."""
    table = pd.read_csv(HERE / "paper_table_1.csv")
    return table.assign(proposed=table["method"].str.startswith("Ours"))


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    words = pd.read_csv(HERE / "paper_findings.csv", index_col="id")
    numbers = _of_the_lead() | _of_chance() | _of_the_settings()
    return judged(words.assign(ours=[numbers[name] for name in words.index]))


def standard_error(accuracy: float, decisions: float) -> float:
    """Binomial, in points, of an accuracy in % of so many independent decisions."""
    return sqrt(accuracy * (100 - accuracy) / decisions)


def p_of_lead(lead: float, decisions: float) -> float:
    """Two-sided p of a lead in points over the baseline, each on test images of its own."""
    return float(2 * stats.norm.sf(abs(lead) / _error_of_lead(lead, decisions)))


def _error_of_lead(lead: float, decisions: float) -> float:
    baseline = table_1().set_index("method")["accuracy"]["Baseline"]
    return hypot(*(standard_error(each, decisions) for each in (baseline, baseline + lead)))


def _of_the_lead() -> dict[str, float]:
    """The best of three variants leads by a digit's step; the others lag."""
    accuracy = table_1().set_index("method")["accuracy"]
    proposed = accuracy[accuracy.index.str.startswith("Ours")]
    baseline, earlier = accuracy["Baseline"], accuracy["LNets+ANet"]
    lead = round(accuracy[BEST] - baseline, 9)  # without what rounding leaves
    return {
        "variants-below": (proposed < baseline).sum(),
        "variants-above": (proposed > earlier).sum(),
        "best": accuracy.max(),
        "lead": lead,
        "lead-least": round(lead - 2 * HALF, 9),
        "lead-most": round(lead + 2 * HALF, 9),
        "mean-lead": round(proposed.mean() - baseline, 9),
        "structure": round(accuracy["Ours"] - baseline, 9),
        "channel-wise": round(accuracy["Ours+CW"] - accuracy["Ours"], 9),
        "fine-tuning": round(accuracy[BEST] - accuracy["Ours+CW"], 9),
        "baseline-share": 100 * (baseline - earlier) / (baseline - earlier + lead),
        "errors-fewer": 100 * lead / (100 - baseline),
        "decisions": DECISIONS,
        "lead-decisions": round(lead / 100 * DECISIONS),
        "lead-image": round(100 / (lead * ATTRIBUTES), 9),
    }


def _of_chance() -> dict[str, float]:
    """Test images are a sample; and what has to hold for the lead to have p < 0.05.

    The attributes of an image lie between independent (40 decisions) and identical (one).
    """
    accuracy = table_1().set_index("method")["accuracy"]
    lead = round(accuracy[BEST] - accuracy["Baseline"], 9)
    wrong = (200 - accuracy[BEST] - accuracy["Baseline"]) / 100 * DECISIONS
    numbers = {
        "needed-attributes": (Z * _error_of_lead(lead, 1) / lead) ** 2 / TEST,
        "needed-alike": floor((lead / 100 * DECISIONS / Z) ** 2),  # by McNemar's test
        "differ-most": round(wrong),
        "needed-std": lead / Z / sqrt(2),
    }
    for name, count in (("independent", DECISIONS), ("dependent", TEST)):
        error = standard_error(accuracy[BEST], count)
        numbers |= {
            f"error-{name}": error,
            f"half-{name}": Z * error,
            f"half-difference-{name}": Z * _error_of_lead(lead, count),
            f"p-{name}": p_of_lead(lead, count),
            f"p-most-{name}": p_of_lead(lead + 2 * HALF, count),
        }
    return numbers


def _of_the_settings() -> dict[str, float]:
    """Length of training, weights, the frame of the landmarks, and misprints.

    Weights are over the shared stream's: it, and for each task a stream with twice the inputs, or
    with a 1 x 1 convolution first, or alone.
    """
    steps, unused = ceil(TRAIN / BATCH), ALL - TRAIN - TEST
    return {
        "steps-epoch": steps,
        "steps": steps * EPOCHS,
        "steps-both": STAGES * steps * EPOCHS,
        "budget": STAGES,
        "unused": unused,
        "unused-share": 100 * unused / ALL,
        "weights-ours": 1 + TASKS * 2,
        "weights-ours+cw": 1 + TASKS * (1 + 2 / KERNEL**2),
        "weights-streams-of-their-own": 1 + TASKS,
        "aspect": HEIGHT / WIDTH,
        "vertical": WIDTH / HEIGHT,
        "misprints": len(set(NAMED) - set(table_1()["method"])),
    }
