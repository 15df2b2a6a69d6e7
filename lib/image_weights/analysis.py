"""From trials to the numbers that decide the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lib.image_weights.synthesis import TOLERANCE
from lib.image_weights.trials import UNTIL_REACHED
from lib.ledger.estimates import Estimate, bootstrap, mean_interval, runs_needed, share_interval

MEASURES = ("rms", "largest", "fine", "tint", "fine_share", "chroma_share", "local")
PAPER_ACCURACY = {0: 92.476, 10: 92.364, 20: 92.348, 30: 92.560, 40: 92.346, 50: 92.222}  # Table 1


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a synthesis trial: how well the targets were met and what it did to the images."""
    rows = []
    for row in trials.itertuples():
        share = reached(row)
        steps = [step for step in row.steps_to if step >= 0]
        rows.append(
            {
                "way": row.label,
                "target": row.targets,
                "images": share.n,
                "KL before": np.mean(row.start_kl),
                "KL": np.mean(row.kl),
                "reached": share.value,
                "reached low": share.low,
                "reached high": share.high,
                "largest error": np.mean(row.largest_error),
                "in order": np.mean(row.in_order),
                "median steps": np.median(steps) if steps else np.nan,
                **{name: np.nanmean(getattr(row, name)) for name in MEASURES},
                "images/s": row.images_per_second,
            }
        )
    return pd.DataFrame(rows)


def reached(row: Any) -> Estimate:
    """Share of a trial's images whose output is within the tolerance of its target."""
    return share_interval(sum(kl <= TOLERANCE for kl in row.kl), len(row.kl))


def one(trials: pd.DataFrame, label: str, targets: str = "mixture") -> pd.Series:
    """The row of one way and one kind of target."""
    (index,) = trials.index[(trials.label == label) & (trials.targets == targets)]
    return trials.loc[index]


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Ratio of the means of two measures of the same images, bootstrapped over them."""
    both = pd.DataFrame({"above": above, "below": below})
    return bootstrap(lambda rows: rows["above"].mean() / rows["below"].mean(), both)


def history_share(sgd: pd.Series, momentum: pd.Series, equal: pd.Series) -> Estimate:
    """How much of momentum's extra noise is left at SGD's effective step, on a log scale.

    1 is all of it, so that the history makes the noise; 0 is none, so that the larger step does.
    """
    noise = pd.DataFrame({"sgd": sgd.fine, "momentum": momentum.fine, "equal": equal.fine})

    def share(rows: pd.DataFrame) -> float:
        mean = np.log(rows.mean())
        return float((mean["equal"] - mean["sgd"]) / (mean["momentum"] - mean["sgd"]))

    return bootstrap(share, noise)


def drop(row: pd.Series, observer: str = "") -> Estimate:
    """Share of the KL to the target that is gone after the change, for a classifier that looks on.

    1 means that it sees the mixture as the driven one was meant to, 0 that nothing has changed.
    """
    prefix = f"{observer}: " if observer else ""
    both = pd.DataFrame({"before": row[f"{prefix}start_kl"], "after": row[f"{prefix}kl"]})
    return bootstrap(lambda rows: 1 - rows["after"].mean() / rows["before"].mean(), both)


def onlookers(trials: pd.DataFrame, driven: str, names: Sequence[str]) -> pd.DataFrame:
    """``drop`` for the driven classifier and for each that looks on."""
    rows = []
    for label in ("SGD", "momentum", "until reached"):
        for name in ("", *names):
            who = {"driven": driven, "way": label, "onlooker": name or "(itself)"}
            rows.append(who | asdict(drop(one(trials, label), name)))
    return pd.DataFrame(rows)


def arm_name(trial: dict[str, Any]) -> str:
    """How tables and figures call a student's arm, from the fields of its trial."""
    name = trial["arm"]
    if name != "original":
        name += f" {trial['share']:.0%}"
    if trial["direction"] == "reverse":
        name += ", KL(p||q)"
    return name + (", reached" if trial["generated"]["recipe"] == asdict(UNTIL_REACHED) else "")


def arm_runs(trials: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the students, with their arm's ``name`` and their ``seed``."""
    finished = trials[trials.status == "ok"]
    names = [arm_name(row) for row in finished.to_dict("records")]
    return finished.assign(name=names, seed=[student["seed"] for student in finished.student])


def arms(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm: accuracy, and its difference to "original", paired by seed.

    runs is what ``arm_runs`` gives. p is that of the two-sided paired t test.
    """
    wide, rows = _by_seed(runs), []
    for name in runs["name"].unique():
        values, difference = wide[name].dropna(), (wide[name] - wide["original"]).dropna()
        mean, gain = mean_interval(values), mean_interval(difference)
        p = stats.ttest_1samp(difference, 0).pvalue if difference.std() > 0 else np.nan
        numbers = (mean.n, mean.value, values.std(), gain.value, gain.low, gain.high, p)
        rows.append((name, *numbers))
    return pd.DataFrame(rows, columns=["arm", "n", "mean", "std", "difference", "low", "high", "p"])


def _by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every arm (columns) from every seed (rows)."""
    return runs.pivot_table(index="seed", columns="name", values="accuracy")


def contrast(runs: pd.DataFrame, arm: str | Sequence[str], other: str = "original") -> Estimate:
    """Accuracy of an arm, or the mean of several, minus that of another, paired by seed."""
    wide = _by_seed(runs)
    mean = wide[[arm] if isinstance(arm, str) else list(arm)].mean(axis=1, skipna=False)
    return mean_interval((mean - wide[other]).dropna())


def seeds_for(table: pd.DataFrame, difference: float) -> int:
    """Seeds an arm that find a difference with a power of 80 %, at the arms' mean variance."""
    spread = float(np.sqrt((table["std"] ** 2).mean()))
    return runs_needed(difference, spread)
