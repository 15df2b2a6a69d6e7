"""Claims as data: ``claims.yaml`` of a study -> quantity -> rule -> verdict.

A quantity is a function of the study's ``analysis.py``. It takes the tables that a run has saved,
so that a ledger can be judged again from the committed files alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from lib.engine.files import write_atomically
from lib.engine.profiles import PROFILES
from lib.ledger.estimates import LEVEL, Estimate, holm, runs_needed
from lib.ledger.report import csv_text
from lib.ledger.tables import Missing, Tables

# whose: a paper's claim; what follows from the paper's table alone; a control of ours; true by
# construction. Only the first are counted in summaries.
PAPER, TABLE, OURS, CONSTRUCTION = WHOSE = ("paper", "table", "ours", "construction")
SCALES = ("as in the paper", "smaller", "substitute data")
UNTESTABLE, AWAITS = "untestable here", "awaits its records"
SUPPORTED, OPPOSED, UNDECIDED = FINDINGS = ("supported", "opposed", "undecided")
AGREES, DIFFERS, TOO_WIDE = "agrees", "differs", "too wide to tell"
COLUMNS = (
    "paper id statement whose measure rule printed value low high n per trivial comparable "
    "finding number why headline evidence"
).split()


@dataclass(frozen=True)
class Rule:
    """The claim holds if the quantity lies in (low, high); its interval decides."""

    low: float = -np.inf
    high: float = np.inf

    def holds(self, value: float) -> bool:
        return self.low < value < self.high

    def finding(self, estimate: Estimate) -> str:
        """Supported: the interval lies wholly inside. Opposed: wholly outside. Else undecided.

        An estimate with an exact p value, of the hypothesis that its quantity is 0, is decided by
        that: its interval only says how wide it is.
        """
        if not np.isfinite(estimate.value) or not estimate.low <= estimate.high:
            raise ValueError(f"no finding from an estimate of {estimate}")
        if estimate.p is not None:
            if estimate.p >= 1 - LEVEL:
                return UNDECIDED
            return SUPPORTED if self.holds(estimate.value) else OPPOSED
        if self.low < estimate.low and estimate.high < self.high:
            return SUPPORTED
        outside = estimate.high <= self.low or estimate.low >= self.high
        return OPPOSED if outside else UNDECIDED

    def border(self, value: float) -> float:
        """The end of the rule's range that is nearest to a value."""
        return min((self.low, self.high), key=lambda end: abs(end - value))


def parse_rule(text: str) -> Rule:
    """``> 0.9``, ``< 1.1``, ``within 0.3`` (around 0) or ``0.5 to 0.6``; ValueError otherwise."""
    with suppress(ValueError):
        match text.split():
            case [">", low]:
                return Rule(low=float(low))
            case ["<", high]:
                return Rule(high=float(high))
            case ["within", end]:
                return Rule(-float(end), float(end))
            case [low, "to", high]:
                return Rule(float(low), float(high))
    raise ValueError(f"a rule is '> x', '< x', 'within x' or 'x to y', not {text!r}")


@dataclass(frozen=True)
class Claim:
    """One line of ``claims.yaml``.

    statement: a plain sentence. whose: one of ``WHOSE``. quantity: name of a function ->
    its arguments. measure: what that number is, in words. rule: see ``parse_rule``.
    printed: the number that the paper prints for the same quantity; several where the print can
        be read in several ways. paper_says: what it says where it prints no number.
    trivial: name of a trivial answer -> its number, or the arguments that are changed to get it.
    learned: arguments of the study's ``gain``, one set for each task that must have been learned.
    per: what n counts. family: of controls that are corrected together by Holm's method.
    headline: whether the row is one of those that open the notebook.
    comparable: profile -> one of ``SCALES``, where it is not the study's.
    """

    id: str
    statement: str
    whose: str
    quantity: dict[str, dict[str, Any]]
    measure: str
    rule: str
    evidence: str
    printed: tuple[float, ...] = ()
    paper_says: str = ""
    trivial: dict[str, float | dict[str, Any]] = field(default_factory=dict)
    learned: Sequence[dict[str, Any]] = ()
    per: str = ""
    family: str = ""
    headline: bool = False
    comparable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.whose not in WHOSE:
            raise ValueError(f"whose must be one of {WHOSE}, not {self.whose!r}")
        if len(self.quantity) != 1:
            raise ValueError(f"quantity must be one function with its arguments: {self.quantity}")
        parse_rule(self.rule)

    @property
    def function(self) -> str:
        return next(iter(self.quantity))

    @property
    def arguments(self) -> dict[str, Any]:
        return self.quantity[self.function] or {}


class Study(NamedTuple):
    """The claims of a paper, "01" to "05", and the module whose functions are their quantities."""

    paper: str
    claims: list[Claim]
    analysis: Any
    comparable: dict[str, str]


