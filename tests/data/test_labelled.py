"""Labelled sets: every value where it belongs, subsets that nest, damage that is named.

Drawn ones against the names of what was drawn, folders against files made here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.data import labelled
from lib.data.drawn.scenes import CATEGORIES, render_objects
from lib.data.labelled import (
    CIFAR10_CLASSES,
    DRAWN,
    balanced_order,
    largest_class,
    load_labelled,
)
from lib.engine.files import REPOSITORY

FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture(autouse=True)
def nothing_remembered():
    yield
    labelled._cifar10.cache_clear(), labelled._class_folders.cache_clear()


def write(path: Path, labels: list[int], seed: int) -> None:
    """Records of a label byte and three planes that start with (seed, 1, 2), (3, 4, 5)."""
    records = np.random.default_rng(seed).integers(0, 256, (len(labels), 3073), np.uint8)
    records[:, 0] = labels
    for plane in range(3):
        records[:, 1 + plane * 1024 : 3 + plane * 1024] = plane, plane + 3
    records[:, 1] = seed
    path.write_bytes(records.tobytes())


def checksums(folder: Path) -> dict[str, str]:
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    """A data root with six small files in the binary layout: 5 x 7 training and 7 test images."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate(FILES, start=10):
        write(folder / name, [seed % 3, 9, 9, 0, 1, 2, 2], seed)
    monkeypatch.setattr(labelled, "CIFAR10_MD5", checksums(folder))
    return tmp_path


def test_binary_records_are_planes_of_red_green_and_blue(fake):
    data = load_labelled("cifar10", train=0, test=0, root=fake)
    assert data.train_images.shape == (35, 3, 32, 32) and data.train_images.dtype == torch.uint8
    assert data.test_images.shape == (7, 3, 32, 32)
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert set(data.train_images[:, 0, 0, 0].tolist()) == {10, 11, 12, 13, 14}
    assert data.test_images[:, :, 0, 0].tolist() == [[15, 1, 2]] * 7
    assert data.test_images[:, :, 0, 1].tolist() == [[3, 4, 5]] * 7
    assert data.classes == CIFAR10_CLASSES and data.classes[3] == "cat" and len(data.classes) == 10


def test_every_image_keeps_its_label(fake):
    data = load_labelled("cifar10", train=0, test=0, root=fake)
    images = torch.cat([data.train_images, data.test_images]).numpy()
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    found = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
    files = b"".join((fake / "cifar-10-batches-bin" / name).read_bytes() for name in FILES)
    expected = [files[start : start + 3073] for start in range(0, len(files), 3073)]
    assert sorted(found) == sorted(expected) and len(expected) == 42


def test_subsets_are_beginnings_and_are_read_once(fake, monkeypatch):
    whole = load_labelled("cifar10", train=0, test=0, root=fake)
    monkeypatch.setattr(labelled, "locate", lambda *_: pytest.fail("read again"))
    part = load_labelled("cifar10", train=12, test=3, root=str(fake))
    for name, count in (("train", 12), ("test", 3)):
        for what in (f"{name}_images", f"{name}_labels"):
            assert torch.equal(getattr(part, what), getattr(whole, what)[:count])


def test_a_balanced_order_lets_the_classes_take_turns():
    labels = torch.tensor([4] * 5 + [0] * 30 + [2] * 20)[torch.randperm(55)]
    order = balanced_order(labels)
    assert sorted(order.tolist()) == list(range(55))
    for count in range(1, 56):
        of_each = [(labels[order[:count]] == label).sum().item() for label in (0, 2, 4)]
        for have, there_are in zip(of_each, (30, 20, 5), strict=True):
            assert have == there_are or max(of_each) - have <= 1
    assert torch.equal(order, balanced_order(labels))
    assert not torch.equal(order, balanced_order(labels, seed=1))
    zeros = order[labels[order] == 0]
    assert zeros.tolist() != sorted(zeros.tolist()), "random within a class"


@pytest.mark.parametrize("name", [FILES[2], FILES[5]])
def test_damaged_files_are_named(fake, name):
    path = fake / "cifar-10-batches-bin" / name
    content = path.read_bytes()
    for damaged in (content[:-100], content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} has md5 .* not .*: damaged"):
            load_labelled("cifar10", train=1, test=1, root=fake)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="download cifar10"):
        load_labelled("cifar10", train=1, test=1, root=fake)
    path.write_bytes(content)
    assert len(load_labelled("cifar10", train=1, test=1, root=fake).train_labels) == 1


