"""Faces out of small files drawn here: every landmark at its place, damage that is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CelebA

from lib.data import faces
from lib.data.faces import PARTS, Faces, attribute_count, load_faces

FACE = (60, 84, 72, 62, 82, 50, 52, 64, 80, 78)  # x1..x5 y1..y5: 24 wide, 30 high
CENTRE = (72, 65)


@pytest.fixture(autouse=True)
def shards_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARDS_ROOT", str(tmp_path / "shards"))
    yield
    faces._load.cache_clear(), faces._load_fold.cache_clear()


def fresh(*arguments, **options) -> Faces:
    faces._load.cache_clear()
    return load_faces(*arguments, **options)


def save(path: Path, size: tuple[int, int], points: list[tuple[float, float]] = ()) -> None:
    """Dark grey, with a white square of 5 px around each point."""
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    for x, y in points:
        pixels[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=100, subsampling=0)


def mtfl_line(name: str, face: tuple[float, ...] = FACE, codes: str = "1 2 2 3") -> str:
    return f" {name} {' '.join(map(str, face))} {codes}\n"


@pytest.fixture
def small_mtfl(tmp_path) -> Path:
    """40 photographs of 128 px to train and 3 of AFLW, and Windows' paths."""
    folder = tmp_path / "mtfl"
    names = {
        "training": [f"lfw_5590\\Name_{n:04d}.jpg" for n in range(40)],
        "testing": [f"AFLW\\{n:04d}-image.jpg" for n in range(3)],
    }
    for split, paths in names.items():
        for path in paths:
            points = list(zip(FACE[:5], FACE[5:], strict=True))
            save(folder / path.replace("\\", "/"), (128, 128), points)
        (folder / f"{split}.txt").write_text("".join(map(mtfl_line, paths)) + " \n")
    return folder


def brightness(data: Faces) -> list[float]:
    """At every landmark, by its share of the image."""
    size = data.images.shape[-1]
    places = (data.landmarks * size).long().clamp(0, size - 1)
    return [
        image[0, y, x].item()
        for image, points in zip(data.images, places, strict=True)
        for x, y in points.tolist()
    ]


def test_mtfl_has_its_landmarks_where_they_are_in_the_image(small_mtfl, tmp_path):
    data = load_faces("mtfl", "train", size=64, root=tmp_path)
    assert data.images.shape[1:] == (3, 64, 64) and data.images.dtype == torch.uint8
    assert data.landmarks.shape == (len(data), 5, 2) and data.landmarks.dtype == torch.float32
    assert data.attributes.shape == (len(data), 6) and data.attributes.dtype == torch.int8
    assert min(brightness(data)) > 200
    width, height = data.extent.T
    assert torch.equal(width, height)
    side = faces.MTFL_FACTOR * 30
    assert (width >= 0.85 * side - 1).all() and (width <= 1.15 * side + 1).all()
    spread = data.landmarks[:, 1, 0] - data.landmarks[:, 0, 0]
    torch.testing.assert_close(spread, 24 / width)
    centre = (data.landmarks.amin(1) + data.landmarks.amax(1)) / 2
    assert (centre - 0.5).abs().max() <= 0.12 + 1 / width.min(), "shifted by 12 % and rounding"
    assert centre.std(0).min() > 0.03 and width.std() > 2, "no two boxes are alike"


def test_a_box_depends_on_the_name_alone(small_mtfl, tmp_path):
    before = load_faces("mtfl", "aflw", size=32, root=tmp_path)
    assert set(before.ids) == {f"AFLW/{n:04d}-image.jpg" for n in range(3)}
    path = small_mtfl / "testing.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    after = fresh("mtfl", "aflw", size=32, root=tmp_path)
    assert before.ids == after.ids and torch.equal(before.landmarks, after.landmarks)


def test_a_box_that_leaves_its_photograph_continues_the_edge(tmp_path):
    name, corner = "AFLW/0.jpg", tuple(value - 48 for value in FACE)
    (tmp_path / "mtfl").mkdir()
    (tmp_path / "mtfl/testing.txt").write_text(mtfl_line(name, corner))
    save(tmp_path / "mtfl" / name, (128, 128))
    data = load_faces("mtfl", "aflw", size=32, root=tmp_path)
    assert (data.images.int() - 40).abs().max() <= 1, "grey all over"
    assert data.extent[0, 0] > 60


