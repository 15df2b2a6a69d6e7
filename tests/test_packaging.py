"""Pins agree, nothing names an address, importing is quick and leaves no trace."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def lock():
    """name -> versions of requirements.txt, names as the package index normalises them."""
    pins = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        match = re.fullmatch(r"([\w.-]+)==([^\s;]+)(?:\s*;.*)?", line.strip())
        assert match, f"not a plain pin: {line!r}"
        pins.setdefault(normal(match[1]), set()).add(match[2])
    return pins


def normal(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def direct():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return project["project"]["dependencies"] + project["dependency-groups"]["dev"]


def test_every_direct_dependency_is_locked():
    missing = {normal(name) for name in direct()} - set(lock())
    assert not missing


def test_environment_has_the_same_direct_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = {}
    for entry in pip:
        name, version = re.fullmatch(r"([^=]+)==([^\s;]+)(?:\s*;.*)?", entry).groups()
        pinned.setdefault(normal(name), set()).add(version)
    locked = lock()
    assert pinned == {normal(name): locked[normal(name)] for name in direct()}


@pytest.mark.parametrize("name", ["requirements.txt", "environment.yml", "pyproject.toml"])
def test_no_address_in(name):
    assert "://" not in (ROOT / name).read_text()


def test_importing_everything_is_quick_and_writes_nothing(tmp_path):
    """The modules a notebook imports, in a fresh process without network and home."""
    code = """
import sys, time, socket
def refuse(*a, **k): raise AssertionError("importing touched the network")
socket.socket.connect = refuse
start = time.perf_counter()
import lib
assert time.perf_counter() - start < 3
import lib.engine.sweep, lib.ledger.report, lib.ledger.claims, lib.engine.training
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
