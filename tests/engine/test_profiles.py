"""``profile.yaml``: three columns, and an error that names what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from lib.engine.files import REPOSITORY
from lib.engine.profiles import load_profile


@dataclass(frozen=True)
class Part:
    name: str
    width: int = 4


@dataclass(frozen=True)
class Nested:
    rate: float


@dataclass(frozen=True)
class Sizes:
    size: int
    rate: float
    fast: bool
    depths: tuple[int, ...]
    pair: tuple[str, str]
    parts: tuple[Part, ...]
    first: Part
    stream: Nested


GOOD = """
size: [1, 20_000, 3]  # pixels
rate: [1e-3, 2, 0.5]
fast: [true, false, true]
depths: [[1, 2], [3], []]
pair: [[a, b], [c, d], [e, f]]
parts:
  - [{name: x}, {name: y, width: 8}]
  - [{name: z}]
  - []
first: [{name: p}, {name: q}, {name: r, width: 1}]
stream:
  rate: [1.0, 2.0, 3.0]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profile.yaml"
    path.write_text(GOOD)
    return path


def test_a_column_becomes_the_dataclass(file):
    assert load_profile(Sizes, "quick", file) == Sizes(
        size=1,
        rate=0.001,
        fast=True,
        depths=(1, 2),
        pair=("a", "b"),
        parts=(Part("x"), Part("y", 8)),
        first=Part("p"),
        stream=Nested(1.0),
    )
    medium = load_profile(Sizes, "medium", file)
    assert (medium.size, medium.rate, medium.stream.rate) == (20_000, 2.0, 2.0)
    assert isinstance(medium.rate, float)  # a trial's key tells 2 from 2.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size: [1, 20_000, 3]", "sizes: [1, 2, 3]", "no parameter is called sizes"),
        ("size: [1, 20_000, 3]", "", "missing .*'size'"),
        ("size: [1, 20_000, 3]", "size: [1, 2]", "size needs 3 columns"),
        ("size: [1, 20_000, 3]", "size: 4", "size needs 3 columns"),
        ("size: [1, 20_000, 3]", "size: [1.5, 2, 3]", "size must be int, not 1.5"),
        ("size: [1, 20_000, 3]", "size: [true, 2, 3]", "size must be int, not True"),
        ("rate: [1e-3, 2, 0.5]", "rate: [fast, 2, 3]", "rate must be float, not 'fast'"),
        ("fast: [true", "fast: [1", "fast must be bool, not 1"),
        ("depths: [[1, 2]", "depths: [3", "depths must be a list, not 3"),
        ("depths: [[1, 2]", "depths: [[a]", "depths must be int, not 'a'"),
        ("pair: [[a, b]", "pair: [[a]", "pair must have 2 values, not 1"),
        ("{name: x}", "{nam: x}", "parts: no parameter is called nam"),
        ("{name: x}", "{width: 3}", "parts: .*missing .*'name'"),
        ("rate: [1.0", "rates: [1.0", "stream: no parameter is called rates"),
    ],
)
def test_what_is_wrong_is_named(file, old, new, message):
    file.write_text(GOOD.replace(old, new, 1) if "rates" not in new else GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        load_profile(Sizes, "quick", file)
    assert "profile.yaml" in str(error.value)


def test_an_unknown_profile_is_refused(file):
    with pytest.raises(ValueError, match="profile must be one of quick, medium, paper, not 'big'"):
        load_profile(Sizes, "big", file)


def test_an_empty_file_is_refused(file):
    file.write_text("")
    with pytest.raises(ValueError, match=r"profile\.yaml needs 3 columns"):
        load_profile(Sizes, "quick", file)


def test_every_parameter_of_a_study_has_a_remark():
    """A number without its unit or meaning beside it, or above it, would have to be looked up."""
    files = sorted((REPOSITORY / "lib").glob("*/profile.yaml"))
    assert len(files) == 5
    for path in files:
        lines = ["", *path.read_text(encoding="utf-8").splitlines()]
        for above, line in pairwise(lines):
            if re.match(r"( {2})?\w+:", line) and line != "stream:":
                assert "#" in line or above.startswith("#"), f"{path}: {line}"
