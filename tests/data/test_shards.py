"""Shards: each image decoded once, whatever interrupts or damages them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data import shards
from lib.data.shards import load_shards, shards_root

SIZE = 2


@pytest.fixture(autouse=True)
def small_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "shards"))
    monkeypatch.setattr(shards, "SHARD", 4)


class Reader:
    """Image i is full of (i, i + 100, i + 200); counts, and fails where it is told to."""

    def __init__(self, unreadable: tuple[int, ...] = (), killed_at: int | None = None) -> None:
        self.unreadable, self.killed_at, self.calls = unreadable, killed_at, []

    def __call__(self, place: int) -> np.ndarray | None:
        if place == self.killed_at:
            raise KeyboardInterrupt
        self.calls.append(place)
        if place in self.unreadable:
            return None
        return np.tile(np.array([place, place + 100, place + 200], np.uint8), (SIZE, SIZE, 1))


def files() -> list[Path]:
    """The files of images, in the order in which they were written."""
    paths = shards_root().rglob("output.pkl")
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("total", [3, 4, 5, 10])
def test_images_come_in_order_and_are_decoded_once(total):
    read = Reader()
    for _ in range(2):
        images, places = load_shards("toy", read, total, size=SIZE)
        assert images.shape == (total, 3, SIZE, SIZE) and images.dtype == torch.uint8
        assert images[:, :, 1, 0].tolist() == [[i, i + 100, i + 200] for i in range(total)]
        assert places.tolist() == list(range(total))
    assert sorted(read.calls) == list(range(total))


def test_unreadable_images_are_left_out():
    images, places = load_shards("toy", Reader(unreadable=(1, 8)), 10, size=SIZE)
    assert places.tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert images[:, 0, 0, 0].tolist() == places.tolist()
    images, places = load_shards("none", Reader(unreadable=(0, 1)), 2, size=SIZE)
    assert images.shape == (0, 3, SIZE, SIZE) and len(places) == 0


@pytest.mark.parametrize("count", range(1, 11))
def test_a_beginning_decodes_no_more_than_its_files(count):
    read = Reader(unreadable=(1, 8))
    images, places = load_shards("toy", read, 10, size=SIZE, count=count)
    expected = [place for place in range(count) if place not in (1, 8)]
    assert places.tolist() == images[:, 0, 0, 0].tolist() == expected
    assert sorted(read.calls) == list(range(min(10, -(-count // 4) * 4)))


def test_an_interrupted_build_goes_on_behind_the_last_whole_file():
    with pytest.raises(KeyboardInterrupt):
        load_shards("toy", Reader(unreadable=(2,), killed_at=6), 10, size=SIZE)
    assert len(files()) == 1
    read = Reader()
    images, places = load_shards("toy", read, 10, size=SIZE)
    assert sorted(read.calls) == [4, 5, 6, 7, 8, 9]
    assert images[:, 0, 0, 0].tolist() == places.tolist() == [0, 1, *range(3, 10)]


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:-20]), lambda p: p.write_bytes(b"")]
)
def test_a_damaged_file_alone_is_built_anew(damage, caplog):
    load_shards("toy", Reader(), 10, size=SIZE)
    damage(files()[1])
    read = Reader()
    images, _ = load_shards("toy", read, 10, size=SIZE)
    assert "Exception while loading results" in caplog.text
    assert sorted(read.calls) == [4, 5, 6, 7]
    assert images[:, 0, 0, 0].tolist() == list(range(10))
    assert load_shards("toy", Reader(killed_at=0), 10, size=SIZE)[1].tolist() == list(range(10))


def test_what_a_reader_gets_may_be_changed_without_changing_the_file():
    images, _ = load_shards("toy", Reader(), 3, size=SIZE)
    images.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = load_shards("toy", Reader(), 3, size=SIZE)
    assert again[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:Unable to write")
def test_a_root_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "file"))
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        load_shards("toy", Reader(), 3, size=SIZE)


def test_the_root_is_ignored_by_git_unless_it_is_given(monkeypatch):
    monkeypatch.delenv("SHARDS_ROOT")
    assert shards_root() == shards.REPOSITORY / "data" / "shards"
