"""Label maps against ones drawn by hand, splits that keep apart, damage that is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.draw import polygon2mask

from lib.data import catalogue, segmented
from lib.data.catalogue import folder_of, locate
from lib.data.drawn import scenes
from lib.data.images import list_images, load_images
from lib.data.segmented import SEGMENTED, VOC_CLASSES, Segmented, load_segmented

LISTS = {
    "train": ["2007_01", "2007_02", "2008_03", "2008_04", "2009_05"],
    "val": ["2010_11", "2010_12"],
}
COCO_IDS = [5, 9, 12, 100, 101, 230, 231, 300, 301]
TWO = ("train", "test")
# pycocotools 2.0.11 with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def fresh(*arguments, **options) -> Segmented:
    for kept in (segmented._load, segmented._annotations, *segmented._READERS.values()):
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
    return load_segmented(*arguments, **options)


def save_mask(path: Path, labels: np.ndarray, mode: str = "P") -> None:
    """As VOC's: the labels are places in the palette of the challenge's development kit."""
    picture = Image.fromarray(labels.astype(np.uint8), mode)
    if mode == "P":
        palette = []
        for label in range(256):
            red = green = blue = 0
            for bit in range(8):
                red |= (label & 1) << (7 - bit)
                green |= (label >> 1 & 1) << (7 - bit)
                blue |= (label >> 2 & 1) << (7 - bit)
                label >>= 3
            palette += [red, green, blue]
        picture.putpalette(palette)
    picture.save(path)


def save_pair(voc: Path, stem: str, grey: int, label: int) -> None:
    """48 x 32: eight red columns of label 1, 32 grey ones of ``label``, eight blue ones of 2."""
    pixels = np.full((32, 48, 3), grey, np.uint8)
    pixels[:, :8], pixels[:, 40:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(voc / f"JPEGImages/{stem}.jpg", quality=100, subsampling=0)
    labels = np.full((32, 48), label)
    labels[:, :8], labels[:, 40:] = 1, 2
    labels[4:6, 8:12], labels[31, 39] = 255, 0
    save_mask(voc / f"SegmentationClass/{stem}.png", labels)


@pytest.fixture
def voc(tmp_path) -> Path:
    """VOC2012 of a data root: 5 training, 2 validation images; image i has grey 20 i, label i."""
    folder = tmp_path / "VOCdevkit/VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for name, stems in LISTS.items():
        (folder / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(stems) + "\n")
    for number, stem in enumerate(LISTS["train"] + LISTS["val"], start=3):
        save_pair(folder, stem, 20 * number, number)
    return folder


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


CROWD = {"size": [8, 12], "counts": [8 * 8 + 6, 2, 5, 3, 8 * 2]}  # down the columns
# column 8: rows 6, 7; column 9: rows 5, 6, 7
INSTANCES = [
    {"category_id": 7, "segmentation": rectangle(3, 1, 5, 4)},  # small, and listed first
    {"category_id": 90, "segmentation": rectangle(2, 0, 10, 6)},
    {"category_id": 1, "segmentation": CROWD, "iscrowd": 1},
    {"category_id": 1, "segmentation": rectangle(0, 7, 9, 8)},
    {"category_id": 7, "segmentation": rectangle(6, 2, 7, 3) + rectangle(8, 2, 9, 3)},
]
CATEGORIES = [(90, "toothbrush"), (1, "person"), (7, "train")]
EXPECTED = """
33333333
32233333
32232323
32233333
33333333
3333333-
......--
111111--
"""


def expected() -> np.ndarray:
    values = {"-": 255, ".": 0, "1": 1, "2": 2, "3": 3}
    return np.array([[values[sign] for sign in row] for row in EXPECTED.split()])


def write_coco(root: Path, part: str, ids: list[int], instances: list[dict] = INSTANCES) -> Path:
    """Images of 12 x 8 in falling order of id; the instances are those of the first id."""
    folder = root / "coco"
    (folder / part).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images = []
    for number in ids[::-1]:
        name = f"{number:012d}.jpg"
        grey = np.full((8, 12, 3), number % 256, np.uint8)
        Image.fromarray(grey).save(folder / part / name, quality=100)
        images.append({"id": number, "file_name": name, "height": 8, "width": 12})
    common = {"image_id": ids[0], "iscrowd": 0}
    path = folder / f"annotations/instances_{part}.json"
    annotations = [common | each | {"id": 70 + place} for place, each in enumerate(instances)]
    categories = [{"id": key, "name": name} for key, name in CATEGORIES]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("split", TWO)
def test_voc_images_keep_their_centre_and_their_label_map(voc, tmp_path, split):
    stems = LISTS["train" if split == "train" else "val"]
    data = load_segmented("voc2012", split, size=32, root=tmp_path)
    assert data.images.shape == (len(stems), 3, 32, 32) and data.images.dtype == torch.uint8
    assert data.labels.shape == (len(stems), 32, 32) and data.labels.dtype == torch.uint8
    assert data.images.is_contiguous() and data.skipped == 0
    assert sorted(data.ids) == stems
    for stem, image, labels in zip(data.ids, data.images, data.labels, strict=True):
        number = 3 + (LISTS["train"] + LISTS["val"]).index(stem)
        assert (image.int() - 20 * number).abs().max() <= 3, "no column of red or blue"
        by_hand = torch.full((32, 32), number, dtype=torch.uint8)
        by_hand[4:6, :4], by_hand[31, 31] = 255, 0
        assert torch.equal(labels, by_hand)


def test_label_maps_are_reduced_to_the_nearest_pixel(voc, tmp_path):
    labels = np.arange(16 * 16).reshape(16, 16) % 21
    for stem in LISTS["val"]:
        Image.new("RGB", (16, 16)).save(voc / f"JPEGImages/{stem}.jpg")
        save_mask(voc / f"SegmentationClass/{stem}.png", labels, "L")
    data = load_segmented("voc2012", "test", size=8, root=tmp_path)
    np.testing.assert_array_equal(data.labels[0], labels[1::2, 1::2])
    data = load_segmented("voc2012", "test", size=5, root=tmp_path)
    rows = [1, 4, 8, 11, 14]  # floor of 3.2 (i + 1/2)
    np.testing.assert_array_equal(data.labels[1], labels[np.ix_(rows, rows)])


def test_voc_classes_are_those_of_the_challenge():
    assert len(VOC_CLASSES) == 21 and VOC_CLASSES[0] == "background"
    assert (VOC_CLASSES[1], VOC_CLASSES[15]) == ("aeroplane", "person")
    assert VOC_CLASSES[1:] == tuple(sorted(VOC_CLASSES[1:]))


def test_the_augmented_list_has_the_same_test_images(voc, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train_aug\.txt"):
        load_segmented("voc2012_aug", "train", size=32, root=tmp_path)
    longer = [*LISTS["train"], "sbd_1"]
    (voc / "ImageSets/Segmentation/train_aug.txt").write_text("\n".join(longer))
    save_pair(voc, "sbd_1", 100, 20)
    data = load_segmented("voc2012_aug", "train", size=32, root=tmp_path)
    assert sorted(data.ids) == longer
    assert data.labels[data.ids.index("sbd_1"), 16, 16] == 20
    test = load_segmented("voc2012_aug", "test", size=32, root=tmp_path)
    assert test.ids == load_segmented("voc2012", "test", size=32, root=tmp_path).ids


def test_groups_of_voc_are_the_challenges(voc, tmp_path):
    """Places among VOC's classes: 15 is person, 20 tvmonitor."""
    (voc / "ImageSets/Segmentation/train_aug.txt").write_text("\n".join(LISTS["train"]))
    data = load_segmented("voc2012_groups", "train", size=48 - 16, root=tmp_path)
    assert data.classes == ("background", "person", "animal", "vehicle", "indoor")
    assert sorted(data.ids) == LISTS["train"]
    # the places of the training images are 3 to 7: bird, boat, bottle, bus, car
    middle = {stem: int(labels[16, 16]) for stem, labels in zip(data.ids, data.labels, strict=True)}
    assert [middle[stem] for stem in LISTS["train"]] == [2, 3, 4, 3, 3]
    for stem, place in zip(LISTS["val"], (15, 20), strict=True):
        save_pair(voc, stem, 100, place)
    test = load_segmented("voc2012_groups", "test", size=32, root=tmp_path)
    middle = {stem: int(labels[16, 16]) for stem, labels in zip(test.ids, test.labels, strict=True)}
    assert [middle[stem] for stem in LISTS["val"]] == [1, 4]
    assert (test.labels == 255).sum() == 2 * 8, "borders are ignored"
    plain = load_segmented("voc2012_aug", "test", size=32, root=tmp_path)
    assert plain.ids == test.ids and torch.equal(plain.images, test.images)


