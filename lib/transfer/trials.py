"""What runs: which sources are scored for the target and fine-tuned on it, and each trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from lib.data.words import ClassVectors, class_vectors, load_vectors
from lib.engine.artefacts import artefact
from lib.engine.sweep import Context
from lib.networks.sources import TRAINED_ON
from lib.transfer.scores import (
    SCORES,
    all_scores,
    class_sums,
    main_directions,
    named_scores,
    uniform_emd,
)
from lib.transfer.sources import (
    EVALUATION_BATCH,
    Recipe,
    Source,
    Stage,
    Task,
    fine_tune,
    load_source,
    run_source,
    source_names,
    task_data,
)

REACHED = 0.95  # of the last accuracy: when a fine-tuning counts as there
PERMUTATIONS = 200  # of the source's class names, for the control
DIRECTIONS = 256  # of features in half samples: with all of AlexNet's 4,096 a half takes 30 s
SUMS = ("softmax", "emd")  # scores that grow with the number of images


@dataclass(frozen=True)
class SourceFamily:
    """The sources of one network.

    size: of its images. vocabulary: whose class names the untrained one's outputs get.
    bases: what it was trained on: published weights, or a task that it is trained on here.
    staged: whether there are also these, and the untrained one, fine-tuned on the stage's task.
    alone: further bases, without that.
    """

    architecture: str
    width: int
    size: int
    vocabulary: str
    bases: tuple[str, ...]
    staged: bool = True
    alone: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransferStudy:
    """The numbers of a profile; ``profile.yaml`` says what each of them is."""

    words: str
    target: str
    parts: tuple[str, ...]
    train: int
    test: int
    stage: str
    stage_train: int
    stage_test: int
    families: tuple[SourceFamily, ...]
    general: str
    frozen: bool
    unfrozen: int
    epochs: int
    decay_every: int
    lr: float
    batch: int
    seeds: int
    draws: int
    momenta: tuple[float, ...]
    base_images: int
    base_epochs: int
    base_lr: float
    base_batch: int


def recipe(sizes: TransferStudy, momentum: float | None = None) -> Recipe:
    """The paper's recipe with the profile's numbers; the first momentum is the main reading."""
    names = ("epochs", "lr", "decay_every", "batch", "frozen")
    numbers = {name: getattr(sizes, name) for name in names}
    return Recipe(**numbers, momentum=sizes.momenta[0] if momentum is None else momentum)


def stage(
    sizes: TransferStudy, family: SourceFamily, *, scratch: bool, momentum: float | None = None
) -> Stage:
    """The task in between; nothing is frozen in a network that was not trained before."""
    task = Task(name=sizes.stage, size=family.size, train=sizes.stage_train, test=sizes.stage_test)
    return Stage(task, replace(recipe(sizes, momentum), frozen=sizes.frozen and not scratch))


def _base_stage(sizes: TransferStudy, family: SourceFamily, base: str) -> Stage:
    """A long training with a high learning rate, where published weights are not at hand."""
    count = 0 if base == "digits" else sizes.base_images  # all there are
    base_recipe = Recipe(
        epochs=sizes.base_epochs,
        lr=sizes.base_lr,
        decay_every=max(1, sizes.base_epochs // 2),
        batch=sizes.base_batch,
        momentum=0.9,
        frozen=False,
    )
    return Stage(Task(name=base, size=family.size, train=count, test=200), base_recipe)


def sources(
    sizes: TransferStudy, family: SourceFamily, momentum: float | None = None
) -> list[Source]:
    """Untrained, then each base, alone and after the stage, then the stage alone.

    momentum: of the stage, as of the fine-tuning: the paper has one recipe for both.
    """
    untrained = Source(
        architecture=family.architecture,
        width=family.width,
        weights="",
        vocabulary=family.vocabulary,
    )
    planned = [untrained]
    for base in (*family.bases, *family.alone):
        if base in TRAINED_ON and not sizes.base_epochs:
            trained = replace(untrained, weights=base, vocabulary=base)
        else:
            trained = replace(untrained, stages=(_base_stage(sizes, family, base),))
        planned.append(trained)
        if family.staged and base in family.bases:
            step = stage(sizes, family, scratch=False, momentum=momentum)
            planned.append(replace(trained, stages=(*trained.stages, step)))
    if family.staged:
        step = stage(sizes, family, scratch=True, momentum=momentum)
        planned.append(replace(untrained, stages=(step,)))
    return planned


def trained_sources(sizes: TransferStudy) -> list[Source]:
    """Those that are trained here, bases first: each of their stages starts from them."""
    planned = [source for family in sizes.families for source in sources(sizes, family)]
    for momentum in sizes.momenta[1:]:
        planned += sources(sizes, sizes.families[0], momentum)
    staged = dict.fromkeys(source for source in planned if source.stages)
    return sorted(staged, key=lambda source: len(source.stages))


@dataclass(frozen=True, kw_only=True)
class FineTuneTrial:
    """One fine-tuning of a source on the target."""

    source: Source
    target: Task
    recipe: Recipe
    seed: int = 0
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class BankTrial:
    """What a source says about the target's training images: one pass serves all scores."""

    source: Source
    target: Task
    version: int = 2


