"""Tasks of a transfer: drawn ones against their names, folders against files made here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import class_folders
from lib.data.class_folders import load_class_folders
from lib.data.drawn.scenes import object_names, render_objects
from lib.data.drawn.tasks import DRAWN, load_drawn
from lib.data.duplicates import BITS, near_duplicates, perceptual_hashes
from lib.data.images import load_images
from lib.data.tasks import TASKS, largest_class, load_task


@pytest.fixture(autouse=True)
def nothing_remembered():
    yield
    class_folders._load.cache_clear()


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    """Two classes of ten photographs, each of a grey of its own, and a folder that is no class."""
    for place, name in enumerate(("BACKGROUND_Google", "ant", "Faces")):
        folder = tmp_path / "caltech101/101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = np.full((40, 60, 3), 80 * place + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{number:04}.png")
    return tmp_path


@pytest.mark.parametrize("name", DRAWN)
def test_labels_of_drawn_tasks_are_those_of_the_pictures(name):
    data = load_drawn(name, train=60, test=20)
    classes, part = DRAWN[name]
    assert data.classes == classes
    assert data.train_images.shape == (60, 3, 32, 32)
    assert len(data.test_labels) == 20
    seed = 11 + 2 * list(DRAWN).index(name)
    pictures, _ = render_objects(120, size=32, seed=seed)
    names = object_names(120, size=32, seed=seed)
    for image, label in zip(data.train_images, data.train_labels, strict=True):
        (place,) = [i for i, each in enumerate(pictures) if torch.equal(each, image)]
        assert names[place][part] == classes[label]


def test_object_names_agree_with_the_classes():
    _, labels = render_objects(40, size=16, seed=5)
    names = object_names(40, size=16, seed=5)
    assert [DRAWN["objects"][0][label] for label in labels] == [each[0] for each in names]


def test_the_ground_is_what_the_picture_stands_on():
    """Grass is tinted green, bricks red: seen in the corners, which no object reaches often."""
    data = load_drawn("grounds", train=400, test=10)
    corner = data.train_images[:, :, :4, :4].float().mean((2, 3))
    greenness = corner[:, 1] - corner[:, 0]
    grass, bricks = (
        greenness[data.train_labels == data.classes.index(n)] for n in ("grass", "bricks")
    )
    assert grass.mean() > bricks.mean() + 20


def test_things_have_no_picture_in_common_with_objects():
    things, objects = (
        load_drawn(n, train=100, test=10).train_images for n in ("things", "objects")
    )
    assert not (things[:, None] == objects[None]).flatten(2).all(2).any()


def test_train_and_test_of_a_drawn_task_differ():
    data = load_drawn("colours", train=50, test=50)
    assert not (data.train_images[:, None] == data.test_images[None]).flatten(2).all(2).any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "nonsense"}, "nonsense"),
        ({"name": "objects", "train": 0, "test": 5}, "say how many"),
    ],
)
def test_drawn_refuses(options, match):
    with pytest.raises(ValueError, match=match):
        load_drawn(**{"train": 1, "test": 1} | options)


def test_folders_are_split_80_to_20_in_each_class(caltech):
    data = load_class_folders("caltech101", size=32, root=caltech)
    assert data.classes == ("Faces", "ant")
    assert data.train_labels.bincount().tolist() == [8, 8]
    assert data.test_labels.bincount().tolist() == [2, 2]
    greys = torch.cat([data.train_images, data.test_images])[:, 0, 0, 0].tolist()
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    assert sorted(zip(labels, greys, strict=True)) == [
        (label, base + number) for label, base in ((0, 160), (1, 80)) for number in range(10)
    ]


def test_small_photographs_are_enlarged(caltech):
    data = load_class_folders("caltech101", size=64, root=caltech)
    assert data.train_images.shape == (16, 3, 64, 64)
    assert data.train_images.flatten(1).float().std(1).max() == 0


def test_a_class_of_one_photograph_is_refused(caltech):
    folder = caltech / "caltech101/101_ObjectCategories/ant"
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match="ant has 1 photographs"):
        load_class_folders("caltech101", size=32, root=caltech)


def test_a_truncated_photograph_is_named(caltech):
    path = caltech / "caltech101/101_ObjectCategories/ant/image_0003.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"image_0003\.png"):
        load_class_folders("caltech101", size=32, root=caltech)


def test_a_missing_set_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="256_ObjectCategories"):
        load_class_folders("caltech256", size=32, root=tmp_path)


def test_numbers_of_caltech256_are_no_part_of_a_name(tmp_path):
    for name in ("001.ak47", "257.clutter"):
        folder = tmp_path / "caltech256/256_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32)).save(folder / f"{number}.jpg")
    assert load_class_folders("caltech256", size=32, root=tmp_path).classes == ("ak47", "clutter")


def test_largest_class_by_hand():
    maps = torch.zeros(4, 3, 3, dtype=torch.uint8)
    maps[0, 0] = 2
    maps[0, 1, 0] = 1
    maps[1] = 255  # nothing but border
    maps[1, 0, 0] = 3
    maps[3, 0, :2] = torch.tensor([1, 1])
    maps[3, 1, :2] = torch.tensor([3, 3])  # as many: the first
    assert largest_class(maps, 4).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("nonsense", {"size": 32}, "nonsense"),
        ("digits", {"size": 64}, "32 px"),
        ("caltech101", {"size": 32, "train": 5}, "whole"),
    ],
)
def test_tasks_refuse(name, options, match):
    with pytest.raises(ValueError, match=match):
        load_task(name, **options)


def test_digits_are_a_task():
    data = load_task("digits", size=32, train=30, test=10)
    assert data.train_labels.bincount().tolist() == [3] * 10
    assert "digits" in TASKS


@pytest.mark.skipif(not os.environ.get("DATA_ROOT"), reason="no DATA_ROOT")
def test_real_tasks():
    caltech, voc = load_task("caltech101", size=32), load_task("voc2012", size=32)
    assert len(caltech.classes) == 101
    assert "BACKGROUND_Google" not in caltech.classes
    assert caltech.train_labels.unique().numel() == 101
    assert len(voc.classes) == 20
    assert voc.train_labels.max() < 20
    assert voc.train_labels.min() >= 0


def test_hashes_find_a_photograph_in_other_size_and_contrast_only():
    _, photos = load_images("photos", size=256, channels=3)
    _, small = load_images("photos", size=64, channels=3)
    paler = (small.float() * 0.7 + 40).to(torch.uint8)
    found = near_duplicates(perceptual_hashes(photos), perceptual_hashes(paler))
    assert found.tolist() == [[i, i] for i in range(len(photos))]


def test_hashes_of_unrelated_noise_share_half():
    noise = torch.randint(256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    hashes = perceptual_hashes(noise.to(torch.uint8))
    assert hashes.shape == (60, BITS)
    differing = (hashes[:30, None] != hashes[None, 30:]).sum(2)
    assert 28 < differing.mean() < 36
    assert not len(near_duplicates(hashes[:30], hashes[30:]))


def test_hashes_of_another_length_are_refused():
    with pytest.raises(ValueError, match="63"):
        near_duplicates(np.zeros((2, 64), bool), np.zeros((2, 63), bool))
