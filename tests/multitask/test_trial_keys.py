"""The plan's trials have the keys under which their records are stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key
from lib.multitask.trials import MultiTaskStudy, evidence

KEYS = pd.read_csv(Path(__file__).parents[1] / "data" / "trial_keys.csv")


@pytest.mark.parametrize("profile", PROFILES)
def test_keys_of_planned_trials_stay(profile):
    pinned = KEYS[(KEYS["notebook"] == "04_smtn_celeba") & (KEYS["profile"] == profile)]
    planned = [trial for _, trial in evidence(load_profile(MultiTaskStudy, profile))]
    found = {(type(trial).__name__, trial_key(trial)) for trial in planned}
    assert found == set(zip(pinned["trial"], pinned["key"], strict=True))
