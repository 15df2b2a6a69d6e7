"""Own pictures through any classifier: what is saved, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from lib.image_weights.own import Normalised, drive_pictures, wanted_outputs


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (12, 20)), ("b.jpg", (6, 6)), ("c.png", (9, 9))):
        Image.fromarray(rng.integers(60, 200, (*shape, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def classifier():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    net(torch.zeros(1, 3, 8, 8))
    net[-1].weight.data *= 8  # sure of something, as a trained one is
    return Normalised(net)


def wanted(**rows):
    return pd.DataFrame(rows.values(), index=list(rows), columns=["cat", "dog", "owl"])


def test_pictures_reach_what_is_wanted_and_are_saved(folder, tmp_path):
    model = classifier()
    targets = wanted(**{"b.jpg": [0.5, 0.5, 0.0], "a.png": [0.1, 0.1, 0.8]})
    table = drive_pictures(folder, model, targets, tmp_path / "out", size=8)
    assert table.index.tolist() == ["b.jpg", "a.png"]
    assert (table["KL after"] <= 0.01).all() and (table["updates"] >= 0).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png",
        "b.png",
        "outputs.csv",
    ]
    for name in targets.index:
        file = tmp_path / "out" / f"{name[0]}.png"
        pixels = torch.tensor(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
        output = model(pixels).softmax(1)[0].detach().numpy()
        assert table.loc[name, ["cat", "dog", "owl"]].to_numpy(float) == pytest.approx(
            output, abs=1e-5
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            p = targets.loc[name].to_numpy()
            by_hand = np.where(p > 0, p * np.log(p / output), 0).sum()
        assert table.loc[name, "KL of the saved picture"] == pytest.approx(by_hand, abs=1e-5)
    again = pd.read_csv(tmp_path / "out" / "outputs.csv", index_col="picture")
    assert again["updates"].tolist() == table["updates"].tolist()


def test_a_picture_that_is_as_wanted_stays_as_it_is(folder, tmp_path):
    model = classifier()
    square = Image.open(folder / "c.png").resize((8, 8), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = torch.tensor(np.array(square)).permute(2, 0, 1)[None] / 255
    targets = pd.DataFrame(model(pixels).softmax(1).detach().double().numpy(), index=["c.png"])
    row = drive_pictures(folder, model, targets, tmp_path / "out", size=8).loc["c.png"]
    assert row["updates"] == 0 and row["change (RMS of 255)"] < 0.6


def test_normalisation_is_inside():
    inner = nn.Flatten()
    images = torch.rand(2, 3, 2, 2)
    by_hand = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / 0.25
    found = Normalised(inner, mean=(0.5, 0.4, 0.3), std=(0.25,) * 3)(images)
    assert torch.allclose(found, by_hand.flatten(1))


@pytest.mark.parametrize(
    ("index", "row", "said"),
    [
        ("nowhere.png", [1.0, 0.0, 0.0], "no picture nowhere.png"),
        ("a.png", [0.5, 0.0, 0.0], "sum to 1"),
        ("a.png", [1.0, 0.0], "3 classes, the targets have 2"),
    ],
)
def test_wrong_targets_are_refused(folder, tmp_path, index, row, said):
    with pytest.raises(ValueError, match=said):
        drive_pictures(
            folder, classifier(), pd.DataFrame([row], index=[index]), tmp_path / "x", size=8
        )
    assert not (tmp_path / "x").exists()


def test_no_rows_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        drive_pictures(folder, classifier(), wanted(), tmp_path / "x", size=8)


def test_nothing_of_ones_own_is_written_over(folder, tmp_path):
    before = (folder / "a.png").read_bytes()
    one = wanted(**{"a.png": [1, 0, 0]})
    with pytest.raises(ValueError, match=r"a\.png would be written over"):
        drive_pictures(folder, classifier(), one, folder, size=8)
    assert (folder / "a.png").read_bytes() == before
    with pytest.raises(FileExistsError, match=r"b\.jpg is no folder"):
        drive_pictures(folder, classifier(), one, folder / "b.jpg", size=8)
    Image.open(folder / "a.png").save(folder / "a.jpg")
    for second in ("a.jpg", "a.png"):
        rows = pd.concat([one, one.rename({"a.png": second})])
        with pytest.raises(ValueError, match="have the same name"):
            drive_pictures(folder, classifier(), rows, tmp_path / "out", size=8)


def test_a_classifier_that_gives_nan_is_told(folder, tmp_path):
    model = classifier()
    model[1][-1].bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"gives NaN for a\.png"):
        drive_pictures(folder, model, wanted(**{"a.png": [1, 0, 0]}), tmp_path / "out", size=8)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("picture,owl,cat,dog\na.png,.7,.1,.2\n", "utf-8-sig"),  # in another order
        ("picture;cat;dog;owl\na.png;.1;.2;.7\n", "utf-16"),  # from a spreadsheet
    ],
)
def test_targets_are_found_by_the_names_of_classes(folder, text, encoding):
    (folder / "targets.csv").write_text(text, encoding=encoding)
    found = wanted_outputs(folder, classifier(), ["cat", "dog", "owl"], 8)
    assert found.to_dict("index") == {"a.png": {"cat": 0.1, "dog": 0.2, "owl": 0.7}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,cat,dog\na.png,.5,.5\n", "has 0 columns owl, not one"),
        ("picture,cat,dog,owl\na.png,.5,half,0\n", "table of targets: .*'half'"),
        ("", "is not a readable table"),
    ],
)
def test_a_wrong_file_of_targets_is_named(folder, text, said):
    (folder / "targets.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"targets\.csv {said}|targets\.csv is not a .*{said}"):
        wanted_outputs(folder, classifier(), ["cat", "dog", "owl"], 8)
    with pytest.raises(ValueError, match="one class leaves nothing"):
        (folder / "targets.csv").unlink()
        wanted_outputs(folder, classifier(), ["cat"], 8)


def test_the_table_of_targets_is_the_folders_or_halves(folder):
    model, classes = classifier(), ("cat", "dog", "owl")
    halves = wanted_outputs(folder, model, classes, 8)
    assert halves.index.tolist() == ["a.png", "b.jpg", "c.png"]
    square = Image.open(folder / "c.png").resize((8, 8), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = torch.tensor(np.array(square)).permute(2, 0, 1)[None] / 255
    first = int(model(pixels).argmax())
    assert halves.loc["c.png"].to_numpy()[[first, (first + 1) % 3]].tolist() == [0.5, 0.5]
    assert (halves.sum(axis=1) == 1).all()
    assert wanted_outputs(folder, model, classes, 8, ["b.jpg"]).index.tolist() == ["b.jpg"]
    halves.iloc[0] = [1, 0, 0]
    halves.to_csv(folder / "targets.csv")
    assert wanted_outputs(folder, model, classes, 8).iloc[0].tolist() == [1, 0, 0]
