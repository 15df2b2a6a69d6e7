"""Notebook 04: from predictions and records to tables and to the quantities that claims judge.

Scores of variants are in per cent, other tables as they say. Intervals are over faces and seeds,
and differences are paired by both; n is the number of seeds, as trainings, not faces, are what the
claims are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.sweep import Context
from lib.ledger.estimates import Estimate, crossed_interval, mean_interval
from lib.ledger.tables import Missing, Tables, estimate_table, stored_estimate
from lib.multitask import trials
from lib.multitask.measures import attribute_scores, landmark_errors, majority, mean_shape

MEASURES = NME, ACCURACY = "NME", "accuracy"  # of a face
LANDMARK_NME = {f"NME of the {name}": place for place, name in enumerate(LANDMARKS)}
MEAN_SHAPE, MAJORITY = "mean shape", "majority class"
KIND_OF = {name: kind for kind, names in trials.KINDS.items() for name in names}
ASIDE = 0.35  # of the eyes' distance
QUANTILES = {0.5: "median", 0.9: "90 %", 1.0: "worst"}
LOOKS = {"cka": ["first", "second", "layer"], "probes": ["stream", "layer", "task"]}


@dataclass(frozen=True)
class Predictions:
    """What all networks of a run say of one test part, by variant.

    errors: (seeds, N, 5) NME in the network's frame. logits: (seeds, N, A). landmarks:
    (seeds, N, 5, 2). The variant ``TRIVIAL`` is the mean shape and the majority of the training
    faces.
    """

    truth: Faces
    errors: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    landmarks: dict[str, np.ndarray]

    def scores(self, variant: str, measure: str) -> np.ndarray:
        """(seeds, N) in %: mean NME of a face's landmarks, that of one, or its right attributes.

        Right ones are over how many are known of a face on average, so that their mean is the
        share of all known attributes that are right.
        """
        if measure == NME:
            return 100 * self.errors[variant].mean(2)
        if measure in LANDMARK_NME:
            return 100 * self.errors[variant][:, :, LANDMARK_NME[measure]]
        labels = self.truth.attributes.numpy()
        known = labels != UNKNOWN
        right = ((self.logits[variant] > 0) == (labels == 1)) & known
        return 100 * right.sum(2) / known.sum(1).mean()


def predictions(sizes: trials.MultiTaskStudy, part: str, context: Context) -> Predictions:
    """Collect what the trained networks of a profile say of a test part."""
    task = trials.face_task(sizes)
    train, truth = (trials.faces_of(task, p, context) for p in ("train", part))
    shape = np.broadcast_to(mean_shape(train.landmarks), truth.landmarks.shape)
    usual = np.broadcast_to(majority(train.attributes) - 0.5, truth.attributes.shape)
    landmarks, logits = {trials.TRIVIAL: [shape]}, {trials.TRIVIAL: [usual]}
    for name, trial in trials.all_variants(sizes):
        tensors = trials.trained(trial, context)
        landmarks.setdefault(name, []).append(tensors[f"{part}.landmarks"].numpy())
        logits.setdefault(name, []).append(tensors[f"{part}.attributes"].numpy())
    square = np.full(2, truth.images.shape[-1])
    errors = {
        name: np.stack([landmark_errors(points, truth.landmarks, square) for points in seeds])
        for name, seeds in landmarks.items()
    }
    stacked = ({name: np.stack(seeds) for name, seeds in d.items()} for d in (logits, landmarks))
    return Predictions(truth, errors, *stacked)


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
    """Title -> place of faces at quantiles of a variant's error: of all, of those looking aside."""
    errors = predictions.scores(variant, NME)[0]
    aside = turned(predictions.truth.landmarks.numpy())
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
        (name, kind, measure, crossed_interval(predictions.scores(name, measure)))
        for name, kind in (KIND_OF | {trials.TRIVIAL: trials.TRIVIAL}).items()
        for measure in measures
    ]
    return estimate_table(["variant", "kind", "measure"], rows)


def differences(predictions: Predictions) -> pd.DataFrame:
    """variant, other, measure, value, low, high, n: a variant less another, in points.

    Every two variants, what is trivial among them, in both measures. Those of the paper less the
    baseline also by landmark, and in parts of the NME.
    """
    scores = predictions.scores
    pairs = permutations((*trials.VARIANTS, trials.TRIVIAL), 2)
    wanted = [(*pair, measure) for pair in pairs for measure in MEASURES]
    ours = trials.KINDS[trials.PAPER][1:]
    wanted += [(name, trials.BASELINE, measure) for name in ours for measure in LANDMARK_NME]
    rows = [
        (name, other, measure, crossed_interval(scores(name, measure) - scores(other, measure)))
        for name, other, measure in wanted
    ]
    aside = turned(predictions.truth.landmarks.numpy())
    for name in ours:
        change = 100 * (predictions.errors[name] - predictions.errors[trials.BASELINE])
        rows += [(name, trials.BASELINE, *part) for part in _parts(change, aside)]
    return estimate_table(["variant", "other", "measure"], rows)


