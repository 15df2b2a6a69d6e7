"""The commit of a record is that of the code that ran, or nobody's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lib.engine import provenance as module
from lib.engine.files import REPOSITORY

GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]


def repository(folder: Path) -> str:
    """A repository with one commit, whose short name it returns."""
    if not shutil.which("git"):
        pytest.skip("no git")
    subprocess.run([*GIT, "init", "-q", str(folder)], check=True)
    subprocess.run([*GIT, "-C", str(folder), "commit", "-qm", "x", "--allow-empty"], check=True)
    named = subprocess.run(
        [*GIT, "-C", str(folder), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    return named.stdout.strip()


def made_with(monkeypatch, folder: Path) -> tuple[str, object]:
    monkeypatch.setattr(module, "REPOSITORY", folder.resolve())
    record = module.provenance.__wrapped__()
    return record["commit"], record["dirty"]


def test_code_in_a_repository_of_its_own(tmp_path, monkeypatch):
    commit = repository(tmp_path)
    (tmp_path / "lib").mkdir()
    assert made_with(monkeypatch, tmp_path) == (commit, False)
    (tmp_path / "lib/a.py").write_text("changed")
    assert made_with(monkeypatch, tmp_path) == (commit, True)


def test_a_repository_above_or_of_a_hook_is_not_ours(tmp_path, monkeypatch):
    other = repository(tmp_path)
    (tmp_path / "unpacked/lib").mkdir(parents=True)
    assert made_with(monkeypatch, tmp_path / "unpacked") == ("unknown", None)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert made_with(monkeypatch, REPOSITORY)[0] != other


def test_without_git_it_is_unknown_whether_the_code_was_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert made_with(monkeypatch, REPOSITORY) == ("unknown", None)
