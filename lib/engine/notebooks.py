"""What a batch run knows of a notebook: its name, parameters, code, run and committed form."""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import joblib
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from lib.engine.files import REPOSITORY, naming, reports_root

INJECTED = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TRACEBACK_LINES = 15
Value = str | float | bool | None  # of a parameter
KINDS = {bool: "true or false", int: "a whole number", float: "a number"}
HASHED = {".py", ".yaml", ".csv", ".j2", ".mplstyle"}  # what decides a result, in a room of lib
# the x of ``import lib.x.y``, ``from lib.x import y`` and ``from lib import x``
ROOM = re.compile(r"(?m)^\s*(?:from|import)\s+lib(?:\.|\s+import\s+)(\w+)")


def read(path: Path) -> NotebookNode:
    """The notebook in a file; ValueError with the path if it holds none."""
    with naming(path, "notebook"):
        return nbformat.read(path, as_version=4)


def find(folder: Path, names: Iterable[str] = ()) -> list[Path]:
    """The numbered notebooks of a folder, or those that the names or their beginnings mean."""
    known = {path.stem: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    if not known:
        raise ValueError(f"no numbered notebook (such as 02_name.ipynb) in {folder}")
    chosen: dict[str, Path] = {}
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        meant = [
            key for key in known if key == stem or (stem not in known and key.startswith(stem))
        ]
        if len(meant) != 1 or not stem:
            problem = f"{name!r} may be {' or '.join(meant)}" if meant else f"no notebook {name!r}"
            raise ValueError(f"{problem}; known: {', '.join(known)}")
        chosen[meant[0]] = known[meant[0]]
    return list((chosen or known).values())


def _format_safe(path: Path) -> str:
    """A path as papermill wants it: it takes braces for placeholders."""
    return str(path).replace("{", "{{").replace("}", "}}")


def parameters(path: Path) -> dict[str, dict]:
    """Name -> default (its source text) and help of the cell tagged ``parameters``."""
    read(path)
    try:
        return papermill.inspect_notebook(_format_safe(path))
    except ValueError as error:
        raise ValueError(f"the parameters of {path} cannot be read: {error}") from error


def typed(path: Path, values: Mapping[str, str]) -> dict[str, Value]:
    """Parameters as typed in a terminal, as values of the types that their defaults have.

    A default of None takes any value. What names a folder or a file (the name ends with ``_root``,
    or the remark begins so) is what the shell means: ~ is home, and a relative path begins where
    one stands. Raises ValueError for a value of another type, and for a name that the notebook
    lacks, where papermill would only warn.
    """
    known = parameters(path)
    result: dict[str, Value] = {}
    for name, value in values.items():
        if name not in known:
            listed = ", ".join(known) or "none (no cell is tagged 'parameters')"
            raise ValueError(f"{path.stem} has no parameter {name!r}; it has: {listed}")
        if re.search(r"[\ud800-\udfff]", value):  # they stand for bytes that are no UTF-8
            raise ValueError(f"{name} is {value!a}: run Python in UTF-8, PYTHONUTF8=1")
        default, remark = known[name]["default"], known[name]["help"].strip()
        if value and (name.endswith("_root") or remark.startswith(("folder", "file"))):
            result[name] = str(Path(value).expanduser().resolve())
        else:
            result[name] = _as(_meant(default), value, f"{path.stem}: {name}")
    return result


def _as(default: object, value: str, where: str) -> Value:
    """A value with the type of the default; ValueError, which says where, for another type."""
    kind = type(default)
    if kind is str:
        return value
    meant = _meant(value.capitalize() if kind is bool else value)
    if kind is float and type(meant) is int:
        meant = float(meant)
    if default is not None and type(meant) is not kind:
        raise ValueError(f"{where} must be {KINDS.get(kind, kind.__name__)}, not {value!r}")
    return meant


def _meant(value: str) -> Value:
    """What a text means in Python, if that is one plain value; else the text."""
    with suppress(ValueError, SyntaxError):
        meant = ast.literal_eval(value)
        if isinstance(meant, bool | int | float | str | None):
            return meant
    return value


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells, without the one in which papermill sets the parameters."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if INJECTED not in cell.metadata.get("tags", [])]


def fingerprint(path: Path, values: Mapping[str, Value]) -> str:
    """Hash of all that a result depends on, without prose and without the other studies."""
    cells = [cell.source for cell in code_cells(read(path))]
    folders = [REPOSITORY / "lib" / room for room in rooms("\n".join(cells))]
    files = [file for folder in folders for file in sorted(folder.rglob("*"))]
    files = [file for file in files if file.suffix in HASHED and not file.name.startswith(".")]
    files += REPOSITORY.glob("requirements.txt")
    files += REPOSITORY.glob(f"reports/medium/{path.stem}/claims.csv")  # its first table
    contents = {file.relative_to(REPOSITORY).as_posix(): file.read_bytes() for file in files}
    return joblib.hash((cells, dict(values), contents), "sha1")


def rooms(code: str) -> list[str]:
    """The folders of ``lib`` that some code imports, or that these import in their turn."""
    reached: set[str] = set()
    waiting = set(ROOM.findall(code))
    while waiting:
        room = waiting.pop()
        reached.add(room)
        for module in (REPOSITORY / "lib" / room).rglob("*.py"):
            waiting |= set(ROOM.findall(module.read_text(encoding="utf-8"))) - reached
    return sorted(reached)


def run(source: Path, target: Path, values: Mapping[str, Value], bar: bool) -> str:
    """Run a notebook, with parameters, into another file; returns what went wrong."""
    target.unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            _format_safe(source),
            _format_safe(target),
            dict(values),
            cwd=source.parent,
            progress_bar={"desc": source.stem} if bar else False,
        )
    except PapermillExecutionError as error:
        lines = COLOUR.sub("", "\n".join(error.traceback)).strip().splitlines()
        message = "\n".join(lines[-TRACEBACK_LINES:])
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    else:
        return ""
    return f"{message}\nas far as it came: {target}"


