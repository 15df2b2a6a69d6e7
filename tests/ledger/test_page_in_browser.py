"""The page of all results, as a reader meets it: in a browser, on a phone, by keyboard, at night.

What a browser makes of the page (what is shown, focused, loaded, announced) cannot be read from its
HTML. Skipped where there is no Chromium, or no Playwright to drive it.
"""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

import pandas as pd
import pytest
from PIL import Image

from lib.ledger.claims import COLUMNS, VERDICTS
from lib.ledger.page import build_index

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

REPORTS = Path(__file__).resolve().parents[2] / "reports"
PHONE, DESK = {"width": 375, "height": 740}, {"width": 1280, "height": 900}
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])

NOTEBOOK = "06_\"a\" 'b' & <i>c<i> #1?=100%"
PAPERS = ("A  b", "a  b", '"><i>=&#')  # two spaces; a capital; what HTML and addresses give a sense
FIGURE = "ü #1?=100%"
LONG = "w" * 200


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """Address of a page of today's code on the committed reports."""
    folder = tmp_path_factory.mktemp("page") / "my reports"
    keep = shutil.ignore_patterns("trials", "quick", "*.ipynb", "*.pdf", "index.html")
    shutil.copytree(REPORTS, folder, ignore=keep)
    return build_index(folder).as_uri()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Address of a small page of names that are hard to quote and words that are hard to break."""
    root = tmp_path_factory.mktemp("made up") / "reports"
    for profile in ("quick", "medium"):
        _save(root / profile / NOTEBOOK, profile)
    return build_index(root).as_uri()


def _save(folder: Path, profile: str) -> None:
    for kind in ("figures", "tables"):
        (folder / kind).mkdir(parents=True)
    Image.new("RGB", (1800, 1200), "navy").save(folder / "figures" / f"{FIGURE}.png")
    wide = pd.DataFrame({f"column {i}": [LONG, "1"] for i in range(12)})
    wide.to_csv(folder / "tables" / "50%.csv", index=False)
    entries = {"figures": FIGURE, "tables": "50%"}
    contents = {kind: [{"name": n, "caption": f"{n} {LONG}"}] for kind, n in entries.items()}
    (folder / "contents.json").write_text(json.dumps(contents), encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps({"parameters": {LONG: LONG}}))
    row = dict.fromkeys(COLUMNS, "x") | {"profile": profile, "our_value": 0.5, "baseline": LONG}
    row |= {"statement": f"{LONG} <u> 100%&=#+", "evidence": f"figures/{FIGURE}.png"}
    rows = [row | {"id": v, "paper": p, "verdict": v} for p in PAPERS for v in VERDICTS]
    pd.DataFrame(rows).to_csv(folder / "claims.csv", index=False)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens an address; what the page asks for is recorded in its ``asked``."""
    contexts = []

    def open_it(address, size=DESK, scheme="light", **options):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, **options))
        page = contexts[-1].new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()


def shown(page) -> int:
    return page.locator(".ledger tbody tr:visible").count()


