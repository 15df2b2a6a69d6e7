"""Faces of one's own: tables and their errors, crops, and a network learned from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.data.drawn.faces import ATTRIBUTES
from lib.data.faces import LANDMARKS, UNKNOWN, draw_faces
from lib.multitask.own import faces_from_table, fit_separation

BOX = ["left", "top", "width", "height"]


def draw_dots(folder: Path, count: int, *, side=40, seed=0) -> pd.DataFrame:
    """Grey pictures with a white dot, which is the landmark; bright is the attribute of a ground.

    What is told of the last one's ground is empty.
    """
    rng, rows = np.random.default_rng(seed), []
    for place in range(count):
        x, y = rng.integers(6, side - 6, 2)
        bright = int(rng.integers(2))
        picture = np.full((side, side, 3), 120 if bright else 30, np.uint8)
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
        Image.fromarray(picture).save(folder / f"{place:03d}.png")
        rows.append((f"{place:03d}.png", x + 0.5, y + 0.5, bright))  # a pixel's middle
    table = pd.DataFrame(rows, columns=["picture", "dot_x", "dot_y", "bright"])
    table["bright"] = table["bright"].astype(object)
    table.loc[count - 1, "bright"] = ""
    return table


def written(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "faces.csv", index=False)
    return folder / "faces.csv"


@pytest.fixture
def dots(tmp_path) -> tuple[Path, pd.DataFrame]:
    return tmp_path, draw_dots(tmp_path, 4)


# tables


def test_a_table_without_a_box_is_of_whole_pictures(dots):
    folder, table = dots
    faces = faces_from_table(written(table, folder), folder, size=40)
    assert (faces.points, faces.names) == (("dot",), ("bright",))
    assert faces.ids == ("000.png", "001.png", "002.png", "003.png")
    assert faces.images.shape == (4, 3, 40, 40) and faces.landmarks.shape == (4, 1, 2)
    for picture, image in zip(faces.ids, faces.images, strict=True):
        pixels = np.asarray(Image.open(folder / picture))
        assert np.array_equal(image.permute(1, 2, 0), pixels)
    where = table[["dot_x", "dot_y"]].to_numpy() / 40
    assert faces.landmarks[:, 0].numpy() == pytest.approx(where)
    assert faces.attributes[:, 0].tolist() == [*table["bright"][:3], UNKNOWN]


def test_a_crop_moves_with_its_landmarks(tmp_path):
    """Drawn faces at some place of a larger picture, their squares given as boxes."""
    drawn = draw_faces(3, size=48, seed=1)
    rows = []
    for place, (left, top) in enumerate([(0, 0), (30, 12), (52, 70)]):
        picture = np.full((120, 100, 3), 90, np.uint8)
        picture[top : top + 48, left : left + 48] = drawn.images[place].permute(1, 2, 0)
        Image.fromarray(picture).save(tmp_path / f"{place}.png")
        points = drawn.landmarks[place].numpy() * 48 + [left, top]
        rows.append([f"{place}.png", left, top, 48, 48, *points.ravel(), *drawn.attributes[place]])
    columns = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
    table = pd.DataFrame(rows, columns=["picture", *BOX, *columns, *ATTRIBUTES])
    faces = faces_from_table(table, tmp_path, size=48)
    assert (faces.points, faces.names) == (LANDMARKS, ATTRIBUTES)
    assert torch.equal(faces.images, drawn.images)
    assert faces.landmarks.numpy() == pytest.approx(drawn.landmarks.numpy(), abs=1e-5)
    assert torch.equal(faces.attributes, drawn.attributes)


def test_a_box_becomes_a_square_around_its_middle(tmp_path):
    """40 x 20 at (20, 30) of a picture of 60 x 44: its lower edge is repeated."""
    ramp = np.broadcast_to(np.arange(44, dtype=np.uint8)[:, None, None], (44, 60, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "a.png")
    row = {"picture": "a.png", "left": 20, "top": 30, "width": 40, "height": 20}
    table = pd.DataFrame([row | {"nose_x": 30, "nose_y": 25, "smile": 1}])
    faces = faces_from_table(table, tmp_path, size=40)
    rows = faces.images[0, 0, :, 0].tolist()
    assert rows == [*range(20, 44), *[43] * 16]
    assert faces.landmarks[0, 0].tolist() == pytest.approx([10 / 40, 5 / 40])
    assert faces.extent.tolist() == [[40, 40]]
    twice = pd.concat([table, table.assign(left=0, width=20)], ignore_index=True)
    assert faces_from_table(twice, tmp_path, size=20).ids == ("a.png", "a.png")


WRONG = [
    ({"picture": "none.png"}, "row 3: there is no picture .*none.png"),
    ({"dot_x": ""}, "row 3: dot_x is empty"),
    ({"dot_y": "high"}, "row 3: dot_y is 'high', not a number"),
    ({"dot_y": "inf"}, "row 3: dot_y is 'inf', not a number"),
    ({"bright": 2}, "row 3: bright is 2, not 1, 0 or empty"),
    ({"bright": "yes"}, "row 3: bright is 'yes', not a number"),
    ({"dot_x": 4000}, "row 3: dot at 4000, .* is far outside"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_cell_is_named(dots, change, message):
    folder, table = dots
    table = table.astype(object)
    for column, value in change.items():
        table.loc[1, column] = value
    with pytest.raises(ValueError, match=rf"faces\.csv, {message}"):
        faces_from_table(written(table, folder), folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="picture"), "no column picture, but dot_x, dot_y, bright"),
        (lambda t: t.drop(columns="dot_y"), "column dot_x without the other coordinate"),
        (lambda t: t.drop(columns=["dot_x", "dot_y"]), "lacks a column of a landmark"),
        (lambda t: t.drop(columns="bright"), "lacks a column of an attribute"),
        (lambda t: t[:0], "has no rows"),
        (lambda t: t.assign(left=1, top=1), "columns left, top of a box, not left, top, width, h"),
        (lambda t: t.assign(dot_x=0.2, dot_y=0.3), "in pixels of the picture, and all are at most"),
        (
            lambda t: t.assign(left=0, top=40, width=5, height=5),
            "row 2: .*000.png is 40 x 40, its box left 0, top 40, width 5, height 5",
        ),
        (lambda t: t.assign(left=0, top=0, width=0, height=5), "its box left 0, top 0, width 0"),
        (lambda t: t.rename(columns={"bright": "dot_x"}), "has two columns dot_x"),
    ],
)
def test_a_wrong_table_is_told(dots, change, message):
    folder, table = dots
    with pytest.raises(ValueError, match=message):
        faces_from_table(written(change(table), folder), folder)


@pytest.mark.parametrize(("mark", "encoding"), [(",", "utf-8-sig"), (";", "utf-16")])
def test_a_table_may_come_from_a_spreadsheet(dots, mark, encoding):
    folder, table = dots
    expected = faces_from_table(table, folder, size=40)
    table.to_csv(folder / "excel.csv", index=False, sep=mark, encoding=encoding)
    found = faces_from_table(folder / "excel.csv", folder, size=40)
    assert (found.points, found.names) == (expected.points, expected.names)
    assert torch.equal(found.landmarks, expected.landmarks)
    assert torch.equal(found.attributes, expected.attributes)


def test_a_picture_that_is_none_is_named_with_its_row(dots):
    folder, table = dots
    (folder / "002.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"row 4: .*002\.png is not a readable image"):
        faces_from_table(written(table, folder), folder)
    with pytest.raises(FileNotFoundError):
        faces_from_table(folder / "other.csv", folder)


# learning


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dots")
    table = draw_dots(folder, 200)
    torch.set_num_threads(1)
    faces = faces_from_table(table, folder, size=32)
    options = {"epochs": 12, "widths": (8, 16, 16), "batch": 16, "hidden": 32}
    return folder, table, fit_separation(faces, **options)


def test_dots_are_found_in_pictures_that_were_held_out(learned):
    """By less than half of what the mean of all is off; and the ground is told."""
    folder, table, model = learned
    assert model.held_out == tuple(f"{place:03d}.png" for place in range(0, 200, 5))
    mine, trivial = (row for _, row in model.score.iterrows())
    assert (mine["answer"], trivial["answer"]) == ("the network", "mean shape, majority")
    assert mine["faces"] == 40
    assert mine["landmark error (px)"] < trivial["landmark error (px)"] / 2
    assert mine["right attributes (%)"] > 95 > trivial["right attributes (%)"]
    rest = table[~table["picture"].isin(model.held_out)]
    test = table[table["picture"].isin(model.held_out)]
    where = test[["dot_x", "dot_y"]].to_numpy(float)
    off = np.linalg.norm(where - rest[["dot_x", "dot_y"]].to_numpy(float).mean(0), axis=1)
    assert trivial["landmark error (px)"] == pytest.approx(off.mean(), rel=1e-4)
    found = model.predict(test[["picture"]], folder)
    assert found.columns.tolist() == ["picture", "dot_x", "dot_y", "bright"]
    errors = np.linalg.norm(found[["dot_x", "dot_y"]].to_numpy() - where, axis=1)
    assert mine["landmark error (px)"] == pytest.approx(errors.mean(), rel=1e-4)
    assert ((found["bright"] > 0.5) == (test["bright"].to_numpy(int) == 1)).mean() > 0.95


def test_predictions_are_in_pixels_of_a_larger_picture(learned, tmp_path):
    """The same picture at some place of another one, its square given as the box."""
    folder, table, model = learned
    small = np.asarray(Image.open(folder / "000.png"))
    large = np.zeros((90, 70, 3), np.uint8)
    large[33:73, 21:61] = small
    Image.fromarray(large).save(tmp_path / "large.png")
    there = pd.DataFrame([["large.png", 21, 33, 40, 40]], columns=["picture", *BOX])
    one, other = model.predict(table[:1], folder), model.predict(there, tmp_path)
    moved = other[["dot_x", "dot_y"]] - one[["dot_x", "dot_y"]]
    assert moved.to_numpy()[0] == pytest.approx([21, 33], abs=1e-3)
    assert other["bright"][0] == pytest.approx(one["bright"][0], abs=1e-4)


def test_the_shared_stream_is_stage_1s(learned):
    """And every row of a picture is on one side."""
    network = learned[2].network
    assert network.frozen and network.fusions
    assert not any(weight.requires_grad for weight in network.streams["shared"].parameters())


def test_a_picture_is_on_one_side(dots):
    folder, table = dots
    twice = pd.concat([table, table], ignore_index=True)
    faces = faces_from_table(twice, folder, size=16)
    model = fit_separation(faces, epochs=1, widths=(4, 4), hidden=4)
    assert model.held_out == ("000.png",) and model.score["faces"].tolist() == [2, 2]


def test_what_cannot_be_learned_is_refused(dots):
    folder, table = dots
    one = faces_from_table(table[:1], folder, size=16)
    with pytest.raises(ValueError, match="one picture cannot be both"):
        fit_separation(one)
    silent = faces_from_table(table.assign(bright=""), folder, size=16)
    with pytest.raises(ValueError, match="bright is empty for every face"):
        fit_separation(silent)
    sided = table.rename(columns={"dot_x": "left_eye_x", "dot_y": "left_eye_y"})
    with pytest.raises(ValueError, match="a mirrored left_eye would be right_eye, which is not"):
        fit_separation(faces_from_table(sided, folder, size=16), mirror=True, widths=(4, 4))
    with pytest.raises(ValueError, match="halve an image of 20 px to no whole number"):
        fit_separation(faces_from_table(table, folder, size=20), widths=(4, 4, 4))
