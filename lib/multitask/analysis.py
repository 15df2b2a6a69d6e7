"""Notebook 04: from predictions and records to tables of errors, accuracies and similarities.

All errors and accuracies are shares. Intervals are over faces and seeds, and differences are
paired by both; n is the number of seeds, as trainings, not faces, are what the claims are about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.sweep import Context
from lib.ledger.estimates import Estimate, crossed_interval, mean_interval
from lib.multitask import trials
from lib.multitask.measures import attribute_scores, landmark_errors, majority, mean_shape

NME, RIGHT = "nme", "right"  # the two measures of a face
LABELS = {"nme": "NME (%), ← better", "accuracy": "mean accuracy (%), better →"}
LESS = {
    "nme": "NME less the baseline's\n(points), ← better",
    "accuracy": "accuracy less the baseline's\n(points), better →",
}
MEAN_SHAPE, MAJORITY = "mean shape", "majority class"
KIND_OF = {name: kind for kind, names in trials.KINDS.items() for name in names}
INTERVALS = [f"{name}{end}" for name in ("nme", "accuracy") for end in ("", "_low", "_high")]
THRESHOLDS = np.linspace(0, 0.5, 101)
ASIDE = 0.35  # of the eyes' distance
QUANTILES = {0.5: "median", 0.9: "90 %", 1.0: "worst"}


@dataclass(frozen=True)
class Predictions:
    """What all networks of a run say of one test part, by variant.

    truth: the faces. errors: (seeds, N, 5) NME in the network's frame. logits: (seeds, N, A).
    landmarks: (seeds, N, 5, 2). The variant ``TRIVIAL`` is what is predicted without a look at the
    image, the mean shape and the majority of the training faces.
    """

    truth: Faces
    errors: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    landmarks: dict[str, np.ndarray]

    def nme(self, variant: str) -> np.ndarray:
        """(seeds, N): mean error of a face's five landmarks."""
        return self.errors[variant].mean(2)

    def right(self, variant: str) -> np.ndarray:
        """(seeds, N): right attributes of a face, over how many are known of a face on average.

        So that their mean is the share of all known attributes that are right.
        """
        labels = self.truth.attributes.numpy()
        known = labels != UNKNOWN
        right = ((self.logits[variant] > 0) == (labels == 1)) & known
        return right.sum(2) / known.sum(1).mean()

    def difference(self, first: str, second: str, measure: str) -> Estimate:
        """Mean of a measure (``NME`` or ``RIGHT``) of one variant less another's."""
        of = self.nme if measure == NME else self.right
        return crossed_interval(of(first) - of(second))


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
    """Faces at quantiles of a variant's error, seed 0: of all, then of those that look aside.

    Returns title -> place of the face.
    """
    errors = predictions.nme(variant)[0]
    aside = turned(predictions.truth.landmarks.numpy())
    places: dict[str, int] = {}
    for name, group in (("", np.arange(len(errors))), ("aside, ", np.flatnonzero(aside))):
        order = group[np.argsort(errors[group])]
        for quantile, title in QUANTILES.items() if len(order) else ():
            place = int(order[round(quantile * (len(order) - 1))])
            if place not in places.values():
                places[f"{name}{title}"] = place
    return places


def variant_table(predictions: Predictions) -> pd.DataFrame:
    """variant, kind, nme and accuracy with intervals, seeds; what is trivial comes last."""
    rows = []
    for name, kind in (KIND_OF | {trials.TRIVIAL: trials.TRIVIAL}).items():
        nme, right = predictions.nme(name), predictions.right(name)
        shown = f"{MEAN_SHAPE}, {MAJORITY}" if name == trials.TRIVIAL else name
        rows.append((shown, kind, *_ends(map(crossed_interval, (nme, right))), len(nme)))
    return pd.DataFrame(rows, columns=["variant", "kind", *INTERVALS, "seeds"])


def differences(predictions: Predictions) -> pd.DataFrame:
    """Every variant less the baseline, as ``variant_table``, without what is trivial."""
    rows = []
    for name, kind in KIND_OF.items():
        pair = (predictions.difference(name, trials.BASELINE, measure) for measure in (NME, RIGHT))
        rows.append((name, kind, *_ends(pair)))
    return pd.DataFrame(rows, columns=["variant", "kind", *INTERVALS])