def unfold(page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def width(place) -> float:
    return place.bounding_box()["width"]


@SCHEMES
@SIZES
def test_no_violation_of_accessibility(open_page, committed, size, scheme):
    page = open_page(committed, size, scheme)
    # folded tables are not checked, but walking through them takes most of the time
    page.evaluate("document.querySelectorAll('.data').forEach(table => table.remove())")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@SCHEMES
@SIZES
def test_no_violation_when_all_is_open(open_page, made_up, size, scheme):
    page = open_page(made_up, size, scheme)
    unfold(page)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.locator("figure .enlarge").first.click()
    found = axe.Axe().run(page, context="dialog")
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("site", ["committed", "made_up"])
def test_all_files_are_there_and_none_is_fetched_from_elsewhere(open_page, request, site):
    page = open_page(request.getfixturevalue(site))
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.wait_for_function("Array.from(document.images).every(i => i.complete)")
    page.locator("figure .enlarge").last.click()
    figures = page.locator("figure").count()
    assert len(page.asked) > figures > 0
    assert not [url for url in page.asked if not url.startswith("file:")]
    page.wait_for_function("Array.from(document.images).every(i => i.naturalWidth)", timeout=5000)


@pytest.mark.parametrize("site", ["committed", "made_up"])
@SIZES
def test_the_page_does_not_scroll_sideways(open_page, request, site, size):
    page = open_page(request.getfixturevalue(site), size)
    unfold(page)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    boxes = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
    assert page.eval_on_selector_all(".scroll:has(.data)", boxes)  # wide tables do, in their boxes


def test_the_larger_run_is_shown_first(open_page, made_up):
    page = open_page(made_up)
    assert shown(page) == len(PAPERS) * len(VERDICTS)
    assert page.locator(".ledger tbody tr[data-profile=quick]:visible").count() == 0
    page.select_option("select[name=profile]", "")
    assert shown(page) == 2 * len(PAPERS) * len(VERDICTS)


def test_filters_combine_and_can_be_sent(open_page, committed):
    page = open_page(committed)
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
    sent = open_page(page.url, PHONE)
    assert shown(sent) == 1
    assert sent.input_value("select[name=verdict]") == "contradicted"
    sent.wait_for_function("document.getElementById('ledger').getBoundingClientRect().top < 100")
    sent.click("button[type=reset]")
    sent.wait_for_function(f"document.querySelector('output').textContent.startsWith('{before} ')")
    assert sent.url.rstrip("#") == committed
    assert shown(sent) == before


@pytest.mark.parametrize("paper", PAPERS)
def test_names_are_told_apart_to_the_letter(open_page, made_up, paper):
    page = open_page(made_up)
    page.select_option("select[name=paper]", paper)
    page.select_option("select[name=profile]", "")
    page.fill("input[name=words]", "100%&=#+")
    assert shown(page) == 2 * len(VERDICTS)
    page.select_option("select[name=profile]", "quick")
    sent = open_page(page.url)
    assert sent.input_value("select[name=paper]") == paper
    assert sent.input_value("input[name=words]") == "100%&=#+"
    assert shown(sent) == len(VERDICTS)


def test_an_old_address_shows_more_and_not_nothing(open_page, made_up):
    page = open_page(f"{made_up}#paper=gone&profile=quick")
    assert page.locator("select[name=paper] option:checked").inner_text() == "all"
    assert shown(page) == len(PAPERS) * len(VERDICTS)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
@pytest.mark.parametrize("place", ["figure", ".ledger"])
@SIZES
def test_a_figure_becomes_large_and_small_again(open_page, made_up, size, place, by):
    page = open_page(made_up, size)
    link = page.locator(f"{place} .enlarge:visible").first
    if by == "mouse":
        link.click()
    else:
        link.focus()
        page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert page.url == made_up
    assert dialog.locator("p").inner_text() == f"{FIGURE} {LONG}"
    page.wait_for_function("document.querySelector('dialog img').naturalWidth > 0")
    assert width(dialog.locator("img")) > 1.5 * width(page.locator("figure img").first)
    assert width(dialog) <= size["width"]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert link.evaluate("link => link === document.activeElement")


@pytest.mark.parametrize("site", ["committed", "made_up"])
def test_every_claim_is_one_click_from_its_evidence(open_page, request, site):
    page = open_page(request.getfixturevalue(site))
    rows = page.locator(".ledger tbody tr").count()
    links = page.eval_on_selector_all(
        ".ledger tbody td:last-child a", "links => links.map(a => a.href)"
    )
    assert len(links) == rows > 20
    files = [Path(unquote(re.sub(r"^file://|[#?].*", "", link))) for link in links]
    assert not [file for file in files if not file.is_file()]


def test_without_a_script_it_can_be_read(open_page, made_up):
    page = open_page(made_up, java_script_enabled=False)
    assert shown(page) == 2 * len(PAPERS) * len(VERDICTS)
    assert not page.locator("form:visible").count()
    page.locator("figure .enlarge").first.click()
    page.wait_for_url(f"**/{quote(FIGURE)}.png")
