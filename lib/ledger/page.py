"""One page for all reports: the ledger of claims, then figures and tables of each notebook."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from lib.engine.files import write_atomically
from lib.engine.profiles import PROFILES

LEDGER = (
    "id paper statement paper_value our_value ci_low ci_high n baseline verdict profile dataset "
    "device evidence commit"
).split()
VERDICTS = ("reproduced", "not reproduced", "contradicted", "not tested at this scale", "audit")
GENERATED = ("notebook.html", "executed.ipynb")  # as .gitignore has it, and every pdf
FIRST_ROWS = 30  # of a table on the page; the file has all


@dataclass(frozen=True)
class _Site:
    """Where the page lies, and whether it may link to what git ignores."""

    root: Path
    committed: bool

    def link(self, folder: Path, file: str) -> str:
        """Address of a file relative to the page; empty where a reader has no such file."""
        path = folder / file
        kept = not (self.committed and (path.suffix == ".pdf" or path.name in GENERATED))
        if not file or not kept or not path.is_file():
            return ""
        return quote((folder.relative_to(self.root) / file).as_posix())

    def notebook(self, folder: Path) -> Path:
        """The notebook, as committed, of a folder of reports."""
        return self.root / f"../notebooks/{folder.name}.ipynb"


def build_index(root: Path, *, committed: bool = False) -> Path:
    """Write ``claims.csv`` and ``index.html`` for all reports below ``root``; return the page.

    committed: for a page that goes under version control, link to nothing that git ignores.
    Raises ValueError, naming the file, for a ledger, table or record that cannot be read, and
    OSError, naming the path, where a file cannot be written.
    """
    site = _Site(root, committed)
    folders = sorted((path for path in root.glob("*/*") if path.is_dir()), key=_place)
    ledgers = [_ledger(folder) for folder in folders]
    claims = [
        claim
        for folder, ledger in zip(folders, ledgers, strict=True)
        for claim in _claims(site, folder, ledger)
    ]
    page = _template().render(
        claims=claims,
        tally=_tally(claims),
        choices=_choices(claims),
        notebooks=_notebooks(site, folders),
    )
    whole = pd.concat([pd.DataFrame(columns=LEDGER), *ledgers], ignore_index=True)
    write_atomically(root / "claims.csv", csv_text(whole))
    write_atomically(root / "index.html", page)
    return root / "index.html"


def csv_text(df: pd.DataFrame, **options: object) -> str:
    """A table as CSV; its index is left out if it only counts the rows."""
    counts = isinstance(df.index, pd.RangeIndex) and df.index.name is None
    return df.to_csv(index=not counts, lineterminator="\n", **options)


def read_json(path: Path) -> dict:
    """The object in a JSON file, empty if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """All cells as the text they are."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error


def _ledger(folder: Path) -> pd.DataFrame:
    path = folder / "claims.csv"
    if not path.is_file():
        return pd.DataFrame(columns=LEDGER)
    table = _read_csv(path)
    if list(table.columns) != LEDGER:
        raise ValueError(f"{path} has the columns {list(table.columns)} instead of {LEDGER}")
    if unknown := set(table["verdict"]) - set(VERDICTS):
        raise ValueError(f"{path} has the verdicts {sorted(unknown)}; known are {VERDICTS}")
    return table


def _claims(site: _Site, folder: Path, ledger: pd.DataFrame) -> list[dict]:
    """The rows of one ledger, each with its notebook's title and the address of its evidence."""
    title = _title(site.notebook(folder))
    return [
        {**row, "title": title, "href": site.link(folder, row["evidence"])}
        for row in ledger.to_dict("records")
    ]


def _choices(claims: list[dict]) -> dict[str, dict[str, str]]:
    """By what the ledger can be filtered: field -> value -> its words; the largest profile first.

    The values are told apart to the letter, as the page's script does.
    """
    used = {field: {claim[field] for claim in claims} for field in ("verdict", "profile")}
    verdicts = sorted(used["verdict"], key=VERDICTS.index)
    profiles = sorted(used["profile"], key=lambda profile: (-_size(profile), profile))
    papers = {claim["paper"]: _paper(claim) for claim in claims}
    return {
        "paper": dict(sorted(papers.items())),
        "verdict": {verdict: verdict for verdict in verdicts},
        "profile": {profile: profile for profile in profiles},
    }


def _paper(claim: dict) -> str:
    """Its number and title, the number once."""
    number, title = claim["paper"], claim["title"]
    return title if title.startswith(number) else f"{number} · {title}"


