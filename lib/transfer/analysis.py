"""From records to tables, and every claim of the paper with its rule.

Among the sources "general" is the one trained on most (ImageNet), "other" the one with unrelated
class names (Places365 in the paper), "stage" the task in between (Caltech-256).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lib.figures.charts import readable
from lib.ledger.claims import Evidence, Ledger, above, below, between
from lib.ledger.estimates import Estimate, mean_interval
from lib.transfer.agreement import MEASURES, kendall, over_models, selection_regret
from lib.transfer.scores import SCORES
from lib.transfer.sources import source_name
from lib.transfer.trials import TransferStudy

KEYS = ["network", "source"]
UNTRAINED = "no training"
IMAGENET = "ImageNet accuracy"  # the trivial ranker
RANDOM = "random choice"
# top-1 on ImageNet in per cent, published with the weights; what was never trained on it has 0
IMAGENET_ACCURACY = dict(mobilenet_v2=70.8, squeezenet1_1=58.2, alexnet=56.5, resnet18=69.8)
NEAR_BEST = 0.2  # accuracy: sources that end this close to a network's best one
PAPER_SCORES = ("softmax", "emd")
LEAST = 5  # models: fewer cannot be ranked with any certainty


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A sweep's finished rows, with the network and the source's name as in the paper's table."""
    table = table[table["status"] == "ok"].reset_index(drop=True)
    table["network"] = [fields["architecture"] for fields in table["source"]]
    table["source"] = [source_name(fields) for fields in table["source"]]
    if "recipe" in table:
        table["momentum"] = [fields["momentum"] for fields in table["recipe"]]
    return table


