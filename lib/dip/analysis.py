"""Notebook 02: from the stored records to the numbers that stand for the paper's colour bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.dip.network import Architecture
from lib.dip.plan import STOPS
from lib.dip.profile import EncoderDecoderStudy
from lib.dip.proxies import synflow
from lib.ledger.estimates import (
    Estimate,
    bootstrap,
    eta_null,
    eta_squared,
    mean_interval,
    partial_eta_squared,
    redraw_within,
    spearman,
    spearman_within,
)

AXES = ("trained", *(f"dip_{stop}" for stop in STOPS))
FACTORS = ("depth", "slc")


def pair_scores(trained: pd.DataFrame, dip: pd.DataFrame) -> pd.DataFrame:
    """One row for each (architecture, seed) that has both scores, as RMSE.

    Columns: name, depth, slc, skips, seed, trained, dip_fixed, dip_best, ..., parameters.
    Raises ValueError if there is no such pair.
    """
    good = [table[table["status"] == "ok"] if len(table) else table for table in (trained, dip)]
    if not all(map(len, good)):
        raise ValueError("no finished pair of trained and Deep Image Prior scores in the store")
    left, right = (table.assign(name=list(map(_name, table.depth, table.skips))) for table in good)
    columns = ["name", "depth", "slc", "seed", "rmse", "parameters"]
    right = right[["name", "seed", *(f"{stop}_rmse" for stop in STOPS)]]
    both = left[columns].merge(right, on=["name", "seed"], validate="one_to_one")
    names = {f"{stop}_rmse": f"dip_{stop}" for stop in STOPS} | {"rmse": "trained"}
    return both.rename(columns=names)


def _name(depth: int, skips: Sequence[int]) -> str:
    return Architecture(int(depth), tuple(skips)).name


def by_architecture(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds: one row an architecture, the unit of every statistic here."""
    keys = ["name", "depth", "slc", "parameters"]
    means = scores.groupby(keys, as_index=False)[list(AXES)].mean()
    return means.merge(scores.groupby("name").size().rename("seeds").reset_index(), on="name")


