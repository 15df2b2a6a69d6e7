"""From trials to tables, and the quantities that claims judge.

Masks are compared by how many bits they share. Two independent masks that each use half of the
weights agree on half of them: agreement (the share of equal bits, 1 - XOR) says nothing without
what chance gives. Cohen's kappa is the agreement beyond chance, as a share of the most that is
possible: Cohen, "A coefficient of agreement for nominal scales", 1960.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.continual.networks import LAYERS
from lib.continual.trials import PLAIN, STREAMS, TASKS, norms_of
from lib.ledger.estimates import Estimate, mean_interval, ratio_interval
from lib.ledger.tables import Missing, Tables

MAIN = {1: "miou", 2: "miou", 3: "mse", 4: "total", 5: "total"}  # what a task is judged by
HIGHER = ("miou", "accuracy", "ssim", "ssim_rgb", "ssim_content")  # better; of others, lower
MARGIN = 0.05  # of a gain from a single seed, which has no interval: that much shows learning
FIELDS = ("method", "task", "norms", "seed", *PLAIN)
# in the paper's Table 2 fine-tuning comes to task 5 from task 3; in a stream it comes from task 4
TABLE_2 = {("fine-tune", 5): {"start": 3}}
Masks = Mapping[str, Tensor]  # layer name -> bool tensor of the weight's shape


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
    named = (rows["scored"] == scored) & (rows["name"] == (name or MAIN[scored]))
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
            table.append((task, name, method, found.n, found.value, found.low, found.high, trivial))
    columns = ["task", "metric", "method", "n", "mean", "low", "high", "trivial"]
    return pd.DataFrame(table, columns=columns)


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

    NaN for a task that was not learned: the interval of its gain is not above 0, or the gain of a
    single seed not above a margin.
    """
    matrix, best = forgetting(rows, method), best_answers(answers)
    for column, task in enumerate(TASKS):
        trivial = best.get((task, MAIN[task]), np.nan)
        share = (matrix[:, column] - trivial) / (matrix[column, column] - trivial)
        gain = gain_over(trivial, pick(rows, method, task), MAIN[task])
        learned = gain.low > 0 if gain.n > 1 else gain.value > MARGIN
        matrix[:, column] = share.clip(0, 1) if learned else np.nan
    return matrix


def gain_over(trivial: float, values: pd.Series, metric: str) -> Estimate:
    """How much better than a trivial answer, as a share of that answer's number."""
    return over_seeds((values / trivial - 1) * (1 if metric in HIGHER else -1))


def largest_change(rows: pd.DataFrame, method: str) -> Estimate:
    """Largest absolute change of an earlier task's numbers after later ones; n: comparisons."""
    changes: list[float] = []
    for scored, after in combinations(TASKS, 2):
        change = pick(rows, method, scored, after=after) - pick(rows, method, scored)
        changes += change.abs().dropna().tolist()
    largest, smallest = max(changes, default=np.nan), min(changes, default=np.nan)
    return Estimate(largest, smallest, largest, len(changes))


def zero_rate_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a layer of each masked trial: the trial's fields, ``layer``, ``rate``, ``place``."""
    done = trials.reindex(columns=[*FIELDS, "status", "zero_rates"])
    done = done[(done.status == "ok") & done.zero_rates.notna()]
    rates = pd.DataFrame(list(done.zero_rates), pd.MultiIndex.from_frame(done[list(FIELDS)]))
    rates.columns = rates.columns.str.replace(r"^(encoder|decoder)\.|\.conv$", "", regex=True)
    # a record has a U-Net's layers in the order of their names
    blocks = [name for name in rates if name not in LAYERS]
    places = {name: place for names in (LAYERS, blocks) for place, name in enumerate(names)}
    rows = rates.melt(var_name="layer", value_name="rate", ignore_index=False).dropna()
    return rows.reset_index().assign(place=lambda table: table["layer"].map(places))


def zero_share(
    rates: pd.DataFrame, *tasks: int, method: str = "piggyback", layers: str = ".*", **fields: Any
) -> pd.Series:
    """seed -> mean over tasks of the mean over layers of a mask's zero rate.

    rates: of ``zero_rate_rows``. layers: a pattern of their names. A layer counts once, however
    many weights it has. fields: as of ``pick``.
    """
    rates = rates[rates["layer"].str.fullmatch(layers)]
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
    kappa, null_mean = (
        (value - expected) / (1 - expected) if expected < 1 else np.nan
        for value in (agreement, in_layers)
    )
    found = {"bits": bits.sum(), "agreement": agreement, "chance": expected}
    return found | {"kappa": kappa, "null_mean": null_mean}


def chance(used_a: float, used_b: float) -> float:
    """The agreement of independent masks that use these shares of the weights."""
    return used_a * used_b + (1 - used_a) * (1 - used_b)


# The quantities of claims.yaml. They take the tables that the notebook saves and pair numbers by
# seed. ``of`` and ``to`` name a number by a cell, see ``_cell``, with what both have in common.