def test_a_tenth_of_mtfl_is_for_testing_and_stays_so(small_mtfl, tmp_path):
    parts = {part: load_faces("mtfl", part, size=8, root=tmp_path).ids for part in PARTS["mtfl"]}
    assert not set(parts["train"]) & set(parts["test"])
    assert len(parts["train"]) + len(parts["test"]) == 40 and 1 <= len(parts["test"]) <= 9
    assert parts["train"] != tuple(sorted(parts["train"])), "a beginning is a fair sample"
    path = small_mtfl / "training.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:30]))
    fewer = fresh("mtfl", "test", size=8, root=tmp_path).ids
    assert fewer == tuple(name for name in parts["test"] if int(name[-8:-4]) < 30)


def test_the_tests_of_all_folds_are_all_faces(small_mtfl, tmp_path):
    """Each once; the others of a fold are its training faces, and no face changes with the fold."""
    first = {part: load_faces("mtfl", part, size=8, root=tmp_path) for part in PARTS["mtfl"]}
    every = {*first["train"].ids, *first["test"].ids}
    known = dict(zip(first["train"].ids, first["train"].images, strict=True))
    tested = list(first["test"].ids)
    for fold in range(1, 10):
        train = load_faces("mtfl", "train", size=8, fold=fold, root=tmp_path)
        assert load_faces("mtfl", "aflw", size=8, fold=fold, root=tmp_path) is first["aflw"]
        held_out = every - {*train.ids}
        if held_out:
            test = load_faces("mtfl", "test", size=8, fold=fold, root=tmp_path)
            assert {*test.ids} == held_out and len(test.images) == len(test.landmarks) == len(test)
            pairs = zip(test.ids, test.images, strict=True)
            assert all(torch.equal(known[name], image) for name, image in pairs)
            tested += test.ids
    assert sorted(tested) == sorted(every) and len(every) == 40
    few = load_faces("mtfl", "train", size=8, count=5, fold=3, root=tmp_path)
    whole = load_faces("mtfl", "train", size=8, fold=3, root=tmp_path)
    assert few.ids == whole.ids[:5] and torch.equal(few.landmarks, whole.landmarks[:5])


def test_the_codes_of_mtfl_are_those_of_its_readme(tmp_path):
    codes = {
        "1 2 2 3": (1, 0, 0, 0, 0, 0),
        "2 1 2 1": (0, 1, 0, 1, 0, 1),
        "2 2 1 2": (0, 0, 1, 1, 0, 0),
        "2 2 2 4": (0, 0, 0, 0, 1, 0),
        "1 1 1 5": (1, 1, 1, 0, 1, 1),
    }
    folder = tmp_path / "mtfl"
    folder.mkdir()
    lines = [mtfl_line(f"AFLW/{n}.jpg", codes=code) for n, code in enumerate(codes)]
    (folder / "testing.txt").write_text("".join(lines))
    for n in range(len(codes)):
        save(folder / f"AFLW/{n}.jpg", (128, 128))
    data = load_faces("mtfl", "aflw", size=8, root=tmp_path)
    assert data.names == (
        *("Male", "Smiling", "Eyeglasses", "Turned_Left", "Turned_Right", "Profile"),
    )
    found = {name: tuple(row) for name, row in zip(data.ids, data.attributes.tolist(), strict=True)}
    assert found == {f"AFLW/{n}.jpg": row for n, row in enumerate(codes.values())}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("AFLW/9.jpg 1 2 3", "AFLW/9.jpg has 3 values, not 14"),
        (mtfl_line("a b.jpg"), "a has 15 values, not 14"),
        (mtfl_line("a b c d.jpg"), "a has 17 values, not 14"),
        (mtfl_line("a.jpg", ("x", *FACE[1:])), "could not convert string to float: 'x'"),
        (mtfl_line("a.jpg", ("nan", *FACE[1:])), "a.jpg has landmarks that are no face: nan"),
        (mtfl_line("a.jpg", (7,) * 10), "a.jpg has landmarks that are no face"),
        (mtfl_line("a.jpg", codes="0 1 1 3"), "a.jpg has unknown codes: .* 0 1 1 3"),
        (mtfl_line("a.jpg", codes="1 1 1 6"), "a.jpg has unknown codes: .* 1 1 1 6"),
        (mtfl_line("a.jpg", codes="1 1 1 2.5"), "a.jpg has unknown codes: .* 2.5"),
        (mtfl_line("AFLW/0001-image.jpg"), "AFLW/0001-image.jpg comes a second time"),
    ],
)
def test_a_malformed_line_of_mtfl_is_named(small_mtfl, tmp_path, line, why):
    path = small_mtfl / "testing.txt"
    path.write_text(path.read_text().rstrip() + "\n" + line)
    with pytest.raises(ValueError, match=rf"testing\.txt: .*{why}"):
        load_faces("mtfl", "aflw", size=8, root=tmp_path)


