"""Which files a notebook runs: the table in CONTRIBUTING.md, made from the imports.

``python tests/house.py`` writes it; ``tests/test_house.py`` keeps it true.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("continual", "dip", "transfer", "multitask", "image_weights")
SHARED = ("engine", "ledger", "figures", "networks", "data")
MARKERS = ("<!-- house: written by tests/house.py -->", "<!-- end -->")


def modules_of(source: str, *, at_once: bool = False) -> set[str]:
    """The modules of ``lib`` that a piece of Python imports.

    at_once: only those that it imports when it is imported itself, not inside a function.
    """
    names: set[str] = set()
    tree = ast.parse(source)
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # what is imported may be a module or a name in one
            names |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return {name for name in names if name.startswith("lib.") and is_module(name)}


def is_module(name: str) -> bool:
    """Whether a dotted name is a file of ``lib``."""
    return (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()


def room(module: str) -> str:
    """``lib.dip.trials`` -> ``dip``."""
    return module.split(".")[1]


def files() -> dict[str, Path]:
    """Module -> file of all of ``lib``."""
    paths = sorted((ROOT / "lib").rglob("*.py"))
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in paths}


def imports_of(modules: Iterable[str], *, at_once: bool = False) -> set[str]:
    """What some modules import directly."""
    known = files()
    texts = (known[module].read_text(encoding="utf-8") for module in modules)
    return set().union(*(modules_of(text, at_once=at_once) for text in texts))


def notebook_imports(path: Path) -> set[str]:
    """What the code cells of a notebook import directly."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return modules_of("\n".join(code))


def table() -> str:
    """Markdown: a row a notebook."""
    lines = [
        "| notebook | its folder | shared files that it opens itself | "
        "and its folder opens, of networks and data |",
        "|---|---|---|---|",
    ]
    for path in sorted((ROOT / "notebooks").glob("0[1-9]*.ipynb")):
        opened = notebook_imports(path)
        (study,) = {room(module) for module in opened} & set(STUDIES)
        own = [module for module in files() if room(f"{module}.") == study]
        used = imports_of(own)
        lines.append(
            f"| {path.stem} | `lib/{study}/` | "
            f"{_list(m for m in opened if room(m) in SHARED)} | "
            f"{_list(m for m in used - opened if room(m) in ('networks', 'data'))} |"
        )
    return "\n".join(lines)


def _list(modules: Iterable[str]) -> str:
    paths = sorted(module.removeprefix("lib.").replace(".", "/") for module in modules)
    return ", ".join(f"`{path}`" for path in paths) or "none"


def with_table(text: str) -> str:
    """CONTRIBUTING.md with the table as it should be."""
    start, end = MARKERS
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"CONTRIBUTING.md has no lines {start!r} and {end!r}")
    return f"{before}{start}\n{table()}\n{end}{after}"


if __name__ == "__main__":
    page = ROOT / "CONTRIBUTING.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
