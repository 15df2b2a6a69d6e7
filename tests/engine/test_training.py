"""The training loop: it learns, resumes to the bit, and stops at the first NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lib.engine.training import CHECK_EVERY, Diverged, one_cycle, seeded, train


def data(step: int = 0, count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy linear problem; every step has its own rows."""
    rng = torch.Generator().manual_seed(step)
    x = torch.randn(count, 3, generator=rng)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3 + 0.1 * torch.randn(count, 1, generator=rng)
    return x, y


def squared(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def test_it_reaches_the_least_squares_solution():
    x, y = data()
    design = np.concatenate([x.numpy(), np.ones((32, 1))], 1)
    solution, residual, *_ = np.linalg.lstsq(design, y.numpy(), rcond=None)
    model = linear()
    losses = train(model, squared, lambda _: (x, y), steps=400, lr=0.1, schedule=one_cycle)
    assert len(losses) == 400
    assert losses[-1] == pytest.approx(residual.item() / 32, rel=1e-3)
    found = torch.cat([model.weight[0], model.bias]).detach().numpy()
    np.testing.assert_allclose(found, solution[:, 0], atol=1e-3)
    assert losses[0] > 100 * losses[-1]


def test_resuming_equals_never_having_stopped(tmp_path):
    options = {"steps": 37, "lr": 0.02, "schedule": one_cycle, "checkpoint_every": 10}
    whole = network()
    expected = train(whole, squared, data, **options)
    checkpoint, asked = tmp_path / "run.checkpoint", []

    def interrupted(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 25:
            raise KeyboardInterrupt
        return data(step)

    def recorded(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(step)
        return data(step)

    with pytest.raises(KeyboardInterrupt):
        train(network(), squared, interrupted, checkpoint=checkpoint, **options)
    resumed = network()
    losses = train(resumed, squared, recorded, checkpoint=checkpoint, **options)
    assert asked == list(range(20, 37))
    assert losses == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [0, 7, CHECK_EVERY - 1, CHECK_EVERY, 2 * CHECK_EVERY + 3])
def test_a_loss_that_is_not_finite_stops_and_names_its_step(bad, step):
    asked = []

    def spoilt(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(number)
        x, y = data(number)
        return x, y + bad if number == step else y

    with pytest.raises(Diverged, match=rf"{bad} at step {step}$"):
        train(linear(), squared, spoilt, steps=3 * CHECK_EVERY, lr=0.1)
    assert len(asked) <= step + CHECK_EVERY, "it went on for too long"


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "run.checkpoint"
    options = {"steps": 20, "lr": 0.1, "checkpoint": path, "checkpoint_every": 10}
    train(linear(), squared, data, **options)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            train(linear(), squared, data, **options)
        assert str(caught.value).startswith(f"checkpoint {path} cannot be used")
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="cannot be used"):
        train(network(), squared, data, **options)


def test_the_schedule_is_a_factor_on_the_rate():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments)

    options = {"optimiser": Watched, "optimiser_options": {"momentum": 0.0}}
    train(linear(), squared, data, steps=4, lr=0.5, schedule=lambda f: 1 - f, **options)
    assert rates == [0.5, 0.375, 0.25, 0.125]


def test_groups_of_parameters_have_rates_of_their_own():
    """Plain SGD: the weight moves by its own rate times the gradient, the bias by the other."""
    model, (x, y), steps = linear(), data(), []
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    error = model(x) - y
    slopes = (2 * error * x).mean(0).detach(), (2 * error).mean().detach()
    train(
        model,
        squared,
        lambda step: (steps.append(step), (x, y))[1],
        steps=1,
        lr=0.25,
        groups=[{"params": [model.bias]}, {"params": [model.weight], "lr": 0.01}],
        schedule=lambda fraction: 0.5,
        optimiser=torch.optim.SGD,
        optimiser_options={"momentum": 0.0},
    )
    torch.testing.assert_close(model.weight[0], weight[0] - 0.005 * slopes[0])
    torch.testing.assert_close(model.bias[0], bias[0] - 0.125 * slopes[1])


def test_what_learns_beside_the_model_is_resumed_too(tmp_path):
    def learn(stop: int | None, checkpoint=None) -> tuple[list[float], torch.Tensor]:
        beside, model = linear(), network()

        def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            with torch.no_grad():
                beside.weight.add_(0.1)
            return squared(model, batch) * (1 + beside.weight.mean().detach() ** 2)

        def at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            if step == stop:
                raise KeyboardInterrupt
            return data(step)

        options = {"steps": 9, "lr": 0.02, "checkpoint": checkpoint, "checkpoint_every": 4}
        return train(model, loss, at, beside=beside, **options), beside.weight

    path = tmp_path / "run.checkpoint"
    losses, weight = learn(None)
    with pytest.raises(KeyboardInterrupt):
        learn(6, path)
    again, resumed = learn(None, path)
    assert again == losses and torch.equal(weight, resumed)


def test_one_cycle_rises_to_one_and_falls_to_nothing():
    assert 0 < one_cycle(0) < 0.01
    assert one_cycle(0.1) == pytest.approx(1)
    assert one_cycle(0.55) == pytest.approx(0.5)
    assert one_cycle(1) == 0
    values = [one_cycle(i / 1000) for i in range(1001)]
    assert max(values) <= 1 and values.index(max(values)) in (99, 100)
    assert np.all(np.diff(values[:100]) > 0) and np.all(np.diff(values[101:]) < 0)


def test_seeded_draws_depend_on_the_seed_alone_and_leave_the_generator_where_it_was():
    torch.manual_seed(5)
    with seeded(3):
        first = torch.rand(4)
    after = torch.rand(4)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), after)
    with seeded(3):
        assert torch.equal(torch.rand(4), first)
