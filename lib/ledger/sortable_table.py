"""A table for a notebook whose columns sort on a click, without anything from outside."""

from __future__ import annotations

from html import escape
from itertools import count
from numbers import Integral, Real
from zlib import crc32

import pandas as pd

_TABLES = count(1)
_STYLE = (
    "#{id} th button {{background: none; border: 0; cursor: pointer}}"
    "#{id} th button {{font: inherit; color: inherit}}"
    "#{id} th[aria-sort=ascending] button::after {{content: ' ▲'}}"
    "#{id} th[aria-sort=descending] button::after {{content: ' ▼'}}"
)
# missing values stay last in both directions; numbers stand before texts
_SCRIPT = """(() => {
const table = document.getElementById("ID"), body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const key = (row, column) => {
  const cell = row.cells[column], value = cell.dataset.key;
  return value === undefined ? cell.textContent : value === "" ? null : Number(value);
};
const compare = (a, b) => typeof a !== typeof b ? (typeof a === "number" ? -1 : 1)
  : typeof a === "number" ? (a < b ? -1 : a > b ? 1 : 0) : a.localeCompare(b);
heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  heads.forEach(other => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const keyed = [...body.rows].map(row => [key(row, column), row]);
  keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
  keyed.forEach(([, row]) => body.append(row));
}));
})();"""


def sortable_table(df: pd.DataFrame, *, digits: int = 3) -> str:
    """HTML of a table, for ``IPython.display.HTML``: a click on a header sorts by that column.

    digits: after the point, of numbers that are not whole by type. The index is not shown. Where
    scripts do not run (on GitHub, say) it is a plain table.
    """
    rows = [[_cell(value, digits) for value in row] for row in df.itertuples(index=False)]
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(str(name))}</button></th>'
        for name in df.columns
    )
    # the sum too: two notebooks, open side by side on one page, both count from 1
    name = f"sortable-{crc32((heads + body).encode()):08x}-{next(_TABLES)}"
    return (
        f"<style>{_STYLE.format(id=name)}</style>\n"
        f'<table id="{name}"><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table>\n'
        f"<script>{_SCRIPT.replace('ID', name)}</script>"
    )


def _cell(value: object, digits: int) -> str:
    """A missing value has an empty key, a number itself, to the last digit; a text has none."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return '<td data-key=""></td>'
    if not isinstance(value, Real) or isinstance(value, bool):
        return f'<td style="text-align: left">{escape(str(value))}</td>'
    key = repr(float(value)).replace("inf", "Infinity")  # as JavaScript reads it
    text = str(value) if isinstance(value, Integral) else f"{value:.{digits}f}"
    return f'<td data-key="{key}" style="text-align: right">{text}</td>'
