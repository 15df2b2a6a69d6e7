"""The README says what the ledger says, and everything that it points to is there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lib.ledger.readme import RESULTS, read_claims, results_table, with_table, with_tables

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_committed_files():
    assert with_tables(README) == README


def test_every_cost_is_what_was_measured():
    """Without the code that wrote it: hours of one GPU add up from the kinds of trials."""
    (path,) = (ROOT / "reports" / "bench").glob("paper_nvidia*.csv")
    kinds = pd.read_csv(path, dtype={"notebook": str})
    hours = (kinds.units * kinds.seconds_a_unit / 3600).groupby(kinds.notebook).sum()
    trials = kinds.groupby("notebook").trials.sum()
    rows = re.findall(r"^\| (\d\d)_\w+ \| ([\d,]+) \| ([\d,]+) h", README, flags=re.M)
    assert [row[0] for row in rows] == ["01", "02", "03", "04", "05"]
    for notebook, count, shown in rows:
        assert int(count.replace(",", "")) == trials[notebook]
        assert abs(int(shown.replace(",", "")) - hours[notebook]) < 1


def test_every_number_of_the_table_is_in_the_ledger():
    """Without the code that wrote it: value, interval and verdict of each row."""
    rows = re.findall(r"^\| \d\d · .*$", README, flags=re.M)
    claims = read_claims()
    medium = claims.groupby("paper").profile.transform(lambda names: "medium" in set(names))
    best = claims[claims.profile == medium.map({True: "medium", False: "quick"})]
    audits = best[best.verdict == "audit"]
    assert f"And {len(audits)} audits" in README
    best = best.drop(audits.index)
    assert len(rows) == len(best) > 30
    for row, claim in zip(rows, best.itertuples(), strict=True):
        assert row.startswith(f"| {claim.paper} · ") and f"**{claim.verdict}**" in row
        if claim.ci_low != claim.ci_high:
            assert f"{claim.our_value:.2f} [{claim.ci_low:.2f}, {claim.ci_high:.2f}]" in row


def test_the_verdicts_are_counted():
    """The first table adds up to the second, by paper and by verdict."""
    counts = re.findall(r"^\| \[(\d\d)_\w+\]\(notebooks/.*?\) \| ([\d |]+) \|$", README, flags=re.M)
    names = re.search(r"^\| notebook \| (.*) \|$", README, flags=re.M)[1].split(" | ")
    rows = re.findall(r"^\| (\d\d) · .*\*\*(.*?)\*\* \|", README, flags=re.M)
    assert len(counts) >= 4
    for paper, cells in counts:
        shown = dict(zip(names, map(int, cells.split(" | ")), strict=True))
        mine = [verdict for other, verdict in rows if other == paper]
        assert {name: mine.count(name) for name in names if name != "audit"} == {
            name: count for name, count in shown.items() if name != "audit"
        }


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 8
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_largest_profile_wins():
    row = dict.fromkeys(["statement", "paper_value", "baseline", "evidence"], "x")
    row |= {"id": "a", "paper": "02", "device": "CPU (X, 1 threads)", "n": 3}
    quick = row | {"profile": "quick", "our_value": 1, "ci_low": 0, "ci_high": 2, "verdict": "q"}
    medium = quick | {"profile": "medium", "verdict": "m"}
    table = results_table(pd.DataFrame([medium, quick]))
    assert "**m**" in table
    assert "**q**" not in table


def test_missing_markers_are_named():
    with pytest.raises(ValueError, match="has no lines"):
        with_table("# no table here", RESULTS, "| a |")


def test_the_page_of_all_results_counts_the_same():
    page = (ROOT / "reports" / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<span class="badge [\w-]+">(\d+) ([\w ]+)</span></li>', page)
    names = re.search(r"^\| notebook \| (.*) \|$", README, flags=re.M)[1].split(" | ")
    rows = re.findall(r"^\| \[\d\d_\w+\]\(notebooks/.*?\) \| ([\d |]+) \|$", README, flags=re.M)
    sums = [
        sum(map(int, column)) for column in zip(*(row.split(" | ") for row in rows), strict=True)
    ]
    assert {name: int(count) for count, name in shown} == dict(zip(names, sums, strict=True))
