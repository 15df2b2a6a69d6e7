"""The plan of every profile has the trials, by key, that stored records have."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from lib.dip import prior, trials
from lib.dip.trials import EncoderDecoderStudy, evidence
from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key

PINNED = Path(__file__).parents[1] / "data" / "trial_keys.csv"
NOTEBOOK = "02_dip_architecture_study"
FUNCTIONS = {
    prior.AnswerTrial: prior.run_answer,
    trials.TrainedTrial: trials.run_trained,
    trials.BypassTrial: trials.run_trained,
    trials.DipTrial: trials.run_dip,
}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_plan_is_the_one_that_is_pinned(profile):
    with PINNED.open(encoding="utf-8") as file:
        pinned = {
            (row["trial"], row["key"])
            for row in csv.DictReader(file)
            if (row["notebook"], row["profile"]) == (NOTEBOOK, profile)
        }
    plan = list(evidence(load_profile(EncoderDecoderStudy, profile)))
    assert {(type(trial).__name__, trial_key(trial)) for _, trial in plan} == pinned
    assert all(function is FUNCTIONS[type(trial)] for function, trial in plan)


def test_a_run_that_is_cut_short_has_pairs_of_every_depth_and_slc():
    """70 networks' trials are a pair of each of the 35 levels of both at depth 1 to 7."""
    plan = evidence(load_profile(EncoderDecoderStudy, "medium"))
    plan = ((run, trial) for run, trial in plan if run is not prior.run_answer)
    places = Counter(
        (trial.depth, trial.architecture.slc, type(trial)) for _, trial in islice(plan, 70)
    )
    assert len(places) == 70
