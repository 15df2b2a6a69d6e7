"""What a notebook saves, and the page that is built from it."""

import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib.engine.files import REPOSITORY
from lib.ledger.page import LEDGER
from lib.ledger.report import Report, build_index

NOTEBOOK = "02_dip_architecture_study"
NUMBERS = pd.DataFrame({"depth": [1, 2, 3], "rmse": [0.1, 1 / 3, 0.3]})


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path / "reports"))
    return tmp_path / "reports"


def draw(numbers=NUMBERS):
    figure = Figure()
    figure.subplots().plot(numbers["depth"], numbers["rmse"], label="größer")
    figure.axes[0].set_title("title")
    return figure


def claim(**changes):
    row = dict.fromkeys(LEDGER, "x") | {"verdict": "reproduced", "our_value": 0.5, "ci_low": 0.4}
    return row | {"ci_high": 0.6, "n": 24, "evidence": "tables/rmse.csv"} | changes


def save_all(profile="quick", notebook=NOTEBOOK, **changes):
    report = Report(notebook, profile)
    report.figure(draw(), "rmse", NUMBERS, f"The error, {profile} <b>")
    report.table(NUMBERS, "rmse", "Errors by depth")
    report.claims(pd.DataFrame([claim(profile=profile, **changes)]))
    report.provenance(parameters={"profile": profile}, dataset="photos", trials=None)
    return report


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.addresses, self.headings, self.alts, self.ids = [], [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[a] for a in ("href", "src") if a in attributes]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.alts += [attributes["alt"]] if "alt" in attributes and "src" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []


def test_nothing_is_created_before_something_is_saved(root):
    report = Report(NOTEBOOK, "quick")
    assert report.figures == root / "quick" / NOTEBOOK / "figures"
    assert not root.exists()


def test_a_figure_is_saved_three_times(root):
    report = Report(NOTEBOOK, "quick")
    report.figure(draw(), "rmse", NUMBERS, "The error")
    assert (report.figures / "rmse.png").read_bytes().startswith(b"\x89PNG")
    assert (report.figures / "rmse.pdf").read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(report.figures / "rmse.csv"), NUMBERS)


def test_a_figure_of_pyplot_is_closed(root):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    Report(NOTEBOOK, "quick").figure(figure, "empty", NUMBERS, "Nothing")
    assert not plt.fignum_exists(figure.number)


def test_equal_data_gives_equal_bytes(root, tmp_path):
    """In processes that hash text differently, as two runs do."""
    script = (
        "import tests.test_report as t; from lib.ledger.report import Report; "
        "Report(t.NOTEBOOK, 'quick').figure(t.draw(), 'rmse', t.NUMBERS, 'x')"
    )
    for seed in "12":
        environment = {"PYTHONHASHSEED": seed, "REPORTS_ROOT": str(tmp_path / seed)}
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            check=True,
        )
    for kind in ("png", "pdf", "csv"):
        file = Path("quick") / NOTEBOOK / "figures" / f"rmse.{kind}"
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_a_table_keeps_six_digits_and_a_named_index(root):
    report = Report(NOTEBOOK, "quick")
    by_depth = NUMBERS.set_index("depth")
    assert report.table(by_depth, "by_depth", "By depth") is by_depth
    assert (report.tables / "by_depth.csv").read_text() == (
        "depth,rmse\n1,0.1\n2,0.333333\n3,0.3\n"
    )


@pytest.mark.parametrize("name", ["", "Rmse", "a b", "../rmse", "a.b", "rmse\n", "ü"])
def test_a_bad_name_is_refused(root, name):
    report = Report(NOTEBOOK, "quick")
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        report.figure(draw(), name, NUMBERS, "x")
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        report.table(NUMBERS, name, "x")
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        Report(name, "quick")
    assert not root.exists()


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="'fast'"):
        Report(NOTEBOOK, "fast")


def test_contents_keep_the_order_and_the_newest_caption(root):
    report = Report(NOTEBOOK, "quick")
    for name, caption in (("b", "first"), ("a", "second"), ("b", "first, again")):
        report.table(NUMBERS, name, caption)
    contents = json.loads((report.folder / "contents.json").read_text())
    assert contents["tables"] == [
        {"name": "b", "caption": "first, again"},
        {"name": "a", "caption": "second"},
    ]


def test_provenance_counts_the_trials(root):
    trials = pd.DataFrame(
        {
            "status": ["ok", "error", "ok"],
            "seconds": [1.0, 2.0, 3.5],
            "device": ["CPU", "CPU", "GPU"],
            "commit": ["a", "a", "b"],
        }
    )
    report = Report(NOTEBOOK, "quick")
    record = report.provenance(parameters={"sigma": 25.0}, dataset="photos", trials=trials)
    assert record["trials"] == {
        "ok": 2,
        "failed": 1,
        "seconds": 6.5,
        "devices": ["CPU", "GPU"],
        "commits": ["a", "b"],
    }
    assert record == json.loads((report.folder / "provenance.json").read_text())
    assert {"commit", "versions", "when"} <= set(record)
    nothing = report.provenance(parameters={}, dataset="photos", trials=pd.DataFrame())
    assert nothing["trials"]["ok"] == 0


