"""Luma and chroma against PIL's JPEG conversion, and three colours worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lib.continual.colour import chroma, luma, to_rgb


def every_colour() -> np.ndarray:
    """18 levels of each channel, (72, 81, 3) bytes."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), -1).reshape(72, 81, 3)


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)[None].double()


def test_luma_and_chroma_are_pils_to_a_level():
    pixels = every_colour()
    expected = as_images(np.asarray(Image.fromarray(pixels).convert("YCbCr")))
    images = as_images(pixels) / 255
    found = torch.cat((255 * luma(images), 255 * chroma(images) + 128), 1)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1 + 1e-9  # it cuts fractions off


def test_rgb_is_pils_to_two_levels():
    """PIL rounds twice: YCbCr to bytes, then RGB."""
    converted = Image.fromarray(every_colour()).convert("YCbCr")
    parts = as_images(np.asarray(converted))
    expected = as_images(np.asarray(converted.convert("RGB")))
    found = 255 * to_rgb(parts[:, :1] / 255, (parts[:, 1:] - 128) / 255)
    assert (found - expected).abs().max() <= 2


@pytest.mark.parametrize(
    ("colour", "y", "cb", "cr"),
    [((1, 0, 0), 0.299, -0.299 / 1.772, 0.5), ((0, 0, 1), 0.114, 0.5, -0.114 / 1.402),
     ((0.25, 0.75, 0.5), 0.572, -0.072 / 1.772, -0.322 / 1.402)],
)  # fmt: skip
def test_colours_by_hand(colour, y, cb, cr):
    image = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
    assert luma(image).flatten().tolist() == pytest.approx([y])
    assert chroma(image).flatten().tolist() == pytest.approx([cb, cr])


def test_there_and_back():
    images = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert luma(images).shape == (3, 1, 5, 7) and chroma(images).shape == (3, 2, 5, 7)
    torch.testing.assert_close(to_rgb(luma(images), chroma(images)), images, rtol=0, atol=1e-6)


def test_grey_has_no_chroma_and_keeps_its_luma():
    grey = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    torch.testing.assert_close(luma(grey.expand(1, 3, 16, 16)), grey)
    assert chroma(grey.expand(1, 3, 16, 16)).abs().max() < 1e-6
    without = to_rgb(grey, torch.zeros(1, 2, 16, 16))
    torch.testing.assert_close(without, grey.expand(1, 3, 16, 16))


def test_chroma_fills_half_on_either_side():
    found = chroma(as_images(every_colour()) / 255)
    assert found.amin((0, 2, 3)).tolist() == pytest.approx([-0.5, -0.5])
    assert found.amax((0, 2, 3)).tolist() == pytest.approx([0.5, 0.5])


def test_colours_outside_rgb_are_clipped():
    """Y = 0.9, Cr = 0.5: R = 1.601, G = 0.9 - 0.299 * 0.701 / 0.587, B = 0.9; then Y = 0.1."""
    y = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1)
    colours = torch.tensor([[0.0, 0.5], [-0.5, 0.0]]).view(2, 2, 1, 1)
    bright, dark = to_rgb(y, colours).flatten(1).tolist()
    assert bright == pytest.approx([1, 0.9 - 0.299 * 0.701 / 0.587, 0.9], abs=1e-6)
    assert dark == pytest.approx([0.1, 0.1 + 0.114 * 0.886 / 0.587, 0], abs=1e-6)
