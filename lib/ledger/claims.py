"""The ledger: every claim of a paper, what was found, and the verdict its rule gives.

A rule is registered with the claim, before the number is looked at; it, not the author, turns an
estimate into a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.engine.provenance import provenance
from lib.ledger.estimates import Estimate

REPRODUCED, NOT_REPRODUCED, CONTRADICTED = "reproduced", "not reproduced", "contradicted"
NOT_TESTED, AUDIT = "not tested at this scale", "audit"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTED, NOT_TESTED, AUDIT)
COLUMNS = (
    "id paper statement paper_value our_value ci_low ci_high n baseline verdict profile dataset "
    "device evidence commit"
).split()


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


class Ledger:
    """The claims of one paper in one run, each entered once."""

    def __init__(self, paper: str, *, profile: str, dataset: str, device: str) -> None:
        self.profile = profile
        self._shared = {"paper": paper, "profile": profile, "dataset": dataset, "device": device}
        self._shared["commit"] = str(provenance()["commit"])
        self._rows: dict[str, dict[str, Any]] = {}

    def add(
        self,
        id: str,
        statement: str,
        *,
        estimate: Estimate,
        rule: Rule | None,
        baseline: str,
        evidence: str,
        paper_value: str = "none given",
    ) -> str:
        """Judge a claim and enter it; returns the verdict.

        rule: None for a fact that follows from the paper or a definition alone.
        baseline: what doing nothing (or chance) gives for the same quantity, in words or number.
        evidence: file below the run's report folder that shows it.
        """
        if id in self._rows:
            raise ValueError(f"claim {id!r} is in the ledger already")
        verdict = rule.verdict(estimate, self.profile) if rule else AUDIT
        self._rows[id] = self._shared | {
            "id": id,
            "statement": statement,
            "paper_value": paper_value,
            "our_value": estimate.value,
            "ci_low": estimate.low,
            "ci_high": estimate.high,
            "n": estimate.n,
            "baseline": baseline,
            "verdict": verdict,
            "evidence": evidence,
        }
        return verdict

    def audit(
        self, id: str, statement: str, *, value: float, paper_value: str, evidence: str
    ) -> None:
        """Enter a fact that follows from the paper or the definition alone, without a run."""
        self.add(
            id,
            statement,
            estimate=Estimate(value, value, value, 1),
            rule=None,
            baseline="exact",
            evidence=evidence,
            paper_value=paper_value,
        )

    def audits(self, findings: pd.DataFrame, evidence: str = "tables/audit.csv") -> None:
        """Enter a table of such facts: index id, columns statement, ours, unit and paper."""
        for id, row in findings.iterrows():
            paper = "none given" if pd.isna(row["paper"]) else f"{row['paper']:g} {row['unit']}"
            text, value = f"{row['statement']} ({row['unit']})", float(row["ours"])
            self.audit(f"audit-{id}", text, value=value, paper_value=paper, evidence=evidence)

    def table(self) -> pd.DataFrame:
        """One row a claim, in the ledger's columns."""
        return pd.DataFrame(list(self._rows.values()), columns=COLUMNS)


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
        self.book.add(
            id,
            text,
            estimate=estimate,
            rule=rule,
            baseline=baseline,
            evidence=self.file,
            paper_value=paper,
        )


def judged(findings: pd.DataFrame) -> pd.DataFrame:
    """A table of an audit, with ``agrees``: whether ours is the paper's number, where it has one.

    findings: statement, paper (NaN: not given), ours, unit, explanation, and perhaps slack: how far
    apart the two may be for the paper's rounding.
    """
    apart = (findings["paper"] - findings["ours"]).abs()
    agrees = (apart <= findings.get("slack", 0.0) + 1e-9).astype("boolean")
    table = findings.assign(agrees=agrees.where(findings["paper"].notna()))
    return table[["statement", "paper", "ours", "unit", "agrees", "explanation"]]