def _parts(change: np.ndarray, aside: np.ndarray) -> Iterator[tuple[str, Estimate]]:
    """Of a change of NME (seeds, N, 5): the nose's less that of the other landmarks.

    Where some of the faces look aside and some do not: theirs, and theirs less the others', whose
    interval is over seeds alone.
    """
    nose = LANDMARKS.index("nose")
    less = change[:, :, nose] - np.delete(change, nose, 2).mean(2)
    yield "NME of the nose less that of others", crossed_interval(less)
    if 1 < aside.sum() < len(aside):
        theirs, others = (change[:, which].mean(2) for which in (aside, ~aside))
        more = mean_interval(theirs.mean(1) - others.mean(1))
        yield "NME of turned faces", crossed_interval(theirs)
        yield "NME of turned faces less that of others", more


def table_1(printed: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours: method, paper, variant, value, low, high, in per cent."""
    ours = variants[variants["measure"] == ACCURACY].drop(columns=["kind", "measure", "n"])
    rows = printed.rename(columns={"accuracy": "paper"}).merge(ours, on="variant", how="left")
    blind = ours[ours["variant"] == trials.TRIVIAL].assign(method=MAJORITY)
    return pd.concat([rows, blind.drop(columns=["low", "high"])], ignore_index=True)


def epoch_curves(trainings: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """variant, epoch, nme and accuracy on the main test part: mean, and range of the seeds.

    trainings: records with a column ``variant``. A second stage goes on where stage 1 ended.
    """
    parts = []
    for name in names:
        for record in trainings[trainings["variant"] == name].to_dict("records"):
            before = record["stage1"]["epochs"] if record["stage1"] else 0
            curve = pd.DataFrame(record["curve"])
            nme, epochs = curve[list(LANDMARKS)].mean(axis=1), before + 1 + curve.index
            parts.append(curve.assign(variant=name, epoch=epochs, nme=nme))
    ends = {"": "mean", "low": "min", "high": "max"}
    columns = {end or "nme": ("nme", how) for end, how in ends.items()}
    columns |= {f"accuracy_{end}".strip("_"): ("accuracy", how) for end, how in ends.items()}
    groups = pd.concat(parts).groupby(["variant", "epoch"], sort=False)
    return groups.agg(**columns).reset_index()


def face_errors(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, error: the mean error of every face in %, of all seeds, and the mean shape's."""
    errors = {name: predictions.scores(name, NME) for name in names}
    errors[MEAN_SHAPE] = predictions.scores(trials.TRIVIAL, NME)
    rows = {name: pd.Series(values.ravel(), name="error") for name, values in errors.items()}
    return pd.concat(rows, names=["variant"]).reset_index(level="variant")


def frames(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """NME (shares) of the same predictions in three frames: the network's, the original's, median.

    In the first two an error is divided by the face's own distance of the eyes, as in equation 2,
    in the last by the median one.
    """
    truth, extent = predictions.truth.landmarks.numpy(), predictions.truth.extent.numpy()
    square = np.full(2, predictions.truth.images.shape[-1])
    landmarks = {name: predictions.landmarks[name] for name in names}
    landmarks[MEAN_SHAPE] = predictions.landmarks[trials.TRIVIAL]
    rows = [
        (name, *(np.mean([landmark_errors(seed, truth, frame, median=median) for seed in seeds])
                 for frame, median in ((square, False), (extent, False), (extent, True))))
        for name, seeds in landmarks.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["variant", "network", "original", "median"])


def attribute_table(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """attribute, variant, accuracy, balanced accuracy, F1, rate, n, and the majority's accuracy.

    Means over the seeds; the majority is the training part's.
    """
    labels = predictions.truth.attributes.numpy()
    trivial = attribute_scores(predictions.logits[trials.TRIVIAL][0], labels)
    parts = []
    for name in names:
        scores = [attribute_scores(logits, labels) for logits in predictions.logits[name]]
        mean = sum(scores[1:], scores[0]) / len(scores)
        mean.insert(0, "attribute", list(predictions.truth.names))
        mean.insert(1, "variant", name)
        parts.append(mean.assign(majority=trivial["accuracy"]))
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
    """CKA of two streams less that of streams that never met, mean over the layers."""
    return _beyond_single(tables, "cka_by_seed", variant, first=first, second=second)


def foreign(tables: Tables, variant: str, stream: str, task: str) -> Estimate:
    """What a probe of a task reads in a stream's last layer, less that of a single-task network.

    R² of landmarks and balanced accuracy of attributes, as shares.
    """
    last = tables.rows("probes_by_seed", "layer")["layer"].max()
    where = {"stream": stream, "task": task, "layer": last}
    return _beyond_single(tables, "probes_by_seed", variant, **where)


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
