"""Notebook 04: what follows from Matsui et al.'s Table 1 and settings alone.

Eight average accuracies, of one training each, without spread: the findings are what the best
variant's lead can be, what it would take to show it, and what the comparison leaves out. Their
words stand in ``paper_findings.csv``, the paper's table in ``paper_table_1.csv``.
"""

from math import ceil, floor, hypot, sqrt
from pathlib import Path

import pandas as pd
from scipy import stats

from lib.ledger.tables import compared_with_print

HERE = Path(__file__).parent
BEST = "Ours+CW+FT"  # CW: channel-wise convolution, FT: fine-tuning
BASELINE, LEAD = 89.9, 0.1  # %, and points by which the best is above it
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
    """Table 1: method, accuracy (%, mean of the attributes), our variant where there is one."""
    return pd.read_csv(HERE / "paper_table_1.csv")


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    words = pd.read_csv(HERE / "paper_findings.csv", index_col="id")
    accuracy = table_1().set_index("method")["accuracy"]
    numbers = _of_the_lead(accuracy) | _of_chance(accuracy) | _of_the_settings()
    return compared_with_print(words.assign(ours=[numbers[name] for name in words.index]))


def standard_error(accuracy: float, decisions: float) -> float:
    """Binomial, in points, of an accuracy in % of so many independent decisions."""
    return sqrt(accuracy * (100 - accuracy) / decisions)


def p_of_lead(lead: float, decisions: float) -> float:
    """Two-sided p of a lead in points over the baseline, each on test images of its own."""
    return float(2 * stats.norm.sf(abs(lead) / _error_of_lead(lead, decisions)))


def _error_of_lead(lead: float, decisions: float) -> float:
    pair = standard_error(BASELINE, decisions), standard_error(BASELINE + lead, decisions)
    return hypot(*pair)


def _of_the_lead(accuracy: pd.Series) -> dict[str, float]:
    """The best of three variants leads by a digit's step; the others lag."""
    proposed = accuracy[accuracy.index.str.startswith("Ours")]
    earlier = accuracy["LNets+ANet"]
    return {
        "variants-below": (proposed < BASELINE).sum(),
        "variants-above": (proposed > earlier).sum(),
        "best": accuracy.max(),
        "lead": LEAD,
        "lead-least": round(LEAD - 2 * HALF, 9),
        "lead-most": round(LEAD + 2 * HALF, 9),
        "mean-lead": round(proposed.mean() - BASELINE, 9),
        "structure": round(accuracy["Ours"] - BASELINE, 9),
        "channel-wise": round(accuracy["Ours+CW"] - accuracy["Ours"], 9),
        "fine-tuning": round(accuracy[BEST] - accuracy["Ours+CW"], 9),
        "baseline-share": 100 * (BASELINE - earlier) / (BASELINE - earlier + LEAD),
        "errors-fewer": 100 * LEAD / (100 - BASELINE),
        "decisions": DECISIONS,
        "lead-decisions": round(LEAD / 100 * DECISIONS),
    }


def _of_chance(accuracy: pd.Series) -> dict[str, float]:
    """Test images are a sample; and what has to hold for the lead to have p < 0.05.

    The attributes of an image lie between independent (40 decisions) and identical (one).
    """
    numbers = {
        "needed-attributes": (Z * _error_of_lead(LEAD, 1) / LEAD) ** 2 / TEST,
        "needed-alike": floor((LEAD / 100 * DECISIONS / Z) ** 2),  # by McNemar's test
        "differ-most": round((200 - accuracy[BEST] - BASELINE) / 100 * DECISIONS),
        "needed-std": LEAD / Z / sqrt(2),
    }
    for name, count in (("independent", DECISIONS), ("dependent", TEST)):
        numbers |= {
            f"half-{name}": Z * standard_error(accuracy[BEST], count),
            f"half-difference-{name}": Z * _error_of_lead(LEAD, count),
            f"p-{name}": p_of_lead(LEAD, count),
            f"p-most-{name}": p_of_lead(LEAD + 2 * HALF, count),
        }
    return numbers


def _of_the_settings() -> dict[str, float]:
    """Length of training, weights, the frame of the landmarks, and misprints.

    Weights are over the shared stream's: it, and for each task a stream with twice the inputs, or
    with a 1 x 1 convolution first, or alone.
    """
    return {
        "steps-both": STAGES * ceil(TRAIN / BATCH) * EPOCHS,
        "budget": STAGES,
        "unused": ALL - TRAIN - TEST,
        "weights-ours": 1 + TASKS * 2,
        "weights-ours+cw": 1 + TASKS * (1 + 2 / KERNEL**2),
        "weights-streams-of-their-own": 1 + TASKS,
        "aspect": HEIGHT / WIDTH,
        "vertical": WIDTH / HEIGHT,
        "misprints": len(set(NAMED) - set(table_1()["method"])),
    }