def written_out(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its networks, sources and scores as figures call them."""
    columns = [name for name in (*KEYS, "score") if name in table]
    return table.assign(**{name: table[name].map(readable) for name in columns})


def accuracies(fine: pd.DataFrame, momentum: float, metric: str = "best") -> pd.DataFrame:
    """Mean of a metric over seeds: network, source, value, low, high, n; in the metric's units.

    low, high: Student's t over seeds; NaN for a single one.
    """
    rows = []
    for key, group in fine[fine["momentum"] == momentum].groupby(KEYS, sort=False):
        mean = mean_interval(group[metric])
        ends = (mean.low, mean.high) if mean.n > 1 else (np.nan, np.nan)
        rows.append((*key, mean.value, *ends, mean.n))
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "n"])


def curves(fine: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """network, source, epoch, accuracy, low, high as shares: mean and range of the seeds."""
    rows = []
    for key, group in fine[fine["momentum"] == momentum].groupby(KEYS, sort=False):
        runs = np.array(group["curve"].tolist()) / 100
        for epoch, values in enumerate(runs.T, start=1):
            rows.append((*key, epoch, values.mean(), values.min(), values.max()))
    return pd.DataFrame(rows, columns=[*KEYS, "epoch", "accuracy", "low", "high"])


def best_curves(lines: pd.DataFrame) -> pd.DataFrame:
    """Of ``curves``, the sources that end ``NEAR_BEST`` to a network's best, after the rise.

    Networks where all of them do are left out: there is nothing to be seen closer.
    """
    last = lines[lines["epoch"] == lines["epoch"].max()].set_index(KEYS)["accuracy"]
    near = last > last.groupby("network").transform("max") - NEAR_BEST
    near &= ~near.groupby("network").transform("all")
    late = lines["epoch"] >= lines["epoch"].quantile(0.25)
    return lines[near.loc[pd.MultiIndex.from_frame(lines[KEYS])].to_numpy() & late]


def table_1(fine: pd.DataFrame, scores: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """The paper's table with intervals in text, and what it lacks."""
    rows = scores.set_index(KEYS)
    shown = pd.DataFrame(index=rows.index)
    for name, digits in (("softmax", 1), ("emd", 0), ("normalised_emd", 3)):
        shown[name] = _texts(rows[[name, f"{name}_low", f"{name}_high"]], digits)
    for metric, title in (("best", "max accuracy %"), ("chosen", "chosen by halves %")):
        means = accuracies(fine, momentum, metric).set_index(KEYS).loc[rows.index]
        shown[title] = _texts(means[["value", "low", "high"]], 1)
    for metric, title in (("best_epoch", "epoch"), ("reached", "epochs to 95 %")):
        means = accuracies(fine, momentum, metric).set_index(KEYS).loc[rows.index]
        shown[title] = means["value"].round(1)
    return shown.reset_index()


def _texts(rows: pd.DataFrame, digits: int) -> list[str]:
    """Each row's number, and its interval where it has one."""
    return [
        f"{value:,.{digits}f}"
        + ("" if np.isnan(low) else f" [{low:,.{digits}f}, {high:,.{digits}f}]")
        for value, low, high in rows.to_numpy(float)
    ]


def against_accuracy(fine: pd.DataFrame, scores: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """One row a model and score, with intervals; accuracies as shares, for the figure."""
    means = accuracies(fine, momentum).set_index(KEYS)[["value", "low", "high"]] / 100
    means.columns = ["accuracy", "accuracy_low", "accuracy_high"]
    rows = [
        (row["network"], row["source"], name, row[name], row[f"{name}_low"], row[f"{name}_high"])
        for _, row in scores.iterrows()
        for name in SCORES
    ]
    long = pd.DataFrame(rows, columns=[*KEYS, "score", "value", "low", "high"])
    return long.merge(means.reset_index(), on=KEYS)


def models(fine: pd.DataFrame, scores: pd.DataFrame, momentum: float) -> pd.DataFrame:
    """One row a model: network, source, accuracy in per cent, and every score, more is better.

    The trivial ranker is among them: the published ImageNet accuracy of what was trained on it.
    """
    means = accuracies(fine, momentum).rename(columns={"value": "accuracy"})
    table = scores[[*KEYS, *SCORES]].merge(means[[*KEYS, "accuracy"]], on=KEYS)
    table[list(SCORES)] *= list(SCORES.values())
    published = table["network"].map(IMAGENET_ACCURACY).fillna(0.0)
    return table.assign(
        **{IMAGENET: published.where(table["source"].str.startswith("imagenet"), 0.0)}
    )


def rankers(table: pd.DataFrame) -> list[str]:
    """The columns of ``models`` that rank: every score, and ImageNet accuracy where it can."""
    return [*SCORES, *([IMAGENET] if table[IMAGENET].any() else [])]


def groups(sizes: TransferStudy) -> dict[str, list[str]]:
    """Each network with enough sources to be ranked, then all together."""
    networks = {f.architecture: [f.architecture] for f in sizes.families if f.staged}
    return networks | {"all": [family.architecture for family in sizes.families]}


def rank_correlations(table: pd.DataFrame, networks: dict[str, list[str]]) -> pd.DataFrame:
    """Rank correlations with accuracy: group, score, measure, value, low, high, n.

    networks: see ``groups``; the models of a group's networks are ranked together.
    """
    rows = []
    for group, members in networks.items():
        part = table[table["network"].isin(members)]
        for score in rankers(part):
            for name, measure in MEASURES.items():
                found = over_models(measure, part[score], part["accuracy"])
                rows.append((group, score, name, found.value, found.low, found.high, found.n))
    columns = ["group", "score", "measure", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def regrets(table: pd.DataFrame, networks: dict[str, list[str]]) -> pd.DataFrame:
    """Accuracy lost by each ranker's first model, as a share: score, network (group), regret."""
    rows = []
    for group, members in networks.items():
        part = table[table["network"].isin(members)]
        for score in rankers(part):
            rows.append((score, group, selection_regret(part[score], part["accuracy"]) / 100))
        rows.append((RANDOM, group, (part["accuracy"].max() - part["accuracy"].mean()) / 100))
    return pd.DataFrame(rows, columns=["score", "network", "regret"])


@dataclass(frozen=True)
class Results:
    """What a run has given: named tables of the fine-tunings and scores, one row a model."""

    sizes: TransferStudy
    fine: pd.DataFrame
    scores: pd.DataFrame
    models: pd.DataFrame

    @property
    def network(self) -> str:
        """The first network, whose sources are those of the paper's table."""
        return self.sizes.families[0].architecture

    @property
    def other(self) -> str:
        """The second base of that network."""
        return self.sizes.families[0].bases[1]

    def staged(self, base: str) -> str:
        """The name of a base fine-tuned on the stage."""
        return f"{base} & {self.sizes.stage}"

    def source(self, name: str) -> pd.Series:
        """The scores of the first network's source."""
        rows = self.scores[self.scores["network"] == self.network]
        return rows.set_index("source").loc[name]

    def score(self, source: str, name: str) -> Estimate:
        """A score of the first network's source, with its interval over images.

        shuffled: the normalised EMD with permuted class names and the range of permutations.
        """
        row = self.source(source)
        return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], int(row["images"]))

    def gain(self, source: str, over: str) -> Estimate:
        """Accuracy points of one source over another, paired by seed."""
        rows = self.fine[self.fine["momentum"] == self.sizes.momenta[0]]
        best = rows[rows["network"] == self.network].set_index(["source", "seed"])["best"]
        return mean_interval((best[source] - best[over]).dropna())


def enter_claims(book: Ledger, results: Results) -> None:
    """Judge every claim and enter it."""
    _enter_ranks(Evidence(book, "figures/agreement.png"), results)
    _enter_choices(Evidence(book, "figures/regret.png"), results)
    _enter_vocabulary(Evidence(book, "tables/table_1.csv"), results)
    _enter_accuracy(Evidence(book, "figures/curves.png"), results)


def _enter_ranks(entry: Evidence, results: Results) -> None:
    """Better score, higher accuracy, fewer epochs; then the scores that the paper does not have."""
    rows, constant = results.models, "constant score: 0"
    add = partial(entry.add, rule=above(0, LEAST), baseline=constant)
    paper = {"softmax": ".733 / .733", "emd": ".600 / .467"}
    own = rows[rows["network"] == results.network]
    for group, part in {"one network": own, "all": rows}.items():
        for score in PAPER_SCORES:
            id = f"{score}-{group}".replace(" ", "-")
            text = f"A better {score} score means a higher accuracy ({group}, Kendall > 0)"
            add(id, text, over_models(kendall, part[score], part["accuracy"]), paper=paper[score])
    for first, second, told in (
        ("emd", "softmax", "praised; -.133 / -.267 by its table"),
        ("normalised_emd", "emd", "not in the paper"),
    ):
        better = over_models(
            lambda one, other, accuracy: kendall(one, accuracy) - kendall(other, accuracy),
            *(rows[name] for name in (first, second, "accuracy")),
        )
        text = f"{first} ranks better than {second} (difference of Kendall > 0)"
        add(f"{first}-{second}", text, better, paper=told, baseline="equal: 0")
    early = accuracies(results.fine, results.sizes.momenta[0], "reached")
    merged = rows.merge(early[[*KEYS, "value"]], on=KEYS)
    for score in PAPER_SCORES:
        text = f"A better {score} score means fewer epochs to 95 % (Kendall > 0)"
        value = over_models(kendall, merged[score], -merged["value"])
        add(f"early-{score}", text, value, paper="by eye")
    for score in rankers(rows):
        if score not in (*PAPER_SCORES, "centred_emd"):
            id = f"rank-{score}".replace(" ", "-").lower()
            text = f"Control: {score} ranks the models (Kendall > 0)"
            add(id, text, over_models(kendall, rows[score], rows["accuracy"]))


def _enter_choices(entry: Evidence, results: Results) -> None:
    rows = results.models
    lost = rows["accuracy"].max() - rows["accuracy"].mean()
    for score in (*PAPER_SCORES, "normalised_emd", "log_me"):
        regret = over_models(selection_regret, rows[score], rows["accuracy"])
        text = f"The model with the best {score} loses less than a point against the best model"
        paper = "0 / 0" if score in PAPER_SCORES else "not in the paper"
        entry.add(f"regret-{score}", text, regret, below(1, LEAST), paper, f"random: {lost:.1f}")


def _enter_vocabulary(entry: Evidence, results: Results) -> None:
    """What class names alone do to the scores."""
    stage, general, other = results.sizes.stage, results.sizes.general, results.other
    score, uniform = results.score, "uniform: 1"
    ratio = results.source(UNTRAINED)["outputs"] / results.source(stage)["outputs"]
    value = _ratio(score(stage, "softmax"), score(UNTRAINED, "softmax"))
    text = "Scratch over untrained: softmax scores differ more than their class counts do"
    entry.add("counts", text, value, above(ratio), "3.9 / 27", f"class counts: {ratio:.1f}")
    for id, source, paper in (
        ("uniform", UNTRAINED, "1.00 by definition"),
        ("uniform-scratch", stage, "1.00 / .93"),
    ):
        text = f"{source}: the EMD is that of a uniform output (ratio in .95 to 1.05)"
        value = score(source, "normalised_emd")
        entry.add(id, text, value, between(0.95, 1.05), paper, uniform)
    value = _minus(score(other, "emd"), score(UNTRAINED, "emd"))
    text = f"The EMD ranks {other} below the untrained network (difference > 0)"
    entry.add("unrelated", text, value, above(0), "+9,075 / +8,959")
    value = score(other, "normalised_emd")
    text = f"but {other} knows more than a uniform output (normalised EMD < 1)"
    entry.add("unrelated-normalised", text, value, below(1), baseline=uniform)
    value = _minus(score(general, "normalised_emd"), score(general, "shuffled"))
    text = f"Control: {general}'s EMD hangs on what its names mean (true - shuffled < 0)"
    entry.add("shuffled", text, value, below(0), baseline="shuffled names: 0")
    value = _minus(score(general, "emd"), score(results.staged(other), "emd"))
    text = f"The EMD prefers {results.staged(other)} to {general} (difference > 0)"
    entry.add("inversion", text, value, above(0), "+6,285 / +2,551")


def _enter_accuracy(entry: Evidence, results: Results) -> None:
    """What the scores are to foretell."""
    stage, general = results.sizes.stage, results.sizes.general
    unrelated = results.staged(results.other)
    text = f"Generality counts too: {general} beats {unrelated} (points > 0)"
    entry.add("generality", text, results.gain(general, unrelated), above(0), "+7.2 / +10.1")
    text = f"A stage on {stage} helps {general} (points > 0)"
    gain = results.gain(results.staged(general), general)
    entry.add("stage", text, gain, above(0), "+1.1 / +0.4")
    text = "Untrained and scratch reach a similar accuracy (points within 5)"
    gain = results.gain(stage, UNTRAINED)
    entry.add("alike", text, gain, between(-5, 5), "-2.4 / +3.8")
    main = results.fine[results.fine["momentum"] == results.sizes.momenta[0]]
    flattery = (main["best"] - main["chosen"]).groupby([main[key] for key in KEYS]).mean()
    text = "Control: the best test epoch flatters (points over an honest choice > 0)"
    entry.add("flattery", text, mean_interval(flattery), above(0))


def _minus(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    half = np.hypot(first.high - first.low, second.high - second.low) / 2
    value = first.value - second.value
    return Estimate(value, value - half, value + half, min(first.n, second.n))


def _ratio(first: Estimate, second: Estimate) -> Estimate:
    """The ratio of two independent positive estimates, by their relative errors."""
    value = first.value / second.value
    errors = (first.high - first.low) / first.value, (second.high - second.low) / second.value
    half = value * np.hypot(errors[0], errors[1]) / 2
    return Estimate(value, value - half, value + half, min(first.n, second.n))
