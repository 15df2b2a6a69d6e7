"""The auto-encoder against CycleGAN's published layers, and tasks that keep to themselves."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.continual.generator import Generator
from lib.networks.sizes import count_values, count_weights


def small(norm: str = "instance", **options) -> Generator:
    net = Generator(width=4, norm=norm, **options)
    net.add_task("colour", blocks=2, seed=1)
    net.add_task("gogh", blocks=3, seed=2)
    return net.eval()


def test_the_papers_counts():
    with torch.device("meta"):
        net = Generator()
        blocks = net.add_task("colour")
    assert count_weights(blocks) == 7_077_888
    assert len(blocks) == 6
    whole = nn.ModuleList((net.encoder, net.decoder))
    assert sum(count_values(whole).values()) == 756_739
    assert count_weights(whole) == 756_096
    assert count_values(net)["norms"] == count_values(net)["statistics"] == 0


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
    net = small(norm)
    reference = published(4, {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}[norm]).eval()
    values = [*net.encoder.parameters(), *net.decoder.parameters()]
    for own, other in zip(values, reference.parameters(), strict=True):
        other.copy_(nn.init.normal_(own, std=0.2 if norm == "instance" else 0.5))
    images = torch.rand(2, 3, 24, 16)
    expected = (reference(images * 2 - 1) + 1) / 2
    torch.testing.assert_close(net(images), expected)
    assert expected.std() > 0.05


@torch.no_grad()
def test_a_residual_block_step_by_step():
    net = small()
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
    net, images = small(), torch.rand(2, 3, 16, 12)
    colour, gogh = net.tasks["colour"], net.tasks["gogh"]
    expected = net.decode(gogh(colour(net.encode(images))))
    assert torch.equal(net(images, "colour", "gogh"), expected)
    alone = [net(images), net(images, "colour"), net(images, "gogh")]
    for other in (*alone, net(images, "gogh", "colour")):
        assert (other - expected).abs().max() > 1e-3


@torch.no_grad()
def test_a_task_knows_nothing_of_another():
    net, images = small(), torch.rand(1, 3, 16, 16)
    before = net(images, "colour"), net(images)
    for value in net.tasks["gogh"].parameters():
        nn.init.normal_(value)
    net.add_task("munch")
    assert torch.equal(net(images, "colour"), before[0])
    assert torch.equal(net(images), before[1])


@torch.no_grad()
def test_blocks_move_between_networks_by_their_state():
    net, images = small(), torch.rand(1, 3, 16, 16)
    other = Generator(width=4)
    other.add_task("borrowed", blocks=2, seed=9).load_state_dict(net.tasks["colour"].state_dict())
    assert torch.equal(other.eval()(images, "borrowed"), net(images, "colour"))


@torch.no_grad()
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("size", [(37, 51), (1, 1), (8, 8), (5, 40)])
def test_any_size_comes_back(norm, size):
    output = small(norm)(torch.rand(2, 3, *size), "gogh")
    assert output.shape == (2, 3, *size)
    assert output.min() >= 0 and output.max() <= 1


def test_other_channels_in_and_out():
    net = Generator(1, 2, width=2)
    assert net(torch.rand(1, 1, 8, 8)).shape == (1, 2, 8, 8)


@torch.no_grad()
def test_instance_norm_does_not_see_a_colour_cast_and_batch_norm_does():
    images = torch.rand(2, 3, 16, 16) / 2
    cast = images + torch.tensor([0.1, 0.3, 0.0]).view(3, 1, 1)
    for norm, seen in (("instance", False), ("batch", True)):
        net = small(norm)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.2)
        difference = (net(images, "colour") - net(cast, "colour")).abs().max()
        assert (difference > 1e-3) if seen else (difference < 1e-4)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_frozen_auto_encoder_stays_the_same_while_a_task_learns(norm):
    net = small(norm).freeze().train()
    assert net.tasks["colour"].training and not net.encoder.training and not net.decoder.training
    before = copy.deepcopy(net.state_dict())
    net(torch.rand(2, 3, 16, 16), "colour").mean().backward()
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    optimiser.step()
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("tasks.colour.") for name in changed)


def test_without_freezing_the_auto_encoder_learns():
    net = small("batch").train()
    before = copy.deepcopy(net.encoder.state_dict())
    net(torch.rand(2, 3, 16, 16))
    changed = [
        name for name, value in net.encoder.state_dict().items() if (value != before[name]).any()
    ]
    assert any("running_mean" in name for name in changed)


def test_the_seed_alone_decides_the_weights():
    random = torch.random.get_rng_state()
    first, again, other = small(seed=5), small(seed=5), small(seed=6)
    assert torch.equal(torch.random.get_rng_state(), random)
    a, b, c = (net.encoder[0].weight for net in (first, again, other))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert not torch.equal(
        a, Generator(width=4, seed=5).add_task("x")[0].residual[0].weight[:4, :3]
    )
    colour, gogh = (
        net.residual[0].weight for net in (first.tasks["colour"][0], first.tasks["gogh"][0])
    )
    assert not torch.equal(colour, gogh)
    spread = float(Generator(width=64).encoder[3].weight.detach().std())
    assert spread == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"in_channels": 0}, "in_channels must be at least 1, not 0"),
        ({"out_channels": -1}, "out_channels must be at least 1, not -1"),
        ({"norm": "layer"}, "'layer'"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        Generator(**options)


@pytest.mark.parametrize("name", ["colour", "", "a.b"])
def test_bad_task_names_are_refused(name):
    with pytest.raises(ValueError, match=f"{name!r}"):
        small().add_task(name)


def test_bad_calls_are_refused():
    net = small()
    with pytest.raises(ValueError, match=r"no task 'munch'; tasks are \['colour', 'gogh'\]"):
        net(torch.rand(1, 3, 8, 8), "colour", "munch")
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), not \(1, 1, 8, 8\)"):
        net(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="at least 1 residual block, not 0"):
        net.add_task("munch", blocks=0)
