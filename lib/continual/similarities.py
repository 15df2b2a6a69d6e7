"""Notebook 01: what the paper's agreements between masks say beyond chance.

Matsumoto and Yanai print the share of equal bits for each two tasks (Table 3). The shares of ones,
what independent masks would agree on, and how far a mask can be compressed follow from that alone.
"""

from __future__ import annotations

from itertools import combinations
from math import isclose, log2

import pandas as pd

from lib.continual.mask_similarity import kappa

# Table 3: share of equal bits. Task 1 is the base: no weight is masked, its mask is all ones.
AGREEMENT = {
    (1, 2): 0.5075,
    (1, 3): 0.5042,
    (1, 4): 0.4326,
    (1, 5): 0.4529,
    (2, 3): 0.5054,
    (2, 4): 0.5034,
    (2, 5): 0.5029,
    (3, 4): 0.5020,
    (3, 5): 0.5025,
    (4, 5): 0.5210,
}
NAN = float("nan")
_Row = tuple[str, str, float, float, str, str]


def findings() -> pd.DataFrame:
    """Masks: id (index), statement, paper (NaN: not given), ours, unit, explanation."""
    columns = ["id", "statement", "paper", "ours", "unit", "explanation"]
    rows = [*_zero_rates(), *_kappas(), *_entropies()]
    return pd.DataFrame(rows, columns=columns).set_index("id")


def similarity() -> pd.DataFrame:
    """Table 3 against chance: a, b, agreement, chance, excess, kappa, mutual_information (bits).

    chance: agreement of independent masks with the same shares of ones; kappa: Cohen's,
    (agreement - chance) / (1 - chance). Pairs with task 1 have neither: its mask is constant.
    Over the whole mask, layers that are sparse in both tasks count as agreement too: a kappa within
    layers can be smaller.
    """
    ones = densities()
    rows = []
    for a, b in combinations(sorted(ones), 2):
        agreement = AGREEMENT[a, b]
        chance = ones[a] * ones[b] + (1 - ones[a]) * (1 - ones[b])
        rows.append(
            {
                "a": a,
                "b": b,
                "agreement": agreement,
                "chance": chance,
                "excess": agreement - chance,
                "kappa": kappa(agreement, ones[a], ones[b]),
                "mutual_information": _mutual_information(ones[a], ones[b], agreement),
            }
        )
    return pd.DataFrame(rows)


def densities() -> dict[int, float]:
    """Share of ones in the masks of tasks 2 to 5: their agreement with the base's ones."""
    return {b: value for (a, b), value in AGREEMENT.items() if a == 1}


def entropy(*probabilities: float) -> float:
    """Bits of a draw with these probabilities. Raises ValueError if they are no distribution."""
    if min(probabilities) < 0 or not isclose(sum(probabilities), 1):
        raise ValueError(f"no distribution: {probabilities}")
    return -sum(p * log2(p) for p in probabilities if p)


def _mutual_information(ones_a: float, ones_b: float, agreement: float) -> float:
    both = (agreement + ones_a + ones_b - 1) / 2
    joint = (both, ones_a - both, ones_b - both, agreement - both)
    marginals = entropy(ones_a, 1 - ones_a) + entropy(ones_b, 1 - ones_b)
    return marginals - entropy(*joint)


def _zero_rates() -> list[_Row]:
    """What the column of task 1 says: it has no mask, so it is the others' shares of ones."""
    why = "1 - the agreement with task 1, all ones; the paper: about 50 to 60 % in a layer"
    rates = [
        (f"zero-rate-{task}", f"Zeros in the mask of task {task}", NAN, 1 - ones, "share", why)
        for task, ones in densities().items()
    ]
    statement, others = (
        "Pairs of masks that Table 3 compares",
        "the other 4 are with task 1: no mask",
    )
    pairs = ("mask-pairs", statement, len(AGREEMENT), len(similarity()), "pairs", others)
    return [*rates, pairs]


def _kappas() -> list[_Row]:
    return [
        (
            f"kappa-{row.a}-{row.b}",
            f"Similarity of the masks of tasks {row.a} and {row.b} beyond chance",
            NAN,
            row.kappa,
            "Cohen's kappa",
            f"{row.agreement:.4f} of the bits agree (Table 3), {row.chance:.4f} in independent "
            "masks with as many ones",
        )
        for row in similarity().itertuples()
    ]


def _entropies() -> list[_Row]:
    bits = {task: entropy(ones, 1 - ones) for task, ones in densities().items()}
    why = "entropy of independent bits with the mask's share of ones"
    rows = [
        (
            f"entropy-{task}",
            f"Least size of the mask of task {task} after compression",
            NAN,
            alone,
            "bits a weight",
            why,
        )
        for task, alone in bits.items()
    ]
    both = similarity().set_index(["a", "b"]).loc[(4, 5), "mutual_information"]
    difference = entropy(AGREEMENT[4, 5], 1 - AGREEMENT[4, 5])
    saved = (
        "entropy-5-given-4",
        "What knowing the mask of task 4 saves for that of task 5",
        NAN,
        both / bits[5],
        "share",
        "mutual information of a weight's two bits over the entropy of one; to store where the "
        f"masks differ takes {difference:.4f} bits a weight, the mask itself {bits[5]:.4f}",
    )
    return [*rows, saved]
