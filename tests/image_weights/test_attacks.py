"""Attacks against a linear model, worked out in numpy, and measures of known changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from lib.image_weights.synthesis import (
    COARSE,
    FINE,
    OPPONENT,
    Attack,
    attacked,
    measure,
    radial_spectrum,
)

SHAPE = (3, 4, 4)


def fgsm(model, images, targets, radius):
    return attacked(model, images, targets, Attack("fgsm", hard=False, radius=radius))


def pgd(model, images, targets, **sizes):
    return attacked(model, images, targets, Attack("pgd", hard=False, **sizes))


class Linear(nn.Module):
    """Logits A z + b."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.normal(size=(classes, 48)), rng.normal(size=classes)

    def forward(self, images):
        return (images.double().flatten(1) @ torch.tensor(self.a.T) + torch.tensor(self.b)).to(
            images
        )

    def loss(self, image: np.ndarray, target: np.ndarray) -> float:
        return -(target * log_softmax(self.a @ image.ravel() + self.b)).sum()

    def gradient(self, image: np.ndarray, target: np.ndarray) -> np.ndarray:
        error = softmax(self.a @ image.ravel() + self.b) - target
        return (self.a.T @ error).reshape(SHAPE)


def problem(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 images, some pixels black or white, and soft targets."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(count, *SHAPE, generator=rng, dtype=torch.float64)
    targets = torch.rand(count, 3, generator=rng, dtype=torch.float64) + 0.1
    return (1.4 * images - 0.2).clamp(0, 1), targets / targets.sum(1, keepdim=True)


def losses(model: Linear, images: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    pairs = zip(images.numpy(), targets.numpy(), strict=True)
    return np.array([model.loss(*pair) for pair in pairs])


def test_fgsm_is_one_sign_step():
    (images, targets), model = problem(), Linear()
    made = fgsm(model, images, targets, radius=0.1)
    for image, target, result in zip(images.numpy(), targets.numpy(), made.numpy(), strict=True):
        expected = (image - 0.1 * np.sign(model.gradient(image, target))).clip(0, 1)
        np.testing.assert_allclose(result, expected, atol=1e-12)
    assert (made - images).abs().amax((1, 2, 3)).min() > 0.099


def test_pgd_is_its_last_iterate_worked_out_in_numpy():
    """A step so large that the later iterates circle: the last one is not the best for all."""
    (images, targets), model = problem(), Linear()
    made = pgd(model, images, targets, radius=0.1, step=0.03, steps=12)
    best = []
    for image, target, result in zip(images.numpy(), targets.numpy(), made.numpy(), strict=True):
        iterates = [image]
        for _ in range(12):
            now = iterates[-1] - 0.03 * np.sign(model.gradient(iterates[-1], target))
            iterates.append(now.clip(image - 0.1, image + 0.1).clip(0, 1))
        best.append(int(np.argmin([model.loss(each, target) for each in iterates])))
        np.testing.assert_allclose(result, iterates[-1], atol=1e-12)
    assert min(best) < 12


@pytest.mark.parametrize("attack", [pgd, fgsm])
@pytest.mark.parametrize("radius", [0.0, 0.02, 0.3])
def test_attacks_stay_in_the_ball_and_among_images(attack, radius):
    (images, targets), model = problem(), Linear()
    for values in (images, images.float()):
        made = attack(model, values, targets.to(values), radius=radius)
        assert made.shape == values.shape and made.dtype == values.dtype
        assert (made - values).abs().max() <= radius + 1e-6
        assert made.min() >= 0 and made.max() <= 1
        assert not made.requires_grad and not values.requires_grad


def test_many_small_steps_meet_a_soft_target_and_one_large_one_does_not():
    (images, targets), model = problem(), Linear()
    optimum = np.array([-(t * np.log(t)).sum() for t in targets.numpy()])
    small = losses(model, pgd(model, images, targets, radius=0.3, step=0.002, steps=150), targets)
    one = losses(model, fgsm(model, images, targets, radius=0.3), targets)
    assert (small - optimum).max() < 0.01 < (one - optimum).min()


def test_a_hard_target_gains_probability():
    (images, _), model = problem(), Linear()
    labels = torch.arange(6) % 3
    targets = torch.eye(3, dtype=torch.float64)[labels]
    before = softmax(model(images).numpy(), 1)[np.arange(6), labels]
    for attack in (pgd, fgsm):
        made = attack(model, images, targets, radius=0.05)
        after = softmax(model(made).numpy(), 1)[np.arange(6), labels]
        assert (after > before).all()
    assert after.max() - before.min() > 0.1


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"radius": -0.1}, r"radius >= 0.*radius=-0\.1"),
        ({"step": 0.0}, r"step > 0.*step=0\.0"),
        ({"steps": 0}, r"steps >= 1.*steps=0\)$"),
        ({"kind": "cw"}, "kind fgsm or pgd.*kind='cw'"),
    ],
)
def test_bad_attacks_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        Attack(**{"kind": "pgd", "hard": False} | values)


SHARES = ("fine_share", "chroma_share", "local")


