"""The encoder-decoder family: its members, their shapes, sizes and connections."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.dip.network import (
    UPSAMPLINGS,
    Architecture,
    EncoderDecoder,
    Layers,
    enumerate_architectures,
    group,
)
from lib.networks.sizes import count_parameters

SOME = [(1, ()), (2, (1,)), (3, (0, 2)), (5, (0, 1, 2, 3, 4))]


def network(depth=2, skips=(0,), inputs=3, outputs=3, residual=False, **layers) -> EncoderDecoder:
    torch.manual_seed(0)
    layers = Layers(**{"width": 6, "skip_width": 2} | layers)
    architecture = Architecture(depth, skips)
    return EncoderDecoder(architecture, inputs, outputs, layers, global_residual=residual)


def test_there_are_510_different_architectures_of_depth_one_to_eight():
    for max_depth, expected in ((1, 2), (2, 6), (5, 62), (8, 510)):
        family = enumerate_architectures(max_depth)
        assert len(family) == expected == sum(2**d for d in range(1, max_depth + 1))
        assert len({(a.depth, a.skips) for a in family}) == expected
        assert len({a.name for a in family}) == expected


@pytest.mark.parametrize(
    ("depth", "skips", "slc"),
    [(1, (), 1), (4, (), 4), (4, (0,), 0), (4, (3,), 3), (4, (3, 1), 1), (8, (2, 5, 7), 2)],
)
def test_slc_is_the_shallowest_skip_or_else_the_depth(depth, skips, slc):
    assert Architecture(depth, skips).slc == slc


def test_the_order_of_the_skips_does_not_matter():
    assert Architecture(4, (3, 0)) == Architecture(4, (0, 3))
    assert Architecture(4, (3, 0)).name == "d4-s03"


@pytest.mark.parametrize(
    ("depth", "skips", "named"),
    [
        (0, (), "0"),
        (-2, (), "-2"),
        (1.5, (), r"1\.5"),
        ("3", (), "'3'"),
        (3, (3,), "skip level 3 .* depth 3"),
        (3, (7,), "skip level 7 .* depth 3"),
        (3, (-1,), "skip level -1"),
        (3, (0.5,), r"skip level 0\.5"),
        (3, (1, 1), r"twice: \(1, 1\)"),
    ],
)
def test_bad_architectures_are_refused_by_value(depth, skips, named):
    with pytest.raises(ValueError, match=named):
        Architecture(depth, skips)


def test_enumeration_refuses_depth_zero():
    with pytest.raises(ValueError, match="0"):
        enumerate_architectures(0)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize(("depth", "skips"), SOME)
@pytest.mark.parametrize("size", [(37, 51), (33, 34), (64, 35)])
def test_any_size_comes_back(depth, skips, size, upsampling):
    net = network(depth, skips, 2, 3, upsampling=upsampling).eval()
    with torch.no_grad():
        output = net(torch.rand(2, 2, *size))
    assert output.shape == (2, 3, *size)
    assert output.min() > 0 and output.max() < 1


def test_an_image_of_two_to_the_depth_is_refused():
    net = network(4, (0,)).eval()
    assert net(torch.rand(1, 3, 17, 17)).shape == (1, 3, 17, 17)
    with pytest.raises(ValueError, match=r"16 x 40 pixels .*d4-s0.* 16 pixels"):
        net(torch.rand(1, 3, 16, 40))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"upsampling": "cubic"}, "'cubic'"),
        ({"width": 0}, "not 0"),
        ({"width": ()}, r"not \(\)"),
        ({"inputs": 4, "residual": True}, "as many input channels"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        network(**options)


def hand_count(depth, skips, inputs, outputs, width, skip_width, upsampling) -> int:
    """From the list of layers: bias-free convolutions, each with a scale and a shift."""

    def unit(into: int, out: int, size: int) -> int:
        return size * size * into * out + 2 * out

    total = width * outputs + outputs
    for level in range(depth):
        outer, below = width if level else inputs, width
        total += unit(outer, width, 3) + unit(width, width, 3)
        if upsampling == "learned":
            total += 4 * width * width
        if level in skips:
            total += unit(outer, skip_width, 1)
            below += skip_width
        total += unit(below, width, 3) + unit(width, width, 1)
    return total


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize(("depth", "skips"), SOME)
def test_parameter_count(depth, skips, upsampling):
    net = network(depth, skips, 2, 3, width=7, skip_width=5, upsampling=upsampling)
    assert count_parameters(net) == hand_count(depth, skips, 2, 3, 7, 5, upsampling)


def test_a_number_counted_by_hand():
    """In 1, width 2: 18 + 4 + 36 + 4 down, 36 + 4 + 4 + 4 up, 2 + 1 head."""
    assert count_parameters(network(1, (), 1, 1, width=2)) == 113


def test_channels_that_grow_are_counted_by_hand():
    """Widths 2, 4, 4, one image channel, a skip of 3 channels at level 1.

    Down 18 + 4 + 36 + 4, 72 + 8 + 144 + 8, twice 144 + 8; skip 6 + 6; up 144 + 8 + 16 + 8,
    252 + 8 + 16 + 8, 72 + 4 + 4 + 4; head 3.
    """
    down, up = (62, 232, 304), (176, 284, 84)
    net = network(3, (1,), 1, 1, width=(2, 4), skip_width=3)
    assert count_parameters(net) == sum(down) + 12 + sum(up) + 3
    assert net(torch.rand(1, 1, 17, 20)).shape == (1, 1, 17, 20)


def test_one_number_is_a_width_for_all_levels():
    same = [network(3, (0, 2), width=width) for width in (6, (6,), (6, 6, 6))]
    image = torch.rand(2, 3, 16, 16)
    assert all(torch.equal(same[0](image), net(image)) for net in same[1:])


def test_global_residual_adds_a_correction_to_the_input():
    image = torch.rand(2, 3, 21, 16)
    net = network(residual=True).eval()
    corrections = []
    net.head.register_forward_hook(lambda *a: corrections.append(a[2]))
    torch.testing.assert_close(net(image), image + corrections[0])
    assert corrections[0].abs().max() > 1e-4
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    assert torch.equal(net(image), image)


def seen_by_the_centre(net: EncoderDecoder) -> torch.Tensor:
    """Which input pixels the central output pixel depends on, (H, W)."""
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    net(image)[0, :, 16, 16].sum().backward()
    return image.grad[0].abs().sum(0) > 0


@pytest.mark.parametrize("skips", [(), (1,), (2,), (1, 2), (0,), (0, 2)])
def test_only_a_skip_at_level_zero_bypasses_the_first_down_step(skips):
    net = network(3, skips).eval()
    assert seen_by_the_centre(net).sum() > 100, "the whole network sees a large field"
    for layer in net.down[0].modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    seen = seen_by_the_centre(net)
    assert seen.any() == (0 in skips)
    if 0 in skips:  # 1x1 skip, 3x3 and 1x1 up: at full resolution nothing else is seen
        assert seen[15:18, 15:18].all() and seen.sum() == 9


def test_the_bypass_carries_the_image_to_the_last_convolution():
    """Without any skip and with nothing from below, a 3x3 field of it is seen."""
    net = network(3, (), bypass=True).eval()
    for layer in net.down[0].modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    seen = seen_by_the_centre(net)
    assert seen[15:18, 15:18].all() and seen.sum() == 9


def test_a_skip_at_level_one_bypasses_the_second_down_step():
    for skips, connected in (((), False), ((2,), False), ((1,), True)):
        net = network(3, skips).eval()
        for layer in net.down[1].modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.weight)
        assert seen_by_the_centre(net).any() == connected


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layers",
    [
        *(Layers(6, 2, upsampling) for upsampling in UPSAMPLINGS),
        Layers((4, 8), 3, "learned", bypass=True),
    ],
    ids=str,
)
def test_a_grouped_network_computes_its_single_networks(layers, training):
    single, images = [], torch.rand(2, 9, 19, 14, dtype=torch.float64)
    for seed in range(3):
        torch.manual_seed(seed)
        net = EncoderDecoder(Architecture(2, (0, 1)), 3, 2, layers).double()
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):  # so that evaluation mode differs as well
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 2)
        single.append(net.train(training))
    grouped = EncoderDecoder(Architecture(2, (0, 1)), 3, 2, layers, problems=3).double()
    grouped.load_state_dict(group(single))
    expected = torch.cat(
        [net(part) for net, part in zip(single, images.chunk(3, 1), strict=True)], 1
    )
    output = grouped.train(training)(images)
    assert output.shape == (2, 6, 19, 14)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    assert (output[:, :2] - output[:, 2:4]).abs().max() > 1e-3
