"""The page that is built from what notebooks save, and tables that sort by a click."""

import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib.engine.files import REPOSITORY
from lib.ledger.claims import COLUMNS
from lib.ledger.page import build_index, sortable_table
from lib.ledger.report import Report

NOTEBOOK = "02_dip_architecture_study"
NUMBERS = pd.DataFrame({"depth": [1, 2, 3], "rmse": [0.1, 1 / 3, 0.3]})


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path / "reports"))
    return tmp_path / "reports"


def save_all(profile="quick", notebook=NOTEBOOK, **changes):
    row = dict.fromkeys(COLUMNS, "x") | {"verdict": "reproduced", "our_value": 0.5, "ci_low": 0.4}
    row |= {"ci_high": 0.6, "n": 24, "evidence": "tables/rmse.csv", "profile": profile} | changes
    report = Report(notebook, profile)
    report.figure(Figure(), "rmse", NUMBERS, f"The error, {profile} <b>")
    report.table(NUMBERS, "rmse", "Errors by depth")
    report.claims(pd.DataFrame([row]))
    report.provenance(parameters={"profile": profile}, dataset="photos", trials=None)
    return report


class Page(HTMLParser):
    """The tags with their attributes, and the text that follows each."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags = text, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.tags:
            self.tags[-1][2] += data.strip()

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.tags if name == tag]

    def values(self, *names):
        return [given[name] for _, given, _ in self.tags for name in names if name in given]


def test_the_index_collects_the_claims(root):
    save_all("quick", id="a")
    save_all("medium", id="b")
    save_all("quick", "03_transfer_emd", id="c")
    page = build_index(root)
    assert page == root / "index.html"
    ledger = pd.read_csv(root / "claims.csv")
    assert list(ledger.columns) == COLUMNS
    assert ledger["id"].tolist() == ["b", "a", "c"]  # by notebook, the larger profile first
    text = page.read_text()
    assert text.index(">medium run") < text.index(">quick: a smoke-scale run")
    assert "0.500" in text and "[0.400, 0.600]" in text
    first = page.read_bytes()
    assert build_index(root).read_bytes() == first  # nothing changed


def test_the_index_escapes_what_it_shows(root):
    save_all(statement="<script>alert(1)</script>", paper='"><img src=x onerror=alert(1)>')
    text = build_index(root).read_text()
    assert "&lt;script&gt;alert(1)" in text and "quick &lt;b&gt;" in text
    assert "<script>alert" not in text and "<img src=x" not in text


def test_the_index_links_only_to_files_that_are_there(root):
    save_all("quick", evidence="tables/none.csv")
    medium = save_all("medium", evidence="tables/größe 1%.csv")
    (medium.tables / "größe 1%.csv").write_text("a\n1\n")
    (medium.folder / "notebook.html").write_text("<p>")
    (medium.figures / "rmse.pdf").unlink()
    source = root.parent / "notebooks" / f"{NOTEBOOK}.ipynb"
    source.parent.mkdir()
    source.write_text(json.dumps({"cells": [{"source": ["# A heading & more\n", "text"]}]}))
    page = Page(build_index(root).read_text())
    addresses = page.values("href", "src")
    files = [address for address in addresses if not address.startswith("#")]
    assert all((root / unquote(file)).is_file() for file in files)
    assert {a[1:] for a in addresses if a.startswith("#")} <= set(page.values("id"))
    assert f"medium/{NOTEBOOK}/tables/gr%C3%B6%C3%9Fe%201%25.csv" in files
    assert f"medium/{NOTEBOOK}/notebook.html" in files
    assert f"../notebooks/{NOTEBOOK}.ipynb" in files  # of the quick run, which has none
    assert f"medium/{NOTEBOOK}/figures/rmse.pdf" not in files
    assert f"quick/{NOTEBOOK}/figures/rmse.pdf" in files
    assert "A heading &amp; more" in page.text


def test_the_index_needs_no_other_machine_and_can_be_read_aloud(root):
    save_all()
    page = Page(build_index(root).read_text())
    assert "http" not in page.text.lower()
    assert '<html lang="en' in page.text
    headings = [int(tag[1]) for tag, *_ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert max(b - a for a, b in pairwise(headings)) == 1
    assert [given["alt"] for given, _ in page.all("img")] == ["The error, quick <b>"]
    assert len(page.values("id")) == len(set(page.values("id")))


def test_the_index_leaves_out_files_that_were_deleted(root):
    report = save_all()
    (report.figures / "rmse.png").unlink()
    (report.tables / "rmse.csv").unlink()
    text = build_index(root).read_text()
    assert "<figure" not in text and "Errors by depth" not in text


def test_long_tables_are_cut_on_the_page_only(root):
    report = Report(NOTEBOOK, "medium")
    report.table(pd.DataFrame({"row": range(1000, 1100)}), "long", "Long")
    text = build_index(root).read_text()
    assert ">1029<" in text and ">1030<" not in text and "first 30 of 100 rows" in text


def test_an_index_of_nothing_says_so(root):
    assert "No claim has been tested yet" in build_index(root).read_text()
    assert pd.read_csv(root / "claims.csv").empty


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("claims.csv", b"id,paper\n1,2\n", "columns"),
        ("claims.csv", f"{','.join(COLUMNS)}\n{'nearly,' * 14}nearly\n".encode(), "nearly"),
        ("claims.csv", b"", "damaged"),
        ("claims.csv", b"\xff\xfe\x00", "damaged"),
        ("contents.json", b'{"figures": [', "damaged"),
        ("provenance.json", b"not json", "damaged"),
    ],
)
def test_a_damaged_file_is_named(root, file, content, message):
    path = save_all().folder / file
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        build_index(root)
    assert str(path) in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_root_is_one_clear_error(root):
    root.mkdir()
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=re.escape(str(root))):
        build_index(root)


def test_the_command_builds_the_index_or_says_why_not(root):
    report = save_all()
    command = [sys.executable, "-m", "lib.ledger.page"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(root / "index.html")), done.stderr
    (report.folder / "contents.json").write_text("{")
    failed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1 and "contents.json" in failed.stderr


FRAME = pd.DataFrame(
    {
        "name <b>": ["a & b", "</script>", None],
        "share": [0.12345678, np.nan, 12.0],
        "seeds": [3, 20, 100],
        "single": np.float32([0.5, np.inf, -np.inf]),
        "best": [True, False, True],
    }
)


def test_a_sortable_table_shows_every_value_and_has_what_its_script_sorts_by():
    page = Page(sortable_table(FRAME, digits=2))
    assert [text for _, text in page.all("button")] == list(FRAME.columns)
    assert all(button["type"] == "button" for button, _ in page.all("button"))
    assert {(head["scope"], head["aria-sort"]) for head, _ in page.all("th")} == {("col", "none")}
    names, shares, seeds, singles, truths = (page.all("td")[i::5] for i in range(5))
    assert [text for _, text in shares] == ["0.12", "", "12.00"]
    assert [cell["data-key"] for cell, _ in shares] == ["0.12345678", "", "12.0"]
    assert [text for _, text in seeds] == ["3", "20", "100"]
    assert [cell["data-key"] for cell, _ in singles] == ["0.5", "Infinity", "-Infinity"]
    assert [text for _, text in names] == ["a & b", "</script>", ""]
    assert [text for _, text in truths] == ["True", "False", "True"]
    assert not any("data-key" in cell for cell, _ in [*names[:2], *truths])
    assert names[2][0]["data-key"] == ""
    assert len(page.all("b")) == 0 and len(page.all("script")) == 1


def test_several_sortable_tables_live_on_one_page_and_fetch_nothing():
    names = []
    for text in (sortable_table(FRAME), sortable_table(FRAME), sortable_table(FRAME[:0])):
        ((attributes, _),) = Page(text).all("table")
        names.append(attributes["id"])
        assert set(re.findall(r"sortable-\w+-\d+", text)) == {attributes["id"]}
        assert not [w for w in ("http", "src=", "href", "import", "url(") if w in text]
    assert len(set(names)) == 3
