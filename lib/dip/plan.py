"""Notebook 02: which networks are tried, in which order, and the control experiments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from lib.dip.network import Architecture, enumerate_architectures
from lib.dip.profile import EncoderDecoderStudy
from lib.dip.trials import DipTrial, TrainedTrial

STOPS = ("fixed", "best", "last", "stopped", "ema")


def ladder(depth: int, slc: int) -> Architecture:
    """The plainest network of a depth and an SLC: that one skip, or none if SLC = depth."""
    return Architecture(depth, () if slc == depth else (slc,))


def stratified(max_depth: int, count: int = 0, seed: int = 0) -> list[Architecture]:
    """The family in an order whose every beginning is spread over (depth, SLC).

    Each round takes one network of every stratum that has any left: first the plainest one,
    then random ones. count: how many (0: all).
    """
    rng = np.random.default_rng(seed)
    strata: dict[tuple[int, int], list[Architecture]] = {}
    for architecture in enumerate_architectures(max_depth):
        strata.setdefault((architecture.depth, architecture.slc), []).append(architecture)
    for (depth, slc), members in strata.items():
        rng.shuffle(members)
        members.sort(key=lambda a, plain=ladder(depth, slc): a != plain)
    rounds = max(map(len, strata.values()))
    order = [m[i] for i in range(rounds) for m in strata.values() if i < len(m)]
    return order[: count or None]


def trained_trial(
    profile: EncoderDecoderStudy, architecture: Architecture, seed: int = 0, **changes: object
) -> TrainedTrial:
    """A training trial with the profile's numbers."""
    return TrainedTrial(**_fill(TrainedTrial, profile, architecture, seed) | changes)


def dip_trial(
    profile: EncoderDecoderStudy, architecture: Architecture, seed: int = 0, **changes: object
) -> DipTrial:
    """A Deep Image Prior trial with the profile's numbers."""
    values = _fill(DipTrial, profile, architecture, seed)
    values.pop("lr")  # the profile's is the training's; the prior keeps its authors' 0.01
    return DipTrial(**values | {"images": profile.dip_images} | changes)


def _fill(
    kind: type, profile: EncoderDecoderStudy, architecture: Architecture, seed: int
) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    values = {name: value for name, value in asdict(profile).items() if name in names}
    place = {"depth": architecture.depth, "skips": architecture.skips, "seed": seed}
    return {"task": "denoising", **values, **place}


def main_grid(profile: EncoderDecoderStudy) -> list[tuple[Architecture, int]]:
    """(architecture, seed) pairs in the order they should run: all once, then the repeats."""
    order = stratified(profile.max_depth, profile.architectures)
    repeats = [(a, seed) for seed in range(1, profile.seeds) for a in order[: profile.seeded]]
    return [(a, 0) for a in order] + repeats


def paired_trials(
    profile: EncoderDecoderStudy, grid: Iterable[tuple[Architecture, int]]
) -> tuple[list[TrainedTrial], list[DipTrial]]:
    """Both uses of every network of the grid."""
    grid = list(grid)
    return (
        [trained_trial(profile, architecture, seed) for architecture, seed in grid],
        [dip_trial(profile, architecture, seed) for architecture, seed in grid],
    )


def residual_control(profile: EncoderDecoderStudy) -> list[TrainedTrial]:
    """SLC moved alone at one depth, each network with a global residual."""
    depth = profile.ladder_depth
    rungs = [ladder(depth, slc) for slc in range(depth + 1)]
    return [trained_trial(profile, rung, global_residual=True) for rung in rungs]


def upsampling_control(profile: EncoderDecoderStudy) -> list[DipTrial]:
    """Depth moved alone (skip at level 0), with the upsamplings that the main grid does not use."""
    kinds = [k for k in ("nearest", "bilinear", "learned") if k != profile.upsampling]
    return [
        dip_trial(profile, ladder(depth, 0), upsampling=kind)
        for kind in kinds
        for depth in profile.control_depths
    ]


def inpainting_grid(profile: EncoderDecoderStudy) -> list[Architecture]:
    """A small grid over depth and SLC for the second task."""
    return [
        ladder(depth, slc)
        for depth in profile.control_depths
        for slc in sorted({0, depth // 2, depth})
    ]


def inpainting_trials(profile: EncoderDecoderStudy) -> tuple[list[TrainedTrial], list[DipTrial]]:
    """Both uses of every network of the inpainting grid."""
    grid = inpainting_grid(profile)
    return (
        [trained_trial(profile, a, task="inpainting") for a in grid],
        [dip_trial(profile, a, task="inpainting") for a in grid],
    )
