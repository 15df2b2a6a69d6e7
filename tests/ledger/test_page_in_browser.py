"""The page of all results as a reader meets it: in a browser, on a phone, by keyboard, offline.

Skipped where there is no Chromium, or no Playwright to drive it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from papermill_runs import RESULTS, publish

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / f"{RESULTS}.ipynb"
PHONE, DESK = {"width": 375, "height": 740}, {"width": 1280, "height": 900}
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
# What nbconvert's own template brings: it is not ours to change.
EXCEPTIONS = {
    "color-contrast": "colours of highlighted code",
    "landmark-one-main": "the template has no landmarks",
    "region": "the template has no landmarks",
    "scrollable-region-focusable": "outputs that scroll",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the page that the committed notebook of results becomes."""
    root = tmp_path_factory.mktemp("page") / "my reports"
    root.mkdir()
    return publish(NOTEBOOK, NOTEBOOK, root).as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens an address; what the page asks for and what goes wrong is recorded."""
    contexts = []

    def open_it(address, size=DESK, **options):
        contexts.append(browser.new_context(viewport=size, **options))
        page = contexts[-1].new_page()
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        page.wait_for_timeout(500)
        return page

    yield open_it
    for context in contexts:
        context.close()


@SIZES
def test_it_opens_without_errors_and_asks_nobody(open_page, address, size):
    page = open_page(address, size)
    assert page.errors == []
    elsewhere = [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))]
    assert elsewhere == []
    assert "what was found" in page.locator("h1").first.inner_text()


def test_pictures_are_inside(open_page, address):
    page = open_page(address)
    pictures = page.locator("img")
    assert pictures.count() >= 5
    widths = pictures.evaluate_all("pictures => pictures.map(p => p.naturalWidth)")
    assert all(width > 100 for width in widths)
    assert all(pictures.evaluate_all("pictures => pictures.map(p => p.alt.length > 5)"))


def test_the_table_can_be_searched_by_keyboard(open_page, address):
    page = open_page(address)
    search = page.locator("input[type=search]").first
    search.focus()
    page.keyboard.type("Piggyback")
    page.wait_for_timeout(300)
    rows = page.locator("table.dataTable tbody tr").all_inner_texts()
    assert rows and all("piggyback" in row.lower() for row in rows)


def test_evidence_is_one_click_away(open_page, address):
    page = open_page(address)
    links = page.locator("table.dataTable tbody a").evaluate_all("a => a.map(x => x.href)")
    assert len(links) >= 10
    files = [Path(playwright_path(link)) for link in links]
    assert all(file.is_file() for file in files)


def playwright_path(link: str) -> str:
    from urllib.parse import unquote, urlparse

    return unquote(urlparse(link).path)


def test_without_scripts_the_claims_are_there(open_page, address):
    page = open_page(address, java_script_enabled=False)
    assert page.locator("details table tbody tr").count() >= 60


@SIZES
def test_no_violation_of_accessibility_but_the_templates(open_page, address, size):
    page = open_page(address, size)
    found = axe.Axe().run(
        page, options={"rules": {name: {"enabled": False} for name in EXCEPTIONS}}
    )
    assert found.violations_count == 0, found.generate_report()