def listed(tmp_path: Path, monkeypatch, name: str, **parts: list[str]) -> None:
    """Lists of ids of the test alone."""
    monkeypatch.setattr(catalogue, "SPLITS", tmp_path / "splits")
    (tmp_path / "splits").mkdir()
    for part, ids in parts.items():
        (tmp_path / f"splits/{name}.{part}.txt").write_text("\n".join(["# for a test", *ids]))


STANFORD = np.array([[0, 0, 0, 0], [5, 5, -1, 7], [5, 5, -1, 7], [2, 2, 2, 2]])


@pytest.mark.parametrize("kind", ["png", "regions.txt"])
def test_stanford_photographs_of_the_lists(kind, tmp_path, monkeypatch):
    """Published label maps are text with -1 for unknown."""
    folder = tmp_path / "stanford_background"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, stem in enumerate(("0000047", "0000051", "0000059", "0000072")):
        grey = np.full((4, 4, 3), 50 * number, np.uint8)
        Image.fromarray(grey).save(folder / f"images/{stem}.jpg", quality=100)
        if kind == "png":
            save_mask(folder / f"labels/{stem}.png", np.where(STANFORD < 0, 255, STANFORD))
        else:
            np.savetxt(folder / f"labels/{stem}.regions.txt", STANFORD, fmt="%d")
            (folder / f"labels/{stem}.surfaces.txt").write_text("another map")
    parts = {"train": ["0000072", "0000047"], "val": ["0000059"]}
    listed(tmp_path, monkeypatch, "stanford_background", **parts)
    train = fresh("stanford_background", "train", size=4, root=tmp_path)
    assert (
        train.classes[0] == "sky" and train.classes[7] == "foreground" and len(train.classes) == 8
    )
    assert sorted(train.ids) == ["0000047", "0000072"]
    np.testing.assert_array_equal(train.labels[0], np.where(STANFORD < 0, 255, STANFORD))
    assert (train.images[train.ids.index("0000072")].int() - 150).abs().max() <= 3
    assert fresh("stanford_background", "test", size=4, root=tmp_path).ids == ("0000059",)
    path = folder / f"labels/0000059.{kind}"
    if kind == "png":
        save_mask(path, STANFORD + 8)
    else:
        path.write_text("0 0 8\n")
    with pytest.raises(ValueError, match=rf"0000059\.{kind}.* to 7"):
        fresh("stanford_background", "test", size=4, root=tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"stanford_background\.val\.txt lists 0000059"):
        fresh("stanford_background", "test", size=4, root=tmp_path)


