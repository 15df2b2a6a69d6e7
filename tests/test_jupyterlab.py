"""First contact: the notebooks open and run in JupyterLab, driven in a browser as a user would.

Skipped without Chromium or Playwright. RUN_ALL_NOTEBOOKS=1 also runs the five by "Run All Cells".
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("0[1-9]*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
ALL = "[...document.querySelectorAll('%s')]"
PRINTED = ALL % ".jp-OutputArea-output" + ".some(out => out.textContent.includes('%s'))"
DRAWN = ALL % ".jp-RenderedImage img" + ".filter(image => image.naturalWidth > 0).length"
ERROR = "Cell In["  # each traceback of IPython holds it, a warning does not
SMALL = """
from lib.engine import sweep
from lib.ledger import claims, report
from lib.image_weights.classifiers import ClassifierTrial, run_classifier
small = dict(dataset="digits", train=200, test=100, architecture="vgg5", width=4, epochs=1)
trials = [ClassifierTrial(**small, batch=50, lr=0.05, flip=False, seed=seed) for seed in (0, 1)]
report = report.Report("01_small", "quick")
table = sweep.run(run_classifier, trials, report.trials)
# --
fig = table.plot.bar(x="seed", y="accuracy").figure
report.figure(fig, "accuracy", table[["seed", "accuracy"]], "Accuracy of small networks.")
# --
report.table(table, "accuracies", "Accuracies.")
book = claims.judge_run("lib.dip", report.folder, "quick")
print("claims:", len(book), "| trials:", *table.status)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, its notebooks, its reports) of a server that keeps everything in its own folder."""
    top = tmp_path_factory.mktemp("lab é")
    folder, reports = top / "notebooks", top / "reports"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".*"))
    own = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    places = {name: str(top / name) for name in own} | {"REPORTS_ROOT": str(reports)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    # its own choice of a port and a token, which it writes into a file
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--notebook-dir={folder}"]
    never = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
    command.append(f"--LabApp.check_for_updates_class={never}")  # asks nobody on the internet
    as_a_user = os.environ | places | {"TQDM_DISABLE": ""}  # not as quiet as the tests are
    with open(top / "log", "wb") as log:
        server = psutil.Popen(command, env=as_a_user, stdout=log, stderr=log)
    try:
        known = _started(server, top / "JUPYTER_RUNTIME_DIR", top / "log")
        yield f"{known['url']}lab/tree/{{}}?token={known['token']}&reset", folder, reports
    finally:
        _end(server)


def _started(server: psutil.Popen, runtime: Path, log: Path) -> dict:
    end = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end:
        if any(runtime.glob("jpserver-*-open.html")):  # written after the file that is read
            return json.loads(next(runtime.glob("jpserver-*.json")).read_text())
        time.sleep(0.2)
    pytest.fail(f"JupyterLab ended or was not ready in a minute: {log.read_text()[-2000:]}")


def _end(server: psutil.Popen) -> None:
    """The server, its kernels and their workers: told to, then made to."""
    if server.poll() is not None:
        return
    family = [server, *server.children(recursive=True)]
    server.terminate()
    # it ends its kernels, but may then wait for ever for threads of its own
    for process in psutil.wait_procs(family, timeout=10)[1]:
        process.kill()
    assert not psutil.wait_procs(family, timeout=10)[1], "JupyterLab left a process behind"


@pytest.fixture
def open_notebook(lab):
    """name -> its page with an idle kernel; ``said`` holds the errors of the browser's console."""

    def open_it(name: str):
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.said = []
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("console", lambda it: it.type == "error" and page.said.append(it.text))
        page.goto(lab[0].format(name))
        # the circle beside the kernel's name says idle before there is a kernel
        wait_for(page, "document.body.innerText.includes('| Idle')", "the kernel is idle")
        return page

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield open_it
        browser.close()


def wait_for(page, condition: str, what: str, seconds: float = 60) -> None:
    """Until a condition, in JavaScript, holds; a dialog or an error of a cell ends the wait."""
    wrong = f"document.querySelector('.jp-Dialog-content') || {PRINTED % ERROR}"
    try:
        page.wait_for_function(f"{wrong} || ({condition})", timeout=1000 * seconds, polling=200)
    except playwright.TimeoutError:
        pytest.fail(f"waited {seconds} s in vain until {what}; console: {page.said}")
    assert page.locator(".jp-Dialog-content, .Toastify__toast--error").all_inner_texts() == []
    assert page.locator(".jp-OutputArea-output", has_text=ERROR).all_text_contents() == []
    assert page.said == []