def noise(count: int = 20, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def cosine(u: int, v: int, colour=(1.0, 1.0, 1.0), size: int = 32) -> torch.Tensor:
    """(1, 3, size, size) wave of u cycles down and v across, of amplitude ``colour``."""
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    wave = torch.cos(2 * math.pi * (u * rows + v * columns) / size)
    return torch.tensor(colour)[None, :, None, None] * wave


@pytest.mark.parametrize("size", [(32, 32), (7, 10), (9, 5)])
def test_the_spectrum_sums_to_the_energy(size):
    change = noise(4, size)
    spectrum = radial_spectrum(change)
    assert spectrum.shape == (4, round(math.hypot(size[0] // 2, size[1] // 2)) + 1)
    energy = (change.double() ** 2).sum((1, 2, 3))
    torch.testing.assert_close(spectrum.double().sum(1), energy, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("u", "v", "place"), [(0, 0, 0), (3, 4, 5), (0, 7, 7), (16, 0, 16), (16, 16, 23), (2, 2, 3)]
)
def test_a_wave_falls_into_the_bin_of_its_frequency(u, v, place):
    """2, 2 lies at 2.83 and 16, 16 at 22.6: the nearest whole bin."""
    spectrum = radial_spectrum(cosine(u, v))[0]
    assert spectrum.argmax() == place
    assert spectrum[place].item() == pytest.approx(spectrum.sum().item(), rel=1e-5)


def test_the_opponent_axes_are_orthonormal_and_the_first_is_grey():
    torch.testing.assert_close(OPPONENT @ OPPONENT.T, torch.eye(3))
    torch.testing.assert_close(OPPONENT[0], torch.full((3,), 3**-0.5))


def test_white_noise():
    """Two of three axes are chroma; of the frequencies, those in bins beyond FINE are fine."""
    frequencies = [math.hypot(min(u, 32 - u), min(v, 32 - v)) for u in range(32) for v in range(32)]
    values = measure(noise())
    fine = np.mean([round(f) > FINE for f in frequencies])
    coarse = np.mean([round(f) < COARSE for f in frequencies])
    assert values["fine_share"].mean().item() == pytest.approx(fine, abs=0.01)
    assert values["chroma_share"].mean().item() == pytest.approx(2 / 3, abs=0.01)
    assert values["rms"].mean().item() == pytest.approx(1, abs=0.01)
    assert values["fine"].mean().item() == pytest.approx(math.sqrt(fine), abs=0.01)
    assert values["tint"].mean().item() == pytest.approx(math.sqrt(2 / 3 * coarse), abs=0.02)


@pytest.mark.parametrize(
    ("u", "colour", "fine_share", "chroma_share"),
    [
        (1, (1.0, 1.0, 1.0), 0, 0),
        (1, (1.0, -1.0, 0.0), 0, 1),
        (15, (1.0, 1.0, 1.0), 1, 0),
        (15, (0.0, 0.0, 1.0), 1, 2 / 3),  # blue: a third of its energy is grey
        (6, (1.0, 1.0, -2.0), 0, 1),
    ],
)
def test_waves(u, colour, fine_share, chroma_share):
    values = {name: value.item() for name, value in measure(0.1 * cosine(u, 0, colour)).items()}
    energy = 0.01 * sum(c * c for c in colour) / 2 / 3  # a wave's mean square is 1/2
    assert values["rms"] == pytest.approx(math.sqrt(energy), rel=1e-4)
    assert values["largest"] == pytest.approx(0.1 * max(map(abs, colour)), rel=1e-4)
    assert values["fine_share"] == pytest.approx(fine_share, abs=1e-5)
    assert values["chroma_share"] == pytest.approx(chroma_share, abs=1e-5)
    assert values["fine"] == pytest.approx(math.sqrt(energy * fine_share), abs=1e-4)
    tint = energy * chroma_share if u < COARSE else 0
    assert values["tint"] == pytest.approx(math.sqrt(tint), abs=1e-4)


@pytest.mark.parametrize("pixels", [1, 2, 10])
def test_the_share_of_pixels_that_holds_the_change(pixels):
    """Equal pixels: of ten, nine hold 90 %; of two and of one, all of them."""
    change = torch.zeros(1, 3, 8, 16)
    change.view(1, 3, -1)[0, 1, 5 : 5 + pixels] = -0.5
    expected = {1: 1, 2: 2, 10: 9}[pixels] / 128
    # 9 of 10 are 90 % to the last bit or not: one pixel more is right as well
    assert measure(change)["local"].item() == pytest.approx(expected, abs=(pixels == 10) / 128)


def test_images_are_measured_one_by_one_and_no_change_has_no_shares():
    change = torch.cat([torch.zeros(1, 3, 32, 32), noise(3)])
    together = measure(change)
    for n in range(4):
        alone = measure(change[n : n + 1])
        for name, values in together.items():
            assert values[n].item() == pytest.approx(alone[name].item(), rel=1e-5, nan_ok=True)
    for name, values in together.items():
        assert values[0].isnan() if name in SHARES else values[0] == 0, name
        assert (values[1:] > 0).all()