def load_claims(package: str) -> Study:
    """The claims of a study such as ``lib.dip``: its ``claims.yaml`` and its ``analysis``.

    Raises ValueError, naming the file and the claim, for one that cannot be judged.
    """
    analysis = import_module(f"{package}.analysis")
    path = Path(str(analysis.__file__)).with_name("claims.yaml")
    text = yaml.safe_load(path.read_text(encoding="utf-8"))
    claims: dict[str, Claim] = {}
    for entry in text["claims"]:
        name = f"{path}: {entry.get('id', entry)}"
        printed = entry.get("printed", ())  # a number or a list
        entry["printed"] = tuple(printed) if isinstance(printed, Iterable) else (printed,)
        try:
            claim = Claim(**{"per": text["per"]} | entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
        if not hasattr(analysis, claim.function):
            raise ValueError(f"{name}: {analysis.__name__} has no quantity {claim.function}")
        if claim.id in claims:
            raise ValueError(f"{name} is there twice")
        claims[claim.id] = claim
    scale = text["scale"]
    if set(scale) != set(PROFILES) or set(scale.values()) - set(SCALES):
        raise ValueError(f"{path}: scale must say for {PROFILES} which of {SCALES} it is")
    return Study(text["paper"], list(claims.values()), analysis, scale)


def judge_run(package: str, folder: Path, profile: str) -> pd.DataFrame:
    """Judge every claim of a study on the tables in a run's folder, and save ``claims.csv`` there.

    A row whose tables are not there, or lack what its quantity needs, awaits its records.
    """
    study, tables = load_claims(package), Tables(folder)
    rows = [_row(study, claim, tables, profile) for claim in study.claims]
    _correct_families(study.claims, rows)
    ledger = pd.DataFrame(rows)[COLUMNS]
    write_atomically(folder / "claims.csv", csv_text(ledger, "%.6g"))
    return ledger


def _row(study: Study, claim: Claim, tables: Tables, profile: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | vars(claim)
    row |= {
        "paper": study.paper,
        "printed": " or ".join(f"{value:g}" for value in claim.printed) or claim.paper_says,
        "comparable": (study.comparable | claim.comparable)[profile],
        "trivial": "",
        **{"value": np.nan, "low": np.nan, "high": np.nan, "n": 0},
    }
    rule = parse_rule(claim.rule)
    quantity = partial(getattr(study.analysis, claim.function), tables)
    try:
        estimate = quantity(**claim.arguments)
        trivial = {
            name: quantity(**claim.arguments | answer).value
            if isinstance(answer, dict)
            else float(answer)
            for name, answer in claim.trivial.items()
        }
        gains = [(task, study.analysis.gain(tables, **task)) for task in claim.learned]
    except Missing as error:
        return row | {"comparable": AWAITS, "why": str(error)}
    row |= {
        **{name: getattr(estimate, name) for name in ("value", "low", "high", "n")},
        "trivial": "; ".join(f"{name}: {value:.3g}" for name, value in trivial.items()),
        "estimate": estimate,
    }
    if reason := untestable(rule, trivial, gains):
        return row | {"comparable": UNTESTABLE, "why": reason}
    if claim.whose == CONSTRUCTION and rule.holds(estimate.value):
        return row | {"finding": SUPPORTED, "why": "true by construction"}
    finding = rule.finding(estimate)
    why = [explain_undecided(rule, estimate)] if finding == UNDECIDED else []
    if claim.printed and not any(map(rule.holds, claim.printed)):
        why.append("the paper's own number does not pass either")
    number = ""
    if claim.printed and row["comparable"] != SCALES[-1]:  # other data have other numbers
        number = compare_number(claim.printed, estimate, trivial.values())
    return row | {"finding": finding, "number": number, "why": "; ".join(why)}


def untestable(
    rule: Rule,
    trivial: Mapping[str, float],
    gains: Sequence[tuple[Mapping[str, Any], Estimate]] = (),
) -> str:
    """Why a claim cannot be tested by this run; empty if it can be.

    It cannot where a task was not learned (the interval of its gain over the best trivial answer,
    with a single run the gain, is not above 0), or where a trivial answer passes the rule.
    """
    reasons = []
    for task, gain in gains:
        if not (gain.low if np.isfinite(gain.low) else gain.value) > 0:
            named = ", ".join(f"{key} {value}" for key, value in task.items())
            reasons.append(f"not learned: {named} (gain over the best trivial answer {gain})")
    for name, value in trivial.items():
        if rule.holds(value):
            reasons.append(f"the trivial answer passes ({name}: {value:.3g})")
    return "; ".join(reasons)


def explain_undecided(rule: Rule, estimate: Estimate) -> str:
    """The smallest effect that would have been seen, and the n with which this one would be."""
    if estimate.n < 2 or not np.isfinite([estimate.low, estimate.high]).all():
        return "a single run has no interval"
    half, border = estimate.half_width, rule.border(estimate.value)
    seen = f"a factor of {np.exp(half):.2f}" if estimate.log else f"±{half:.2g}"
    effect = abs(estimate.on_scale(estimate.value) - estimate.on_scale(border))
    needed = runs_needed(effect, estimate.std) if np.isfinite(effect) and effect > 0 else np.inf
    told = f"n = {needed:.0f} would tell" if needed <= 1000 else "more than n = 1,000 to tell"
    return f"{seen} around {border:g} would have been seen; {told}"


def compare_number(
    printed: Iterable[float], estimate: Estimate, trivial: Iterable[float] = ()
) -> str:
    """Whether a printed number lies in our interval, which may hold a trivial answer as well."""
    if not np.isfinite([estimate.low, estimate.high]).all():
        return TOO_WIDE
    if not any(estimate.low <= value <= estimate.high for value in printed):
        return DIFFERS
    return TOO_WIDE if any(estimate.low <= value <= estimate.high for value in trivial) else AGREES


def _correct_families(claims: Sequence[Claim], rows: list[dict[str, Any]]) -> None:
    """Holm's correction inside each family of controls: a finding that it takes is undecided."""
    families: dict[str, list[dict[str, Any]]] = {}
    for claim, row in zip(claims, rows, strict=True):
        if claim.family and row["finding"]:
            families.setdefault(claim.family, []).append(row)
    for members in families.values():
        borders = [parse_rule(row["rule"]).border(row["value"]) for row in members]
        p = [row["estimate"].p_of(border) for row, border in zip(members, borders, strict=True)]
        for row, corrected in zip(members, holm(p), strict=True):
            if row["finding"] != UNDECIDED and corrected >= 1 - LEVEL:
                row["finding"] = UNDECIDED
                row["why"] = f"Holm's p = {corrected:.2g} among {len(members)} controls"
