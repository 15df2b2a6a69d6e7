"""Every claim of the paper with its rule, entered into the ledger.

An answer that doing nothing would get as well is none (``analysis.guarded``). "About as good" is
read as within a tenth; a ratio of errors is above 1 where the method is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.continual import analysis
from lib.continual.trials import STREAMS, TASKS
from lib.ledger.claims import Evidence, Ledger, Rule, above, below, between
from lib.ledger.estimates import Estimate

_NEW = "not in the paper"


@dataclass(frozen=True)
class Results:
    """What a run has measured, as the analysis' tables.

    pairs and chains need trained networks; without rows their claims are not entered.
    nothing: task -> metrics of doing nothing.
    """

    trials: pd.DataFrame
    rows: pd.DataFrame
    pairs: pd.DataFrame
    chains: pd.DataFrame
    nothing: dict[int, dict[str, float]]

    def pick(self, method: str, scored: int, **fields: Any) -> pd.Series:
        """seed -> value, as ``analysis.pick``."""
        return analysis.pick(self.rows, method, scored, **fields)

    def main_of_nothing(self, task: int) -> float:
        """A task's main metric for doing nothing."""
        return self.nothing[task][analysis.main_metric(task)]

    def zeros(self, *tasks: int, **fields: Any) -> pd.Series:
        """seed -> mean zero rate of the layers of Piggyback's masks."""
        shares = [analysis.zero_share(self.trials, "piggyback", task, **fields) for task in tasks]
        return pd.concat(shares, axis=1).mean(axis=1, skipna=False)

    def kappa(self, *pairs: tuple[str, str]) -> pd.Series:
        """seed -> mean kappa of some pairs of masks."""
        values = [analysis.kappas(self.pairs, *pair) for pair in pairs]
        return pd.concat(values, axis=1).mean(axis=1, skipna=False)


class _Entry(Evidence):
    """Enters claims that the same file shows, ratios of two methods among them.

    A claim of which an unfinished run has no number is left out.
    """

    def __init__(self, book: Ledger, results: Results, file: str) -> None:
        super().__init__(book, file)
        self.results = results

    def add(self, id: str, text: str, estimate: Estimate, *details: Any) -> None:
        """As ``Evidence.add``."""
        if np.isfinite(estimate.value):
            super().add(id, text, estimate, *details)

    def mean(
        self, id: str, text: str, values: pd.Series, rule: Rule, paper: str, baseline: str
    ) -> None:
        """Mean of one value a seed."""
        self.add(id, text, analysis.over_seeds(values), rule, paper, baseline)

    def ratio(
        self,
        id: str,
        text: str,
        pair: tuple[pd.Series, pd.Series],
        task: int,
        rule: Rule,
        paper: str,
        *,
        loss: bool = False,
    ) -> None:
        """Ratio of two series of a task's main metric, guarded by that of doing nothing."""
        numerator, denominator = pair
        estimate = analysis.over_seeds(numerator / denominator)
        nothing = self.results.main_of_nothing(task) / denominator.mean()
        rule = analysis.guarded(rule, estimate, nothing, loss=loss)
        self.add(id, text, estimate, rule, paper, f"doing nothing: {nothing:.2f}")


def enter_all(book: Ledger, results: Results) -> None:
    """Every claim but the audits."""
    _comparisons(book, results)
    _forgetting(book, results)
    _zero_rates(book, results)
    if len(results.pairs):
        _similarities(book, results)
    _controls(book, results)
    _blocks(book, results)


