"""Notebook 03: every claim of the paper with its rule, entered into the ledger.

"General" is the source trained on most (ImageNet), "other" the one with unrelated class names
(Places365 in the paper), "stage" the task in between (Caltech-256).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.ledger.claims import Evidence, Ledger, above, below, between
from lib.ledger.estimates import Estimate, mean_interval
from lib.transfer import analysis
from lib.transfer.agreement import agreement_difference, agreement_interval, regret_interval
from lib.transfer.profile import TransferStudy

_NEW = "not in the paper"
_UNTRAINED = "no training"
PAPER_SCORES = ("softmax", "emd")
LEAST = 5  # models: fewer cannot be ranked with any certainty


@dataclass(frozen=True)
class Results:
    """What a run has found: named tables of the fine-tunings and scores, one row a model."""

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

    def score(self, source: str, name: str) -> Estimate:
        """A score of the first network's source, with its interval over images."""
        row = self._row(source)
        return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], int(row["images"]))

    def outputs(self, source: str) -> int:
        """Classes of the source."""
        return int(self._row(source)["outputs"])

    def shuffled(self, source: str) -> Estimate:
        """The normalised EMD with permuted class names, with the range of permutations."""
        row = self._row(source)
        ends = row["shuffled_low"], row["shuffled_high"]
        return Estimate(row["shuffled"], *ends, int(row["images"]))

    def gain(self, source: str, over: str) -> Estimate:
        """Accuracy points of one source over another, paired by seed."""
        first, second = (self._accuracy(each) for each in (source, over))
        return mean_interval((first - second).dropna())

    def ranking(self, group: list[str]) -> pd.DataFrame:
        """The models of some networks."""
        return self.models[self.models["network"].isin(group)]

    def _row(self, source: str) -> pd.Series:
        found = self.scores[self.scores["network"] == self.network].set_index("source")
        return found.loc[source]

    def _accuracy(self, source: str) -> pd.Series:
        fine = self.fine[self.fine["momentum"] == self.sizes.momenta[0]]
        mine = fine[(fine["network"] == self.network) & (fine["source"] == source)]
        return mine.set_index("seed")["best"].sort_index()


def enter(book: Ledger, results: Results) -> None:
    """Enter all claims."""
    _ranks(Evidence(book, "figures/agreement.png"), results)
    _others(Evidence(book, "figures/agreement.png"), results)
    _choices(Evidence(book, "figures/regret.png"), results)
    _vocabulary(Evidence(book, "tables/table_1.csv"), results)
    _accuracy(Evidence(book, "figures/curves.png"), results)


def _ranks(entry: Evidence, results: Results) -> None:
    """Better score, higher accuracy, fewer epochs."""
    paper = {"softmax": ".733 / .733", "emd": ".600 / .467"}
    every = [each.architecture for each in results.sizes.families]
    for group, networks in {"one network": [results.network], "all": every}.items():
        rows = results.ranking(networks)
        for score in PAPER_SCORES:
            found = agreement_interval(rows[score], rows["accuracy"], "Kendall")
            text = f"A better {score} score means a higher accuracy ({group}, Kendall > 0)"
            entry.add(
                f"{score}-{group}".replace(" ", "-"),
                text,
                found,
                above(0, LEAST),
                paper[score],
                "constant score: 0",
            )
    rows = results.models
    for first, second, told in (
        ("emd", "softmax", "praised; -.133 / -.267 by its table"),
        ("normalised_emd", "emd", _NEW),
    ):
        found = agreement_difference(rows[first], rows[second], rows["accuracy"], "Kendall")
        text = f"{first} ranks better than {second} (difference of Kendall > 0)"
        entry.add(f"{first}-{second}", text, found, above(0, LEAST), told, "equal: 0")
    early = analysis.accuracies(results.fine, results.sizes.momenta[0], "reached")
    rows = rows.merge(early[[*analysis.KEYS, "value"]], on=analysis.KEYS)
    for score in PAPER_SCORES:
        found = agreement_interval(rows[score], -rows["value"], "Kendall")
        text = f"A better {score} score means fewer epochs to 95 % (Kendall > 0)"
        entry.add(f"early-{score}", text, found, above(0, LEAST), "by eye", "constant score: 0")


