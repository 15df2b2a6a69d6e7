"""Notebook 02: from the stored records to the numbers that stand for the paper's colour bands."""

from collections.abc import Mapping
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from lib.dip.network import Architecture, EncoderDecoder, Layers
from lib.dip.trials import STOPS, EncoderDecoderStudy
from lib.engine.artefacts import NotStored
from lib.engine.training import seeded
from lib.ledger import estimates
from lib.ledger.estimates import Estimate, bootstrap, eta_squared, partial_eta_squared, spearman
from lib.ledger.tables import Tables, estimate_table, stored_estimate

AXES = ("trained", *(f"dip_{stop}" for stop in STOPS))
FACTORS = ("depth", "slc")


def pair_scores(trained: pd.DataFrame, dip: pd.DataFrame) -> pd.DataFrame:
    """One row for each (architecture, seed) that has both scores, as RMSE; ValueError for none.

    trained: the mean over the photographs that the prior was fitted to, the first of the test set;
    trained_all: that over the whole test set.
    """
    both = _both(trained, dip)
    common = zip(both["rmse_images"], both["fixed_rmse_images"], strict=True)
    both["trained"] = [float(np.mean(errors[: len(fitted)])) for errors, fitted in common]
    names = {f"{stop}_rmse": f"dip_{stop}" for stop in STOPS} | {"rmse": "trained_all"}
    columns = ["name", "depth", "slc", "seed", "parameters", "trained_all", *AXES]
    return both.rename(columns=names)[columns]


def _both(trained: pd.DataFrame, dip: pd.DataFrame) -> pd.DataFrame:
    """Rows of the networks that were trained and fitted, with the errors of each photograph."""
    named = []
    for table in (trained, dip):
        if table.empty:
            raise ValueError("no finished trial of one of the two uses in the store")
        good = table[table["status"] == "ok"]
        places = zip(good["depth"], good["skips"], strict=True)
        names = [Architecture(int(depth), tuple(skips)).name for depth, skips in places]
        named.append(good.assign(name=names))
    left, right = named
    columns = ["name", "depth", "slc", "seed", "rmse", "rmse_images", "parameters"]
    right = right[["name", "seed", "fixed_rmse_images", *(f"{stop}_rmse" for stop in STOPS)]]
    both = left[columns].merge(right, on=["name", "seed"], validate="one_to_one")
    if both.empty:
        raise ValueError("no finished pair of trained and Deep Image Prior scores in the store")
    return both


def photograph_agreement(trained: pd.DataFrame, dip: pd.DataFrame) -> pd.DataFrame:
    """How far the photographs agree in their order of the networks: a row a pair of rankings.

    The last rows are the two uses on one photograph. Columns use, pair, then Spearman's rank
    correlation as value, low, high and n. The networks are those of seed 0; the photographs are
    those that the prior was fitted to, counted from 1.
    """
    both = _both(trained, dip).query("seed == 0")
    fitted, restored = (np.stack(both[f"{use}rmse_images"].tolist()) for use in ("fixed_", ""))
    count = fitted.shape[1]
    pairs = [
        (use, f"photograph {i + 1} and {j + 1}", errors[:, i], errors[:, j])
        for use, errors in (("trained", restored), ("prior, fixed iteration", fitted))
        for i, j in combinations(range(count), 2)
    ]
    means = restored[:, :count].mean(1), restored.mean(1)
    pairs.append(("trained", f"these {count} and all {restored.shape[1]}", *means))
    pairs += [
        ("prior and trained", f"photograph {i + 1}", fitted[:, i], restored[:, i])
        for i in range(count)
    ]
    rank = partial(spearman, x="x", y="y")
    ranks = ((*names, bootstrap(rank, pd.DataFrame({"x": x, "y": y}))) for *names, x, y in pairs)
    return estimate_table(["use", "pair"], ranks)


