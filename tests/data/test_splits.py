"""Lists of ids: a larger folder gives the same images in the same order, a wrong id is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.data import catalogue, faces, labelled, segmented
from lib.data.catalogue import SPLITS, listed_ids
from lib.data.faces import attribute_count, load_faces
from lib.data.images import list_images
from lib.data.labelled import load_labelled
from lib.data.segmented import load_segmented
from lib.engine.files import REPOSITORY

COMMITTED = {  # lists of one data set, which share no id: how many each has
    "coco2017@medium": {"train": 412, "test": 137},
    "voc2012_aug@medium": {"train": 1363, "test": 669},
    "caltech101@medium": {"train": 2424, "test": 606},
    "mtfl@medium": {"train": 4505, "test": 495, "aflw": 1000},
    "stanford_background": {"train": 475, "val": 119},
    "oxford-iiit-pet": {"trainval": 356, "test": 335},
}
# pycocotools 2.0.11 with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Lists and shards of the test alone, nothing remembered from another one."""
    monkeypatch.setattr(catalogue, "SPLITS", tmp_path / "splits")
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "shards"))
    (tmp_path / "splits").mkdir()
    yield
    for kept in (segmented._load, segmented._voc, segmented._stanford, segmented._pets,
                 segmented._annotations):  # fmt: skip
        kept.cache_clear()
    faces._load.cache_clear(), labelled._class_folders.cache_clear()


def write_list(tmp_path: Path, name: str, part: str, ids: list[str]) -> None:
    text = "# for a test\n" + "\n".join(ids) + "\n"
    (tmp_path / "splits" / f"{name}.{part}.txt").write_text(text)


