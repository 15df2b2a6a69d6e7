"""Notebook 01: from trials to the numbers that decide the claims."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from lib.continual.mask_similarity import Masks, similarity
from lib.continual.plan import STREAMS, norms_of
from lib.continual.tasks import KINDS, MAIN, TASKS
from lib.continual.trials import PLAIN
from lib.continual.unet import LAYERS
from lib.ledger.claims import Rule
from lib.ledger.estimates import Estimate, mean_interval

FIELDS = ("method", "task", "norms", "loss", "start", "seed", "run", "shuffled", "alone")
HIGHER = ("miou", "accuracy", "ssim", "ssim_rgb", "ssim_content")  # better; of others, lower
BASELINES = ("scratch", "fine-tune", "decoder")  # the paper's


def main_metric(task: int) -> str:
    """The number that a task is judged by: mIoU, MSE or the total style loss."""
    return MAIN[KINDS[task]]


def scores(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a number: the trial's fields, ``met`` (the task scored), ``name``, ``value``.

    ``task`` is the one learned last, so ``met < task`` shows what is left of an earlier one.
    """
    done = trials[(trials.status == "ok") & (trials.task > 0)]
    columns = [name for name in done.columns if name[:1] == "T" and name[1:2].isdigit()]
    long = done.melt(id_vars=list(FIELDS), value_vars=columns, var_name="of").dropna(subset="value")
    met, name = long["of"].str[1].astype(int), long["of"].str[3:]
    return long.drop(columns="of").assign(met=met, name=name).reset_index(drop=True)


def pick(
    rows: pd.DataFrame, method: str, met: int, *, after: int = 0, name: str = "", **fields
) -> pd.Series:
    """seed -> value of one number; by default of the main table.

    after: the task learned last; 0: ``met`` itself. name: a metric; "": the task's main one.
    fields: of a control, such as ``norms="frozen", alone=True``.
    A U-Net method's task 1 is the base's, which is stored as "scratch".
    """
    after = after or met
    if after == 1 and not method.startswith("resblock"):
        method = "scratch"
    named = (rows["met"] == met) & (rows["name"] == (name or main_metric(met)))
    chosen = named & _are_of(rows, method, after, fields)
    return rows[chosen].set_index("seed")["value"].sort_index()


def _are_of(rows: pd.DataFrame, method: str, task: int, fields: dict) -> np.ndarray:
    """Which rows are of a trial: of the main table, but for the fields."""
    wanted = {**PLAIN, "norms": norms_of(method), **fields, "method": method, "task": task}
    return np.logical_and.reduce([rows[field] == value for field, value in wanted.items()])


def mean(values: pd.Series) -> Estimate:
    """Mean over seeds, with its interval."""
    return mean_interval(values.dropna())


def ratio(above: pd.Series, below: pd.Series) -> Estimate:
    """Mean over seeds of a ratio, with its interval."""
    return mean_interval((above / below).dropna())


def difference(a: pd.Series, b: pd.Series) -> Estimate:
    """Mean over seeds of a difference, with its interval."""
    return mean_interval((a - b).dropna())


def guarded(rule: Rule, estimate: Estimate, idle: float, *, loss: bool = False) -> Rule:
    """The rule, or one that says "not tested" where doing nothing would get the same answer.

    A method that is "as good as the best" shows nothing if a blank output is so too: then a pass
    is hollow. loss: the claim is that something is lost or bad; where a blank output would not
    count as bad, it is a fail that is hollow. idle: the quantity for doing nothing.
    """
    passes = rule.low < estimate.low and estimate.high < rule.high
    hollow = (rule.low < idle < rule.high) != loss
    return replace(rule, least=10**9) if hollow and passes != loss else rule


def best_baseline(rows: pd.DataFrame, task: int) -> str:
    """The paper's baseline with the best mean in a task."""
    means = {method: pick(rows, method, task).mean() for method in BASELINES}
    return (max if main_metric(task) in HIGHER else min)(means, key=means.get)


