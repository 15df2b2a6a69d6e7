"""What runs: which sources are scored for the target and fine-tuned on it, and each trial."""

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
from lib.transfer import scores
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
    target: Task
    parts: tuple[str, ...]
    stage: Task
    families: tuple[SourceFamily, ...]
    general: str
    recipe: Recipe
    other_momenta: tuple[float, ...]
    seeds: int
    draws: int
    unfrozen: int
    base_recipe: Recipe
    base_images: int


def sources(
    sizes: TransferStudy, family: SourceFamily, momentum: float | None = None
) -> list[Source]:
    """Untrained, then each base, alone and after the stage, then the stage alone.

    momentum: of the stage, as of the fine-tuning: the paper has one recipe for both. Nothing is
    frozen in a network that was not trained before.
    """
    task, recipe = replace(sizes.stage, size=family.size), sizes.recipe
    if momentum is not None:
        recipe = replace(recipe, momentum=momentum)
    same = {name: getattr(family, name) for name in ("architecture", "width", "vocabulary")}
    planned = [blank := Source(**same, weights="")]
    for base in (*family.bases, *family.alone):
        if base in TRAINED_ON and not sizes.base_recipe.epochs:
            trained = replace(blank, weights=base, vocabulary=base)
        else:
            images = 0 if base == "digits" else sizes.base_images  # all there are
            drawn = Task(name=base, size=family.size, train=images, test=200)
            trained = replace(blank, stages=(Stage(drawn, sizes.base_recipe),))
        planned.append(trained)
        if family.staged and base in family.bases:
            planned.append(replace(trained, stages=(*trained.stages, Stage(task, recipe))))
    if family.staged:
        planned.append(replace(blank, stages=(Stage(task, replace(recipe, frozen=False)),)))
    return planned


def trained_sources(sizes: TransferStudy) -> list[Source]:
    """Those that are trained here, bases first: each of their stages starts from them."""
    planned = [source for family in sizes.families for source in sources(sizes, family)]
    for momentum in sizes.other_momenta:
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
    return (*sizes.parts, sizes.target.name)


def score_trials(sizes: TransferStudy) -> list[ScoreTrial]:
    """Target by target one for each source of each network, at the network's image size."""
    return [
        ScoreTrial(source=source, target=task, words=sizes.words, draws=sizes.draws)
        for name in targets(sizes)
        for family in sizes.families
        for task in [replace(sizes.target, name=name, size=family.size)]
        for source in sources(sizes, family)
    ]


def fine_tunings(sizes: TransferStudy) -> list[FineTuneTrial]:
    """Target by target the main reading, on the first one with every seed.

    Then the first network's other readings, on the whole target.
    """
    first, family = targets(sizes)[0], sizes.families[0]
    main = [
        FineTuneTrial(source=scored.source, target=scored.target, recipe=sizes.recipe, seed=seed)
        for name in targets(sizes)
        for seed in range(sizes.seeds if name == first else 1)
        for scored in score_trials(sizes)
        if scored.target.name == name
    ]
    task = replace(sizes.target, size=family.size)
    return main + [
        FineTuneTrial(source=source, target=task, recipe=replace(sizes.recipe, momentum=momentum))
        for momentum in sizes.other_momenta
        for source in sources(sizes, family, momentum)
    ]


def unfrozen(sizes: TransferStudy) -> tuple[list[ScoreTrial], list[FineTuneTrial]]:
    """The control in which nothing is frozen: the first network on the first of the targets.

    Its images are small, as a step takes many times as long.
    """
    if not sizes.unfrozen:
        return [], []
    count, free = len(sources(sizes, sizes.families[0])), replace(sizes.recipe, frozen=False)
    scored = [
        replace(trial, target=replace(trial.target, size=sizes.unfrozen))
        for trial in score_trials(sizes)[:count]
    ]
    return scored, [FineTuneTrial(source=t.source, target=t.target, recipe=free) for t in scored]


def evidence(sizes: TransferStudy) -> list[tuple[Callable, Any]]:
    """Every trial with its function, the most decisive first.

    Target by target with one seed, first the sources that are there already, then those that are
    trained here; then the whole target, what is unfrozen, more seeds, and the other momenta.
    """
    main = {trial.source for trial in score_trials(sizes)}
    loose, free = unfrozen(sizes)
    planned: list[tuple[Callable, Any]] = [(run_source, each) for each in trained_sources(sizes)]
    planned += [(run_scores, trial) for trial in score_trials(sizes) + loose]
    planned += [(run_fine_tuning, trial) for trial in fine_tunings(sizes) + free]

    def turn(step: tuple[Callable, Any]) -> tuple[int, int]:
        trial = step[1]
        if isinstance(trial, Source):  # before what starts from it
            return 1 if trial in main else 6, len(trial.stages) - 9
        place = targets(sizes).index(trial.target.name)
        late = {
            6: isinstance(trial, FineTuneTrial) and trial.recipe.momentum in sizes.other_momenta,
            5: trial.seed > 0,
            4: trial.target.size == sizes.unfrozen,
            3: place == len(sizes.parts) > 0,
            2: bool(trial.source.stages),
        }
        return next((phase for phase, applies in late.items() if applies), 0), place

    return sorted(planned, key=turn)


