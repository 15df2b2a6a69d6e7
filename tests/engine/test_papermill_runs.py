"""The batch runner, as a user calls it, on small notebooks with a real kernel."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner, Result
from faults import wait_for
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.engine import notebooks
from lib.engine.files import REPOSITORY

RUNNER = [sys.executable, str(REPOSITORY / "papermill_runs.py")]
PARAMETERS = 'profile = "quick"  # quick | medium | paper\nwait = 0.0  # seconds'


def write_notebook(path: Path, *code: str) -> Path:
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    title = new_markdown_cell("# A title\n\n![a drawing](drawings/a.svg)")
    cells = [title, parameters, *map(new_code_cell, code)]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def environment(reports: Path) -> dict[str, str]:
    return os.environ | {"REPORTS_ROOT": str(reports)}


def run(folder: Path, reports: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [*RUNNER, "--folder", str(folder), *arguments]
    return subprocess.run(
        command, env=environment(reports), capture_output=True, text=True, timeout=300
    )


def call(monkeypatch, folder: Path, reports: Path, *arguments: str) -> Result:
    """The same in this process, which is faster, for what starts no kernel."""
    monkeypatch.syspath_prepend(REPOSITORY)
    from papermill_runs import main

    command = ["--folder", str(folder), *arguments]
    return CliRunner(env={"REPORTS_ROOT": str(reports)}).invoke(main, command)


def status(done: subprocess.CompletedProcess, notebook: str) -> list[str]:
    """The notebook's line of the table: status, minutes, peak GiB."""
    return next(x for x in done.stdout.splitlines() if x.startswith(f"{notebook} ")).split()[1:]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A good and a bad notebook run together, in folders with spaces, accents and braces."""
    top = tmp_path_factory.mktemp("a b é")
    folder, reports = top / "ノート {x}", top / "out put"
    write_notebook(folder / "01_bad.ipynb", "x = 0\n1 / x", "print('not reached')")
    (folder / "drawings").mkdir()
    (folder / "drawings" / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_notebook(
        folder / "02_good.ipynb",
        "memory = bytearray(300 * 2**20)\nimport time; time.sleep(1.5)",
        "import os\nprint(profile, wait, os.environ['REPORTS_ROOT'], os.getcwd())",
    )
    return folder, reports, run(folder, reports, "-j", "2", "-p", "wait", "0.5")


def test_success_is_kept_with_page_and_record(batch):
    folder, reports, done = batch
    name, minutes, peak = status(done, "02_good")
    assert name == "ok"
    assert 0.03 < float(minutes) < 1
    assert 0.35 < float(peak) < 2  # the kernel's 300 MiB are in a grandchild
    results = reports / "quick" / "02_good"
    text = nbformat.read(results / "executed.ipynb", 4).cells[-1].outputs[0].text
    assert text.split(" ", 2) == ["quick", "0.5", f"{reports} {folder}\n"]
    page = (results / "notebook.html").read_text(encoding="utf-8")
    assert "<title>02_good</title>" in page and 'src="data:image/svg+xml;base64,' in page
    assert not (results / "executed.partial.ipynb").exists()


def test_failure_is_collected_and_shown(batch):
    _, reports, done = batch
    assert done.returncode == 1
    assert status(done, "01_bad")[0] == "failed"
    partial = reports / "quick" / "01_bad" / "executed.partial.ipynb"
    assert "----> 2 1 / x" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert str(partial) in done.stdout
    assert partial.exists()
    assert not partial.with_name("executed.ipynb").exists()


def test_runs_again_only_when_the_code_changed(batch):
    folder, reports, first = batch
    path = folder / "02_good.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = "# Another title"
    nbformat.write(notebook, path)
    same = run(folder, reports, "02", "-p", "wait", "0.5")
    assert same.returncode == 0
    assert status(same, "02_good") == ["skipped", *status(first, "02_good")[1:]]
    notebook.cells[-1].source = "print('changed')"
    nbformat.write(notebook, path)
    changed = run(folder, reports, "02_good", "-p", "wait", "0.5")
    assert status(changed, "02_good")[0] == "ok"
    executed = nbformat.read(reports / "quick" / "02_good" / "executed.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "changed\n"


def test_fingerprint_holds_code_and_parameters(tmp_path):
    path = write_notebook(tmp_path / "01_a.ipynb", "1")
    first = notebooks.fingerprint(path, {"profile": "quick"})
    assert first == notebooks.fingerprint(path, {"profile": "quick"})
    assert first != notebooks.fingerprint(path, {"profile": "medium"})
    write_notebook(path, "2")
    assert first != notebooks.fingerprint(path, {"profile": "quick"})


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A small repository: two studies on shared rooms, and a notebook of the first study."""
    files = {
        "engine/files.py": "import os",
        "ledger/report.py": "def late():\n    from lib.engine.files import os",
        "first/trials.py": "from lib.ledger import report\nfrom lib.engine import files",
        "first/profile.yaml": "size: [1, 2, 3]",
        "second/trials.py": "import lib.engine.files",
    }
    for name, text in files.items():
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(text)
    (tmp_path / "requirements.txt").write_text("a==1")
    monkeypatch.setattr(notebooks, "REPOSITORY", tmp_path)
    code = "%matplotlib inline\nif profile:\n    !ls\nfrom lib.first.trials import report"
    return tmp_path, write_notebook(tmp_path / "notebooks" / "01_first.ipynb", code)


