"""Notebook 02's paper profile, walked through at its real counts and sizes: see ``walk``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import walk as walking
from walk import OPS, Walk, patched

from lib.dip import prior
from lib.dip import trials as study
from lib.dip.network import UPSAMPLINGS, Architecture
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context

WORKING = 32  # GiB that a trial may take beside the data
PAPER = load_profile(study.EncoderDecoderStudy, "paper")
CONTEXT = Context(torch.device("cpu"))
QUALITIES = prior.qualities  # replaced while trials are walked through
COUNTS = {"bsds500": 200, "set9": 9}
DEEPEST = Architecture(8, tuple(range(8)))


def photos(name: str, *, size: int, channels: int, root) -> tuple[list[str], torch.Tensor]:
    count = COUNTS[name]
    images = torch.empty(count, channels, size, size, dtype=torch.uint8)
    return [f"{i}.png" for i in range(count)], images


def unmeasured(images: torch.Tensor, clean: torch.Tensor) -> tuple[dict, list[float]]:
    """Images without data have no quality, but they have to be as large as the clean ones."""
    assert images.shape == clean.shape
    return dict.fromkeys(prior.QUALITIES, 1.0), [1.0] * len(images)


@pytest.fixture(scope="module")
def walk():
    loaded: dict[str, tuple] = {}

    def load(name, **how):
        if name not in loaded:
            loaded[name] = photos(name, **how)
        return loaded[name]

    def data() -> None:
        for name in COUNTS:
            load(name, size=PAPER.image_size, channels=PAPER.channels, root=None)

    walk, train = Walk(data), study.train
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        # what is asked for are losses that are not finite: there are none
        none = lambda x: x.new_empty(0, x.ndim, dtype=torch.int64)  # noqa: E731
        patch.setitem(walking.ANSWERS, OPS.nonzero, none)
        patch.setattr(study, "train", lambda *a, **k: train(*a, **k | {"steps": 1}))
        patch.setattr(prior, "fit", partial(prior.fit, grouped=True))  # as on a GPU
        patch.setattr(prior, "qualities", unmeasured)
        for module in (study, prior):
            patch.setattr(module, "load_images", load)
        yield walk


CONTROLS = study.controls(PAPER)
TRAINED = {
    "deepest": study.trained_trial(PAPER, DEEPEST),
    "no skip": study.trained_trial(PAPER, Architecture(8)),
    "shallowest": study.trained_trial(PAPER, Architecture(1)),
    **{name: CONTROLS[name][0] for name in PAPER.ladder_controls},
    "long": CONTROLS["longer budget"][-1],
    "constant width": CONTROLS["widths, trained"][-1],
    "inpainting": CONTROLS["inpainting, trained"][-1],
}


@pytest.mark.parametrize("name", TRAINED)
def test_every_kind_of_training(name, walk):
    with walk.working():
        record = study.run_trained(TRAINED[name], CONTEXT)
    assert len(record["rmse_images"]) == 9 and record["parameters"] > 1e4
    assert walk.gib < WORKING


PRIORS = {
    "deepest": study.dip_trial(PAPER, DEEPEST),
    "no noise": CONTROLS["noise"][-1],
    "constant width": CONTROLS["widths, prior"][-1],
    "inpainting": CONTROLS["inpainting, prior"][-1],
    **{trial.upsampling: trial for trial in CONTROLS["upsampling"] if trial.depth == 8},
}


@pytest.mark.parametrize("name", PRIORS)
def test_every_kind_of_prior(name, walk):
    trial = replace(PRIORS[name], iterations=2, fixed=2, window=2)
    with walk.working():
        record = study.run_dip(trial, CONTEXT)
    assert len(record["fixed_rmse_images"]) == 9 and walk.gib < WORKING


def test_the_whole_window_of_the_automatic_stop(walk):
    """The last 100 outputs of nine photographs are kept."""
    settings = replace(PRIORS["deepest"], iterations=PAPER.window, fixed=PAPER.window)
    shape = (9, PAPER.channels, PAPER.patch, PAPER.patch)
    with walk.working():
        clean = torch.empty(shape)
        tracker = prior.Tracker(clean, settings)
        tracker.add(clean, torch.empty(9))
    assert 0.7 < walk.gib < 2, "100 x 9 x 3 x 272 x 272 floats are 0.74 GiB"


def test_every_kind_is_walked():
    kinds = {type(trial) for _, trial in study.evidence(PAPER)}
    walked = {type(trial) for trial in (*TRAINED.values(), *PRIORS.values())}
    assert kinds == walked | {prior.AnswerTrial}
    assert {*UPSAMPLINGS} <= {*PRIORS} and len(PAPER.ladder_controls) == 4


@pytest.mark.parametrize("trial", study.answer_trials(PAPER), ids=lambda trial: trial.answer)
def test_answers_of_the_papers_size(trial, monkeypatch):
    grey = np.full((1, PAPER.channels, PAPER.image_size, PAPER.image_size), 128, np.uint8)
    image = ["grey.png"], torch.from_numpy(grey)
    monkeypatch.setattr(prior, "load_images", lambda *_, **__: image)
    monkeypatch.setattr(prior, "qualities", QUALITIES)
    error = prior.run_answer(trial, CONTEXT)["rmse"]
    noise = PAPER.sigma / 255
    if trial.answer == "noisy photograph":
        assert error == pytest.approx(noise, rel=0.01)
    else:
        assert error < noise / 3
