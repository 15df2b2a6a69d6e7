"""Parameters as typed in a terminal, and what a notebook then gets and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lib.engine import files, notebooks, runner
from lib.engine.files import REPOSITORY, data_root, reports_root

CELL = """profile = "quick"  # size
photographs = False  # whether figures may show faces
jobs = 0  # processes
rate = 1.0  # of learning
limit = None  # or a number
address = ""  # of a scheduler
data_root = ""  # of the data sets
own = ""  # folder of pictures"""


@pytest.fixture
def notebook(tmp_path) -> Path:
    cell = new_code_cell(CELL, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    path = tmp_path / "01_a.ipynb"
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.parametrize(
    ("name", "said", "meant"),
    [
        ("photographs", "false", False),
        ("photographs", "False", False),
        ("photographs", "TRUE", True),
        ("jobs", "2", 2),
        ("rate", "2", 2.0),
        ("rate", "1e-3", 0.001),
        ("limit", "None", None),
        ("limit", "3", 3),
        ("limit", "few", "few"),
        ("address", "8786", "8786"),
        ("address", "None", "None"),
        ("profile", "true", "true"),
        ("data_root", "", ""),
    ],
)
def test_a_value_has_the_type_of_its_default(notebook, name, said, meant):
    value = notebooks.typed(notebook, {name: said})[name]
    assert value == meant and type(value) is type(meant)


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("photographs", "no", "true or false"),
        ("photographs", "0", "true or false"),
        ("jobs", "two", "a whole number"),
        ("jobs", "1.5", "a whole number"),
        ("jobs", "True", "a whole number"),
        ("rate", "fast", "a number"),
    ],
)
def test_a_value_of_another_type_is_refused(notebook, name, said, why):
    with pytest.raises(ValueError, match=f"^01_a: {name} must be {why}, not {said!r}$"):
        notebooks.typed(notebook, {name: said})


def test_an_unknown_name_is_refused(notebook):
    with pytest.raises(ValueError, match=r"01_a has no parameter 'seed'; it has: profile, photog"):
        notebooks.typed(notebook, {"seed": "1"})


@pytest.mark.parametrize("name", ["data_root", "own"])
def test_a_path_is_what_the_shell_means(notebook, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for said, meant in (("my data", "my data"), ("2012", "2012"), ("~/x", "home/x"), (".", "")):
        assert notebooks.typed(notebook, {name: said})[name] == str(tmp_path / meant)


def test_the_home_folder_in_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA_ROOT", "~/data")
    monkeypatch.setenv("REPORTS_ROOT", "~/reports")
    assert data_root() == tmp_path / "data" and reports_root() == tmp_path / "reports"
    assert data_root("~/other") == tmp_path / "other"


def test_a_path_that_python_cannot_say_is_refused(notebook):
    """As the C locale gives a path that is not ASCII."""
    said = os.fsencode("/data/dätä").decode("ascii", "surrogateescape")
    with pytest.raises(ValueError, match=r"data_root is '/data/d\\udcc3.*PYTHONUTF8=1"):
        notebooks.typed(notebook, {"data_root": said})


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(tmp_path):
    code = "from lib.engine.files import say_anything as s; s(); print('データ', '\\udce9')"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0 and done.stdout.split() == [b"???", b"?"]


def test_a_notebook_runs_the_code_of_the_checkout_that_runs_it(monkeypatch):
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    monkeypatch.setattr(runner.os, "dup2", lambda *_: None)
    monkeypatch.setattr(runner.sys, "stderr", sys.stderr)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("REPORTS_ROOT", "out")
    monkeypatch.setenv("DATA_ROOT", "in")
    runner._prepare_child()
    assert os.environ["PYTHONPATH"] == f"{files.REPOSITORY}{os.pathsep}elsewhere"
    assert os.environ["REPORTS_ROOT"] == str(Path("out").resolve())
    assert os.environ["DATA_ROOT"] == str(Path("in").resolve())


def test_no_notebook_is_stopped_by_an_assert():
    """python -O would go on."""
    for path in (REPOSITORY / "notebooks").glob("0*.ipynb"):
        for cell in notebooks.code_cells(notebooks.read(path)):
            lines = (line.lstrip() for line in cell.source.splitlines())
            assert not any(line.startswith("assert ") for line in lines), path.stem
