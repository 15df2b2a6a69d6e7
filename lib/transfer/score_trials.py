"""Notebook 03: scores a source on the target's training images."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.data.words import ClassVectors, class_vectors, load_vectors
from lib.engine.artefacts import artefact
from lib.engine.sweep import Context
from lib.transfer.all_scores import SCORES, all_scores
from lib.transfer.scores import class_sums, uniform_emd, word_distances
from lib.transfer.sources import (
    EVALUATION_BATCH,
    Source,
    Task,
    load_source,
    source_names,
    task_data,
)

PERMUTATIONS = 200  # of the source's class names, for the control
SUMS = ("softmax", "emd")  # scores that grow with the number of images


@dataclass(frozen=True, kw_only=True)
class BankTrial:
    """What a source says about the target's training images, kept: one pass for all scores."""

    source: Source
    target: Task
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class ScoreTrial:
    """All scores of a source for the target.

    words: the vectors of class names, see ``load_vectors``. draws: half samples of the images
        behind each interval.
    """

    source: Source
    target: Task
    words: str
    draws: int
    seed: int = 0
    version: int = 1


def load_bank(trial: BankTrial, context: Context) -> dict[str, Tensor]:
    """probabilities (N, C) and features (N, D) as float16, labels (N,), of the training images."""
    return artefact(trial, context, lambda: _describe(trial, context))


@torch.no_grad()
def _describe(trial: BankTrial, context: Context) -> dict[str, Tensor]:
    network, data = load_source(trial.source, context), task_data(trial.target, context)
    probabilities, features = [], []
    for part in data.train_images.split(EVALUATION_BATCH):
        found, logits = network.describe(part.to(context.device).float() / 255)
        probabilities.append(logits.float().softmax(1).half().cpu())
        features.append(found.half().cpu())
    return {
        "probabilities": torch.cat(probabilities),
        "features": torch.cat(features),
        "labels": data.train_labels,
    }


def named_distances(
    trial: ScoreTrial, context: Context
) -> tuple[np.ndarray, ClassVectors, ClassVectors]:
    """(C, T) distances between class names, and the vectors of the source's and the target's."""
    vectors = load_vectors(trial.words, context.data_root)
    source, target = (
        class_vectors(names, vectors)
        for names in (
            source_names(trial.source, context),
            task_data(trial.target, context).classes,
        )
    )
    return word_distances(source.vectors, target.vectors), source, target


def run_scores(trial: ScoreTrial, context: Context) -> dict:
    """Every score with the ends of its 95 % interval, and the control of shuffled names.

    NAME_low, NAME_high: from half samples, whose spread about the whole is that of the whole
    about the truth. shuffled: normalised EMD when the source's class names are permuted, with the
    interval of the permutations. coverage: of the words of both vocabularies.
    """
    bank = load_bank(BankTrial(source=trial.source, target=trial.target), context)
    arrays = {name: each.numpy() for name, each in bank.items()}
    distances, source, target = named_distances(trial, context)
    labels = arrays["labels"]
    start = time.perf_counter()
    values = all_scores(**arrays, distances=distances)
    seconds = time.perf_counter() - start
    found = {"images": len(labels), "outputs": len(distances), "score_seconds": round(seconds, 2)}
    for name, spread in _spread(arrays, distances, trial).items():
        found[name] = values[name]
        found[f"{name}_low"] = values[name] - 1.96 * spread
        found[f"{name}_high"] = values[name] + 1.96 * spread
    found["uniform_emd"] = uniform_emd(labels, distances)
    found |= _shuffled(arrays, distances, trial.seed)
    for role, vectors in (("source", source), ("target", target)):
        found[f"{role}_word_coverage"] = vectors.word_coverage
        found[f"{role}_class_coverage"] = vectors.class_coverage
    return found


def _spread(
    arrays: dict[str, np.ndarray], distances: np.ndarray, trial: ScoreTrial
) -> dict[str, float]:
    """Standard deviation of every score over random halves of each class."""
    rng, labels = np.random.default_rng(trial.seed), arrays["labels"]
    draws: dict[str, list[float]] = {name: [] for name in SCORES}
    for _ in range(trial.draws):
        half = _half(labels, rng)
        values = all_scores(
            **{name: each[half] for name, each in arrays.items()}, distances=distances
        )
        for name, value in values.items():
            draws[name].append(value * len(labels) / len(half) if name in SUMS else value)
    return {name: float(np.std(found, ddof=1)) for name, found in draws.items()}


def _half(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of a random half of each class, of at least two images."""
    shuffled = rng.permutation(len(labels))
    members = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    return np.concatenate([each[: max(2, len(each) // 2)] for each in members])


def _shuffled(arrays: dict[str, np.ndarray], distances: np.ndarray, seed: int) -> dict[str, float]:
    """The normalised EMD with permuted names: mean and the middle 95 % of permutations."""
    rng, labels = np.random.default_rng(seed), arrays["labels"]
    # summed by class first: a permutation then costs next to nothing
    sums = class_sums(arrays["probabilities"], labels, distances.shape[1])
    uniform = uniform_emd(labels, distances)
    found = [
        float((sums.T * distances[rng.permutation(len(distances))]).sum() / uniform)
        for _ in range(PERMUTATIONS)
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return {"shuffled": float(np.mean(found)), "shuffled_low": low, "shuffled_high": high}
