"""Training of masks: against networks built by hand, gradients by hand, and what must not move."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from masked import LAYERS, base, draw_masks, images, trained
from torch import nn
from torch.nn.utils import parametrizations

from lib.continual.mask_tasks import fingerprint
from lib.continual.masks import INITIAL, NORM_POLICIES, THRESHOLD, MaskedNetwork, WeightMask
from lib.engine.training import train


def by_hand(network: nn.Module, masked: MaskedNetwork) -> nn.Module:
    """The base with W * m as its weights, weight by weight, and the task's head."""
    plain = copy.deepcopy(network)
    plain.out = copy.deepcopy(masked.network.out)
    for name, mask in masked.masks().items():
        layer = plain.get_submodule(name)
        chosen = [
            w if r > THRESHOLD else 0.0
            for w, r in zip(
                layer.weight.flatten().tolist(), mask.real.flatten().tolist(), strict=True
            )
        ]
        layer.weight = nn.Parameter(torch.tensor(chosen).view(layer.weight.shape))
    return plain


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


def assert_same_state(network: nn.Module, before: dict[str, torch.Tensor]) -> None:
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_the_constants_are_the_papers():
    assert (INITIAL, THRESHOLD) == (1e-2, 5e-3)


def test_every_convolution_but_the_head_is_masked():
    masked = MaskedNetwork(base(), {"out": nn.Conv2d(5, 7, 1)})
    assert {name: mask.real.numel() for name, mask in masked.masks().items()} == LAYERS
    assert all((mask.real == 1e-2).all() for mask in masked.masks().values())
    assert "out" in MaskedNetwork(base()).masks()  # no head of its own: the last layer as well


def test_a_new_task_computes_what_the_base_does():
    network, x = base(), images()
    torch.testing.assert_close(MaskedNetwork(network)(x), network(x), rtol=0, atol=0)
    headed = MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)})
    assert headed(x).shape == (2, 7, 8, 8)


def test_the_masked_network_is_the_one_built_by_hand():
    network, x = base(), images()
    masked = draw_masks(MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)}), seed=3)
    torch.testing.assert_close(masked(x), by_hand(network, masked)(x), rtol=0, atol=0)
    assert not torch.allclose(masked.network.down(x), network.down(x))


def test_the_gradient_passes_straight_through():
    """dL/dr = dL/d(W m) * W, where the first factor comes from the network built by hand."""
    network, x = base(), images()
    masked = draw_masks(MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)}), seed=3)
    plain = by_hand(network, masked)
    for model in (masked, plain):
        model(x).pow(3).sum().backward()
    for name, mask in masked.masks().items():
        expected = plain.get_submodule(name).weight.grad * network.get_submodule(name).weight
        torch.testing.assert_close(mask.real.grad, expected.detach(), rtol=1e-5, atol=1e-7)
        assert mask.real.grad[~mask.bits()].abs().max() > 0  # unused weights can come back
    torch.testing.assert_close(masked.network.out.weight.grad, plain.out.weight.grad)


def test_one_weight_by_hand():
    """y = 2 m x, x = 3, L = y: dL/dr = 6, so SGD with lr 1/1000 puts r to 0.004, then to -0.002."""
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    masked, x = MaskedNetwork(nn.Sequential(layer)), torch.full((1, 1, 1, 1), 3.0)
    optimiser = torch.optim.SGD(masked.parameters(), lr=1e-3)
    outputs, reals = [], []
    for _ in range(2):
        optimiser.zero_grad()
        y = masked(x)
        y.sum().backward()
        optimiser.step()
        outputs.append(y.item())
        reals.append(masked.masks()["0"].real.item())
    assert outputs == [6.0, 0.0] and reals == pytest.approx([0.004, -0.002])


def test_a_number_at_the_threshold_is_zero():
    mask = WeightMask(torch.ones(3), 1e-2, 0.25)
    mask.real.data = torch.tensor([0.25, 0.25 + 2**-24, -1.0])
    assert mask(torch.full((3,), 5.0)).tolist() == [0, 5, 0]
    assert mask.bits().tolist() == [False, True, False]