def by_measure(table: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """A table of variants or differences as a chart takes it: a row a variant and measure.

    labels: what the measures are called. Columns: variant, kind, value, low, high, measure;
    nothing trivial, which would stretch the axes.
    """
    parts = []
    for measure, label in labels.items():
        part = table[["variant", "kind", measure, f"{measure}_low", f"{measure}_high"]]
        part = part.set_axis(["variant", "kind", "value", "low", "high"], axis=1)
        parts.append(part.assign(measure=label))
    rows = pd.concat(parts, ignore_index=True)
    return rows[rows["kind"] != trials.TRIVIAL]


def table_1(printed: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours: method, paper, ours, low, high, nme, in per cent."""
    names = dict(
        zip(
            printed["method"].tail(len(trials.KINDS[trials.PAPER])),
            trials.KINDS[trials.PAPER],
            strict=True,
        )
    )
    names[MAJORITY] = f"{MEAN_SHAPE}, {MAJORITY}"
    rows = printed[["method", "accuracy"]].rename(columns={"accuracy": "paper"})
    rows = pd.concat([rows, pd.DataFrame({"method": [MAJORITY]})], ignore_index=True)
    table = table.set_index("variant").reindex(rows["method"].map(names))
    for column, name in zip(["ours", "low", "high", "nme"], [*INTERVALS[3:], NME], strict=True):
        rows[column] = 100 * table[name].to_numpy()
    rows.loc[rows["method"] == MAJORITY, ["low", "high"]] = np.nan
    return rows


def landmark_bars(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, landmark, nme, low, high: the bars of the paper's figure 3."""
    rows = [
        (name, landmark, *_ends([crossed_interval(predictions.errors[name][:, :, place])]))
        for name in names
        for place, landmark in enumerate(LANDMARKS)
    ]
    return pd.DataFrame(rows, columns=["variant", "landmark", "nme", "low", "high"])


def epoch_curves(trainings: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """variant, epoch, nme and accuracy on the main test part: mean, and range of the seeds.

    trainings: records with a column ``variant``. A second stage goes on where stage 1 ended.
    """
    parts = []
    for name in (name for name in names if (trainings["variant"] == name).any()):
        records = trainings[trainings["variant"] == name]
        before = sum(stage1["epochs"] for stage1 in records["stage1"].head(1) if stage1)
        columns: dict[str, object] = {"variant": name}
        for measure, ends in (("nme", ""), ("accuracy", "accuracy_")):
            values = np.stack([curve[measure] for curve in records["curve"]])
            columns["epoch"] = before + 1 + np.arange(values.shape[1])
            columns[measure] = values.mean(0)
            columns |= {f"{ends}low": values.min(0), f"{ends}high": values.max(0)}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def face_errors(predictions: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, error: the mean error of every face, all seeds together, and the mean shape's."""
    errors = {name: predictions.nme(name) for name in names}
    errors[MEAN_SHAPE] = predictions.nme(trials.TRIVIAL)
    parts = [pd.DataFrame({"variant": n, "error": v.ravel()}) for n, v in errors.items()]
    return pd.concat(parts, ignore_index=True)


def error_curves(faces: pd.DataFrame) -> pd.DataFrame:
    """variant, error, share: the share of ``face_errors`` that are at most some error."""
    parts = [
        pd.DataFrame({"variant": name, "error": THRESHOLDS,
                      "share": [(errors <= threshold).mean() for threshold in THRESHOLDS]})
        for name, errors in faces.groupby("variant", sort=False)["error"]
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


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


def similarity_table(records: pd.DataFrame) -> pd.DataFrame:
    """variant, pair, first, second, layer, cka, low, high: means and intervals over seeds."""
    table = _over_seeds(records, "cka", ["first", "second", "layer", "cka"])
    pair = table["first"] + " and " + table["second"]
    return table.assign(pair=pair, setting=table["variant"])


def probe_table(records: pd.DataFrame) -> pd.DataFrame:
    """variant, stream, layer, task, value, low, high: means and intervals over seeds."""
    return _over_seeds(records, "probes", ["stream", "layer", "task", "value"])


def by_seed(records: pd.DataFrame, kind: str, columns: list[str]) -> pd.DataFrame:
    """One row a measured value of the looks: variant, seed and the columns."""
    rows = [
        (record["variant"], record["seed"], *row)
        for record in records.to_dict("records")
        for row in record[kind]
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", *columns])


def _over_seeds(records: pd.DataFrame, kind: str, columns: list[str]) -> pd.DataFrame:
    if records.empty:
        raise FileNotFoundError(f"no record with {kind} is stored")
    *keys, value = columns
    rows = []
    for names, part in by_seed(records, kind, columns).groupby(["variant", *keys], sort=False):
        mean = mean_interval(part[value].to_numpy())
        single = mean.n == 1  # an infinite interval cannot be drawn
        low, high = (mean.value,) * 2 if single else (mean.low, mean.high)
        rows.append((*names, mean.value, low, high, mean.n))
    return pd.DataFrame(rows, columns=["variant", *keys, value, "low", "high", "n"])


def _ends(estimates: Iterable[Estimate]) -> list[float]:
    return [number for mean in estimates for number in (mean.value, mean.low, mean.high)]
