"""From trials to tables, and from the saved tables to the numbers that decide the claims."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib.image_weights.classifiers import network_name
from lib.image_weights.layer import TOLERANCE
from lib.ledger.estimates import (
    Estimate,
    bootstrap,
    crossed_interval,
    holm,
    mean_interval,
    share_interval,
)
from lib.ledger.tables import Missing, Tables, estimate_table, stored_estimate

PER_IMAGE = {  # lists of a record -> columns
    **{"start_kl": "KL before", "kl": "KL"},
    **{"largest_error": "largest error", "in_order": "in order"},
    **{n: n for n in ("rms", "largest", "fine", "tint", "fine_share", "chroma_share", "local")},
}
PAPER_ACCURACY = {0: 92.476, 10: 92.364, 20: 92.348, 30: 92.560, 40: 92.346, 50: 92.222}  # Table 1


def by_image(trials: pd.DataFrame) -> pd.DataFrame:
    """One row an image of every synthesis trial.

    Columns: network, way, target, image (its place in the test set), and what ``PER_IMAGE`` names.
    """
    rows = trials[["label", "targets", *PER_IMAGE]].assign(
        network=list(map(network_name, trials["teacher"])), image=trials["kl"].map(len).map(range)
    )
    rows = rows.explode(["image", *PER_IMAGE], ignore_index=True)
    rows = rows.rename(columns={"label": "way", "targets": "target", **PER_IMAGE})
    rows = rows.astype(dict.fromkeys(PER_IMAGE.values(), float))
    return rows[["network", "way", "target", "image", *PER_IMAGE.values()]]


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a synthesis trial: how well the targets were met and what it did to the images."""
    images = by_image(trials).drop(columns="image")
    for name, divergence in (("reached before", "KL before"), ("reached", "KL")):
        images[name] = images[divergence] <= TOLERANCE
    groups = images.groupby(["network", "way", "target"], sort=False)
    table = groups.mean().assign(images=groups.size())
    shares = map(share_interval, groups["reached"].sum(), table["images"])
    table[["reached low", "reached high"]] = [(share.low, share.high) for share in shares]
    steps = [[step for step in row if step >= 0] for row in trials["steps_to"]]
    table["median steps"] = [np.median(row) if row else np.nan for row in steps]
    return table.assign(**{"images/s": list(trials["images_per_second"])}).reset_index()


def onlookers(trials: pd.DataFrame, ways: Sequence[str]) -> pd.DataFrame:
    """Share of the mean KL that is gone after some ways, for the driven classifier and onlookers.

    1: the output is the target. 0: nothing has changed. Below 0: it is further away than before.
    Intervals are bootstraps over the images.
    """
    watched = trials[trials["label"].isin(ways) & (trials["targets"] == "mixture")]
    rows = []
    for row in watched.to_dict("records"):
        for observer in ("", *map(network_name, row["observers"])):
            prefix = f"{observer}: " if observer else ""
            kl = pd.DataFrame({when: row[f"{prefix}{when}"] for when in ("start_kl", "kl")})
            gone = bootstrap(lambda some: 1 - some["kl"].mean() / some["start_kl"].mean(), kl)
            names = (network_name(row["teacher"]), row["label"], observer or "(itself)")
            rows.append((*names, gone))
    return estimate_table(["driven", "way", "onlooker"], rows)


def arm_name(trial: dict[str, Any]) -> str:
    """How tables and figures call a student's arm, from the fields of its trial."""
    name = trial["arm"] + (f" {trial['share']:.0%}" if trial["share"] else "")
    return name + (", KL(p||q)" if trial["direction"] == "reverse" else "")


def arm_runs(trials: pd.DataFrame) -> pd.DataFrame:
    """The students that finished: arm, training images, seed, accuracy."""
    rows = [
        (arm_name(row), row["student"]["train"], row["student"]["seed"], row["accuracy"])
        for row in trials[trials["status"] == "ok"].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=["arm", "images", "seed", "accuracy"])


