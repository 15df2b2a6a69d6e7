"""From records to tables, and from tables to the quantities that claims judge.

Among the sources of a network "general" is the one trained on most (ImageNet), "other" the one with
unrelated class names (Places365 in the paper), "stage" the task in between (Caltech-256).

Where the target has parts, such as five of 20 classes that share none, each is a target: what is
said of ranks and accuracies is the mean over these, with an interval over them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy import stats

from lib.figures.charts import readable
from lib.ledger.estimates import (
    MEASURES,
    RESAMPLES,
    Estimate,
    agreement,
    bootstrap,
    kendall,
    kendall_of_groups,
    mean_interval,
    pairs_in_order,
)
from lib.ledger.tables import Missing, Tables, estimate_table
from lib.networks.sources import ARCHITECTURES
from lib.transfer.scores import SCORES
from lib.transfer.sources import UNTRAINED, source_name
from lib.transfer.trials import PERMUTATIONS, TransferStudy

KEYS, MODEL = ["network", "source"], ["target", "network", "source"]
IMAGENET = "ImageNet accuracy"  # the trivial ranker
RANDOM = "random choice"
NEAR_BEST = 0.2  # accuracy: sources that end this close to a network's best one
LEARNED = 2  # times chance: a model that ends below has learned nothing, early or late
POOLS = (3, 5)  # models that a choice is made from
# what ranks: every score, and the EMD of classes whose own words all have a vector
RANKERS = SCORES | {"own_emd": -1, "own_normalised_emd": -1}
DRAWS = 400  # of a bootstrap


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A sweep's finished rows, with the network, the source's name and the target's."""
    table = table[table["status"] == "ok"].reset_index(drop=True)
    table["network"] = [fields["architecture"] for fields in table["source"]]
    table["source"] = [source_name(fields) for fields in table["source"]]
    table["target"] = [fields["name"] for fields in table["target"]]
    return table.assign(momentum=table["recipe"].str["momentum"]) if "recipe" in table else table


