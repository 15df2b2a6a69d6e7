"""The U-Net against the paper's counts, a pass computed by hand, and what a pixel can see."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lib.continual.unet import DECODER_LAYERS, ENCODER_LAYERS, LAYERS, UNet
from lib.networks.sizes import count_values, count_weights


def small(**options) -> UNet:
    return UNet(**{"in_channels": 3, "out_channels": 2, "width": 2} | options).eval()


def test_the_papers_counts():
    with torch.device("meta"):
        net = UNet()
    assert count_weights(net.encoder, net.decoder) == 14_776_000
    assert count_weights(net.encoder) == 9_402_048
    assert count_weights(net.decoder) == 5_373_952
    assert sum(layer.weight.numel() for layer in net.weight_layers().values()) == 14_776_000


@pytest.mark.parametrize(("inputs", "outputs", "width"), [(3, 21, 64), (1, 2, 5)])
def test_counts_of_any_width(inputs, outputs, width):
    """In units of w^2, kernels apart: 1 + 2 + 4 + 8 + 16 + 32 + 3 * 64 down, and so on."""
    with torch.device("meta"):
        found = count_values(UNet(inputs, outputs, width=width))
    down = 9 * (1 + 2 + 4 + 8 + 16 + 32 + 64 * 3)
    up = 4 * (64 + 16 + 4 + 1) + 9 * (16 * 4 + 16 + 8 * 2 + 4 + 4 * 1 + 1 + 2 * 1 + 1)
    channels = 2 * (1 + 2 + 4 + 8 + 8) + 2 * (4 + 2 + 1 + 1)
    assert found == {
        "weights": 9 * inputs * width + (down + up) * width**2 + width * outputs,
        "biases": (8 + 4 + 2 + 1) * width + outputs,
        "norms": 2 * channels * width,
        "statistics": 2 * channels * width,
        "other": 0,
    }


def test_layer_names_and_shapes():
    layers = small(width=64).weight_layers()
    assert tuple(layers) == LAYERS == ENCODER_LAYERS + DECODER_LAYERS
    assert len(LAYERS) == 22
    shapes = {name: tuple(layer.weight.shape[:2]) for name, layer in layers.items()}
    assert shapes["conv1_1"] == (64, 3) and shapes["conv5_2"] == (512, 512)
    first = [shapes[f"conv{level}_1"] for level in (6, 7, 8, 9)]
    assert first == [(256, 1024), (128, 512), (64, 256), (64, 128)]
    assert [shapes[f"up-conv{stage}"][0] for stage in (1, 2, 3, 4)] == [512, 256, 128, 64]
    kinds = {name for name, layer in layers.items() if isinstance(layer, nn.ConvTranspose2d)}
    assert kinds == {f"up-conv{stage}" for stage in (1, 2, 3, 4)}


def adding(net: UNet) -> UNet:
    """Every output channel of a layer becomes the sum of its input channels."""
    for layer in net.weight_layers().values():
        nn.init.zeros_(layer.weight)
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        else:
            nn.init.ones_(layer.weight[:, :, 1, 1])
    nn.init.ones_(net.last.weight)
    nn.init.zeros_(net.last.bias)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.running_var, 1 - layer.eps)
    return net


@torch.no_grad()
def test_a_pass_computed_by_hand():
    """Channels 1, 1 | 2, 2 | 4, 4 | 8, 8 | 8, 8 down, sums doubling along; each skip adds in.

    Down, the ends of the levels: 1, 2, 16, 512 and 32768. Up: 8 * 512 + 8 * (8 * 32768)
    = 2101248, times 4 = 8404992; 4 * 16 + 4 * (4 * 8404992) = 134479936, times 2 = 268959872;
    2 * 2 + 2 * (2 * 268959872) = 1075839492; 1 + 1075839492.
    """
    net = adding(small(in_channels=1, out_channels=1, width=1).double())
    image = torch.ones(1, 1, 33, 20, dtype=torch.float64)
    expected = torch.full_like(image, 1_075_839_493)
    torch.testing.assert_close(net(image), expected, rtol=1e-12, atol=0)
    values = net.features(image, LAYERS)
    ends = [float(values[f"conv{level}_2"].mean()) for level in range(1, 9)]
    down = [1, 2, 16, 512, 32768]
    assert ends == pytest.approx([*down, 8404992, 268959872, 1075839492], rel=1e-12)


@torch.no_grad()
def test_levels_are_halved_by_the_maximum():
    net = adding(small(in_channels=1, out_channels=1, width=1))
    image = torch.arange(256.0).view(1, 1, 16, 16)
    found = net.features(image, ["conv2_1"])["conv2_1"]
    assert torch.equal(found[0, 0, 0], torch.arange(17.0, 32, 2))


@torch.no_grad()
@pytest.mark.parametrize("size", [(37, 51), (1, 1), (16, 16), (5, 40)])
def test_any_size_is_padded_by_repetition_and_cropped_back(size):
    net, image = small(), torch.rand(2, 3, *size)
    output = net(image)
    assert output.shape == (2, 2, *size)
    more = [(0, -side % 16) for side in size]
    padded = np.pad(image.numpy(), [(0, 0), (0, 0), *more], mode="edge")
    whole = net(torch.from_numpy(padded))
    torch.testing.assert_close(output, whole[..., : size[0], : size[1]])


def seen_by_the_centre(net: UNet) -> torch.Tensor:
    """Which input pixels the output pixel (32, 32) depends on, (H, W)."""
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    net(image)[0, :, 32, 32].sum().backward()
    return image.grad[0].abs().sum(0) > 0


def test_the_shallowest_skip_passes_the_first_level_and_no_other():
    """Four 3x3 convolutions at full resolution see 9 x 9 pixels."""
    net = small(width=8)
    for layer in net.weight_layers().values():
        nn.init.kaiming_normal_(layer.weight)
    assert seen_by_the_centre(net).sum() > 400
    up = net.weight_layers()["up-conv4"]
    nn.init.zeros_(up.weight)
    seen = seen_by_the_centre(net)
    assert seen[28:37, 28:37].float().mean() > 0.9
    assert seen.sum() == seen[28:37, 28:37].sum()


def test_channels_of_the_skip_come_first():
    net = small(width=4)
    nn.init.zeros_(net.weight_layers()["up-conv1"].weight)
    nn.init.zeros_(net.weight_layers()["up-conv1"].bias)
    image = torch.rand(1, 3, 32, 32)
    before = net.features(image, ["conv6_1"])["conv6_1"]
    nn.init.zeros_(net.weight_layers()["conv6_1"].weight[:, 32:])
    torch.testing.assert_close(net.features(image, ["conv6_1"])["conv6_1"], before)
    nn.init.zeros_(net.weight_layers()["conv6_1"].weight[:, :32])
    assert not torch.equal(net.features(image, ["conv6_1"])["conv6_1"], before)


def test_features_are_of_the_padded_size_and_named():
    found = small().features(
        torch.rand(2, 3, 30, 40), ("conv1_2", "conv3_1", "conv5_2", "up-conv4")
    )
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "conv1_2": (2, 2, 32, 48),
        "conv3_1": (2, 8, 8, 12),
        "conv5_2": (2, 16, 2, 3),
        "up-conv4": (2, 2, 32, 48),
    }
    assert found["conv1_2"].min() == 0, "after the ReLU"


def test_a_replaced_last_layer_changes_the_outputs_and_nothing_else():
    net, image = small(), torch.rand(1, 3, 16, 16)
    rest = copy.deepcopy({k: v for k, v in net.state_dict().items() if not k.startswith("last")})
    old, output = net.last, net(image)
    new = net.new_last(7, seed=3)
    assert net.last is old
    net.last = new
    assert net(image).shape == (1, 7, 16, 16)
    for name, value in rest.items():
        assert torch.equal(net.state_dict()[name], value)
    net.last = old
    assert torch.equal(net(image), output)


def test_the_seed_alone_decides_the_weights():
    random = torch.random.get_rng_state()
    first, again, other = small(seed=5), small(seed=5), small(seed=6)
    assert torch.equal(torch.random.get_rng_state(), random)
    for name in LAYERS:
        a, b, c = (net.weight_layers()[name].weight for net in (first, again, other))
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(first.new_last(4, seed=1).weight, again.new_last(4, seed=1).weight)
    assert not torch.equal(first.new_last(4, seed=1).weight, first.new_last(4, seed=2).weight)


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, now in network.state_dict().items() if not now.equal(before[name])}


def train_a_little(net: UNet, optimiser: torch.optim.Optimizer) -> None:
    for seed in range(3):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        optimiser.zero_grad()
        (net(images) - images[:, :2]).square().mean().backward()
        optimiser.step()


def test_training_moves_everything_but_a_frozen_encoder():
    """Not a bit of it: weights, running statistics, whatever momentum and decay are left over."""
    net = small().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    before = state(net)
    train_a_little(net, optimiser)
    assert changed(net, before) == before.keys(), "not yet frozen"
    assert net.freeze_encoder() is net and net.training
    before = state(net)
    train_a_little(net, optimiser)
    outside = {name for name in before if not name.startswith("encoder.")}
    assert changed(net, before) == outside
    assert any(name.endswith("running_var") for name in before.keys() - outside)
    assert not any(each.requires_grad or each.grad is not None for each in net.encoder.parameters())
    assert all(each.grad is not None for each in net.decoder.parameters())


@torch.no_grad()
def test_a_frozen_encoder_stays_in_evaluation_mode():
    net, images = small().freeze_encoder(), torch.rand(2, 3, 32, 32)
    assert not any(each.training for each in net.modules()), "freezing does not start training"
    features, output = net.features(images, ["conv5_2"])["conv5_2"], net(images)
    for _ in range(2):
        net.train()
        assert net.training and all(each.training for each in net.decoder.modules())
        assert not any(each.training for each in net.encoder.modules())
        assert torch.equal(net.features(images, ["conv5_2"])["conv5_2"], features)
        assert not torch.allclose(net(images), output), "the decoder's norms use the batch"
        net.eval()
        assert not any(each.training for each in net.modules())
    free = small().train()
    assert not torch.allclose(free.features(images, ["conv5_2"])["conv5_2"], features)


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "width"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        UNet(**{name: 0})


def test_bad_calls_are_refused():
    net = small()
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), not \(2, 1, 8, 8\)"):
        net(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="no layer conv9_3"):
        net.features(torch.rand(1, 3, 16, 16), ["conv1_1", "conv9_3"])
    with pytest.raises(ValueError, match="at least 1 channel, not 0"):
        net.new_last(0)
