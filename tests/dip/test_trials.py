"""Notebook 02's trials and plan."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.images import load_images
from lib.dip import trials as study
from lib.dip.network import Architecture, enumerate_architectures
from lib.dip.plan import dip_trial, ladder, main_grid, stratified, trained_trial
from lib.dip.profile import ENCODER_DECODER_STUDY
from lib.engine.sweep import Context

QUICK = ENCODER_DECODER_STUDY["quick"]
CONTEXT = Context(torch.device("cpu"))
TINY = {"image_size": 48, "patch": 32, "width": 4}
TINY_DIP = {**TINY, "iterations": 20, "fixed": 10, "window": 5, "patience": 8}


def tiny_trained(**changes) -> study.TrainedTrial:
    trial = trained_trial(QUICK, Architecture(2, (0,)))
    return replace(trial, **TINY | {"steps": 5, "batch": 2} | changes)


def tiny_dip(**changes) -> study.DipTrial:
    return replace(dip_trial(QUICK, Architecture(2, (0,))), **TINY_DIP | changes)


def centres() -> np.ndarray:
    _, images = load_images(QUICK.test_set, size=48, channels=1)
    return images[:, :, 8:40, 8:40].numpy() / 255


def finite(metrics: dict) -> bool:
    numbers = np.concatenate([np.ravel(value) for value in metrics.values()])
    return bool(np.isfinite(numbers).all())


@pytest.mark.parametrize("task", study.TASKS)
def test_training_gives_finite_metrics_and_the_trivial_answer(task):
    metrics = study.run_trained(tiny_trained(task=task), CONTEXT)
    assert finite(metrics)
    assert len(metrics["rmse_images"]) == 4 and metrics["slc"] == 0
    assert metrics["rmse"] == pytest.approx(np.mean(metrics["rmse_images"]), abs=1e-5)
    clean, degraded, mask = map(
        torch.Tensor.numpy, study.degraded_test_images(tiny_trained(task=task))
    )
    np.testing.assert_allclose(clean, centres(), atol=1e-6)
    errors = []
    for truth, image, known in zip(clean, degraded, mask, strict=True):
        answer = np.where(known > 0, image, image[known > 0].mean()).clip(0, 1)
        errors.append(math.sqrt(((answer - truth) ** 2).mean()))
    assert metrics["trivial_rmse"] == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("task", study.TASKS)
def test_the_prior_gives_finite_metrics(task):
    metrics = study.run_dip(tiny_dip(task=task, images=2), CONTEXT)
    assert finite(metrics)
    stops = ("fixed", "best", "last", "stopped", "ema")
    assert {f"{s}_{m}" for s in stops for m in ("rmse", "psnr", "ssim")} <= set(metrics)
    assert len(metrics["curve"]) == 2 and len(metrics["fixed_rmse_images"]) == 2
    assert metrics["best_rmse"] <= min(metrics["fixed_rmse"], metrics["last_rmse"]) + 1e-6
    assert metrics["curve"][0] == pytest.approx(metrics["fixed_rmse"], abs=2e-5)


def test_training_longer_restores_better():
    short, long = (study.run_trained(tiny_trained(steps=n), CONTEXT) for n in (1, 60))
    assert long["rmse"] < short["rmse"] and long["train_loss"] < short["train_loss"]


@pytest.mark.parametrize("task", study.TASKS)
def test_both_uses_see_the_same_degraded_images(task, monkeypatch):
    seen = {}
    restore, fit = study.restore, study.dip.fit

    def watch_restore(model, images):
        seen["trained"] = images[:, :1]
        return restore(model, images)

    def watch_fit(architecture, targets, clean, **options):
        seen["prior"] = targets
        return fit(architecture, targets, clean, **options)

    monkeypatch.setattr(study, "restore", watch_restore)
    monkeypatch.setattr(study.dip, "fit", watch_fit)
    study.run_trained(tiny_trained(task=task, steps=1, seed=3), CONTEXT)
    study.run_dip(tiny_dip(task=task, images=2, seed=4), CONTEXT)
    assert torch.equal(seen["trained"][:2], seen["prior"])
    assert (seen["prior"].numpy() - centres()[:2]).std() > 0.05


def test_the_noise_has_the_standard_deviation_asked_for():
    for sigma in (0.0, 10.0, 25.0):
        clean, noisy, mask = study.degraded_test_images(tiny_dip(sigma=sigma))
        assert (noisy - clean).std().item() * 255 == pytest.approx(sigma, rel=0.05)
        assert mask.min() == 1


def test_the_mask_hides_the_fraction_asked_for():
    for hidden in (0.0, 0.25, 0.8):
        clean, seen, mask = study.degraded_test_images(tiny_dip(task="inpainting", hidden=hidden))
        assert 1 - mask.mean().item() == pytest.approx(hidden, abs=0.03)
        torch.testing.assert_close(seen, clean * mask)
        assert set(mask.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("make", [tiny_trained, tiny_dip])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sigma": -1.0}, r"-1\.0"),
        ({"sigma": math.nan}, "nan"),
        ({"task": "deblurring"}, "'deblurring'"),
        ({"hidden": 1.0}, r"1\.0"),
        ({"hidden": -0.1}, r"-0\.1"),
        ({"depth": 0, "skips": ()}, "0"),
        ({"skips": (2,)}, "skip level 2"),
    ],
)
def test_bad_trials_are_refused(make, changes, named):
    with pytest.raises(ValueError, match=named):
        make(**changes)


def test_all_62_networks_of_depth_five_occur_once():
    order = stratified(5)
    assert len(order) == 62 and set(order) == set(enumerate_architectures(5))
    assert stratified(5) == order, "the order is the same every time"


def test_every_beginning_is_spread_over_depth_and_slc():
    strata = {(depth, slc) for depth in range(1, 6) for slc in range(depth + 1)}
    order = stratified(5)
    first = order[: len(strata)]
    assert Counter((a.depth, a.slc) for a in first) == Counter(strata)
    assert all(a == ladder(a.depth, a.slc) for a in first)
    sizes = Counter((a.depth, a.slc) for a in order)
    for length in range(1, len(order) + 1):
        counts = Counter((a.depth, a.slc) for a in order[:length])
        most = max(counts.values())
        for stratum in strata:
            assert counts[stratum] >= min(most - 1, sizes[stratum])


@pytest.mark.parametrize("name", sorted(ENCODER_DECODER_STUDY))
def test_the_grid_has_every_pair_once(name):
    profile = ENCODER_DECODER_STUDY[name]
    grid = main_grid(profile)
    assert len(grid) == len(set(grid))
    family = profile.architectures or 2 ** (profile.max_depth + 1) - 2
    assert len(grid) == family + (profile.seeds - 1) * profile.seeded
    assert [seed for _, seed in grid[:family]] == [0] * family