def test_a_room_reaches_what_it_imports_even_inside_functions(house):
    assert notebooks.rooms("import lib.second.trials as t") == ["engine", "second"]
    assert notebooks.rooms("from lib import first") == ["engine", "first", "ledger"]
    assert notebooks.rooms("import os, library.x; from pathlib import lib") == []
    assert notebooks.rooms("no python (\nimport lib.second.trials") == ["engine", "second"]


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("lib/first/trials.py", True),
        ("lib/first/profile.yaml", True),
        ("lib/first/paper.csv", True),
        ("lib/engine/style.mplstyle", True),
        ("lib/engine/files.py", True),
        ("lib/ledger/templates/page.j2", True),
        ("requirements.txt", True),
        ("lib/second/trials.py", False),
        ("lib/first/note.md", False),
        ("lib/first/.trials.py.swp.py", False),
    ],
)
def test_a_fingerprint_covers_the_rooms_that_a_notebook_imports(house, file, counts):
    """So an edit in one study leaves the results of the others valid."""
    root, path = house
    first = notebooks.fingerprint(path, {})
    (root / file).parent.mkdir(exist_ok=True)
    with open(root / file, "a") as text:
        text.write("\n# another line")
    assert (notebooks.fingerprint(path, {}) != first) == counts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "wiat", "1"], "01_a has no parameter 'wiat'; it has: profile, wait"),
        (["--profile", "huge"], "'huge' is not one of 'quick', 'medium', 'paper'"),
        (["07"], "no notebook '07'; known: 01_a, 01_b"),
        (["01"], "'01' may be 01_a or 01_b; known: 01_a, 01_b"),
        (["--refresh", "-p", "wait", "1"], "--refresh takes the quick profile and no -p"),
        (["-p", "profile", "paper"], "the profile is set by --profile, not by -p"),
    ],
)
def test_what_is_refused_leaves_no_trace(tmp_path, monkeypatch, arguments, message):
    write_notebook(tmp_path / "01_a.ipynb", "1")
    write_notebook(tmp_path / "01_b.ipynb", "1")
    done = call(monkeypatch, tmp_path, tmp_path / "reports", *arguments)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert not (tmp_path / "reports").exists()


def test_reports_that_cannot_be_written_are_one_error(tmp_path, monkeypatch):
    write_notebook(tmp_path / "01_a.ipynb", "1")
    blocked = tmp_path / "a file"
    blocked.write_text("kept")
    done = call(monkeypatch, tmp_path, blocked)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: results cannot be written to {blocked}/quick: ")
    assert len(done.stderr.splitlines()) == 1


def test_list_shows_parameters_and_runs_nothing(tmp_path, monkeypatch):
    write_notebook(tmp_path / "01_a.ipynb", "1")
    write_notebook(tmp_path / "draft.ipynb", "1")
    done = call(monkeypatch, tmp_path, tmp_path / "reports", "--list")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["01_a", "(2", "code", "cells)"]
    assert lines[2] == ["wait", "=", "0.0", "seconds"]
    assert "draft" not in done.stdout
    assert not (tmp_path / "reports").exists()


