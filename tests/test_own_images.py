"""The README's snippets for own images, each run as it stands there, but for fewer steps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

README = Path(__file__).parents[1] / "README.md"
SECTION = (
    README.read_text("utf-8").partition("## Use it on your own images")[2].partition("\n## ")[0]
)
SNIPPETS = dict(re.findall(r"\*\*(\d\d):.*?```python\n(.*?)```", SECTION, re.DOTALL))


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((224, 160)).save(path)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The folders that the snippets name, as the working directory; no weights are fetched."""
    for place in range(5):
        save(tmp_path / f"my_pairs/inputs/{place}.jpg", place)
        save(tmp_path / f"my_pairs/targets/{place}.png", place)
        save(tmp_path / f"my_classes/house/{place}.png", place)
        save(tmp_path / f"my_classes/tree/{place}.png", 10 + place)
    save(tmp_path / "my_photos/lake.jpg", 0)
    rows = "".join(f"{i}.png,{20 * i},40,{i % 2}\n" for i in range(5))
    for place in range(5):
        save(tmp_path / f"my_faces/{place}.png", place)
    (tmp_path / "my_faces/faces.csv").write_text("picture,nose_x,nose_y,smiles\n" + rows)
    (tmp_path / "my_faces/new.csv").write_text("picture\n3.png\n")
    monkeypatch.chdir(tmp_path)

    def untrained(weights, **_):
        name = type(weights).__name__.removesuffix("_Weights").lower()
        return torchvision.models.get_model(name).state_dict()

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", untrained)
    return tmp_path


def test_every_snippet_is_short():
    assert sorted(SNIPPETS) == ["01", "02", "03", "04", "05"]
    for code in SNIPPETS.values():
        assert len(code.strip().splitlines()) <= 10


@pytest.mark.parametrize("number", sorted(SNIPPETS))
def test_a_snippet_runs(pictures, capsys, number):
    code = re.sub(r"(steps|epochs|window)=\d+", r"\1=2", SNIPPETS[number])
    code = re.sub(r"iterations=\d+", "iterations=3, fixed=3", code)
    exec(compile(code, f"README.md, {number}", "exec"), {"__name__": "snippet"})
    told = capsys.readouterr().out
    made = {path.name for path in pictures.rglob("*")}
    told_of = ["the mask", "lake.jpg", "resnet18", "nose_y", "lake.jpg"]
    files = {
        "01": {"my_task.safetensors"},
        "02": {"lake.png", "restored.csv"},
        "05": {"lake.png", "outputs.csv"},
    }
    assert told_of[int(number) - 1] in told and files.get(number, set()) <= made