def gain(tables: Tables, task: int | str, **cell: Any) -> Estimate:
    """Of a task's main metric over the best trivial answer, as a share of that answer's number.

    task: ``classes`` is a classification of ``reasons.py``, and ``method`` what was learned there.
    """
    if isinstance(task, str):
        rows = _classifier(tables, learned=cell.pop("method"), **cell)
        return gain_over(rows["largest"].iloc[0], rows.groupby("seed")["top1"].first(), "accuracy")
    numbers = _paired(tables, cell, {"answer": "best"}, task=task)
    return gain_over(numbers["to"].iloc[0], numbers["of"], MAIN[task])


def ratio(tables: Tables, of: dict, to: dict, **common: Any) -> Estimate:
    """Geometric mean of the ratios of two cells."""
    return ratio_interval(*_paired(tables, of, to, **common).to_numpy().T)


def difference(tables: Tables, of: dict, to: dict, **common: Any) -> Estimate:
    """Mean difference of two cells."""
    numbers = _paired(tables, of, to, **common)
    return over_seeds(numbers["of"] - numbers["to"])


def share_of_gain(tables: Tables, task: int, of: dict, to: dict, **common: Any) -> Estimate:
    """Gain of one cell over the best trivial answer, over that of another cell."""
    numbers = _paired(tables, of, to, task=task, **common)
    numbers = numbers - _cell(tables, task=task, answer="best")
    return over_seeds(numbers["of"] / numbers["to"])


def zeros(tables: Tables, **cell: Any) -> Estimate:
    """Mean of a cell: ``zero_share`` of the masks of some tasks."""
    return over_seeds(_paired(tables, cell, cell)["of"])


def change(tables: Tables, method: str) -> Estimate:
    """``largest_change`` of a method's numbers."""
    found = largest_change(_long(tables, "scores", "scored", "name", "value"), method)
    if not found.n:
        raise Missing(f"no later task of {method}")
    return found


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


def _paired(tables: Tables, of: dict, to: dict, **common: Any) -> pd.DataFrame:
    """seed -> numbers of two cells, ``of`` and ``to``; one of them at least has seeds."""
    cells = {"of": _cell(tables, **common | of), "to": _cell(tables, **common | to)}
    numbers = pd.DataFrame(cells).dropna()
    if numbers.empty:
        task = common.get("task", 0)
        what = f"{common.get('name') or MAIN[task]} of task {task}" if task else "a number"
        raise Missing(f"no seed has {what} for {of} and for {to}")
    return numbers


def _cell(tables: Tables, **cell: Any) -> pd.Series | float:
    """seed -> number that a cell names by one of its keys, or the number of a trivial answer.

    answer: of ``task``, "best" or by name. pairs: mean kappa of pairs of masks. places: mean zero
    rate of layers of a VGG16's masks. share: task 1's mIoU without a share of the weights. tasks:
    ``zero_share``. Else ``pick`` takes it. The metric is ``name``, by default the main one.
    """
    if "answer" in cell:
        named = {"task": cell["task"], "metric": cell.get("name") or MAIN[cell["task"]]}
        if cell["answer"] == "best":
            (best,) = best_answers(tables.rows("trivial", "answer", "value", **named)).values()
            return best
        rows = tables.rows("trivial", "value", answer=cell["answer"], **named)
        return float(rows["value"].iloc[0])
    if "pairs" in cell:
        return _kappas(tables, **cell)
    if "places" in cell:
        places = cell.pop("places")
        return _classifier(tables, **cell).pivot_table("rate", "seed", "place")[places].mean(axis=1)
    if "share" in cell:
        where = {"which": "smallest", "norms": "stored"} | cell
        del where["task"]
        return tables.rows("pruned", "seed", "miou", **where).set_index("seed")["miou"]
    if "tasks" in cell:
        return zero_share(_long(tables, "zero_rates", "layer", "rate"), *cell.pop("tasks"), **cell)
    return pick(_long(tables, "scores", "scored", "name", "value"), scored=cell.pop("task"), **cell)


def _long(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """A table with the trials' fields; a CSV has no difference between "" and nothing."""
    texts = ["norms", "loss", "scenes"]
    rows = tables.rows(name, *FIELDS, *columns)
    return rows.assign(**{text: rows[text].astype(object).fillna("") for text in texts})


def _classifier(tables: Tables, **fields: Any) -> pd.DataFrame:
    """Layers of a VGG16's trials; by default of the masks for the second data set."""
    where = {"learned": "masks", "data": 1, "shuffled": False} | fields
    return tables.rows("classifier_zeros", "seed", "place", "rate", "top1", "largest", **where)


def _kappas(tables: Tables, pairs: Sequence[Sequence[str]], name: str = "kappa") -> pd.Series:
    """seed -> mean of a column over some pairs of masks, whichever way round they are stored."""
    rows = tables.rows("similarity", "seed", "a", "b", name)
    wanted = {frozenset(pair) for pair in pairs}
    rows = rows[[frozenset(pair) in wanted for pair in zip(rows["a"], rows["b"], strict=True)]]
    by_seed = rows.groupby("seed")[name]
    return by_seed.mean()[by_seed.count() == len(wanted)]
