"""The tables of the README, written from the ledger and the measured costs, from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lib.engine.files import REPOSITORY, committed_reports, write_atomically
from lib.engine.profiles import PROFILES
from lib.ledger.claims import AUDIT, VERDICTS

BY = "written by papermill_runs.py --refresh"
RESULTS = (f"<!-- results: {BY} -->", "<!-- end of results -->")
COSTS = (f"<!-- costs: {BY} -->", "<!-- end of costs -->")


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


def costs_table(walls: pd.DataFrame) -> str:
    """Markdown: hours of each notebook's paper profile, from ``benchmarks/paper.py``."""
    columns = [name for name in walls if name.startswith("on ")]
    names = [f"{name} GPU{'' if name == 'on 1' else 's'}" for name in columns]
    lines = [f"| notebook | trials | {' | '.join(names)} |"]
    lines.append("|---|---:|" + "---:|" * len(columns))
    for _, row in walls.iterrows():
        hours = " | ".join(f"{row[name]:,.0f} h" for name in columns)
        lines.append(f"| {_folder(row['notebook'])} | {row['trials']:,} | {hours} |")
    return "\n".join(lines)


def with_table(readme: str, markers: tuple[str, str], table: str) -> str:
    """The README's text with a table replaced; ValueError if its markers are missing."""
    start, end = markers
    before, start_found, rest = readme.partition(start)
    _, end_found, after = rest.partition(end)
    if not start_found or not end_found:
        raise ValueError(f"README.md has no lines {start!r} and {end!r}")
    return f"{before}{start}\n{table}\n{end}{after}"


def with_tables(readme: str) -> str:
    """The README's text with both tables as the committed files have them."""
    readme = with_table(readme, RESULTS, results_table(read_claims()))
    return with_table(readme, COSTS, costs_table(read_costs()))


def read_claims() -> pd.DataFrame:
    """The committed ledger of all papers."""
    text = {"paper": str, "paper_value": str, "baseline": str}
    return pd.read_csv(committed_reports() / "claims.csv", dtype=text)


def read_costs() -> pd.DataFrame:
    """Wall hours of the paper profile on the one GPU that it was measured on."""
    (path,) = (committed_reports() / "bench").glob("paper_wall_*.csv")
    return pd.read_csv(path, dtype={"notebook": str})


def update_readme(path: Path = REPOSITORY / "README.md") -> None:
    """Write the tables of the committed files into the README."""
    write_atomically(path, with_tables(path.read_text(encoding="utf-8")))
