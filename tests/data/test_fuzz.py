"""Damaged files by the thousand: every reader either reads them or names them in a ValueError."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from lib.data import faces, images, segmented, words
from lib.networks.sources import _read_state

SEED = 20
Case = tuple[bytes, Callable[[Path], object], int]  # a sound file, its reader, how many damaged
VALUES = (b"nan", b"inf", b"-1", b"1e99", b"null", b'""', b"[]", b"99999999999", b"\xff\xfe", b"")


def saved(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def noise(form: str, channels: int = 3) -> bytes:
    rng = np.random.default_rng(0)
    return saved(rng.integers(0, 256, (24, 24, channels), np.uint8), form)


def instances() -> bytes:
    """Two pictures with a polygon or a crowd, and two without anything."""
    polygon = {"segmentation": [[1, 1, 20, 1, 20, 20, 1, 20]], "category_id": 1}
    runs = {"segmentation": {"size": [24, 24], "counts": [100, 50, 426]}, "category_id": 2}
    marks = [{"id": n, "image_id": n, "iscrowd": n % 2, **(polygon, runs)[n % 2]} for n in (1, 2)]
    pictures = [{"id": n, "file_name": "a.png", "height": 24, "width": 24} for n in (1, 2, 3)]
    pictures.append({"id": 4, "file_name": "b.png", "height": 24, "width": 24})
    kinds = [{"id": n, "name": f"thing {n}"} for n in (1, 2)]
    content = {"images": pictures, "annotations": marks, "categories": kinds}
    return json.dumps(content).encode()


def read_picture(path: Path) -> object:
    return images.read_square(path, 8, 3, enlarge=True), images.picture_shape(path)


def read_mask(path: Path) -> object:
    return segmented._labels(path, dict(enumerate(range(21))), coloured=True)


def read_instances(path: Path) -> object:
    """The file as that of a set whose pictures are there."""
    top = path.parent / "coco"
    if not top.exists():
        for name in ("annotations", "val2017"):
            (top / name).mkdir(parents=True)
        for name in "ab":
            (top / f"val2017/{name}.png").write_bytes(noise("PNG"))
    (top / "annotations/instances_val2017.json").write_bytes(path.read_bytes())
    for cached in (segmented._annotations, segmented._load):
        cached.cache_clear()
    return segmented.load_segmented("coco2017", "train", size=24, root=path.parent)


def read_names(path: Path) -> object:
    (path.parent / "words").mkdir(exist_ok=True)
    (path.parent / "words/categories_places365.txt").write_bytes(path.read_bytes())
    return words.class_names("places365", path.parent)


def cases() -> dict[str, Case]:
    line = "lfw/a.jpg 106 146 125 107 146 106 105 141 148 149 1 1 2 3\n"
    text = b"2 3\ncat 1 2 3\ndog 4 5 6\n"
    binary = b"2 3\n" + b"".join(
        word + np.array(row, np.float32).tobytes() + b"\n"
        for word, row in ((b"cat ", (1, 2, 3)), (b"dog ", (4, 5, 6)))
    )
    names = "".join(f"/a/name{n} {n}\n" for n in range(365)).encode()
    weights = save({"a": torch.ones(4, 3), "b": torch.ones(2)})
    forms = {"PNG": 250, "JPEG": 250, "WEBP": 100, "BMP": 50, "TIFF": 150, "GIF": 50}
    pictures = {f"{form}.jpg": (noise(form), read_picture, n) for form, n in forms.items()}
    return pictures | {
        "rgba.png": (noise("PNG", 4), read_picture, 100),
        "mask.png": (saved(np.full((24, 24), 15, np.uint8), "PNG"), read_mask, 150),
        "instances.json": (instances(), read_instances, 300),
        "faces.txt": ((line + line.replace("a.", "b.")).encode(), faces._read_mtfl, 200),
        "text.vec": (text, words._read, 150),
        "bare.txt": (text.partition(b"\n")[2], words._read, 150),
        "binary.bin": (binary, words._read, 150),
        "names.txt": (names, read_names, 50),
        "weights.safetensors": (weights, _read_state, 150),
    }


CASES = cases()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, an end cut off, a stretch of zeros, or one of its values replaced."""
    kind, content, place = rng.integers(4), bytearray(data), int(rng.integers(len(data)))
    if kind == 0:
        for at in rng.integers(len(data), size=rng.integers(1, 6)):
            content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    else:
        parts = data.replace(b",", b" , ").replace(b":", b" : ").split(b" ")
        parts[int(rng.integers(len(parts)))] = VALUES[int(rng.integers(len(VALUES)))]
        content = bytearray(b" ".join(parts))
    return bytes(content)


def inputs(name: str) -> Iterator[bytes]:
    data, _, count = CASES[name]
    rng = np.random.default_rng((SEED, sorted(CASES).index(name)))
    return (damaged(data, rng) for _ in range(count))


def test_there_are_two_thousand():
    assert sum(count for *_, count in CASES.values()) >= 2000


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_read_or_named(name, tmp_path):
    path, (sound, read, count) = tmp_path / name, CASES[name]
    path.write_bytes(sound)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decoders; what they raise is looked at
        assert read(path) is not None
        for data in inputs(name):
            path.write_bytes(data)
            try:
                read(path)
            except (ValueError, FileNotFoundError) as error:  # a list may name another picture
                refused += 1
                assert isinstance(error, ValueError) or name == "instances.json"
                assert str(tmp_path) in str(error) or "has 0 train images" in str(error), data
    assert refused > count / 20
