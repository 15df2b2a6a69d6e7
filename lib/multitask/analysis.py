"""Notebook 04: from predictions and records to tables and to the quantities that claims judge.

Scores of variants are in per cent, other tables as they say. Intervals are over faces and seeds,
and differences are paired by both; n is the number of seeds, as trainings, not faces, are what the
claims are about.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.artefacts import NotStored
from lib.engine.sweep import Context
from lib.ledger.estimates import Estimate, crossed_interval, mean_interval
from lib.ledger.tables import Missing, Tables, estimate_table, stored_estimate
from lib.multitask import trials
from lib.multitask.measures import attribute_scores, landmark_errors, trivial_answers
from lib.multitask.networks import SHARED

MEASURES = NME, ACCURACY = "NME", "accuracy"  # of a face
LANDMARK_NME = {f"NME of the {name}": place for place, name in enumerate(LANDMARKS)}
MEAN_SHAPE, MAJORITY = "mean shape", "majority class"
KIND_OF = {name: kind for kind, names in trials.KINDS.items() for name in names}
ASIDE = 0.35  # of the eyes' distance
GAINS = {  # what each part of the best variant's gain is the difference of
    "trained for longer": (trials.LONG, trials.BASELINE),
    "split into a copy for each task": (trials.COPIES, trials.LONG),
    "and given the shared stream": (trials.TUNED, trials.COPIES),
    "in all": (trials.TUNED, trials.BASELINE),
}
QUANTILES = {0.5: "median", 0.9: "90 %", 1.0: "worst"}
LOOKS = {"cka": ["first", "second", "layer"], "probes": ["stream", "layer", "task"]}


@dataclass(frozen=True)
class Predictions:
    """What all networks of a run say of one test part, by variant and seed.

    truth: the faces on which a seed is tested; the same ones, or a tenth of its own.
    errors: (N, 5) NME in the network's frame. logits: (N, A). landmarks: (N, 5, 2).
    The variant ``TRIVIAL`` is the mean shape and the majority of the training faces of each seed.
    """

    truth: list[Faces]
    errors: dict[str, list[np.ndarray]]
    logits: dict[str, list[np.ndarray]]
    landmarks: dict[str, list[np.ndarray]]

    def scores(self, variant: str, measure: str) -> list[np.ndarray]:
        """(N,) in %, by seed: mean NME of a face's landmarks, that of one, or right attributes.

        Right ones are over how many are known of a face on average, so that their mean is the
        share of all known attributes that are right.
        """
        if measure == NME:
            return [100 * errors.mean(1) for errors in self.errors[variant]]
        if measure in LANDMARK_NME:
            return [100 * errors[:, LANDMARK_NME[measure]] for errors in self.errors[variant]]
        return [
            _right(faces.attributes.numpy(), logits)
            for faces, logits in zip(self.truth, self.logits[variant], strict=False)
        ]

    def mean(self, values: Sequence[np.ndarray]) -> Estimate:
        """The mean of values (N,) of the first seeds' faces.

        Seeds that are tested on the same faces are crossed with them. Where each has faces of its
        own, its mean has the chance of both in it, and the interval is over these means.
        """
        if all(faces is self.truth[0] for faces in self.truth[: len(values)]):
            return crossed_interval(np.stack(values))
        return mean_interval(np.array([part.mean() for part in values]))

    def less(self, variant: str, other: str, measure: str) -> Estimate:
        """A variant less another, paired by face and seed, over the seeds that both have."""
        both = zip(self.scores(variant, measure), self.scores(other, measure), strict=False)
        return self.mean([one - two for one, two in both])


def _right(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    known = labels != UNKNOWN
    return 100 * (((logits > 0) == (labels == 1)) & known).sum(1) / known.sum(1).mean()


def predictions(sizes: trials.MultiTaskStudy, part: str, context: Context) -> Predictions:
    """Collect what the trained networks of a profile say of a test part.

    With ``context.stored`` a variant has the seeds, from the first on, whose networks were kept;
    NotStored if there is none of the baseline.
    """
    truth: list[Faces] = []
    landmarks: dict[str, list[np.ndarray]] = {}
    logits: dict[str, list[np.ndarray]] = {}
    for name, trial in trials.all_variants(sizes):
        if trial.seed > len(landmarks.get(name, ())):
            continue  # an earlier seed is missing
        try:
            tensors = trials.trained(trial, context)
        except NotStored:
            if (name, trial.seed) == (trials.BASELINE, 0):
                raise
            continue
        landmarks.setdefault(name, []).append(tensors[f"{part}.landmarks"].numpy())
        logits.setdefault(name, []).append(tensors[f"{part}.attributes"].numpy())
    landmarks[trials.TRIVIAL], logits[trials.TRIVIAL] = [], []
    for seed in range(len(landmarks[trials.BASELINE])):
        task = trials.face_task(sizes, seed)
        train, faces = (trials.faces_of(task, p, context) for p in ("train", part))
        truth.append(faces)
        shape, usual = trivial_answers(train, len(faces))
        landmarks[trials.TRIVIAL].append(shape)
        logits[trials.TRIVIAL].append(usual)
    errors = {
        name: [
            landmark_errors(points, faces.landmarks, (sizes.size, sizes.size))
            for points, faces in zip(seeds, truth, strict=False)
        ]
        for name, seeds in landmarks.items()
    }
    return Predictions(truth, errors, logits, landmarks)


def turned(landmarks: np.ndarray) -> np.ndarray:
    """(N,) whether a face (N, 5, 2) looks aside: its nose is off the middle between the eyes.

    By more than ``ASIDE`` of the distance of the eyes, along the line through them.
    """
    left, right, nose = (
        landmarks[:, LANDMARKS.index(n)] for n in ("left eye", "right eye", "nose")
    )
    line, middle = right - left, (left + right) / 2
    along = ((nose - middle) * line).sum(1) / np.maximum((line**2).sum(1), 1e-9)
    return np.abs(along) > ASIDE


def examples(predictions: Predictions, variant: str) -> dict[str, int]:
    """Title -> place of the first seed's faces at quantiles of a variant's error."""
    errors = predictions.scores(variant, NME)[0]
    aside = turned(predictions.truth[0].landmarks.numpy())
    places: dict[str, int] = {}
    for name, group in (("", np.arange(len(errors))), ("aside, ", np.flatnonzero(aside))):
        order = group[np.argsort(errors[group])]
        for quantile, title in QUANTILES.items() if len(order) else ():
            place = int(order[round(quantile * (len(order) - 1))])
            if place not in places.values():
                places[f"{name}{title}"] = place
    return places


def variant_table(predictions: Predictions, measures: Iterable[str] = MEASURES) -> pd.DataFrame:
    """variant, kind, measure, value, low, high, n: in %; what is trivial comes last."""
    rows = [
        (name, kind, measure, predictions.mean(predictions.scores(name, measure)))
        for name, kind in (KIND_OF | {trials.TRIVIAL: trials.TRIVIAL}).items()
        if name in predictions.errors
        for measure in measures
    ]
    return estimate_table(["variant", "kind", "measure"], rows)


def differences(predictions: Predictions) -> pd.DataFrame:
    """variant, other, measure, value, low, high, n: every variant less every other, in points.

    Those of the paper less the baseline also by landmark, and in parts of the NME.
    """
    here = [name for name in (*trials.VARIANTS, trials.TRIVIAL) if name in predictions.errors]
    wanted = [(*pair, measure) for pair in permutations(here, 2) for measure in MEASURES]
    ours = [name for name in trials.KINDS[trials.PAPER][1:] if name in here]
    wanted += [(name, trials.BASELINE, measure) for name in ours for measure in LANDMARK_NME]
    rows: list[tuple] = [(*names, predictions.less(*names)) for names in wanted]
    for name in ours:
        rows += [(name, trials.BASELINE, *part) for part in _parts(predictions, name)]
    return estimate_table(["variant", "other", "measure"], rows)


def _parts(predictions: Predictions, variant: str) -> Iterator[tuple[str, Estimate]]:
    """Of a variant's change of NME: the nose's less the other landmarks'; of faces that look aside.

    Theirs less the others' has an interval over seeds alone.
    """
    seeds = [predictions.errors[name] for name in (variant, trials.BASELINE)]
    changes = [100 * (one - two) for one, two in zip(*seeds, strict=False)]
    nose = LANDMARKS.index("nose")
    less = [change[:, nose] - np.delete(change, nose, 1).mean(1) for change in changes]
    yield "NME of the nose less that of others", predictions.mean(less)
    aside = [turned(faces.landmarks.numpy()) for faces in predictions.truth[: len(changes)]]
    if all(1 < which.sum() < len(which) for which in aside):
        pairs = list(zip(changes, aside, strict=True))
        theirs, others = ([c[w == side].mean(1) for c, w in pairs] for side in (True, False))
        more = [one.mean() - two.mean() for one, two in zip(theirs, others, strict=True)]
        yield "NME of turned faces", predictions.mean(theirs)
        yield "NME of turned faces less that of others", mean_interval(np.array(more))


def gain_in_parts(differences: pd.DataFrame) -> pd.DataFrame:
    """What the best variant gains over the baseline, in ``GAINS``: part, measure, value, low, high.

    The values of the parts add up to the whole, as each begins where the one before ends.
    """
    keys = ["variant", "other", "measure"]
    steps = [(part, *pair, name) for name in MEASURES for part, pair in GAINS.items()]
    table = pd.DataFrame(steps, columns=["part", *keys]).merge(differences, on=keys)
    return table[["part", "measure", "value", "low", "high", "n"]]


def table_1(printed: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours: method, paper, variant, value, low, high, in per cent."""
    ours = variants[variants["measure"] == ACCURACY].drop(columns=["kind", "measure", "n"])
    rows = printed.rename(columns={"accuracy": "paper"}).merge(ours, on="variant", how="left")
    blind = ours[ours["variant"] == trials.TRIVIAL].assign(method=MAJORITY)
    return pd.concat([rows, blind.drop(columns=["low", "high"])], ignore_index=True)


