"""The page of all results, as a reader meets it: in a browser, on a phone, by keyboard, at night.

Skipped where there is no Chromium, or no Playwright to drive it.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from lib.index_page import build_index

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

REPORTS = Path(__file__).resolve().parent.parent / "reports"
PHONE, DESK = {"width": 375, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The committed reports with a page of today's code."""
    folder = tmp_path_factory.mktemp("page") / "my reports"
    keep = shutil.ignore_patterns("trials", "*.ipynb", "*.pdf", "index.html")
    shutil.copytree(REPORTS, folder, ignore=keep)
    return build_index(folder, committed=True).as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """(size, scheme, hash) -> the page; what it asks for is recorded in ``page.asked``."""
    contexts = []

    def open_it(size=DESK, scheme="light", hash=""):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address + hash)
        return page

    yield open_it
    for context in contexts:
        context.close()


def shown(page) -> int:
    return page.locator(".ledger tbody tr:visible").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_violation_of_accessibility(open_page, size, scheme):
    page = open_page(size, scheme)
    page.evaluate(
        "document.querySelectorAll('.data').forEach((t, i) => { if (i > 3) t.remove(); })"
    )
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_nothing_is_fetched_from_elsewhere(open_page):
    page = open_page()
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.wait_for_function("Array.from(document.images).every(i => i.complete)")
    assert len(page.asked) > 50
    assert not [url for url in page.asked if not url.startswith("file:")]
    empty = "Array.from(document.images).filter(i => i.src && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(empty) == []


def test_a_phone_does_not_scroll_sideways(open_page):
    page = open_page(PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]


def test_the_larger_run_is_shown_first(open_page):
    page = open_page()
    every = page.locator(".ledger tbody tr").count()
    assert 0 < shown(page) < every
    assert page.locator(".ledger tbody tr[data-profile=quick]:visible").count() == 0
    page.select_option("select[name=profile]", "")
    assert shown(page) == every


def test_filters_combine_and_can_be_sent(open_page):
    page = open_page()
    before = shown(page)
    page.select_option("select[name=paper]", "05")
    one = shown(page)
    page.select_option("select[name=verdict]", "contradicted")
    both = shown(page)
    assert before > one > both > 0
    page.fill("input[name=words]", "momentum nosuchword")
    assert shown(page) == 0
    page.fill("input[name=words]", "history")
    assert shown(page) == 1
    assert page.locator("output").inner_text().startswith("1 of ")
    sent = open_page(hash="#" + page.url.partition("#")[2])
    assert shown(sent) == 1
    assert sent.input_value("select[name=verdict]") == "contradicted"


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_figure_becomes_large_and_small_again(open_page, by):
    page = open_page()
    link = page.locator("a.enlarge").first
    if by == "mouse":
        link.click()
    else:
        link.focus()
        page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert dialog.locator("p").inner_text() == link.locator("img").get_attribute("alt")
    small, large = (place.locator("img").bounding_box()["width"] for place in (link, dialog))
    assert large > small
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.className") == "enlarge"


def test_every_claim_is_one_click_from_its_evidence(open_page, address):
    page = open_page()
    rows = page.locator(".ledger tbody tr").count()
    links = page.eval_on_selector_all(
        ".ledger tbody td:last-child a", "links => links.map(a => a.href)"
    )
    assert len(links) == rows > 200
    files = [Path(unquote(re.sub(r"^file://|[#?].*", "", link))) for link in links]
    assert not [file for file in files if not file.is_file()]
