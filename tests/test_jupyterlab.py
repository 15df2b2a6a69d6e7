"""First contact: the notebooks open and run in JupyterLab, driven in a browser as a user would.

Skipped where there is no Chromium, or no Playwright to drive it. With RUN_ALL_NOTEBOOKS=1 the five
notebooks themselves are run by "Run All Cells", which takes as long as ``make run``.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

playwright = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("0*.ipynb"))
MINUTE = 60_000  # in Playwright's milliseconds
SETTINGS = {"windowingMode": "none", "scrollPastEnd": False}  # every cell is in the page
SMALL = (
    """
    from lib import sweep
    from lib.claims import Ledger, above
    from lib.report import Report
    from lib.stats import share_interval
    from lib.studies.classifiers import ClassifierTrial, run_classifier
    import matplotlib.pyplot as plt
    """,
    """
    report = Report("01_small", "quick")
    trial = ClassifierTrial(dataset="digits", train=200, test=100, architecture="vgg5", width=4,
                            epochs=1, batch=50, lr=0.05, flip=False)
    table = sweep.run(run_classifier, [trial], report.trials, jobs=1)
    """,
    """
    fig, ax = plt.subplots()
    ax.bar(["trained"], table.accuracy)
    report.figure(fig, "accuracy", table[["accuracy"]], "Accuracy of a small network.")
    """,
    """
    book = Ledger("01", profile="quick", dataset="digits", device="here")
    right = share_interval(round(table.accuracy[0]), 100)
    book.add("a", "It is right (share > 0)", estimate=right, rule=above(0, least=1),
             baseline="chance: 0.1", evidence="figures/accuracy.png")
    report.claims(book.table())
    print("claims:", len(book.table()), "| status:", table.status[0])
    """,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, folder of copies, reports): a server of its own, ended with all its kernels."""
    top = tmp_path_factory.mktemp("lab é")
    folder, reports = top / "notebooks", top / "reports"
    folder.mkdir()
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    _write_small(folder / "small.ipynb")
    settings = top / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps(SETTINGS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    places = {"CONFIG": "JUPYTER_CONFIG_DIR", "RUNTIME": "JUPYTER_RUNTIME_DIR"}
    own = {variable: str(top / name) for name, variable in places.items()}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(top / "settings"), "REPORTS_ROOT": str(reports)}
    own["JUPYTERLAB_WORKSPACES_DIR"] = str(top / "workspaces")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    with open(top / "log", "w+b") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
        try:
            _wait_for_server(f"http://127.0.0.1:{port}/api?token={token}", server, top / "log")
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset", folder, reports
        finally:
            server.terminate()  # ends its kernels too
            server.wait(30)


def _write_small(path: Path) -> None:
    cells = [new_markdown_cell("# A small study")]
    cells += [new_code_cell(re.sub(r"^    ", "", code, flags=re.M).strip()) for code in SMALL]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def _wait_for_server(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, f"JupyterLab ended: {log.read_text()[-2000:]}"
        try:
            return urlopen(address, timeout=5).close()
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"no answer from JupyterLab in a minute: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_notebook(browser, lab):
    """name -> its page, once its kernel is idle."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})

    def open_it(name: str):
        page = context.new_page()
        page.goto(lab[0].format(quote(name)))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=2 * MINUTE)
        page.wait_for_selector(
            ".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=2 * MINUTE
        )
        return page

    yield open_it
    context.close()


def run(page, command: str) -> None:
    """An entry of the menu Run."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator(f"[data-command='{command}']").click()


def wait_until_done(page, minutes: float) -> None:
    """Every code cell has run; no output is an error."""
    done = """() => {
      const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
      const texts = [...document.querySelectorAll('.jp-RenderedText')].map(t => t.textContent);
      return prompts.every(p => /^\\[\\d+\\]:$/.test(p.textContent.trim()))
        || texts.some(t => t.includes('Traceback (most recent call last)'));
    }"""
    page.wait_for_function(done, timeout=minutes * MINUTE, polling=500)
    errors = page.locator(".jp-RenderedText", has_text="Traceback (most recent call last)")
    assert errors.all_inner_texts() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_its_figures(open_notebook, path):
    page = open_notebook(path.name)
    cells = nbformat.read(path, 4).cells
    assert page.locator(".jp-Notebook > .jp-WindowedPanel-outer .jp-Cell").count() == len(cells)
    title = page.locator(".jp-RenderedMarkdown h1").first.inner_text()
    assert title.rstrip("¶") == re.match(r"# (.+)", cells[0].source)[1]
    figures = sum("image/png" in o.get("data", {}) for c in cells for o in c.get("outputs", ()))
    assert figures >= 5
    loaded = "[...document.querySelectorAll('.jp-RenderedImage img')].filter(i => i.naturalWidth)"
    page.wait_for_function(f"() => {loaded}.length === {figures}", timeout=MINUTE)
    assert page.locator(".jp-Dialog").count() == 0


def test_run_all_writes_results(open_notebook, lab):
    page = open_notebook("small.ipynb")
    run(page, "runmenu:run-all")
    wait_until_done(page, minutes=3)
    said = page.locator(".jp-OutputArea-output").all_inner_texts()
    assert any("claims: 1 | status: ok" in text for text in said)
    assert page.locator(".jp-RenderedImage img").count() == 1
    results = lab[2] / "quick" / "01_small"
    assert (results / "figures" / "accuracy.png").exists()
    assert "It is right" in (results / "claims.csv").read_text(encoding="utf-8")


def test_an_error_is_seen(open_notebook, lab):
    """That ``wait_until_done`` can fail."""
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    broken = new_notebook(cells=[new_code_cell("1 / 0")], metadata={"kernelspec": kernel})
    nbformat.write(broken, lab[1] / "broken.ipynb")
    page = open_notebook("broken.ipynb")
    run(page, "runmenu:run-all")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        wait_until_done(page, minutes=1)


def test_the_known_good_check(open_notebook, lab):
    """Notebook 02, all up to the two printed lines, with no output left from before."""
    notebook = nbformat.read(NOTEBOOKS[1], 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, lab[1] / "known_good.ipynb")
    page = open_notebook("known_good.ipynb")
    cell = page.locator(".jp-CodeCell", has_text="fitting on brings the noise back")
    cell.locator(".cm-content").click()
    run(page, "notebook:run-all-above")
    page.keyboard.press("Shift+Enter")
    output = cell.locator(".jp-OutputArea-output")
    output.wait_for(timeout=2 * MINUTE)
    assert re.findall(r": (\w+)$", output.inner_text(), flags=re.M) == ["True", "True"]


@pytest.mark.skipif("RUN_ALL_NOTEBOOKS" not in os.environ, reason="RUN_ALL_NOTEBOOKS is not set")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all_of_a_notebook(open_notebook, path):
    page = open_notebook(path.name)
    run(page, "runmenu:restart-and-run-all")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=busy]", timeout=MINUTE)
    wait_until_done(page, minutes=25)