@pytest.mark.parametrize("norm", NORM_POLICIES)
@pytest.mark.parametrize(
    ("optimiser", "options"),
    [
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_the_base_is_the_same_to_the_bit_after_training(norm, optimiser, options):
    network = base()
    before, flags = state(network), [p.requires_grad for p in network.parameters()]
    masked = MaskedNetwork(network, {"out": nn.Conv2d(5, 2, 1)}, norm=norm)
    train(
        masked,
        lambda model, x: (model(x) - x[:, :2]).square().mean(),
        lambda step: images(),
        steps=5,
        lr=1e-2,
        optimiser=optimiser,
        optimiser_options=options,
    )
    assert_same_state(network, before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert all(p.grad is None for p in network.parameters())
    inside = masked.network.state_dict()
    for name in LAYERS:
        frozen = masked.network.get_submodule(name).parametrizations.weight.original
        assert torch.equal(frozen, before[f"{name}.weight"]) and frozen.grad is None
        assert (masked.masks()[name].real != 1e-2).any()
    assert torch.equal(inside["up.bias"], before["up.bias"])
    assert masked.base == fingerprint(network)


def test_a_hidden_choice_of_weights_is_found():
    """Targets come from the layer with known weights cut off: training is to find which."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, bias=False)
    hidden, teacher = torch.rand(layer.weight.shape) < 0.6, copy.deepcopy(layer)
    teacher.weight.data.mul_(hidden)
    masked = MaskedNetwork(nn.Sequential(layer))
    train(
        masked,
        lambda model, x: (model(x) - teacher(x).detach()).square().mean(),
        lambda step: torch.randn(16, 8, 5, 5),
        steps=150,
        lr=1e-3,
    )
    found, weight = masked.masks()["0"].bits(), layer.weight.detach().abs()
    assert (found == hidden)[weight > 0.02].float().mean() > 0.97
    assert (found == hidden).float().mean() > 0.9


def test_frozen_norms_use_the_bases_statistics_in_training():
    network, x = base(), images(4)
    masked = MaskedNetwork(network, norm="frozen").train()
    assert masked.training and not masked.network.first.training
    torch.testing.assert_close(masked(x), network(x), rtol=0, atol=0)
    assert_same_state(masked.network.first, network.first.state_dict())
    assert masked.task().norms == {}


@pytest.mark.parametrize("norm", ["statistics", "affine"])
def test_own_statistics_start_as_the_bases_and_follow_the_data(norm):
    network, x = base(), images(4)
    masked = MaskedNetwork(network, norm=norm).train()
    old, features = network.first.running_mean.clone(), network.down(x).detach()
    masked(x)
    expected = 0.9 * old + 0.1 * features.mean((0, 2, 3))
    torch.testing.assert_close(masked.task().norms["first.running_mean"], expected)
    torch.testing.assert_close(network.first.running_mean, old, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("norm", "learnt", "kept"),
    [
        ("frozen", [], []),
        ("statistics", [], ["running_mean", "running_var", "num_batches_tracked"]),
        (
            "affine",
            ["weight", "bias"],
            ["running_mean", "running_var", "num_batches_tracked", "weight", "bias"],
        ),
    ],
)
def test_what_each_norm_policy_trains_and_keeps(norm, learnt, kept):
    masked = trained(base(), 1, norm)
    norms = ("first", "deep.norm")
    free = {name for name, p in masked.network.named_parameters() if p.requires_grad}
    reals = {f"{name}.parametrizations.weight.0.real" for name in LAYERS}
    head = {"out.weight", "out.bias"}
    assert free == reals | head | {f"{layer}.{key}" for layer in norms for key in learnt}
    own = masked.task().norms
    assert own.keys() == {f"{layer}.{key}" for layer in norms for key in kept}
    before = base().state_dict()
    assert all(not torch.equal(values, before[name]) for name, values in own.items())


def test_masks_and_norms_stay_within_a_part():
    network = base()
    masked = MaskedNetwork(network, within="deep", norm="affine")
    assert list(masked.masks()) == ["deep.conv"]
    free = {name for name, p in masked.network.named_parameters() if p.requires_grad}
    assert free == {
        "deep.conv.parametrizations.weight.0.real",
        "deep.norm.weight",
        "deep.norm.bias",
    }
    masked.train()(images())
    assert {name.rsplit(".", 1)[0] for name in masked.task().norms} == {"deep.norm"}
    assert_same_state(masked.network.first, network.first.state_dict())
    assert not torch.equal(masked.network.deep.norm.running_mean, network.deep.norm.running_mean)


def test_a_part_is_not_every_name_that_starts_alike():
    network = nn.Sequential()
    network.conv1, network.conv10 = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    assert MaskedNetwork(network, within="conv1").masked == ("conv1",)
    assert MaskedNetwork(network, {"conv1": nn.Conv2d(1, 2, 1)}).masked == ("conv10",)


def test_a_task_is_a_copy():
    masked = trained(base(), 1)
    task, x = masked.task(), images()
    mask, head = task.masks["up"].clone(), task.heads["out"](torch.ones(1, 5, 2, 2))
    masks = masked.masks()
    with torch.no_grad():
        masks["up"].real.zero_()
        masked.network.out.weight.zero_()
        masked.network.first.running_mean.zero_()
    masked(x)
    assert torch.equal(task.masks["up"], mask) and mask.any()
    assert torch.equal(task.heads["out"](torch.ones(1, 5, 2, 2)), head)
    assert task.norms["first.running_mean"].abs().max() > 0
    assert not any(p.requires_grad for p in task.heads["out"].parameters())


def test_a_stopped_training_resumes_to_the_same_task(tmp_path):
    data = [torch.rand(4, 3, 8, 8) for _ in range(6)]

    def run(checkpoint: Path | None, stop: int | None = None) -> MaskedNetwork:
        def batch(step: int) -> torch.Tensor:
            if step == stop:
                raise KeyboardInterrupt
            return data[step]

        masked = MaskedNetwork(base(), norm="affine")
        options = {"lr": 4e-3, "checkpoint": checkpoint, "checkpoint_every": 3}
        train(masked, lambda model, x: model(x).square().mean(), batch, steps=6, **options)
        return masked

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", stop=4)
    whole, resumed = run(None), run(tmp_path / "state", stop=2)  # would stop if it began anew
    assert_same_state(resumed, state(whole))
    assert not all(mask.all() for mask in whole.task().masks.values())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heads": {"last": nn.Conv2d(5, 7, 1)}}, "no layer 'last'"),
        ({"within": "blocks"}, "no layer 'blocks'"),
        ({"within": "first"}, "first has no convolution"),
        ({"norm": "batch"}, "frozen, statistics, affine, not 'batch'"),
        ({"initial": 5e-3}, "no weight would be in use"),
        ({"initial": float("nan")}, "no weight would be in use"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        MaskedNetwork(base(), **options)


def test_a_weight_that_is_already_parametrized_is_refused():
    network = base()
    parametrizations.weight_norm(network.up)
    with pytest.raises(ValueError, match="'up' is already parametrized"):
        MaskedNetwork(network)
    with pytest.raises(ValueError, match="already parametrized"):
        MaskedNetwork(trained(base(), 1).network)
