"""The table shows every value, escaped, and has what its script sorts by."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from lib.ledger.sortable_table import sortable_table

FRAME = pd.DataFrame(
    {
        "name <b>": ["a & b", "</script>", None],
        "share": [0.12345678, np.nan, 12.0],
        "seeds": [3, 20, 100],
        "single": np.float32([0.5, np.inf, -np.inf]),
        "best": [True, False, True],
    }
)


class Page(HTMLParser):
    """Tags with their attributes, and the text that follows each."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data.strip()

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


def column(page, index):
    return page.all("td")[index :: len(FRAME.columns)]


def test_every_header_is_a_button_in_a_cell_that_says_how_it_is_sorted():
    page = Page(sortable_table(FRAME))
    assert [text for _, text in page.all("button")] == list(FRAME.columns)
    assert all(button["type"] == "button" for button, _ in page.all("button"))
    assert [head["aria-sort"] for head, _ in page.all("th")] == ["none"] * 5
    assert all(head["scope"] == "col" for head, _ in page.all("th"))


def test_numbers_are_rounded_but_sorted_by_their_whole_value():
    page = Page(sortable_table(FRAME, digits=2))
    shares = column(page, 1)
    assert [text for _, text in shares] == ["0.12", "", "12.00"]
    assert [cell["data-key"] for cell, _ in shares] == ["0.12345678", "", "12.0"]
    seeds = column(page, 2)
    assert [text for _, text in seeds] == ["3", "20", "100"]
    assert [float(cell["data-key"]) for cell, _ in seeds] == [3, 20, 100]


def test_infinite_numbers_are_written_as_the_script_reads_them():
    keys = [cell["data-key"] for cell, _ in column(Page(sortable_table(FRAME)), 3)]
    assert keys == ["0.5", "Infinity", "-Infinity"]


def test_texts_are_escaped_and_have_no_number():
    page = Page(sortable_table(FRAME))
    names, truths = column(page, 0), column(page, 4)
    assert [text for _, text in names] == ["a & b", "</script>", ""]
    assert [text for _, text in truths] == ["True", "False", "True"]
    assert not any("data-key" in cell for cell, _ in [*names[:2], *truths])
    assert names[2][0]["data-key"] == ""
    assert len(page.all("b")) == 0 and len(page.all("script")) == 1


def test_several_tables_live_on_one_page():
    """Each has an id of its own, and the only one in its style and script."""
    texts = [sortable_table(FRAME), sortable_table(FRAME), sortable_table(FRAME[:0])]
    names = []
    for text in texts:
        ((attributes, _),) = Page(text).all("table")
        names.append(attributes["id"])
        assert set(re.findall(r"sortable-\w+-\d+", text)) == {attributes["id"]}
    assert len(set(names)) == 3


@pytest.mark.parametrize("address", ["http", "src=", "href", "import", "url("])
def test_nothing_comes_from_outside(address):
    assert address not in sortable_table(FRAME)
