"""From trials to tables, pictures, and the numbers that decide the claims.

Masks are compared by how many bits they share. Two independent masks that each use half of the
weights agree on half of them: agreement (the share of equal bits, 1 - XOR) says nothing without
what chance gives. Cohen's kappa is the agreement beyond chance, as a share of the most that is
possible: Cohen, "A coefficient of agreement for nominal scales", 1960.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.continual.losses import gatys
from lib.continual.methods import generator_of, network
from lib.continual.networks import LAYERS
from lib.continual.tasks import Segmentation, Style, grey, in_batches, ssim, stream_task, style_task
from lib.continual.trials import (
    KINDS,
    PLAIN,
    STREAMS,
    TASKS,
    ContinualStudy,
    TaskTrial,
    base,
    norms_of,
)
from lib.data.images import load_images
from lib.engine.sweep import Context
from lib.ledger.claims import Rule
from lib.ledger.estimates import Estimate, mean_interval

MAIN = {"segmentation": "miou", "colour": "mse", "style": "total"}  # what a task is judged by
HIGHER = ("miou", "accuracy", "ssim", "ssim_rgb", "ssim_content")  # better; of others, lower
BASELINES = ("scratch", "fine-tune", "decoder")  # the paper's
ORDERS = ("colour, style", "style, colour")
TITLES = {
    "ewc": "EWC",
    "piggyback": "Piggyback",
    "resblock": "Resblock",
    "resblock+piggyback": "Resblock + Piggyback",
}  # of the methods in figures; the others have their own names
FIELDS = ("method", "task", "norms", "seed", *PLAIN)
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


def nothing_scores(trials: pd.DataFrame) -> dict[int, dict[str, float]]:
    """Task -> its metrics for doing nothing, which the trials of scratch have.

    NaN is the main metric of a task that has not been learned from scratch yet.
    """
    done = trials[(trials.status == "ok") & (trials.method == "scratch")]
    stored = dict(zip(done.task, done.nothing, strict=True)) if len(done) else {}
    return {task: stored.get(task, {main_metric(task): np.nan}) for task in TASKS}


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


def guarded(rule: Rule, estimate: Estimate, nothing: float, *, loss: bool = False) -> Rule:
    """The rule, or one that says "not tested" where doing nothing would get the same answer.

    A method that is "as good as the best" shows nothing if a blank output is so too: then a pass
    is hollow. loss: the claim is that something is lost or bad; where a blank output would not
    count as bad, it is a fail that is hollow. nothing: the quantity for doing nothing.
    """
    passes = rule.low < estimate.low and estimate.high < rule.high
    hollow = (rule.low < nothing < rule.high) != loss
    return replace(rule, least=10**9) if hollow and passes != loss else rule


def best_baseline(rows: pd.DataFrame, task: int) -> str:
    """The paper's baseline with the best mean in a task."""
    means = {method: pick(rows, method, task).mean() for method in BASELINES}
    best = max if main_metric(task) in HIGHER else min
    return best(BASELINES, key=lambda method: means[method])


def table_2(rows: pd.DataFrame, nothing: dict[int, dict[str, float]]) -> pd.DataFrame:
    """Each task's numbers by method: n, mean, std and interval; and for doing nothing."""
    table = []
    for task in TASKS:
        for name, of_nothing in nothing[task].items():
            for method in STREAMS:
                values = pick(rows, method, task, name=name)
                shown = {"task": task, "metric": name, "method": method, "n": len(values)}
                shown |= {"mean": values.mean(), "std": values.std()}
                if len(values):
                    interval = mean_interval(values.to_numpy())
                    shown |= {"low": interval.low, "high": interval.high}
                table.append(shown | {"nothing": of_nothing})
    columns = ["task", "metric", "method", "n", "mean", "std", "low", "high", "nothing"]
    return pd.DataFrame(table, columns=columns)


def forgetting(rows: pd.DataFrame, method: str) -> np.ndarray:
    """(5, 5): mean of task j's main metric (column) after task i was learned (row); NaN above."""
    matrix = np.full((len(TASKS), len(TASKS)), np.nan)
    for after in TASKS:
        for scored in range(1, after + 1):
            matrix[after - 1, scored - 1] = pick(rows, method, scored, after=after).mean()
    return matrix


def share_left(matrix: np.ndarray, nothing: np.ndarray) -> np.ndarray:
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
    changes: list[float] = []
    for scored in TASKS[:-1]:
        before = pick(rows, method, scored)
        for after in range(scored + 1, len(TASKS) + 1):
            changes += (pick(rows, method, scored, after=after) - before).abs().dropna().tolist()
    if not changes:
        return Estimate(np.nan, np.nan, np.nan, 0)
    return Estimate(max(changes), min(changes), max(changes), len(changes))


