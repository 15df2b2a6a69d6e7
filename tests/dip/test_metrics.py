"""Image quality against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import structural_similarity

from lib.dip.metrics import quality


def test_rmse_and_psnr_by_hand():
    clean = torch.full((1, 16, 16), 0.5)
    image = clean.clone()
    image[0, :4] += 0.2  # a quarter of the pixels is off by 0.2: mse = 0.01
    values = quality(image, clean)
    assert values["rmse"] == pytest.approx(0.1, rel=1e-6)
    assert values["psnr"] == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_images(channels):
    image = torch.rand(channels, 20, 24)
    assert quality(image, image) == {"rmse": 0, "psnr": math.inf, "ssim": pytest.approx(1)}


def test_the_image_is_clipped_and_the_clean_one_is_not_touched():
    clean = torch.zeros(1, 16, 16)
    clean[0, :8] = 1
    beyond = torch.where(clean > 0, 1.7, -3.0)
    assert quality(beyond, clean)["rmse"] == 0
    assert quality(torch.full_like(clean, 9.0), clean)["rmse"] == pytest.approx(math.sqrt(0.5))


def test_ssim_is_that_of_wang_et_al():
    clean = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = (clean + 0.1).clamp(0, 1)
    planes = [
        structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(clean.numpy(), image.numpy(), strict=True)
    ]
    value = quality(image, clean)["ssim"]
    assert value == pytest.approx(sum(planes) / 3, rel=1e-9) and 0.5 < value < 0.999


def test_ssim_of_constant_images_by_hand():
    """Without contrast only the luminance term is left: (2ab + c) / (a² + b² + c), c = 0.01²."""
    image, clean = torch.full((1, 16, 16), 0.3), torch.full((1, 16, 16), 0.6)
    expected = (2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4)
    assert quality(image, clean)["ssim"] == pytest.approx(expected, rel=1e-5)
