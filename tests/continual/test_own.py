"""Tasks of one's own: reading pairs, learning them, scoring them, and their files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lib.continual.masks import fingerprint, load_task, save_task
from lib.continual.networks import UNet
from lib.continual.own import add_task, apply_task, load_pairs, score_task


def write(folder, name, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(folder / name)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3))


@pytest.fixture
def folder(tmp_path):
    """Two pairs, one wide and one small."""
    write(tmp_path / "inputs", "a.png", picture(20, 40))
    write(tmp_path / "targets", "a.png", picture(20, 40, 1))
    write(tmp_path / "inputs", "b.png", picture(8, 6))
    write(tmp_path / "targets", "b.png", picture(8, 6, 1))
    return tmp_path


def test_a_picture_keeps_its_proportions_and_a_small_one_its_size(folder):
    pairs = load_pairs(folder, size=16)
    assert pairs.names == ("a", "b") and pairs.inputs.shape == (2, 3, 16, 16)
    assert [int(part.sum()) for part in pairs.inside] == [8 * 16, 8 * 6]
    assert torch.equal(pairs.inputs[1, :, :8, :6], torch.tensor(picture(8, 6)).permute(2, 0, 1))
    assert (pairs.inputs[1, :, 8:] == 0).all()


def test_label_maps_are_numbers_of_classes_whatever_their_colours(folder):
    (folder / "classes.txt").write_text("sky\nlake\n")
    for name, shape in (("a", (20, 40)), ("b", (8, 6))):
        numbers = Image.fromarray(np.eye(*shape, dtype=np.uint8)).convert("P")
        numbers.putpalette([9, 8, 7, 200, 100, 50])
        numbers.save(folder / "targets" / f"{name}.png")
    pairs = load_pairs(folder, size=16)
    assert pairs.classes == ("sky", "lake") and pairs.targets.shape == (2, 1, 16, 16)
    assert torch.equal(pairs.targets[1, 0, :8, :6], torch.eye(8, 6, dtype=torch.uint8))
    assert (pairs.targets[1, 0, 8:] == 255).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "targets" / "a.png").unlink(), "no pair for a"),
        (lambda f: write(f / "targets", "a.png", picture(20, 30)), "40 x 20 and 30 x 20"),
        (lambda f: (f / "inputs" / "b.png").write_bytes(b"no picture"), "b.png is not a readable"),
        (lambda f: write(f / "inputs", "b.jpg", picture(8, 6)), "have the same name"),
        (lambda f: (f / "classes.txt").write_text(" \n"), "classes.txt has 0 names of classes"),
        (lambda f: (f / "classes.txt").write_text("sky\nsea\nsky\n"), "the class sky twice"),
        (
            lambda f: (f / "classes.txt").write_text("\n".join(map(str, range(256)))),
            "has 256 names",
        ),
        (lambda f: (f / "classes.txt").write_text("sky\nlake"), "a.png is RGB: a label map"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_by_name(folder, spoil, said):
    spoil(folder)
    with pytest.raises(ValueError, match=said):
        load_pairs(folder, size=16)


def test_a_label_without_class_is_refused(folder):
    (folder / "classes.txt").write_text("sky\nlake\n")
    write(folder / "targets", "a.png", np.full((20, 40), 7))
    with pytest.raises(ValueError, match=r"a.png has the label 7; there are 2 classes"):
        load_pairs(folder, size=16)


def test_a_folder_without_targets_is_refused(tmp_path):
    write(tmp_path / "inputs", "a.png", picture(4, 4))
    with pytest.raises(FileNotFoundError, match="targets"):
        load_pairs(tmp_path)


def two_colours(folder, count=10, *, classes=False):
    """Pictures, half dark and half bright by place; the target tells the dark half."""
    rng = np.random.default_rng(0)
    for place in range(count):
        dark = np.zeros((24, 32), bool)
        dark[:, : 8 + place] = True
        noise = rng.integers(0, 60, (24, 32, 3))
        write(folder / "inputs", f"{place}.png", noise + np.where(dark, 20, 180)[..., None])
        shown = dark if classes else np.where(dark, 230, 30)[..., None].repeat(3, 2)
        write(folder / "targets", f"{place}.png", shown)
    if classes:
        (folder / "classes.txt").write_text("bright\ndark\n", encoding="utf-8-sig")


@pytest.mark.parametrize("classes", [False, True])
def test_a_task_is_learned_better_than_any_trivial_answer(tmp_path, classes):
    two_colours(tmp_path, classes=classes)
    base = UNet(3, 4, width=8, seed=0).eval()
    before = fingerprint(base)
    learned_from, tested = load_pairs(tmp_path, size=32).split()
    assert (len(learned_from.names), len(tested.names)) == (8, 2)
    task = add_task(base, learned_from, steps=60)
    assert fingerprint(base) == before == task.base
    scores = score_task(base, task, learned_from, tested).set_index("answer").iloc[:, 0]
    others = scores.drop("the mask")
    if classes:
        assert scores["the mask"] > others.max() + 10 and scores["the mask"] <= 100
    else:
        assert scores["the mask"] < 0.7 * others.min()


def test_trivial_scores_by_hand(folder):
    pairs = load_pairs(folder, size=16)
    base = UNet(3, 4, width=4, seed=0).eval()
    task = add_task(base, pairs, steps=2)
    scores = score_task(base, task, pairs.part([1]), pairs.part([1]))
    change = picture(8, 6).astype(float) - picture(8, 6, 1)
    spread = picture(8, 6, 1) - picture(8, 6, 1).mean((0, 1))
    by_hand = [np.sqrt((values**2).mean()) for values in (change, spread)]
    assert scores.iloc[1:, 1].tolist() == pytest.approx(by_hand, rel=1e-6)


def test_the_file_gives_the_task_back_and_has_its_card(tmp_path, folder):
    base = UNet(3, 4, width=4, seed=0).eval()
    pairs = load_pairs(folder, size=16)
    task = add_task(base, pairs, steps=2)
    save_task(tmp_path / "own.safetensors", task, card="noise to noise")
    again = load_task(tmp_path / "own.safetensors", base)
    assert b"noise to noise" in (tmp_path / "own.safetensors").read_bytes()
    shown = (apply_task(base, which, pairs.inputs) for which in (task, again))
    assert torch.equal(*shown)
    any_size = apply_task(base, again, torch.zeros(1, 3, 10, 23, dtype=torch.uint8), labels=True)
    assert any_size.shape == (1, 1, 10, 23)


def test_nothing_is_learned_in_no_steps(folder):
    with pytest.raises(ValueError, match="at least one step, not 0"):
        add_task(UNet(3, 4, width=4, seed=0), load_pairs(folder, size=16), steps=0)


def test_one_pair_cannot_be_split(folder):
    with pytest.raises(ValueError, match="one pair"):
        load_pairs(folder, size=16).part([0]).split()