def table_2(rows: pd.DataFrame, trivial: dict[int, dict[str, float]]) -> pd.DataFrame:
    """Each task's numbers by method: mean, std, n; and for doing nothing."""
    found = []
    for task in TASKS:
        for name, nothing in trivial[task].items():
            for method in STREAMS:
                values = pick(rows, method, task, name=name)
                interval = mean_interval(values) if len(values) else None
                found.append(
                    {
                        "task": task,
                        "metric": name,
                        "method": method,
                        "n": len(values),
                        "mean": values.mean(),
                        "std": values.std(),
                        "low": interval.low if interval else np.nan,
                        "high": interval.high if interval else np.nan,
                        "nothing": nothing,
                    }
                )
    return pd.DataFrame(found)


def forgetting(rows: pd.DataFrame, method: str) -> np.ndarray:
    """(5, 5): mean of task j's main metric (column) after task i was learned (row); NaN above."""
    matrix = np.full((len(TASKS), len(TASKS)), np.nan)
    for after in TASKS:
        for met in range(1, after + 1):
            matrix[after - 1, met - 1] = pick(rows, method, met, after=after).mean()
    return matrix


def kept(matrix: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Share of each task's gain over doing nothing that is left, 0 to 1; NaN without a gain.

    matrix: of ``forgetting``; nothing: (5,) the same metrics for doing nothing.
    """
    learned = np.diag(matrix)
    sign = np.array([1 if main_metric(task) in HIGHER else -1 for task in TASKS])
    gain = sign * (learned - nothing)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = sign * (matrix - nothing) / gain
    return np.where(np.isnan(matrix) | (gain <= 0), np.nan, np.clip(share, 0, 1))


def largest_change(rows: pd.DataFrame, method: str) -> Estimate:
    """Largest absolute change of an earlier task's numbers after later ones; n: comparisons."""
    changes = []
    for met in TASKS[:-1]:
        before = pick(rows, method, met)
        for after in range(met + 1, len(TASKS) + 1):
            changes += list((pick(rows, method, met, after=after) - before).abs().dropna())
    largest = max(changes)
    return Estimate(largest, min(changes), largest, len(changes))


def compare_masks(masks: dict[tuple, Masks], draws: int = 999) -> pd.DataFrame:
    """Every pair of masks of one seed: agreement, chance, kappa and its permutation null.

    masks: (seed, label) -> layer masks.
    """
    found = []
    for (seed, a), (other, b) in combinations(masks, 2):
        if seed == other:
            result = similarity(masks[seed, a], masks[seed, b], draws=draws, seed=seed)
            found.append({"seed": seed, "a": a, "b": b, **vars(result)})
    return pd.DataFrame(found)


def kappas(pairs: pd.DataFrame, a: str, b: str) -> pd.Series:
    """seed -> kappa of one pair, whichever way round it is stored."""
    same = ((pairs.a == a) & (pairs.b == b)) | ((pairs.a == b) & (pairs.b == a))
    return pairs[same].set_index("seed")["kappa"]


def zero_rate_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a layer of each masked trial: the trial's fields, ``layer``, ``rate``, ``place``."""
    done = trials[(trials.status == "ok") & trials.zero_rates.notna()]
    found = [
        {**{field: getattr(row, field) for field in FIELDS}, "layer": name, "rate": rate}
        | {"place": place}
        for row in done.itertuples()
        for place, (name, rate) in enumerate(row.zero_rates.items())
    ]
    layers = pd.DataFrame(found)
    short = layers["layer"].str.replace(r"^(encoder|decoder)\.", "", regex=True)
    short = short.str.replace(".conv", "", regex=False)
    # a record has a U-Net's layers in the order of their names
    places = short.map({name: place for place, name in enumerate(LAYERS)})
    return layers.assign(layer=short, place=places.fillna(layers["place"]).astype(int))


def zero_share(trials: pd.DataFrame, method: str, task: int, **fields) -> pd.Series:
    """seed -> mean zero rate of a mask's layers; by default of the main table's."""
    layers = zero_rate_rows(trials)
    return layers[_are_of(layers, method, task, fields)].groupby("seed").rate.mean()