CELEBA = {f"{n:06}.jpg": part for n, part in enumerate((0, 0, 0, 1, 1, 2, 2), start=1)}
MARKS = (69, 109, 106, 113, 89, 142, 73, 152, 108, 154)


@pytest.fixture
def small_celeba(tmp_path, monkeypatch) -> Path:
    """Seven photographs and the lists as published; torchvision is told not to look at the md5."""
    folder = tmp_path / "celeba"
    for name in CELEBA:
        save(folder / "img_align_celeba" / name, (178, 218), [MARKS[i : i + 2] for i in (0, 2, 4)])
    marks = " ".join(f"{value:3d}" for value in MARKS)
    lists = {
        "list_eval_partition": "".join(f"{name} {part}\n" for name, part in CELEBA.items()),
        "identity_CelebA": "".join(f"{name} 1\n" for name in CELEBA),
        "list_bbox_celeba": rows("image_id x y width height", "1 1 1 1"),
        "list_attr_celeba": rows("Male Smiling Young ", "-1  1 -1"),
        "list_landmarks_align_celeba": rows("lefteye_x lefteye_y", marks),
    }
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    monkeypatch.setattr(CelebA, "file_list", [("", None, f"{name}.txt") for name in lists])
    return folder


def rows(names: str, values: str) -> str:
    lines = "".join(f"{name} {values}\n" for name in CELEBA)
    return f"{len(CELEBA)}\n{names}\n{lines}"


def test_celeba_is_the_whole_photograph(small_celeba, tmp_path):
    data = load_faces("celeba", "train", size=128, root=tmp_path)
    assert data.images.shape == (3, 3, 128, 128) and data.skipped == ()
    assert data.ids == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert data.names == ("Male", "Smiling", "Young")
    assert data.attributes.tolist() == [[0, 1, 0]] * 3
    assert data.extent.tolist() == [[178, 218]] * 3
    torch.testing.assert_close(data.landmarks[0, 0], torch.tensor([69 / 178, 0.5]))
    torch.testing.assert_close(data.landmarks[0, 2], torch.tensor([0.5, 142 / 218]))
    assert min(brightness(data)[:3]) > 200
    others = {part: load_faces("celeba", part, size=8, root=tmp_path) for part in ("valid", "test")}
    assert others["valid"].ids == ("000004.jpg", "000005.jpg")
    assert others["test"].ids == ("000006.jpg", "000007.jpg")


def test_a_list_that_is_missing_or_another_is_refused(small_celeba, tmp_path, monkeypatch):
    path = small_celeba / "list_attr_celeba.txt"
    monkeypatch.setattr(CelebA, "file_list", [("", "0" * 32, path.name)])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"celeba lacks a file, or has another one"):
            load_faces("celeba", "train", size=8, root=tmp_path)
        path.unlink(missing_ok=True)


def test_other_photographs_than_the_aligned_ones_are_refused(small_celeba, tmp_path):
    path = small_celeba / "img_align_celeba/000001.jpg"
    save(path, (409, 687))
    with pytest.raises(ValueError, match="409 x 687, not 178 x 218: the aligned"):
        load_faces("celeba", "train", size=8, root=tmp_path)
    path.parent.rename(small_celeba / "Img")
    with pytest.raises(ValueError, match=r"celeba lacks a file"):
        load_faces("celeba", "train", size=8, root=tmp_path)


