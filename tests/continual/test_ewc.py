"""Importances and penalties against gradients and sums by hand, and a toy that must not forget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lib.continual.ewc import Anchor, add_task, importance, penalty

NAMES = ("weight", "bias")


def linear(weights: list[float], bias: float = 0.0) -> nn.Linear:
    model = nn.Linear(len(weights), 1).double()
    model.weight.data = torch.tensor([weights], dtype=torch.float64)
    model.bias.data = torch.tensor([bias], dtype=torch.float64)
    return model


def squared(model: nn.Module, sample: tuple[torch.Tensor, float]) -> torch.Tensor:
    x, target = sample
    return (model(x) - target).square().sum()


def samples(count: int = 7, seed: int = 0) -> list[tuple[torch.Tensor, float]]:
    rng = np.random.default_rng(seed)
    return [(torch.tensor(rng.normal(size=2)), float(rng.normal())) for _ in range(count)]


def flat(values: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([values[name].flatten() for name in NAMES]).numpy()


def drawn_tasks(count: int) -> list[tuple[nn.Linear, dict[str, torch.Tensor]]]:
    rng = np.random.default_rng(3)
    tasks = []
    for _ in range(count):
        f = torch.tensor(rng.uniform(0.1, 3, size=3))
        tasks.append((linear(rng.normal(size=2).tolist(), rng.normal()),
                      {"weight": f[None, :2], "bias": f[2:]}))  # fmt: skip
    return tasks


def anchored(tasks: list[tuple[nn.Linear, dict[str, torch.Tensor]]]) -> Anchor:
    anchor = None
    for model, importances in tasks:
        anchor = add_task(anchor, model, importances)
    return anchor


def test_importance_by_hand():
    """w = (1, 2), b = 0. Sample 1: x = (1, 1), t = 2: error 1, gradient (2, 2, 2). Sample 2:
    x = (3, 0), t = 4: error -1, gradient (-6, 0, -2). Squares: 4 + 36, 4 + 0, 4 + 4; mean 52 / 3.
    """
    two = [(torch.tensor(x).double(), t) for x, t in (([1.0, 1], 2.0), ([3.0, 0], 4.0))]
    found = importance(linear([1, 2]), squared, two, NAMES)
    assert flat(found) == pytest.approx(np.array([40, 4, 8]) * 3 / 52)


def test_importance_is_the_mean_of_squares_image_by_image():
    w, b = np.array([0.3, -1.2]), 0.7
    gradients = np.array(
        [2 * (w @ x.numpy() + b - t) * np.array([*x.numpy(), 1]) for x, t in samples()]
    )
    expected = (gradients**2).mean(0)
    found = flat(importance(linear(w.tolist(), b), squared, iter(samples()), iter(NAMES)))
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-12)
    of_the_batch = gradients.mean(0) ** 2
    assert abs(found - of_the_batch / of_the_batch.mean()).max() > 0.1


def test_importance_has_mean_one_whatever_the_unit_of_the_loss_and_the_number_of_images():
    model = linear([0.3, -1.2])
    found = flat(importance(model, squared, samples(), NAMES))
    other = importance(model, lambda *it: 1000 * squared(*it), 3 * samples(), NAMES)
    np.testing.assert_allclose(flat(other), found, rtol=1e-12)
    assert found.mean() == pytest.approx(1)
    assert list(importance(model, squared, samples(), ["bias"])) == ["bias"]


def test_importance_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double().eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    single = [(x[None], t) for x, t in samples()]
    importance(model, squared, single, ["0.weight"])
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize(
    ("images", "factor", "named"),
    [([], 1, "0 images"), (samples(2), 0, "2 images"), (samples(3), float("nan"), "3 images")],
)
def test_no_gradient_is_refused(images, factor, named):
    with pytest.raises(ValueError, match=named):
        importance(linear([1, 2]), lambda *it: factor * squared(*it), images, NAMES)


def test_penalty_by_hand():
    """3 / 2 * (0.5 * 2^2 + 1.5 * 1^2 + 1 * 0.5^2) = 5.625, with gradient 3 * F * (w - anchor)."""
    anchor = add_task(
        None, linear([1, 2]), {"weight": torch.tensor([[0.5, 1.5]]), "bias": torch.ones(1)}
    )
    model = linear([3, 1], 0.5)
    value = penalty(model, anchor, 3)
    value.backward()
    assert value.item() == pytest.approx(5.625)
    assert model.weight.grad.tolist() == [pytest.approx([3, -4.5])]
    assert model.bias.grad.tolist() == pytest.approx([1.5])


def test_the_penalty_is_zero_at_the_anchor_of_one_task_which_stays_when_the_model_moves():
    ((model, importances),) = drawn_tasks(1)
    anchor = add_task(None, model, importances)
    assert penalty(model, anchor, 1e6).item() == 0
    model.weight.data += 1
    moved = penalty(model, anchor, 2)
    assert moved.item() == pytest.approx(importances["weight"].sum().item())
    assert penalty(model, anchor, 10).item() == pytest.approx(5 * moved.item())
    assert penalty(model, anchor, 0).item() == 0


@pytest.mark.parametrize("count", [2, 3])
def test_the_anchor_of_several_tasks_is_the_sum_of_their_penalties_up_to_a_constant(count):
    tasks, rng = drawn_tasks(count), np.random.default_rng(9)
    anchor, strength, differences = anchored(tasks), 1.7, []
    for _ in range(5):
        w = rng.normal(size=3)
        model = linear(w[:2].tolist(), w[2])
        value = penalty(model, anchor, strength)
        value.backward()
        apart = [(flat(f), w - flat(dict(m.state_dict()))) for m, f in tasks]
        gradient = strength * sum(f * d for f, d in apart)
        found = torch.cat([model.weight.grad[0], model.bias.grad]).numpy()
        np.testing.assert_allclose(found, gradient, rtol=1e-12)
        explicit = strength / 2 * sum((f * d**2).sum() for f, d in apart)
        differences.append(explicit - value.item())
    assert np.ptp(differences) < 1e-12 < 0.1 < min(differences)


def test_the_order_of_tasks_does_not_matter():
    tasks = drawn_tasks(3)
    first, second = anchored(tasks), anchored(tasks[::-1])
    for a, b in ((first.importance, second.importance), (first.values, second.values)):
        np.testing.assert_allclose(flat(a), flat(b), rtol=1e-12)


def test_a_weight_without_importance_is_free_and_its_anchor_finite():
    first, second = linear([1, 5]), linear([3, 7])
    parts = [{"weight": torch.tensor([f], dtype=torch.float64)} for f in ([1.0, 0], [3.0, 0])]
    anchor = anchored([(first, parts[0]), (second, parts[1])])
    assert anchor.values["weight"].tolist() == [pytest.approx([2.5, 7])]
    model = linear([2.5, -100])
    assert penalty(model, anchor, 1).item() == 0


def test_adding_a_task_changes_neither_the_earlier_anchor_nor_the_model():
    (first, f), (second, g) = drawn_tasks(2)
    anchor = add_task(None, first, f)
    kept = [flat(anchor.importance).copy(), flat(anchor.values).copy()]
    add_task(anchor, second, g)
    assert (flat(anchor.importance) == kept[0]).all() and (flat(anchor.values) == kept[1]).all()
    assert not any(values.requires_grad for values in anchor.values.values())


def test_a_second_task_is_learnt_beside_the_first_only_with_the_penalty():
    """Task 1 needs w_1 = 1 and does not see w_2; task 2 needs w_1 + w_2 = 3.

    The shortest way for task 2 is (2, 1), where task 1's error is 1; held at w_1 it is (1, 2).
    """
    seen = torch.tensor([1.0, 0]).double()
    noisy = [(seen, 1.5), (seen, 0.5)]  # at the optimum no gradient would be left
    start = linear([1, 0])
    anchor = add_task(None, start, importance(start, squared, noisy, ["weight"]))
    ends = {}
    for strength in (0, 20):
        model = linear([1, 0])
        optimiser = torch.optim.SGD([model.weight], lr=0.04)
        for _ in range(300):
            optimiser.zero_grad()
            both = squared(model, (torch.ones(2).double(), 3.0))
            (both + penalty(model, anchor, strength)).backward()
            optimiser.step()
        ends[strength] = model.weight[0].tolist()
    assert ends[0] == pytest.approx([2, 1], abs=1e-6)
    assert ends[20] == pytest.approx([1, 2], abs=1e-6)