def run_fine_tuning(trial: FineTuneTrial, context: Context) -> dict:
    """Test accuracies in per cent of every epoch, and what ``summarise`` makes of them.

    chance: accuracy of the most frequent class.
    """
    network, data = load_source(trial.source, context), task_data(trial.target, context)
    stage, start = Stage(trial.target, trial.recipe), time.perf_counter()
    correct, _ = fine_tune(network, trial.source, stage, data, trial.seed)
    return {
        "train_images": len(data.train_images),
        "test_images": len(data.test_images),
        "chance": 100 * float(data.test_labels.bincount().max() / len(data.test_labels)),
        "train_seconds": round(time.perf_counter() - start, 2),
        **summarise(correct),
    }


def summarise(correct: Tensor) -> dict[str, Any]:
    """What a fine-tuning's (epochs, images) hits amount to, in per cent.

    best: highest test accuracy, which is what the paper prints, and its epoch. chosen: the epoch
    is chosen on one half of the test images and counted on the other, both ways, averaged.
    reached: first epoch with 95 % of the last accuracy.
    """
    curve = 100 * correct.double().mean(1)
    even, odd = (correct[:, place::2].double().mean(1) for place in (0, 1))
    return {
        "curve": [round(value, 4) for value in curve.tolist()],
        "best": float(curve.max()),
        "best_epoch": int(curve.argmax()) + 1,
        "chosen": (100 * float(odd[even.argmax()]) + 100 * float(even[odd.argmax()])) / 2,
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
    """Every score with the ends of its 95 % interval, and the controls.

    NAME_low, NAME_high: from half samples, whose spread about the whole is that of the whole
    about the truth. shuffled: normalised EMD with permuted names of the source's classes, mean and
    the middle 95 % of permutations. coverage: of the words of both vocabularies. own_NAME: of the
    classes alone all of whose words have a vector, so that none is replaced by hand.
    """
    bank = load_bank(BankTrial(source=trial.source, target=trial.target), context)
    arrays = {name: tensor.numpy() for name, tensor in bank.items()}
    distances, source, target = named_distances(trial, context)
    labels, start = arrays["labels"], time.perf_counter()
    values = scores.all_scores(**arrays, distances=distances)
    record: dict[str, float] = {"images": len(labels), "outputs": len(distances)}
    record["score_seconds"] = round(time.perf_counter() - start, 2)
    for name, spread in score_spread(arrays, distances, trial).items():
        value, half = values[name], 1.96 * spread
        record |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
    record["uniform_emd"] = scores.uniform_emd(labels, distances)
    low, high = np.quantile(shuffled := _shuffled(arrays, distances, trial.seed), [0.025, 0.975])
    record |= {"shuffled": float(np.mean(shuffled)), "shuffled_low": low, "shuffled_high": high}
    own = np.where(np.outer(source.own, target.own), distances, np.nan)
    found = scores.named_scores(arrays["probabilities"].astype(np.float64), labels, own)
    record |= {f"own_{name}": value for name, value in found.items()}
    record |= {"own_images": int(target.own[labels].sum()), "own_outputs": int(source.own.sum())}
    for role, vectors in (("source", source), ("target", target)):
        record[f"{role}_word_coverage"] = vectors.word_coverage
        record[f"{role}_class_coverage"] = vectors.class_coverage
    return record


def score_spread(
    arrays: dict[str, np.ndarray], distances: np.ndarray, trial: ScoreTrial
) -> dict[str, float]:
    """Standard deviation of every score over random halves of each class, of two images at least.

    Features are taken along their ``DIRECTIONS`` main directions.
    """
    rng, labels = np.random.default_rng(trial.seed), arrays["labels"]
    arrays = arrays | {"features": scores.main_directions(arrays["features"], DIRECTIONS)}
    draws = []
    for _ in range(trial.draws):
        order = rng.permutation(len(labels))
        members = [order[labels[order] == label] for label in np.unique(labels)]
        half = np.concatenate([places[: max(2, len(places) // 2)] for places in members])
        part = {name: values[half] for name, values in arrays.items()}
        found = scores.all_scores(**part, distances=distances)
        draws.append(found | {name: found[name] * len(labels) / len(half) for name in SUMS})
    return {name: float(np.std([draw[name] for draw in draws], ddof=1)) for name in scores.SCORES}


def _shuffled(arrays: dict[str, np.ndarray], distances: np.ndarray, seed: int) -> list[float]:
    """The normalised EMD of each permutation of the names."""
    rng, labels = np.random.default_rng(seed), arrays["labels"]
    # summed by class first: a permutation then costs next to nothing
    sums = scores.class_sums(arrays["probabilities"], labels, distances.shape[1]).T
    uniform = scores.uniform_emd(labels, distances)
    permuted = (distances[rng.permutation(len(distances))] for _ in range(PERMUTATIONS))
    return [float((sums * names).sum() / uniform) for names in permuted]