@dataclass(frozen=True, kw_only=True)
class ScoreTrial:
    """All scores of a source for the target; draws: half samples behind each interval."""

    source: Source
    target: Task
    words: str
    draws: int
    seed: int = 0
    version: int = 3


def targets(sizes: TransferStudy) -> tuple[str, ...]:
    """What the sources are fine-tuned on: the parts of the target, then all of it."""
    return (*sizes.parts, sizes.target)


def seeds(sizes: TransferStudy, target: str = "") -> range:
    """Of the fine-tunings on a target: several on the first one, to tell what a seed changes."""
    return range(sizes.seeds if (target or sizes.target) == targets(sizes)[0] else 1)


def _target(sizes: TransferStudy, size: int, name: str = "") -> Task:
    return Task(name=name or sizes.target, size=size, train=sizes.train, test=sizes.test)


def score_trials(sizes: TransferStudy, target: str = "") -> list[ScoreTrial]:
    """One for each source of each network, the target at the network's image size.

    target: one of ``targets``; the whole one if empty.
    """
    return [
        ScoreTrial(source=source, target=task, words=sizes.words, draws=sizes.draws)
        for family in sizes.families
        for task in [_target(sizes, family.size, target)]
        for source in sources(sizes, family)
    ]


def fine_tunings(sizes: TransferStudy, target: str = "") -> list[FineTuneTrial]:
    """The main reading with every seed; on the whole target the first network's other readings."""
    models = [(scored.source, scored.target) for scored in score_trials(sizes, target)]
    first, whole = sizes.families[0], target in ("", sizes.target)
    return [
        FineTuneTrial(source=source, target=task, recipe=recipe(sizes), seed=seed)
        for seed in seeds(sizes, target)
        for source, task in models
    ] + [
        FineTuneTrial(
            source=source, target=_target(sizes, first.size), recipe=recipe(sizes, momentum)
        )
        for momentum in (sizes.momenta[1:] if whole else ())
        for source in sources(sizes, first, momentum)
    ]


def unfrozen(sizes: TransferStudy) -> tuple[list[ScoreTrial], list[FineTuneTrial]]:
    """The control in which nothing is frozen: the first network on the first of the targets.

    Its images are small, as a step takes many times as long.
    """
    if not sizes.unfrozen:
        return [], []
    task = _target(sizes, sizes.unfrozen, targets(sizes)[0])
    models, free = sources(sizes, sizes.families[0]), replace(recipe(sizes), frozen=False)
    return (
        [ScoreTrial(source=s, target=task, words=sizes.words, draws=sizes.draws) for s in models],
        [FineTuneTrial(source=source, target=task, recipe=free) for source in models],
    )


def evidence(sizes: TransferStudy) -> list[tuple[Callable, Any]]:
    """Every trial with its function, the most decisive first.

    Target by target with one seed, first the sources that are there already, then those that are
    trained here; then the whole target, what is unfrozen, more seeds, and the other momenta.
    """
    planned: list[tuple[Callable, Any]] = [(run_source, each) for each in trained_sources(sizes)]
    main = {source for family in sizes.families for source in sources(sizes, family)}
    groups = [(score_trials(sizes, name), fine_tunings(sizes, name)) for name in targets(sizes)]
    for scored, tuned in (*groups, unfrozen(sizes)):
        planned += [(run_scores, each) for each in scored]
        planned += [(run_fine_tuning, each) for each in tuned]

    def turn(step: tuple[Callable, Any]) -> tuple[int, ...]:
        trial = step[1]
        if isinstance(trial, Source):  # before what starts from it
            return (1 if trial in main else 6, len(trial.stages) - 9)
        other = isinstance(trial, FineTuneTrial) and trial.recipe != recipe(sizes)
        place = targets(sizes).index(trial.target.name)
        late = 4 * (trial.target.size == sizes.unfrozen) or 6 * other
        late = late or 5 * (getattr(trial, "seed", 0) > 0) or 3 * (place == len(sizes.parts) > 0)
        return (late or 2 * bool(trial.source.stages), place)

    return sorted(planned, key=turn)


