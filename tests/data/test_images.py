"""Pictures as they come: every mode that is understood, and one clear message for the others."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from lib.data.images import (
    list_images,
    load_images,
    near_duplicates,
    perceptual_hashes,
    read_square,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder below a data root with a space and letters beyond ASCII."""
    path = tmp_path / "my data" / "図 été"
    path.mkdir(parents=True)
    return path


def saved(folder: Path, pixels: np.ndarray, name: str = "a.png", mode: str | None = None) -> Path:
    Image.fromarray(pixels, mode).save(folder / name)
    return folder / name


def ramp(high: int, kind: type) -> np.ndarray:
    return np.linspace(0, high, 32 * 32).reshape(32, 32).round().astype(kind)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_embedded_photos_need_no_network(channels, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    names, images = load_images("photos", size=64, channels=channels)
    assert len(names) == len(set(names)) == 14 == len(images)
    assert images.shape == (14, channels, 64, 64) and images.dtype == torch.uint8
    assert (images.float().flatten(1).std(1) > 5).all(), "a photograph is not flat"


def test_a_square_photo_in_full_size_is_untouched():
    names, images = load_images("photos:camera,astronaut", size=512, channels=3)
    assert names == ["camera.png", "astronaut.png"]
    np.testing.assert_array_equal(images[1].permute(1, 2, 0), data.astronaut())
    np.testing.assert_array_equal(images[0, 0], data.camera())
    assert torch.equal(images[0, 0], images[0, 2])


def test_the_square_is_the_centre(folder):
    pixels = np.zeros((20, 33, 3), np.uint8)
    pixels[:, 6:26] = np.arange(20 * 20 * 3).reshape(20, 20, 3) % 251
    path = saved(folder, pixels)
    np.testing.assert_array_equal(read_square(path, 20, 3), pixels[:, 6:26])


def test_reduction_has_no_aliasing(folder):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    square = read_square(saved(folder, stripes), 16, 1)
    assert np.abs(square.astype(int) - 127).max() < 20, "picking pixels would give 0 or 255"


def test_grey_is_repeated_and_colour_becomes_luma(folder):
    grey = ramp(255, np.uint8)
    path = saved(folder, grey)
    for channel in np.moveaxis(read_square(path, 32, 3), 2, 0):
        np.testing.assert_array_equal(channel, grey)
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:] = 200, 100, 50
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert np.abs(read_square(saved(folder, colour), 8, 1).astype(int) - luma).max() <= 1


def test_transparency_is_put_on_white(folder):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = 10, 20, 30, 255
    pixels[4:] = 10, 20, 30, 0
    square = read_square(saved(folder, pixels), 8, 3)
    assert (square[:4] == (10, 20, 30)).all() and (square[4:] == 255).all()
    pixels[4:, :, 3] = 128
    half = read_square(saved(folder, pixels), 8, 3)[7, 7].astype(int)
    assert np.abs(half - (255 + (np.array([10, 20, 30]) - 255) * 128 / 255)).max() <= 1


def test_palette_with_and_without_transparency(folder):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([9, 9, 9, 40, 80, 120])
    picture.putpixel((0, 0), 0)
    picture.save(folder / "plain.png")
    picture.save(folder / "clear.png", transparency=0)
    plain, clear = (read_square(folder / f"{n}.png", 8, 3) for n in ("plain", "clear"))
    assert plain[0, 0].tolist() == [9, 9, 9] and clear[0, 0].tolist() == [255] * 3
    assert plain[5, 5].tolist() == clear[5, 5].tolist() == [40, 80, 120]


def test_sixteen_bits_are_divided_by_257(folder):
    pixels = ramp(65535, np.uint16)
    square = read_square(saved(folder, pixels), 32, 1)[..., 0]
    np.testing.assert_array_equal(square, np.rint(pixels / 257))
    assert square.min() == 0 and square.max() == 255


def test_float_tiff(folder):
    pixels = ramp(1000, np.float32) / 1000
    path = saved(folder, pixels, "a.tif")
    np.testing.assert_array_equal(
        read_square(path, 32, 1)[..., 0], np.rint(pixels.astype(float) * 255)
    )
    for bad in (np.nan, np.inf, -0.1, 1.5):
        pixels[3, 4] = bad
        saved(folder, pixels, "a.tif")
        with pytest.raises(ValueError, match=r"a\.tif .*outside 0 to 1"):
            read_square(path, 32, 1)


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.mark.parametrize(
    "spoil",
    [truncated, Path.touch, Path.mkdir, lambda path: path.write_text("not a picture")],
    ids=["truncated", "empty", "folder", "text"],
)
def test_an_unreadable_file_is_named(folder, spoil):
    path = folder / "bad.png"
    spoil(path)
    with pytest.raises(ValueError) as caught:
        load_images(folder.name, size=32, channels=1, root=folder.parent)
    assert str(caught.value).startswith(f"{path} is not a readable image")


