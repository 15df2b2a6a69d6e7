"""The ledgers of all papers in words, for the notebooks, the page of results and the README."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from lib.engine.files import REPOSITORY, committed_reports, write_atomically
from lib.ledger.claims import AWAITS, COLUMNS, FINDINGS, PAPER, UNDECIDED, UNTESTABLE

COUNTED = (*FINDINGS, UNTESTABLE, AWAITS)  # what a paper's claim can come to
NUMBERS = ("value", "low", "high", "n")
# <!-- = 02 no-proxy value -->-0.74<!-- --> : what stands between is written by --refresh
_FIELD = re.compile(r"<!-- = (\d\d|all) (\S+)(?: (\w+))? -->(.*?)<!-- -->")
_COSTS = re.compile(r"(<!-- = costs -->\n).*?(\n<!-- -->)", re.DOTALL)


def read_ledger(folder: Path) -> pd.DataFrame:
    """The claims of one run; ValueError, naming the file, for one that cannot be read."""
    path = folder / "claims.csv"
    texts = {name: str for name in COLUMNS if name not in (*NUMBERS, "headline")}
    try:
        table = pd.read_csv(
            path, dtype=texts, keep_default_na=False, na_values={name: "" for name in NUMBERS}
        )
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {list(table.columns)} instead of {COLUMNS}")
    return table


def committed_ledger(profile: str = "medium") -> pd.DataFrame:
    """The ledgers of all committed runs, one below the other, with the notebook of each."""
    folders = sorted(path.parent for path in committed_reports().glob(f"{profile}/*/claims.csv"))
    parts = [read_ledger(folder).assign(notebook=folder.name) for folder in folders]
    return pd.concat(parts, ignore_index=True)


def outcome(row: Any) -> str:
    """What a claim came to: one of ``COUNTED``."""
    return row.finding or row.comparable


def counts(ledger: pd.DataFrame) -> pd.DataFrame:
    """How many of the papers' own claims came to what: a row a paper, a column an outcome."""
    own = ledger[ledger["whose"] == PAPER]
    outcomes = [outcome(row) for row in own.itertuples()]
    table = pd.crosstab(own["paper"], pd.Series(outcomes, own.index, name="outcome"))
    return table.reindex(columns=list(COUNTED), fill_value=0)


def in_words(ledger: pd.DataFrame) -> pd.DataFrame:
    """A ledger as a reader wants it: the claim, what was printed, what was found, what follows."""
    rows = [
        {
            "claim": row.statement,
            "the paper prints": row.printed or "no number",
            "here, with a 95 % interval": measured(row),
            "trivial answer": row.trivial or "none",
            "finding": verdict(row),
        }
        for row in ledger.itertuples()
    ]
    return pd.DataFrame(rows)


def as_html(table: pd.DataFrame, escape: bool = True) -> HTML:
    """A table of sentences for a notebook: no index, and all of it on the left."""
    html = table.rename_axis(columns=None).to_html(index=False, border=0, escape=escape)
    left = r'<\1 align="left" style="text-align: left; vertical-align: top">'
    return HTML(re.sub(r"<(t[dh])>", left, html))


def measured(row: Any) -> str:
    """Our number with its interval and n, what it is, and the rule it is judged by."""
    if not np.isfinite(row.value):
        return f"{row.measure} (rule: {row.rule})"
    return f"{row.measure}: {interval(row)}, {row.n:.0f} {row.per} (rule: {row.rule})"


def interval(row: Any) -> str:
    """A number and the ends of its interval, to three digits."""
    if np.isfinite([row.low, row.high]).all() and row.low < row.high:
        return f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]"
    return f"{row.value:.3g}"


def verdict(row: Any) -> str:
    """The parts of a verdict in one cell."""
    if row.comparable in (UNTESTABLE, AWAITS):
        return f"{row.comparable}: {row.why}"
    why = [f"{row.finding}: {row.why}"] if row.finding == UNDECIDED else [row.finding, row.why]
    number = f"the paper's number {row.number}" if row.number else ""
    return "; ".join(filter(None, [*why, number, row.comparable]))


def searchable(ledger: pd.DataFrame) -> pd.DataFrame:
    """All claims as a table of HTML cells, each number a link to the file that shows it."""
    table = in_words(ledger).map(escape)
    table.columns = pd.Index(["claim", "the paper prints", "here", "trivial", "finding"])
    files = "../reports/medium/" + ledger["notebook"] + "/" + ledger["evidence"]
    links = '<a href="' + files + '">' + table["here"] + "</a>"
    table["here"] = table["here"].where(ledger["comparable"] == AWAITS, links)
    return pd.concat([ledger[["paper", "whose"]], table], axis="columns")


def measured_on(profile: str = "medium") -> pd.DataFrame:
    """What the committed runs were made with: a row a notebook, from their provenance."""
    rows = []
    for path in sorted(committed_reports().glob(f"{profile}/*/provenance.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        trials = record["trials"] or {"ok": 0, "seconds": 0, "devices": []}
        rows.append(
            {
                "notebook": path.parent.name,
                "data": record["dataset"],
                "trials": trials["ok"],
                "hours of one core": round(trials["seconds"] / 3600, 1),
                "device": ", ".join(trials["devices"]),
                "commit": record["commit"],
                "day": record["when"][:10],
            }
        )
    return pd.DataFrame(rows)


def update_readme() -> None:
    """Write the numbers of the committed files into the README."""
    path = REPOSITORY / "README.md"
    write_atomically(path, with_numbers(path.read_text(encoding="utf-8")))


def with_numbers(readme: str) -> str:
    """The README's text with its numbers as the committed ledgers and costs have them.

    Raises ValueError, naming it, for a number that they do not have.
    """
    ledger = committed_ledger()
    table = counts(ledger)
    rows = {(row.paper, row.id): row for row in ledger.itertuples()}
    kinds = {"interval": interval, "finding": outcome}

    def filled(match: re.Match[str]) -> str:
        paper, name, field, old = match.groups()
        row = rows.get((paper, name))
        if name.replace("-", " ") in COUNTED:
            number = table[name.replace("-", " ")]
            new = str(number.sum() if paper == "all" else number[paper])
        elif row:
            new = kinds[field](row) if field in kinds else f"{getattr(row, field):.3g}"
        else:
            raise ValueError(f"README.md names {match[0]!r}, which no ledger has")
        return match[0].replace(f"-->{old}<!--", f"-->{new}<!--")

    (path,) = (committed_reports() / "bench").glob("paper_wall_*.csv")
    costs = costs_table(pd.read_csv(path, dtype={"notebook": str}))
    return _COSTS.sub(rf"\1{costs}\2", _FIELD.sub(filled, readme))


def costs_table(walls: pd.DataFrame) -> str:
    """Markdown: hours of each notebook's paper profile, from ``benchmarks/paper.py``."""
    columns = [name for name in walls if name.startswith("on ")]
    names = [f"{name} GPU{'' if name == 'on 1' else 's'}" for name in columns]
    lines = [["notebook", "trials", *names]]
    for _, row in walls.iterrows():
        hours = [f"{row[name]:,.0f} h" for name in columns]
        lines.append([row["notebook"], f"{row['trials']:,}", *hours])
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([written[0], "|---|---:|" + "---:|" * len(columns), *written[1:]])
