"""Targeted attacks against a linear model, whose gradients are worked out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from lib.image_weights.attacks import fgsm, pgd

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """Logits A z + b."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.normal(size=(classes, 48)), rng.normal(size=classes)

    def forward(self, images):
        return images.flatten(1) @ torch.tensor(self.a.T) + torch.tensor(self.b)

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


def test_pgd_keeps_the_best_of_the_iterates_worked_out_in_numpy():
    """A step so large that the later iterates circle: the best one is not the last."""
    (images, targets), model = problem(), Linear()
    made = pgd(model, images, targets, radius=0.1, step=0.03, steps=12)
    best = []
    for image, target, result in zip(images.numpy(), targets.numpy(), made.numpy(), strict=True):
        iterates = [image]
        for _ in range(12):
            now = iterates[-1] - 0.03 * np.sign(model.gradient(iterates[-1], target))
            iterates.append(now.clip(image - 0.1, image + 0.1).clip(0, 1))
        best.append(int(np.argmin([model.loss(each, target) for each in iterates])))
        np.testing.assert_allclose(result, iterates[best[-1]], atol=1e-12)
    assert min(best) < 12 and max(best) > 0


def test_the_first_small_step_is_a_sign_step():
    (images, targets), model = problem(), Linear()
    made = pgd(model, images, targets, radius=0.1, step=1e-4, steps=1)
    assert torch.equal(made, fgsm(model, images, targets, radius=1e-4))
    assert (losses(model, made, targets) < losses(model, images, targets)).all()


@pytest.mark.parametrize("attack", [pgd, fgsm])
@pytest.mark.parametrize("radius", [0.02, 0.3])
def test_attacks_stay_in_the_ball_and_among_images(attack, radius):
    (images, targets), model = problem(), Linear()
    for values in (images, images.float()):
        made = attack(Float(model), values, targets.to(values), radius=radius)
        assert made.shape == values.shape and made.dtype == values.dtype
        assert (made - values).abs().max() <= radius + 1e-6
        assert made.min() >= 0 and made.max() <= 1
        assert not made.requires_grad and not values.requires_grad


class Float(nn.Module):
    """The linear model for images of any type."""

    def __init__(self, model: Linear) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images.double()).to(images)


@pytest.mark.parametrize("step", [1 / 255, 0.5])
def test_the_result_is_never_worse_than_the_start(step):
    (images, targets), model = problem(), Linear()
    start = losses(model, images, targets)
    for steps in (1, 2, 5):
        made = pgd(model, images, targets, radius=0.5, step=step, steps=steps)
        assert (losses(model, made, targets) <= start).all()
    where_it_is = torch.tensor(softmax(images.flatten(1).numpy() @ model.a.T + model.b, 1))
    made = pgd(model, images, where_it_is, radius=0.5, step=step, steps=3)
    reached, best = losses(model, made, where_it_is), losses(model, images, where_it_is)
    np.testing.assert_allclose(reached, best, atol=1e-12)


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


def test_radius_zero_changes_nothing():
    (images, targets), model = problem(), Linear()
    assert torch.equal(pgd(model, images, targets, radius=0.0), images)
    assert torch.equal(fgsm(model, images, targets, radius=0.0), images)


@pytest.mark.parametrize(
    ("values", "named"),
    [({"radius": -0.1}, r"-0\.1"), ({"step": 0.0}, r"0\.0, 40"), ({"steps": 0}, ", 0$")],
)
def test_bad_sizes_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        pgd(Linear(), *problem(), **values)
