"""From trials to tables, and from the saved tables to the numbers that decide the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from lib.image_weights.synthesis import TOLERANCE
from lib.image_weights.trials import UNTIL_REACHED
from lib.ledger.estimates import (
    Estimate,
    bootstrap,
    holm,
    mean_interval,
    ratio_interval,
    share_interval,
)
from lib.ledger.tables import Missing, Tables, estimate_table, stored_estimate

PER_IMAGE = {  # lists of a record -> columns
    "start_kl": "KL before",
    "kl": "KL",
    "largest_error": "largest error",
    "in_order": "in order",
    **{n: n for n in ("rms", "largest", "fine", "tint", "fine_share", "chroma_share", "local")},
}
PAPER_ACCURACY = {0: 92.476, 10: 92.364, 20: 92.348, 30: 92.560, 40: 92.346, 50: 92.222}  # Table 1


def by_image(trials: pd.DataFrame) -> pd.DataFrame:
    """One row an image of every synthesis trial: way, target, and what ``PER_IMAGE`` names."""
    rows = trials[["label", "targets", *PER_IMAGE]].explode(list(PER_IMAGE), ignore_index=True)
    rows = rows.rename(columns={"label": "way", "targets": "target", **PER_IMAGE})
    return rows.astype(dict.fromkeys(PER_IMAGE.values(), float))


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a synthesis trial: how well the targets were met and what it did to the images."""
    images = by_image(trials)
    for name, divergence in (("reached before", "KL before"), ("reached", "KL")):
        images[name] = images[divergence] <= TOLERANCE
    groups = images.groupby(["way", "target"], sort=False)
    table = groups.mean().assign(images=groups.size())
    shares = map(share_interval, groups["reached"].sum(), table["images"])
    table[["reached low", "reached high"]] = [(share.low, share.high) for share in shares]
    steps = [[step for step in row if step >= 0] for row in trials["steps_to"]]
    table["median steps"] = [np.median(row) if row else np.nan for row in steps]
    return table.assign(**{"images/s": list(trials["images_per_second"])}).reset_index()


