"""The ledgers in words, and the README that quotes them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from lib.ledger import results
from lib.ledger.claims import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = {
    **dict.fromkeys(COLUMNS, ""),
    **{"paper": "02", "id": "a", "statement": "It <is>.", "whose": "paper", "measure": "ratio"},
    **{"rule": "> 1", "value": 1.5, "low": 1.2, "high": 1.8, "n": 3, "per": "seeds"},
    **{
        "comparable": "smaller",
        "finding": "supported",
        "headline": True,
        "evidence": "tables/t.csv",
    },
}


def ledger(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([ROW | change for change in changes], columns=COLUMNS)


def test_only_the_papers_own_claims_are_counted():
    table = results.counts(
        ledger(
            {},
            {"whose": "ours"},
            {"whose": "construction"},
            {"whose": "table"},
            {"finding": "", "comparable": "untestable here"},
            {"paper": "03", "finding": "opposed"},
        )
    )
    assert table.loc["02"].to_dict() == {
        **{"supported": 1, "opposed": 0, "undecided": 0},
        **{"untestable here": 1, "awaits its records": 0},
    }
    assert table.to_numpy().sum() == 3


def test_a_row_in_words():
    row = results.in_words(ledger({"printed": "1.4", "number": "agrees", "trivial": "equal: 1"}))
    assert row.iloc[0].tolist() == [
        "It <is>.",
        "1.4",
        "ratio: 1.5 [1.2, 1.8], 3 seeds (rule: > 1)",
        "equal: 1",
        "supported; the paper's number agrees; smaller",
    ]
    undecided = {"finding": "undecided", "why": "±1 would have been seen"}
    awaits = {"finding": "", "comparable": "awaits its records", "why": "no table t", "value": None}
    one = {"low": float("-inf"), "high": float("inf")}
    texts = results.in_words(ledger(undecided, awaits, one))
    assert texts["finding"][0] == "undecided: ±1 would have been seen; smaller"
    assert texts["finding"][1] == "awaits its records: no table t"
    assert texts.iloc[2, 2] == "ratio: 1.5, 3 seeds (rule: > 1)"


def test_cells_of_the_searchable_table_are_safe_and_link_to_their_evidence():
    rows = ledger({}).assign(notebook="02_dip")
    cells = results.searchable(rows).iloc[0]
    assert cells["claim"] == "It &lt;is&gt;."
    assert cells["here"].startswith('<a href="../reports/medium/02_dip/tables/t.csv">ratio: 1.5')


def test_a_damaged_ledger_is_named(tmp_path):
    (tmp_path / "claims.csv").write_text("id,verdict\na,reproduced\n")
    with pytest.raises(ValueError, match=r"claims\.csv has the columns"):
        results.read_ledger(tmp_path)
    ledger({}, {"value": None}).to_csv(tmp_path / "claims.csv", index=False)
    read = results.read_ledger(tmp_path)
    assert read["paper"].tolist() == ["02", "02"] and read["printed"].tolist() == ["", ""]
    assert pd.isna(read["value"][1]) and read["headline"].all()


def test_every_evidence_of_a_committed_ledger_is_there():
    table = results.committed_ledger()
    table = table[table["comparable"] != "awaits its records"]
    files = {f"reports/medium/{row.notebook}/{row.evidence}" for row in table.itertuples()}
    assert len(files) > 10
    assert not [file for file in files if not (ROOT / file).is_file()]


# --- the README --------------------------------------------------------------------------------


def test_its_numbers_are_those_of_the_committed_files():
    assert results.with_numbers(README) == README


def test_its_counts_are_in_the_ledgers():
    """Without the code that wrote them."""
    table = results.committed_ledger()
    own = table[table["whose"] == "paper"]
    shown = re.findall(r"<!-- = (\d\d) (supported|opposed|undecided) -->(\d+)<!-- -->", README)
    assert len(shown) == 15
    for paper, word, count in shown:
        assert int(count) == ((own["paper"] == paper) & (own["finding"] == word)).sum()


def test_a_number_that_no_ledger_has_is_named():
    with pytest.raises(ValueError, match="no-such-claim"):
        results.with_numbers("<!-- = 02 no-such-claim value -->1<!-- -->")


def test_every_cost_is_what_was_measured():
    """Without the code that wrote it: hours of one GPU add up from the kinds of trials."""
    (path,) = (ROOT / "reports" / "bench").glob("paper_nvidia*.csv")
    kinds = pd.read_csv(path, dtype={"notebook": str})
    hours = (kinds.units * kinds.seconds_a_unit / 3600).groupby(kinds.notebook).sum()
    trials = kinds.groupby("notebook").trials.sum()
    rows = re.findall(r"^\| (\d\d) \| ([\d,]+) \| ([\d,]+) h", README, flags=re.M)
    assert [row[0] for row in rows] == ["01", "02", "03", "04", "05"]
    for notebook, count, shown in rows:
        assert int(count.replace(",", "")) == trials[notebook]
        assert abs(int(shown.replace(",", "")) - hours[notebook]) < 1


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 200
    links = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert len(links) > 8
    assert not [link for link in links if not (ROOT / link).exists()]
