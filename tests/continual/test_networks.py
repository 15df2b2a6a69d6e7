"""The networks against published layers and counts, passes by hand, and what a pixel can see."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lib.continual.networks import (
    LAYERS,
    NORMS,
    Generator,
    PatchDiscriminator,
    UNet,
)
from lib.networks.sizes import count_values


def small(**options) -> UNet:
    return UNet(**{"in_channels": 3, "out_channels": 2, "width": 2} | options).eval()


def features(net: UNet, images: torch.Tensor, *names: str) -> list[torch.Tensor]:
    """Outputs of the named layers, those of 3x3 convolutions after norm and ReLU."""
    layers, seen = {**net.encoder, **net.decoder}, {}
    hooks = [
        layers[name].register_forward_hook(lambda _, __, x, name=name: seen.update({name: x}))
        for name in names
    ]
    net(images)
    for hook in hooks:
        hook.remove()
    return [seen[name] for name in names]


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
    assert tuple(layers) == LAYERS
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
    values = features(net, image, *(f"conv{level}_2" for level in range(1, 9)))
    ends = [float(value.mean()) for value in values]
    down = [1, 2, 16, 512, 32768]
    assert ends == pytest.approx([*down, 8404992, 268959872, 1075839492], rel=1e-12)


@torch.no_grad()
def test_levels_are_halved_by_the_maximum():
    net = adding(small(in_channels=1, out_channels=1, width=1))
    image = torch.arange(256.0).view(1, 1, 16, 16)
    (found,) = features(net, image, "conv2_1")
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
    (before,) = features(net, image, "conv6_1")
    nn.init.zeros_(net.weight_layers()["conv6_1"].weight[:, 32:])
    torch.testing.assert_close(features(net, image, "conv6_1")[0], before)
    nn.init.zeros_(net.weight_layers()["conv6_1"].weight[:, :32])
    assert not torch.equal(features(net, image, "conv6_1")[0], before)


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
    assert net.freeze("encoder") is net and net.training
    before = state(net)
    train_a_little(net, optimiser)
    outside = {name for name in before if not name.startswith("encoder.")}
    assert changed(net, before) == outside
    assert any(name.endswith("running_var") for name in before.keys() - outside)
    assert not any(each.requires_grad or each.grad is not None for each in net.encoder.parameters())
    assert all(each.grad is not None for each in net.decoder.parameters())


@torch.no_grad()
def test_a_frozen_encoder_stays_in_evaluation_mode():
    net, images = small().freeze("encoder"), torch.rand(2, 3, 32, 32)
    assert not any(each.training for each in net.modules()), "freezing does not start training"
    deepest, output = features(net, images, "conv5_2")[0], net(images)
    for _ in range(2):
        net.train()
        assert net.training and all(each.training for each in net.decoder.modules())
        assert not any(each.training for each in net.encoder.modules())
        assert torch.equal(features(net, images, "conv5_2")[0], deepest)
        assert not torch.allclose(net(images), output), "the decoder's norms use the batch"
        net.eval()
        assert not any(each.training for each in net.modules())
    free = small().train()
    assert not torch.allclose(features(free, images, "conv5_2")[0], deepest)


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (UNet, {"in_channels": 0}),
        (UNet, {"out_channels": -1}),
        (UNet, {"width": 0}),
        (Generator, {"width": 0}),
        (PatchDiscriminator, {"channels": 0}),
        (PatchDiscriminator, {"channels": 3, "width": 0}),
        (PatchDiscriminator, {"channels": 3, "layers": 0}),
    ],
)
def test_sizes_below_one_are_refused(network, sizes):
    name, size = list(sizes.items())[-1]
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {size}"):
        network(**sizes)


def test_bad_calls_are_refused():
    net = small()
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), not \(2, 1, 8, 8\)"):
        net(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="out_channels must be at least 1, not 0"):
        net.new_last(0)


@pytest.mark.parametrize("network", [partial(UNet, width=4), partial(Generator, width=16),
                                     partial(PatchDiscriminator, 6, width=32)])  # fmt: skip
def test_the_seed_alone_decides_the_weights(network):
    """CycleGAN's standard deviation is 0.02, for the generator and the discriminator."""
    random = torch.random.get_rng_state()
    first, again, other = (dict(network(seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), random)
    weights = {name: values for name, values in first.items() if values.ndim == 4}
    for name, values in weights.items():
        assert torch.equal(values, again[name]) and not torch.equal(values, other[name])
    if network.func is not UNet:
        together = torch.cat([values.flatten() for values in weights.values()])
        assert together.std().item() == pytest.approx(0.02, rel=0.02)


def test_what_a_task_draws_depends_on_its_seed():
    net = UNet(width=4)
    lasts = [net.new_last(4, seed=seed).weight for seed in (1, 1, 2)]
    generator = Generator(width=4)
    blocks = [generator.add_task(name, seed=seed)[0].residual[0].weight
              for name, seed in (("a", 1), ("b", 1), ("c", 2))]  # fmt: skip
    for first, again, other in (lasts, blocks):
        assert torch.equal(first, again) and not torch.equal(first, other)


# the generator


def small_generator(norm: str = "instance", **options) -> Generator:
    net = Generator(width=4, norm=norm, **options)
    net.add_task("colour", seed=1)
    net.add_task("gogh", seed=2)
    return net.eval()


def published(width: int, norm: type[nn.Module]) -> nn.Sequential:
    """c7s1-k, d2k, d4k, then the blocks that are left out, u2k, uk, c7s1-3, from the appendix."""
    bias, half = norm is nn.InstanceNorm2d, {"stride": 2, "padding": 1}
    first = nn.Conv2d(3, width, 7, bias=bias)
    layers = [nn.ReflectionPad2d(3), first, norm(width), nn.ReLU()]
    for k in (2 * width, 4 * width):
        layers += [nn.Conv2d(k // 2, k, 3, bias=bias, **half), norm(k), nn.ReLU()]
    for k in (2 * width, width):
        up = nn.ConvTranspose2d(2 * k, k, 3, output_padding=1, bias=bias, **half)
        layers += [up, norm(k), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


@torch.no_grad()
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_without_a_task_it_is_cyclegans_network_without_blocks(norm):
    net = small_generator(norm)
    reference = published(4, NORMS[norm]).eval()
    values = [*net.encoder.parameters(), *net.decoder.parameters()]
    for own, other in zip(values, reference.parameters(), strict=True):
        other.copy_(nn.init.normal_(own, std=0.2 if norm == "instance" else 0.5))
    images = torch.rand(2, 3, 24, 16)
    expected = (reference(images * 2 - 1) + 1) / 2
    torch.testing.assert_close(net(images), expected)
    assert expected.std() > 0.05


@torch.no_grad()
def test_a_residual_block_step_by_step():
    net = small_generator()
    block, x = net.tasks["colour"][0], torch.rand(2, 16, 5, 6)
    first, second = (layer for layer in block.modules() if isinstance(layer, nn.Conv2d))

    def step(x, layer):
        x = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        x = nn.functional.conv2d(x, layer.weight, layer.bias)
        var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()

    expected = x + step(step(x, first).relu(), second)
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_tasks_follow_one_another_in_the_order_given():
    net, images = small_generator(), torch.rand(2, 3, 16, 12)
    colour, gogh = net.tasks["colour"], net.tasks["gogh"]
    expected = net.decode(gogh(colour(net.encode(images))))
    assert torch.equal(net(images, "colour", "gogh"), expected)
    alone = [net(images), net(images, "colour"), net(images, "gogh")]
    for other in (*alone, net(images, "gogh", "colour")):
        assert (other - expected).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("size", [(37, 51), (1, 1), (8, 8), (5, 40)])
def test_any_size_comes_back(norm, size):
    output = small_generator(norm)(torch.rand(2, 3, *size), "gogh")
    assert output.shape == (2, 3, *size)
    assert output.min() >= 0 and output.max() <= 1


@torch.no_grad()
def test_instance_norm_does_not_see_a_colour_cast_and_batch_norm_does():
    images = torch.rand(2, 3, 16, 16) / 2
    cast = images + torch.tensor([0.1, 0.3, 0.0]).view(3, 1, 1)
    for norm, seen in (("instance", False), ("batch", True)):
        net = small_generator(norm)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.2)
        difference = (net(images, "colour") - net(cast, "colour")).abs().max()
        assert (difference > 1e-3) if seen else (difference < 1e-4)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_frozen_auto_encoder_stays_the_same_while_a_task_learns(norm):
    net = small_generator(norm).freeze("encoder", "decoder").train()
    assert net.tasks["colour"].training and not net.encoder.training and not net.decoder.training
    before = copy.deepcopy(net.state_dict())
    net(torch.rand(2, 3, 16, 16), "colour").mean().backward()
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    optimiser.step()
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("tasks.colour.") for name in changed)


@pytest.mark.parametrize("name", ["colour", "", "a.b"])
def test_bad_task_names_are_refused(name):
    with pytest.raises(ValueError, match=f"{name!r}"):
        small_generator().add_task(name)


def test_bad_calls_of_a_generator_are_refused():
    net = small_generator()
    with pytest.raises(ValueError, match="'layer'"):
        Generator(norm="layer")
    with pytest.raises(ValueError, match=r"no task 'munch'; tasks are \['colour', 'gogh'\]"):
        net(torch.rand(1, 3, 8, 8), "colour", "munch")
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), not \(1, 1, 8, 8\)"):
        net(torch.rand(1, 1, 8, 8))


# the discriminator


def convolutions(discriminator: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in discriminator if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(("layers", "side"), [(3, 70), (2, 34), (1, 16)])
def test_a_score_sees_the_promised_patch(layers, side):
    """Without norms, whose mean and variance come from all pixels."""
    net = PatchDiscriminator(4, width=4, layers=layers)
    network = nn.Sequential(
        *(part for part in net if not isinstance(part, nn.InstanceNorm2d))
    ).double()
    image = torch.rand(1, 4, 160, 160, dtype=torch.float64, requires_grad=True)
    found = network(image)
    middle = found.shape[-1] // 2
    found[0, 0, middle, middle].backward()
    seen = image.grad[0].abs().sum(0) > 0
    for axis in (0, 1):
        pixels = seen.any(axis).nonzero().flatten()
        assert pixels[0] > 0 and pixels[-1] < 159, "cut off at the border"
        assert pixels[-1] - pixels[0] + 1 == side


@pytest.mark.parametrize(
    ("layers", "widths"),
    [(3, [64, 128, 256, 512]), (2, [64, 128, 256]), (1, [64, 128]),
     (5, [64, 128, 256, 512, 512, 512])],
)  # fmt: skip
def test_channels_are_pix2pix(layers, widths):
    """C64-C128-C256-C512 for 70 px, C64-C128 for 16, C64-C128-C256-C512-C512-C512 for 286."""
    network = PatchDiscriminator(6, layers=layers)
    assert [layer.out_channels for layer in convolutions(network)] == [*widths, 1]
    assert [layer.in_channels for layer in convolutions(network)] == [6, *widths]
    normed = [part.num_features for part in network if isinstance(part, nn.InstanceNorm2d)]
    assert normed == widths[1:]
    kinds = [type(part) for part in network]
    assert kinds[:3] == [nn.Conv2d, nn.LeakyReLU, nn.Conv2d] and kinds[-1] is nn.Conv2d
    assert {part.negative_slope for part in network if isinstance(part, nn.LeakyReLU)} == {0.2}


@torch.no_grad()
@pytest.mark.parametrize(("layers", "side"), [(3, 30), (2, 62), (1, 126)])
def test_one_score_a_patch_and_each_image_by_itself(layers, side):
    network, images = PatchDiscriminator(4, width=4, layers=layers), torch.rand(3, 4, 256, 256)
    together = network(images)
    assert together.shape == (3, 1, side, side)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
