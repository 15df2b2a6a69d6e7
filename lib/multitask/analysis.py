"""Notebook 04: from predictions to tables: errors, accuracies, paired differences, curves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lib.data.faces import LANDMARKS
from lib.engine.sweep import Context
from lib.ledger.estimates import Estimate, crossed_interval
from lib.multitask.face_metrics import (
    attribute_scores,
    cumulative_errors,
    landmark_errors,
    median_errors,
)
from lib.multitask.plan import BASELINE, KINDS, PAPER, TRIVIAL, Variant
from lib.multitask.predictions import Predictions, difference
from lib.multitask.trials import trained

MEAN_SHAPE, MAJORITY = "mean shape", "majority class"
NONE = (np.nan,) * 4
INTERVALS = [f"{name}{end}" for name in ("nme", "accuracy") for end in ("", "_low", "_high")]
THRESHOLDS = np.linspace(0, 0.5, 101)


def variant_table(found: Predictions) -> pd.DataFrame:
    """variant, kind, nme and accuracy with intervals over faces and seeds, trivial ones last."""
    kinds = {name: kind for kind, names in KINDS.items() for name in names}
    rows = []
    for name, kind in (*kinds.items(), (TRIVIAL, TRIVIAL)):
        nme, right = crossed_interval(found.nme(name)), crossed_interval(found.right(name))
        shown = f"{MEAN_SHAPE}, {MAJORITY}" if name == TRIVIAL else name
        rows.append((shown, kind, *_three(nme), *_three(right), len(found.nme(name))))
    return pd.DataFrame(rows, columns=["variant", "kind", *INTERVALS, "seeds"])


def table_1(printed: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours: method, paper, ours, low, high, nme, in per cent."""
    ours = table.set_index("variant")
    names = dict(zip(printed["method"].tail(len(KINDS[PAPER])), KINDS[PAPER], strict=True))
    rows = []
    for row in printed.itertuples():
        name = names.get(row.method)
        mine = (
            ours.loc[name, ["accuracy", "accuracy_low", "accuracy_high", "nme"]] if name else NONE
        )
        rows.append((row.method, row.accuracy, *(100 * value for value in mine)))
    trivial = ours.loc[f"{MEAN_SHAPE}, {MAJORITY}"]
    rows.append((MAJORITY, np.nan, 100 * trivial["accuracy"], *NONE[:2], 100 * trivial["nme"]))
    return pd.DataFrame(rows, columns=["method", "paper", "ours", "low", "high", "nme"])


def differences(found: Predictions) -> pd.DataFrame:
    """Every variant less the baseline, as ``variant_table``, without the trivial one."""
    rows = [
        (name, kind, *(value for what in ("nme", "right")
                       for value in _three(difference(found, name, BASELINE, what))))
        for kind, names in KINDS.items()
        for name in names
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["variant", "kind", *INTERVALS])


def landmark_bars(found: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, landmark, nme, low, high: the bars of the paper's figure 3."""
    rows = [
        (name, landmark, *_three(crossed_interval(found.errors[name][:, :, place])))
        for name in names
        for place, landmark in enumerate(LANDMARKS)
    ]
    return pd.DataFrame(rows, columns=["variant", "landmark", "nme", "low", "high"])


def epoch_curves(variants: list[Variant], names: Iterable[str], context: Context) -> pd.DataFrame:
    """variant, epoch, nme and accuracy on the main test part: mean, and range of the seeds.

    A second stage goes on where stage 1 ended.
    """
    rows = []
    for name in names:
        trials = [each.trial for each in variants if each.name == name]
        curves = np.stack([trained(trial, context)["curve"][:, 0].numpy() for trial in trials])
        nme, accuracy = curves[:, :, : len(LANDMARKS)].mean(2), curves[:, :, -1]
        before = trials[0].stage1.epochs if trials[0].stage1 else 0
        for epoch in range(curves.shape[1]):
            now, right = nme[:, epoch], accuracy[:, epoch]
            row = (before + epoch + 1, now.mean(), now.min(), now.max())
            rows.append((name, *row, right.mean(), right.min(), right.max()))
    columns = ["nme", "low", "high", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=["variant", "epoch", *columns])


def error_curves(found: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """variant, error, share: the cumulative error distribution, all seeds together."""
    lines = {name: found.errors[name].reshape(-1, len(LANDMARKS)) for name in names}
    lines[MEAN_SHAPE] = found.shape_errors()
    parts = [
        pd.DataFrame({"variant": name, "error": THRESHOLDS,
                      "share": cumulative_errors(values, THRESHOLDS)})
        for name, values in lines.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def frames(found: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """NME (shares) of the same predictions in three frames: the network's, the original's, median.

    In the first two an error is divided by the face's own distance of the eyes, as in equation 2,
    in the last by the median one.
    """
    truth, extent = found.truth.landmarks.numpy(), found.truth.extent.numpy()
    predicted = {name: found.landmarks[name] for name in names}
    predicted[MEAN_SHAPE] = np.broadcast_to(found.shape, (1, *truth.shape))
    rows = []
    for name, values in predicted.items():
        row = [
            np.mean([function(each, truth, frame) for each in values])
            for function, frame in (
                (landmark_errors, (found.truth.images.shape[-1],) * 2),
                (landmark_errors, extent),
                (median_errors, extent),
            )
        ]
        rows.append((name, *row))
    return pd.DataFrame(rows, columns=["variant", "network", "original", "median"])


def attribute_table(found: Predictions, names: Iterable[str]) -> pd.DataFrame:
    """attribute, variant, accuracy, balanced accuracy, F1, rate, n, and the majority's accuracy.

    Means over the seeds; the majority is the training part's.
    """
    labels = found.truth.attributes.numpy()
    trivial = attribute_scores(np.broadcast_to(found.majority, labels.shape), labels)
    parts = []
    for name in names:
        scores = [attribute_scores(each, labels) for each in found.logits[name]]
        mean = sum(score.select_dtypes("number") for score in scores) / len(scores)
        parts.append(
            mean.assign(
                attribute=list(found.truth.names), variant=name, majority=trivial["accuracy"]
            )
        )
    table = pd.concat(parts, ignore_index=True)
    front = ["attribute", "variant"]
    return table[[*front, *(each for each in table.columns if each not in front)]]


def wide_attributes(table: pd.DataFrame) -> pd.DataFrame:
    """One row an attribute: its rate, the majority's accuracy, and three scores a variant."""
    scores = ["accuracy", "balanced_accuracy", "f1"]
    wide = table.pivot_table(index="attribute", columns="variant", values=scores, sort=False)
    wide.columns = [f"{score.replace('_', ' ')}, {name}" for score, name in wide.columns]
    front = table.groupby("attribute")[["rate", "majority"]].first()
    return front.join(wide).reset_index()


def _three(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
