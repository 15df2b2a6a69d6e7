"""The trials of notebook 01 have the keys of all committed records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from lib.continual.trials import ContinualStudy, evidence
from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key

KEYS = pd.read_csv(Path(__file__).parents[1] / "data" / "trial_keys.csv", index_col="notebook")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_plan_has_the_pinned_keys(profile):
    pinned = KEYS.loc["01_piggyback_continual"].query("profile == @profile")
    planned = [trial for _, trial in evidence(load_profile(ContinualStudy, profile))]
    keys = [(type(trial).__name__, trial_key(trial)) for trial in planned]
    assert Counter(keys) == Counter(zip(pinned["trial"], pinned["key"], strict=True))
