"""Notebook 05: from trials to the numbers that decide the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lib.image_weights.layer import MAPS
from lib.image_weights.plan import arm_name
from lib.image_weights.synthesis import TOLERANCE
from lib.ledger.estimates import Estimate, bootstrap, mean_interval, runs_needed, share_interval

MEASURES = ("rms", "largest", "fine", "tint", "fine_share", "chroma_share", "local")
PAPER_ACCURACY = {0: 92.476, 10: 92.364, 20: 92.348, 30: 92.560, 40: 92.346, 50: 92.222}  # Table 1


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a synthesis trial: how well the targets were met and what it did to the images."""
    rows = []
    for row in trials.itertuples():
        share = reached(row)
        steps = np.asarray(row.steps_to)
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
                "median steps": np.median(steps[steps >= 0]) if (steps >= 0).any() else np.nan,
                **{name: np.nanmean(getattr(row, name)) for name in MEASURES},
                "images/s": row.images_per_second,
            }
        )
    return pd.DataFrame(rows)


def reached(row: Any, tolerance: float = TOLERANCE) -> Estimate:
    """Share of a trial's images whose output is within the tolerance of its target."""
    met = np.asarray(row.kl) <= tolerance
    return share_interval(int(met.sum()), len(met))


def one(trials: pd.DataFrame, label: str, targets: str = "mixture") -> pd.Series:
    """The row of one way and one kind of target."""
    (index,) = trials.index[(trials.label == label) & (trials.targets == targets)]
    return trials.loc[index]


def ratio(measure: str, above: pd.Series, below: pd.Series) -> Estimate:
    """Ratio of a measure's means over the same images, bootstrapped over them."""
    both = pd.DataFrame({"a": above[measure], "b": below[measure]})
    return bootstrap(lambda rows: rows["a"].mean() / rows["b"].mean(), both)


def history_share(sgd: pd.Series, momentum: pd.Series, equal: pd.Series) -> Estimate:
    """How much of momentum's extra noise is left at SGD's effective step, on a log scale.

    1: all of it, so that the history makes the noise; 0: none, so that the larger step does.
    """
    noise = pd.DataFrame({"sgd": sgd.fine, "momentum": momentum.fine, "equal": equal.fine})

    def share(rows: pd.DataFrame) -> float:
        mean = np.log(rows.mean())
        return float((mean["equal"] - mean["sgd"]) / (mean["momentum"] - mean["sgd"]))

    return bootstrap(share, noise)


def drop(row: pd.Series, observer: str = "") -> Estimate:
    """Share of the KL to the target that is gone after the change, for a classifier that looks on.

    1: it sees the mixture as the driven one was meant to; 0: nothing has changed for it.
    """
    prefix = f"{observer}: " if observer else ""
    both = pd.DataFrame({"a": row[f"{prefix}start_kl"], "b": row[f"{prefix}kl"]})
    return bootstrap(lambda rows: 1 - rows["b"].mean() / rows["a"].mean(), both)


def arm_runs(trials: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the students, with their arm's ``name`` and their ``seed``."""
    done = trials[trials.status == "ok"]
    names = [arm_name(row) for row in done.to_dict("records")]
    return done.assign(name=names, seed=[student["seed"] for student in done.student])


def arms(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm: accuracy, and its difference to "original", paired by seed.

    runs: of ``arm_runs``. p: two-sided paired t test.
    """
    wide, rows = _by_seed(runs), []
    for name in runs["name"].unique():
        values = wide[name].dropna()
        difference = (wide[name] - wide["original"]).dropna()
        mean, gain = mean_interval(values), mean_interval(difference)
        rows.append(
            {
                "arm": name,
                "n": mean.n,
                "mean": mean.value,
                "std": values.std(),
                "difference": gain.value,
                "low": gain.low,
                "high": gain.high,
                "p": _paired_p(difference),
            }
        )
    return pd.DataFrame(rows)


def _by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every arm (columns) from every seed (rows)."""
    return runs.pivot_table(index="seed", columns="name", values="accuracy")


def _paired_p(difference: pd.Series) -> float:
    if len(difference) < 2 or not difference.std():
        return np.nan
    return float(stats.ttest_1samp(difference, 0).pvalue)


def contrast(runs: pd.DataFrame, arm: str | Sequence[str], other: str = "original") -> Estimate:
    """Accuracy of an arm, or the mean of several, minus that of another, paired by seed."""
    wide = _by_seed(runs)
    mean = wide[[arm] if isinstance(arm, str) else list(arm)].mean(axis=1, skipna=False)
    return mean_interval((mean - wide[other]).dropna())


def seeds_for(table: pd.DataFrame, difference: float) -> int:
    """Seeds an arm that find a difference with a power of 80 %, at the arms' mean variance."""
    spread = float(np.sqrt((table["std"] ** 2).mean()))
    return runs_needed(difference, spread)


def maps(trials: pd.DataFrame, black: pd.DataFrame) -> pd.DataFrame:
    """The three maps side by side: the paper's updates, more of them, and on digits.

    black: trials on images of black and white pixels.
    """
    settings = {
        "100 updates of SGD": [
            one(trials, label) for label in ("SGD", "sigmoid, SGD", "clamp, SGD")
        ],
        "until reached": [
            one(trials, label)
            for label in ("until reached", "sigmoid, until reached", "clamp, until reached")
        ],
        "until reached, digits": [one(black, label) for label in MAPS],
    }
    rows = [
        {"setting": setting, "map": name, "KL": np.mean(row.kl), "reached": reached(row).value}
        | {"rms": np.mean(row.rms), "start": np.mean(row.start_kl)}
        for setting, found in settings.items()
        for name, row in zip(MAPS, found, strict=True)
    ]
    return pd.DataFrame(rows)


def onlookers(trials: pd.DataFrame, driven: str, names: Sequence[str]) -> pd.DataFrame:
    """``drop`` for the driven classifier and for each that looks on."""
    rows = []
    for label in ("SGD", "momentum", "until reached"):
        for name in ("", *names):
            who = {"driven": driven, "way": label, "onlooker": name or "(itself)"}
            rows.append(who | asdict(drop(one(trials, label), name)))
    return pd.DataFrame(rows)
