"""Notebook 04: what follows from Matsui et al.'s Table 1 and settings alone.

Eight average accuracies, of one training each, without spread: the findings are what the best
variant's lead can be, what it would take to show it, and what the comparison leaves out. Their
words stand in ``paper_findings.csv``, the paper's table in ``paper_table_1.csv``.
"""

from math import hypot, sqrt
from pathlib import Path

import pandas as pd
from scipy import stats

from lib.ledger.tables import compared_with_print

HERE = Path(__file__).parent
BASELINE, LEAD = 89.9, 0.1  # %, and points by which the best is above it
TEST, ATTRIBUTES = 19_962, 40  # test images of section 4, and attributes of each
STAGES = 2  # of the proposed; 100 epochs of each is a reading
TASKS = 2


def table_1() -> pd.DataFrame:
    """Table 1: method, accuracy (%, mean of the attributes), our variant where there is one."""
    return pd.read_csv(HERE / "paper_table_1.csv")


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    words = pd.read_csv(HERE / "paper_findings.csv", index_col="id")
    accuracy = table_1().set_index("method")["accuracy"]
    ours, channel_wise, tuned = (accuracy[f"Ours{more}"] for more in ("", "+CW", "+CW+FT"))
    numbers = {
        "variants-below": sum(variant < BASELINE for variant in (ours, channel_wise, tuned)),
        "best": accuracy.max(),
        "structure": round(ours - BASELINE, 9),
        "channel-wise": round(channel_wise - ours, 9),
        "fine-tuning": round(tuned - channel_wise, 9),
        "p-independent": p_of_lead(LEAD, TEST * ATTRIBUTES),
        "p-dependent": p_of_lead(LEAD, TEST),
        # the lead over sqrt(2) standard deviations has to reach the normal's 97.5 % point
        "needed-std": LEAD / sqrt(2) / float(stats.norm.ppf(0.975)),
        # over the shared stream's: it, and for each task a stream with twice the inputs
        "weights-ours": 1 + TASKS * 2,
        "budget": STAGES,
    }
    return compared_with_print(words.assign(ours=[numbers[name] for name in words.index]))


def p_of_lead(lead: float, decisions: float) -> float:
    """Two-sided p of a lead in points over the baseline, each on test images of its own.

    decisions: how many independent ones an accuracy is the mean of; its error is binomial. The
    attributes of an image lie between independent (40 decisions) and identical (one).
    """
    pair = (sqrt(rate * (100 - rate) / decisions) for rate in (BASELINE, BASELINE + lead))
    return float(2 * stats.norm.sf(abs(lead) / hypot(*pair)))