def photograph(path: Path, seed: int) -> None:
    """40 x 32 pixels of noise, the same for the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def voc(root: Path, stems: list[str]) -> None:
    for stem in stems:
        seed = int(stem[-2:])
        photograph(root / f"VOCdevkit/VOC2012/JPEGImages/{stem}.jpg", seed)
        mask = root / f"VOCdevkit/VOC2012/SegmentationClass/{stem}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 40), 1 + seed % 20, np.uint8)).save(mask)


def coco(root: Path, part: str, numbers: list[int]) -> None:
    """Each image with one instance of category 3, of another width."""
    images, annotations = [], []
    for number in numbers:
        file = f"{number:012}.jpg"
        photograph(root / "coco" / part / file, number)
        images.append({"id": number, "file_name": file, "height": 32, "width": 40})
        outline = [4, 0, 8 + number, 0, 8 + number, 32, 4, 32]
        annotations.append({"image_id": number, "category_id": 3, "segmentation": [outline]})
        annotations[-1] |= {"id": number, "iscrowd": 0}
    path = root / f"coco/annotations/instances_{part}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "x"}]}
    path.write_text(json.dumps(content))


def caltech(root: Path, files: list[str]) -> None:
    for file in files:
        photograph(root / "caltech101/101_ObjectCategories" / file, sum(file.encode()))


def mtfl(root: Path, numbers: list[int]) -> None:
    lines = []
    for number in numbers:
        photograph(root / f"mtfl/AFLW/{number}.jpg", number)
        lines.append(f"AFLW/{number}.jpg 12 22 17 13 21 8 8 13 18 18 1 2 2 {1 + number % 5}\n")
    (root / "mtfl/testing.txt").write_text("".join(lines))


def fill_voc(subset: Path, official: Path) -> None:
    voc(subset, ["2007_01", "2007_05", "2008_03"])
    voc(official, ["2007_00", "2007_01", "2007_05", "2007_07", "2008_03", "2008_06"])


def fill_coco(subset: Path, official: Path) -> None:
    coco(subset, "val2017", [1, 3, 5, 7])  # all in one folder, of whichever they are
    coco(official, "train2017", [1, 2, 5, 9])
    coco(official, "val2017", [3, 4, 7])


def fill_mtfl(subset: Path, official: Path) -> None:
    mtfl(subset, [3, 4, 8])
    mtfl(official, list(range(10)))


def load_voc(root: Path) -> tuple:
    data = load_segmented("voc2012_aug@small", "train", size=32, root=root)
    return data.ids, data.images, data.labels


def load_coco(root: Path) -> tuple:
    data = load_segmented("coco2017@small", "train", size=32, root=root)
    return data.ids, data.images, data.labels


def load_mtfl(root: Path) -> tuple:
    data = load_faces("mtfl@small", "aflw", size=16, root=root)
    return data.ids, data.images, data.landmarks, data.attributes


CASES = [
    (fill_voc, load_voc, "voc2012_aug@small.train", ["2008_03", "2007_05"]),
    (fill_coco, load_coco, "coco2017@small.train", [f"{n:012}" for n in (7, 5, 1, 3)]),
    (fill_mtfl, load_mtfl, "mtfl@small.aflw", ["AFLW/8.jpg", "AFLW/3.jpg"]),
]


@pytest.mark.parametrize(("fill", "load", "listed", "ids"), CASES)
def test_a_larger_folder_gives_the_same_images_in_the_order_of_the_list(
    tmp_path, fill: Callable, load: Callable, listed: str, ids: list[str]
):
    subset, official = tmp_path / "subset", tmp_path / "official"
    fill(subset, official)
    write_list(tmp_path, *listed.split("."), ids)
    small, large = load(subset), load(official)
    assert small[0] == large[0] == tuple(ids)
    assert len(small[1].flatten(1).unique(dim=0)) == len(ids)
    for values, others in zip(small[1:], large[1:], strict=True):
        assert torch.equal(values, others)


@pytest.mark.parametrize(("fill", "load", "listed", "ids"), CASES)
def test_an_id_that_is_not_there_is_named(tmp_path, fill, load, listed, ids):
    fill(tmp_path / "subset", tmp_path / "official")
    write_list(tmp_path, *listed.split("."), [*ids, "2010_99"])
    with pytest.raises(ValueError, match=rf"{listed}\.txt lists 2010_99, which is not in .*subset"):
        load(tmp_path / "subset")
    (tmp_path / "splits" / f"{listed}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no list of ids .*{listed}\.txt"):
        load(tmp_path / "subset")


def test_photographs_of_classes_are_split_as_their_lists_say(tmp_path):
    train, test = ["ant/2.png", "bee/3.png", "ant/1.png"], ["bee/1.png", "ant/3.png"]
    caltech(tmp_path / "subset", train + test)
    extra = [f"{name}/{n}.png" for name in ("ant", "bee", "BACKGROUND_Google") for n in range(9)]
    caltech(tmp_path / "official", extra)
    write_list(tmp_path, "caltech101@small", "train", train)
    write_list(tmp_path, "caltech101@small", "test", test)
    small, large = (
        load_labelled("caltech101@small", size=32, root=tmp_path / folder)
        for folder in ("subset", "official")
    )
    assert small.classes == large.classes == ("ant", "bee")
    assert small.train_labels.tolist() == large.train_labels.tolist() == [0, 1, 0]
    assert small.test_labels.tolist() == large.test_labels.tolist() == [1, 0]
    assert torch.equal(small.train_images, large.train_images)
    assert torch.equal(small.test_images, large.test_images)
    assert not torch.equal(small.train_images[0], small.train_images[2])


def test_a_target_has_the_photographs_of_its_classes_alone(tmp_path):
    train, test = ["ant/2.png", "bee/3.png", "cow/1.png"], ["cow/2.png", "ant/3.png"]
    caltech(tmp_path, train + test)
    write_list(tmp_path, "caltech101@small", "train", train)
    write_list(tmp_path, "caltech101@small", "test", test)
    write_list(tmp_path, "caltech101", "two", ["cow", "ant"])
    whole = load_labelled("caltech101@small", size=32, root=tmp_path)
    part = load_labelled("caltech101@small/two", size=32, root=tmp_path)
    assert part.classes == ("cow", "ant")
    assert part.train_labels.tolist() == [1, 0] and part.test_labels.tolist() == [0, 1]
    assert torch.equal(part.train_images, whole.train_images[[0, 2]])
    assert torch.equal(part.test_images, whole.test_images)
    write_list(tmp_path, "caltech101", "wrong", ["dog", "ant"])
    with pytest.raises(ValueError, match=r"caltech101\.wrong\.txt lists dog"):
        load_labelled("caltech101@small/wrong", size=32, root=tmp_path)


def test_five_targets_share_no_class_and_follow_their_rule(monkeypatch):
    """Twenty at a time, in the order of the sha256 of the names, alphabetical in a list."""
    monkeypatch.setattr(catalogue, "SPLITS", SPLITS)
    table = pd.read_csv(REPOSITORY / "lib/transfer/caltech101_folders.csv")
    classes = set(table["folder"]) - {"BACKGROUND_Google", "Faces_easy"}
    in_order = sorted(classes, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for place in range(5):
        listed = listed_ids("caltech101", f"target{place + 1}", classes, SPLITS)
        assert listed == sorted(in_order[20 * place : 20 * place + 20])


def test_labels_of_voc_follow_the_lists_of_its_segmentation(tmp_path):
    fill_voc(tmp_path / "subset", tmp_path / "official")
    write_list(tmp_path, "voc2012_aug@small", "train", ["2008_03", "2007_01"])
    write_list(tmp_path, "voc2012_aug@small", "test", ["2007_05"])
    data = load_labelled("voc2012@small", size=32, root=tmp_path / "subset")
    assert data.train_labels.tolist() == [3, 1] and data.test_labels.tolist() == [5]


@pytest.mark.parametrize(
    ("text", "why"),
    [("# nothing\n\n", "0 ids, 0 of them"), ("# twice\na\nb\na\n", "3 ids, 2 of them")],
)
def test_a_list_without_ids_or_with_one_twice_is_refused(tmp_path, text, why):
    (tmp_path / "splits/x@y.train.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"x@y\.train\.txt has {why}"):
        listed_ids("x@y", "train", {"a", "b"}, tmp_path)


def test_drawn_sets_have_no_lists():
    for load in (
        lambda: load_segmented("scenes_a@medium", "train", size=16, count=1),
        lambda: load_labelled("scenes@medium", train=1, test=1),
        lambda: load_faces("drawn_faces@medium", "train", size=24, count=1),
    ):
        with pytest.raises(ValueError, match="@medium"):
            load()
    assert attribute_count("mtfl@medium") == 6


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_lists_have_their_ids_and_share_none(name, monkeypatch):
    monkeypatch.setattr(catalogue, "SPLITS", SPLITS)

    class Everything:
        def __contains__(self, _):
            return True

    lists = {part: listed_ids(name, part, Everything(), SPLITS) for part in COMMITTED[name]}
    assert {part: len(ids) for part, ids in lists.items()} == COMMITTED[name]
    assert len({id for ids in lists.values() for id in ids}) == sum(COMMITTED[name].values())
    for part in lists:
        assert (SPLITS / f"{name}.{part}.txt").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.real_data
def test_photographs_without_a_list_are_the_published_ones():
    """Deep denoising's sets are taken whole: their names tell a copy that lacks one."""
    try:
        names = {name: [path.name for path in list_images(name)] for name in ("train400", "set12")}
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert names["train400"] == [f"test_{number:03}.png" for number in range(1, 401)]
    assert names["set12"] == [f"{number:02}.png" for number in range(1, 13)]
