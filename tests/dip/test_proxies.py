"""Scores of untrained networks against hand-made computations."""

import copy

import numpy as np
import pytest
import torch

from lib.dip.network import Architecture, EncoderDecoder
from lib.dip.proxies import parameters, synflow

SMALL = {"width": 4, "skip_width": 2, "upsampling": "nearest"}


def test_synflow_is_the_directional_derivative():
    """Sum of theta dR/dtheta equals d/ds R(s * |theta|) at s = 1, by finite differences.

    The parameters are scaled together, and the statistics of the normalisation stay fixed.
    """
    architecture = Architecture(2, (1,))
    score = synflow(architecture, size=16, channels=1, seed=3, **SMALL)
    torch.manual_seed(3)
    net = EncoderDecoder(architecture, 1, 1, global_residual=True, **SMALL).double().eval()

    def output(scale):
        scaled = copy.deepcopy(net)
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter.copy_(parameter.abs() * scale)
            return float(scaled(torch.ones(1, 1, 16, 16, dtype=torch.float64)).sum())

    step = 1e-5
    derivative = (output(1 + step) - output(1 - step)) / (2 * step)
    assert np.exp(score) == pytest.approx(derivative, rel=1e-6)


def test_synflow_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    synflow(Architecture(1), size=8, channels=1, seed=5, **SMALL)
    assert torch.rand(1) == expected


def test_parameters_grow_with_a_skip():
    plain, bypassed = Architecture(2), Architecture(2, (1,))
    extra = parameters(bypassed, channels=1, **SMALL) - parameters(plain, channels=1, **SMALL)
    # 1x1 skip 4 -> 2, its norm (2 + 2), and 2 more inputs of a 3x3 convolution to 4 channels
    assert extra == 4 * 2 + 4 + 2 * 4 * 9