def written_out(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its networks, sources and scores as figures call them."""
    columns = [name for name in (*KEYS, "score") if name in table]
    return table.assign(**{name: table[name].map(readable) for name in columns})


def accuracies(fine: pd.DataFrame, metric: str = "best") -> pd.DataFrame:
    """Mean of a metric over seeds: ``MODEL``, value, low, high (NaN for a single seed), n."""
    groups = fine.groupby(MODEL, sort=False)[metric]
    table = estimate_table(MODEL, ((*names, mean_interval(part)) for names, part in groups))
    return table.replace([-np.inf, np.inf], np.nan)


def curves(fine: pd.DataFrame) -> pd.DataFrame:
    """network, source, epoch, accuracy, low, high as shares: mean and range of the seeds."""
    runs = fine[[*KEYS, "curve"]].explode("curve").astype({"curve": float})
    runs["epoch"] = runs.groupby(level=0).cumcount() + 1
    lines = runs.groupby([*KEYS, "epoch"], sort=False)["curve"]
    return lines.agg(accuracy="mean", low="min", high="max").div(100).reset_index()


def best_curves(lines: pd.DataFrame) -> pd.DataFrame:
    """Of ``curves``, the sources near a network's best, after the rise; none where all are near."""
    last = lines[lines["epoch"] == lines["epoch"].max()].set_index(KEYS)["accuracy"]
    near = last > last.groupby("network").transform("max") - NEAR_BEST
    near &= ~near.groupby("network").transform("all")
    late = lines["epoch"] >= lines["epoch"].quantile(0.25)
    return lines[near.loc[pd.MultiIndex.from_frame(lines[KEYS])].to_numpy() & late]


def table_1(fine: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's table with intervals in text, and what it lacks; of one target.

    coverage: of the words in the names of the source's classes, as every EMD hangs on it.
    """
    shown = scores[KEYS].copy()
    for name, digits in (("softmax", 1), ("emd", 0), ("normalised_emd", 3)):
        shown[name] = _texts(scores[[name, f"{name}_low", f"{name}_high"]], digits)
    shown["coverage"] = scores["source_word_coverage"].round(2).to_numpy()
    titles = {"best": "max accuracy %", "chosen": "chosen by halves %"}
    for metric, title in (titles | {"best_epoch": "epoch", "reached": "epochs to 95 %"}).items():
        means = scores[MODEL].merge(accuracies(fine, metric), on=MODEL)
        texts = _texts(means[["value", "low", "high"]], 1)
        shown[title] = texts if metric in titles else means["value"].round(1).to_numpy()
    return shown


def _texts(rows: pd.DataFrame, digits: int) -> list[str]:
    """Each row's number, and its interval where it has one."""
    number = f"{{:,.{digits}f}}"
    with_ends = f"{number} [{number}, {number}]"
    return [(number if np.isnan(row[1]) else with_ends).format(*row) for row in rows.to_numpy()]


def against_accuracy(fine: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row a target, model and score, with intervals; accuracies as shares."""
    means = accuracies(fine).set_index(MODEL)[["value", "low", "high"]] / 100
    means.columns = ["accuracy", "accuracy_low", "accuracy_high"]
    parts = []
    for name in RANKERS:
        low, high = (scores.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
        part = scores[[*MODEL, "images", "outputs"]].assign(score=name, value=scores.get(name))
        parts += [part.assign(low=low, high=high)] if name in scores else []
    return pd.concat(parts, ignore_index=True).merge(means.reset_index(), on=MODEL)


def models(points: pd.DataFrame) -> pd.DataFrame:
    """``against_accuracy`` as one row a model: ``MODEL``, accuracy, and all that ranks.

    In each score more is better. Two rankers look at no score: a random choice, for which all
    models are the same, and the published ImageNet accuracy, 0 for what was never trained on it,
    where any was.
    """
    signed = points.assign(value=points["value"] * points["score"].map(RANKERS))
    table = signed.pivot_table("value", [*MODEL, "accuracy"], "score", sort=False).reset_index()
    facts = table["network"].map(ARCHITECTURES.get, na_action="ignore")
    published = facts.str.get("imagenet_accuracy").astype(float)
    published = published.where(table["source"].str.startswith("imagenet")).fillna(0.0)
    return table.assign(**{RANDOM: 0.0} | ({IMAGENET: published} if published.any() else {}))


def rankers(table: pd.DataFrame) -> list[str]:
    """The columns of ``models`` that rank: every score, and ImageNet accuracy where it can."""
    return [name for name in (*RANKERS, IMAGENET) if name in table and table[name].any()]


def of_parts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the target's parts where it has any, as these share no image; else all."""
    parts = table["target"].str.contains("/")
    return table[parts] if parts.any() else table


def of_whole(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the whole target; until it has all models, of the first part that has."""
    counts = table.drop_duplicates(MODEL)["target"].value_counts()
    done = counts[counts == counts.max()].index
    return table[table["target"] == min(done, key=lambda name: ("/" in name, name))]


def groups(sizes: TransferStudy) -> dict[str, list[str]]:
    """Each network with enough sources to be ranked, then all together."""
    networks = {f.architecture: [f.architecture] for f in sizes.families if f.staged}
    return networks | {"all": [family.architecture for family in sizes.families]}


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the targets that have all models, in a run that grows."""
    if (rows := rows.dropna()).empty:
        raise Missing("no model has all that this needs")
    counts = rows.groupby("target")["target"].transform("size")
    return rows[counts == counts.max()]


def correlation(rows: pd.DataFrame) -> Estimate:
    """``kendall_of_groups`` of a table of score, truth and group; ``Missing`` for too few."""
    if len(rows) < POOLS[0]:
        raise Missing(f"{len(rows)} models cannot be ranked")
    return kendall_of_groups(rows, draws=DRAWS)


def _over_targets(
    rows: pd.DataFrame,
    statistic: Callable[[pd.DataFrame], float] = lambda part: kendall(*part.to_numpy().T),
    single: Callable[[pd.DataFrame], Estimate] = correlation,
) -> Estimate:
    """Mean of a statistic of each target's models, with an interval over targets.

    The models are the same for all: the interval is about targets alone. single: the estimate,
    with an interval over models, where there is one target.
    """
    parts = [part.drop(columns="target") for _, part in _complete(rows).groupby("target")]
    if len(parts) == 1:
        return single(parts[0])
    return mean_interval(np.array([statistic(part) for part in parts]))


def taus(fine: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau of every score, target by target and seed by seed: score, target, seed, tau."""
    rows = []
    for seed, part in of_parts(fine).groupby("seed"):
        table = models(against_accuracy(part, scores))
        for (target, some), score in product(table.groupby("target"), rankers(table)):
            pairs = some[[score, "accuracy"]].dropna().to_numpy().T
            rows.append((score, target, seed, agreement(*pairs)))
    return pd.DataFrame(rows, columns=["score", "target", "seed", "tau"])


def rank_correlations(table: pd.DataFrame, networks: dict[str, list[str]]) -> pd.DataFrame:
    """Rank correlations with accuracy in each of ``groups``: group, score, measure, value, ...

    Over targets; of a single one the interval is a bootstrap of the models, in which a model drawn
    twice is tied with itself.
    """
    rows = []
    for group, members in networks.items():
        part = of_parts(table[table["network"].isin(members)])
        for score, measure in product(rankers(part), MEASURES):
            statistic = partial(lambda p, by: agreement(p.iloc[:, 0], p.iloc[:, 1], by), by=measure)
            single = partial(bootstrap, statistic, draws=DRAWS)
            found = _over_targets(part[[score, "accuracy", "target"]], statistic, single)
            rows.append((group, score, measure, found))
    return estimate_table(["group", "score", "measure"], rows)


def chosen_accuracy(score: np.ndarray, accuracy: np.ndarray, pool: int = POOLS[0]) -> np.ndarray:
    """Mean accuracy of the model that a score (models,) puts first, over all pools of models.

    accuracy: (..., models). Models that share the highest score of a pool share the choice.
    """
    pools = np.array(list(combinations(range(len(score)), pool)))
    first = score[pools] == score[pools].max(1, keepdims=True)
    return ((accuracy[..., pools] * first).sum(-1) / first.sum(-1)).mean(-1)


def regrets(table: pd.DataFrame, networks: dict[str, list[str]]) -> pd.DataFrame:
    """Accuracy lost by a ranker's choice against the best of a pool, mean over pools and targets.

    score, network (the group), pool (models in it), regret as a share.
    """
    rows = []
    for (group, members), pool in product(networks.items(), POOLS):
        part = of_parts(table[table["network"].isin(members)])
        enough = len(part.drop_duplicates(KEYS)) >= pool  # not so in a run that has just begun
        for score in (*rankers(part), RANDOM) if enough else ():
            lost = []
            for _, some in _complete(part[[score, "accuracy", "target"]]).groupby("target"):
                values, accuracy = some[[score, "accuracy"]].to_numpy().T
                best = chosen_accuracy(accuracy, accuracy, pool)
                lost.append(best - chosen_accuracy(values, accuracy, pool))
            rows.append((score, group, pool, float(np.mean(lost))))
    return pd.DataFrame(rows, columns=["score", "network", "pool", "regret"])


# The quantities of claims.yaml. They take the tables that the notebook saves.


def rank(
    tables: Tables, score: str, within: bool = False, table: str = "scores", trained: bool = False
) -> Estimate:
    """Kendall's tau of a score and accuracy; within: over pairs of models of one network only.

    table: scores, or unfrozen for the control in which nothing is. trained: without models that
    learned nothing before the fine-tuning, which any score may tell from the others.
    """
    rows = _models(tables, [score], within, table, trained)
    return _over_targets(rows[[score, "accuracy", "group", "target"]])


def early(tables: Tables, score: str) -> Estimate:
    """Kendall's tau of a score and few epochs to 95 %, over pairs of models of one network.

    Models that learned nothing, in the mean over targets, are left out: they end where they start.
    """
    runs = tables.rows("fine_tunings", *MODEL, "best", "chance", "reached")
    means = runs.groupby(MODEL, as_index=False)[["best", "chance", "reached"]].mean()
    ends = means.groupby(KEYS)[["best", "chance"]].transform("mean")
    learned = means[ends["best"] > LEARNED * ends["chance"]]
    rows = _models(tables, [score], within=True).merge(learned, on=MODEL)
    return _over_targets(rows.assign(soon=-rows["reached"])[[score, "soon", "group", "target"]])


def better(tables: Tables, first: str, second: str, within: bool = False) -> Estimate:
    """Kendall's tau of one score less that of another, paired by target, see ``rank``.

    p, of a single target: of the test that swaps the two scores' ranks of any of the models.
    """
    rows = _models(tables, [first, second], within)

    def difference(drawn: pd.DataFrame) -> float:
        one, two, accuracy, group = drawn.to_numpy().T
        return kendall(one, accuracy, group) - kendall(two, accuracy, group)

    def swapped(part: pd.DataFrame) -> Estimate:
        _, _, accuracy, group = part.to_numpy().T
        in_order = pairs_in_order(accuracy, group)
        test = stats.permutation_test(
            part[[first, second]].rank().to_numpy().T,
            lambda one, two, axis: in_order(one) - in_order(two),
            permutation_type="samples",
            n_resamples=RESAMPLES,
            rng=0,
        )
        return replace(bootstrap(difference, part, draws=DRAWS), p=float(test.pvalue))

    return _over_targets(rows[[first, second, "accuracy", "group", "target"]], difference, swapped)


def choice(tables: Tables, score: str, over: str, trained: bool = False) -> Estimate:
    """Points of accuracy that a choice by one ranker gains over that by another, over targets.

    The mean over all pools of three models. The models are those of the run, with trained those
    alone that learned before the fine-tuning; of a single target the interval is about the chance
    of their fine-tunings alone, over seeds.
    """
    rows = _models(tables, [score, over], trained=trained)
    rows = _complete(rows[[*MODEL, *dict.fromkeys([score, over])]])
    runs = of_parts(tables.rows("fine_tunings", *MODEL, "seed", "best"))
    gains = []
    for target, part in rows.groupby("target"):
        best = runs[runs["target"] == target].pivot_table("best", "seed", KEYS)
        accuracy = best.reindex(columns=pd.MultiIndex.from_frame(part[KEYS])).to_numpy()
        one, other = (chosen_accuracy(part[s].to_numpy(), accuracy) for s in (score, over))
        index = pd.MultiIndex.from_product([[target], best.index], names=["target", "seed"])
        gains.append(pd.Series(one - other, index))
    return _paired(pd.concat(gains))


def level(tables: Tables, score: str, source: str) -> Estimate:
    """A score of one of the paper's sources, with its interval over images."""
    rows = tables.rows("scores", *MODEL, "value", "low", "high", "images", score=score)
    row = _of_role(of_whole(rows), source).iloc[0]
    return Estimate(row["value"], row["low"], row["high"], int(row["images"]))


def ratio(tables: Tables, score: str, source: str, over: str, by_classes: bool = False) -> Estimate:
    """A score of one source over that of another; two independent intervals over images.

    by_classes: over the same ratio of uniform outputs, whose softmax scores are images / classes.
    """
    one, other = (level(tables, score, role) for role in (source, over))
    rows = of_whole(tables.rows("scores", *MODEL, "outputs", score=score))
    classes = [_of_role(rows, role)["outputs"].iloc[0] for role in (source, over)]
    value = one.value / other.value * (classes[0] / classes[1] if by_classes else 1)
    half = np.exp(np.hypot(*(np.log(found.high / found.low) / 2 for found in (one, other))))
    return Estimate(value, value / half, value * half, one.n, log=True)


def names(tables: Tables, source: str) -> Estimate:
    """Normalised EMD of a source less that with permuted class names; middle 95 % of these."""
    columns = ("normalised_emd", "shuffled", "shuffled_low", "shuffled_high")
    row = _of_role(tables.rows("shuffled", *KEYS, *columns), source).iloc[0]
    true, mean, low, high = (float(row[column]) for column in columns)
    return Estimate(true - mean, true - high, true - low, PERMUTATIONS)


def points(tables: Tables, source: str, over: str) -> Estimate:
    """Points of accuracy of one of the paper's sources over another, paired by target and seed."""
    rows = of_parts(tables.rows("fine_tunings", *MODEL, "seed", "best"))
    rows = rows.set_index(["target", "seed"])
    return _paired(_of_role(rows, source)["best"] - _of_role(rows, over)["best"])


def gain(tables: Tables, source: str) -> Estimate:
    """Points of accuracy of a source over the most frequent class, its epoch chosen by halves."""
    rows = of_parts(tables.rows("fine_tunings", *MODEL, "seed", "chosen", "chance"))
    rows = _of_role(rows.set_index(["target", "seed"]), source)
    return _paired(rows["chosen"] - rows["chance"])


def flattery(tables: Tables) -> Estimate:
    """Points that the best test epoch is above one chosen by halves, over models.

    Half of the images choose with more noise than all would: the true number is smaller.
    """
    rows = tables.rows("fine_tunings", *KEYS, "best", "chosen")
    return mean_interval((rows["best"] - rows["chosen"]).groupby([rows[k] for k in KEYS]).mean())


def _models(
    tables: Tables,
    scores: list[str],
    within: bool = False,
    table: str = "scores",
    trained: bool = False,
) -> pd.DataFrame:
    """``models`` of a run; group: the models whose order counts, all or those of one network."""
    rows = models(of_parts(tables.rows(table, *MODEL, "score", "value", "accuracy")))
    if absent := [score for score in scores if score not in rows]:
        raise Missing(f"no model of this run has a score {', '.join(absent)}")
    rows = rows[rows["source"] != UNTRAINED] if trained else rows
    return rows.assign(group=pd.factorize(rows["network"])[0] if within else 0)


def _of_role(rows: pd.DataFrame, role: str) -> pd.DataFrame:
    """The rows of the source with a role, such as "other & stage", in the first staged network.

    The paper's six sources have one order: untrained, general, general & stage, other, ...
    """
    staged = rows[rows["source"].str.contains(" & ")]
    own = rows[rows["network"].isin(staged["network"].head(1))]
    two = [name.split(" & ") for name in own["source"].unique() if " & " in name]
    if len(two) != 2:
        raise Missing("the two sources that were fine-tuned on a task in between are not there")
    (general, stage), (other, _) = two
    parts = {"untrained": UNTRAINED, "general": general, "other": other, "stage": stage}
    source = " & ".join(parts[part] for part in role.split(" & "))
    if (rows := own[own["source"] == source]).empty:
        raise Missing(f"the source {source} is not there")
    return rows


def _paired(values: pd.Series) -> Estimate:
    """Mean of paired differences by (target, seed): over targets, or over the seeds of one."""
    if (values := values.dropna()).empty:
        raise Missing("no seed has all the fine-tunings that this needs")
    by_target = values.groupby("target").mean()
    return mean_interval((by_target if len(by_target) > 1 else values).to_numpy())