def zero_rate_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a layer of each masked trial: the trial's fields, ``layer``, ``rate``, ``place``."""
    stored = trials.zero_rates.notna() if "zero_rates" in trials else False
    done = trials[(trials.status == "ok") & stored]
    layers = pd.DataFrame(
        (
            [*(getattr(row, field) for field in FIELDS), name, rate, place]
            for row in done.itertuples()
            for place, (name, rate) in enumerate(row.zero_rates.items())
        ),
        columns=[*FIELDS, "layer", "rate", "place"],
    )
    short = layers["layer"].str.replace(r"^(encoder|decoder)\.", "", regex=True)
    short = short.str.replace(".conv", "", regex=False)
    # a record has a U-Net's layers in the order of their names
    places = short.map({name: place for place, name in enumerate(LAYERS)})
    return layers.assign(layer=short, place=places.fillna(layers["place"]).astype(int))


def zero_share(trials: pd.DataFrame, method: str, task: int, **fields: Any) -> pd.Series:
    """seed -> mean zero rate of a mask's layers; by default of the main table's."""
    layers = zero_rate_rows(trials)
    return layers[_of_trial(layers, method, task, fields)].groupby("seed").rate.mean()


@dataclass(frozen=True)
class Similarity:
    """Two masks compared over all their bits.

    agreement: share of equal bits. chance: expected of independent masks with these two densities.
    kappa: (agreement - chance) / (1 - chance); NaN for masks that are both constant and equal.
    null_mean, null_low, null_high: kappa's mean and central 95 % when the positions of one mask
        are permuted inside each layer. The mean is above 0 where both masks use the same layers
        more: then kappa above 0 needs no common weight.
    p: share of permutations that agree as much or more (one-sided), never below 1 / (draws + 1).
    """

    bits: int
    agreement: float
    chance: float
    kappa: float
    null_mean: float
    null_low: float
    null_high: float
    p: float


def similarity(a: Masks, b: Masks, *, draws: int = 9999, seed: int = 0) -> Similarity:
    """Compare two masks of the same layers; of one layer, if the mappings have only that.

    No bit is moved for the null: permuted inside its layer, the number of weights that both use is
    hypergeometric, and is drawn as such.
    Raises ValueError for masks of other layers or shapes, and for tensors that are not bool.
    """
    bits, of_a, of_b, both = _counts(a, b).T
    rng = np.random.default_rng(seed)
    drawn = rng.hypergeometric(of_a, bits - of_a, of_b, size=(draws, len(bits))).sum(1)
    total = bits.sum()
    used_a, used_b = of_a.sum() / total, of_b.sum() / total

    def agreement(shared: np.ndarray) -> np.ndarray:
        return (total - of_a.sum() - of_b.sum() + 2 * shared) / total

    low, high = np.quantile(kappa(agreement(drawn), used_a, used_b), [0.025, 0.975])
    return Similarity(
        int(total),
        float(agreement(both.sum())),
        float(chance(used_a, used_b)),
        float(kappa(agreement(both.sum()), used_a, used_b)),
        float(kappa(agreement((of_a * (of_b / bits)).sum()), used_a, used_b)),
        float(low),
        float(high),
        float((1 + (drawn >= both.sum()).sum()) / (draws + 1)),
    )


def kappa(agreement: np.ndarray | float, used_a: float, used_b: float) -> np.ndarray | float:
    """Cohen's kappa of two masks from their agreement and the shares of weights they use."""
    expected = chance(used_a, used_b)
    return (agreement - expected) / (1 - expected) if expected < 1 else agreement * np.nan


def chance(used_a: float, used_b: float) -> float:
    """The agreement of independent masks that use these shares of the weights."""
    return used_a * used_b + (1 - used_a) * (1 - used_b)


def _counts(a: Masks, b: Masks) -> np.ndarray:
    """(layers, 4): bits, those used by a, by b, by both."""
    shapes = [{name: tuple(mask.shape) for name, mask in masks.items()} for masks in (a, b)]
    if shapes[0] != shapes[1] or not a:
        raise ValueError(f"the masks are not of the same layers: {shapes[0]} and {shapes[1]}")
    if any(mask.dtype != torch.bool for masks in (a, b) for mask in masks.values()):
        raise ValueError("masks are bool tensors")
    rows = [(x.numel(), x, b[name], x & b[name]) for name, x in a.items()]
    return np.array([(n, *(int(m.count_nonzero()) for m in parts)) for n, *parts in rows])


