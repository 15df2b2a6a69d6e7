"""Shared tensors: built once, read back to the bit, never half there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import torch

from lib.engine.artefacts import artefact
from lib.engine.sweep import Context, trial_key


@dataclass(frozen=True)
class Toy:
    number: int


def tensors() -> dict[str, torch.Tensor]:
    """Of several types, one of them not contiguous, one with a gradient."""
    rng = torch.Generator().manual_seed(0)
    return {
        "images": torch.randint(256, (2, 3, 4, 5), generator=rng).to(torch.uint8),
        "turned": torch.rand(6, 4, generator=rng).T,
        "weight": torch.rand(3, generator=rng).requires_grad_(),
        "count": torch.tensor(7),
    }


class Builder:
    """Gives the tensors and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, torch.Tensor]:
        self.calls += 1
        return tensors()


def place(folder=None) -> Context:
    return Context(torch.device("cpu"), artefacts=folder)


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == tensors().keys()
    for name, value in tensors().items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)
        assert found[name].is_contiguous() and not found[name].requires_grad


def test_it_is_built_once_and_read_back_equal(tmp_path):
    build = Builder()
    for _ in range(3):
        assert_same(artefact(Toy(1), place(tmp_path / "new"), build))
    assert build.calls == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"{trial_key(Toy(1))}.safetensors"]


def test_every_trial_has_its_own(tmp_path):
    build = Builder()
    for number in (1, 2, 1, 2):
        artefact(Toy(number), place(tmp_path), build)
    assert build.calls == 2 and len(list(tmp_path.iterdir())) == 2


def test_without_a_folder_it_is_built_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = Builder()
    for _ in range(2):
        assert_same(artefact(Toy(1), place(), build))
    assert build.calls == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_file_is_built_anew_with_a_warning(tmp_path, damage):
    artefact(Toy(1), place(tmp_path), tensors)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5] if damage is None else damage)
    build = Builder()
    with pytest.warns(UserWarning, match=f"damaged .*{path.name}.*built anew"):
        assert_same(artefact(Toy(1), place(tmp_path), build))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(artefact(Toy(1), place(tmp_path), build))
    assert build.calls == 1


def test_an_error_while_building_is_not_kept(tmp_path):
    def fail():
        raise ArithmeticError("diverged")

    with pytest.raises(ArithmeticError, match="diverged"):
        artefact(Toy(1), place(tmp_path), fail)
    assert not list(tmp_path.iterdir())
