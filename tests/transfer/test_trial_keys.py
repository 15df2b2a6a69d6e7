"""The keys of all planned trials are those of the records that are stored already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key
from lib.transfer.trials import (
    BankTrial,
    FineTuneTrial,
    ScoreTrial,
    TransferStudy,
    evidence,
    score_trials,
    sources,
    targets,
    unfrozen,
)

PINNED = pd.read_csv(Path(__file__).parents[1] / "data/trial_keys.csv").query(
    "notebook == '03_transfer_emd'"
)


@pytest.mark.parametrize("profile", PROFILES)
def test_planned_trials_are_the_pinned_ones(profile):
    sizes = load_profile(TransferStudy, profile)
    planned = [trial for _, trial in evidence(sizes)]
    assert len({trial_key(trial) for trial in planned}) == len(planned)
    planned += [
        BankTrial(source=scored.source, target=scored.target)
        for scored in score_trials(sizes) + unfrozen(sizes)[0]
    ]
    pinned = PINNED[PINNED["profile"] == profile]
    found = {(type(trial).__name__, trial_key(trial)) for trial in planned}
    assert found == set(pinned[["trial", "key"]].itertuples(index=False, name=None))


def test_a_source_comes_after_what_it_starts_from():
    sizes = load_profile(TransferStudy, "quick")
    planned = [trial for _, trial in evidence(sizes)]
    places = {trial: place for place, trial in enumerate(planned)}
    assert max(len(getattr(trial, "stages", ())) for trial in planned) == 2
    for place, trial in enumerate(planned):
        stages = getattr(trial, "stages", ())
        before = replace(trial, stages=stages[:-1]) if stages else getattr(trial, "source", None)
        if before is not None and before.stages:
            assert places[before] < place


@pytest.mark.parametrize("profile", PROFILES)
def test_another_momentum_is_that_of_the_stage_too(profile):
    sizes = load_profile(TransferStudy, profile)
    tuned = [trial for _, trial in evidence(sizes) if isinstance(trial, FineTuneTrial)]
    without = [trial for trial in tuned if trial.recipe.momentum == 0]
    assert len(without) == len(sources(sizes, sizes.families[0]))
    for trial in without:
        steps = [step for step in trial.source.stages if step.task.name == sizes.stage.name]
        assert bool(steps) == (sizes.stage.name in trial.source.name)
        assert all(step.recipe.momentum == 0 for step in steps)


def test_the_control_has_nothing_frozen_and_small_images():
    sizes = load_profile(TransferStudy, "medium")
    scored, tuned = unfrozen(sizes)
    assert len(scored) == len(tuned) == 7
    assert {trial.source for trial in tuned} == set(sources(sizes, sizes.families[0]))
    for trial in tuned:
        assert (trial.target.name, trial.target.size) == (sizes.parts[0], 64)
        assert trial.recipe == replace(sizes.recipe, frozen=False)
    assert unfrozen(load_profile(TransferStudy, "paper")) == ([], [])


def test_five_targets_come_first_and_with_one_seed():
    sizes = load_profile(TransferStudy, "medium")
    planned = [trial for _, trial in evidence(sizes)]
    tuned = [trial for trial in planned if isinstance(trial, FineTuneTrial)]
    # the other momentum has stages of its own
    models = len({t.source for t in tuned if t.target.name in sizes.parts})
    assert models == 21
    assert [t.target.name[-1] for t in tuned[: 5 * 18]] == [n for n in "12345" for _ in range(18)]
    assert all(trial.seed == 0 for trial in tuned[: 5 * models])
    assert {t.target.name for t in tuned[: 5 * models]} == set(sizes.parts)
    counts = Counter(t.target.name for t in tuned if t.recipe == sizes.recipe)
    assert counts == {name: 21 for name in targets(sizes)} | {sizes.parts[0]: 3 * 21}
    # every score is there before the fine-tuning that it is to foretell
    scored = [(t.source, t.target) for t in planned if isinstance(t, ScoreTrial)]
    assert len(scored) == len(set(scored)) == 6 * 21 + 7


def test_what_is_there_already_does_not_wait_for_a_stage():
    sizes = load_profile(TransferStudy, "medium")
    kinds = [bool(getattr(trial, "source", trial).stages) for _, trial in evidence(sizes)]
    assert kinds.index(True) == 2 * 5 * 18
