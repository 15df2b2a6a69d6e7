"""Results of one folder of data are never given as those of another."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib.data.catalogue import fingerprints
from lib.data.images import load_images
from lib.engine.artefacts import artefact
from lib.engine.sweep import Context, Store, run, trial_key


@dataclass(frozen=True)
class Mean:
    name: str


def mean(trial, context):
    images = load_images(trial.name, size=8, channels=1, root=context.data_root)[1]
    return {"mean": images.float().mean().item()}


def broken(trial, context):
    raise ValueError("broken")


@pytest.fixture
def roots(tmp_path) -> dict[int, Path]:
    """Two data roots, with a picture of the same name and size, but of another grey."""
    for value in (10, 200):
        folder = tmp_path / f"root{value}" / "p"
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), value).save(folder / "x.png")
    return {value: tmp_path / f"root{value}" for value in (10, 200)}


def found(roots, value, store, function=mean, **options) -> float:
    return run(function, [Mean("p")], store, jobs=1, data_root=roots[value], **options)[
        "mean"
    ].item()


def test_a_record_is_that_of_the_data_root(roots, tmp_path, capsys):
    for value in (10, 200, 10):
        assert found(roots, value, tmp_path / "store") == value
    assert capsys.readouterr().out.count("1 of them are stored, but of other data") == 2
    assert found(roots, 10, tmp_path / "store") == 10
    assert capsys.readouterr().out == "1 stored, 0 to do\n"


def test_the_stored_result_is_shown_but_told(roots, tmp_path, capsys):
    found(roots, 10, tmp_path / "store")
    assert found(roots, 200, tmp_path / "store", engine="stored") == 10
    assert "1 of them are stored, but of other data than lies here" in capsys.readouterr().out


def test_data_that_is_not_here_and_packed_records_leave_a_record_valid(roots, tmp_path, capsys):
    store = tmp_path / "store"
    assert found(roots, 10, store) == 10
    roots[1] = tmp_path / "nothing"
    assert found(roots, 1, store, broken) == 10
    assert Store(store).pack() == 1
    for path in store.glob("*.json"):
        path.unlink()
    assert found(roots, 200, store, broken) == 10
    record = json.loads((tmp_path / "records.jsonl").read_text())
    assert record["fingerprints"] == fingerprints({"name": "p"}, roots[10])
    assert str(tmp_path) not in json.dumps(record)


def test_what_a_fingerprint_follows(roots, tmp_path):
    deep = {"a": [{"b": ("p:x", "p@medium")}], "c": 3, "d": "photos", "e": "p/x", "f": ""}
    first = fingerprints(deep, roots[10])
    assert first == fingerprints(asdict(Mean("p")), roots[10]) and list(first) == ["p"]
    assert fingerprints(["nothing", "." * 5000, "\0"], roots[10]) == {}
    (tmp_path / "copy").symlink_to(roots[10])
    assert fingerprints("p", tmp_path / "copy") == first
    assert fingerprints("p", roots[200]) != first
    (roots[200] / "VOCdevkit/VOC2012").mkdir(parents=True)
    (roots[200] / "words").mkdir()
    (roots[200] / "words/v.txt").write_text("cat 1 2")
    assert list(fingerprints(["voc2012_aug@medium", "v.txt"], roots[200])) == ["voc2012", "v.txt"]


def test_an_artefact_is_made_of_the_data_root(roots, tmp_path):
    def built(value: int, stored: bool = False) -> float:
        context = Context(torch.device("cpu"), None, roots[value], tmp_path, stored)
        return artefact(Mean("p"), context, lambda: {"x": torch.tensor(float(value))})["x"].item()

    assert built(10) == 10
    with pytest.warns(UserWarning, match=f"{trial_key(Mean('p'))}.*of other data than lies here"):
        assert built(200) == 200
    assert built(10, stored=True) == 200