def epoch_curves(trainings: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """variant, measure, epoch, and the mean of the seeds on the main test part: value, low, high.

    The measures are the NME, that of each landmark, and the accuracy, all as shares; low and high
    are the range of the seeds. A second stage goes on where stage 1 ended.
    """
    parts = []
    for name in names:
        for record in trainings[trainings["variant"] == name].to_dict("records"):
            before = record["stage1"]["epochs"] if record["stage1"] else 0
            curve = pd.DataFrame(record["curve"])
            curve[NME] = curve[list(LANDMARKS)].mean(axis=1)
            curve = curve.assign(variant=name, epoch=before + 1 + curve.index)
            parts.append(curve.melt(["variant", "epoch"], var_name="measure"))
    groups = pd.concat(parts).groupby(["variant", "measure", "epoch"], sort=False)["value"]
    return groups.agg(value="mean", low="min", high="max").reset_index()


def face_errors(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, error: the mean error of every face in %, of all seeds, and the mean shape's."""
    errors = {name: predictions.scores(name, NME) for name in names}
    errors[MEAN_SHAPE] = predictions.scores(trials.TRIVIAL, NME)
    rows = {name: pd.Series(np.concatenate(e), name="error") for name, e in errors.items()}
    return pd.concat(rows, names=["variant"]).reset_index(level="variant")


def frames(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """NME (shares), mean of the seeds: in the network's frame, the original's, and over the median.

    In the first two an error is divided by the face's own distance of the eyes, as in equation 2.
    """
    landmarks = {name: predictions.landmarks[name] for name in names}
    landmarks[MEAN_SHAPE] = predictions.landmarks[trials.TRIVIAL]
    rows = []
    for name, seeds in landmarks.items():
        values = []
        for points, faces in zip(seeds, predictions.truth, strict=False):
            square, extent = np.full(2, faces.images.shape[-1]), faces.extent.numpy()
            ways = ((square, False), (extent, False), (extent, True))
            truth = faces.landmarks.numpy()
            values.append([landmark_errors(points, truth, f, median=m).mean() for f, m in ways])
        rows.append((name, *np.mean(values, 0)))
    return pd.DataFrame(rows, columns=["variant", "network", "original", "median"])


def attribute_table(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """attribute, variant, accuracy, balanced accuracy, F1, rate, n, and the majority's accuracy.

    Over the answers of all seeds together; the majority is that of each seed's training part.
    """

    def scores(variant: str) -> pd.DataFrame:
        logits = predictions.logits[variant]
        labels = [faces.attributes.numpy() for faces in predictions.truth[: len(logits)]]
        return attribute_scores(np.concatenate(logits), np.concatenate(labels))

    majority_of_all, parts = scores(trials.TRIVIAL)["accuracy"], []
    for name in names:
        table = scores(name)
        table.insert(0, "attribute", list(predictions.truth[0].names))
        table.insert(1, "variant", name)
        parts.append(table.assign(majority=majority_of_all))
    return pd.concat(parts, ignore_index=True)


def by_seed(records: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row a number of the looks: variant, seed, what ``LOOKS`` has of a kind, value."""
    if records.empty:
        raise FileNotFoundError(f"no record with {kind} is stored")
    rows = [
        (record["variant"], record["seed"], *row)
        for record in records.to_dict("records")
        for row in record[kind]
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", *LOOKS[kind], "value"])


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Means of ``by_seed`` over the seeds: value, low, high, n.

    A single seed's interval is drawn as its value, as an infinite one cannot be.
    """
    keys = [name for name in rows if name not in ("seed", "value")]
    groups = rows.groupby(keys, sort=False)["value"]
    table = estimate_table(keys, ((*names, mean_interval(part)) for names, part in groups))
    single = np.isinf(table["low"])
    table.loc[single, "low"] = table.loc[single, "high"] = table["value"]
    return table


def beyond_shared(probes: pd.DataFrame) -> pd.DataFrame:
    """What a probe reads from the shared stream and another one, less from the shared one alone.

    probes: rows of ``by_seed``; those returned have the other stream's name.
    """
    keys, together = ["variant", "seed", "layer", "task"], f"{SHARED} + "
    alone = probes[probes["stream"] == SHARED].set_index(keys)["value"].rename("alone")
    both = probes[probes["stream"].str.startswith(together)].join(alone, on=keys)
    names = both["stream"].str.removeprefix(together)
    return both.assign(stream=names, value=both["value"] - both["alone"]).drop(columns="alone")


# The quantities of claims.yaml. They take the tables that the notebook saves.


def difference(tables: Tables, variant: str, other: str, measure: str) -> Estimate:
    """A variant less another, in points, paired by face and seed.

    A single training has no interval: one over its faces does not say what others would give.
    """
    where = {"variant": variant, "other": other, "measure": measure}
    found = stored_estimate(tables, "differences", where)
    return found if found.n > 1 else mean_interval(np.array([found.value]))


def gain(tables: Tables, task: str, variant: str = trials.BASELINE) -> Estimate:
    """By how many points a variant is better in a task than the best answer without a look.

    task: landmarks, against the mean shape, or attributes, against the majority class.
    """
    if task == "landmarks":
        return difference(tables, trials.TRIVIAL, variant, NME)
    return difference(tables, variant, trials.TRIVIAL, ACCURACY)


def similarity(tables: Tables, variant: str, first: str, second: str) -> Estimate:
    """CKA of two streams less that of streams trained separately, mean over the layers."""
    return _beyond_single(tables, "cka_by_seed", variant, first=first, second=second)


def foreign(tables: Tables, variant: str, stream: str, task: str) -> Estimate:
    """What a probe of a task reads in a stream's last layer, less that of a single-task network.

    R² of landmarks and balanced accuracy of attributes, as shares.
    """
    last = tables.rows("probes_by_seed", "layer")["layer"].max()
    where = {"stream": stream, "task": task, "layer": last}
    return _beyond_single(tables, "probes_by_seed", variant, **where)


def known(tables: Tables, variant: str, stream: str, other: str, task: str) -> Estimate:
    """What a probe reads of a task in a stream's last layer, less what it reads in another's.

    As shares, as in ``foreign``. A stream may be two together, such as ``shared + landmarks``.
    """
    rows = tables.rows("probes_by_seed", "seed", "layer", "value", variant=variant, task=task)
    last = rows[rows["layer"] == rows["layer"].max()].pivot_table("value", "seed", "stream")
    if absent := [name for name in (stream, other) if name not in last]:
        raise Missing(f"table probes_by_seed has no stream {', '.join(absent)} of {variant}")
    return mean_interval((last[stream] - last[other]).dropna().to_numpy())


def _beyond_single(tables: Tables, table: str, variant: str, **where: Any) -> Estimate:
    """What a look into a variant found less what one into single-task networks did, by seed."""
    ours, alone = (
        tables.rows(table, "seed", "value", variant=name, **where).groupby("seed")["value"].mean()
        for name in (variant, trials.SINGLE)
    )
    change = (ours - alone).dropna()
    if change.empty:
        raise Missing(f"table {table} has no seed of both {variant} and {trials.SINGLE}")
    return mean_interval(change.to_numpy())


def largest(tables: Tables, column: str, variants: Sequence[str]) -> Estimate:
    """The largest number of a column of some variants' trainings: nothing of it is chance."""
    rows = tables.rows("trainings", column, "variant")
    values = rows.loc[rows["variant"].isin(variants), column]
    if values.empty:
        raise Missing(f"table trainings has no row of {', '.join(variants)}")
    most = float(values.max())
    return Estimate(most, most, most, len(values))
