"""Notebook 03: from the records of its trials to tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.ledger.estimates import mean_interval
from lib.transfer.agreement import MEASURES, agreement_interval, selection_regret
from lib.transfer.all_scores import SCORES
from lib.transfer.profile import TransferStudy
from lib.transfer.sources import source_name

KEYS = ["network", "source"]
IMAGENET = "ImageNet accuracy"  # the trivial ranker
RANDOM = "random choice"
# top-1 on ImageNet in per cent, published with the weights; what was never trained on it is 0
IMAGENET_ACCURACY = {
    "mobilenet_v2": 70.8,
    "squeezenet1_1": 58.2,
    "alexnet": 56.5,
    "resnet18": 69.8,
}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A sweep's finished rows, with the network and the source's name as in the paper's table."""
    table = table[table["status"] == "ok"].copy()
    table["network"] = [fields["architecture"] for fields in table["source"]]
    table["source"] = [source_name(fields) for fields in table["source"]]
    if "recipe" in table:
        table["momentum"] = [fields["momentum"] for fields in table["recipe"]]
    return table.reset_index(drop=True)


def accuracies(fine: pd.DataFrame, momentum: float, metric: str = "best") -> pd.DataFrame:
    """Mean of a metric over seeds: network, source, value, low, high, n; in the metric's units.

    low, high: Student's t over seeds; NaN for a single one.
    """
    part = fine[fine["momentum"] == momentum]
    rows = []
    for key, group in part.groupby(KEYS, sort=False):
        found = mean_interval(group[metric])
        ends = (found.low, found.high) if found.n > 1 else (np.nan, np.nan)
        rows.append((*key, found.value, *ends, found.n))
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "n"])


def curves(fine: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """network, source, epoch, accuracy, low, high as shares: mean and range of the seeds."""
    part = fine[fine["momentum"] == momentum]
    rows = []
    for key, group in part.groupby(KEYS, sort=False):
        runs = np.array(group["curve"].tolist()) / 100
        for epoch, values in enumerate(runs.T, start=1):
            rows.append((*key, epoch, values.mean(), values.min(), values.max()))
    return pd.DataFrame(rows, columns=[*KEYS, "epoch", "accuracy", "low", "high"])


def table_1(fine: pd.DataFrame, scores: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """The paper's table with intervals in text, and what it lacks."""
    rows = scores.set_index(KEYS)
    shown = pd.DataFrame(index=rows.index)
    for name, digits in (("softmax", 1), ("emd", 0), ("normalised_emd", 3)):
        shown[name] = [
            _text(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)
            for _, row in rows.iterrows()
        ]
    for metric, title in (("best", "max accuracy %"), ("chosen", "chosen by halves %")):
        found = accuracies(fine, momentum, metric).set_index(KEYS)
        shown[title] = [
            _text(*found.loc[key, ["value", "low", "high"]], digits=1) for key in rows.index
        ]
    for metric, title in (("best_epoch", "epoch"), ("reached", "epochs to 95 %")):
        found = accuracies(fine, momentum, metric).set_index(KEYS)["value"]
        shown[title] = found.loc[rows.index].round(1)
    return shown.reset_index()


def _text(value: float, low: float, high: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text if np.isnan(low) else f"{text} [{low:,.{digits}f}, {high:,.{digits}f}]"


def against_accuracy(fine: pd.DataFrame, scores: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """One row a model and score, with intervals; accuracies as shares, for the figure."""
    found = accuracies(fine, momentum).rename(columns={"value": "accuracy"})
    found = found.rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
    found[["accuracy", "accuracy_low", "accuracy_high"]] /= 100
    rows = []
    for _, row in scores.iterrows():
        for name in SCORES:
            ends = row[f"{name}_low"], row[f"{name}_high"]
            rows.append((row["network"], row["source"], name, row[name], *ends))
    long = pd.DataFrame(rows, columns=[*KEYS, "score", "value", "low", "high"])
    return long.merge(found.drop(columns="n"), on=KEYS)


def models(
    fine: pd.DataFrame, scores: pd.DataFrame, momentum: float, metric: str = "best"
) -> pd.DataFrame:
    """One row a model: network, source, accuracy in per cent, and every score, more is better.

    The trivial ranker is among them: the published ImageNet accuracy of what was trained on it.
    """
    found = accuracies(fine, momentum, metric)[[*KEYS, "value"]].rename(
        columns={"value": "accuracy"}
    )
    table = scores[[*KEYS, *SCORES]].merge(found, on=KEYS)
    for name, sign in SCORES.items():
        table[name] = sign * table[name]
    table[IMAGENET] = [
        IMAGENET_ACCURACY.get(row.network, 0.0) if row.source.startswith("imagenet") else 0.0
        for row in table.itertuples()
    ]
    return table


def rankers(table: pd.DataFrame) -> list[str]:
    """The columns of ``models`` that rank: every score, and ImageNet accuracy where it can."""
    return [*SCORES, *([IMAGENET] if table[IMAGENET].any() else [])]


def agreement(table: pd.DataFrame, groups: dict[str, list[str]]) -> pd.DataFrame:
    """Rank correlations with accuracy: group, score, measure, value, low, high, n.

    groups: name -> networks whose models are ranked together.
    """
    rows = []
    for group, networks in groups.items():
        part = table[table["network"].isin(networks)]
        for score in rankers(part):
            for measure in MEASURES:
                found = agreement_interval(part[score], part["accuracy"], measure)
                rows.append((group, score, measure, found.value, found.low, found.high, found.n))
    columns = ["group", "score", "measure", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def regrets(table: pd.DataFrame, groups: dict[str, list[str]]) -> pd.DataFrame:
    """Accuracy lost by each ranker's first model, as a share: score, network (group), regret."""
    rows = []
    for group, networks in groups.items():
        part = table[table["network"].isin(networks)]
        for score in rankers(part):
            lost = selection_regret(part[score], part["accuracy"])
            rows.append((score, group, lost / 100))
        mean_lost = part["accuracy"].max() - part["accuracy"].mean()
        rows.append((RANDOM, group, mean_lost / 100))
    return pd.DataFrame(rows, columns=["score", "network", "regret"])


def groups(sizes: TransferStudy) -> dict[str, list[str]]:
    """Each network with enough sources to be ranked, then all together."""
    found = {each.architecture: [each.architecture] for each in sizes.families if each.staged}
    return found | {"all": [each.architecture for each in sizes.families]}
