"""The results table of the README, written from the ledger and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lib.claims import AUDIT, VERDICTS
from lib.files import REPOSITORY, committed_reports, write_atomically
from lib.profiles import PROFILES

START, END = "<!-- results: written by papermill_runs.py --refresh -->", "<!-- end of results -->"


def results_table(claims: pd.DataFrame) -> str:
    """Markdown: verdicts by paper, then, folded, each claim as its largest profile has it."""
    size = claims["profile"].map(PROFILES.index)
    best = claims[size == size.groupby([claims["paper"], claims["id"]]).transform("max")]
    audits = best["verdict"] == AUDIT
    tested = best[~audits]
    lines = [
        *_counts(best),
        "",
        f"<details><summary>All {len(tested)} claims, with intervals and baselines</summary>",
        "",
        "| claim | ours [95 % interval] (n) | paper | trivial | verdict | run |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in tested.itertuples()),
    ]
    if audits.any():
        lines += ["", f"And {audits.sum()} audits: what follows from a paper's own numbers."]
    return "\n".join([*lines, "", "</details>"])


def _counts(best: pd.DataFrame) -> list[str]:
    """A table of how many claims of each paper have which verdict."""
    lines = [f"| notebook | {' | '.join(VERDICTS)} |", "|---|" + "---:|" * len(VERDICTS)]
    for paper, part in best.groupby("paper"):
        counts = part["verdict"].value_counts()
        cells = " | ".join(str(counts.get(verdict, 0)) for verdict in VERDICTS)
        name = _folder(paper)
        lines.append(f"| [{name}](notebooks/{name}.ipynb) | {cells} |")
    return lines


def _line(row: Any) -> str:
    where = f"{row.profile}, {row.device.split(',')[0].rstrip(')')}".replace(" (", ": ")
    link = f"reports/{row.profile}/{_folder(row.paper)}/{row.evidence}"
    cells = (
        f"{row.paper} · [{row.statement}]({link})",
        f"{row.our_value:.3g}"
        if row.ci_low == row.ci_high
        else f"{row.our_value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}] ({row.n})",
        row.paper_value,
        row.baseline,
        f"**{row.verdict}**",
        where,
    )
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _folder(paper: str) -> str:
    """``02`` -> the notebook of that number."""
    (path,) = (REPOSITORY / "notebooks").glob(f"{paper}_*.ipynb")
    return path.stem


def with_results(readme: str, claims: pd.DataFrame) -> str:
    """The README's text with its table replaced; ValueError if the markers are missing."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md has no lines {START!r} and {END!r}")
    return f"{before}{START}\n{results_table(claims)}\n{END}{after}"


def read_claims() -> pd.DataFrame:
    """The committed ledger of all papers."""
    text = {"paper": str, "paper_value": str, "baseline": str}
    return pd.read_csv(committed_reports() / "claims.csv", dtype=text)


def update_readme(path: Path = REPOSITORY / "README.md") -> None:
    """Write the table of the committed ledger into the README."""
    text = with_results(path.read_text(encoding="utf-8"), read_claims())
    write_atomically(path, text)
