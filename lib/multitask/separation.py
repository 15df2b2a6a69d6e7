"""Notebook 04: what streams of a trained network share, measured instead of looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.data.faces import Faces
from lib.engine.sweep import Context
from lib.ledger.estimates import mean_interval
from lib.multitask.face_training import EVALUATION_BATCH
from lib.multitask.networks import MultiTask
from lib.multitask.plan import (
    ATTENTION,
    BASELINE,
    JOINT,
    RANDOM,
    SINGLE,
    SMTN,
    TUNED,
    all_variants,
    stage1,
)
from lib.multitask.probes import attribute_probe, linear_cka, linear_probe, pooled
from lib.multitask.profile import MultiTaskStudy
from lib.multitask.trials import MultiTaskTrial, faces_of, load_network

LOOKED_AT = (BASELINE, SMTN, TUNED, RANDOM, JOINT, SINGLE, ATTENTION)
CELLS = 4  # maps are averaged in so many squares each way


@dataclass(frozen=True, kw_only=True)
class SeparationTrial:
    """A look into a trained network.

    probed: faces to fit a probe, and to try it, at most. beside: another network whose streams are
    looked at with it, one that had nothing to do with it.
    """

    of: MultiTaskTrial
    probed: int
    beside: MultiTaskTrial | None = None
    version: int = 1


def separation_trials(sizes: MultiTaskStudy, attributes: int) -> dict[SeparationTrial, str]:
    """The looks of all seeds, with the variant's name; single-task networks beside stage 1."""
    found = {}
    for name, trial in all_variants(sizes, attributes):
        if name in LOOKED_AT:
            beside = stage1(sizes, trial.seed) if name == SINGLE else None
            found[SeparationTrial(of=trial, probed=sizes.probed, beside=beside)] = name
    return found


def run_separation(trial: SeparationTrial, context: Context) -> dict:
    """Similarity of every two streams, and what a linear probe reads from each, by layer.

    cka: [first, second, layer, debiased linear CKA on test faces]. probes: [stream, layer, task,
    value]: R^2 for landmarks, mean balanced accuracy for attributes; fitted on training faces,
    tried on test faces. Layer 1 is the first.
    """
    networks = [load_network(each, context) for each in (trial.beside, trial.of) if each]
    main = trial.of.faces.tests[0]
    faces = [faces_of(trial.of.faces, part, context) for part in ("train", main)]
    train, test = (_first(each, trial.probed) for each in faces)
    seen: dict[str, list[Tensor]] = {}
    tried: dict[str, list[Tensor]] = {}
    for network in networks:
        seen |= stream_features(network, train)
        tried |= stream_features(network, test)
    cka = [
        (first, second, layer + 1, linear_cka(tried[first][layer], tried[second][layer]))
        for first, second in combinations(tried, 2)
        for layer in range(len(tried[first]))
    ]
    probes = []
    for stream, layers in tried.items():
        for layer, features in enumerate(layers):
            pair = seen[stream][layer], features
            points = _probe(linear_probe, pair, train.landmarks, test.landmarks)
            labels = _probe(attribute_probe, pair, train.attributes, test.attributes)
            probes += [
                (stream, layer + 1, "landmarks", points),
                (stream, layer + 1, "attributes", labels),
            ]
    return {"cka": cka, "probes": probes}


@torch.no_grad()
def stream_features(network: MultiTask, faces: Faces) -> dict[str, list]:
    """(N, D) features of each stream and layer: its maps averaged in ``CELLS`` squares each way."""
    device = next(network.parameters()).device
    parts: list[dict] = []
    for images in faces.images.split(EVALUATION_BATCH):
        maps = network.features(images.to(device).float() / 255)
        parts.append({name: [pooled(each, CELLS) for each in maps[name]] for name in maps})
    return {
        name: [np.concatenate(layer) for layer in zip(*(part[name] for part in parts), strict=True)]
        for name in parts[0]
    }


def similarity_table(records: pd.DataFrame) -> pd.DataFrame:
    """variant, pair, first, second, layer, cka, low, high: means and intervals over seeds."""
    columns = ["first", "second", "layer", "cka"]
    table = _over_seeds(records, "cka", columns)
    pair = table["first"] + " and " + table["second"]
    return table.assign(pair=pair, setting=table["variant"])


def probe_table(records: pd.DataFrame) -> pd.DataFrame:
    """variant, stream, layer, task, value, low, high: means and intervals over seeds."""
    return _over_seeds(records, "probes", ["stream", "layer", "task", "value"])


def by_seed(records: pd.DataFrame, kind: str, columns: list[str]) -> pd.DataFrame:
    """One row a measured value: variant, seed and the columns."""
    rows = [
        (record["variant"], record["seed"], *row)
        for record in records.to_dict("records")
        for row in record[kind]
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", *columns])


def _over_seeds(records: pd.DataFrame, kind: str, columns: list[str]) -> pd.DataFrame:
    *keys, value = columns
    rows = []
    for names, part in by_seed(records, kind, columns).groupby(["variant", *keys], sort=False):
        found = mean_interval(part[value])
        single = found.n == 1  # an infinite interval cannot be drawn
        low, high = (found.value,) * 2 if single else (found.low, found.high)
        rows.append((*names, found.value, low, high, found.n))
    return pd.DataFrame(rows, columns=["variant", *keys, value, "low", "high", "n"])


def _first(faces: Faces, count: int) -> Faces:
    values = {name: getattr(faces, name)[:count] for name in ("images", "landmarks", "attributes")}
    return Faces(**values, extent=faces.extent[:count], ids=faces.ids[:count], names=faces.names)


def _probe(function, features: tuple, train: torch.Tensor, test: torch.Tensor) -> float:
    fitted, tried = features
    return function(fitted, train.numpy(), tried, test.numpy())