def run_fine_tuning(trial: FineTuneTrial, context: Context) -> dict:
    """Test accuracies in per cent of every epoch, and what is made of them.

    best: highest test accuracy, which is what the paper prints, and its epoch. chosen: the epoch
    is chosen on one half of the test images and counted on the other, both ways, averaged.
    reached: first epoch with 95 % of the last accuracy. chance: of the most frequent class.
    """
    network = load_source(trial.source, context)
    data = task_data(trial.target, context)
    start = time.perf_counter()
    correct, _ = fine_tune(
        network, trial.source, data, trial.recipe, seed=trial.seed, mirror=trial.target.mirrored
    )
    return {
        "train_images": len(data.train_images),
        "test_images": len(data.test_images),
        "chance": 100 * float(data.test_labels.bincount().max() / len(data.test_labels)),
        "train_seconds": round(time.perf_counter() - start, 2),
        **summarise(correct),
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


def load_bank(trial: BankTrial, context: Context) -> dict[str, Tensor]:
    """probabilities (N, C) and features (N, D), float32, labels (N,), of the training images."""

    @torch.no_grad()
    def describe() -> dict[str, Tensor]:
        network, data = load_source(trial.source, context), task_data(trial.target, context)
        parts = data.train_images.split(EVALUATION_BATCH)
        outputs = [network.describe(part.to(context.device).float() / 255) for part in parts]
        return {
            "probabilities": torch.cat([logits.float().softmax(1) for _, logits in outputs]),
            # an untrained network's may be below the smallest number of float16
            "features": torch.cat([features.float() for features, _ in outputs]),
            "labels": data.train_labels,
        }

    return artefact(trial, context, describe)


def named_distances(
    trial: ScoreTrial, context: Context
) -> tuple[np.ndarray, ClassVectors, ClassVectors]:
    """(C, T) Euclidean distances of class names; the vectors of the source's and the target's."""
    words = load_vectors(trial.words, context.data_root)
    source = class_vectors(source_names(trial.source, context), words)
    target = class_vectors(task_data(trial.target, context).classes, words)
    return cdist(source.vectors, target.vectors), source, target


def run_scores(trial: ScoreTrial, context: Context) -> dict:
    """Every score with the ends of its 95 % interval, and the control of shuffled names.

    NAME_low, NAME_high: from half samples, whose spread about the whole is that of the whole
    about the truth. shuffled: normalised EMD when the source's class names are permuted, with the
    interval of the permutations. coverage: of the words of both vocabularies. own_NAME: of the
    classes alone all of whose words have a vector, so that none is replaced by hand.
    """
    bank = load_bank(BankTrial(source=trial.source, target=trial.target), context)
    arrays = {name: tensor.numpy() for name, tensor in bank.items()}
    distances, source, target = named_distances(trial, context)
    labels = arrays["labels"]
    start = time.perf_counter()
    values = all_scores(**arrays, distances=distances)
    seconds = time.perf_counter() - start
    record = {"images": len(labels), "outputs": len(distances), "score_seconds": round(seconds, 2)}
    for name, spread in score_spread(arrays, distances, trial).items():
        record[name] = values[name]
        record[f"{name}_low"] = values[name] - 1.96 * spread
        record[f"{name}_high"] = values[name] + 1.96 * spread
    record["uniform_emd"] = uniform_emd(labels, distances)
    record |= _shuffled(arrays, distances, trial.seed)
    own = np.where(np.outer(source.own, target.own), distances, np.nan)
    found = named_scores(arrays["probabilities"].astype(np.float64), labels, own)
    record |= {f"own_{name}": value for name, value in found.items()}
    record |= {"own_images": int(target.own[labels].sum()), "own_outputs": int(source.own.sum())}
    for role, vectors in (("source", source), ("target", target)):
        record[f"{role}_word_coverage"] = vectors.word_coverage
        record[f"{role}_class_coverage"] = vectors.class_coverage
    return record


def score_spread(
    arrays: dict[str, np.ndarray], distances: np.ndarray, trial: ScoreTrial
) -> dict[str, float]:
    """Standard deviation of every score over random halves of each class.

    Features are taken along their ``DIRECTIONS`` main directions.
    """
    rng, labels = np.random.default_rng(trial.seed), arrays["labels"]
    arrays = arrays | {"features": main_directions(arrays["features"], DIRECTIONS)}
    draws: dict[str, list[float]] = {name: [] for name in SCORES}
    for _ in range(trial.draws):
        half = _half(labels, rng)
        part = {name: values[half] for name, values in arrays.items()}
        for name, value in all_scores(**part, distances=distances).items():
            draws[name].append(value * len(labels) / len(half) if name in SUMS else value)
    return {name: float(np.std(values, ddof=1)) for name, values in draws.items()}


def _half(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of a random half of each class, of at least two images."""
    shuffled = rng.permutation(len(labels))
    members = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    return np.concatenate([places[: max(2, len(places) // 2)] for places in members])


def _shuffled(arrays: dict[str, np.ndarray], distances: np.ndarray, seed: int) -> dict[str, float]:
    """The normalised EMD with permuted names: mean and the middle 95 % of permutations."""
    rng, labels = np.random.default_rng(seed), arrays["labels"]
    # summed by class first: a permutation then costs next to nothing
    sums = class_sums(arrays["probabilities"], labels, distances.shape[1])
    uniform = uniform_emd(labels, distances)
    values = [
        float((sums.T * distances[rng.permutation(len(distances))]).sum() / uniform)
        for _ in range(PERMUTATIONS)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return {"shuffled": float(np.mean(values)), "shuffled_low": low, "shuffled_high": high}