def page(run: Path, source: Path, offline: bool = False) -> str:
    """An executed notebook as one HTML file, with the drawings that it shows from its folder.

    offline: for readers who want the results alone: without code, and without the scripts that
        nbconvert loads from elsewhere, for equations and diagrams.
    """
    from nbconvert import HTMLExporter

    resources = {"metadata": {"name": source.stem, "path": str(source.parent)}}
    exporter = HTMLExporter(embed_images=True, exclude_input=offline, exclude_output_prompt=offline)
    for name in exporter.trait_names() if offline else ():
        if name.endswith("_url"):
            setattr(exporter, name, "")
    return exporter.from_notebook_node(read(run), resources=resources)[0]


def committed(source: NotebookNode, run: NotebookNode) -> NotebookNode:
    """The source with the outputs of its run, free of all that changes from run to run.

    ValueError if the code differs or an output holds a path of this machine.
    """
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    result = deepcopy(source)
    cells, ran = code_cells(result), code_cells(deepcopy(run))
    if [cell.source for cell in cells] != [cell.source for cell in ran]:
        raise ValueError("the notebook was edited while it ran: run it again")
    for part in (result, *result.cells):
        for note in ("papermill", "execution", "widgets"):
            part.metadata.pop(note, None)
    roots = {str(p) for p in (REPOSITORY, reports_root().absolute(), reports_root().resolve())}
    ours = re.compile(rf"(?<![\w.+/-])({'|'.join(map(re.escape, roots))})(?![\w-])")
    count = 0
    for cell, executed in zip(cells, ran, strict=True):
        count += executed.execution_count is not None
        cell.execution_count = None if executed.execution_count is None else count
        cell.outputs = [out for out in executed.outputs if out.get("name") != "stderr"]
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)  # cut where chance had it
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)
            if "execution_count" in output:
                output.execution_count = cell.execution_count
        if match := ours.search(json.dumps(cell.outputs, ensure_ascii=False)):
            raise ValueError(
                f"cell {cell.get('id', '')} [{cell.execution_count}] prints the path "
                f"{match[1]}, which others do not have: {cell.source.strip()[:60]!r}"
            )
    return result
