"""Notebook 04's paper profile, walked through at its real counts and sizes: see ``walk``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walk import Walk, patched

from lib.data.faces import LANDMARKS, Faces
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context
from lib.multitask import measures
from lib.multitask import trials as study

WORKING = 4  # GiB that a trial may take beside the faces
PAPER = load_profile(study.MultiTaskStudy, "paper")
TRIALS = study.variants(PAPER, 0)
CONTEXT = Context(torch.device("cpu"))
COUNTS = {"train": 162_770, "test": 19_962}  # section 4 of the paper


def no_faces(name: str, part: str, *, size: int, count: int, fold: int, root) -> Faces:
    assert (name, size, count, fold) == ("celeba", 128, 0, 0)
    many = COUNTS[part]
    return Faces(
        torch.empty(many, 3, size, size, dtype=torch.uint8),
        torch.empty(many, len(LANDMARKS), 2),
        torch.empty(many, 40, dtype=torch.int8),
        torch.empty(many, 2),
        ("",) * many,
        tuple(map(str, range(40))),
    )


@pytest.fixture(scope="module")
def walk():
    """One step each; what is computed in numpy is left out, and its shapes are kept."""
    cached: dict[str, Faces] = {}

    def load(name, part, **options):
        if part not in cached:
            cached[part] = no_faces(name, part, **options)
        return cached[part]

    def all_parts():
        for part in COUNTS:
            load("celeba", part, size=128, count=0, fold=0, root=None)

    walk, train, squares = Walk(all_parts), measures.train, measures.squares
    walk.features, walk.predicted = [], []

    def shapes(maps):
        kept = torch.nn.functional.adaptive_avg_pool2d(maps.float(), 4).flatten(1)
        return np.zeros(kept.shape, np.float32)

    def predict(network, images):
        outputs = inner(network, images)
        walk.predicted.append({task: tuple(values.shape) for task, values in outputs.items()})
        return outputs

    def probe(x, known, test_x, truth):
        walk.features.append((x.shape, test_x.shape))
        return 0.0

    inner = measures.predict
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        patch.setattr(study, "load_faces", load)
        patch.setattr(study, "artefact", walk.artefact)
        patch.setattr(measures, "train", lambda *a, **k: train(*a, **k | {"steps": 1}))
        patch.setattr(measures, "predict", predict)
        patch.setattr(measures, "trivial_scores", lambda *_: {})
        patch.setattr(measures, "squares", shapes)
        patch.setattr(measures, "linear_cka", lambda *_: 0.0)
        for name in ("linear_probe", "attribute_probe"):
            patch.setattr(measures, name, probe)
        yield walk
    assert measures.squares is squares


@pytest.mark.parametrize("name", study.VARIANTS)
def test_every_kind_of_training(name, walk):
    """The networks, one step, and the answers to all test faces."""
    with walk.working():
        record = study.run_multitask(TRIALS[name], CONTEXT)
    assert (record["train_images"], record["test_images"]) == (162_770, 19_962)
    assert record["parameters"] > 1e6 and walk.gib < WORKING
    assert walk.predicted[-1] == {"landmarks": (19_962, 5, 2), "attributes": (19_962, 40)}


@pytest.mark.parametrize("name", study.LOOKED_AT)
def test_every_kind_of_look(name, walk):
    """The ridge of two streams together has 2,000 faces and at most 8,192 features: 250 MiB."""
    looks = study.separation_trials(PAPER)
    look = next(look for look, variant in looks.items() if variant == name)
    walk.features.clear()
    with walk.working():
        study.run_separation(look, CONTEXT)
    assert walk.gib < WORKING
    assert {len(shape) for pair in walk.features for shape in pair} == {2}
    assert max(columns for pair in walk.features for _, columns in pair) <= 8_192
    assert {rows for pair in walk.features for rows, _ in pair} == {2_000}


def test_mtan_has_the_weights_of_its_authors_design():
    """7,097,810 with one set of layers for both tasks; with one for each it had 8,076,114."""
    network = study.untrained(TRIALS[study.ATTENTION])
    assert sum(weight.numel() for weight in network.parameters()) == 7_097_810
