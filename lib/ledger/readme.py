"""The tables of the README, written from the committed ledgers and the measured costs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lib.engine.files import REPOSITORY, committed_reports, write_atomically
from lib.ledger.claims import AUDIT, VERDICTS

BY = "written by papermill_runs.py --refresh"
RESULTS = (f"<!-- results: {BY} -->", "<!-- end of results -->")
COSTS = (f"<!-- costs: {BY} -->", "<!-- end of costs -->")


def results_table(claims: pd.DataFrame) -> str:
    """Markdown: verdicts by paper, then, folded, each claim of the medium runs."""
    tested = claims[claims["verdict"] != AUDIT]
    counts = pd.crosstab(claims["paper"], claims["verdict"]).reindex(columns=VERDICTS, fill_value=0)
    names = {paper: _name(paper) for paper in counts.index}
    rows = [(f"[{n}](notebooks/{n}.ipynb)", *counts.loc[paper]) for paper, n in names.items()]
    lines = [
        f"| notebook | {' | '.join(VERDICTS)} |",
        "|---|" + "---:|" * len(VERDICTS),
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
        f"<details><summary>All {len(tested)} claims, with intervals and baselines</summary>",
        "",
        "| claim | ours [95 % interval] (n) | paper | trivial | verdict | run |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in tested.itertuples()),
    ]
    if audits := len(claims) - len(tested):
        lines += ["", f"And {audits} audits: what follows from a paper's own numbers."]
    return "\n".join([*lines, "", "</details>"])


def _line(row: Any) -> str:
    where = f"{row.profile}, {row.device.split(',')[0].rstrip(')')}".replace(" (", ": ")
    link = f"reports/{row.profile}/{_name(row.paper)}/{row.evidence}"
    interval = f"{row.our_value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}] ({row.n})"
    cells = (
        f"{row.paper} · [{row.statement}]({link})",
        f"{row.our_value:.3g}" if row.ci_low == row.ci_high else interval,
        row.paper_value,
        row.baseline,
        f"**{row.verdict}**",
        where,
    )
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _name(paper: str) -> str:
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
        lines.append(f"| {_name(row['notebook'])} | {row['trials']:,} | {hours} |")
    return "\n".join(lines)


def with_table(readme: str, markers: tuple[str, str], table: str) -> str:
    """The README's text with a table replaced; ValueError if its markers are missing."""
    start, end = markers
    before, start_there, rest = readme.partition(start)
    _, end_there, after = rest.partition(end)
    if not start_there or not end_there:
        raise ValueError(f"README.md has no lines {start!r} and {end!r}")
    return f"{before}{start}\n{table}\n{end}{after}"


def with_tables(readme: str) -> str:
    """The README's text with both tables as the committed files have them."""
    readme = with_table(readme, RESULTS, results_table(read_claims()))
    return with_table(readme, COSTS, costs_table(read_costs()))


def read_claims() -> pd.DataFrame:
    """The committed ledgers of the medium runs, one below the other."""
    text = {"paper": str, "paper_value": str, "baseline": str}
    files = sorted(committed_reports().glob("medium/*/claims.csv"))
    return pd.concat([pd.read_csv(file, dtype=text) for file in files], ignore_index=True)


def read_costs() -> pd.DataFrame:
    """Wall hours of the paper profile on the one GPU that it was measured on."""
    (path,) = (committed_reports() / "bench").glob("paper_wall_*.csv")
    return pd.read_csv(path, dtype={"notebook": str})


def update_readme(path: Path = REPOSITORY / "README.md") -> None:
    """Write the tables of the committed files into the README."""
    write_atomically(path, with_tables(path.read_text(encoding="utf-8")))