def _others(entry: Evidence, results: Results) -> None:
    """Scores that the paper does not have."""
    rows = results.models
    for score in analysis.rankers(rows):
        if score in (*PAPER_SCORES, "centred_emd"):
            continue
        found = agreement_interval(rows[score], rows["accuracy"], "Kendall")
        text = f"Control: {score} ranks the models (Kendall > 0)"
        entry.add(
            f"rank-{score}".replace(" ", "-").lower(),
            text, found, above(0, LEAST), _NEW, "constant score: 0",
        )  # fmt: skip


def _choices(entry: Evidence, results: Results) -> None:
    rows = results.models
    lost = rows["accuracy"].max() - rows["accuracy"].mean()
    for score in (*PAPER_SCORES, "normalised_emd", "log_me"):
        found = regret_interval(rows[score], rows["accuracy"])
        text = f"The model with the best {score} loses less than a point against the best model"
        paper = "0 / 0" if score in PAPER_SCORES else _NEW
        entry.add(f"regret-{score}", text, found, below(1, LEAST), paper, f"random: {lost:.1f}")


def _vocabulary(entry: Evidence, results: Results) -> None:
    """What class names alone do to the scores."""
    stage, general, other = results.sizes.stage, results.sizes.general, results.other
    ratio = results.outputs(_UNTRAINED) / results.outputs(stage)
    found = _ratio(results.score(stage, "softmax"), results.score(_UNTRAINED, "softmax"))
    text = "Scratch over untrained: softmax scores differ more than their class counts do"
    entry.add("counts", text, found, above(ratio), "3.9 / 27", f"class counts: {ratio:.1f}")
    for id, source in (("uniform", _UNTRAINED), ("uniform-scratch", stage)):
        found = results.score(source, "normalised_emd")
        text = f"{source}: the EMD is that of a uniform output (ratio in .95 to 1.05)"
        paper = "1.00 by definition" if source == _UNTRAINED else "1.00 / .93"
        entry.add(id, text, found, between(0.95, 1.05), paper, "uniform: 1")
    found = _minus(results.score(other, "emd"), results.score(_UNTRAINED, "emd"))
    text = f"The EMD ranks {other} below the untrained network (difference > 0)"
    entry.add("unrelated", text, found, above(0), "+9,075 / +8,959", "equal: 0")
    found = results.score(other, "normalised_emd")
    text = f"but {other} knows more than a uniform output (normalised EMD < 1)"
    entry.add("unrelated-normalised", text, found, below(1), _NEW, "uniform: 1")
    found = _minus(results.score(general, "normalised_emd"), results.shuffled(general))
    text = f"Control: {general}'s EMD hangs on what its names mean (true - shuffled < 0)"
    entry.add("shuffled", text, found, below(0), _NEW, "shuffled names: 0")
    found = _minus(results.score(general, "emd"), results.score(results.staged(other), "emd"))
    text = f"The EMD prefers {results.staged(other)} to {general} (difference > 0)"
    entry.add("inversion", text, found, above(0), "+6,285 / +2,551", "equal: 0")


def _accuracy(entry: Evidence, results: Results) -> None:
    """What the scores are to foretell."""
    stage, general, other = results.sizes.stage, results.sizes.general, results.other
    found = results.gain(general, results.staged(other))
    text = f"Generality counts too: {general} beats {results.staged(other)} (points > 0)"
    entry.add("generality", text, found, above(0), "+7.2 / +10.1", "equal: 0")
    found = results.gain(results.staged(general), general)
    text = f"A stage on {stage} helps {general} (points > 0)"
    entry.add("stage", text, found, above(0), "+1.1 / +0.4", "equal: 0")
    found = results.gain(stage, _UNTRAINED)
    text = "Untrained and scratch reach a similar accuracy (points within 5)"
    entry.add("alike", text, found, between(-5, 5), "-2.4 / +3.8", "equal: 0")
    main = results.fine[results.fine["momentum"] == results.sizes.momenta[0]]
    by_model = (main["best"] - main["chosen"]).groupby([main[key] for key in analysis.KEYS])
    text = "Control: the best test epoch flatters (points over an honest choice > 0)"
    entry.add("flattery", text, mean_interval(by_model.mean()), above(0), _NEW, "equal: 0")


def _minus(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    half = np.hypot(_half(first), _half(second))
    value = first.value - second.value
    return Estimate(value, value - half, value + half, min(first.n, second.n))


def _ratio(first: Estimate, second: Estimate) -> Estimate:
    """The ratio of two independent positive estimates, by their relative errors."""
    value = first.value / second.value
    half = value * np.hypot(_half(first) / first.value, _half(second) / second.value)
    return Estimate(value, value - half, value + half, min(first.n, second.n))


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2
