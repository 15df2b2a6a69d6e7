"""Intervals, effect sizes and rank correlations: thin over numpy, pandas and scipy."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95  # of all intervals, and of tests
RESAMPLES = 50_000  # of a permutation test, which is exact where there are fewer orders


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and the count of independent things behind it.

    log: the interval is symmetric on the scale of logarithms, as that of a ratio is.
    p: of an exact test that the number is 0, where an interval of so few would mislead.
    """

    value: float
    low: float
    high: float
    n: int
    log: bool = False
    p: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"

    def on_scale(self, value: float) -> float:
        """A number on the scale on which the interval is symmetric; -inf for a ratio of 0."""
        with np.errstate(divide="ignore"):
            return float(np.log(value)) if self.log else value

    @property
    def half_width(self) -> float:
        return (self.on_scale(self.high) - self.on_scale(self.low)) / 2

    @property
    def std(self) -> float:
        """Standard deviation of one of the n, on the interval's scale, if it is a t interval."""
        return self.half_width * np.sqrt(self.n) / _t_limit(self.n - 1)

    def p_of(self, border: float) -> float:
        """Two-sided p of the hypothesis that the quantity is ``border``; 1 for a single value."""
        if self.p is not None:
            return self.p
        if self.n < 2 or not np.isfinite(self.half_width):
            return 1.0
        if not self.half_width:
            return float(self.value == border)
        distance = abs(self.on_scale(self.value) - self.on_scale(border))
        statistic = distance / (self.half_width / _t_limit(self.n - 1))
        return float(2 * stats.t.sf(statistic, self.n - 1))


def _t_limit(freedom: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def bootstrap(
    statistic: Callable[[pd.DataFrame], float], rows: pd.DataFrame, *, draws: int = 1000
) -> Estimate:
    """Percentile bootstrap of a statistic of a table, whose rows must be the independent units.

    Draws in which the statistic is undefined are left out; raises ValueError if that is more than
    a tenth of them.
    """
    rng, count = np.random.default_rng(0), len(rows)
    values = [statistic(rows.iloc[rng.integers(count, size=count)]) for _ in range(draws)]
    finite = np.asarray(values)[np.isfinite(values)]
    if len(finite) < 0.9 * draws:
        raise ValueError(f"the statistic is undefined in {draws - len(finite)} of {draws} draws")
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(rows)), float(low), float(high), count)


def crossed_interval(values: np.ndarray) -> Estimate:
    """Mean of (runs, items) values for runs that were tried on the same items, with a t interval.

    Runs and items are random and crossed, as seeds and test images: variances of the run means and
    of the item means add up, less what they both contain of the rest; degrees of freedom by
    Satterthwaite. n is the number of runs; with one the interval is that of the items alone.
    """
    values = np.asarray(values, dtype=float)
    runs, items = values.shape
    mean = float(values.mean())
    if runs == 1:
        return replace(mean_interval(values[0]), n=1)
    by_run, by_item = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = values - by_run - by_item + mean
    of_runs, of_items = by_run.var(ddof=1) / runs, by_item.var(ddof=1) / items
    of_rest = (rest**2).sum() / ((runs - 1) * (items - 1)) / values.size
    variance = max(of_runs + of_items - of_rest, of_runs, of_items)
    if not variance:
        return Estimate(mean, mean, mean, runs)
    freedom = (of_runs + of_items) ** 2 / (of_runs**2 / (runs - 1) + of_items**2 / (items - 1))
    half = float(_t_limit(freedom) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half, runs)


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean with Student's t interval; infinitely wide for a single value."""
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    half = float(stats.sem(values) * _t_limit(count - 1)) if count > 1 else np.inf
    return Estimate(mean, mean - half, mean + half, count)


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """Geometric mean of paired ratios, with Student's t interval of their logarithms.

    Raises ValueError for numbers that are not above 0.
    """
    both = np.array([numerator, denominator], dtype=float)
    if not (both > 0).all():
        raise ValueError(f"a ratio needs numbers above 0, not {both.min()}")
    logs = mean_interval(np.log(both[0]) - np.log(both[1]))
    with np.errstate(over="ignore"):
        value, low, high = np.exp([logs.value, logs.low, logs.high]).tolist()
    return Estimate(value, low, high, logs.n, log=True)


def eta_squared(rows: pd.DataFrame, outcome: str, factor: str) -> float:
    """Share of the outcome's variance that lies between the factor's levels (one-way).

    Labels without any meaning give ``eta_null`` on average.
    """
    values = rows[outcome].to_numpy(float)
    values = values - values.mean()
    levels = pd.factorize(rows[factor])[0]  # many times faster than a groupby, for a bootstrap
    sizes, sums = np.bincount(levels), np.bincount(levels, weights=values)
    total = (values**2).sum()
    return float((sums**2 / sizes).sum() / total) if total else np.nan


def eta_null(rows: pd.DataFrame, factor: str) -> float:
    """Expected eta squared of a factor that has nothing to do with the outcome."""
    return (rows[factor].nunique() - 1) / (len(rows) - 1)


def partial_eta_squared(rows: pd.DataFrame, outcome: str, factor: str, given: str) -> float:
    """Share of what ``given`` leaves unexplained that ``factor`` then explains.

    Additive model of two categorical factors, type II sums of squares. 0 where nothing is left.
    """
    without = _residual_squares(rows, outcome, [given])
    both = _residual_squares(rows, outcome, [given, factor])
    nothing = 1e-12 * (rows[outcome] ** 2).sum()  # what rounding leaves of a perfect fit
    return float((without - both) / without) if without > nothing else 0.0


