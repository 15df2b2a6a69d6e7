"""Notebook 01: every claim of the paper with its rule, entered into the ledger.

An answer that doing nothing would get as well is none (``piggyback_analysis.guarded``). "About as
good" is read as within a tenth; a ratio of errors is above 1 where the method is worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.continual import analysis
from lib.continual.composition import ORDERS
from lib.continual.plan import STREAMS
from lib.continual.tasks import TASKS
from lib.ledger.claims import Evidence, Ledger, Rule, above, below, between

_NEW = "not in the paper"


@dataclass(frozen=True)
class Results:
    """What a run has found. trivial: task -> metrics of doing nothing; see the analysis' tables."""

    trials: pd.DataFrame
    rows: pd.DataFrame
    pairs: pd.DataFrame
    chains: pd.DataFrame
    trivial: dict[int, dict[str, float]]

    def pick(self, method: str, met: int, **fields) -> pd.Series:
        """seed -> value, as ``piggyback_analysis.pick``."""
        return analysis.pick(self.rows, method, met, **fields)

    def nothing(self, task: int) -> float:
        """A task's main metric for doing nothing."""
        return self.trivial[task][analysis.main_metric(task)]

    def zeros(self, *tasks: int, **fields) -> pd.Series:
        """seed -> mean zero rate of the layers of Piggyback's masks."""
        found = [analysis.zero_share(self.trials, "piggyback", task, **fields) for task in tasks]
        return sum(found) / len(found)


class _Entry(Evidence):
    """Enters claims that the same file shows, ratios of two methods among them."""

    def __init__(self, book: Ledger, results: Results, file: str) -> None:
        super().__init__(book, file)
        self.results = results

    def ratio(
        self,
        id: str,
        text: str,
        pair: tuple[str, str],
        task: int,
        rule: Rule,
        paper: str,
        *,
        loss: bool = False,
    ) -> None:
        """Two methods' main metric of a task."""
        a, b = (self.results.pick(method, task) for method in pair)
        found, idle = analysis.ratio(a, b), self.results.nothing(task) / b.mean()
        rule = analysis.guarded(rule, found, idle, loss=loss)
        self.add(id, text, found, rule, paper, f"doing nothing: {idle:.2f}")


def enter_all(book: Ledger, results: Results) -> None:
    """Every claim but the audits."""
    _comparisons(book, results)
    _forgetting(book, results)
    _zero_rates(book, results)
    _similarities(book, results)
    _batch_norm_and_losses(book, results)
    _blocks(book, results)


def _comparisons(book: Ledger, results: Results) -> None:
    enter = _Entry(book, results, "tables/table_2.csv")
    printed = {2: ".95", 3: "1.02", 4: "1.30", 5: "1.06 to 1.48 (print unclear)"}
    for task in TASKS[1:]:
        best = analysis.best_baseline(results.rows, task)
        name = {"miou": "mIoU", "mse": "MSE", "total": "loss"}[analysis.main_metric(task)]
        rule, sign = (above(0.9), "> 0.9") if task == 2 else (below(1.1), "< 1.1")
        text = f"T{task}: Piggyback is about as good as the best baseline, {best} ({name} ratio"
        pair = "piggyback", best
        enter.ratio(f"piggyback-{task}", f"{text} {sign})", pair, task, rule, printed[task])
    for task, paper in ((3, "2.18"), (4, "1.11"), (5, "1.16 or .72 (print unclear)")):
        text = f"T{task}: Resblock is no worse than a network of its own (ratio < 1)"
        enter.ratio(f"resblock-{task}", text, ("resblock", "scratch"), task, below(1), paper)
    ours, theirs = (results.pick(method, 3, name="ssim") for method in ("resblock", "scratch"))
    idle = results.trivial[3]["ssim"] - theirs.mean()
    text = "T3: Resblock's SSIM is above scratch's (difference > 0)"
    found = analysis.difference(ours, theirs)
    enter.add("resblock-3-ssim", text, found, above(0), "+.0143", f"uncoloured: {idle:+.3f}")
    text = "T2: Resblock cannot segment (mIoU of scratch's, share < 0.5)"
    pair = "resblock", "scratch"
    enter.ratio("resblock-2", text, pair, 2, below(0.5), ".07", loss=True)


