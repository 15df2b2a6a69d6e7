"""The README says what the ledger says, and everything that it points to is there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lib.ledger.readme import RESULTS, read_claims, with_table, with_tables

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
    tested = claims[claims.verdict != "audit"]
    assert set(claims.profile) == {"medium"}
    assert f"And {len(claims) - len(tested)} audits" in README
    assert len(rows) == len(tested) > 30
    for row, claim in zip(rows, tested.itertuples(), strict=True):
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
    made = {"reports/index.html", "reports/claims.csv"}  # by ``make run``
    links = set(re.findall(r"\]\(([^)#:]+)\)", README)) - made
    assert len(links) > 8
    assert not [link for link in links if not (ROOT / link).exists()]


def test_missing_markers_are_named():
    with pytest.raises(ValueError, match="has no lines"):
        with_table("# no table here", RESULTS, "| a |")