def _residual_squares(rows: pd.DataFrame, outcome: str, factors: list[str]) -> float:
    codes = [pd.factorize(rows[factor])[0] for factor in factors]
    design = np.hstack([np.eye(code.max() + 1)[code] for code in codes])
    values = rows[outcome].to_numpy(float)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(((values - fitted) ** 2).sum())


def spearman(rows: pd.DataFrame, x: str, y: str) -> float:
    """Spearman's rank correlation; NaN if one of the two is constant."""
    one = np.zeros(len(rows), int)
    return _cosine(*(_centred_ranks(rows[name].to_numpy(), one) for name in (x, y)))


def spearman_within(rows: pd.DataFrame, x: str, y: str, group: str) -> float:
    """Rank correlation inside the groups, pooled: what is left of it when the group is fixed.

    Ranks are taken in each group and centred there, so differences between groups cannot
    contribute; groups weigh by their spread. NaN if no group has two members.
    """
    groups = rows[group].factorize()[0]
    return _cosine(*(_centred_ranks(rows[name].to_numpy(), groups) for name in (x, y)))


def _centred_ranks(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Ranks among the values of the same group, less their mean there; NaN where a value is."""
    ordered = np.unique(values, return_inverse=True)[1]
    ranks = stats.rankdata(groups * len(values) + ordered)  # one group after the other
    ranks[np.isnan(values)] = np.nan
    return ranks - (np.bincount(groups, ranks) / np.bincount(groups))[groups]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread else np.nan


# Score and accuracy, more is better in both -> -1 to 1. Kendall: tau-b. weighted tau: Vigna's,
# which counts errors among the best more.
MEASURES: dict[str, Callable] = {
    "Kendall": stats.kendalltau,
    "weighted tau": stats.weightedtau,
    "Spearman": stats.spearmanr,
}


def agreement(score: ArrayLike, accuracy: ArrayLike, measure: str = "Kendall") -> float:
    """A rank correlation; 0 for a score that is the same for all, as it tells nothing."""
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return 0.0
    return float(MEASURES[measure](score, accuracy).statistic)


def pairs_in_order(truth: np.ndarray, group: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of scores (..., models): pairs of a group in the right order less the others."""
    i, j = np.triu_indices(len(truth), 1)
    same = group[i] == group[j]
    i, j = i[same], j[same]
    order = np.sign(truth[i] - truth[j])
    return lambda scores: np.sign(scores[..., i] - scores[..., j]) @ order


def kendall(score: np.ndarray, truth: np.ndarray, group: np.ndarray) -> float:
    """Kendall's tau-b over the pairs of models of one group; 0 where all of these are tied."""
    untied = [pairs_in_order(values, group)(values) for values in (score, truth)]
    scale = np.sqrt(np.prod(untied))
    return float(pairs_in_order(truth, group)(score) / scale) if scale else 0.0


def kendall_of_groups(rows: pd.DataFrame, *, draws: int) -> Estimate:
    """``kendall`` of a table of score, truth and group; the interval is a bootstrap of the models.

    p: two-sided, of the truths permuted among the models of each group. It is exact where no group
    has more than eight models, and for a single group where nothing is tied.
    """
    found = bootstrap(lambda drawn: kendall(*drawn.to_numpy().T), rows, draws=draws)
    if rows.nunique().tolist() == [len(rows), len(rows), 1]:
        exact = stats.kendalltau(rows.iloc[:, 0], rows.iloc[:, 1], method="exact")
        return replace(found, p=float(exact.pvalue))
    chances, total = np.ones(1), 0.0  # of pairs in order less the others: from -pairs to pairs
    for _, part in rows.groupby("group"):
        score, truth, group = part.to_numpy().T
        pairs = len(part) * (len(part) - 1) // 2
        if not pairs:
            continue
        in_order = pairs_in_order(truth, group)
        test = stats.permutation_test(
            (score,),
            lambda drawn, axis, in_order=in_order: in_order(drawn),
            permutation_type="pairings",
            n_resamples=RESAMPLES,
            rng=0,
        )
        drawn = np.rint(test.null_distribution).astype(int) + pairs
        counts = np.bincount(drawn, minlength=2 * pairs + 1)
        chances, total = np.convolve(chances, counts / counts.sum()), total + test.statistic
    away = np.abs(np.arange(len(chances)) - len(chances) // 2) >= abs(total)
    return replace(found, p=max(float(chances[away].sum()), 1 / RESAMPLES))


def redraw_within(values: pd.Series, group: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """For every row, the value of a random row of the same group (itself included)."""
    return values.groupby(group).transform(lambda part: rng.choice(part, len(part))).to_numpy()


def share_interval(successes: int, count: int) -> Estimate:
    """A share with Wilson's interval."""
    interval = stats.binomtest(successes, count).proportion_ci(LEVEL, method="wilson")
    return Estimate(successes / count, float(interval.low), float(interval.high), count)


def runs_needed(difference: float, std: float) -> int:
    """Pairs of runs that find a mean difference with a power of 80 %; 1,001 for more than 1,000.

    std: of the difference of one pair. The two-sided t test at 5 %, by the noncentral t.
    """
    if not (abs(difference) > 0 and std >= 0):
        raise ValueError(f"no number of runs finds {difference} among a std of {std}")

    def power(runs: int) -> float:
        shift = abs(difference) / std * np.sqrt(runs)
        limit, t = _t_limit(runs - 1), stats.nct(runs - 1, shift)
        return t.sf(limit) + t.cdf(-limit)

    return 2 + bisect_left(range(2, 1001), 0.8, key=power) if std else 2


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's correction of p values of one family, in their order."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    return np.minimum(steps, 1)[np.argsort(order)]