def seed_spread(scores: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation over seeds next to that over architectures, for each axis."""
    repeated = scores[scores.groupby("name")["seed"].transform("size") > 1]
    if repeated.empty:
        return pd.DataFrame(columns=["axis", "between seeds", "between architectures", "n"])
    groups = repeated.groupby("name")[list(AXES)]
    rows = {
        "between seeds": np.sqrt(groups.var().mean()),
        "between architectures": groups.mean().std(),
    }
    table = pd.DataFrame(rows).rename_axis("axis").reset_index()
    return table.assign(n=len(groups))


def eta_table(rows: pd.DataFrame, draws: int = 1000) -> pd.DataFrame:
    """Eta squared of depth and SLC on every axis, with interval, chance level and partial eta."""
    table = []
    for axis in AXES:
        for factor, other in (FACTORS, FACTORS[::-1]):
            eta = bootstrap(
                lambda r, axis=axis, factor=factor: eta_squared(r, axis, factor), rows, draws=draws
            )
            table.append(
                {
                    "axis": axis,
                    "factor": factor,
                    "eta_squared": eta.value,
                    "ci_low": eta.low,
                    "ci_high": eta.high,
                    "chance": eta_null(rows, factor),
                    "given_other": partial_eta_squared(rows, axis, factor, other),
                    "n": eta.n,
                }
            )
    return pd.DataFrame(table)


def partial_advantage(rows: pd.DataFrame, axis: str, factor: str) -> Estimate:
    """By how much ``factor`` explains more of an axis, given the other, than the other way."""
    other = FACTORS[1 - FACTORS.index(factor)]

    def advantage(r: pd.DataFrame) -> float:
        return partial_eta_squared(r, axis, factor, other) - partial_eta_squared(
            r, axis, other, factor
        )

    return bootstrap(advantage, rows)


def correlations(rows: pd.DataFrame, axis: str = "dip_fixed") -> dict[str, Estimate]:
    """Rank correlation of the two uses: overall, and with depth or SLC held fixed."""
    return {
        "overall": bootstrap(lambda r: spearman(r, axis, "trained"), rows),
        "within depth": bootstrap(lambda r: spearman_within(r, axis, "trained", "depth"), rows),
        "within SLC": bootstrap(lambda r: spearman_within(r, axis, "trained", "slc"), rows),
    }


def surrogate(
    rows: pd.DataFrame, rng: np.random.Generator, axis: str, linked: bool
) -> pd.DataFrame:
    """The paper's explanation as a random world.

    Trained error knows SLC alone and the prior's error knows depth alone: each network gets the
    trained error of a random one of its SLC, and the other score of a random one of its depth.
    linked: keep SLC <= depth as it is; otherwise depth is shuffled, and the family could have
    shallow networks with a large SLC.
    """
    depth = rows["depth"] if linked else pd.Series(rng.permutation(rows["depth"].to_numpy()))
    by_depth = {level: group.to_numpy() for level, group in rows.groupby("depth")[axis]}
    scores = [rng.choice(by_depth[level]) for level in depth]
    trained = redraw_within(rows["trained"], rows["slc"], rng)
    return pd.DataFrame({axis: scores, "trained": trained, "depth": depth.to_numpy()})


def corner_share(rows: pd.DataFrame, axis: str, limits: tuple[float, float]) -> float:
    """Share of the networks in the upper right corner: both errors above the limits."""
    return float(((rows["trained"] > limits[0]) & (rows[axis] > limits[1])).mean())


def corner_limits(rows: pd.DataFrame, axis: str) -> tuple[float, float]:
    """The corner: trained error in its worst third, the prior's in its worst third."""
    return tuple(rows[["trained", axis]].quantile(2 / 3))


def explain_corner(
    rows: pd.DataFrame, axis: str = "dip_fixed", draws: int = 500, seed: int = 0
) -> pd.DataFrame:
    """Correlation and corner share in random worlds with and without SLC <= depth."""
    rng = np.random.default_rng(seed)
    limits = corner_limits(rows, axis)
    worlds = []
    for linked in (True, False):
        for _ in range(draws):
            world = surrogate(rows, rng, axis, linked)
            worlds.append(
                {
                    "SLC <= depth": "kept" if linked else "broken",
                    "correlation": spearman(world, axis, "trained"),
                    "corner": corner_share(world, axis, limits),
                }
            )
    return pd.DataFrame(worlds)


def unexplained_correlation(rows: pd.DataFrame, axis: str = "dip_fixed") -> Estimate:
    """Observed correlation minus the one that SLC <= depth alone would make."""
    rng = np.random.default_rng(0)

    def excess(r: pd.DataFrame) -> float:
        r = r.reset_index(drop=True)
        alone = np.mean(
            [spearman(surrogate(r, rng, axis, True), axis, "trained") for _ in range(3)]
        )
        return float(spearman(r, axis, "trained") - alone)

    return bootstrap(excess, rows, draws=300)


def proxy_table(rows: pd.DataFrame, profile: EncoderDecoderStudy) -> pd.DataFrame:
    """How well scores that need no training rank the networks by their trained error."""
    network = {
        "width": profile.width,
        "skip_width": profile.skip_width,
        "upsampling": profile.upsampling,
    }
    options = {"size": profile.patch, "channels": profile.channels, "seed": 0, **network}
    scores = rows.assign(synflow=[synflow(parse(name), **options) for name in rows["name"]])
    proxies = ["parameters", "synflow", "depth", "slc", *AXES[1:]]
    table = []
    for proxy in proxies:
        rank = bootstrap(lambda r, proxy=proxy: spearman(r, proxy, "trained"), scores)
        table.append(
            {
                "proxy": proxy,
                "spearman": rank.value,
                "ci_low": rank.low,
                "ci_high": rank.high,
                "n": rank.n,
            }
        )
    return pd.DataFrame(table)


def parse(name: str) -> Architecture:
    """The architecture of a label such as ``d4-s02``."""
    depth, _, levels = name.removeprefix("d").partition("-s")
    return Architecture(int(depth), () if levels == "-" else tuple(map(int, levels)))


def spread_ratio(plain: pd.DataFrame, changed: pd.DataFrame) -> Estimate:
    """Range of the trained error over the rungs of a ladder, changed against plain.

    The unit is the test image: each gives one ratio. 1: no change; 0: the effect is gone.
    """
    spans = [
        np.ptp(np.stack(table.sort_values("slc")["rmse_images"].map(np.asarray)), axis=0)
        for table in (plain, changed)
    ]
    return mean_interval(spans[1] / spans[0])