def compare_masks(masks: dict[tuple[int, str], Masks], draws: int = 999) -> pd.DataFrame:
    """Every pair of masks of one seed (see ``Similarity``). masks: (seed, label) -> masks."""
    return pd.DataFrame(
        {"seed": seed, "a": a, "b": b}
        | asdict(similarity(masks[seed, a], masks[seed, b], draws=draws, seed=seed))
        for (seed, a), (other, b) in combinations(masks, 2)
        if seed == other
    )


def kappas(pairs: pd.DataFrame, a: str, b: str) -> pd.Series:
    """seed -> kappa of one pair, whichever way round it is stored."""
    same = ((pairs.a == a) & (pairs.b == b)) | ((pairs.a == b) & (pairs.b == a))
    return pairs[same].set_index("seed")["kappa"]


@torch.no_grad()
def chains(
    colour: TaskTrial, style: TaskTrial, images: Tensor, context: Context
) -> dict[tuple[str, str], Tensor]:
    """(order, way) -> what two tasks' residual blocks make of (N, 3, H, W) images turned grey.

    Blocks map features to features, so that those of two tasks may follow each other in one pass
    ("chained"). The other way decodes the first task's image and encodes it again ("re-encoded").
    Besides, without a way: each task alone, and neither, which is the auto-encoder.
    Raises ValueError for trials that do not share their auto-encoder.
    """
    if base(colour) != base(style):
        raise ValueError("only blocks of the same auto-encoder can follow one another")
    net, inputs = generator_of([colour, style], context), grey(images)

    def run(inputs: Tensor, *tasks: str) -> Tensor:
        return in_batches(lambda x: net(x, *tasks), inputs)

    names = f"t{colour.task}", f"t{style.task}"
    outputs = {}
    for order, (first, second) in zip(ORDERS, (names, names[::-1]), strict=True):
        outputs[order, "chained"] = run(inputs, first, second)
        outputs[order, "re-encoded"] = run(run(inputs, first), second)
    single = {"colour only": names[:1], "style only": names[1:], "neither": ()}
    return outputs | {(title, ""): run(inputs, *tasks) for title, tasks in single.items()}


@torch.no_grad()
def compare_chains(colour: TaskTrial, style: TaskTrial, context: Context) -> pd.DataFrame:
    """``chains`` on the test images, by the style task's losses for the photograph in its colours.

    Columns: order, way, total, style, content, ssim_between (of both ways).
    """
    task = style_task(style.stream, style.task, context)
    outputs = chains(colour, style, task.images, context)
    table = pd.DataFrame(
        {"order": order, "way": way} | task.losses(output, task.images)
        for (order, way), output in outputs.items()
    )
    between = {o: ssim(outputs[o, "chained"], outputs[o, "re-encoded"]) for o in ORDERS}
    table["ssim_between"] = table["order"].map(between)
    return table[["order", "way", "total", "style", "content", "ssim_between"]]


def shown_images(
    sizes: ContinualStudy, number: int, context: Context
) -> tuple[Tensor, Tensor | None]:
    """Pictures (N, 3, S, S) in [0, 1] and their label maps (N, S, S).

    The test set's first four of a task, or those that the profile names, which have no label maps.
    """
    if sizes.pictures:
        _, images = load_images(sizes.pictures, size=sizes.stream.size, channels=3)
        return images.to(context.device).float() / 255, None
    task = stream_task(sizes.stream, number, context)
    return task.images[:4], task.test.labels[:4].long()


@torch.no_grad()
def pictures_by_method(
    trials: Mapping[str, TaskTrial], images: Tensor, labels: Tensor | None, context: Context
) -> dict[str, Tensor]:
    """The input, the target, and what each of the trials of one task gives, (N, 3, S, S) each.

    The target of a style is Gatys' picture; without label maps that of a segmentation is white.
    """
    trial = next(iter(trials.values()))
    task = stream_task(trial.stream, trial.task, context)
    if isinstance(task, Style):
        target = gatys(task.perceptual, images, steps=trial.stream.gatys_steps)
    elif isinstance(task, Segmentation) and labels is None:
        target = torch.ones_like(images)
    else:
        target = task.target_image(images, torch.zeros(0) if labels is None else labels)
    pictures = {"input": task.inputs(images), "target": target}
    for title, trial in trials.items():
        output = network(trial, context)(task.inputs(images)).float()
        pictures[title] = task.picture(output, images, trial.on_images)
    return pictures