def test_ctrl_c_keeps_the_earlier_result_and_leaves_no_process(tmp_path):
    folder, reports = tmp_path / "in", tmp_path / "out"
    note = tmp_path / "pid"
    write = f"import os, pathlib\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))"
    write_notebook(folder / "01_a.ipynb", "'before'", f"{write}\nimport time; time.sleep(wait)")
    results = reports / "quick" / "01_a"
    results.mkdir(parents=True)
    (results / "executed.ipynb").write_text("an earlier result")
    command = [*RUNNER, "--folder", str(folder), "-p", "wait", "60"]
    runner = subprocess.Popen(
        command,
        env=environment(reports),
        stderr=subprocess.PIPE,
        # a shell that runs the tests in the background has switched Ctrl-C off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: note.exists() and note.read_text(), runner)
    runner.send_signal(signal.SIGINT)
    said = runner.communicate(timeout=60)[1].decode()
    assert runner.returncode == 130 and "Traceback" not in said, said
    assert (results / "executed.ipynb").read_text() == "an earlier result"
    partial = nbformat.read(results / "executed.partial.ipynb", 4)
    assert [out.data["text/plain"] for c in partial.cells[3:4] for out in c.outputs] == ["'before'"]
    wait_for(lambda: not psutil.pid_exists(int(note.read_text())))


def test_refresh_writes_clean_outputs_once(tmp_path):
    folder, reports = tmp_path / "in", tmp_path / "out"
    code = "import sys\nprint('seen')\nprint('noise', file=sys.stderr)"
    path = write_notebook(folder / "01_a.ipynb", code, "", "40 + 2")
    before = nbformat.read(path, 4)
    done = run(folder, reports, "--refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    after = nbformat.read(path, 4)
    assert [(c.id, c.source, c.metadata) for c in after.cells] == [
        (c.id, c.source, c.metadata) for c in before.cells
    ]
    assert after.metadata == before.metadata
    code_cells = after.cells[1:]
    assert [c.execution_count for c in code_cells] == [1, 2, None, 3]
    assert [[out.output_type for out in c.outputs] for c in code_cells] == [
        [],
        ["stream"],
        [],
        ["execute_result"],
    ]
    assert code_cells[1].outputs[0].text == "seen\n"
    assert code_cells[3].outputs[0].execution_count == 3
    first = path.read_bytes()
    after.cells[0].source = after.cells[0].source.replace("A title", "Better words")
    after.cells[3].outputs = []
    nbformat.write(after, path)
    assert status(run(folder, reports, "--refresh"), "01_a")[0] == "skipped"
    assert path.read_bytes() == first.replace(b"A title", b"Better words")
    assert list(folder.iterdir()) == [path]


def executed(outputs: list, **metadata) -> nbformat.NotebookNode:
    cell = new_code_cell("x", id="abc", outputs=outputs, execution_count=7)
    return new_notebook(cells=[cell], metadata=metadata)


def test_committed_form_has_no_machine_in_it():
    streams = [new_output("stream", name="stdout", text=text) for text in ("a", "b\n")]
    widget = new_output("display_data", {"text/plain": "bar", notebooks.WIDGET: {}})
    ran = executed([*streams, widget])
    source = executed([], papermill={"x": 1}, widgets={"y": 2}, title="kept")
    source.cells[0].metadata.update(papermill={}, execution={}, tags=["kept"])
    clean = notebooks.committed(source, ran)
    assert clean.metadata == {"title": "kept"}
    assert clean.cells[0].metadata == {"tags": ["kept"]}
    assert clean.cells[0].outputs[0].text == "ab\n"
    assert clean.cells[0].outputs[1].data == {"text/plain": "bar"}
    assert "papermill" in source.metadata  # the argument is as it was


def test_committed_form_refuses_paths_of_this_machine():
    def printed(text: str) -> nbformat.NotebookNode:
        ran = executed([new_output("stream", name="stdout", text=text)])
        return notebooks.committed(executed([]), ran)

    for text in (f"saved {REPOSITORY}/reports/a.png", f"'{REPOSITORY}'"):
        with pytest.raises(ValueError, match=r"cell abc \[1\] prints the path"):
            printed(text)
    for text in (f"https://host{REPOSITORY}", f"{REPOSITORY}x", "reports/a.png"):
        assert printed(text).cells[0].outputs[0].text == text


def test_committed_form_refuses_another_code():
    ran = executed([])
    ran.cells[0].source = "y"
    with pytest.raises(ValueError, match="edited while it ran"):
        notebooks.committed(executed([]), ran)


def test_damaged_notebook_is_named(tmp_path):
    path = tmp_path / "01_a.ipynb"
    for text in ("", "{", "[]", json.dumps({"nbformat": 4})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"01_a\.ipynb is not a readable notebook"):
            notebooks.code_cells(notebooks.read(path))
