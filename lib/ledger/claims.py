"""The ledger: every claim of a paper, what was found, and the verdict its rule gives.

A rule is registered with the claim, before the number is looked at; it, not the author, turns an
estimate into a verdict.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from lib.engine.provenance import provenance
from lib.ledger.estimates import Estimate

REPRODUCED, NOT_REPRODUCED, CONTRADICTED = "reproduced", "not reproduced", "contradicted"
NOT_TESTED, AUDIT = "not tested at this scale", "audit"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTED, NOT_TESTED, AUDIT)


@dataclass(frozen=True)
class Rule:
    """The claim holds if the quantity lies in (low, high); an interval decides.

    Wholly inside: reproduced. Wholly outside: contradicted. Otherwise the data cannot tell:
    "not reproduced" where the run was large enough to expect an answer, "not tested at this
    scale" for a quick run or fewer than ``least`` independent units.
    """

    low: float = -np.inf
    high: float = np.inf
    least: int = 2

    def verdict(self, estimate: Estimate, profile: str) -> str:
        """One of VERDICTS. Raises ValueError for an estimate that is not a number."""
        if not np.isfinite(estimate.value) or not estimate.low <= estimate.high:
            raise ValueError(f"no verdict on an estimate of {estimate}")
        if estimate.n < self.least:
            return NOT_TESTED
        if self.low < estimate.low and estimate.high < self.high:
            return REPRODUCED
        if estimate.high <= self.low or estimate.low >= self.high:
            return CONTRADICTED
        return NOT_TESTED if profile == "quick" else NOT_REPRODUCED


def above(threshold: float, least: int = 2) -> Rule:
    """The quantity is larger than the threshold."""
    return Rule(low=threshold, least=least)


def below(threshold: float, least: int = 2) -> Rule:
    """The quantity is smaller than the threshold."""
    return Rule(high=threshold, least=least)


def between(low: float, high: float, least: int = 2) -> Rule:
    """The quantity lies between two numbers: for claims that something is absent."""
    return Rule(low, high, least)


@dataclass(frozen=True)
class _Row:
    id: str
    paper: str
    statement: str
    paper_value: str
    our_value: float
    ci_low: float
    ci_high: float
    n: int
    baseline: str
    verdict: str
    profile: str
    dataset: str
    device: str
    evidence: str
    commit: str


class Ledger:
    """The claims of one paper in one run."""

    def __init__(self, paper: str, *, profile: str, dataset: str, device: str) -> None:
        self._shared = {"paper": paper, "profile": profile, "dataset": dataset, "device": device}
        self._rows: list[_Row] = []

    def add(
        self,
        id: str,
        statement: str,
        *,
        estimate: Estimate,
        rule: Rule,
        baseline: str,
        evidence: str,
        paper_value: str = "none given",
    ) -> str:
        """Judge a claim and enter it; returns the verdict.

        baseline: what doing nothing (or chance) gives for the same quantity, in words or number.
        evidence: file below the run's report folder that shows it.
        """
        verdict = rule.verdict(estimate, self._shared["profile"])
        self._enter(id, statement, estimate, paper_value, baseline, evidence, verdict)
        return verdict

    def audit(
        self, id: str, statement: str, *, value: float, paper_value: str, evidence: str
    ) -> None:
        """Enter a fact that follows from the paper or the definition alone, without a run."""
        exact = Estimate(value, value, value, 1)
        self._enter(id, statement, exact, paper_value, "exact", evidence, AUDIT)

    def audits(self, findings: pd.DataFrame, evidence: str = "tables/audit.csv") -> None:
        """Enter a table of such facts: index id, columns statement, ours, unit and paper."""
        for id, row in findings.iterrows():
            paper = "none given" if pd.isna(row["paper"]) else f"{row['paper']:g} {row['unit']}"
            text = f"{row['statement']} ({row['unit']})"
            options = {"value": float(row["ours"]), "paper_value": paper}
            self.audit(f"audit-{id}", text, evidence=evidence, **options)

    def _enter(
        self,
        id: str,
        statement: str,
        estimate: Estimate,
        paper_value: str,
        baseline: str,
        evidence: str,
        verdict: str,
    ) -> None:
        if any(row.id == id for row in self._rows):
            raise ValueError(f"claim {id!r} is in the ledger already")
        numbers = {
            "our_value": estimate.value,
            "ci_low": estimate.low,
            "ci_high": estimate.high,
            "n": estimate.n,
        }
        self._rows.append(
            _Row(
                id=id,
                statement=statement,
                paper_value=paper_value,
                baseline=baseline,
                evidence=evidence,
                verdict=verdict,
                commit=str(provenance()["commit"]),
                **numbers,
                **self._shared,
            )
        )

    def table(self) -> pd.DataFrame:
        """One row a claim, in the ledger's columns."""
        columns = [field.name for field in fields(_Row)]
        return pd.DataFrame([asdict(row) for row in self._rows], columns=columns)


class Evidence:
    """Enters claims that the same file shows."""

    def __init__(self, book: Ledger, file: str) -> None:
        self.book, self.file = book, file

    def add(
        self,
        id: str,
        text: str,
        estimate: Estimate,
        rule: Rule,
        paper: str = "not in the paper",
        baseline: str = "equal: 0",
    ) -> None:
        """As ``Ledger.add``; without a paper's value it is a claim of ours."""
        shown = {"paper_value": paper, "baseline": baseline, "evidence": self.file}
        self.book.add(id, text, estimate=estimate, rule=rule, **shown)


def judged(findings: pd.DataFrame) -> pd.DataFrame:
    """A table of an audit, with ``agrees``: whether ours is the paper's number, where it has one.

    findings: statement, paper (NaN: not given), ours, unit, explanation, and perhaps slack: how far
    apart the two may be for the paper's rounding.
    """
    apart = (findings["paper"] - findings["ours"]).abs()
    agrees = (apart <= findings.get("slack", 0.0) + 1e-9).astype("boolean")
    table = findings.assign(agrees=agrees.where(findings["paper"].notna()))
    return table[["statement", "paper", "ours", "unit", "agrees", "explanation"]]