def test_missing_data_say_where_they_were_looked_for_and_what_is_embedded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download cifar10.*'digits', 'scenes'") as caught:
        load_labelled("cifar10", root=tmp_path)
    assert str(tmp_path / "cifar-10-batches-bin") in str(caught.value)
    with pytest.raises(FileNotFoundError, match="256_ObjectCategories"):
        load_labelled("caltech256", size=32, root=tmp_path)


def test_a_folder_of_ones_own_has_a_folder_for_each_class(tmp_path):
    for label, name in enumerate(("fern", "moss")):
        (tmp_path / "my/plants" / name).mkdir(parents=True)
        for place in range(8):
            picture = Image.new("RGB", (20 + place, 30), (200 * label,) * 3)
            picture.save(tmp_path / f"my/plants/{name}/{place}.png")
    data = load_labelled("my/plants", size=16, root=tmp_path)
    assert data.classes == ("fern", "moss")
    assert (len(data.train_images), len(data.test_images)) == (12, 4)
    assert torch.equal(data.test_images.float().mean((1, 2, 3)), 200.0 * data.test_labels)
    with pytest.raises(FileNotFoundError, match=r"neither a data set .* nor a folder .*no_plants"):
        load_labelled("no_plants", root=tmp_path)


def test_digits_are_enlarged_four_times_in_three_equal_channels():
    from sklearn.datasets import load_digits

    data, source = load_labelled("digits", train=0, test=0), load_digits()
    images = torch.cat((data.train_images, data.test_images)).numpy()
    labels = torch.cat((data.train_labels, data.test_labels)).tolist()
    assert images.shape == (1797, 3, 32, 32) and images.dtype == np.uint8
    assert (images == images[:, :1]).all()
    blocks = images[:, 0].reshape(-1, 8, 4, 8, 4)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    small = blocks[:, :, 0, :, 0]
    assert small.min() == 0 and small.max() == 255
    back = np.rint(small / 255 * 16)
    found = sorted((label, image.tobytes()) for label, image in zip(labels, back, strict=True))
    pairs = zip(source.target.tolist(), source.images, strict=True)
    assert found == sorted((label, image.tobytes()) for label, image in pairs)


def test_digits_are_split_by_class():
    data = load_labelled("digits", train=100, test=0)
    assert data.test_labels.bincount().tolist() == [50] * 10
    assert data.train_labels.bincount().tolist() == [10] * 10
    assert len(load_labelled("digits", train=0, test=1).train_labels) == 1297
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("name", DRAWN)
def test_labels_of_drawn_tasks_are_those_of_the_pictures(name):
    data = load_labelled(name, train=60, test=20)
    classes, part, (seed, _) = DRAWN[name]
    assert data.classes == classes
    assert data.train_images.shape == (60, 3, 32, 32)
    assert len(data.test_labels) == 20
    drawn = render_objects(120, size=32, seed=seed)
    pictures, names = drawn.images, [words.split() for words in drawn.captions]
    for image, label in zip(data.train_images, data.train_labels, strict=True):
        (place,) = [i for i, each in enumerate(pictures) if torch.equal(each, image)]
        assert names[place][part] == classes[label]


def test_no_two_sets_share_a_picture():
    parts = [load_labelled(name, train=60, test=20) for name in ("scenes", "objects", "things")]
    pictures = [images for part in parts for images in (part.train_images, part.test_images)]
    every = {image.numpy().tobytes() for images in pictures for image in images}
    assert len(every) == 3 * 80
    again = load_labelled("scenes", train=60, test=20)
    assert torch.equal(parts[0].train_images, again.train_images)
    assert parts[0].classes == parts[1].classes == CATEGORIES["A"]


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    """Three classes of ten photographs, each of a grey of its own."""
    for place, name in enumerate(("BACKGROUND_Google", "ant", "Faces")):
        folder = tmp_path / "caltech101/101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = np.full((40, 60, 3), 80 * place + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{number:04}.png")
    return tmp_path