def answer_errors(answers: pd.DataFrame, count: int) -> dict[str, float]:
    """RMSE of every trivial answer, mean over the first ``count`` test photographs."""
    rows = zip(answers["answer"], answers["rmse_images"], strict=True)
    return {answer: float(np.mean(errors[:count])) for answer, errors in rows}


def by_architecture(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds: one row an architecture, the unit of every statistic here."""
    groups = scores.groupby(["name", "depth", "slc", "parameters"])
    means = groups[["trained_all", *AXES]].mean()
    return means.assign(seeds=groups.size()).reset_index()


def as_family(rows: pd.DataFrame) -> pd.DataFrame:
    """The networks repeated so that every cell of depth and SLC weighs as much as in the family.

    A cell has 2^(depth - SLC - 1) members, one where SLC = depth. A network is repeated 100 times
    for each of the members that it stands for, rounded.
    """
    members = 2.0 ** (rows["depth"] - rows["slc"] - 1).clip(lower=0)
    run = rows.groupby(list(FACTORS))["name"].transform("size")
    return rows.loc[rows.index.repeat((100 * members / run).round().astype(int))]


def weighted_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The main numbers of the networks that were run, and weighted as the whole family is."""

    def numbers(table: pd.DataFrame) -> dict[str, float]:
        values = {"share with SLC 0": float((table["slc"] == 0).mean())}
        for axis in ("dip_fixed", "dip_stopped"):
            values[f"Spearman's ρ, {axis}"] = spearman(table, axis, "trained")
        for axis in ("trained", "dip_fixed", "dip_stopped"):
            for factor in FACTORS:
                values[f"η² of {factor}, {axis}"] = eta_squared(table, axis, factor)
        return values

    both = {"as run": numbers(rows), "as in the family": numbers(as_family(rows))}
    return pd.DataFrame(both).rename_axis("number").reset_index()


def seed_spread(scores: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation over seeds next to that over architectures, for each axis.

    Raises NotStored where no network has two seeds.
    """
    repeated = scores[scores.groupby("name")["seed"].transform("size") > 1]
    if repeated.empty:
        raise NotStored("no network was run with two seeds")
    groups = repeated.groupby("name")[list(AXES)]
    within, between = np.sqrt(groups.var().mean()), groups.mean().std()
    spread = pd.DataFrame({"between seeds": within, "between architectures": between})
    return spread.rename_axis("axis").reset_index().assign(n=len(groups))


def eta_table(rows: pd.DataFrame, draws: int = 1000) -> pd.DataFrame:
    """Share of every axis's variance between the levels of depth and of SLC.

    given_other: the share of what the other factor leaves.
    """
    table = []
    for axis in AXES:
        for factor, other in (FACTORS, FACTORS[::-1]):
            share = above_chance(rows, axis, factor, draws)
            total = eta_squared(rows, axis, factor)
            given = partial_eta_squared(rows, axis, factor, other)
            row = (axis, factor, total, share.value, share.low, share.high, given, share.n)
            table.append(row)
    columns = "axis factor eta_squared above_chance low high given_other n".split()
    return pd.DataFrame(table, columns=columns)


def above_chance(rows: pd.DataFrame, axis: str, factor: str, draws: int = 1000) -> Estimate:
    """Epsilon squared: eta squared beyond that of random levels, over what those leave of 1.

    With its 95 % interval. Each draw of the bootstrap is made once more with the levels in a random
    order: a bootstrap repeats rows, and so it raises the eta squared of any levels.
    """
    rng = np.random.default_rng(0)
    levels, count = rows[factor].to_numpy(), len(rows)

    def shares(places: np.ndarray) -> tuple[float, float]:
        real = pd.DataFrame({axis: rows[axis].to_numpy()[places], factor: levels[places]})
        chance = real.assign(**{factor: rng.permutation(levels)[places]})
        return eta_squared(real, axis, factor), eta_squared(chance, axis, factor)

    drawn = np.array([shares(rng.integers(count, size=count)) for _ in range(draws)])
    chance = drawn[:, 1].mean()
    low, high = np.quantile(drawn[:, 0], [(1 - estimates.LEVEL) / 2, (1 + estimates.LEVEL) / 2])
    null = estimates.eta_null(rows, factor)
    value = (eta_squared(rows, axis, factor) - null) / (1 - null)
    low, high = ((end - chance) / (1 - chance) for end in (low, high))
    return Estimate(float(value), float(low), float(high), count)


def correlations(rows: pd.DataFrame, axis: str = "dip_fixed") -> dict[str, Estimate]:
    """Rank correlation of the two uses: overall, and with depth, SLC or both held fixed."""
    within = partial(estimates.spearman_within, x=axis, y="trained")
    both = rows.assign(both=rows["depth"].astype(str) + "/" + rows["slc"].astype(str))
    return {
        "overall": bootstrap(partial(spearman, x=axis, y="trained"), rows),
        "within depth": bootstrap(partial(within, group="depth"), rows),
        "within SLC": bootstrap(partial(within, group="slc"), rows),
        "within both": bootstrap(partial(within, group="both"), both),
    }


def surrogate(
    rows: pd.DataFrame, rng: np.random.Generator, axis: str, linked: bool
) -> pd.DataFrame:
    """The paper's explanation as a random world.

    Trained error knows SLC alone and the prior's error depth alone: each network gets the trained
    error of a random one of its SLC, and the other of a random one of its depth. linked: keep
    SLC <= depth as it is; otherwise depth is shuffled, and shallow networks could have a large SLC.
    """
    depth = rows["depth"].to_numpy()
    depth = depth if linked else rng.permutation(depth)
    by_depth = {level: group.to_numpy() for level, group in rows.groupby("depth")[axis]}
    scores = [rng.choice(by_depth[level]) for level in depth]
    trained = estimates.redraw_within(rows["trained"], rows["slc"], rng)
    return pd.DataFrame({axis: scores, "trained": trained})


def corner_limits(rows: pd.DataFrame, axis: str) -> tuple[float, float]:
    """Where the corner begins: the worst third of the trained and of the prior's error."""
    return tuple(rows[["trained", axis]].quantile(2 / 3))


def explain_corner(
    rows: pd.DataFrame, axis: str = "dip_fixed", draws: int = 500
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Correlation and share in the corner: of random worlds, and of the real one.

    SLC <= depth is kept in half of the worlds. In the corner both errors are above their limits.
    """
    rng = np.random.default_rng(0)
    across, up = corner_limits(rows, axis)

    def measured(world: pd.DataFrame) -> dict[str, float]:
        corner = (world["trained"] > across) & (world[axis] > up)
        return {"correlation": spearman(world, axis, "trained"), "corner": float(corner.mean())}

    links = ["kept"] * draws + ["broken"] * draws
    worlds = [measured(surrogate(rows, rng, axis, linked=link == "kept")) for link in links]
    return pd.DataFrame({"SLC <= depth": links}).join(pd.DataFrame(worlds)), measured(rows)


def proxy_table(rows: pd.DataFrame, sizes: EncoderDecoderStudy) -> pd.DataFrame:
    """How well scores that need no training rank the networks by their trained error."""
    look = {"size": sizes.patch, "channels": sizes.channels, "seed": 0}
    flows = [synflow(parse(name), sizes.layers, **look) for name in rows["name"]]
    scores = rows.assign(synflow=flows)
    ranks = {
        proxy: bootstrap(partial(spearman, x=proxy, y="trained"), scores)
        for proxy in ("parameters", "synflow", *FACTORS, *AXES[1:])
    }
    columns = {"value": "spearman", "low": "ci_low", "high": "ci_high"}
    table = pd.DataFrame(ranks.values(), index=list(ranks)).rename(columns=columns)
    return table.rename_axis("proxy").reset_index()


def synflow(
    architecture: Architecture, layers: Layers, *, size: int, channels: int, seed: int
) -> float:
    """Natural logarithm of the synaptic-flow score at initialisation.

    Sum over the parameters of |theta * dR/dtheta|, R the summed output before the sigmoid for an
    image of ones with every parameter replaced by its absolute value and without normalisation:
    Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively
    conserving synaptic flow", NeurIPS 2020, eq. 2.
    """
    with seeded(seed):
        # a global residual leaves the sigmoid out; the image added has no parameter in it
        net = EncoderDecoder(architecture, channels, channels, layers, global_residual=True)
    net = net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    net(torch.ones(1, channels, size, size, dtype=torch.float64)).sum().backward()
    flows = [(p * p.grad).abs().sum() for p in net.parameters() if p.grad is not None]
    return torch.stack(flows).sum().log().item()


def parse(name: str) -> Architecture:
    """The architecture of a label such as ``d4-s02``."""
    depth, _, levels = name.removeprefix("d").partition("-s")
    return Architecture(int(depth), () if levels == "-" else tuple(map(int, levels)))


def residual_images(rungs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a rung of the ladder, path and test photograph: path, slc, image, rmse, noisy."""
    rows = [
        (path, rung.slc, image, rmse, rung.trivial_rmse)
        for path, table in rungs.items()
        for rung in table.sort_values("slc").itertuples()
        for image, rmse in enumerate(rung.rmse_images)
    ]
    return pd.DataFrame(rows, columns=["path", "slc", "image", "rmse", "noisy"])


# The quantities of claims.yaml. They take the tables that the notebook saves.


def explained(tables: Tables, axis: str, factor: str) -> Estimate:
    """Share of an axis's variance between a factor's levels, above chance."""
    columns = ("above_chance", "low", "high", "n")
    return stored_estimate(tables, "eta_squared", {"axis": axis, "factor": factor}, columns)


def advantage(tables: Tables, axis: str, factor: str) -> Estimate:
    """By how much ``factor`` explains more of an axis, given the other, than the other way."""
    other = FACTORS[1 - FACTORS.index(factor)]

    def more(rows: pd.DataFrame) -> float:
        share = partial_eta_squared(rows, axis, factor, other)
        return share - partial_eta_squared(rows, axis, other, factor)

    return bootstrap(more, tables.rows("architectures", axis, *FACTORS))


def correlation(tables: Tables, axis: str, held: str) -> Estimate:
    """Rank correlation of an axis with the trained error, with something held fixed."""
    return stored_estimate(tables, "correlation", {"axis": axis, "held fixed": held})


def unexplained(tables: Tables, axis: str, explained: bool = True) -> Estimate:
    """Correlation beyond what SLC <= depth alone makes; all of it if nothing is ``explained``."""
    if not explained:
        return correlation(tables, axis, "overall")
    rng = np.random.default_rng(0)

    def excess(drawn: pd.DataFrame) -> float:
        drawn = drawn.reset_index(drop=True)
        worlds = [surrogate(drawn, rng, axis, linked=True) for _ in range(3)]
        alone = np.mean([spearman(world, axis, "trained") for world in worlds])
        return float(spearman(drawn, axis, "trained") - alone)

    return bootstrap(excess, tables.rows("architectures", axis, *FACTORS), draws=300)


def residual_share(tables: Tables, path: str = "global residual") -> Estimate:
    """Noise that networks with a path around all remove at SLC >= 1, over that at SLC 0.

    One share for each test photograph, which is the unit.
    """
    rows = tables.rows("residual_images", "slc", "image", "rmse", "noisy", path=path)
    removed = (rows["noisy"] - rows["rmse"]).groupby([rows["slc"] > 0, rows["image"]]).mean()
    return estimates.mean_interval((removed.loc[True] / removed.loc[False]).to_numpy())