def test_damaged_and_missing_photographs_are_left_out_and_named(small_celeba, tmp_path):
    images = small_celeba / "img_align_celeba"
    content = (images / "000002.jpg").read_bytes()
    (images / "000002.jpg").write_bytes(content[: len(content) // 2])
    data = load_faces("celeba", "train", size=8, root=tmp_path)
    assert data.skipped == ("000002.jpg",) and data.ids == ("000001.jpg", "000003.jpg")
    assert len(data) == len(data.landmarks) == len(data.attributes) == len(data.extent) == 2
    (images / "000003.jpg").unlink()
    assert fresh("celeba", "train", size=8, root=tmp_path).skipped == ("000002.jpg", "000003.jpg")
    first = fresh("celeba", "train", size=8, count=1, root=tmp_path)
    assert first.ids == ("000001.jpg",) and first.skipped == ()
    (images / "000002.jpg").write_bytes(content)
    again = fresh("celeba", "train", size=8, root=tmp_path)
    assert again.ids == ("000001.jpg", "000002.jpg"), "another size, other shards"
    (images / "000004.jpg").write_bytes(b""), (images / "000005.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 2 photographs in .* can be read"):
        load_faces("celeba", "valid", size=8, root=tmp_path)


def test_what_was_decoded_is_not_decoded_again(small_mtfl, tmp_path, monkeypatch):
    whole = load_faces("mtfl", "train", size=16, root=tmp_path)
    assert load_faces("mtfl", "train", size=16, root=str(tmp_path)) is whole
    monkeypatch.setattr("lib.data.faces._read", lambda *_: pytest.fail("read again"))
    again = fresh("mtfl", "train", size=16, root=tmp_path)
    assert torch.equal(whole.images, again.images) and whole.ids == again.ids
    few = load_faces("mtfl", "train", size=16, count=7, root=tmp_path)
    assert torch.equal(whole.images[:7], few.images) and few.ids == whole.ids[:7]
    assert torch.equal(whole.landmarks[:7], few.landmarks)


def test_bad_requests_are_refused(small_mtfl, tmp_path):
    for name, part, count, message in (
        ("lfw", "train", 0, "faces must be of .*'celeba'.*, not 'lfw'"),
        ("mtfl", "valid", 0, "mtfl has the parts train, test, aflw, not 'valid'"),
        ("mtfl", "aflw", -1, "count must be at least 0, not -1"),
        ("mtfl", "aflw", 4, "mtfl_aflw has 3 faces, not 4"),
        ("drawn_faces", "train", 0, "drawn_faces are drawn: say how many, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            load_faces(name, part, size=32, count=count, root=tmp_path)
    for name, fold in (("mtfl", 10), ("drawn_faces", 1)):
        with pytest.raises(ValueError, match=f"{name} has no fold {fold}"):
            load_faces(name, "test", size=32, count=1, fold=fold, root=tmp_path)


def test_attributes_are_counted_without_the_data():
    assert [attribute_count(name) for name in PARTS] == [19, 6, 40]
    with pytest.raises(ValueError, match="'lfw'"):
        attribute_count("lfw")


def test_drawn_faces_differ_between_their_parts():
    train, test = (load_faces("drawn_faces", part, size=32, count=6) for part in ("train", "test"))
    assert train.images.shape == test.images.shape == (6, 3, 32, 32)
    assert train.attributes.shape == (6, attribute_count("drawn_faces"))
    assert not torch.equal(train.images, test.images)
    few = load_faces("drawn_faces", "train", size=32, count=2)
    assert torch.equal(few.images, train.images[:2])


@pytest.mark.parametrize("name", ["mtfl", "celeba"])
def test_missing_sets_say_where_they_were_looked_for(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{name}.*mmlab\.ie\.cuhk\.edu\.hk"):
        load_faces(name, "train", size=8, root=tmp_path)


@pytest.mark.real_data
def test_real_mtfl():
    """Against its readme, and with what is known of faces: eyes above mouths, left of right."""
    try:
        data = {part: load_faces("mtfl", part, size=32) for part in PARTS["mtfl"]}
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert len(data["train"]) + len(data["test"]) == 5000 or len(data["train"]) > 8000
    assert all(part.skipped == () for part in data.values())
    assert not set(data["train"].ids) & set(data["test"].ids)
    for part in data.values():
        x, y = part.landmarks.unbind(2)
        assert ((part.landmarks > 0) & (part.landmarks < 1)).all(2).float().mean() > 0.99
        assert (y[:, :2].mean(1) < y[:, 3:].mean(1)).float().mean() > 0.99
        assert (x[:, 0] < x[:, 1]).float().mean() > 0.99
        assert 0.3 < part.attributes[:, 0].float().mean() < 0.7
