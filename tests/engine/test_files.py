"""Files that are whole or not there, and where things are looked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from faults import short_files

from lib.engine.files import REPOSITORY, data_root, reports_root, write_atomically


def test_text_and_bytes_are_written_with_their_folders(tmp_path):
    path = tmp_path / "a b" / "é" / "file.txt"
    write_atomically(path, "grün")
    assert path.read_bytes() == "grün".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_rename_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError) as caught:
        write_atomically(path, "new")
    assert f"{path} could not be written: Permission denied" in str(caught.value)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_in_the_middle_keeps_the_old_content(tmp_path):
    """A limit on the size of files stands for the full disk: the write itself fails half way."""
    path = tmp_path / "file.txt"
    write_atomically(path, "old")
    with short_files(4096), pytest.raises(OSError, match=str(path)):
        write_atomically(path, b"x" * 1_000_000)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_no_litter(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file/deeper\.txt could not be written"):
        write_atomically(tmp_path / "file" / "deeper.txt", "new")


def test_data_root_is_the_argument_then_the_variable_then_here(monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "/somewhere")
    assert data_root("given") == Path("given")
    assert data_root() == data_root("") == Path("/somewhere")
    for unset in ("", None):
        monkeypatch.setenv("DATA_ROOT", "") if unset == "" else monkeypatch.delenv("DATA_ROOT")
        assert data_root() == REPOSITORY / "data"


def test_reports_root_is_the_variable_then_here(monkeypatch):
    monkeypatch.setenv("REPORTS_ROOT", "/elsewhere")
    assert reports_root() == Path("/elsewhere")
    monkeypatch.delenv("REPORTS_ROOT")
    assert reports_root() == REPOSITORY / "reports"
    assert (REPOSITORY / "lib" / "engine" / "files.py").is_file()
