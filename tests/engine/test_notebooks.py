"""Rules that every notebook keeps, and proof that its checked cells really compare."""

import ast
import json
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
RESULTS = "00_results"  # reads the committed ledgers of the others


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tagged(notebook, tag):
    return [c for c in code_cells(notebook) if tag in c.metadata.get("tags", [])]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_cells_ran_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_error_or_warning_is_committed(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]


def test_rhythm(path, notebook):
    """At least as much prose as code, short cells, narrow lines."""
    code = code_cells(notebook)
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    lengths = [len([x for x in cell.source.split("\n") if x.strip()]) for cell in code]
    assert 20 <= len(code) <= 52 or path.stem == RESULTS
    assert len(prose) >= len(code)
    assert statistics.median(lengths) <= 13
    assert max(lengths) <= 40
    assert max(len(line) for cell in code for line in cell.source.split("\n")) <= 88


def test_headings(notebook):
    lines = [
        line
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.split("\n")
        if line.startswith("#")
    ]
    levels = [line.split(" ")[0] for line in lines]
    assert levels[0] == "#"
    assert set(levels[1:]) == {"##"}


def test_parameters_are_scalars_with_a_comment(path, notebook):
    (cell,) = tagged(notebook, "parameters")
    assert code_cells(notebook)[0] is cell
    for line in cell.source.strip().split("\n"):
        (assignment,) = ast.parse(line).body
        assert isinstance(assignment.value, ast.Constant), line
        assert "  # " in line, f"no comment: {line}"
    assert f'profile = "{"medium" if path.stem == RESULTS else "quick"}"' in cell.source


def test_enough_checked_cells_with_output(notebook):
    cells = tagged(notebook, "nbval-check-output")
    assert len(cells) >= 6
    assert all(cell.outputs for cell in cells)


def test_defines_no_training_loop(notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    assert ".backward(" not in source
    assert "optim." not in source


def test_metadata_is_clean(notebook):
    text = json.dumps([notebook.metadata, [cell.metadata for cell in notebook.cells]])
    assert "papermill" not in text
    assert "widgets" not in text
    assert str(ROOT) not in json.dumps(notebook)


def test_file_is_small(path):
    assert path.stat().st_size < 1_500_000


def nbval(path):
    options = "-q --nbval-lax --nbval-current-env -p no:cacheprovider --nbval-sanitize-with".split()
    folders = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    sanitize = str(ROOT / "tests/nbval_sanitize.cfg")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *folders, *options, sanitize, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def without_the_expensive_cells(notebook, cell):
    """A copy with the imports and the self-contained checked cell alone."""
    first = code_cells(notebook)[:2]
    return nbformat.v4.new_notebook(metadata=notebook.metadata, cells=[*first, cell])


def test_a_flipped_output_is_noticed(tmp_path):
    """The cell that counts the family, once as committed and once with 510 made 511."""
    notebook = nbformat.read(ROOT / "notebooks/02_dip_architecture_study.ipynb", as_version=4)
    (cell,) = [c for c in tagged(notebook, "nbval-check-output") if "family = " in c.source]
    small = without_the_expensive_cells(notebook, cell)
    path = tmp_path / "count.ipynb"
    nbformat.write(small, path)
    good = nbval(path)
    assert good.returncode == 0, good.stdout
    small.cells[-1].outputs[0]["text"] = cell.outputs[0]["text"].replace("510", "511")
    nbformat.write(small, path)
    bad = nbval(path)
    assert bad.returncode == 1, bad.stdout
    assert "mismatch" in bad.stdout
