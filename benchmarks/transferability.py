"""Transferability scores of ImageNet's classes for Caltech-101's: the EMD, and all scores.

On the CPU, whatever the machine has: that is where a bank of outputs is scored.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import ot
import torch
from timing import Row, at_most, compare, seconds

from lib.transfer.scores import all_scores, emd_score

IMAGES, SOURCES, TARGETS, FEATURES = 7000, 1000, 101, 512
SOLVED = 20  # images of the loop over a solver, which is slow
CPU = torch.device("cpu")


def emd() -> Row:
    """The closed form for all images, beside POT's solver image by image for a few.

    Both from float64, as ``all_scores`` hands it on; numpy widens float16 slower than the rest.
    """
    bank = _bank(seed=0)
    labels, distances = bank["labels"], bank["distances"]
    probabilities = bank["probabilities"].astype(np.float64)
    few, targets = probabilities[:SOLVED], np.eye(TARGETS)[labels[:SOLVED]]
    row = compare(
        f"EMD score, {SOURCES} x {TARGETS} classes",
        partial(emd_score, probabilities, labels, distances),
        partial(_solve, few, targets, distances),
        (IMAGES, SOLVED),
        "images/s",
        100,
        CPU,
    )
    stored = seconds(partial(emd_score, bank["probabilities"], labels, distances), CPU)
    return row | {"note": f"from float16, widened first: {IMAGES / stored:.3g} images/s"}


def _solve(probabilities: np.ndarray, targets: np.ndarray, distances: np.ndarray) -> float:
    sides = (rows / rows.sum(1, keepdims=True) for rows in (probabilities, targets))
    return float(sum(ot.emd2(p, q, distances) for p, q in zip(*sides, strict=True)))


def scores(models: int = 16) -> Row:
    """Every score of as many models as a run has, one after the other; random outputs."""
    spent = sum(seconds(partial(all_scores, **_bank(seed)), CPU) for seed in range(models))
    return at_most(f"all scores of {models} models", spent, "s", 60.0, CPU)


def _bank(seed: int) -> dict[str, np.ndarray]:
    """The arguments of ``all_scores``, float16 as they are stored."""
    rng = np.random.default_rng(seed)
    odds = np.exp(3 * rng.standard_normal((IMAGES, SOURCES), dtype=np.float32))
    return {
        "probabilities": (odds / odds.sum(1, keepdims=True)).astype(np.float16),
        "features": rng.standard_normal((IMAGES, FEATURES), dtype=np.float32).astype(np.float16),
        "labels": rng.integers(TARGETS, size=IMAGES),
        "distances": 5 + rng.random((SOURCES, TARGETS)),
    }
