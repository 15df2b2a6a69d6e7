"""From trials to tables, and the quantities that claims judge.

Masks are compared by how many bits they share. Two independent masks that each use half of the
weights agree on half of them: agreement (the share of equal bits, 1 - XOR) says nothing without
what chance gives. Cohen's kappa is the agreement beyond chance, as a share of the most that is
possible: Cohen, "A coefficient of agreement for nominal scales", 1960.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.continual.networks import LAYERS
from lib.continual.trials import KINDS, PLAIN, STREAMS, TASKS, norms_of
from lib.ledger.estimates import Estimate, mean_interval, ratio_interval
from lib.ledger.tables import Missing, Tables

MAIN = {"segmentation": "miou", "colour": "mse", "style": "total"}  # what a task is judged by
HIGHER = ("miou", "accuracy", "ssim", "ssim_rgb", "ssim_content")  # better; of others, lower
MARGIN = 0.05  # of a gain from a single seed, which has no interval: that much shows learning
TITLES = {
    "ewc": "EWC",
    "piggyback": "Piggyback",
    "resblock": "Resblock",
    "resblock+piggyback": "Resblock + Piggyback",
}  # of the methods in figures; the others have their own names
FIELDS = ("method", "task", "norms", "seed", *PLAIN)
# in the paper's Table 2 fine-tuning comes to task 5 from task 3; in a stream it comes from task 4
TABLE_2 = {("fine-tune", 5): {"start": 3}}
Masks = Mapping[str, Tensor]  # layer name -> bool tensor of the weight's shape


def main_metric(task: int) -> str:
    """The number that a task is judged by: mIoU, MSE or the total style loss."""
    return MAIN[KINDS[task]]


def scores(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a number: the trial's fields, ``scored`` (the task scored), ``name``, ``value``.

    ``task`` is the one learned last, so ``scored < task`` shows what is left of an earlier one.
    """
    done = trials[(trials.status == "ok") & (trials.task > 0)]
    columns = done.columns[done.columns.str.fullmatch(r"T\d \w+")]  # as "T3 ssim_rgb"
    rows = done.melt(id_vars=list(FIELDS), value_vars=list(columns), var_name="number")
    rows = rows.dropna(subset="value").reset_index(drop=True)
    rows[["scored", "name"]] = rows.pop("number").str.extract(r"T(\d) (\w+)")
    return rows.astype({"scored": int})


