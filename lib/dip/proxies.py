"""Cheap scores of an architecture that need no training, to compare Deep Image Prior with."""

from __future__ import annotations

import torch

from lib.dip.network import Architecture, EncoderDecoder
from lib.engine.seeding import seeded
from lib.networks.sizes import count_parameters


def synflow(architecture: Architecture, *, size: int, channels: int, seed: int, **network) -> float:
    """Natural logarithm of the synaptic-flow score at initialisation.

    Sum over the parameters of |theta * dR/dtheta|, R the summed output for an image of ones with
    every parameter replaced by its absolute value: Tanaka, Kunin, Yamins, Ganguli, "Pruning
    neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020, eq. 2.
    Normalisation acts with its initial statistics (none), and R is taken before the sigmoid.
    """
    with seeded(seed):
        # a global residual leaves the sigmoid out; the image added has no parameter in it
        net = EncoderDecoder(architecture, channels, channels, global_residual=True, **network)
    net = net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    net(torch.ones(1, channels, size, size, dtype=torch.float64)).sum().backward()
    flows = [(p * p.grad).abs().sum() for p in net.parameters() if p.grad is not None]
    return torch.stack(flows).sum().log().item()


def parameters(architecture: Architecture, *, channels: int, **network) -> int:
    """Number of trained values of the network that restores images."""
    return count_parameters(EncoderDecoder(architecture, channels, channels, **network))