def test_pets_stand_before_their_background(tmp_path, monkeypatch):
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations/trimaps").mkdir(parents=True)
    trimap = np.array([[2, 2, 2], [2, 3, 1], [3, 1, 1]])
    for stem in ("Abyssinian_1", "beagle_7"):
        Image.new("RGB", (3, 3)).save(folder / f"images/{stem}.jpg")
        save_mask(folder / f"annotations/trimaps/{stem}.png", trimap, "L")
    (folder / "annotations/trimaps/._beagle_7.png").write_bytes(b"of another file system")
    parts = {"trainval": ["beagle_7"], "test": ["Abyssinian_1"]}
    listed(tmp_path, monkeypatch, "oxford-iiit-pet", **parts)
    for split, stem in (("train", "beagle_7"), ("test", "Abyssinian_1")):
        data = fresh("oxford-iiit-pet", split, size=3, root=tmp_path)
        assert data.ids == (stem,) and data.classes == ("background", "pet")
        np.testing.assert_array_equal(data.labels[0], [[0, 0, 0], [0, 255, 1], [255, 1, 1]])
    save_mask(folder / "annotations/trimaps/beagle_7.png", trimap - 1, "L")
    with pytest.raises(ValueError, match=r"beagle_7\.png has label 0; labels are 1 to 3"):
        fresh("oxford-iiit-pet", "train", size=3, root=tmp_path)