def _forgetting(book: Ledger, results: Results) -> None:
    enter = _Entry(book, results, "figures/forgetting.png")
    share, grown = "mIoU left, share < 0.5", "MSE ratio > 1.5"
    for method, met, rule, sign, paper in (
        ("fine-tune", 1, below(0.5), share, ".03"),
        ("fine-tune", 2, below(0.5), share, ".03"),
        ("fine-tune", 3, above(1.5), grown, "3.66"),
        ("scratch", 1, below(0.5), share, "empty cell"),
    ):
        before = results.pick(method, met)
        found = analysis.ratio(results.pick(method, met, after=met + 1), before)
        idle = results.nothing(met) / before.mean()
        rule = analysis.guarded(rule, found, idle, loss=True)
        text = f"{method} forgets T{met} when T{met + 1} is learned ({sign})"
        baseline = f"doing nothing: {idle:.2f}"
        enter.add(f"{method}-forgets-{met}", text, found, rule, paper, baseline)
    for method in ("piggyback", "decoder", "resblock"):
        text = f"{method} forgets nothing (largest change of any number: 0)"
        found, rule = analysis.largest_change(results.rows, method), between(-1e-9, 1e-9)
        enter.add(f"{method}-keeps", text, found, rule, "0", "fine-tune: changes")
    for id, met, rule, text in (
        ("ewc-keeps", 1, above(0), "EWC keeps more of T1 than fine-tuning (after T2, points > 0)"),
        ("ewc-learns-less", 2, below(0), "and learns T2 less well (mIoU, points < 0)"),
    ):
        pair = [results.pick(method, met, after=2) for method in ("ewc", "fine-tune")]
        enter.add(id, text, analysis.difference(*pair), rule, "discussed, not run", "equal: 0")


def _zero_rates(book: Ledger, results: Results) -> None:
    enter = _Entry(book, results, "figures/figures_5_8.png")
    text = "Half to 60 % of the weights are masked (mean of layers in .50 to .60)"
    found = analysis.mean(results.zeros(*TASKS[1:]))
    enter.add("zeros", text, found, between(0.5, 0.6), ".50 to .60", "no mask: 0")
    own = analysis.zero_rate_rows(results.trials).query("method == 'piggyback' and not alone")
    own = own.assign(kind=np.where(own.layer == "conv5_1", "it", "others"))
    own = own.pivot_table(index="seed", columns="kind", values="rate")
    text = "conv5_1 has fewer zeros than the other layers (difference < 0)"
    found = analysis.difference(own["it"], own["others"])
    enter.add("zeros-conv5-1", text, found, below(0), "low in all tasks", "equal: 0")
    text = "Control: a mask for shuffled labels has as many zeros (ratio > 0.9)"
    found = analysis.ratio(results.zeros(2, shuffled=True, alone=True), results.zeros(2))
    enter.add("zeros-shuffled", text, found, above(0.9), _NEW, "no mask: 0")


def _similarities(book: Ledger, results: Results) -> None:
    enter, pairs = _Entry(book, results, "figures/similarity.png"), results.pairs
    unlike = [("T2", "T3"), ("T2", "T4"), ("T2", "T5"), ("T3", "T4"), ("T3", "T5")]
    apart = sum(analysis.kappas(pairs, *pair) for pair in unlike) / len(unlike)
    like = analysis.kappas(pairs, "T4", "T5")
    again = analysis.kappas(pairs, "T2", "T2 again")
    null = pairs[(pairs.a == "T4") & (pairs.b == "T5")].set_index("seed")["null_mean"]
    for id, text, found, paper, baseline in (
        ("like-tasks", "Masks of the two styles share more than of unlike tasks (κ - κ > 0)",
         analysis.difference(like, apart), "+.022", "chance: 0"),
        ("like-tasks-null", "and more than their layers' densities bring about (κ - null > 0)",
         analysis.difference(like, null), _NEW, "permuted: 0"),
        ("same-task", "Control: two masks of one task share more than of two tasks (κ - κ > 0)",
         analysis.difference(again, apart), _NEW, "chance: 0"),
    ):  # fmt: skip
        enter.add(id, text, found, above(0), paper, baseline)