def choose(page, entry: str) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()


def run_all(page, minutes: float) -> None:
    """From a notebook without outputs until every cell has run, none with an error."""
    choose(page, "Run All Cells")
    ran = ALL % ".jp-CodeCell .jp-InputPrompt" + r".every(p => /\[\d+\]/.test(p.textContent))"
    wait_for(page, ran, "every cell has run", 60 * minutes)


def write(path: Path, cells: list) -> str:
    """A notebook without outputs: none is taken for the result of a run that was not."""
    cells = [new_code_cell(c.source) if c.cell_type == "code" else c for c in cells]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path.name


@EACH
def test_a_notebook_opens_as_it_was_committed(open_notebook, path):
    cells = nbformat.read(path, 4).cells
    text = path.read_text(encoding="utf-8")
    figures, tables = text.count('"image/png": "'), text.count("<table")
    assert min(figures, tables) > 0
    page = open_notebook(path.name)
    there = ALL % ".jp-Notebook .jp-Cell" + f".length === {len(cells)}"
    wait_for(page, there, f"{len(cells)} cells are there")
    wait_for(page, f"{DRAWN} === {figures}", f"{figures} figures are drawn")
    title = page.locator(".jp-RenderedMarkdown h1").first.inner_text()
    assert title.rstrip("¶") == cells[0].source.splitlines()[0].removeprefix("# ")
    # not trusted, so cleaned of scripts and styles, but tables they must remain
    assert page.locator(".jp-OutputArea-output.jp-RenderedHTML table").count() == tables


def test_run_all_writes_results(open_notebook, lab):
    """The steps of the real ones: import, sweep in processes of its own, figure, ledger."""
    page = open_notebook(write(lab[1] / "small.ipynb", [*map(new_code_cell, SMALL.split("# --"))]))
    run_all(page, minutes=2)
    page.get_by_text("claims: 13 | trials: ok ok", exact=True).wait_for(timeout=5000)
    wait_for(page, f"{DRAWN} === 1", "the figure is drawn")
    warnings = page.locator("[data-mime-type='application/vnd.jupyter.stderr']")
    assert warnings.all_inner_texts() == []
    results = lab[2] / "quick" / "01_small"
    assert len([*results.glob("figures/accuracy.png"), *results.glob("trials/*.json")]) == 3
    assert "awaits its records" in (results / "claims.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(("code", "error"), [("1 / 0", "ZeroDivision"), ("1 +", "Syntax")])
def test_an_error_is_seen(open_notebook, lab, code, error):
    """That ``run_all`` can fail."""
    page = open_notebook(write(lab[1] / f"{error}.ipynb", [*map(new_code_cell, (code, "2"))]))
    with pytest.raises(AssertionError, match=f"{error}Error"):
        run_all(page, minutes=0.5)


def test_the_known_good_check(open_notebook, lab):
    """Of notebook 02: all above the cell that prints it, then that cell."""
    page = open_notebook(write(lab[1] / "check.ipynb", nbformat.read(NOTEBOOKS[1], 4).cells))
    cell = page.locator(".jp-CodeCell", has_text="fitting on brings the noise back")
    cell.locator(".cm-content").click()
    choose(page, "Run All Above Selected Cell")
    page.keyboard.press("Shift+Enter")
    wait_for(page, PRINTED % "fitting on brings", "the check is printed")
    assert cell.locator(".jp-OutputArea-output").inner_text().count(": True\n") == 2


@pytest.mark.skipif("RUN_ALL_NOTEBOOKS" not in os.environ, reason="RUN_ALL_NOTEBOOKS is not set")
@EACH
def test_run_all_of_a_notebook(open_notebook, lab, path):
    page = open_notebook(write(lab[1] / f"all_{path.name}", nbformat.read(path, 4).cells))
    run_all(page, minutes=20)
    figures = path.read_text(encoding="utf-8").count('"image/png": "')
    wait_for(page, f"{DRAWN} === {figures}", f"{figures} figures are drawn")
    assert (lab[2] / "quick" / path.stem / "claims.csv").exists()
