"""Counts of stored numbers against counts by hand and against the state that is saved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.networks.sizes import count_values, count_weights, mib, pad_to_multiple


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3),
        nn.BatchNorm2d(5),
        nn.ConvTranspose2d(5, 2, 2, bias=False),
        nn.InstanceNorm2d(2),
        nn.GroupNorm(1, 2),
        nn.Linear(4, 3),
    )


def test_kinds_counted_by_hand():
    found = count_values(network())
    expected = {"weights": 135 + 40, "biases": 5, "norms": 10 + 4, "statistics": 10, "other": 15}
    assert found == expected
    assert count_weights(network()) == 175


def test_all_kinds_together_are_the_saved_state():
    net = network()
    floats = [value for value in net.state_dict().values() if value.is_floating_point()]
    assert sum(count_values(net).values()) == sum(value.numel() for value in floats)


def test_a_layer_that_is_met_twice_counts_once():
    net = network()
    assert count_weights(net, net[0]) == count_weights(net)
    assert count_weights(net[0], net[2]) == 175


def test_sizes_in_mib():
    assert mib(2**20) == 4
    assert mib(2**20, bits=1) == 0.125


@pytest.mark.parametrize(
    ("size", "multiple", "least", "padded"),
    [((37, 51), 16, 1, (48, 64)), ((1, 5), 4, 8, (8, 8)), ((9, 3), 4, 8, (12, 8))],
)
def test_padding_repeats_the_border(size, multiple, least, padded):
    images = torch.rand(2, 3, *size)
    found = pad_to_multiple(images, multiple, least)
    assert found.shape == (2, 3, *padded)
    assert torch.equal(found[..., : size[0], : size[1]], images)
    assert torch.equal(found[..., -1, -1], images[..., -1, -1])
    assert torch.equal(found[..., 0, -1], images[..., 0, -1])


def test_a_multiple_is_left_alone_and_nothing_is_refused():
    images = torch.rand(1, 1, 16, 32)
    assert pad_to_multiple(images, 16) is images
    with pytest.raises(ValueError, match="0 x 7 pixels"):
        pad_to_multiple(torch.rand(1, 1, 0, 7), 16)