def _comparisons(book: Ledger, results: Results) -> None:
    enter, pick = _Entry(book, results, "tables/table_2.csv"), results.pick
    printed = {2: ".95", 3: "1.02", 4: "1.30", 5: "1.06 to 1.48 (print unclear)"}
    for task, paper in printed.items():
        best = analysis.best_baseline(results.rows, task)
        name = {"miou": "mIoU", "mse": "MSE", "total": "loss"}[analysis.main_metric(task)]
        rule, sign = (above(0.9), "> 0.9") if task == 2 else (below(1.1), "< 1.1")
        text = f"T{task}: Piggyback is about as good as the best baseline, {best} ({name} ratio"
        pair = pick("piggyback", task), pick(best, task)
        enter.ratio(f"piggyback-{task}", f"{text} {sign})", pair, task, rule, paper)
    for task, paper in ((3, "2.18"), (4, "1.11"), (5, "1.16 or .72 (print unclear)")):
        text = f"T{task}: Resblock is no worse than a network of its own (ratio < 1)"
        pair = pick("resblock", task), pick("scratch", task)
        enter.ratio(f"resblock-{task}", text, pair, task, below(1), paper)
    ours, theirs = (pick(method, 3, name="ssim") for method in ("resblock", "scratch"))
    grey = results.nothing[3].get("ssim", np.nan) - theirs.mean()
    text = "T3: Resblock's SSIM is above scratch's (difference > 0)"
    enter.mean(
        "resblock-3-ssim", text, ours - theirs, above(0), "+.0143", f"uncoloured: {grey:+.3f}"
    )
    text = "T2: Resblock cannot segment (mIoU of scratch's, share < 0.5)"
    pair = pick("resblock", 2), pick("scratch", 2)
    enter.ratio("resblock-2", text, pair, 2, below(0.5), ".07", loss=True)


def _forgetting(book: Ledger, results: Results) -> None:
    enter, pick = _Entry(book, results, "figures/forgetting.png"), results.pick
    share, grown = "mIoU left, share < 0.5", "MSE ratio > 1.5"
    for method, task, rule, sign, paper in (
        ("fine-tune", 1, below(0.5), share, ".03"),
        ("fine-tune", 2, below(0.5), share, ".03"),
        ("fine-tune", 3, above(1.5), grown, "3.66"),
        ("scratch", 1, below(0.5), share, "empty cell"),
    ):
        text = f"{method} forgets T{task} when T{task + 1} is learned ({sign})"
        pair = pick(method, task, after=task + 1), pick(method, task)
        enter.ratio(f"{method}-forgets-{task}", text, pair, task, rule, paper, loss=True)
    for method in ("piggyback", "decoder", "resblock"):
        text = f"{method} forgets nothing (largest change of any number: 0)"
        change, rule = analysis.largest_change(results.rows, method), between(-1e-9, 1e-9)
        enter.add(f"{method}-keeps", text, change, rule, "0", "fine-tune: changes")
    for id, task, rule, text in (
        ("ewc-keeps", 1, above(0), "EWC keeps more of T1 than fine-tuning (after T2, points > 0)"),
        ("ewc-learns-less", 2, below(0), "and learns T2 less well (mIoU, points < 0)"),
    ):
        points = pick("ewc", task, after=2) - pick("fine-tune", task, after=2)
        enter.mean(id, text, points, rule, "discussed, not run", "equal: 0")


def _zero_rates(book: Ledger, results: Results) -> None:
    enter = _Entry(book, results, "figures/figures_5_8.png")
    text = "Half to 60 % of the weights are masked (mean of layers in .50 to .60)"
    zeros = results.zeros(*TASKS[1:])
    enter.mean("zeros", text, zeros, between(0.5, 0.6), ".50 to .60", "no mask: 0")
    own = analysis.zero_rate_rows(results.trials).query("method == 'piggyback' and not alone")
    own = own.assign(kind=np.where(own.layer == "conv5_1", "it", "others"))
    own = own.pivot_table(index="seed", columns="kind", values="rate")
    text = "conv5_1 has fewer zeros than the other layers (difference < 0)"
    fewer = own["it"] - own["others"]
    enter.mean("zeros-conv5-1", text, fewer, below(0), "low in all tasks", "equal: 0")
    text = "Control: a mask for shuffled labels has as many zeros (ratio > 0.9)"
    ratio = results.zeros(2, shuffled=True, alone=True) / results.zeros(2)
    enter.mean("zeros-shuffled", text, ratio, above(0.9), _NEW, "no mask: 0")


