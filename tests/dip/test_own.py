"""Own pictures: what is restored, against scikit-image's numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from lib.dip.network import Architecture, Layers
from lib.dip.own import numbers, restore
from lib.dip.prior import DipSettings

SMALL = {"architecture": Architecture(2), "layers": Layers(8, 2, "nearest"), "device": "cpu"}
SHORT = SMALL | {"settings": DipSettings(iterations=3, fixed=3, window=2, patience=1)}
LONG = SMALL | {"settings": DipSettings(iterations=150, fixed=150, window=40, patience=60)}


def scene(height: int, width: int) -> np.ndarray:
    """Smooth colours with a disc in them, uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    colours = np.stack([0.3 + 0.5 * x, 0.7 - 0.4 * y, 0.4 + 0.3 * x * y], 2)
    colours[(x - 0.4) ** 2 + (y - 0.4) ** 2 < 0.04] = (0.8, 0.2, 0.3)
    return (255 * colours).astype(np.uint8)


def noisy(clean: np.ndarray) -> np.ndarray:
    noise = 25 * np.random.default_rng(0).standard_normal(clean.shape)
    return (clean + noise).clip(0, 255).round().astype(np.uint8)


def save(path, pixels: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_restored_picture_is_closer_to_the_clean_one(tmp_path):
    clean = scene(40, 52)
    file = save(tmp_path / "scene.png", noisy(clean))
    (one,) = restore(file, **LONG, into=tmp_path / "out")
    before, after = (
        peak_signal_noise_ratio(clean, np.asarray(image)) for image in (one.noisy, one.picture)
    )
    assert after > before + 2
    saved = np.asarray(Image.open(tmp_path / "out" / "scene.png"))
    assert peak_signal_noise_ratio(clean, saved) == after
    row = pd.read_csv(tmp_path / "out" / "restored.csv").iloc[0]
    assert row["picture"] == "scene.png" and (row["width"], row["height"]) == (52, 40)
    change = np.sqrt(np.mean((saved.astype(float) - np.asarray(one.noisy)) ** 2))
    assert row["change (RMS of 255)"] == pytest.approx(change)
    assert row["stop"] == one.stop == one.variance[39:].argmin() + 40
    assert np.isinf(one.variance[:39]).all() and row["variance"] == pytest.approx(
        one.variance[39:].min(), rel=1e-5
    )


def test_only_hidden_pixels_are_filled_in_and_nobody_looks_at_them(tmp_path):
    clean = scene(36, 44)
    known = np.random.default_rng(1).random((36, 44)) > 0.4
    outputs = []
    for name, hidden in (("black", 0), ("white", 255)):
        holes = np.where(known[..., None], clean, hidden).astype(np.uint8)
        file = save(tmp_path / name / "scene.png", holes)
        mask = save(tmp_path / f"{name}.png", 255 * known.astype(np.uint8))
        (one,) = restore(file, **LONG, masks=mask)
        outputs.append(np.asarray(one.picture))
    black, white = outputs
    assert (black == white).all() and (black[known] == clean[known]).all()
    filled, truth = black[~known].astype(float), clean[~known].astype(float)
    mean = clean[known].mean(0)
    assert np.sqrt(np.mean((filled - truth) ** 2)) < 0.6 * np.sqrt(np.mean((mean - truth) ** 2))


def test_pictures_of_any_shape_and_colour_in_one_call(tmp_path):
    shapes = {"a": (5, 33), "b": (41, 7), "c": (16, 16), "d": (16, 16), "e": (1, 1)}
    for name, shape in shapes.items():
        save(tmp_path / f"{name}.png", scene(*shape))
    save(tmp_path / "f.png", scene(19, 23)[..., 0])
    done = restore(tmp_path, **SHORT)
    assert [one.name for one in done] == [f"{name}.png" for name in "abcdef"]
    for one, shape in zip(done, [*shapes.values(), (19, 23)], strict=True):
        assert one.picture.size == one.noisy.size == shape[::-1]
        assert one.picture.mode == ("L" if one.name == "f.png" else "RGB")
    table = numbers(done)
    assert table["height"].tolist() == [5, 41, 16, 16, 1, 19]
    alone = restore([str(tmp_path / "b.png"), tmp_path / "f.png"], **SHORT)
    for one, same in zip(alone, (done[1], done[5]), strict=True):
        difference = np.asarray(one.picture, float) - np.asarray(same.picture, float)
        assert np.abs(difference).max() <= 1, "other pictures do not matter"


def test_more_pictures_than_are_fitted_at_once(tmp_path):
    for place in range(10):
        save(tmp_path / f"{place}.png", np.full((9, 9, 3), 20 * place, np.uint8))
    done = restore(tmp_path, **SHORT)
    assert [int(np.asarray(one.noisy)[0, 0]) for one in done] == [20 * n for n in range(10)]


def test_a_large_picture_and_its_mask_are_reduced(tmp_path):
    """A pixel is known where all of its box is: 2 x 2 here, whose means are the picture's."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    mask = np.full((20, 40), 255, np.uint8)
    mask[4:8, 10:13] = 0
    file = save(tmp_path / "large.png", pixels)
    masks = save(tmp_path / "mask.png", mask)
    (one,) = restore(file, **SHORT, size=20, masks=masks)
    boxes = pixels.reshape(10, 2, 20, 2, 3).mean((1, 3))
    assert one.picture.size == (20, 10)
    apart = np.abs(np.asarray(one.picture) - boxes).max(2) > 1
    hidden = np.zeros((10, 20), bool)
    hidden[2:4, 5:7] = True
    assert not apart[~hidden].any() and apart[hidden].any()


def test_the_folders_masks_are_found_by_stem(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", scene(16, 16))
    holes = np.full((16, 16), 255, np.uint8)
    holes[:8] = 0
    save(tmp_path / "masks" / "a.png", holes)
    with pytest.raises(ValueError, match=r"masks has no mask for b\.png"):
        restore(tmp_path, **SHORT)
    save(tmp_path / "masks" / "all.png", holes[::-1])
    for one, known in zip(restore(tmp_path, **SHORT), (slice(8, 16), slice(0, 8)), strict=True):
        same = (np.asarray(one.picture) == np.asarray(one.noisy)).all((1, 2))
        assert same[known].all() and same.sum() == 8


def test_an_unsettled_stop_is_told(tmp_path):
    file = save(tmp_path / "scene.png", scene(16, 16))
    waits = DipSettings(iterations=6, fixed=6, window=2, patience=6)
    assert not numbers(restore(file, **SMALL, settings=waits))["settled"][0]
    (one,) = restore(file, **SHORT)
    assert one.settled == (one.stop + 1 <= 3)


def refusal(name: str, folder) -> dict:
    """Arguments that cannot be, from one picture that can."""
    file = save(folder / "lake.png", scene(16, 20))
    grey = np.zeros((16, 20), np.uint8)
    (folder / "empty").mkdir()
    (folder / "text.png").write_text("no picture")
    match name:
        case "missing":
            return {"noisy": folder / "sea.png"}
        case "empty":
            return {"noisy": folder / "empty"}
        case "none":
            return {"noisy": []}
        case "text":
            return {"noisy": [file, folder / "text.png"]}
        case "twice":
            return {"noisy": [file, save(folder / "other" / "lake.png", scene(8, 8))]}
        case "black":
            return {"noisy": file, "masks": save(folder / "m.png", grey)}
        case "size":
            return {"noisy": file, "masks": save(folder / "m.png", grey[:, :9])}
        case "no mask":
            return {"noisy": file, "masks": folder / "nowhere.png"}
        case "over":
            return {"noisy": file, "into": folder}
    return {"noisy": file, "device": "gpu"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", r"sea\.png"),
        ("empty", "no image .*empty"),
        ("none", r"no picture is given: \[\]"),
        ("text", r"text\.png is not a readable image"),
        ("twice", r"lake\.png and .*other.*lake\.png have the same name"),
        ("black", r"m\.png is black: no pixel of .*lake\.png"),
        ("size", r"m\.png has 9 x 16 pixels, but .*lake\.png has 20 x 16"),
        ("no mask", r"nowhere\.png"),
        ("over", r"lake\.png would be written over"),
        ("device", "'gpu'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, name, said):
    arguments = SHORT | refusal(name, tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        restore(**{"into": tmp_path / "out"} | arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path, monkeypatch):
    file = save(tmp_path / "scene.png", scene(20, 24))
    monkeypatch.setattr("lib.dip.own.fit", None)  # it must not come to that
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FileExistsError, match="out"):
        restore(file, **SHORT, into=tmp_path / "out")
    with pytest.raises(ValueError, match="size must be a number of pixels, or 0"):
        restore(file, **SHORT, size=-1)
