"""What the paper profile consists of: every trial in the order of its notebook, with its work.

Trials that cost the same are one kind. A kind is measured by one of its trials, with the paper's
network, image size and batch, on drawn stand-ins for data sets and with little of the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from lib.continual.methods import run_task
from lib.continual.trials import ContinualStudy, TaskTrial, base, phases
from lib.dip.prior import AnswerTrial
from lib.dip.trials import DipTrial, EncoderDecoderStudy, TrainedTrial
from lib.dip.trials import evidence as encoder_decoder_evidence
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context
from lib.image_weights import trials as image_weight_plan
from lib.image_weights.classifiers import ClassifierTrial, run_classifier
from lib.image_weights.layer import Recipe
from lib.image_weights.synthesis import SynthesisTrial, run_synthesis
from lib.image_weights.trials import GeneratedTrial, StudentTrial, run_generation, run_student
from lib.multitask import trials as multitask
from lib.multitask.trials import FaceTask, MultiTaskStudy, MultiTaskTrial, run_multitask
from lib.transfer.sources import Source, Stage
from lib.transfer.trials import (
    FineTuneTrial,
    ScoreTrial,
    TransferStudy,
    fine_tunings,
    run_fine_tuning,
    score_spread,
    score_trials,
)

# training images of the papers' sets, which are not here
IMAGES = {"caltech101": 6_903, "caltech256": 23_050, "celeba": 162_770, "cifar10": 50_000}
DEPTHS = (1, 2, 4, 8)  # of measured encoder-decoders; one in between counts as the deeper
PHOTOS = "photos:astronaut,brick,camera,coffee,grass,gravel,moon,retina,rocket"
LONGER = (10, 70)  # a sample of steps that take milliseconds
STYLES = ("photos:retina", "photos:ihc")
Either = TypeVar("Either", TrainedTrial, DipTrial)


@dataclass(frozen=True)
class Work:
    """One trial: its notebook, when it may run, its kind, and how much work it is.

    phase: a trial needs only trials of earlier phases. units: optimiser steps, unless ``KINDS``
    says otherwise. measured: a trial of the same kind that runs without data sets.
    """

    study: str
    phase: int
    kind: str
    units: float
    function: Callable[..., dict]
    measured: Callable[[int], Any]
    sample: tuple[int, int] = (10, 40)  # units of the two runs whose difference is taken


def paper_work() -> list[Work]:
    """All trials of the five notebooks, in their order."""
    return [*_piggyback(), *_encoder_decoders(), *_transfer(), *_multitask(), *_image_weights()]


def _piggyback() -> list[Work]:
    sizes, found = load_profile(ContinualStudy, "paper"), []
    for phase, trials in enumerate(phases(sizes).values()):
        for trial in trials:
            steps = trial.stream.base_steps if trial == base(trial) else trial.stream.steps
            kind = f"{trial.method}, task {min(trial.task, 4)}"
            if trial.loss:
                kind += f", {trial.loss}"
            found.append(Work("01", phase, kind, steps, run_task, _shrink_task(trial)))
    return found


def _shrink_task(trial: TaskTrial) -> Callable[[int], TaskTrial]:
    def shrink(steps: int) -> TaskTrial:
        stream = replace(
            trial.stream,
            scenes=("scenes_a", "scenes_b"),
            train=(32, 32),
            test=4,
            styles=STYLES,
            base_steps=steps,
            steps=steps,
            importance_images=4,
            gatys_images=1,
            gatys_steps=2,
        )
        return replace(trial, stream=stream)

    return shrink


def _encoder_decoders() -> list[Work]:
    works, sizes = [], load_profile(EncoderDecoderStudy, "paper")
    for function, trial in dict.fromkeys(encoder_decoder_evidence(sizes)):
        assert isinstance(trial, AnswerTrial | TrainedTrial | DipTrial)
        if isinstance(trial, AnswerTrial):  # no network, some seconds
            continue
        if isinstance(trial, TrainedTrial):
            depth, kind = _measured(trial.depth), "trained"
            units = trial.steps * trial.batch / sizes.batch
            shrink: Callable = _shrink_trained(_whole(trial, depth))
        else:
            depth, kind = _measured(trial.depth), f"prior of {trial.images} images"
            units, shrink = trial.iterations, _shrink_prior(_whole(trial, depth))
        if trial.width != sizes.layers.width:
            kind += f", {trial.width} channels"
        works.append(Work("02", 0, f"{kind}, depth {depth}", units, function, shrink))
    return works


def _measured(depth: int) -> int:
    """The next depth that is measured."""
    return min(measured for measured in DEPTHS if measured >= depth)


def _whole(trial: Either, depth: int) -> Either:
    """The network of this depth with all skips."""
    return replace(trial, depth=depth, skips=tuple(range(depth)))


def _shrink_trained(trial: TrainedTrial) -> Callable[[int], TrainedTrial]:
    return lambda steps: replace(trial, train_set=PHOTOS, test_set=PHOTOS, steps=steps)


def _shrink_prior(trial: DipTrial) -> Callable[[int], DipTrial]:
    return lambda steps: replace(
        trial, test_set=PHOTOS, iterations=steps, fixed=steps, window=4, patience=steps
    )


def _transfer() -> list[Work]:
    sizes, found, sources = load_profile(TransferStudy, "paper"), [], {}
    for trial in fine_tunings(sizes):
        for count in range(1, len(trial.source.stages) + 1):
            sources[replace(trial.source, stages=trial.source.stages[:count])] = count - 1
        steps = trial.recipe.epochs * -(-IMAGES[trial.target.name] // trial.recipe.batch)
        kind, shrink = f"fine-tuning, {trial.source.architecture}", _shrink_tuning(trial)
        found.append(Work("03", 2, kind, steps, run_fine_tuning, shrink, LONGER))
    for source, phase in sources.items():
        stage = source.stages[-1]
        steps = stage.recipe.epochs * -(-IMAGES[stage.task.name] // stage.recipe.batch)
        shrink = _shrink_tuning(_as_tuning(source, stage))
        kind = f"fine-tuning, {source.architecture}"
        found.append(Work("03", phase, kind, steps, run_fine_tuning, shrink, LONGER))
    for scored in score_trials(sizes):
        kind, draws = f"half samples, {scored.source.architecture}", partial(_with_draws, scored)
        found.append(Work("03", 2, kind, scored.draws, _score_halves, draws, (1, 4)))
    return sorted(found, key=lambda work: work.phase)


def _with_draws(trial: ScoreTrial, draws: int) -> ScoreTrial:
    return replace(trial, draws=draws + 1)  # a spread needs two


def _score_halves(trial: ScoreTrial, context: Context) -> dict:
    """Half samples of random outputs and features, as many as the paper's; always on the CPU."""
    rng, count = np.random.default_rng(0), IMAGES[trial.target.name]
    odds = rng.random((count, 1000), dtype=np.float32)
    width = 4096 if trial.source.architecture == "alexnet" else 512
    arrays = {
        "probabilities": odds / odds.sum(1, keepdims=True),
        "features": rng.random((count, width), dtype=np.float32),
        "labels": np.arange(count) % 102,
    }
    begin = time.perf_counter()
    score_spread(arrays, rng.random((1000, 102)), trial)
    return {"train_seconds": time.perf_counter() - begin}


