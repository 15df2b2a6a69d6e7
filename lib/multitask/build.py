"""Multi-task networks by name, from a seed, and of a wanted number of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lib.engine.seeding import seeded
from lib.multitask.networks import HardSharing, Independent, MultiTask, Separation
from lib.multitask.rivals import MTAN, CrossStitch
from lib.networks.sizes import count_parameters

NETWORKS = {
    "hard sharing": HardSharing,
    "independent": Independent,
    "separation": Separation,
    "cross-stitch": CrossStitch,
    "mtan": MTAN,
}


def multitask_network(
    name: str, tasks: Mapping[str, int], *, seed: int, **options: object
) -> MultiTask:
    """A network of ``NETWORKS`` with random weights of a seed; ValueError for another name.

    Kinds begin differently: a stream must not resemble another network's for its first weights.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {tuple(NETWORKS)}, not {name!r}")
    with seeded(seed + 1_000_003 * list(NETWORKS).index(name)):
        return NETWORKS[name](tasks, **options)


def matched_widths(
    tasks: Mapping[str, int], target: int, *, widths: tuple[int, ...], size: int, hidden: int
) -> tuple[int, ...]:
    """The widths, all times one factor, that bring hard sharing nearest to ``target`` weights."""

    def wider(step: int) -> tuple[int, ...]:
        return tuple(max(1, round(width * step / 100)) for width in widths)

    def distance(step: int) -> int:
        network = HardSharing(tasks, widths=wider(step), size=size, hidden=hidden)
        return abs(count_parameters(network) - target)

    with torch.device("meta"):
        return wider(min(range(50, 500, 2), key=distance))
