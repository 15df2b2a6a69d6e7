"""What a notebook saves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib.engine.files import REPOSITORY
from lib.ledger.report import Report

NOTEBOOK = "02_dip_architecture_study"
NUMBERS = pd.DataFrame({"depth": [1, 2, 3], "rmse": [0.1, 1 / 3, 0.3]})
DRAWING = """
from matplotlib.figure import Figure
from lib.ledger.report import Report
import pandas as pd
from lib.figures.style import use_style
use_style()
figure = Figure()
figure.subplots().plot([1, 2, 3], label="größer")
Report("02_dip_architecture_study", "quick").figure(figure, "rmse", pd.DataFrame({"a": [1]}), "x")
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path / "reports"))
    return tmp_path / "reports"


def test_nothing_is_created_before_something_is_saved(root):
    report = Report(NOTEBOOK, "quick")
    assert report.figures == root / "quick" / NOTEBOOK / "figures"
    assert not root.exists()


def test_a_figure_is_saved_three_times(root):
    report = Report(NOTEBOOK, "quick")
    report.figure(Figure(), "rmse", NUMBERS, "The error")
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


def test_equal_data_gives_equal_bytes(tmp_path):
    """In processes that hash text differently, as two runs do."""
    for seed in "12":
        own = {"PYTHONHASHSEED": seed, "REPORTS_ROOT": str(tmp_path / seed)}
        command = [sys.executable, "-c", DRAWING]
        subprocess.run(command, cwd=REPOSITORY, env=os.environ | own, check=True)
    for kind in ("png", "pdf", "csv"):
        file = Path("quick") / NOTEBOOK / "figures" / f"rmse.{kind}"
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_a_table_has_six_digits_and_a_named_index(root):
    report = Report(NOTEBOOK, "quick")
    by_depth = NUMBERS.set_index("depth")
    assert report.table(by_depth, "by_depth", "By depth") is by_depth
    assert (report.tables / "by_depth.csv").read_text() == "depth,rmse\n1,0.1\n2,0.333333\n3,0.3\n"


@pytest.mark.parametrize("name", ["", "Rmse", "a b", "../rmse", "a.b", "rmse\n", "ü"])
def test_a_bad_name_is_refused(root, name):
    report = Report(NOTEBOOK, "quick")
    for save in (
        lambda: report.figure(Figure(), name, NUMBERS, "x"),
        lambda: report.table(NUMBERS, name, "x"),
        lambda: Report(name, "quick"),
    ):
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            save()
    assert not root.exists()


def test_contents_have_the_order_and_the_newest_caption(root):
    report = Report(NOTEBOOK, "quick")
    for name, caption in (("b", "first"), ("a", "second"), ("b", "first, again")):
        report.table(NUMBERS, name, caption)
    contents = json.loads((report.folder / "contents.json").read_text())
    assert contents["tables"] == [
        {"name": "b", "caption": "first, again"},
        {"name": "a", "caption": "second"},
    ]


def test_provenance_counts_the_trials(root):
    trials = pd.DataFrame({"status": ["ok", "error", "ok"], "seconds": [1.0, 2.0, 3.5]})
    trials = trials.assign(device=["CPU", "CPU", "GPU"], commit=["a", "a", "b"])
    report = Report(NOTEBOOK, "quick")
    record = report.provenance(parameters={"sigma": 25.0}, dataset="photos", trials=trials)
    counts = {"ok": 2, "failed": 1, "seconds": 6.5}
    assert record["trials"] == counts | {"devices": ["CPU", "GPU"], "commits": ["a", "b"]}
    assert record == json.loads((report.folder / "provenance.json").read_text())
    assert {"commit", "versions", "when"} <= set(record)
    nothing = report.provenance(parameters={}, dataset="photos", trials=pd.DataFrame())
    assert nothing["trials"]["ok"] == 0


def test_a_file_in_place_of_the_folder_is_one_clear_error(root):
    root.write_text("not a folder")
    with pytest.raises(OSError, match=re.escape(str(root))):
        Report(NOTEBOOK, "quick").table(NUMBERS, "rmse", "x")


def test_importing_is_light():
    heavy = "('torch', 'matplotlib', 'IPython', 'seaborn', 'nbconvert')"
    script = f"import sys, lib.ledger.report; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
