"""Notebook 03: which sources are compared, how they are fine-tuned and scored."""

from __future__ import annotations

from dataclasses import replace

from lib.networks.sources import TRAINED_ON
from lib.transfer.fine_tuning import FineTuneTrial
from lib.transfer.profile import SourceFamily, TransferStudy
from lib.transfer.score_trials import ScoreTrial
from lib.transfer.sources import Recipe, Source, Stage, Task


def recipe(sizes: TransferStudy, momentum: float | None = None) -> Recipe:
    """The paper's recipe with the profile's numbers; the first momentum is the main reading."""
    return Recipe(
        epochs=sizes.epochs,
        lr=sizes.lr,
        decay_every=sizes.decay_every,
        batch=sizes.batch,
        momentum=sizes.momenta[0] if momentum is None else momentum,
        frozen=sizes.frozen,
    )


def target(sizes: TransferStudy, family: SourceFamily) -> Task:
    """The target at a network's image size."""
    return Task(name=sizes.target, size=family.size, train=sizes.train, test=sizes.test)


def stage(sizes: TransferStudy, family: SourceFamily, *, scratch: bool) -> Stage:
    """The task in between; nothing is frozen in a network that was not trained before."""
    task = Task(name=sizes.stage, size=family.size, train=sizes.stage_train, test=sizes.stage_test)
    return Stage(task, replace(recipe(sizes), frozen=sizes.frozen and not scratch))


def base_stage(sizes: TransferStudy, family: SourceFamily, base: str) -> Stage:
    """A long training with a high learning rate, where published weights are not at hand."""
    count = 0 if base == "digits" else sizes.base_images  # all there are
    task = Task(name=base, size=family.size, train=count, test=200)
    return Stage(
        task,
        Recipe(
            epochs=sizes.base_epochs,
            lr=sizes.base_lr,
            decay_every=max(1, sizes.base_epochs // 2),
            batch=sizes.base_batch,
            momentum=0.9,
            frozen=False,
        ),
    )


def sources(sizes: TransferStudy, family: SourceFamily) -> list[Source]:
    """Untrained, then each base, alone and after the stage, then the stage alone."""
    blank = Source(
        architecture=family.architecture,
        width=family.width,
        weights="",
        vocabulary=family.vocabulary,
    )
    found = [blank]
    for base in family.bases:
        trained = (
            replace(blank, weights=base, vocabulary=base)
            if base in TRAINED_ON and not sizes.base_epochs
            else replace(blank, stages=(base_stage(sizes, family, base),))
        )
        found.append(trained)
        if family.staged and base != "digits":
            step = stage(sizes, family, scratch=False)
            found.append(replace(trained, stages=(*trained.stages, step)))
    if family.staged:
        found.append(replace(blank, stages=(stage(sizes, family, scratch=True),)))
    return found


def all_sources(sizes: TransferStudy) -> list[tuple[SourceFamily, Source]]:
    """Every source with its family."""
    return [(each, source) for each in sizes.families for source in sources(sizes, each)]


def fine_tunings(sizes: TransferStudy) -> list[FineTuneTrial]:
    """The main reading with every seed, then the first network's other readings with one."""
    main = [
        FineTuneTrial(source=source, target=target(sizes, family), recipe=recipe(sizes), seed=seed)
        for seed in range(sizes.seeds)
        for family, source in all_sources(sizes)
    ]
    first = sizes.families[0]
    others = [
        FineTuneTrial(
            source=source, target=target(sizes, first), recipe=recipe(sizes, momentum), seed=0
        )
        for momentum in sizes.momenta[1:]
        for source in sources(sizes, first)
    ]
    return main + others


def scores(sizes: TransferStudy) -> list[ScoreTrial]:
    """One a source."""
    return [
        ScoreTrial(
            source=source, target=target(sizes, family), words=sizes.words, draws=sizes.draws
        )
        for family, source in all_sources(sizes)
    ]
