"""Training patches: pixels of the images, nothing else, and the same ones again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lib.data.batches import Patches


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
