"""The keys of notebook 05's trials, under which finished work is stored, never change."""

import csv
from pathlib import Path

import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key
from lib.image_weights.trials import ImageWeightStudy, evidence

KEYS = Path(__file__).parents[1] / "data" / "trial_keys.csv"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_plan_has_the_pinned_keys_and_no_trial_twice(profile):
    with KEYS.open(encoding="utf-8", newline="") as file:
        pinned = [
            (row["trial"], row["key"])
            for row in csv.DictReader(file)
            if row["notebook"] == "05_image_weight_synthesis" and row["profile"] == profile
        ]
    trials = [trial for _, trial in evidence(load_profile(ImageWeightStudy, profile))]
    planned = [(type(trial).__name__, trial_key(trial)) for trial in trials]
    assert sorted(planned) == sorted(pinned)
