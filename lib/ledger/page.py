"""One page for all reports: the ledger of claims, then figures and tables of each notebook.

``python -m lib.ledger.page`` writes ``index.html`` and ``claims.csv`` into the reports.
"""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import timedelta
from itertools import count
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zlib import crc32

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lib.engine.files import read_json, reports_root, write_atomically
from lib.engine.profiles import PROFILES
from lib.ledger.claims import COLUMNS, VERDICTS
from lib.ledger.report import csv_text

FIRST_ROWS = 30  # of a table on the page; the file has all
EMPTY = {"dataset": "", "trials": {}, "commit": "", "dirty": False, "python": "", "versions": {}}
EMPTY |= {"when": "", "parameters": {}}  # what the record of an earlier version may lack
_TABLES = count(1)


def build_index(root: Path) -> Path:
    """Write ``claims.csv`` and ``index.html`` for all reports below ``root``; return the page.

    Raises ValueError, naming the file, for a ledger, table or record that cannot be read, and
    OSError, naming the path, where a file cannot be written.
    """
    folders = sorted((path for path in root.glob("*/*") if path.is_dir()), key=_place)
    titles = {folder.name: _title(root, folder.name) for folder in folders}
    runs = [run for folder in folders if (run := _run(root, folder))]
    nothing = pd.DataFrame(columns=[*COLUMNS, "folder"])
    claims = pd.concat([nothing, *map(_ledger, folders)], ignore_index=True)
    claims["title"] = [titles[folder.name] for folder in claims["folder"]]
    claims["href"] = [_link(root, row.folder / row.evidence) for row in claims.itertuples()]
    page = _render(
        "index.html.j2",
        claims=claims.to_dict("records"),
        tally=_tally(claims),
        choices=_choices(claims),
        notebooks={run["of"]: [r for r in runs if r["of"] == run["of"]] for run in runs},
        titles=titles,
    )
    write_atomically(root / "claims.csv", csv_text(claims[COLUMNS]))
    write_atomically(root / "index.html", page)
    return root / "index.html"


def sortable_table(df: pd.DataFrame, *, digits: int = 3) -> str:
    """HTML of a table, for ``IPython.display.HTML``: a click on a header sorts by that column.

    digits: after the point, of numbers that are not whole by type. The index is not shown. Where
    scripts do not run (on GitHub, say) it is a plain table. Nothing comes from outside.
    """
    rows = [[_cell(value, digits) for value in row] for row in df.itertuples(index=False)]
    columns = [str(name) for name in df.columns]
    # the sum too: two notebooks, open side by side on one page, both count from 1
    name = f"sortable-{crc32(json.dumps([columns, rows]).encode()):08x}-{next(_TABLES)}"
    return _render("sortable.html.j2", name=name, columns=columns, rows=rows)


