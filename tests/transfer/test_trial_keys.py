"""The keys of all planned trials are those of the records that are stored already."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import trial_key
from lib.transfer.trials import BankTrial, TransferStudy, evidence, score_trials

PINNED = pd.read_csv(Path(__file__).parents[1] / "data/trial_keys.csv").query(
    "notebook == '03_transfer_emd'"
)


@pytest.mark.parametrize("profile", PROFILES)
def test_planned_trials_are_the_pinned_ones(profile):
    sizes = load_profile(TransferStudy, profile)
    planned = [trial for _, trial in evidence(sizes)]
    assert len({trial_key(trial) for trial in planned}) == len(planned)
    planned += [
        BankTrial(source=scored.source, target=scored.target) for scored in score_trials(sizes)
    ]
    pinned = PINNED[PINNED["profile"] == profile]
    found = {(type(trial).__name__, trial_key(trial)) for trial in planned}
    assert found == set(pinned[["trial", "key"]].itertuples(index=False, name=None))


def test_a_source_comes_after_what_it_starts_from():
    sizes = load_profile(TransferStudy, "quick")
    stages = [len(trial.stages) for _, trial in evidence(sizes) if hasattr(trial, "stages")]
    assert stages == sorted(stages) and stages[-1] == 2