def gone(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Share of the mean KL to the target that a change takes away, bootstrapped over the images.

    1: the output is the target. 0: nothing has changed. Below 0: it is further away than before.
    """
    both = pd.DataFrame({"before": before, "after": after})
    return bootstrap(lambda rows: 1 - rows["after"].mean() / rows["before"].mean(), both)


def onlookers(trials: pd.DataFrame, driven: str, names: Sequence[str]) -> pd.DataFrame:
    """``gone`` for the driven classifier and for each that looks on."""
    mixture, rows = trials[trials["targets"] == "mixture"].set_index("label"), []
    for label in ("SGD", "momentum", "until reached"):
        for name in ("", *names):
            prefix, row = f"{name}: " if name else "", mixture.loc[label]
            seen = gone(row[f"{prefix}start_kl"], row[f"{prefix}kl"])
            rows.append((driven, label, name or "(itself)", seen))
    return estimate_table(["driven", "way", "onlooker"], rows)


def arm_name(trial: dict[str, Any]) -> str:
    """How tables and figures call a student's arm, from the fields of its trial."""
    name = trial["arm"]
    if name != "original":
        name += f" {trial['share']:.0%}"
    if trial["direction"] == "reverse":
        name += ", KL(p||q)"
    return name + (", reached" if trial["generated"]["recipe"] == asdict(UNTIL_REACHED) else "")


def arm_runs(trials: pd.DataFrame) -> pd.DataFrame:
    """The students that finished: arm, seed, accuracy."""
    finished = trials[trials["status"] == "ok"]
    names = [arm_name(row) for row in finished.to_dict("records")]
    seeds = [student["seed"] for student in finished["student"]]
    return pd.DataFrame({"arm": names, "seed": seeds, "accuracy": finished["accuracy"].to_numpy()})


def arms(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm: accuracy, and its difference to "original", paired by seed.

    paired_std: of one pair's difference. p: of the two-sided paired t test; p_holm: the same,
    corrected for the number of arms that are compared with "original".
    """
    wide, rows = _by_seed(runs), []
    for name in runs["arm"].unique():
        mean = mean_interval(wide[name].dropna())
        gain = mean_interval((wide[name] - wide["original"]).dropna())
        row = {"arm": name, "n": mean.n, "mean": mean.value, "std": mean.std}
        row |= {"difference": gain.value, "low": gain.low, "high": gain.high}
        rows.append(row | {"paired_std": gain.std, "p": gain.p_of(0)})
    table = pd.DataFrame(rows).set_index("arm")
    compared = table["p"].drop("original")
    return table.assign(p_holm=pd.Series(holm(compared), compared.index)).reset_index()


def _by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every arm (columns) from every seed (rows)."""
    return runs.pivot_table(index="seed", columns="arm", values="accuracy")


# The quantities of claims.yaml. They take the tables that the notebook saves.


def gain(tables: Tables, network: str) -> Estimate:
    """Accuracy of a classifier above that of the most frequent class, in points."""
    columns = ("accuracy", "trivial_accuracy", "tested")
    (row,) = tables.rows("classifiers", *columns, network=network).itertuples()
    share = share_interval(round(row.accuracy / 100 * row.tested), row.tested)
    value, low, high = (
        100 * end - row.trivial_accuracy for end in (share.value, share.low, share.high)
    )
    return Estimate(value, low, high, share.n)


def reached(tables: Tables, way: str, when: str = "reached") -> Estimate:
    """Share of images at the 0.9/0.1 target; the unit is the classifier, which gives one share."""
    return mean_interval(tables.rows("reached", when, way=way)[when].to_numpy())


def target_reached(tables: Tables, target: str, when: str = "reached") -> Estimate:
    """Share of images whose output is at some other target, with large steps."""
    rows = tables.rows("ways", when, "images", way="until reached", target=target)
    (row,) = rows.to_dict("records")
    return share_interval(round(row[when] * row["images"]), row["images"])


def kl_gone(tables: Tables, way: str) -> Estimate:
    """``gone`` for the driven classifier and the 0.9/0.1 target."""
    rows = tables.rows("images", "KL before", "KL", way=way)
    return gone(rows["KL before"], rows["KL"])


def seen(tables: Tables, same: bool) -> Estimate:
    """``gone`` after SGD for an onlooker of the driven one's architecture, or of another.

    Both look at the same images, those of the classifier that has a twin among the onlookers.
    """
    rows = tables.rows("onlookers", "driven", "onlooker", "value", "low", "high", "n", way="SGD")
    rows = rows[rows["onlooker"] != "(itself)"]
    driven, onlooker = (rows[name].str.split().str[0] for name in ("driven", "onlooker"))
    of_a_pair = rows["driven"].isin(rows["driven"][driven == onlooker])
    wanted = rows[of_a_pair & ((driven == onlooker) == same)]
    if len(wanted) != 1:
        raise Missing(f"table onlookers has {len(wanted)} rows of the kind, not one")
    (row,) = wanted.itertuples()
    return Estimate(row.value, row.low, row.high, row.n)


def level(tables: Tables, way: str, measure: str, unit: float = 1) -> Estimate:
    """Mean of a measure of the change, times a unit."""
    return mean_interval(unit * _measured(tables, measure, way))


def times(tables: Tables, measure: str, way: str, other: str) -> Estimate:
    """A measure of one way's change over that of another's, image by image."""
    return ratio_interval(_measured(tables, measure, way), _measured(tables, measure, other))


def more(tables: Tables, measure: str, way: str, other: str) -> Estimate:
    """A measure of one way's change less that of another's, image by image."""
    return mean_interval(_measured(tables, measure, way) - _measured(tables, measure, other))


def history(tables: Tables) -> Estimate:
    """How much of momentum's extra noise is left at SGD's effective step, on a log scale.

    1 is all of it, so that the history makes the noise; 0 is none, so that the larger step does.
    """
    ways = ("SGD", "momentum", "momentum, lr / 10")
    noise = pd.DataFrame({way: np.log(_measured(tables, "fine", way)) for way in ways})

    def share(rows: pd.DataFrame) -> float:
        sgd, momentum, equal = rows.mean()
        return float((equal - sgd) / (momentum - sgd))

    return bootstrap(share, noise)


def _measured(tables: Tables, measure: str, way: str) -> np.ndarray:
    """(N,) a measure of each image's change."""
    return tables.rows("images", measure, way=way)[measure].to_numpy()


def label_errors(tables: Tables, way: str) -> Estimate:
    """By how much more a move changes what is said to a generated image than to an original."""
    return stored_estimate(tables, "generated", {"way": way}, ("extra", "low", "high", "count"))


def contrast(tables: Tables, arms: Sequence[str], other: str = "original") -> Estimate:
    """Mean accuracy of some arms less that of another, paired by seed."""
    wide = _accuracies(tables, *arms, other)
    return mean_interval(wide[list(arms)].mean(axis=1) - wide[other])


def trend(tables: Tables) -> Estimate:
    """Points of accuracy for ten more per cent of generated images; a slope from each seed."""
    names = ["original", *(f"generated {share}%" for share in list(PAPER_ACCURACY)[1:])]
    return mean_interval(np.polyfit(range(len(names)), _accuracies(tables, *names).T, 1)[0])


def _accuracies(tables: Tables, *names: str) -> pd.DataFrame:
    """Accuracy of some arms (columns) from every seed (rows) that has them all."""
    wide = _by_seed(tables.rows("scores", "seed", "arm", "accuracy"))
    if absent := set(names) - set(wide):
        raise Missing(f"table scores has no arm {', '.join(sorted(absent))}")
    return wide[list(names)].dropna()
