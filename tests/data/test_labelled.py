"""Labelled sets: every value where it belongs, subsets that nest, damage that is named."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data import labelled
from lib.data.labelled import CIFAR10_CLASSES, balanced_order, load_labelled

FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
SEVEN = 7  # records of a fake file


@pytest.fixture(autouse=True)
def nothing_remembered():
    yield
    labelled._cifar10.cache_clear()


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
    monkeypatch.setattr(labelled, "RECORDS", SEVEN)
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
    found = [
        (label, image.numpy().tobytes())
        for images, labels in (
            (data.train_images, data.train_labels.tolist()),
            (data.test_images, data.test_labels.tolist()),
        )
        for label, image in zip(labels, images, strict=True)
    ]
    expected = []
    for name in FILES:
        content = (fake / "cifar-10-batches-bin" / name).read_bytes()
        for start in range(0, len(content), 3073):
            expected.append((content[start], content[start + 1 : start + 3073]))
    assert sorted(found) == sorted(expected) and len(expected) == 42


def test_subsets_are_beginnings_and_are_read_once(fake, monkeypatch):
    whole = load_labelled("cifar10", train=0, test=0, root=fake)
    monkeypatch.setattr(labelled, "_read_binary", lambda _: pytest.fail("read again"))
    part = load_labelled("cifar10", train=12, test=3, root=str(fake))
    assert torch.equal(part.train_images, whole.train_images[:12])
    assert torch.equal(part.train_labels, whole.train_labels[:12])
    assert torch.equal(part.test_images, whole.test_images[:3])
    assert torch.equal(part.test_labels, whole.test_labels[:3])


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
    for damaged, why in (
        (content[:-100], "has 21,411 bytes, not 21,511"),
        (content + b"x", "has 21,512 bytes"),
        (content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "has md5 .* not "),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} {why}"):
            load_labelled("cifar10", train=1, test=1, root=fake)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_labelled("cifar10", train=1, test=1, root=fake)
    path.write_bytes(content)
    assert len(load_labelled("cifar10", train=1, test=1, root=fake).train_labels) == 1


def test_a_label_out_of_range_is_named(fake, monkeypatch):
    folder = fake / "cifar-10-batches-bin"
    write(folder / FILES[1], [0, 1, 10, 3, 4, 5, 6], seed=1)
    monkeypatch.setattr(labelled, "CIFAR10_MD5", checksums(folder))
    with pytest.raises(ValueError, match=r"data_batch_2\.bin has label 10"):
        load_labelled("cifar10", train=1, test=1, root=fake)


def test_missing_data_say_where_they_were_looked_for_and_what_is_embedded(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_labelled("cifar10", train=1, test=1, root=tmp_path)
    for part in (str(tmp_path / "cifar-10-batches-bin"), "download cifar10", "digits", "scenes"):
        assert part in str(caught.value)


@pytest.fixture
def python_version(fake, monkeypatch) -> Path:
    """The same images as the python version: pickles, checked by torchvision."""
    from torchvision.datasets import CIFAR10

    binary, folder = fake / "cifar-10-batches-bin", fake / "cifar-10-batches-py"
    folder.mkdir()
    table = []
    for name in FILES:
        records = np.frombuffer((binary / name).read_bytes(), np.uint8).reshape(-1, 3073)
        content = {"data": records[:, 1:], "labels": records[:, 0].tolist()}
        table.append([name[:-4], dumped(folder / name[:-4], content)])
    names = {"label_names": list(CIFAR10_CLASSES)}
    meta = CIFAR10.meta | {"md5": dumped(folder / "batches.meta", names)}
    monkeypatch.setattr(CIFAR10, "train_list", table[:5])
    monkeypatch.setattr(CIFAR10, "test_list", table[5:])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder


def dumped(path: Path, content: dict) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_the_python_version_gives_the_same_images(fake, python_version, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(labelled, "_read_python", lambda _: pytest.fail("binary comes first"))
        binary = load_labelled("cifar10", train=0, test=0, root=fake)
    labelled._cifar10.cache_clear()
    (fake / "cifar-10-batches-bin").rename(fake / "elsewhere")
    python = load_labelled("cifar10", train=0, test=0, root=fake)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(binary, part), getattr(python, part)), part
        assert getattr(python, part).is_contiguous()


def test_a_damaged_python_version_is_named(fake, python_version):
    (fake / "cifar-10-batches-bin").rename(fake / "elsewhere")
    (python_version / "data_batch_4").write_bytes(b"not what it was")
    with pytest.raises(ValueError, match=f"{python_version} is damaged or not complete"):
        load_labelled("cifar10", train=1, test=1, root=fake)


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


def test_scenes_are_drawn_in_any_number():
    scenes = pytest.importorskip("lib.data.drawn.scenes")
    data = load_labelled("scenes", train=40, test=20)
    assert data.train_images.shape == (40, 3, 32, 32) and data.test_images.shape[0] == 20
    assert data.train_images.dtype == torch.uint8 and data.train_labels.dtype == torch.int64
    assert set(data.train_labels.tolist()) <= set(range(10))
    assert data.classes == tuple(scenes.CATEGORIES["A"]) and len(data.classes) == 10
    train = {image.numpy().tobytes() for image in data.train_images}
    assert not train & {image.numpy().tobytes() for image in data.test_images}
    again = load_labelled("scenes", train=40, test=20)
    assert torch.equal(data.train_images, again.train_images)
    with pytest.raises(ValueError, match="say how many, not 0 and 5"):
        load_labelled("scenes", train=0, test=5)


def test_bad_requests_are_refused(fake):
    with pytest.raises(ValueError, match=r"\('cifar10', 'digits', 'scenes'\), not 'mnist'"):
        load_labelled("mnist", train=1, test=1)
    with pytest.raises(ValueError, match="not be negative: 5, -1"):
        load_labelled("digits", train=5, test=-1)
    with pytest.raises(ValueError, match="digits has 1,297 training images, not 1,298"):
        load_labelled("digits", train=1298, test=1)
    with pytest.raises(ValueError, match="cifar10 has 7 test images, not 8"):
        load_labelled("cifar10", train=35, test=8, root=fake)


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