def arms(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an arm and training set: accuracy, and its difference to "original" by seed.

    images: of the training set. paired_std: of one pair's difference. p: of the two-sided paired t
    test; p_holm: the same, corrected for the number of arms that are compared with "original".
    """
    rows = []
    for images, part in runs.groupby("images", sort=False):
        wide = _by_seed(part).loc[images]
        for name in part["arm"].unique():
            mean = mean_interval(wide[name].dropna())
            gain = mean_interval((wide[name] - wide["original"]).dropna())
            row = {"arm": name, "images": images, "n": mean.n, "mean": mean.value}
            row |= {"std": mean.std, "difference": gain.value, "low": gain.low, "high": gain.high}
            rows.append(row | {"paired_std": gain.std, "p": gain.p_of(0)})
    table = pd.DataFrame(rows)
    compared = table.loc[table["arm"] != "original", "p"]
    return table.assign(p_holm=pd.Series(holm(compared), compared.index))


def _by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every arm (columns) for every training set and seed (rows)."""
    return runs.pivot_table(index=["images", "seed"], columns="arm", values="accuracy")


# The quantities of claims.yaml. They take the tables that the notebook saves.


def gain(tables: Tables, network: str) -> Estimate:
    """Accuracy above that of the most frequent class, in points; of several classifiers the least.

    network: the part that they play, ``driven``, ``digits`` or ``generator``.
    """
    columns, gains = ("accuracy", "trivial_accuracy", "tested"), []
    for row in tables.rows("classifiers", *columns, network=network).itertuples():
        share = share_interval(round(row.accuracy / 100 * row.tested), row.tested)
        ends = 100 * np.array([share.value, share.low, share.high]) - row.trivial_accuracy
        value, low, high = ends.tolist()
        gains.append(Estimate(value, low, high, share.n))
    return min(gains, key=lambda gain: gain.low)


def reached(tables: Tables, way: str, target: str = "mixture", when: str = "KL") -> Estimate:
    """Share of images whose output is at the target; the unit is the classifier, which gives one.

    The interval is over classifiers and images, and no narrower than Wilson's over the images.
    """
    met = (_measured(tables, when, way, target) <= TOLERANCE).astype(float)
    both, images = crossed_interval(met), met.shape[1]
    alone = share_interval(round(met.mean() * images), images)
    low, high = max(0.0, min(both.low, alone.low)), min(1.0, max(both.high, alone.high))
    return Estimate(both.value, low, high, both.n)


def kl_gone(tables: Tables, way: str) -> Estimate:
    """Share of the mean KL to the 0.9/0.1 target that is gone, mean of the classifiers."""
    before, after = (_measured(tables, name, way).mean(1) for name in ("KL before", "KL"))
    return mean_interval(1 - after / before)


def seen(tables: Tables, same: bool) -> Estimate:
    """Share of the KL that SGD takes away for onlookers of one architecture and width, or others.

    The mean of the pairs, from the lowest to the highest end of their intervals; n counts pairs.
    Of others only those count of which both are classifiers that the claims count.
    """
    rows = tables.rows("onlookers", "driven", "onlooker", "value", "low", "high", way="SGD")
    rows = rows[rows["onlooker"] != "(itself)"]
    driven, onlooker = (rows[name].str.split().str[0] for name in ("driven", "onlooker"))
    counted = set(tables.rows("images", "network")["network"])
    both = rows["driven"].isin(counted) & rows["onlooker"].isin(counted)
    pairs = rows[driven == onlooker] if same else rows[(driven != onlooker) & both]
    if pairs.empty:
        raise Missing("table onlookers has no pair of the kind")
    return Estimate(pairs["value"].mean(), pairs["low"].min(), pairs["high"].max(), len(pairs))


def level(
    tables: Tables, way: str, measure: str, unit: float = 1, target: str = "mixture"
) -> Estimate:
    """Mean of a measure of the change, times a unit, over classifiers and images."""
    return crossed_interval(unit * _measured(tables, measure, way, target))


def times(tables: Tables, measure: str, way: str, other: str) -> Estimate:
    """A measure of one way's change over that of another's, by classifier and image."""
    logs = np.log(_measured(tables, measure, way)) - np.log(_measured(tables, measure, other))
    mean = crossed_interval(logs)
    value, low, high = np.exp([mean.value, mean.low, mean.high]).tolist()
    return Estimate(value, low, high, mean.n, log=True)


def more(tables: Tables, measure: str, way: str, other: str) -> Estimate:
    """A measure of one way's change less that of another's, by classifier and image."""
    return crossed_interval(_measured(tables, measure, way) - _measured(tables, measure, other))


def history(tables: Tables) -> Estimate:
    """How much of momentum's extra noise is left at SGD's effective step, on a log scale.

    1 is all of it, so that the history makes the noise; 0 is none, so that the larger step does.
    The mean of the classifiers.
    """
    ways = ("SGD", "momentum", "momentum, lr / 10")
    sgd, momentum, equal = (np.log(_measured(tables, "fine", way)).mean(1) for way in ways)
    return mean_interval((equal - sgd) / (momentum - sgd))


def _measured(tables: Tables, measure: str, way: str, target: str = "mixture") -> np.ndarray:
    """(networks, images) a measure of each image's change through each classifier."""
    rows = tables.rows("images", "network", "image", measure, way=way, target=target)
    return rows.pivot_table(index="network", columns="image", values=measure).to_numpy()


def label_errors(tables: Tables, seed: int) -> Estimate:
    """By how much more a move changes what is said to a generated image than to an original."""
    return stored_estimate(tables, "generated", {"seed": seed}, ("extra", "low", "high", "count"))


def contrast(tables: Tables, arms: Sequence[str], other: str = "original") -> Estimate:
    """Mean accuracy of some arms less that of another, paired by seed."""
    wide = _accuracies(tables, *arms, other)
    return mean_interval(wide[list(arms)].mean(axis=1) - wide[other])


def trend(tables: Tables) -> Estimate:
    """Points of accuracy for ten more per cent of generated images; a slope from each seed."""
    names = ["original", *(f"generated {share}%" for share in list(PAPER_ACCURACY)[1:])]
    return mean_interval(np.polyfit(range(len(names)), _accuracies(tables, *names).T, 1)[0])


def _accuracies(tables: Tables, *names: str) -> pd.DataFrame:
    """Accuracy of some arms (columns) from every seed (rows) of the largest set that has them."""
    wide = _by_seed(tables.rows("scores", "images", "seed", "arm", "accuracy"))
    if absent := set(names) - set(wide):
        raise Missing(f"table scores has no arm {', '.join(sorted(absent))}")
    wide = wide[list(names)].dropna()
    sets = wide.index.get_level_values("images")
    return wide[sets == max(sets, key=lambda images: images or np.inf, default=0)]