def trivial_table(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a number of a trivial answer: task, answer, metric, value."""
    rows = [
        (trial.task, answer, metric, value)
        for trial in trials.itertuples()
        if trial.status == "ok"
        for answer, metrics in trial.answers.items()
        for metric, value in metrics.items()
    ]
    return pd.DataFrame(rows, columns=["task", "answer", "metric", "value"])


def best_answers(answers: pd.DataFrame) -> dict[tuple[int, str], float]:
    """(task, metric) -> the best number that a trivial answer reaches. answers: a trivial table."""
    ends = answers.groupby(["task", "metric"], sort=False)["value"].agg(["min", "max"])
    return {
        (task, metric): high if metric in HIGHER else low
        for (task, metric), low, high in ends.itertuples()
    }


def pick(
    rows: pd.DataFrame, method: str, scored: int, *, after: int = 0, name: str = "", **fields: Any
) -> pd.Series:
    """seed -> value of one number; by default of the main table.

    after: the task learned last; 0 is ``scored`` itself. name: a metric; "" is the main one.
    fields: of a control, such as ``norms="frozen", alone=True``.
    A U-Net method's task 1 is the base's, which is stored as "scratch".
    """
    after = after or scored
    if after == 1 and not method.startswith("resblock"):
        method = "scratch"
    named = (rows["scored"] == scored) & (rows["name"] == (name or main_metric(scored)))
    chosen = named & _of_trial(rows, method, after, fields)
    return rows[chosen].set_index("seed")["value"].sort_index()


def _of_trial(rows: pd.DataFrame, method: str, task: int, fields: Mapping[str, Any]) -> np.ndarray:
    """Which rows are of a trial of the main table, but for the fields."""
    wanted = {**PLAIN, "norms": norms_of(method), **fields, "method": method, "task": task}
    return np.logical_and.reduce([rows[field] == value for field, value in wanted.items()])


def over_seeds(values: pd.Series) -> Estimate:
    """Mean over the seeds that have a value, with its interval; NaN if none has."""
    known = values.dropna().to_numpy()
    return mean_interval(known) if len(known) else Estimate(np.nan, np.nan, np.nan, 0)


def table_2(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Each task's numbers by method: n, mean, interval; and the best trivial answer's."""
    table = []
    for (task, name), trivial in best_answers(answers).items():
        for method in STREAMS:
            fields = TABLE_2.get((method, task), {})
            found = over_seeds(pick(rows, method, task, name=name, **fields))
            numbers = {"n": found.n, "mean": found.value, "low": found.low, "high": found.high}
            table.append({"task": task, "metric": name, "method": method, **numbers,
                          "trivial": trivial})  # fmt: skip
    return pd.DataFrame(table)


def forgetting(rows: pd.DataFrame, method: str) -> np.ndarray:
    """(5, 5): mean of task j's main metric (column) after task i was learned (row); NaN above.

    Of the seeds that have every cell, as cells are compared; of all seeds while none has.
    """
    cells = {(i, j): pick(rows, method, j, after=i) for i in TASKS for j in TASKS if j <= i}
    seeds = pd.DataFrame(cells)
    means = (seeds if seeds.dropna().empty else seeds.dropna()).mean()
    return np.array([[means.get((i, j), np.nan) for j in TASKS] for i in TASKS])


def share_left(rows: pd.DataFrame, method: str, answers: pd.DataFrame) -> np.ndarray:
    """As ``forgetting``: the share, 0 to 1, of a task's gain over the best trivial answer.

    NaN for a task that was not learned (see ``is_learned``).
    """
    matrix, best = forgetting(rows, method), best_answers(answers)
    for column, task in enumerate(TASKS):
        trivial = best.get((task, main_metric(task)), np.nan)
        share = (matrix[:, column] - trivial) / (matrix[column, column] - trivial)
        learned = gain_over(trivial, pick(rows, method, task), main_metric(task))
        matrix[:, column] = share.clip(0, 1) if is_learned(learned) else np.nan
    return matrix


def gain_over(trivial: float, values: pd.Series, metric: str) -> Estimate:
    """How much better than a trivial answer, as a share of that answer's number."""
    return over_seeds((values / trivial - 1) * (1 if metric in HIGHER else -1))


def is_learned(gain: Estimate) -> bool:
    """Whether a gain's interval lies above 0; one seed has none, and must gain a margin."""
    return gain.low > 0 if gain.n > 1 else gain.value > MARGIN


def largest_change(rows: pd.DataFrame, method: str) -> Estimate:
    """Largest absolute change of an earlier task's numbers after later ones; n: comparisons."""
    changes: list[float] = []
    for scored in TASKS[:-1]:
        before = pick(rows, method, scored)
        for after in range(scored + 1, len(TASKS) + 1):
            changes += (pick(rows, method, scored, after=after) - before).abs().dropna().tolist()
    largest, smallest = max(changes, default=np.nan), min(changes, default=np.nan)
    return Estimate(largest, smallest, largest, len(changes))


def zero_rate_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a layer of each masked trial: the trial's fields, ``layer``, ``rate``, ``place``."""
    done = trials.reindex(columns=[*FIELDS, "status", "zero_rates"])
    done = done[(done.status == "ok") & done.zero_rates.notna()]
    fields = pd.MultiIndex.from_frame(done[list(FIELDS)])
    rates = pd.DataFrame(list(done.zero_rates), fields)
    rates.columns = rates.columns.str.replace(r"^(encoder|decoder)\.|\.conv$", "", regex=True)
    # a record has a U-Net's layers in the order of their names
    unet, blocks = LAYERS, [name for name in rates if name not in LAYERS]
    places = {name: place for names in (unet, blocks) for place, name in enumerate(names)}
    rows = rates.melt(var_name="layer", value_name="rate", ignore_index=False).dropna()
    return rows.reset_index().assign(place=lambda table: table["layer"].map(places))


def zero_share(
    rates: pd.DataFrame, *tasks: int, method: str = "piggyback", layers: str = "", **fields: Any
) -> pd.Series:
    """seed -> mean over tasks of the mean over layers of a mask's zero rate.

    rates: of ``zero_rate_rows``. layers: a pattern of their names; "" is all. A layer counts once,
    however many weights it has. fields: as of ``pick``.
    """
    rates = rates[rates["layer"].str.fullmatch(layers or ".*")]
    shares = [
        rates[_of_trial(rates, method, task, fields)].groupby("seed")["rate"].mean()
        for task in tasks
    ]
    return pd.concat(shares, axis=1).mean(axis=1, skipna=False)


def compare_masks(masks: dict[tuple[int, str], Masks]) -> pd.DataFrame:
    """Every pair of masks of one seed (see ``similarity``). masks: (seed, label) -> masks."""
    return pd.DataFrame(
        {"seed": seed, "a": a, "b": b} | similarity(masks[seed, a], masks[seed, b])
        for (seed, a), (other, b) in combinations(masks, 2)
        if seed == other
    )


def similarity(a: Masks, b: Masks) -> dict[str, float]:
    """Compare two masks of the same layers over all their bits.

    agreement: share of equal bits. chance: expected of independent masks with these two densities.
    kappa: (agreement - chance) / (1 - chance); NaN for masks that are both constant and equal.
    null_mean: expected kappa when the positions of one mask are permuted inside each layer. It is
        above 0 where both masks use the same layers more: that needs no common weight.
    No p: bits of a network are not exchangeable, so only seeds can tell how sure a kappa is.
    Raises ValueError for masks of other layers or shapes, and for tensors that are not bool.
    """
    shapes = [{name: tuple(mask.shape) for name, mask in masks.items()} for masks in (a, b)]
    if shapes[0] != shapes[1] or not a:
        raise ValueError(f"the masks are not of the same layers: {shapes[0]} and {shapes[1]}")
    if any(mask.dtype != torch.bool for masks in (a, b) for mask in masks.values()):
        raise ValueError("masks are bool tensors")
    layers = [(x.numel(), x.sum(), b[name].sum(), (x & b[name]).sum()) for name, x in a.items()]
    bits, of_a, of_b, both = np.array(layers, float).T
    expected = chance(of_a.sum() / bits.sum(), of_b.sum() / bits.sum())
    agreement, in_layers = (
        float((bits - of_a - of_b + 2 * shared).sum() / bits.sum())
        for shared in (both, of_a * of_b / bits)
    )
    compared = {"bits": bits.sum(), "agreement": agreement, "chance": expected}
    kappas = {"kappa": kappa(agreement, expected), "null_mean": kappa(in_layers, expected)}
    return compared | kappas


def chance(used_a: float, used_b: float) -> float:
    """The agreement of independent masks that use these shares of the weights."""
    return used_a * used_b + (1 - used_a) * (1 - used_b)


def kappa(agreement: float, expected: float) -> float:
    """Cohen's kappa: the agreement beyond the expected one, as a share of the most possible."""
    return (agreement - expected) / (1 - expected) if expected < 1 else np.nan


# The quantities of claims.yaml. They take the tables that the notebook saves, pair numbers by seed,
# and name a number by a cell: ``{method: ewc, after: 2}``, as ``pick`` takes it, is a method's;
# ``{answer: grey picture}`` or ``{answer: best}`` is a trivial answer's.


def gain(tables: Tables, task: int | str, method: str, **fields: Any) -> Estimate:
    """Of a task's main metric over the best trivial answer, as a share of that answer's number.

    task: ``classes`` is a classification of ``reasons.py``, and ``method`` what was learned there.
    """
    if isinstance(task, str):
        rows = _classifier(tables, learned=method, **fields)
        return gain_over(rows["largest"].iloc[0], rows.groupby("seed")["top1"].first(), "accuracy")
    name, cell = main_metric(task), {"method": method, **fields}
    numbers = _paired(tables, task, cell, {"answer": "best"}, name)
    return gain_over(numbers["to"].iloc[0], numbers["of"], name)


def ratio(tables: Tables, task: int, of: dict, to: dict, name: str = "") -> Estimate:
    """Geometric mean of the ratios of two cells."""
    numbers = _paired(tables, task, of, to, name)
    return ratio_interval(numbers["of"].to_numpy(), numbers["to"].to_numpy())


def difference(tables: Tables, task: int, of: dict, to: dict, name: str = "") -> Estimate:
    """Mean difference of two cells."""
    numbers = _paired(tables, task, of, to, name)
    return over_seeds(numbers["of"] - numbers["to"])


def share_of_gain(tables: Tables, task: int, of: dict, to: dict) -> Estimate:
    """Gain of one cell over the best trivial answer, over that of another cell."""
    numbers = _paired(tables, task, of, to, "")
    best = _cell(tables, task, main_metric(task), {"answer": "best"})
    return over_seeds((numbers["of"] - best) / (numbers["to"] - best))


def change(tables: Tables, method: str) -> Estimate:
    """``largest_change`` of a method's numbers."""
    return _known(largest_change(_scores(tables), method), f"no later task of {method}")


def zeros(tables: Tables, tasks: Sequence[int], **fields: Any) -> Estimate:
    """``zero_share`` of the masks of some tasks."""
    return _known(over_seeds(_zeros(tables, tasks, **fields)), f"no masks of tasks {tasks}")


def zero_difference(tables: Tables, of: dict, to: dict) -> Estimate:
    """Of two groups of masks or layers: how much larger the first's ``zero_share`` is."""
    apart = _zeros(tables, **of) - _zeros(tables, **to)
    return _known(over_seeds(apart), f"no masks of {of} and {to}")


def zero_ratio(tables: Tables, of: dict, to: dict) -> Estimate:
    """Of two groups of masks: ratio of their ``zero_share``."""
    both = pd.concat([_zeros(tables, **of), _zeros(tables, **to)], axis=1).dropna()
    _known(over_seeds(both[0] if len(both) else pd.Series(dtype=float)), f"no masks of {of}")
    return ratio_interval(*both.to_numpy().T)


def zeros_rise(tables: Tables, **fields: Any) -> Estimate:
    """Of a VGG16's masks: zero rate of the last third of the layers less that of the first."""
    rates = _classifier(tables, **fields).pivot_table("rate", "seed", "place")
    third = rates.shape[1] // 3
    return over_seeds(rates.iloc[:, -third:].mean(axis=1) - rates.iloc[:, :third].mean(axis=1))


def first_layers(tables: Tables, task: int) -> Estimate:
    """Zero rate of the U-Net's first layer in a task, less that of the VGG16's first layer."""
    rates = _classifier(tables, place=0).set_index("seed")["rate"]
    apart = _zeros(tables, [task], layers="conv1_1") - rates
    return _known(over_seeds(apart), f"no seed has masks of task {task} and of a VGG16")


def left_when_pruned(
    tables: Tables, share: float, which: str = "smallest", norms: str = "stored"
) -> Estimate:
    """Share of task 1's gain over the best trivial answer that is left without some weights."""
    best = _cell(tables, 1, main_metric(1), {"answer": "best"})

    def gains(**where: Any) -> pd.Series:
        rows = tables.rows("pruned", "seed", "miou", which=which, **where)
        return rows.set_index("seed")["miou"] - best

    return over_seeds(gains(share=share, norms=norms) / gains(share=0.0, norms="stored"))


def kappa_difference(
    tables: Tables, of: list[list[str]], to: list[list[str]] | None = None
) -> Estimate:
    """Mean kappa of some pairs of masks, less that of others or, without these, than its null."""
    mean = _kappas(tables, of, "kappa")
    apart = mean - (_kappas(tables, to, "kappa") if to else _kappas(tables, of, "null_mean"))
    return _known(over_seeds(apart), f"no kappa of {of} and {to}")


def chain(tables: Tables, order: str, way: str = "chained") -> Estimate:
    """How far one pass is from two passes, over the nearest single task; the larger of RGB's and
    chroma's. 0: the same picture. 1: no nearer than without one of the tasks.
    """
    names = ["distance", "colour_distance"]
    rows = tables.rows("composition", "seed", "way", *names, order=order)
    apart = rows.pivot_table(names, "seed", "way")
    ratios = [apart[n][way] / apart[n][["colour only", "style only"]].min(axis=1) for n in names]
    worst = pd.concat(ratios, axis=1).max(axis=1).to_numpy()
    return ratio_interval(worst, np.ones(len(worst)))


def _long(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """A table with the trials' fields; a CSV has no difference between "" and nothing."""
    texts = ["norms", "loss", "scenes"]
    rows = tables.rows(name, *FIELDS, *columns)
    return rows.assign(**{text: rows[text].astype(object).fillna("") for text in texts})


def _scores(tables: Tables) -> pd.DataFrame:
    return _long(tables, "scores", "scored", "name", "value")


def _cell(tables: Tables, task: int, name: str, cell: dict[str, Any]) -> pd.Series | float:
    """seed -> number of a method, or the number of a trivial answer."""
    if "answer" not in cell:
        return pick(_scores(tables), scored=task, name=name, **cell)
    answers = tables.rows("trivial", "answer", "value", task=task, metric=name)
    if cell["answer"] == "best":
        return best_answers(answers)[task, name]
    return float(tables.rows("trivial", task=task, metric=name, **cell)["value"].iloc[0])


def _paired(tables: Tables, task: int, of: dict, to: dict, name: str) -> pd.DataFrame:
    """seed -> numbers of two cells, ``of`` and ``to``; one of them is a method's."""
    name = name or main_metric(task)
    cells = {"of": _cell(tables, task, name, of), "to": _cell(tables, task, name, to)}
    numbers = pd.DataFrame(cells).dropna()
    if numbers.empty:
        raise Missing(f"no seed has {name} of task {task} for {of} and for {to}")
    return numbers


def _zeros(tables: Tables, tasks: Sequence[int], **fields: Any) -> pd.Series:
    return zero_share(_long(tables, "zero_rates", "layer", "rate"), *tasks, **fields)


def _classifier(tables: Tables, **fields: Any) -> pd.DataFrame:
    """Layers of a VGG16's trials; by default of the masks for the second data set."""
    where = {"learned": "masks", "data": 1, "shuffled": False} | fields
    return tables.rows("classifier_zeros", "seed", "place", "rate", "top1", "largest", **where)


def _kappas(tables: Tables, pairs: list[list[str]], name: str) -> pd.Series:
    """seed -> mean of a column over some pairs of masks, whichever way round they are stored."""
    rows = tables.rows("similarity", "seed", "a", "b", name)
    wanted = {frozenset(pair) for pair in pairs}
    rows = rows[[frozenset(pair) in wanted for pair in zip(rows["a"], rows["b"], strict=True)]]
    by_seed = rows.groupby("seed")[name]
    return by_seed.mean()[by_seed.count() == len(wanted)]


def _known(estimate: Estimate, missing: str) -> Estimate:
    """The estimate; raises ``Missing`` where there was no seed to compute it from."""
    if not np.isfinite(estimate.value):
        raise Missing(missing)
    return estimate