def _cell(value: object, digits: int) -> dict[str, str]:
    """What is shown of a value, on which side, and the number that it is sorted by.

    A missing value has an empty key, a number itself, to the last digit; a text has none.
    """
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return {"key": "", "text": ""}
    if not isinstance(value, Real) or isinstance(value, bool):
        return {"text": str(value), "side": "left"}
    key = repr(float(value)).replace("inf", "Infinity")  # as JavaScript reads it
    text = str(value) if isinstance(value, Integral) else f"{value:.{digits}f}"
    return {"key": key, "text": text, "side": "right"}


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("lib.ledger"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["is_number"] = _is_number
    environment.filters["duration"] = lambda seconds: str(timedelta(seconds=round(seconds)))
    environment.filters["slug"] = lambda text: re.sub(r"\W+", "-", text)
    return environment.get_template(template).render(values)


def _link(root: Path, file: Path) -> str:
    """Address of a file relative to the page; empty where there is no such file."""
    return quote(file.relative_to(root).as_posix()) if file.is_file() else ""


def _read_csv(path: Path) -> pd.DataFrame:
    """All cells as the text they are."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error


def _ledger(folder: Path) -> pd.DataFrame:
    """The claims of one run, with the folder that they are from."""
    path = folder / "claims.csv"
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    table = _read_csv(path)
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {list(table.columns)} instead of {COLUMNS}")
    if unknown := set(table["verdict"]) - set(VERDICTS):
        raise ValueError(f"{path} has the verdicts {sorted(unknown)}; known are {VERDICTS}")
    return table.assign(folder=folder)


def _choices(claims: pd.DataFrame) -> dict[str, dict[str, str]]:
    """By what the ledger can be filtered: field -> value -> its words; the largest profile first.

    The values are told apart to the letter, as the page's script does.
    """
    papers = dict(sorted(zip(claims["paper"], claims["title"], strict=True)))
    verdicts = sorted(claims["verdict"].unique(), key=VERDICTS.index)
    profiles = sorted(claims["profile"].unique(), key=lambda name: (-_size(name), name))
    return {
        "paper": {n: t if t.startswith(n) else f"{n} · {t}" for n, t in papers.items()},
        "verdict": dict(zip(verdicts, verdicts, strict=True)),
        "profile": dict(zip(profiles, profiles, strict=True)),
    }


def _tally(claims: pd.DataFrame) -> dict[str, int]:
    """Number of claims of each verdict, the best first; a claim counts once, in its largest run."""
    ordered = claims.sort_values("profile", key=lambda names: names.map(_size), kind="stable")
    counts = ordered.groupby(["paper", "id"])["verdict"].last().value_counts()
    return {verdict: int(counts[verdict]) for verdict in VERDICTS if verdict in counts}


def _size(profile: str) -> int:
    """Place of a profile by size; -1 for another folder of reports."""
    return PROFILES.index(profile) if profile in PROFILES else -1


def _place(folder: Path) -> tuple:
    """Order on the page: by notebook, the largest profile first."""
    profile = folder.parent.name
    return folder.name, -_size(profile), profile


def _run(root: Path, folder: Path) -> dict[str, Any] | None:
    """What the page shows of one notebook at one profile; None where nothing was saved."""
    contents = read_json(folder / "contents.json")
    record = read_json(folder / "provenance.json")
    figures = [_figure(root, folder, entry) for entry in contents.get("figures", [])]
    tables = [_table(root, folder, entry) for entry in contents.get("tables", [])]
    if not (record or any(figures) or any(tables)):
        return None
    source = {"notebook": _link(root, root / f"../notebooks/{folder.name}.ipynb")}
    run = {
        "rendered notebook": _link(root, folder / "notebook.html"),
        "executed notebook": _link(root, folder / "executed.ipynb"),
    }
    return {
        "of": folder.name,
        "profile": folder.parent.name,
        "links": _present(run) or _present(source),
        "record": EMPTY | record if record else {},
        "figures": [figure for figure in figures if figure],
        "tables": [table for table in tables if table],
    }


def _figure(root: Path, folder: Path, entry: dict[str, str]) -> dict[str, Any] | None:
    path = folder / "figures" / entry["name"]
    picture = path.with_name(f"{path.name}.png")
    if not picture.is_file():
        return None
    with Image.open(picture) as image:
        width, height = image.size  # told to the browser, so that the page does not jump
    files = {kind: _link(root, path.with_name(f"{path.name}.{kind}")) for kind in ("csv", "pdf")}
    shown = {"src": _link(root, picture), "width": width, "height": height}
    return entry | shown | {"files": _present(files)}


def _table(root: Path, folder: Path, entry: dict[str, str]) -> dict[str, Any] | None:
    path = folder / "tables" / f"{entry['name']}.csv"
    if not path.is_file():
        return None
    table = _read_csv(path)
    columns = ["" if str(name).startswith("Unnamed: ") else name for name in table.columns]
    rows = table.head(FIRST_ROWS).to_numpy().tolist()
    href = _link(root, path)
    return {**entry, "href": href, "columns": columns, "rows": rows, "count": len(table)}


def _present(values: dict) -> dict:
    return {name: value for name, value in values.items() if value}


def _title(root: Path, notebook: str) -> str:
    """The notebook's first heading, else its name in words."""
    cells = read_json(root / f"../notebooks/{notebook}.ipynb").get("cells", [])
    heading = re.match(r"# (.+)", "".join(cells[0]["source"])) if cells else None
    return heading[1].strip() if heading else notebook.replace("_", " ")


def _is_number(text: object) -> bool:
    try:
        return math.isfinite(float(str(text)))
    except ValueError:
        return False


def _number(text: object) -> str:
    """Three significant digits, but whole numbers whole; other text stays as it is."""
    if not _is_number(text):
        return str(text)
    value = float(str(text))
    if abs(value) < 1e15 and (value == round(value) or abs(value) >= 1000):
        return f"{value:.0f}"
    return f"{value:#.3g}".rstrip(".")


if __name__ == "__main__":
    try:
        print(build_index(reports_root()))
    except (OSError, ValueError) as error:
        sys.exit(f"no index: {error}")
