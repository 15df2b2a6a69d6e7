"""Files as people have them: from other systems, other tools, or half of them; all made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.mask import encode

from lib.data import catalogue, faces
from lib.data.catalogue import _digest, fingerprints, lacking, listed_ids
from lib.data.images import load_images, open_picture, picture_shape, read_square
from lib.data.labelled import load_labelled
from lib.data.segmented import IGNORED, load_segmented
from lib.data.words import class_names, load_vectors, split_words, vocabulary_overlap
from lib.engine.files import REPOSITORY

MTFL_LINE = "106 146 125 107 146 106 105 141 148 149 1 1 2 3\n"
ORIENTATION = 274


@pytest.fixture(autouse=True)
def shards_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "shards"))


def draw(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    """A picture, 40 x 40 and black if no pixels are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (40, 40)) if pixels is None else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def told(call) -> tuple[object, list[str]]:
    """What a call returns, and the warnings it gives."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return call(), [str(warning.message) for warning in said]


# ---- pictures


@pytest.mark.parametrize(
    ("orientation", "red"),  # which side of the upright picture is red, and so is its left side
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"),
     (8, "bottom"), (9, "left")],
)  # fmt: skip
def test_a_photograph_is_what_viewers_show(tmp_path, orientation, red):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255, 0, 0
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = draw(tmp_path / "a.png", pixels, exif=exif)
    shown = np.asarray(open_picture(path))[..., 0]
    assert (
        shown.shape == picture_shape(path) == ((60, 40) if red in ("top", "bottom") else (40, 60))
    )
    sides = {"left": shown[:, :9], "right": shown[:, -9:], "top": shown[:9], "bottom": shown[-9:]}
    other = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[red]
    assert sides[red].min() == 255 and sides[other].max() == 0


def test_exif_that_cannot_be_read_turns_nothing(tmp_path):
    path = draw(tmp_path / "a.jpg", np.full((40, 60, 3), 99, np.uint8), exif=b"Exif\0\0nonsense")
    assert open_picture(path).size == (60, 40)


def jpeg(tmp_path, **options) -> bytes:
    y, x = np.mgrid[:256, :256]
    pixels = np.stack([(3 * x) % 256, (5 * y) % 256, (x * y) % 256], 2).astype(np.uint8)
    return draw(tmp_path / "whole.jpg", pixels, quality=90, **options).read_bytes()


def test_a_jpeg_that_ends_in_zeros_is_damaged_even_with_a_preview(tmp_path):
    preview = b"Exif\0\0" + bytes(20) + jpeg(tmp_path)[-500:]  # with an end of its own
    for data in (jpeg(tmp_path), jpeg(tmp_path, exif=preview)):
        path = tmp_path / "a.jpg"
        path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
        with pytest.raises(ValueError, match=rf"{path} .*its end is missing"):
            read_square(path, 64, 3)
        path.write_bytes(data + b"\0" * 5000 + b"what cameras write behind a picture")
        assert read_square(path, 64, 3).std() > 10


def test_a_damaged_avif_is_named_and_among_faces_left_out(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    draw(path, rng.integers(0, 256, (64, 64, 3), np.uint8), format="AVIF")
    data, box = path.read_bytes(), np.array([[0, 0, 64, 64]])
    files = faces._Files(tmp_path, ("a.jpg",), box, None, None, ())
    damaged = 0
    for start in range(60, 400, 5):
        path.write_bytes(data[:start] + bytes(16) + data[start + 16 :])
        try:
            read_square(path, 16, 3)
        except ValueError as error:
            damaged += 1
            assert str(path) in str(error)
            assert faces._read(files, 8, 0) is None
    assert damaged > 5


def test_what_systems_leave_is_no_image_and_other_formats_are_told(tmp_path):
    folder = draw(tmp_path / "p/a.jpg").parent
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(80))
    (folder / "Thumbs.db").write_bytes(bytes(10))
    (names, _), said = told(lambda: load_images("p", size=8, channels=3, root=tmp_path))
    assert names == ["a.jpg"] and not said
    draw(folder / "b.jfif", format="JPEG")
    draw(folder / "c.gif")
    load_images.cache_clear()
    (names, _), said = told(lambda: load_images("p", size=8, channels=3, root=tmp_path))
    assert names == ["a.jpg"]
    assert len(said) == 1 and "2 images" in said[0] and "b.jfif, c.gif" in said[0]


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_frames_that_are_not_read_are_told(tmp_path, name):
    more = [Image.new("RGB", (40, 40), "white")]
    path = draw(tmp_path / f"p/{name}", save_all=True, append_images=more)
    shown, said = told(lambda: open_picture(path))
    assert np.asarray(shown).max() == 0
    assert said == [f"of the 2 frames of {path} the first is read"]


@pytest.mark.parametrize("deep", [False, True])
def test_a_portable_grey_map_of_eight_or_sixteen_bits(tmp_path, deep):
    values = np.full((40, 40), 100 * 257 if deep else 100, ">u2" if deep else "u1")
    path = tmp_path / "p/a.PGM"
    path.parent.mkdir()
    path.write_bytes(b"P5 40 40 %d\n" % (65535 if deep else 255) + values.tobytes())
    names, images = load_images("p", size=8, channels=1, root=tmp_path)
    assert names == ["a.PGM"] and images.unique().tolist() == [100]


def test_two_pictures_under_the_same_name_are_not_chosen_between(tmp_path):
    draw(tmp_path / "p/a.jpg"), draw(tmp_path / "p/a.png")
    with pytest.raises(ValueError, match=r"p has several images 'a'; it has \['a', 'a'\]"):
        load_images("p:a", size=8, channels=3, root=tmp_path)


def test_what_systems_leave_makes_no_set_complete(tmp_path):
    folder = tmp_path / "photos/set12"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"._{number}.png").write_bytes(b"\0\5\x16\7" + bytes(80))
    assert lacking("set12", tmp_path) == ["12 of 12 *.png"]
    with pytest.raises(FileNotFoundError, match="'set12' is not in"):
        load_images("set12", size=8, channels=3, root=tmp_path)


def test_files_behind_a_link_count_in_a_fingerprint(tmp_path):
    draw(tmp_path / "disk/a.png")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/link").symlink_to(tmp_path / "disk")
    before = fingerprints("p", tmp_path)
    draw(tmp_path / "disk/b.png")
    _digest.cache_clear()
    assert fingerprints("p", tmp_path) != before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_of_ids_as_windows_writes_it(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(catalogue, "SPLITS", tmp_path)
    (tmp_path / "x.train.txt").write_bytes("# for a test\r\nä b\r\nc\r\n".encode(encoding))
    assert listed_ids("x", "train", {"ä b", "c"}, tmp_path) == ["ä b", "c"]


# ---- folders of classes


def two_classes(root: Path, count: int, suffix: str = ".jpg") -> Path:
    """The folder of a Caltech-101 that has two classes of so many pictures."""
    folder = root / "caltech101/101_ObjectCategories"
    for name in ("accordion", "wrench"):
        for n in range(count):
            draw(folder / name / f"image_{n}{suffix}")
    return folder


def test_what_systems_leave_is_no_class(tmp_path):
    folder = two_classes(tmp_path, 5)
    draw(folder / ".ipynb_checkpoints/image_0.jpg")
    (folder / "wrench/._image_0.jpg").write_bytes(b"\0\5\x16\7" + bytes(80))
    (folder / "__MACOSX").mkdir()
    found, said = told(lambda: load_labelled("caltech101", size=16, root=tmp_path))
    assert found.classes == ("accordion", "wrench")
    assert len(found.train_images) + len(found.test_images) == 10
    assert any("2 of 102 classes" in line for line in said)


def test_pictures_of_a_class_that_are_not_read_are_told(tmp_path):
    folder = two_classes(tmp_path, 2, ".JPG")
    draw(folder / "wrench/image_2.gif")
    found, said = told(lambda: load_labelled("caltech101", size=16, root=tmp_path))
    assert len(found.train_images) == len(found.test_images) == 2
    assert any("1 images" in line and "wrench are not read: image_2.gif" in line for line in said)


# ---- label maps


def voc(tmp_path, masks: dict[str, np.ndarray], **lists: str) -> Path:
    top = tmp_path / "VOCdevkit/VOC2012"
    for name, mask in masks.items():
        draw(top / f"JPEGImages/{name}.jpg")
        draw(top / f"SegmentationClass/{name}.png", mask)
    for name, text in lists.items():
        path = top / f"ImageSets/Segmentation/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8-sig"))
    return top


def square(value: int, border: int = 0) -> np.ndarray:
    mask = np.zeros((40, 40), np.uint8)
    mask[8:10], mask[10:30, 10:30] = border, value
    return mask


def test_labels_of_a_rearranged_palette_are_those_of_its_colours(tmp_path):
    truth = square(15, border=255)
    top = voc(tmp_path, {"a": truth}, train="a\n")
    colours = np.zeros((256, 3), np.uint8)
    colours[15], colours[255] = (192, 128, 128), (224, 224, 192)  # VOC's person and border
    path = top / "SegmentationClass/a.png"
    Image.fromarray(colours[truth]).quantize(3, dither=Image.Dither.NONE).save(path)
    with Image.open(path) as picture:
        assert np.asarray(picture).max() <= 2
    found = load_segmented("voc2012", "train", size=40, root=tmp_path).labels[0].numpy()
    np.testing.assert_array_equal(found, truth)


def test_a_palette_of_other_colours_is_refused(tmp_path):
    top = voc(tmp_path, {"a": square(15)}, train="a\n")
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = 1, 2, 3
    picture = Image.fromarray(pixels).quantize(2, dither=Image.Dither.NONE)
    picture.save(top / "SegmentationClass/a.png")
    with pytest.raises(ValueError, match=r"a\.png.*\[1, 2, 3\], which is none of VOC's"):
        load_segmented("voc2012", "train", size=40, root=tmp_path)


def test_binary_masks_are_refused(tmp_path):
    voc(tmp_path, {name: square(255) for name in "abc"}, train="a\nb\nc\n")
    with pytest.raises(ValueError, match=r"the masks of voc2012, .* no label but 0 and 255"):
        load_segmented("voc2012", "train", size=40, root=tmp_path)


def test_a_mask_of_one_bit_is_binary(tmp_path):
    top = voc(tmp_path, {"a": square(255)}, train="a\n")
    Image.fromarray(square(1) > 0).save(top / "SegmentationClass/a.png")
    with pytest.raises(ValueError, match=r"the masks of voc2012, .* no label but 0 and 255"):
        load_segmented("voc2012", "train", size=40, root=tmp_path)


def test_a_label_map_is_turned_as_its_exif_says(tmp_path):
    top, exif = voc(tmp_path, {"a": square(15)}, train="a\n"), Image.Exif()
    labels = np.zeros((40, 40), np.uint8)
    labels[:20], exif[ORIENTATION] = 15, 3
    draw(top / "SegmentationClass/a.png", labels, exif=exif)
    found = load_segmented("voc2012", "train", size=40, root=tmp_path)
    np.testing.assert_array_equal(found.labels[0], labels[::-1])


def test_names_with_blanks_and_a_list_without_names(tmp_path):
    top = voc(tmp_path, {"my cät": square(1)}, train="my cät\r\n")
    assert load_segmented("voc2012", "train", size=40, root=tmp_path).ids == ("my cät",)
    (top / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(ValueError, match=rf"{top}.*val\.txt lists no image"):
        load_segmented("voc2012", "test", size=40, root=tmp_path)


def test_test_images_are_left_out_of_training_with_a_warning(tmp_path):
    voc(tmp_path, {"a": square(1), "b": square(1)}, train_aug="a\nb\n", val="b\n")
    load = partial(load_segmented, "voc2012_aug", size=40, root=tmp_path)
    train, said = told(lambda: load("train"))
    assert train.ids == ("a",) and load("test").ids == ("b",)
    assert any("train_aug.txt, such as b, are test images too" in line for line in said)


def test_a_label_map_lies_on_the_upright_photograph(tmp_path):
    """Stored upside down, and labelled by a tool that shows it upright."""
    labels = np.zeros((40, 40), np.uint8)
    labels[20:] = 15
    top = voc(tmp_path, {"a": labels}, train="a\n")
    pixels, exif = np.zeros((40, 40, 3), np.uint8), Image.Exif()
    pixels[:20], exif[ORIENTATION] = 255, 3
    draw(top / "JPEGImages/a.jpg", pixels, exif=exif, quality=95)
    found = load_segmented("voc2012", "train", size=40, root=tmp_path)
    assert found.images[0].float().mean(0)[found.labels[0] == 15].mean() > 200


SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


def coco(
    tmp_path, *, segmentation: object = SQUARE, kinds: int = 1, mark: str = "", **size
) -> Path:
    """Four pictures with one instance each, of the category of the highest number below 256."""
    top = tmp_path / "coco"
    for n in range(1, 5):
        draw(top / f"val2017/{n}.jpg")
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 40, "width": 40} | size
              for n in range(1, 5)]  # fmt: skip
    instance = {"category_id": min(kinds, 255), "iscrowd": 0, "segmentation": segmentation}
    annotations = [{"id": n, "image_id": n, **instance} for n in range(1, 5)]
    categories = [{"id": n, "name": f"thing {n}"} for n in range(1, kinds + 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = top / "annotations/instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(mark + json.dumps(content), encoding="utf-8")
    return path


def inside(labels: torch.Tensor) -> set[int]:
    return set(labels[:, 15:25, 15:25].unique().tolist())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, 1e8, -1e8, "x"])
def test_coordinates_that_are_no_pixels_are_named(tmp_path, value):
    """In a process of its own, which they used to end, or to give all memory to."""
    coco(tmp_path, segmentation=[[value, 5, 30, 5, 30, 30]])
    code = f"""