def test_small_coco_instances_stay_in_front_and_crowds_are_ignored(tmp_path):
    write_coco(tmp_path, "train2017", [5, 9])
    write_coco(tmp_path, "val2017", [11], INSTANCES[::-1])
    train = load_segmented("coco2017", "train", size=8, root=tmp_path)
    assert sorted(train.ids) == ["000000000005", "000000000009"]
    assert train.classes == ("background", "person", "train", "toothbrush")
    first = train.ids.index("000000000005")
    np.testing.assert_array_equal(train.labels[first], expected())
    assert not train.labels[1 - first].any(), "no instance: all background"
    assert (train.images[first].int() - 5).abs().max() <= 2
    test = load_segmented("coco2017", "test", size=8, root=tmp_path)
    assert test.ids == ("000000000011",)
    np.testing.assert_array_equal(test.labels[0], expected())
    reduced = load_segmented("coco2017", "test", size=4, root=tmp_path)
    np.testing.assert_array_equal(reduced.labels[0], expected()[1::2, 1::2])


def test_where_there_is_val2017_alone_every_fourth_image_is_test(tmp_path, capfd):
    write_coco(tmp_path, "val2017", COCO_IDS)
    found = {
        split: sorted(int(name) for name in part.ids)
        for split in TWO
        for part in [load_segmented("coco2017", split, size=8, root=tmp_path)]
    }
    assert found == {"train": [5, 9, 12, 101, 230, 231, 301], "test": [100, 300]}
    assert capfd.readouterr() == ("", "")


def test_coco_damage_is_named(tmp_path):
    path = write_coco(tmp_path, "val2017", COCO_IDS)
    whole = path.read_text()

    def changed(key: str, place: int, **values) -> str:
        content = json.loads(whole)
        content[key][place] |= values
        return json.dumps(content)

    for content, message in (
        (whole[:-40], r"instances_val2017\.json is not a readable list"),
        ("[]", r"instances_val2017\.json is not a readable list"),
        (changed("images", -1, width=13), r"0005\.jpg is 12 x 8, .* map is 13 x 8"),
        (changed("images", -1, height=9), r"0005\.jpg is 12 x 8, .* map is 12 x 9"),
        (changed("annotations", 1, category_id=8), r"0005\.jpg cannot be drawn: KeyErr"),
        (changed("annotations", 1, segmentation=[]), r"0005\.jpg cannot be drawn"),
        (changed("annotations", 1, segmentation=["x"]), r"0005\.jpg cannot be drawn"),
        (
            changed("annotations", 2, segmentation=CROWD | {"size": [8, 11]}),
            r"0005\.jpg cannot be drawn",
        ),
        (changed("images", 0, file_name="7.jpg"), r"val2017/7\.jpg"),
    ):
        path.write_text(content)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            fresh("coco2017", "train", size=8, root=tmp_path)
    path.write_text(whole)
    assert len(fresh("coco2017", "train", size=8, root=tmp_path).ids) == 7
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"instances_val2017\.json"):
        fresh("coco2017", "train", size=8, root=tmp_path)


def test_files_come_in_a_fixed_random_order(tmp_path):
    write_coco(tmp_path, "val2017", list(range(100, 180)))
    whole = load_segmented("coco2017", "train", size=8, root=tmp_path)
    order = [int(name) for name in whole.ids]
    assert len(order) == 60 and order not in (sorted(order), sorted(order)[::-1])
    place = np.argsort(np.argsort(order))
    assert abs(np.corrcoef(place, np.arange(60))[0, 1]) < 0.4, "a beginning is a fair sample"
    assert fresh("coco2017", "train", size=8, root=tmp_path).ids == whole.ids