def test_a_decompression_bomb_is_named(folder, monkeypatch):
    path = saved(folder, ramp(255, np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match="decompression bomb") as caught:
        read_square(path, 8, 1)
    assert str(path) in str(caught.value)


def test_a_folder_is_read_in_the_order_of_names(folder):
    for name, value in (("c.PNG", 30), ("a.jpg", 10), ("b.bmp", 20)):
        saved(folder, np.full((16, 24), value, np.uint8), name)
    (folder / "notes.txt").write_text("not an image")
    names, images = load_images(folder.name, size=16, channels=1, root=str(folder.parent))
    assert names == ["a.jpg", "b.bmp", "c.PNG"]
    assert images.flatten(1).float().mean(1).tolist() == [10, 20, 30]


@pytest.mark.parametrize("content", [(), ("notes.txt",)])
def test_a_folder_without_images_is_refused(folder, content):
    for name in content:
        (folder / name).write_text("nothing")
    with pytest.raises(FileNotFoundError) as caught:
        load_images(folder.name, size=8, channels=1, root=folder.parent)
    assert str(folder) in str(caught.value) and ".png" in str(caught.value)


def test_a_missing_set_says_where_and_how_and_what_else(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_images("cifar10", size=32, channels=3, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "cifar-10-batches-bin") in message
    assert "python -m lib.data download cifar10" in message
    assert "'photos'" in message and "DATA_ROOT" in message
    with pytest.raises(FileNotFoundError, match=r"Get it: copy testsets/Set12"):
        load_images("set12", size=32, channels=1, root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'nonsense' is neither a data set .*photos"):
        load_images("nonsense", size=32, channels=1, root=tmp_path)


def test_an_unknown_photo_is_named():
    with pytest.raises(ValueError, match=r"'lena'.*astronaut"):
        load_images("photos:camera,lena", size=32, channels=1)


def test_a_picture_smaller_than_asked_is_refused(folder):
    path = saved(folder, ramp(255, np.uint8)[:20])
    with pytest.raises(ValueError, match="32 x 20: smaller than 21 px") as caught:
        read_square(path, 21, 1)
    assert str(path) in str(caught.value)


def test_only_a_set_that_says_so_has_its_small_pictures_enlarged(tmp_path):
    """House of Set9 has 256 px where 320 are asked for."""
    for name in ("set9", "set12"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (256, 256), (10, 20, 30)).save(folder / "house.png")
    _, images = load_images("set9", size=320, channels=3, root=tmp_path)
    assert images.shape == (1, 3, 320, 320)
    assert images.flatten(2).unique(dim=2).flatten().tolist() == [10, 20, 30]
    with pytest.raises(ValueError, match="256 x 256: smaller than 320 px"):
        load_images("set12", size=320, channels=3, root=tmp_path)


@pytest.mark.parametrize("channels", [0, 2, 4, "3"])
def test_unknown_channels_are_refused(channels):
    with pytest.raises(ValueError, match=f"not {channels!r}"):
        load_images("photos", size=32, channels=channels)


def test_hashes_find_a_photograph_in_other_size_and_contrast_only():
    _, photos = load_images("photos", size=256, channels=3)
    _, small = load_images("photos", size=64, channels=3)
    paler = (small.float() * 0.7 + 40).to(torch.uint8)
    found = near_duplicates(perceptual_hashes(photos), perceptual_hashes(paler))
    assert found.tolist() == [[i, i] for i in range(len(photos))]


def test_hashes_of_unrelated_noise_share_half():
    noise = torch.randint(256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    hashes = perceptual_hashes(noise.to(torch.uint8))
    assert hashes.shape == (60, 63)
    differing = (hashes[:30, None] != hashes[None, 30:]).sum(2)
    assert 28 < differing.mean() < 36
    assert not len(near_duplicates(hashes[:30], hashes[30:]))


def test_hashes_of_another_length_are_refused():
    with pytest.raises(ValueError, match="same number of columns"):
        near_duplicates(np.zeros((2, 64), bool), np.zeros((2, 63), bool))


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "count"), [("set12", 12), ("train400", 400)])
def test_real_sets(name, count):
    try:
        paths = list_images(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    names, images = load_images(name, size=96, channels=1)
    assert names == [path.name for path in paths] and len(set(names)) == count
    assert images.shape == (count, 1, 96, 96)
    assert (images.float().flatten(1).std(1) > 2).all()