import resource; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from lib.data.segmented import load_segmented
try: load_segmented("coco2017", "train", size=40, root={str(tmp_path)!r})
except ValueError as error: print("refused:", error)
"""
    if value != 1e8:  # one of them; a process takes seconds to start
        with pytest.raises(ValueError, match=r"\.jpg cannot be drawn"):
            load_segmented("coco2017", "train", size=40, root=tmp_path)
        return
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith("refused: ") and ".jpg cannot be drawn" in done.stdout


@pytest.mark.parametrize(
    "changed",
    [
        {"segmentation": [[10, 10, 30, 30]]},  # pycocotools would draw a box
        {"segmentation": [[10, 10, 30, 10, 30, 30, 10]]},
        {"segmentation": {"size": [40, 40], "counts": "zzzz~~"}},
        {"segmentation": {"size": [40, 40], "counts": [0.5, 1599.5]}},
        {"iscrowd": "0"},
        {"iscrowd": float("nan")},
    ],
    ids=str,
)
def test_an_instance_that_means_nothing_is_named(tmp_path, changed):
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    for instance in content["annotations"]:
        instance |= changed
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"val2017/\d\.jpg cannot be drawn"):
        load_segmented("coco2017", "train", size=40, root=tmp_path)


def test_compressed_runs_are_read(tmp_path):
    runs = encode(np.asfortranarray(square(1)))
    coco(tmp_path, segmentation={"size": [40, 40], "counts": runs["counts"].decode()})
    found = load_segmented("coco2017", "train", size=40, root=tmp_path)
    np.testing.assert_array_equal(found.labels[0], square(1))


@pytest.mark.parametrize("what", ["images", "categories"])
def test_two_of_the_same_id_are_refused(tmp_path, what):
    path = coco(tmp_path, kinds=2)
    content = json.loads(path.read_text())
    content[what][0]["id"] = 2
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"instances_val2017\.json .*two of its {what} have"):
        load_segmented("coco2017", "train", size=40, root=tmp_path)


def test_images_of_val2017_are_not_trained_on(tmp_path):
    path = coco(tmp_path)
    for n in range(3, 7):
        draw(tmp_path / f"coco/train2017/{n}.jpg")
    content = json.loads(path.read_text())
    content["images"] = [
        dict(content["images"][0], id=n, file_name=f"{n}.jpg") for n in range(3, 7)
    ]
    path.with_name("instances_train2017.json").write_text(json.dumps(content))
    found, said = told(lambda: load_segmented("coco2017", "train", size=40, root=tmp_path))
    assert set(found.ids) == {"5", "6"}
    assert any("2 training images" in line and "such as 3.jpg" in line for line in said)


@pytest.mark.parametrize("size", [{"height": "40", "width": "40"}, {"height": None}, {"width": -3}])
def test_a_size_that_the_list_lacks_is_the_pictures_own(tmp_path, size):
    coco(tmp_path, **size)
    found = load_segmented("coco2017", "train", size=40, root=tmp_path)
    assert len(found.ids) == 3 and inside(found.labels) == {1}


def test_a_byte_order_mark_before_the_list_of_instances(tmp_path):
    coco(tmp_path, mark="\ufeff")
    assert len(load_segmented("coco2017", "train", size=40, root=tmp_path).ids) == 3


def test_a_class_never_gets_the_label_of_what_is_ignored(tmp_path):
    coco(tmp_path, kinds=254)
    found = load_segmented("coco2017", "train", size=40, root=tmp_path)
    assert inside(found.labels) == {254}
    coco(tmp_path / "more", kinds=300)
    with pytest.raises(
        ValueError, match=r"instances_val2017\.json .*300 categories; labels are 1 to"
    ):
        load_segmented("coco2017", "train", size=40, root=tmp_path / "more")
    assert IGNORED == 255


def test_a_deprecation_inside_pycocotools_is_no_damage(tmp_path):
    coco(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        found = load_segmented("coco2017", "test", size=40, root=tmp_path)
    assert inside(found.labels) == {1}


def test_a_file_under_two_ids_is_not_in_both_parts(tmp_path):
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "4.jpg"  # the fourth is for testing
    path.write_text(json.dumps(content))
    found, said = told(lambda: load_segmented("coco2017", "train", size=40, root=tmp_path))
    assert set(found.ids) == {"2", "3"}
    assert any("such as 4.jpg, are test images too" in line for line in said)


# ---- faces


def test_faces_are_read_as_other_pictures_are(tmp_path):
    Image.fromarray(np.full((64, 64), 30000, np.uint16)).save(tmp_path / "a.jpg", format="PNG")
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(tmp_path / "b.jpg", format="PNG")
    box = np.tile((0, 0, 64, 64), (2, 1))
    files = faces._Files(tmp_path, ("a.jpg", "b.jpg"), box, None, None, ())
    found = [faces._read(files, 8, place) for place in range(2)]
    assert [int(pixels.mean().round()) for pixels in found] == [117, 255]  # 30000 / 257; white


def mtfl(tmp_path, text: str | bytes) -> Path:
    for name in "ab":
        draw(tmp_path / f"mtfl/AFLW/{name}.jpg", np.zeros((250, 250, 3), np.uint8))
    path = tmp_path / "mtfl/testing.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_landmark_far_outside_leaves_one_photograph_out(tmp_path):
    slip = MTFL_LINE.replace("146", "1460000", 1)
    mtfl(tmp_path, f"AFLW/a.jpg {MTFL_LINE}AFLW/b.jpg {slip}")
    found = faces.load_faces("mtfl", "aflw", size=16, root=tmp_path)
    assert found.ids == ("AFLW/a.jpg",) and found.skipped == ("AFLW/b.jpg",)


def test_faces_of_both_lists_are_not_trained_on(tmp_path):
    names = [f"AFLW/{n}.jpg" for n in range(30)]
    mtfl(tmp_path, "".join(f"{name} {MTFL_LINE}" for name in names[20:]))
    for name in names:
        draw(tmp_path / "mtfl" / name, np.zeros((250, 250, 3), np.uint8))
    lines = "".join(f"{name} {MTFL_LINE}" for name in names)
    (tmp_path / "mtfl/training.txt").write_text(lines)
    found, said = told(lambda: faces.load_faces("mtfl", "train", size=16, root=tmp_path))
    assert set(found.ids) <= set(names[:20]) and len(found.ids) > 10
    assert any("are test images too" in line for line in said)


def test_a_list_without_faces_is_named(tmp_path):
    path = mtfl(tmp_path, "\n")
    with pytest.raises(ValueError, match=f"{path} has no faces"):
        faces.load_faces("mtfl", "aflw", size=16, root=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_first_line_counts_behind_a_byte_order_mark(tmp_path, encoding):
    mtfl(tmp_path, f"AFLW\\a.jpg {MTFL_LINE}AFLW\\b.jpg {MTFL_LINE}".encode(encoding))
    found = faces.load_faces("mtfl", "aflw", size=16, root=tmp_path)
    assert set(found.ids) == {"AFLW/a.jpg", "AFLW/b.jpg"}


def test_a_list_in_another_encoding_is_named(tmp_path):
    path = mtfl(tmp_path, f"AFLW/é.jpg {MTFL_LINE}".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{path} is not a readable list of faces"):
        faces.load_faces("mtfl", "aflw", size=16, root=tmp_path)


def test_lists_that_are_not_celebas_are_refused_by_name(tmp_path):
    """0 for -1, NaN, columns in another order, the photographs in the wild: none has the md5."""
    folder = tmp_path / "celeba"
    draw(folder / "img_align_celeba/000001.jpg", np.zeros((218, 178, 3), np.uint8))
    names = ("list_eval_partition", "identity_CelebA", "list_bbox_celeba", "list_attr_celeba",
             "list_landmarks_align_celeba")  # fmt: skip
    for name in names:
        (folder / f"{name}.txt").write_text("1\nMale\n000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"celeba lacks a file, .*: list_attr_celeba\.txt, .*; "):
        faces.load_faces("celeba", "train", size=8, root=tmp_path)


# ---- words


def words(tmp_path, name: str, content: str | bytes) -> str:
    path = tmp_path / "words" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("mark.txt", "\ufeffcat 1 2 3\ndog 4 5 6\n", {"cat": [1, 2, 3], "dog": [4, 5, 6]}),
        ("mark.vec", "\ufeff1 2\ncat 1 2\n", {"cat": [1, 2]}),
        ("blanks.txt", "cat 1 2 3\n. . . 7 8 9\nat a@b.org 1 1 2\ndog 4 5 6\n",
         {". . .": [7, 8, 9], "at a@b.org": [1, 1, 2], "dog": [4, 5, 6]}),
        ("equal.txt", "cat 1 2 3\n<unk> 0.5 0.5 0.5\ndog 4 5 6\n",
         {"<unk>": [0.5] * 3, "dog": [4, 5, 6]}),
        ("twice.txt", "cat 1 2\ncat 3 4\n", {"cat": [1, 2]}),
        ("ends.vec", "2 2\r\ncat 1 2 \r\ndog 3 4 \r\n", {"cat": [1, 2], "dog": [3, 4]}),
        ("mac.txt", unicodedata.normalize("NFD", "käfer 1 2\n"), {"käfer": [1, 2]}),
        ("space.txt", "\u00a0 1 2\ncat 3 4\n", {"\u00a0": [1, 2]}),
        ("LARGE.VEC", "1 2\ncat 1 2\n", {"cat": [1, 2]}),
        ("LARGE.TXT", "cat 1 2\ndog 3 4\n", {"cat": [1, 2]}),
        ("empty.txt", "\n\n\ncat 1 2\n\ndog 3 4\n\n\n", {"cat": [1, 2], "dog": [3, 4]}),
    ],
)  # fmt: skip
def test_vectors_as_they_are_published_are_read(tmp_path, name, content, wanted):
    vectors = load_vectors(words(tmp_path, name, content), tmp_path)
    assert {word: vectors[word].tolist() for word in wanted} == wanted


@pytest.mark.parametrize("name", ["v.bin", "v.txt"])
def test_one_word_that_is_no_utf8_does_not_refuse_the_others(tmp_path, name):
    binary = b"3 2\n" + b"".join(
        word + b" " + np.array(row, np.float32).tobytes() + b"\n"
        for word, row in ((b"cat", (1, 2)), (b"na\xc3", (3, 4)), (b"dog", (5, 6)))
    )
    content = binary if name == "v.bin" else b"cat 1 2\nna\xc3 3 4\ndog 5 6\n"
    vectors, said = told(lambda: load_vectors(words(tmp_path, name, content), tmp_path))
    assert vectors["dog"].tolist() == [5, 6]
    assert any(f"1 words of {tmp_path}" in line for line in said)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.txt", "cat\t1\t2\t3\ndog\t4\t5\t6\n"),
        ("zero.vec", "2 0\ncat\ndog\n"),
        ("promise.vec", "2000000000000 300\ncat 1 2 3\n"),
        ("promise.bin", b"2000000000000 300\ncat " + bytes(1200)),
        ("cut.txt", "cat 1 2 3\ndog 4\n"),
    ],
)
def test_files_without_vectors_are_named(tmp_path, name, content):
    with pytest.raises(ValueError, match=rf"words/{name} .*damaged"):
        load_vectors(words(tmp_path, name, content), tmp_path)


@pytest.mark.parametrize("name", ["käfer", "café", "mädchen", "jalapeño pepper"])
def test_names_of_folders_on_macos_are_the_same_words(name):
    other = unicodedata.normalize("NFD", name)
    assert other != name and split_words(other) == split_words(name)
    assert vocabulary_overlap([name], [other]) == [(name, other)]


PLURALS = """bus buses, lens lenses, ibis ibises, iris irises, walrus walruses, leaf leaves,
wolf wolves, calf calves, knife knives, potato potatoes, tomato tomatoes, mango mangoes,
glass glasses, fox foxes, house houses, horse horses, glove gloves, tortoise tortoises, shoe shoes,
canoe canoes, vase vases, cat cats, hive hives, moose moose, bee bees"""


@pytest.mark.parametrize("pair", PLURALS.split(","))
def test_singular_and_plural_are_the_same(pair):
    one, many = pair.split()
    assert vocabulary_overlap([one], [many]) == [(one, many)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_list_of_classes_in_another_encoding(tmp_path, encoding):
    lines = "\n".join(f"/x/é{n} {n}" for n in range(365))
    words(tmp_path, "categories_places365.txt", lines.encode(encoding))
    if encoding == "latin-1":
        with pytest.raises(ValueError, match=r"categories_places365\.txt is not a readable list"):
            class_names("places365", tmp_path)
    else:
        assert class_names("places365", tmp_path)[0] == "é0"
