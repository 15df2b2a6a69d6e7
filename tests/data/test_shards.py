"""Shards: each image decoded once, whatever interrupts or damages them."""

from __future__ import annotations

import json
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


def files() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((shards_root() / "toy").iterdir())}


@pytest.mark.parametrize("total", [3, 4, 5, 10])
def test_images_come_in_order_and_are_decoded_once(total):
    read = Reader()
    for _ in range(2):
        found = load_shards("toy", read, total, size=SIZE)
        assert found.images.shape == (total, 3, SIZE, SIZE) and found.images.dtype == torch.uint8
        assert found.images[:, :, 1, 0].tolist() == [[i, i + 100, i + 200] for i in range(total)]
        assert found.places.tolist() == list(range(total)) and found.skipped == ()
    assert sorted(read.calls) == list(range(total))


def test_unreadable_images_are_left_out_and_named():
    found = load_shards("toy", Reader(unreadable=(1, 8)), 10, size=SIZE)
    assert found.skipped == (1, 8) and found.places.tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert found.images[:, 0, 0, 0].tolist() == found.places.tolist()
    nothing = load_shards("none", Reader(unreadable=(0, 1)), 2, size=SIZE)
    assert nothing.images.shape == (0, 3, SIZE, SIZE) and nothing.skipped == (0, 1)


@pytest.mark.parametrize("count", range(1, 11))
def test_a_beginning_decodes_no_more_than_its_files(count):
    read = Reader(unreadable=(1, 8))
    found = load_shards("toy", read, 10, size=SIZE, count=count)
    expected = [place for place in range(count) if place not in (1, 8)]
    assert found.places.tolist() == found.images[:, 0, 0, 0].tolist() == expected
    assert found.skipped == tuple(place for place in (1, 8) if place < count)
    assert sorted(read.calls) == list(range(min(10, -(-count // 4) * 4)))


def test_an_interrupted_build_goes_on_behind_the_last_whole_file():
    with pytest.raises(KeyboardInterrupt):
        load_shards("toy", Reader(unreadable=(2,), killed_at=6), 10, size=SIZE)
    assert list(files()) == ["0000000-0000004.npy", "manifest.json"]
    read = Reader()
    found = load_shards("toy", read, 10, size=SIZE)
    assert sorted(read.calls) == [4, 5, 6, 7, 8, 9]
    assert found.skipped == (2,) and found.images[:, 0, 0, 0].tolist() == found.places.tolist()


def test_a_build_that_was_killed_before_its_manifest_is_repeated():
    load_shards("toy", Reader(), 6, size=SIZE)
    whole = files()
    (shards_root() / "toy/manifest.json").unlink()
    read = Reader()
    load_shards("toy", read, 6, size=SIZE)
    assert len(read.calls) == 6 and files() == whole


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_alone_is_built_anew(damage):
    load_shards("toy", Reader(), 10, size=SIZE)
    whole = files()
    damage(shards_root() / "toy/0000004-0000008.npy")
    read = Reader()
    with pytest.warns(UserWarning, match=r"0000004-0000008\.npy is missing or damaged: built anew"):
        found = load_shards("toy", read, 10, size=SIZE)
    assert sorted(read.calls) == [4, 5, 6, 7] and files() == whole
    assert found.images[:, 0, 0, 0].tolist() == list(range(10))


@pytest.mark.parametrize("content", ["{", "[1]", '{"0000000-0000004.npy": 3}'])
def test_a_damaged_manifest_is_built_anew(content):
    load_shards("toy", Reader(), 5, size=SIZE)
    whole = files()
    (shards_root() / "toy/manifest.json").write_text(content)
    with pytest.warns(UserWarning, match=r"damaged .*manifest\.json"):
        load_shards("toy", Reader(), 5, size=SIZE)
    assert files() == whole and set(json.loads(whole["manifest.json"])) == set(list(whole)[:2])


def test_what_a_reader_gets_may_be_changed_without_changing_the_file():
    found = load_shards("toy", Reader(), 3, size=SIZE)
    found.images.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_shards("toy", Reader(), 3, size=SIZE)
    assert again.images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_root_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "file"))
    with pytest.raises(OSError, match="could not be written"):
        load_shards("toy", Reader(), 3, size=SIZE)


def test_the_root_is_ignored_by_git_unless_it_is_given(monkeypatch):
    monkeypatch.delenv("SHARDS_ROOT")
    assert shards_root() == shards.REPOSITORY / "data" / "shards"
