"""Training patches: pixels of the images, nothing else, and the same ones again."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lib.engine.batches import Epochs, Patches, flip_and_crop


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 2, 9, 12), generator=torch.Generator().manual_seed(0)).byte()


def crops(images: np.ndarray, patch: int) -> set[bytes]:
    windows = sliding_window_view(images, (patch, patch), (2, 3))
    return {w.tobytes() for w in np.moveaxis(windows, 1, 3).reshape(-1, 2, patch, patch)}


def test_patches_are_crops_or_mirror_images_of_crops(images):
    source = images.numpy()
    plain, mirrored = crops(source, 5), crops(source[..., ::-1], 5)
    assert len(plain) == 3 * 5 * 8 and not plain & mirrored
    patches, seen = Patches(images, patch=5, batch=16, seed=1), []
    for step in range(200):
        batch = patches(step)
        assert batch.shape == (16, 2, 5, 5) and batch.dtype == torch.float32
        seen += [p.tobytes() for p in (batch * 255).round().byte().numpy()]
    assert set(seen) <= plain | mirrored
    assert set(seen) == plain | mirrored, "every crop comes, both ways round"
    share = np.mean([p in mirrored for p in seen])
    assert 0.4 < share < 0.6


def test_values_are_bytes_over_255(images):
    batch = Patches(images, patch=9, batch=4, seed=0)(0)
    torch.testing.assert_close(batch * 255, (batch * 255).round(), rtol=0, atol=1e-4)
    assert batch.min() >= 0 and batch.max() <= 1


def test_a_batch_depends_on_seed_and_step_alone(images):
    first, second = (Patches(images, patch=5, batch=8, seed=3) for _ in range(2))
    for step in (4, 0, 2):
        second(step + 1)
        assert torch.equal(first(step), second(step))
    assert not torch.equal(first(0), first(1))
    assert not torch.equal(first(0), Patches(images, patch=5, batch=8, seed=4)(0))


def test_too_large_a_patch_is_refused(images):
    assert Patches(images, patch=9, batch=1, seed=0)(0).shape == (1, 2, 9, 9)
    with pytest.raises(ValueError, match="10 px does not fit images of 9 x 12"):
        Patches(images, patch=10, batch=1, seed=0)


def test_patches_are_the_ones_that_stored_runs_saw():
    """Digest of the batches as they were when the first records were written."""
    source = torch.arange(4 * 3 * 11 * 9).remainder(256).byte().view(4, 3, 11, 9)
    patches = Patches(source, patch=6, batch=5, seed=7)
    values = torch.stack([patches(step) for step in range(3)])
    assert values.shape == (3, 5, 3, 6, 6)
    assert hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16] == "59ea4d6b0163cfc1"


def one_by_one(images, flips, rows, columns, pad) -> torch.Tensor:
    """Slow and plain, with another library."""
    from torchvision.transforms.v2.functional import crop, horizontal_flip
    from torchvision.transforms.v2.functional import pad as padded

    results = []
    for image, flip, row, column in zip(images, flips, rows, columns, strict=True):
        image = padded(horizontal_flip(image) if flip else image, [pad])
        results.append(crop(image, int(row), int(column), *images.shape[2:]))
    return torch.stack(results)


@pytest.mark.parametrize("pad", [0, 1, 4, 20])
def test_flip_and_crop_is_what_torchvision_does_one_by_one(pad):
    rng = torch.Generator().manual_seed(pad)
    images = torch.randint(0, 256, (60, 3, 8, 11), generator=rng).byte()
    flips = torch.randint(2, (60,), generator=rng).bool()
    rows, columns = torch.randint(2 * pad + 1, (2, 60), generator=rng)
    expected = one_by_one(images, flips, rows, columns, pad)
    moved = flip_and_crop(images, flips, rows, columns, pad)
    assert moved.dtype == torch.uint8 and moved.is_contiguous()
    assert torch.equal(moved, expected)
    assert torch.equal(moved[~flips], images[~flips]) == (pad == 0)
    floats = images.float() / 255
    moved = flip_and_crop(floats, flips, rows, columns, pad)
    assert torch.equal(moved, one_by_one(floats, flips, rows, columns, pad))


@pytest.fixture
def tagged() -> torch.Tensor:
    """37 images that show who they are, and which pixel is which: no byte twice, none zero."""
    pixels = torch.arange(1, 2 * 5 * 6 + 1).view(1, 2, 5, 6).repeat(37, 1, 1, 1)
    return (pixels + 5 * torch.arange(37)[:, None, None, None]).byte()


@pytest.mark.parametrize("batch", [1, 10, 37, 50])
def test_every_epoch_is_another_permutation(tagged, batch):
    epochs, orders = Epochs(tagged, batch=batch, seed=0), []
    assert len(epochs) == {1: 37, 10: 4, 37: 1, 50: 1}[batch]
    for epoch in range(3):
        steps = range(epoch * len(epochs), (epoch + 1) * len(epochs))
        indices = [epochs(step)[0] for step in steps]
        assert [len(index) for index in indices[:-1]] == [batch] * (len(epochs) - 1)
        orders.append(torch.cat(indices).tolist())
        assert sorted(orders[-1]) == list(range(37))
    assert orders[0] != orders[1] != orders[2] != list(range(37))


def test_batches_are_the_images_flipped_and_moved(tagged):
    """Every one of 2 flips x 5 x 5 moves is found, and nothing that is not one of them."""
    epochs, seen = Epochs(tagged, batch=16, seed=2, pad=2), []
    moves = [(f, r, c) for f in (False, True) for r in range(5) for c in range(5)]
    flips, rows, columns = (torch.tensor(values) for values in zip(*moves, strict=True))
    for step in range(60):
        index, images = epochs(step)
        assert index.dtype == torch.int64 and images.dtype == torch.float32
        assert images.shape == (len(index), 2, 5, 6)
        for i, image in zip(index, (images * 255).round().byte(), strict=True):
            possible = one_by_one(tagged[i].expand(50, -1, -1, -1), flips, rows, columns, 2)
            (match,) = (possible == image).flatten(1).all(1).nonzero()[:, 0].tolist()
            seen.append(match)
    share = np.bincount(seen, minlength=50) / len(seen)
    assert len(seen) == 740 and share.min() > 0, "every move comes"
    assert 0.44 < share[25:].sum() < 0.56, "half of them mirrored"


def test_without_flip_and_pad_the_images_come_as_they_are(tagged):
    for step in range(5):
        index, images = Epochs(tagged, batch=8, seed=3, pad=0, flip=False)(step)
        torch.testing.assert_close(images, tagged[index].float() / 255, rtol=0, atol=0)


def test_an_epochs_batch_depends_on_seed_and_step_alone(tagged):
    first, second = (Epochs(tagged, batch=10, seed=3) for _ in range(2))
    for step in (9, 0, 5, 1):
        second(step + 1)
        for mine, yours in zip(first(step), second(step), strict=True):
            assert torch.equal(mine, yours)
    assert not torch.equal(first(0)[0], first(1)[0])
    assert not torch.equal(first(0)[0], Epochs(tagged, batch=10, seed=4)(0)[0])


def test_runs_on_different_images_are_paired(tagged):
    """Where the first set is zero the second is: same order, same flips, same moves."""
    marked = torch.zeros(37, 1, 32, 32, dtype=torch.uint8)
    marked[:, :, 8:20, 9:25] = 200
    other = marked // 2 + marked // 4
    for step in range(8):
        (index, images), (same, others) = (
            Epochs(source, batch=10, seed=6)(step) for source in (marked, other)
        )
        assert torch.equal(index, same)
        assert torch.equal(images > 0, others > 0) and not torch.equal(images, others)
    places = (images > 0).flatten(1).unique(dim=0)
    assert len(places) > 3


def test_moves_are_the_same_with_and_without_flip():
    symmetric = torch.zeros(20, 1, 16, 16, dtype=torch.uint8)
    symmetric[:, :, 4:9, 5:11] = 255
    for step in range(3):
        with_flip, without = (
            Epochs(symmetric, batch=8, seed=1, flip=flip)(step)[1] for flip in (True, False)
        )
        assert torch.equal(with_flip, without)


@pytest.mark.parametrize(
    ("count", "options"), [(0, {"batch": 4}), (3, {"batch": 0}), (3, {"batch": 4, "pad": -1})]
)
def test_bad_epochs_are_refused(count, options):
    with pytest.raises(ValueError, match=f"not {count}, {options['batch']} and"):
        Epochs(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), seed=0, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_batches(tagged):
    here, there = Epochs(tagged, batch=10, seed=0), Epochs(tagged.cuda(), batch=10, seed=0)
    for step in (0, 3, 4):
        (index, images), (far_index, far_images) = here(step), there(step)
        assert far_images.is_cuda and far_index.is_cuda
        assert torch.equal(index, far_index.cpu())
        torch.testing.assert_close(images, far_images.cpu())