def test_a_quarter_of_each_folder_rounded_down_is_for_testing(caltech):
    data = load_labelled("caltech101", size=32, root=caltech)
    assert data.classes == ("BACKGROUND_Google", "Faces", "ant")
    assert data.train_labels.bincount().tolist() == [8, 8, 8]
    assert data.test_labels.bincount().tolist() == [2, 2, 2]
    greys = torch.cat([data.train_images, data.test_images])[:, 0, 0, 0].tolist()
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    assert sorted(zip(labels, greys, strict=True)) == [
        (label, base + number)
        for label, base in ((0, 0), (1, 160), (2, 80))
        for number in range(10)
    ]


def test_the_split_of_the_whole_archive_is_the_papers():
    """2,241 is the only number of images of which all accuracies of its Table 1 are counts."""
    table = pd.read_csv(REPOSITORY / "lib/transfer/caltech101_folders.csv")
    ids = [
        f"{name}/image_{number:04}.jpg"
        for name, count in table.itertuples(index=False)
        for number in range(count)
    ]
    train, test = labelled._split(ids, Path("caltech101"))
    assert (len(train), len(test)) == (6903, 2241)
    assert sorted(train + test) == sorted(ids)
    background = sum(id.startswith("BACKGROUND_Google/") for id in test)
    assert background == 116  # of 467


def test_small_photographs_are_enlarged(caltech):
    data = load_labelled("caltech101", size=64, root=caltech)
    assert data.train_images.shape == (24, 3, 64, 64)
    assert data.train_images.flatten(1).float().std(1).max() == 0


def test_a_class_of_one_photograph_is_refused(caltech):
    folder = caltech / "caltech101/101_ObjectCategories/ant"
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"ant/image_0000\.png is the only photograph"):
        load_labelled("caltech101", size=32, root=caltech)


def test_a_truncated_photograph_is_named(caltech):
    path = caltech / "caltech101/101_ObjectCategories/ant/image_0003.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"image_0003\.png"):
        load_labelled("caltech101", size=32, root=caltech)


def test_numbers_of_caltech256_are_no_part_of_a_name(tmp_path):
    for name in ("001.ak47", "257.clutter"):
        folder = tmp_path / "caltech256/256_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32)).save(folder / f"{number}.jpg")
    assert load_labelled("caltech256", size=32, root=tmp_path).classes == ("ak47", "clutter")


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
    ("name", "options", "message"),
    [
        ("coco2017", {}, r"name must be one of \('scenes', .*'caltech256'\) or .* not 'coco2017'"),
        ("digits", {"train": 5, "test": -1}, "test must be at least 0, not -1"),
        ("objects", {"size": 0}, "size must be at least 1, not 0"),
        ("digits", {"train": 1298}, "digits has 1,297 train images, not 1,298"),
        ("digits", {"size": 64}, "digits has images of 32 px, not 64"),
        ("cifar10", {"train": 35, "test": 8}, "cifar10 has 7 test images, not 8"),
        ("caltech101", {"train": 5}, "caltech101 is taken whole, not 5 and 0"),
        ("scenes", {"test": 5}, "scenes are drawn: say how many, not 0 and 5"),
        ("objects", {"train": 5}, "objects are drawn: say how many, not 5 and 0"),
    ],
)
def test_bad_requests_are_refused(fake, name, options, message):
    with pytest.raises(ValueError, match=message):
        load_labelled(name, root=fake, **options)


@pytest.mark.real_data
def test_real_cifar10():
    """Against what is known of it: 6,000 of each class, published means and deviations."""
    try:
        data = load_labelled("cifar10", train=0, test=0)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert data.train_labels.bincount().tolist() == [5000] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    first = load_labelled("cifar10", train=1000, test=100)
    assert first.train_labels.bincount().tolist() == [100] * 10
    pixels = data.train_images.numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(pixels.mean(1) / 255, (0.4914, 0.4822, 0.4465), atol=1e-4)
    deviations = [channel[::7].std() / 255 for channel in pixels]
    np.testing.assert_allclose(deviations, (0.2470, 0.2435, 0.2616), atol=1e-3)


@pytest.mark.real_data
def test_real_tasks():
    caltech, voc = load_labelled("caltech101", size=32), load_labelled("voc2012", size=32)
    assert len(caltech.classes) == 102
    assert "BACKGROUND_Google" in caltech.classes
    assert caltech.train_labels.unique().numel() == 102
    assert len(voc.classes) == 20
    assert voc.train_labels.max() < 20
    assert voc.train_labels.min() >= 0
