"""What a batch run knows of a notebook: its name, parameters, code, progress, committed form."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode, ValidationError

from lib.engine.files import REPOSITORY, reports_root

INJECTED = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TRACEBACK_LINES = 15


def read(path: Path) -> NotebookNode:
    """The notebook in a file; ValueError with the path if it holds none."""
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError, ValidationError) as error:
        raise ValueError(f"{path} is not a notebook: {str(error)[:200]}") from error


def find(folder: Path, names: Iterable[str] = ()) -> list[Path]:
    """The numbered notebooks of a folder, or those that the names or their beginnings mean."""
    known = {path.stem: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    if not known:
        raise ValueError(f"no numbered notebook (such as 02_name.ipynb) in {folder}")
    return list(dict.fromkeys(_match(name, known) for name in names)) or list(known.values())


def _match(name: str, known: Mapping[str, Path]) -> Path:
    stem = Path(name).name.removesuffix(".ipynb")
    found = [stem] if stem in known else [key for key in known if stem and key.startswith(stem)]
    if len(found) == 1:
        return known[found[0]]
    problem = f"{name!r} may be {' or '.join(found)}" if found else f"no notebook {name!r}"
    raise ValueError(f"{problem}; known: {', '.join(known)}")


def format_safe(path: Path) -> str:
    """A path as papermill wants it: it takes braces for placeholders."""
    return str(path).replace("{", "{{").replace("}", "}}")


def parameters(path: Path) -> dict[str, dict]:
    """Name -> default (its source text) and help of the cell tagged ``parameters``."""
    read(path)
    try:
        return papermill.inspect_notebook(format_safe(path))
    except ValueError as error:
        raise ValueError(f"the parameters of {path} cannot be read: {error}") from error


def check_parameters(path: Path, names: Iterable[str]) -> None:
    """Refuse names that the notebook lacks; papermill would only warn."""
    known = parameters(path)
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none (no cell is tagged 'parameters')"
            raise ValueError(f"{path.stem} has no parameter {name!r}; it has: {listed}")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells, without the one in which papermill sets the parameters."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if INJECTED not in cell.metadata.get("tags", [])]


def fingerprint(path: Path, values: Mapping[str, str]) -> str:
    """Hash of all that a result hangs on: code cells, ``lib``, parameters, pinned packages."""
    files = [p for p in (REPOSITORY / "lib").rglob("*") if p.is_file() and _is_source(p)]
    files += [p for p in [REPOSITORY / "requirements.txt"] if p.exists()]
    parts = {
        "code": [cell.source for cell in code_cells(read(path))],
        "parameters": dict(values),
        "files": {
            str(p.relative_to(REPOSITORY)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_source(path: Path) -> bool:
    return "__pycache__" not in path.parts and not path.name.startswith(".")


def executed_cells(path: Path) -> int | None:
    """How many code cells of a running notebook are done; None while its file is being written."""
    try:
        cells = code_cells(read(path))
    except (OSError, ValueError):
        return None
    return sum(cell.metadata.get("papermill", {}).get("status") == "completed" for cell in cells)


def failure(path: Path) -> str | None:
    """The last lines of the traceback in the cell that stopped a run; None if no cell did."""
    try:
        cells = code_cells(read(path))
    except (OSError, ValueError):
        return None
    failed = [cell for cell in cells if cell.metadata.get("papermill", {}).get("exception")]
    errors = [out for cell in failed for out in cell.outputs if out.output_type == "error"]
    return last_lines("\n".join(errors[-1].traceback)) if errors else None


def last_lines(text: str) -> str:
    """The end of a traceback or log, without the colours of a terminal."""
    return "\n".join(COLOUR.sub("", text).strip().splitlines()[-TRACEBACK_LINES:])


def committed(source: NotebookNode, run: NotebookNode) -> NotebookNode:
    """The source with the outputs of its run, free of all that changes from run to run.

    Text, ids and tags are the source's; execution counts go 1..n; standard error, widgets and
    what papermill notes are left out. ValueError if the code differs or an output holds a path of
    this machine.
    """
    result = deepcopy(source)
    cells, ran = code_cells(result), code_cells(run)
    if [cell.source for cell in cells] != [cell.source for cell in ran]:
        raise ValueError("the notebook was edited while it ran: run it again")
    for note in ("papermill", "widgets"):
        result.metadata.pop(note, None)
    for cell in result.cells:
        for note in ("papermill", "execution"):
            cell.metadata.pop(note, None)
    count = 0
    for cell, done in zip(cells, ran, strict=True):
        count += done.execution_count is not None
        cell.execution_count = None if done.execution_count is None else count
        cell.outputs = _lasting(done.outputs, cell.execution_count)
    _check_paths(cells)
    return result


def _lasting(outputs: Iterable[NotebookNode], count: int | None) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in deepcopy(list(outputs)):
        stream = output.output_type == "stream"
        if stream and output.name == "stderr":
            continue
        if stream and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text  # where a stream is cut depends on the moment
            continue
        if "execution_count" in output:
            output.execution_count = count
        output.get("data", {}).pop(WIDGET, None)
        kept.append(output)
    return kept


def _check_paths(cells: Iterable[NotebookNode]) -> None:
    roots = {str(p) for p in (REPOSITORY, reports_root().absolute(), reports_root().resolve())}
    path = re.compile(rf"(?<![\w.+/-])({'|'.join(map(re.escape, roots))})(?![\w-])")
    for cell in cells:
        if found := path.search(json.dumps(cell.outputs, ensure_ascii=False)):
            raise ValueError(
                f"cell {cell.get('id', '')} [{cell.execution_count}] prints the path "
                f"{found[1]}, which others do not have: {cell.source.strip()[:60]!r}"
            )
