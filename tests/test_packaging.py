"""Pins agree, nothing names an address, importing is quick and leaves no trace."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def lock(file):
    """name -> versions of a lock file, names as the package index normalises them."""
    pins = {}
    for line in (ROOT / file).read_text().splitlines():
        match = re.fullmatch(r"([\w.-]+)==([^\s;]+)(?:\s*;.*)?", line.strip())
        assert match, f"not a plain pin: {line!r}"
        pins.setdefault(normal(match[1]), set()).add(match[2])
    return pins


def normal(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def direct():
    """Names of what a run needs, and of what tests and linters need besides."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["project"]["dependencies"], project["dependency-groups"]["dev"]
    return [{normal(name) for name in group} for group in groups]


def imported(files):
    """Top-level modules that some files import."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    return {name.split(".")[0] for name in names}


def test_each_direct_dependency_is_in_its_own_lock():
    run, dev = direct()
    assert not run - set(lock("requirements.txt"))
    assert not dev - set(lock("requirements-dev.txt"))
    assert not set(lock("requirements.txt")) & set(lock("requirements-dev.txt"))


def test_what_lib_and_the_runner_import_is_a_dependency():
    known = {"PIL": "pillow", "ot": "pot", "skimage": "scikit-image", "sklearn": "scikit-learn"}
    known |= {"yaml": "pyyaml", "mpl_toolkits": "matplotlib", "IPython": "ipykernel"}
    names = imported([*(ROOT / "lib").rglob("*.py"), ROOT / "papermill_runs.py"])
    assert not names & {"fcntl", "grp", "pwd", "resource", "termios"}  # Windows has none of them
    names -= {*sys.stdlib_module_names, "lib"}
    assert {normal(known.get(name, name)) for name in names} <= direct()[0]


def test_environment_has_the_same_direct_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = {}
    for entry in pip:
        name, version = re.fullmatch(r"([^=]+)==([^\s;]+)(?:\s*;.*)?", entry).groups()
        pinned.setdefault(normal(name), set()).add(version)
    locked = lock("requirements.txt") | lock("requirements-dev.txt")
    assert pinned == {name: locked[name] for group in direct() for name in group}


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "environment.yml", "pyproject.toml"]
)
def test_no_address_in(name):
    assert "://" not in (ROOT / name).read_text()


def test_what_a_run_writes_is_ignored_and_what_counts_is_not():
    files = ["quick/01_a/claims.csv", "quick/01_a/figures/b.png", "index.html", "claims.csv"]
    files += [f"medium/01_a/{name}" for name in ("trials/k.json", "executed.ipynb", ".lock")]
    files += [f"medium/01_a/{name}" for name in ("notebook.html", "fingerprint.json", ".x.json.q7")]
    counts = ["medium/01_a/records.jsonl", "medium/01_a/claims.csv", "medium/01_a/figures/b.png"]
    command = ["git", "check-ignore", "--no-index", *(f"reports/{name}" for name in files + counts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.splitlines() == [f"reports/{name}" for name in files]


def test_importing_everything_is_quick_and_writes_nothing(tmp_path):
    """The modules a notebook imports, in a fresh process without network and home."""
    code = """
import sys, time, socket
def refuse(*a, **k): raise AssertionError("importing touched the network")
socket.socket.connect = refuse
start = time.perf_counter()
import lib
assert time.perf_counter() - start < 3
import lib.engine.sweep, lib.ledger.results, lib.engine.training, lib.engine.runner
import lib.dip.analysis
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "none")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_citation_names_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    notes = " ".join(entry["notes"] for entry in citation["references"])
    assert len(citation["references"]) == 5
    assert all(f"notebook 0{i}_" in notes for i in range(1, 6))
