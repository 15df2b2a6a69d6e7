"""How much of the base's weights two masks share, and how much of that is chance.

Two independent masks that each use half of the weights agree on half of them: agreement (the share
of equal bits, 1 - XOR) says nothing without what chance gives. Cohen's kappa is the agreement
beyond chance, as a share of the most that is possible: Cohen, "A coefficient of agreement for
nominal scales", 1960.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Masks = Mapping[str, Tensor]  # layer name -> bool tensor of the weight's shape


@dataclass(frozen=True)
class Similarity:
    """Two masks compared over all their bits.

    agreement: share of equal bits. chance: expected of independent masks with these two densities.
    kappa: (agreement - chance) / (1 - chance); NaN for masks that are both constant and equal.
    null_mean, null_low, null_high: kappa's mean and central interval when the positions of one
        mask are permuted inside each layer. The mean is above 0 where both masks use the same
        layers more: then kappa above 0 needs no common weight.
    p: share of permutations that agree as much or more (one-sided), never below 1 / (draws + 1).
    """

    bits: int
    agreement: float
    chance: float
    kappa: float
    null_mean: float
    null_low: float
    null_high: float
    p: float


def similarity(
    a: Masks, b: Masks, *, draws: int = 9999, level: float = 0.95, seed: int = 0
) -> Similarity:
    """Compare two masks of the same layers; of one layer, if the mappings have only that.

    No bit is moved for the null: permuted inside its layer, the number of weights that both use is
    hypergeometric, and is drawn as such.
    Raises ValueError for masks of other layers or shapes, and for tensors that are not bool.
    """
    bits, of_a, of_b, both = _counts(a, b).T
    rng = np.random.default_rng(seed)
    drawn = rng.hypergeometric(of_a, bits - of_a, of_b, size=(draws, len(bits))).sum(1)
    total = bits.sum()
    used_a, used_b = of_a.sum() / total, of_b.sum() / total

    def agreement(shared: np.ndarray) -> np.ndarray:
        return (total - of_a.sum() - of_b.sum() + 2 * shared) / total

    null = kappa(agreement(drawn), used_a, used_b)
    low, high = np.quantile(null, [(1 - level) / 2, (1 + level) / 2])
    return Similarity(
        int(total),
        float(agreement(both.sum())),
        float(_chance(used_a, used_b)),
        float(kappa(agreement(both.sum()), used_a, used_b)),
        float(kappa(agreement((of_a * (of_b / bits)).sum()), used_a, used_b)),
        float(low),
        float(high),
        float((1 + (drawn >= both.sum()).sum()) / (draws + 1)),
    )


def kappa(agreement: np.ndarray | float, used_a: float, used_b: float) -> np.ndarray | float:
    """Cohen's kappa of two masks from their agreement and the shares of weights they use."""
    chance = _chance(used_a, used_b)
    return (agreement - chance) / (1 - chance) if chance < 1 else agreement * np.nan


def zero_rates(masks: Masks) -> dict[str, float]:
    """Layer name -> share of its weights that the mask puts to 0."""
    return {name: 1 - int(mask.count_nonzero()) / mask.numel() for name, mask in masks.items()}


def zero_rate(masks: Masks) -> float:
    """Share of zeros over all layers, each weight counted once."""
    used = sum(int(mask.count_nonzero()) for mask in masks.values())
    return 1 - used / sum(mask.numel() for mask in masks.values())


def _chance(used_a: float, used_b: float) -> float:
    return used_a * used_b + (1 - used_a) * (1 - used_b)


def _counts(a: Masks, b: Masks) -> np.ndarray:
    """(layers, 4): bits, those used by a, by b, by both."""
    shapes = [{name: tuple(mask.shape) for name, mask in masks.items()} for masks in (a, b)]
    if shapes[0] != shapes[1] or not a:
        raise ValueError(f"the masks are not of the same layers: {shapes[0]} and {shapes[1]}")
    if any(mask.dtype != torch.bool for masks in (a, b) for mask in masks.values()):
        raise ValueError("masks are bool tensors")
    rows = [(x.numel(), x, b[name], x & b[name]) for name, x in a.items()]
    return np.array([(n, *(int(m.count_nonzero()) for m in parts)) for n, *parts in rows])
