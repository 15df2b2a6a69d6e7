"""Notebook 03: fine-tunes a source on the target."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lib.engine.sweep import Context
from lib.transfer.sources import Recipe, Source, Task, fine_tune, load_source, mirrors, task_data

REACHED = 0.95  # of the last accuracy: when a fine-tuning counts as there


@dataclass(frozen=True, kw_only=True)
class FineTuneTrial:
    """One fine-tuning of a source on the target."""

    source: Source
    target: Task
    recipe: Recipe
    seed: int = 0
    version: int = 1


def run_fine_tuning(trial: FineTuneTrial, context: Context) -> dict:
    """Test accuracies in per cent of every epoch, and what is made of them.

    best: highest test accuracy, which is what the paper prints, and its epoch. chosen: the epoch
    is chosen on one half of the test images and counted on the other, both ways, averaged.
    reached: first epoch with 95 % of the last accuracy. chance: of the most frequent class.
    """
    network = load_source(trial.source, context)
    data = task_data(trial.target, context)
    start = time.perf_counter()
    options = {"seed": trial.seed, "mirror": mirrors(trial.target)}
    curve = fine_tune(network, trial.source, data, trial.recipe, **options)
    return {
        "train_images": len(data.train_images),
        "test_images": len(data.test_images),
        "chance": 100 * float(data.test_labels.bincount().max() / len(data.test_labels)),
        "train_seconds": round(time.perf_counter() - start, 2),
        **summarise(curve.correct),
    }


def summarise(correct: Tensor) -> dict[str, Any]:
    """What a fine-tuning's (epochs, images) hits amount to; see ``run_fine_tuning``."""
    curve = 100 * correct.double().mean(1)
    best = int(curve.argmax())
    halves = correct[:, 0::2].double().mean(1), correct[:, 1::2].double().mean(1)
    chosen = [100 * float(b[a.argmax()]) for a, b in (halves, halves[::-1])]
    return {
        "curve": [round(value, 4) for value in curve.tolist()],
        "best": float(curve[best]),
        "best_epoch": best + 1,
        "chosen": sum(chosen) / 2,
        "final": float(curve[-1]),
        "reached": int((curve >= REACHED * curve[-1]).double().argmax()) + 1,
    }