def _similarities(book: Ledger, results: Results) -> None:
    enter, pairs = _Entry(book, results, "figures/similarity.png"), results.pairs
    apart = results.kappa(("T2", "T3"), ("T2", "T4"), ("T2", "T5"), ("T3", "T4"), ("T3", "T5"))
    like, again = results.kappa(("T4", "T5")), results.kappa(("T2", "T2 again"))
    null = pairs[(pairs.a == "T4") & (pairs.b == "T5")].set_index("seed")["null_mean"]
    text = "Masks of the two styles share more than of unlike tasks (κ - κ > 0)"
    enter.mean("like-tasks", text, like - apart, above(0), "+.022", "chance: 0")
    text = "and more than their layers' densities bring about (κ - null > 0)"
    enter.mean("like-tasks-null", text, like - null, above(0), _NEW, "permuted: 0")
    text = "Control: two masks of one task share more than of two tasks (κ - κ > 0)"
    enter.mean("same-task", text, again - apart, above(0), _NEW, "chance: 0")


def _controls(book: Ledger, results: Results) -> None:
    enter, pick = _Entry(book, results, "tables/norms.csv"), results.pick
    text = "Control: with frozen batch norm Piggyback's T2 is worse (points < 0)"
    points = pick("piggyback", 2, norms="frozen", alone=True) - pick("piggyback", 2)
    enter.mean("frozen-norms", text, points, below(0), _NEW, "no difference: 0")
    enter = _Entry(book, results, "tables/resblock_losses.csv")
    text = "Resblock's T2 suffers from its loss: CE is better (points > 0)"
    points = pick("resblock", 2, loss="ce", alone=True) - pick("resblock", 2)
    enter.mean("resblock-loss", text, points, above(0), "supposed", "no difference: 0")
    enter = _Entry(book, results, "tables/auto_encoder.csv")
    text = "Control: with batch norm Resblock's T3 has less error (ratio < 1)"
    ratio = pick("resblock", 3, norms="batch", alone=True) / pick("resblock", 3)
    enter.mean("instance-norm", text, ratio, below(1), _NEW, "no difference: 1")


def _blocks(book: Ledger, results: Results) -> None:
    enter, pick = _Entry(book, results, "figures/figure_10.png"), results.pick
    text = "A mask on T3's blocks is worse than blocks of T4 (loss ratio > 1)"
    pair = pick("resblock+piggyback", 4), pick("resblock", 4)
    enter.ratio("masked-blocks", text, pair, 4, above(1), "by eye", loss=True)
    text = "and has more zeros than the U-Net's mask of T4 (difference > 0)"
    masked = analysis.zero_share(results.trials, "resblock+piggyback", 4)
    more = masked - results.zeros(4)
    enter.mean("masked-blocks-zeros", text, more, above(0), "larger", "equal: 0")
    enter, chains = _Entry(book, results, "figures/composition.png"), results.chains
    for order in analysis.ORDERS if len(chains) else ():
        ways = chains[chains.order == order]
        ways = ways.pivot_table(index="seed", columns="way", values="total")
        only = chains[chains.order == "style only"].total.mean() / ways["re-encoded"].mean()
        text = f"Blocks can be chained: {order} (loss over re-encoded < 1.1)"
        ratio = ways["chained"] / ways["re-encoded"]
        id, paper = f"chain-{order.split(', ')[0]}-first", "announced, not run"
        enter.mean(id, text, ratio, below(1.1), paper, f"style alone: {only:.2f}")
    enter = _Entry(book, results, "tables/style.csv")
    similar = {method: pick(method, 4, name="ssim") for method in STREAMS}
    best = max(similar, key=lambda method: similar[method].mean())
    text = f"T4's SSIM to Gatys' picture beats the untouched photograph's ({best})"
    gain = similar[best] - results.nothing[4].get("ssim", np.nan)
    enter.mean("gatys-ssim", text, gain, above(0), "none given", "untouched: 0")


def enter_audits(book: Ledger, findings: pd.DataFrame) -> None:
    """Every finding of ``lib.continual.audit``, which follow from the paper alone."""
    for id, row in findings.set_index("id").iterrows():
        book.audit(
            str(id),
            f"{row.statement} ({row.unit})",
            value=float(row.ours),
            paper_value="not given" if pd.isna(row.paper) else f"{row.paper:g}",
            evidence="tables/audit.csv",
        )