def _tally(claims: list[dict]) -> dict[str, int]:
    """Number of claims of each verdict, the best first; a claim counts once, in its largest run."""
    best: dict[tuple, dict] = {}
    for claim in sorted(claims, key=lambda claim: _size(claim["profile"])):
        best[claim["paper"], claim["id"]] = claim
    counts = Counter(claim["verdict"] for claim in best.values())
    return {verdict: counts[verdict] for verdict in sorted(counts, key=VERDICTS.index)}


def _size(profile: str) -> int:
    """Place of a profile by size; -1 for another folder of reports."""
    return PROFILES.index(profile) if profile in PROFILES else -1


def _place(folder: Path) -> tuple:
    """Order on the page: by notebook, the largest profile first."""
    profile = folder.parent.name
    return folder.name, -_size(profile), profile


def _notebooks(site: _Site, folders: list[Path]) -> list[dict]:
    runs = [run for folder in folders if (run := _run(site, folder))]
    names = dict.fromkeys(run["notebook"] for run in runs)
    return [
        {
            "name": name,
            "title": _title(site.notebook(Path(name))),
            "runs": [run for run in runs if run["notebook"] == name],
        }
        for name in names
    ]


def _run(site: _Site, folder: Path) -> dict | None:
    """What the page shows of one notebook at one profile; None where nothing was saved."""
    contents = read_json(folder / "contents.json")
    record = read_json(folder / "provenance.json")
    entries = {
        kind: [item for entry in contents.get(kind, []) if (item := view(site, folder, entry))]
        for kind, view in (("figures", _figure), ("tables", _table))
    }
    if not (record or any(entries.values())):
        return None
    return {
        "notebook": folder.name,
        "profile": folder.parent.name,
        "links": _notebook_links(site, folder),
        "facts": _facts(record),
        "parameters": record.get("parameters", {}),
        **entries,
    }


def _notebook_links(site: _Site, folder: Path) -> dict[str, str]:
    """The run's own notebook where it was kept, else the notebook as committed."""
    run = {
        "rendered notebook": site.link(folder, "notebook.html"),
        "executed notebook": site.link(folder, "executed.ipynb"),
    }
    source = {"notebook": site.link(site.root, f"../notebooks/{folder.name}.ipynb")}
    return _present(run) or _present(source)


def _figure(site: _Site, folder: Path, entry: dict) -> dict | None:
    name = f"figures/{entry['name']}"
    if not (folder / f"{name}.png").is_file():
        return None
    with Image.open(folder / f"{name}.png") as picture:
        width, height = picture.size  # told to the browser, so that the page does not jump
    files = {kind: site.link(folder, f"{name}.{kind}") for kind in ("csv", "pdf")}
    return {
        **entry,
        "src": site.link(folder, f"{name}.png"),
        "width": width,
        "height": height,
        "files": _present(files),
    }


def _table(site: _Site, folder: Path, entry: dict) -> dict | None:
    name = f"tables/{entry['name']}.csv"
    if not (folder / name).is_file():
        return None
    table = _read_csv(folder / name)
    shown = table.head(FIRST_ROWS)
    return {
        **entry,
        "href": site.link(folder, name),
        "columns": ["" if str(c).startswith("Unnamed: ") else c for c in shown.columns],
        "rows": shown.to_numpy().tolist(),
        "count": len(table),
    }


def _facts(record: dict) -> dict[str, str]:
    """The provenance in words."""
    trials = record.get("trials") or {}
    versions = {"Python": record.get("python"), **record.get("versions", {})}
    changed = " (with changes to lib)" if record.get("dirty") else ""
    return _present(
        {
            "Data": record.get("dataset"),
            "Device": "; ".join(trials.get("devices", [])),
            "Trials": trials and f"{trials['ok']} done, {trials['failed']} failed",
            "Computing time": trials and _duration(trials["seconds"]),
            "Commit": record.get("commit", "") + changed,
            "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
            "Written": record.get("when", "").replace("T", " ").replace("+00:00", " UTC"),
        }
        if record
        else {}
    )


def _present(values: dict) -> dict:
    return {name: value for name, value in values.items() if value}


def _title(notebook: Path) -> str:
    """The notebook's first heading, else its name in words."""
    cells = read_json(notebook).get("cells", [])
    heading = re.match(r"# (.+)", "".join(cells[0]["source"])) if cells else None
    return heading[1].strip() if heading else notebook.stem.replace("_", " ")


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("lib.ledger"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "is_number": _is_number, "slug": _slug}
    return environment.get_template("index.html.j2")


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


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