def test_subsets_are_beginnings_at_every_size(voc, tmp_path):
    whole = load_segmented("voc2012", "train", size=32, root=tmp_path)
    assert load_segmented("voc2012", "train", size=32, root=str(tmp_path)) is whole
    for count in range(1, 6):
        part = load_segmented("voc2012", "train", size=32, count=count, root=tmp_path)
        assert part.ids == whole.ids[:count]
        assert torch.equal(part.images, whole.images[:count])
        assert torch.equal(part.labels, whole.labels[:count])
    assert load_segmented("voc2012", "train", size=7, root=tmp_path).ids == whole.ids


def test_small_images_are_left_out_and_counted(voc, tmp_path):
    before = load_segmented("voc2012", "train", size=32, root=tmp_path).ids
    small = before[1]
    Image.new("RGB", (48, 31)).save(voc / f"JPEGImages/{small}.jpg")
    save_mask(voc / f"SegmentationClass/{small}.png", np.zeros((31, 48)))
    data = fresh("voc2012", "train", size=32, root=tmp_path)
    assert data.skipped == 1
    assert data.ids == tuple(stem for stem in before if stem != small)
    assert load_segmented("voc2012", "train", size=32, count=1, root=tmp_path).skipped == 1
    smaller = load_segmented("voc2012", "train", size=31, root=tmp_path)
    assert smaller.skipped == 0 and smaller.ids == before
    with pytest.raises(ValueError, match="has 4 train images of at least 32 px, not 5"):
        load_segmented("voc2012", "train", size=32, count=5, root=tmp_path)
    with pytest.raises(ValueError, match="has 0 train images of at least 33 px"):
        load_segmented("voc2012", "train", size=33, root=tmp_path)


