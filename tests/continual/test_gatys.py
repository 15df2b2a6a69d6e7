"""Pictures moved by their style loss, and toy losses whose best picture is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lib.continual.gatys import gatys
from lib.continual.perceptual import Losses, PerceptualLoss, feature_network


class Toy:
    """A stand-in for the perceptual loss: any function of one picture's pixels, (N, P) to (N,)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, output: Tensor, content: Tensor) -> Losses:
        assert output.min() >= 0 and output.max() <= 1, "no image"
        total = self.function(output.flatten(1))
        return Losses(total, total, total)


def contents(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def stripes_of(dark: float, red: float) -> PerceptualLoss:
    """The loss against a style of stripes, on random features."""
    style = torch.full((3, 16, 24), dark)
    style[0, :, ::4] = red
    return PerceptualLoss(feature_network("random"), style, style_weight=1e8)


@pytest.fixture(scope="module")
def stripes() -> PerceptualLoss:
    return stripes_of(0.4, 0.7)


def test_the_loss_falls_far_below_the_untouched_pictures_among_images(stripes):
    images = contents()
    kept, before = images.clone(), stripes(images, images).total
    pictures, totals = gatys(stripes, images, steps=25)
    assert torch.equal(images, kept) and not images.requires_grad
    assert pictures.shape == images.shape and totals.shape == (2,)
    assert not pictures.requires_grad and not totals.requires_grad
    assert pictures.min() >= 0 and pictures.max() <= 1
    torch.testing.assert_close(totals, stripes(pictures, images).total)
    assert (totals < before / 2).all()
    assert (gatys(stripes, images, steps=2)[1] > totals).all()


@pytest.mark.parametrize(("white", "colours"), [(0, (0.4, 0.7)), (8, (0.0, 1.0))])
def test_the_loss_reached_is_scipys(white, colours):
    """Its L-BFGS with bounds, as many iterations; rows of white sky must not stop the search."""
    loss, image = stripes_of(*colours), 0.3 + 0.4 * contents(1)
    image[:, :, :white] = 1
    unit = loss(image, image).total.item()

    def value_and_gradient(pixels: np.ndarray) -> tuple[float, np.ndarray]:
        picture = torch.tensor(pixels).float().view_as(image).requires_grad_()
        value = loss(picture, image).total.sum() / unit
        value.backward()
        return value.item(), picture.grad.double().flatten().numpy()

    expected = minimize(
        value_and_gradient,
        image.double().flatten().numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 1)] * image.numel(),
        options={"maxiter": 20, "maxcor": 20},
    )
    _, total = gatys(loss, image, steps=20)
    assert total.item() / unit < 1.3 * expected.fun
    assert expected.fun < 0.4


def test_permuted_pictures_are_taken(stripes):
    """As ``load_images`` gives them: the channel's numbers lie side by side."""
    images = contents(1)
    permuted = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    expected, found = (gatys(stripes, each, steps=2)[0] for each in (images, permuted))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - images).abs().max() > 0.01


def test_a_batch_is_one_picture_at_a_time(stripes):
    images = contents(3)
    together, totals = gatys(stripes, images, steps=4)
    for number, image in enumerate(images):
        alone, total = gatys(stripes, image[None], steps=4)
        assert torch.equal(together[number], alone[0])
        assert total.item() == pytest.approx(totals[number].item(), rel=1e-5)
    assert (together - images).abs().amax((1, 2, 3)).min() > 0.01


def test_the_optimum_of_a_quadratic_is_found():
    """(x - p)^T A (x - p) + 1 with curvatures from 1 to 1000 and p drawn before."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    a = torch.tensor(axes * np.geomspace(1, 1000, 12) @ axes.T)
    best = torch.tensor(rng.uniform(0.1, 0.9, size=12))
    start = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    pictures, totals = gatys(
        Toy(lambda x: ((x - best) @ a * (x - best)).sum(1) + 1), start, steps=100
    )
    torch.testing.assert_close(pictures.flatten(), best, rtol=0, atol=1e-3)
    assert totals.item() == pytest.approx(1, abs=1e-5)


def test_an_optimum_outside_of_the_images_ends_at_black_and_white():
    wanted = torch.tensor([-3.0, -0.1, 0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0, 1.1, 4.0])
    start = torch.full((1, 3, 2, 2), 0.5)
    pictures, totals = gatys(Toy(lambda x: (x - wanted).square().sum(1)), start, steps=100)
    expected = wanted.clamp(0, 1)
    torch.testing.assert_close(pictures.flatten(), expected, rtol=0, atol=0.02)
    assert totals.item() == pytest.approx(9 + 0.01 + 0.01 + 9, abs=0.02)


def test_the_unit_of_the_loss_does_not_matter():
    start, wanted = contents(1), contents(2)[1].flatten()
    small, large = (
        gatys(Toy(lambda x, unit=unit: unit * (x - wanted).pow(4).sum(1)), start, steps=3)[0]
        for unit in (2.0**-10, 2.0**10)
    )
    assert torch.equal(small, large) and (small - start).abs().max() > 0.1


def test_a_picture_without_any_loss_stays_but_black_and_white_move_a_hundredth():
    start = contents(1)
    start[..., 0], start[..., 1] = 0, 1
    pictures, totals = gatys(Toy(lambda x: 0 * x.sum(1)), start, steps=5)
    torch.testing.assert_close(pictures, start.clamp(0.01, 0.99), rtol=0, atol=1e-6)
    assert totals.tolist() == [0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused(value):
    with pytest.raises(ArithmeticError, match="not finite"):
        gatys(Toy(lambda x: value * x.sum(1)), contents(1), steps=5)


def test_a_loss_that_turns_nan_on_the_way_is_refused():
    """The root of what is below zero, as soon as the mean is under 0.4."""
    with pytest.raises(ArithmeticError, match="not finite"):
        gatys(Toy(lambda x: (x.mean(1) - 0.4).sqrt()), contents(1), steps=50)