def _as_tuning(source: Source, stage: Stage) -> FineTuneTrial:
    return FineTuneTrial(source=source, target=stage.task, recipe=stage.recipe)


def _shrink_tuning(trial: FineTuneTrial) -> Callable[[int], FineTuneTrial]:
    """One epoch; weights do not change the time, so there are none."""
    blank = replace(trial.source, weights="", vocabulary="objects", stages=())
    recipe = replace(trial.recipe, epochs=1)

    def shrink(steps: int) -> FineTuneTrial:
        train = steps * recipe.batch
        task = replace(trial.target, name="objects", train=train, test=train // 4)
        return replace(trial, source=blank, target=task, recipe=recipe)

    return shrink


def _multitask() -> list[Work]:
    sizes, found = load_profile(MultiTaskStudy, "paper"), []
    for name, trial in multitask.all_variants(sizes):
        steps = trial.epochs * -(-IMAGES[trial.faces.name] // trial.batch)
        phase = 0 if name == multitask.BASELINE else 1
        shrink = _shrink_faces(trial)
        found.append(Work("04", phase, name, steps, run_multitask, shrink, LONGER))
    return found


def _shrink_faces(trial: MultiTaskTrial) -> Callable[[int], MultiTaskTrial]:
    """One epoch; as many test faces a step as CelebA has."""

    def shrink(steps: int) -> MultiTaskTrial:
        count = steps * trial.batch
        faces = FaceTask(
            name="drawn_faces", size=trial.faces.size, train=count, test=count // 8, tests=("test",)
        )
        first = trial.stage1 and replace(trial.stage1, faces=faces, epochs=1)
        return replace(trial, faces=faces, epochs=1, stage1=first)

    return shrink


def _image_weights() -> list[Work]:
    plan, found = image_weight_plan, []
    sizes = load_profile(plan.ImageWeightStudy, "paper")

    def add(phase: int, kind: str, units: float, *how: Any) -> None:
        found.append(Work("05", phase, kind, units, *how))

    for trial in dict.fromkeys((*sizes.networks, sizes.teacher)):
        kind = f"classifier, {trial.architecture}"
        add(0, kind, _epoch_steps(trial), run_classifier, _shrink_classifier(trial))
    for driven in plan.synthesis(sizes):
        kind = f"synthesis through {driven.teacher.architecture}, 1,000 images"
        units = driven.method.steps * driven.images / 1000
        add(1, kind, units, run_synthesis, _shrink_synthesis(driven))
    for made in plan.generated(sizes):
        count = made.share * IMAGES[made.teacher.dataset]
        units = made.recipe.steps * count / 1000
        add(1, "generated training images, 1,000", units, run_generation, _shrink_generated(made))
    for taught in dict.fromkeys((*plan.students(sizes), *plan.small_students(sizes))):
        anew = taught.arm == "regenerated"
        sample = (2, 6) if anew else (10, 40)  # a step of it is a hundred
        steps, shrink = _epoch_steps(taught.student), _shrink_student(taught)
        add(2, f"student, {taught.arm}", steps, run_student, shrink, sample)
    return found


def _epoch_steps(trial: ClassifierTrial) -> int:
    return trial.epochs * -(-IMAGES[trial.dataset] // trial.batch)


def _shrink_classifier(trial: ClassifierTrial) -> Callable[[int], ClassifierTrial]:
    """One epoch of so many batches, of drawn scenes."""
    return lambda steps: replace(
        trial, dataset="scenes", train=steps * trial.batch, test=100, epochs=1
    )


def _untrained(trial: ClassifierTrial, images: int = 200) -> ClassifierTrial:
    """A teacher that costs next to nothing."""
    return replace(trial, dataset="scenes", train=images, test=1000, epochs=1)


def _shrink_synthesis(trial: SynthesisTrial) -> Callable[[int], SynthesisTrial]:
    teacher = _untrained(trial.teacher)
    return lambda steps: replace(
        trial, teacher=teacher, method=Recipe(steps=steps), images=1000, observers=()
    )


def _shrink_generated(trial: GeneratedTrial) -> Callable[[int], GeneratedTrial]:
    made = replace(trial, teacher=_untrained(trial.teacher), train=2000, share=0.5)
    return lambda steps: replace(made, recipe=Recipe(steps=steps))


def _shrink_student(trial: StudentTrial) -> Callable[[int], StudentTrial]:
    shrink = _shrink_classifier(trial.student)

    def shrink_both(steps: int) -> StudentTrial:
        student, recipe = shrink(steps), trial.generated.recipe
        if trial.arm != "regenerated":  # which has them in each of its steps
            recipe = replace(recipe, steps=1)
        teacher = _untrained(trial.generated.teacher)
        generated = replace(trial.generated, teacher=teacher, train=student.train, recipe=recipe)
        return replace(trial, student=student, generated=generated)

    return shrink_both