def _batch_norm_and_losses(book: Ledger, results: Results) -> None:
    def control(method: str, task: int, **fields) -> list[pd.Series]:
        return [results.pick(method, task, **each) for each in (fields | {"alone": True}, {})]

    enter = _Entry(book, results, "tables/norms.csv")
    text = "Control: with frozen batch norm Piggyback's T2 is worse (points < 0)"
    found = analysis.difference(*control("piggyback", 2, norms="frozen"))
    enter.add("frozen-norms", text, found, below(0), _NEW, "no difference: 0")
    enter = _Entry(book, results, "tables/resblock_losses.csv")
    text = "Resblock's T2 suffers from its loss: CE is better (points > 0)"
    found = analysis.difference(*control("resblock", 2, loss="ce"))
    enter.add("resblock-loss", text, found, above(0), "supposed", "no difference: 0")
    enter = _Entry(book, results, "tables/auto_encoder.csv")
    text = "Control: with batch norm Resblock's T3 has less error (ratio < 1)"
    found = analysis.ratio(*control("resblock", 3, norms="batch"))
    enter.add("instance-norm", text, found, below(1), _NEW, "no difference: 1")


def _blocks(book: Ledger, results: Results) -> None:
    enter = _Entry(book, results, "figures/figure_10.png")
    text = "A mask on T3's blocks is worse than blocks of T4 (loss ratio > 1)"
    pair = "resblock+piggyback", "resblock"
    enter.ratio("masked-blocks", text, pair, 4, above(1), "by eye", loss=True)
    text = "and has more zeros than the U-Net's mask of T4 (difference > 0)"
    masked = analysis.zero_share(results.trials, "resblock+piggyback", 4)
    found = analysis.difference(masked, results.zeros(4))
    enter.add("masked-blocks-zeros", text, found, above(0), "larger", "equal: 0")
    enter, chains = _Entry(book, results, "figures/composition.png"), results.chains
    for order in ORDERS:
        of = chains[chains.order == order]
        of = of.pivot_table(index="seed", columns="way", values="total")
        only = chains[chains.order == "style only"].total.mean() / of["re-encoded"].mean()
        text = f"Blocks can be chained: {order} (loss over re-encoded < 1.1)"
        found, paper = analysis.ratio(of["chained"], of["re-encoded"]), "announced, not run"
        id, baseline = f"chain-{order.split(', ')[0]}-first", f"style alone: {only:.2f}"
        enter.add(id, text, found, below(1.1), paper, baseline)
    enter = _Entry(book, results, "tables/style.csv")
    similar = {method: results.pick(method, 4, name="ssim") for method in STREAMS}
    best = max(similar, key=lambda method: similar[method].mean())
    text = f"T4's SSIM to Gatys' picture beats the untouched photograph's ({best})"
    found = analysis.mean(similar[best] - results.trivial[4]["ssim"])
    enter.add("gatys-ssim", text, found, above(0), "none given", "untouched: 0")


def enter_audits(book: Ledger, findings: pd.DataFrame) -> None:
    """Every finding of ``piggyback_audit``, which follow from the paper alone."""
    for row in findings.itertuples():
        paper = "not given" if pd.isna(row.paper) else f"{row.paper:g}"
        text, value = f"{row.statement} ({row.unit})", float(row.ours)
        book.audit(row.id, text, value=value, paper_value=paper, evidence="tables/audit.csv")