def test_the_index_collects_the_claims(root):
    save_all("quick", id="a")
    save_all("medium", id="b")
    save_all("quick", "03_transfer_emd", id="c")
    page = build_index(root)
    assert page == root / "index.html"
    ledger = pd.read_csv(root / "claims.csv")
    assert list(ledger.columns) == LEDGER
    assert ledger["id"].tolist() == ["b", "a", "c"]  # by notebook, the larger profile first
    text = page.read_text()
    assert text.index(">medium run") < text.index(">quick: a smoke-scale run")
    assert "0.500" in text
    assert "[0.400, 0.600]" in text


def test_the_index_escapes_what_it_shows(root):
    save_all(statement="<script>alert(1)</script>", paper='"><img src=x onerror=alert(1)>')
    text = build_index(root).read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "quick &lt;b&gt;" in text


def test_the_index_links_only_to_files_that_are_there(root):
    save_all("quick", evidence="tables/none.csv")
    kept = save_all("medium", evidence="tables/größe 1%.csv")
    (kept.tables / "größe 1%.csv").write_text("a\n1\n")
    (kept.folder / "notebook.html").write_text("<p>")
    (kept.figures / "rmse.pdf").unlink()
    source = root.parent / "notebooks" / f"{NOTEBOOK}.ipynb"
    source.parent.mkdir()
    source.write_text(json.dumps({"cells": [{"source": ["# A heading & more\n", "text"]}]}))
    page = Page(build_index(root))
    files = [address for address in page.addresses if not address.startswith("#")]
    assert all((root / unquote(file)).is_file() for file in files)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    medium, quick = f"medium/{NOTEBOOK}", f"quick/{NOTEBOOK}"
    assert f"{medium}/tables/gr%C3%B6%C3%9Fe%201%25.csv" in files
    assert f"{medium}/notebook.html" in files
    assert f"../notebooks/{NOTEBOOK}.ipynb" in files  # of the quick run, which kept none
    assert f"{medium}/figures/rmse.pdf" not in files
    assert f"{quick}/figures/rmse.pdf" in files
    assert "A heading &amp; more" in page.text


def test_the_index_needs_no_other_machine_and_can_be_read_aloud(root):
    save_all()
    page = Page(build_index(root))
    assert "http" not in page.text.lower()
    assert '<html lang="en' in page.text
    steps = [b - a for a, b in zip(page.headings, page.headings[1:], strict=False)]
    assert page.headings[0] == 1
    assert max(steps) == 1
    assert page.alts == ["The error, quick <b>"]
    assert len(page.ids) == len(set(page.ids))


def test_the_index_leaves_out_files_that_were_deleted(root):
    report = save_all()
    (report.figures / "rmse.png").unlink()
    (report.tables / "rmse.csv").unlink()
    text = build_index(root).read_text()
    assert "<figure" not in text
    assert "Errors by depth" not in text


def test_long_tables_are_cut_on_the_page_only(root):
    report = Report(NOTEBOOK, "medium")
    report.table(pd.DataFrame({"row": range(1000, 1100)}), "long", "Long")
    text = build_index(root).read_text()
    assert ">1029<" in text
    assert ">1030<" not in text
    assert "first 30 of 100 rows" in text


def test_the_index_is_the_same_when_nothing_changed(root):
    save_all()
    first = build_index(root).read_bytes()
    assert build_index(root).read_bytes() == first


def test_an_index_of_nothing_says_so(root):
    assert "No claim has been tested yet" in build_index(root).read_text()
    assert pd.read_csv(root / "claims.csv").empty


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("claims.csv", "id,paper\n1,2\n", "columns"),
        ("claims.csv", "", "damaged"),
        ("claims.csv", b"\xff\xfe\x00", "damaged"),
        ("contents.json", '{"figures": [', "damaged"),
        ("provenance.json", "not json", "damaged"),
    ],
)
def test_a_damaged_file_is_named(root, file, content, message):
    report = save_all()
    path = report.folder / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        build_index(root)
    assert str(path) in str(error.value)


def test_an_unknown_verdict_is_named(root):
    report = save_all(verdict="nearly")
    with pytest.raises(ValueError, match="nearly") as error:
        build_index(root)
    assert str(report.folder / "claims.csv") in str(error.value)


def test_a_file_in_place_of_the_folder_is_one_clear_error(root):
    root.write_text("not a folder")
    with pytest.raises(OSError, match=re.escape(str(root))):
        Report(NOTEBOOK, "quick").table(NUMBERS, "rmse", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_root_is_one_clear_error(root):
    root.mkdir()
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=re.escape(str(root))):
        build_index(root)


def test_the_command_builds_the_index_or_says_why_not(root):
    report = save_all()
    command = [sys.executable, "-m", "lib.ledger.report"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == str(root / "index.html")
    (report.folder / "contents.json").write_text("{")
    failed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "contents.json" in failed.stderr


def test_importing_is_light():
    script = (
        "import sys, lib.ledger.report; "
        "print([m for m in ('torch', 'matplotlib', 'IPython', 'seaborn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