def test_voc_damage_is_named(voc, tmp_path):
    stem = LISTS["val"][1]
    image, mask = voc / f"JPEGImages/{stem}.jpg", voc / f"SegmentationClass/{stem}.png"
    whole = {path: path.read_bytes() for path in (image, mask)}

    def refused(path: Path, why: str, kind: type = ValueError) -> None:
        with pytest.raises(kind, match=f"{path.name}.*{why}"):
            fresh("voc2012", "test", size=32, root=tmp_path)
        for each, content in whole.items():
            each.write_bytes(content)

    for path, why in ((image, "not a readable image"), (mask, "not a readable mask")):
        path.write_bytes(whole[path][: len(whole[path]) * 3 // 4])
        refused(path, why)
        path.write_bytes(b"")
        refused(path, why)
        path.unlink()
        refused(path, "", FileNotFoundError)
    labels = np.array(Image.open(mask))
    for wrong in (21, 254):
        labels[0, 0] = wrong  # outside the centre square: the mask is wrong all the same
        save_mask(mask, labels)
        refused(mask, f"has label {wrong}; labels are 0 to 20 and 255")
    Image.new("RGB", (48, 32)).save(mask)
    refused(mask, "has mode RGB")
    save_mask(mask, np.zeros((48, 32)))
    refused(image, "is 48 x 32, but its label map is 32 x 48")
    assert len(fresh("voc2012", "test", size=32, root=tmp_path).ids) == 2


@pytest.mark.parametrize("domain", ["a", "b"])
def test_scenes_are_those_of_their_domain(domain):
    name = f"scenes_{domain}"
    data = {split: load_segmented(name, split, size=24, count=30) for split in TWO}
    for split, part in data.items():
        assert part.images.shape == (30, 3, 24, 24) and part.labels.shape == (30, 24, 24)
        assert part.images.dtype == part.labels.dtype == torch.uint8
        assert part.classes == ("background", *scenes.CATEGORIES[domain.upper()])
        assert part.ids == tuple(map(str, range(30))) and part.skipped == 0
        assert set(part.labels.unique().tolist()) == {*range(len(part.classes)), 255}
        few = load_segmented(name, split, size=24, count=5)
        assert torch.equal(few.images, part.images[:5])
        seed = segmented.SCENES_SEEDS[split]
        drawn = scenes.render_scenes(30, size=24, seed=seed, domain=domain.upper())
        assert torch.equal(drawn.images, part.images) and torch.equal(drawn.labels, part.labels)
    train = {image.numpy().tobytes() for image in data["train"].images}
    assert not train & {image.numpy().tobytes() for image in data["test"].images}
    with pytest.raises(ValueError, match=f"{name} are drawn: say how many, not 0"):
        load_segmented(name, "train", size=24)


def test_bad_requests_are_refused(voc, tmp_path):
    for name, split, size, count, message in (
        ("cifar10", "train", 8, 0, r"'oxford-iiit-pet'\) or a folder, not 'cifar10'"),
        ("voc2012", "val", 8, 0, r"\('train', 'test'\), not 'val'"),
        ("voc2012", "train", 8, -1, "count must be at least 0, not -1"),
        ("voc2012", "train", 0, 3, "size must be at least 1, not 0"),
        ("voc2012", "test", 8, 3, "voc2012 has 2 test images of at least 8 px, not 3"),
    ):
        with pytest.raises(ValueError, match=message):
            load_segmented(name, split, size=size, count=count, root=tmp_path)
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.txt"):
        fresh("voc2012", "test", size=8, root=tmp_path)


HOW = {
    "voc2012": "download voc2012",
    "coco2017": "annotations_trainval2017.zip",
    "stanford_background": "iccv09Data.tar.gz",
    "oxford-iiit-pet": "download oxford-iiit-pet, or unpack",
}


@pytest.mark.parametrize("name", SEGMENTED[2:])
def test_missing_sets_say_where_they_were_looked_for(name, tmp_path):
    dataset = "voc2012" if name.startswith("voc2012") else name
    folder, how = folder_of(dataset, tmp_path), HOW[dataset]
    with pytest.raises(FileNotFoundError, match=f"{folder}.*{how}"):
        load_segmented(name, "train", size=8, root=tmp_path)


def test_a_folder_of_ones_own_has_its_own_classes(tmp_path):
    """Ten pictures, of which the first and the sixth are for testing; a palette does not matter."""
    for side in ("inputs", "targets"):
        (tmp_path / "walks" / side).mkdir(parents=True)
    for place in range(10):
        Image.new("RGB", (20, 12), (20 * place, 0, 0)).save(
            tmp_path / f"walks/inputs/{place}.jpg", quality=100
        )
        labels = np.full((12, 20), 255)
        labels[:6], labels[6:, :10] = 0, 1
        save_mask(tmp_path / f"walks/targets/{place}.png", labels, "L" if place % 2 else "P")
    (tmp_path / "walks/classes.txt").write_text("sky\npath\n", encoding="utf-8-sig")
    parts = {split: fresh("walks", split, size=8, root=tmp_path) for split in ("train", "test")}
    assert set(parts["test"].ids) == {"0", "5"} and len(parts["train"].ids) == 8
    assert parts["train"].classes == ("sky", "path")
    assert parts["test"].labels[0, 0].unique().tolist() == [0]
    assert parts["test"].labels[0, -1].unique().tolist() == [1, 255]
    reds = {id: picture[0].float().mean() for id, picture in zip(
        parts["train"].ids, parts["train"].images, strict=True)}  # fmt: skip
    assert all(abs(red - 20 * int(id)) < 3 for id, red in reds.items())
    Image.new("RGB", (20, 12)).save(tmp_path / "walks/inputs/7.png")
    with pytest.raises(ValueError, match=r"7\.jpg and .*7\.png have the same name"):
        fresh("walks", "train", size=8, root=tmp_path)
    (tmp_path / "walks/inputs/7.png").unlink()
    (tmp_path / "walks/targets/3.png").unlink()
    with pytest.raises(ValueError, match="walks: no pair for 3"):
        fresh("walks", "train", size=8, root=tmp_path)
    (tmp_path / "walks/classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"walks/classes\.txt"):
        fresh("walks", "train", size=8, root=tmp_path)


def test_styles_are_three_named_pictures(tmp_path):
    folder = tmp_path / "photos/style"
    folder.mkdir(parents=True)
    for place, stem in enumerate(("other", "starry_night", "the_scream")):
        Image.new("RGB", (20, 20), (90 * place,) * 3).save(folder / f"{stem}.jpg")
    with pytest.raises(FileNotFoundError, match=r"the_scream\.jpg, Tuebingen_Neckarfront\.jpg"):
        locate("styles", tmp_path)
    Image.new("RGB", (30, 20)).save(folder / "Tuebingen_Neckarfront.jpg")
    chosen = "styles:the_scream,starry_night"
    names, images = load_images(chosen, size=16, channels=3, root=tmp_path)
    assert names == ["the_scream.jpg", "starry_night.jpg"]
    assert images[:, 0, 8, 8].tolist() == [180, 90]
    names = [path.stem for path in list_images("styles", tmp_path)]
    assert names == ["starry_night", "the_scream", "Tuebingen_Neckarfront"]


def real(name: str, split: str, **options) -> Segmented:
    try:
        return load_segmented(name, split, **options)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def centre(pixels: np.ndarray) -> np.ndarray:
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "split", "image_set"),
    [("voc2012", "train", "train"), ("voc2012", "test", "val")],
)
def test_real_voc_is_as_torchvision_reads_it(name, split, image_set):
    """Image by image in full size, where the centre square is not resized."""
    from torchvision.datasets import VOCSegmentation

    size = 128
    data = real(name, split, size=size)
    reference = VOCSegmentation(os.environ["DATA_ROOT"], image_set=image_set)
    place = {stem: number for number, stem in enumerate(data.ids)}
    assert len(data.ids) + data.skipped == len(reference) and len(place) == len(data.ids)
    compared = 0
    for number, path in enumerate(reference.images):
        if Path(path).stem not in place:
            continue
        image, mask = (centre(np.array(each)) for each in reference[number])
        if len(mask) != size:
            continue
        mine = place[Path(path).stem]
        np.testing.assert_array_equal(data.images[mine].permute(1, 2, 0), image)
        np.testing.assert_array_equal(data.labels[mine], mask)
        compared += 1
    if not compared:
        pytest.skip("not the subset: no picture has a short side of 128")
    assert compared > 0.9 * len(data.ids)


@pytest.mark.real_data
@pytest.mark.parametrize("name", SEGMENTED[2:])
def test_real_splits_keep_apart_and_have_every_class(name):
    data = {split: real(name, split, size=64) for split in TWO}
    assert not set(data["train"].ids) & set(data["test"].ids)
    for part in data.values():
        assert len(set(part.ids)) == len(part.ids) > 100
        values = set(part.labels.unique().tolist()) - {255}
        assert values <= set(range(len(part.classes)))
        assert len(values) > 0.85 * len(part.classes)
        share = float((part.labels == 0).float().mean())  # of background; of Stanford's the sky
        low, high = (0.05, 0.4) if name == "stanford_background" else (0.4, 0.8)
        assert low < share < high
    first = real(name, "test", size=64, count=40)
    assert first.ids == data["test"].ids[:40] and torch.equal(
        first.labels, data["test"].labels[:40]
    )


@pytest.mark.real_data
def test_real_coco_is_near_what_another_library_draws():
    """Outlines of scikit-image, the larger ones first; it rounds an edge otherwise."""
    data = real("coco2017", "test", size=128, count=60)
    folder = locate("coco2017")
    if (folder / "train2017").is_dir():
        pytest.skip("for the subset: outlines alone, short side 128")
    content = json.loads((folder / "annotations/instances_val2017.json").read_text())
    place = {each["id"]: label for label, each in enumerate(content["categories"], start=1)}
    of_image = {each["id"]: each for each in content["images"]}
    same = total = 0
    for name, labels in zip(data.ids, data.labels.numpy(), strict=True):
        shape = of_image[int(name)]["height"], of_image[int(name)]["width"]
        drawn = np.zeros(shape, np.uint8)
        mine = [each for each in content["annotations"] if each["image_id"] == int(name)]
        for instance in sorted(mine, key=lambda each: -each["area"]):
            for outline in instance["segmentation"]:
                corners = np.array(outline).reshape(-1, 2)[:, ::-1] - 0.5
                drawn[polygon2mask(shape, corners)] = place[instance["category_id"]]
        agree = centre(drawn) == labels
        same, total = same + agree.sum(), total + agree.size
    assert same / total > 0.97
