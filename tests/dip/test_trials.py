"""Notebook 02's trials and plan, and image quality against numbers worked out by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from lib.data.images import load_images, quality
from lib.dip import prior
from lib.dip import trials as study
from lib.dip.network import Architecture, enumerate_architectures, ladder, stratified
from lib.dip.prior import ANSWERS, TASKS, degraded_test_images, kept_picture
from lib.dip.trials import (
    EncoderDecoderStudy,
    dip_trial,
    main_grid,
    trained_trial,
)
from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import Context

QUICK = load_profile(EncoderDecoderStudy, "quick")
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


@pytest.mark.parametrize("task", TASKS)
def test_training_gives_finite_metrics_and_the_trivial_answer(task):
    metrics = study.run_trained(tiny_trained(task=task), CONTEXT)
    assert finite(metrics)
    assert len(metrics["rmse_images"]) == 4 and metrics["slc"] == 0
    assert metrics["rmse"] == pytest.approx(np.mean(metrics["rmse_images"]), abs=1e-5)
    _, *images = degraded_test_images(tiny_trained(task=task))
    clean, degraded, mask = (values.numpy() for values in images)
    np.testing.assert_allclose(clean, centres(), atol=1e-6)
    errors = []
    for truth, image, known in zip(clean, degraded, mask, strict=True):
        answer = np.where(known > 0, image, image[known > 0].mean()).clip(0, 1)
        errors.append(math.sqrt(((answer - truth) ** 2).mean()))
    assert metrics["trivial_rmse"] == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_prior_gives_finite_metrics(task):
    metrics = study.run_dip(tiny_dip(task=task, images=2), CONTEXT)
    assert finite(metrics)
    stops = ("fixed", "best", "last", "stopped", "ema")
    assert {f"{s}_{m}" for s in stops for m in ("rmse", "psnr", "ssim")} <= set(metrics)
    assert len(metrics["curve"]) == 2 and len(metrics["fixed_rmse_images"]) == 2
    assert metrics["best_rmse"] <= min(metrics["fixed_rmse"], metrics["last_rmse"]) + 1e-6
    assert metrics["curve"][0] == pytest.approx(metrics["fixed_rmse"], abs=2e-5)


def answered(answer: str, **changes) -> dict:
    trial = replace(study.answer_trials(QUICK)[0], answer=answer, **changes)
    return prior.run_answer(trial, CONTEXT)


def test_trivial_answers_are_measured_as_the_networks_are():
    metrics = study.run_trained(tiny_trained(), CONTEXT)
    tiny = answered("noisy photograph", image_size=48, patch=32)
    assert tiny["rmse"] == pytest.approx(metrics["trivial_rmse"], rel=1e-5)
    noisy, means, variation = map(answered, ANSWERS)
    assert max(means["rmse"], variation["rmse"]) < 0.95 * noisy["rmse"]
    assert len(means["rmse_images"]) == 4 and means["rmse"] != variation["rmse"]


def test_the_first_restored_photograph_is_kept(tmp_path):
    context = replace(CONTEXT, artefacts=tmp_path)
    _, clean, noisy, _ = degraded_test_images(tiny_dip())
    for run, trial in (
        (study.run_trained, tiny_trained(steps=40)),
        (study.run_dip, tiny_dip(images=1)),
    ):
        assert kept_picture(trial, context) is None
        error = run(trial, context)["rmse" if run is study.run_trained else "fixed_rmse"]
        picture = kept_picture(trial, context)
        assert picture.dtype == torch.uint8 and picture.shape == clean[0].shape
        if run is study.run_dip:
            assert quality(picture / 255, clean[0])["rmse"] == pytest.approx(error, abs=2e-3)
        assert not torch.equal(picture, (noisy[0].clamp(0, 1) * 255).round().to(torch.uint8))
    assert kept_picture(tiny_dip(), CONTEXT) is None


def test_an_answer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'BM3D'"):
        answered("BM3D")
    with pytest.raises(ValueError, match="inpainting"):
        answered("total variation", task="inpainting")


def test_every_control_changes_one_thing_of_every_rung():
    controls = study.controls(load_profile(EncoderDecoderStudy, "medium"))
    rungs = {name: controls[name] for name in study.LADDER_CONTROLS}
    plain = rungs.pop("as in the report")
    assert [trial.architecture.slc for trial in plain] == list(range(7))
    changed = {}
    for name, trials in rungs.items():
        for trial, before in zip(trials, plain, strict=True):
            now, old = (asdict(t) | asdict(t.layers) for t in (trial, before))
            changed[name] = {key: now[key] for key in old if now[key] != old[key]}
            assert len(changed[name]) == 1
    assert changed["larger batch"] == {"batch": 12} and changed["bypass"] == {"bypass": True}


def test_the_bypass_is_trained():
    trial = study.BypassTrial(**asdict(tiny_trained()))
    plain, bypass = (study.run_trained(t, CONTEXT) for t in (tiny_trained(), trial))
    assert finite(bypass)
    assert bypass["parameters"] == plain["parameters"] + 9 * 4, "3 x 3 weights a channel"


def test_controls_of_budget_noise_and_width():
    """17 rungs at depth 1, 2, 4 and 6, the 60 networks with every seed, a grid of 11."""
    controls = study.controls(load_profile(EncoderDecoderStudy, "medium"))
    short, long = controls["budget"], controls["longer budget"]
    assert len(short) == 17 and [replace(t, steps=300) for t in long] == short
    assert {t.steps for t in long} == {900}
    noise = controls["noise"]
    assert len({t.architecture for t in noise}) == 60
    assert {t.reg_noise for t in noise} == {1 / 30} and {t.seed for t in noise} == {0}
    for use in ("trained", "prior"):
        trials = controls[f"widths, {use}"]
        assert len(trials) == 11 and {t.width for t in trials} == {(16, 32, 64)}
    without = study.controls(QUICK)
    absent = ("longer budget", "noise", "widths, trained", "widths, prior")
    assert not any(without[name] for name in absent)


def test_the_paper_profile_has_channels_that_grow_and_noise_on_the_input():
    sizes = load_profile(EncoderDecoderStudy, "paper")
    trial = dip_trial(sizes, Architecture(8, (0,)))
    assert trial.reg_noise == 1 / 30 and trial.fixed == 1800
    assert [trial.layers.channels(level) for level in range(8)] == [64, 128] + 6 * [256]
    assert trained_trial(sizes, Architecture(8)).width == sizes.layers.width == (64, 128, 256)


def test_training_longer_restores_better():
    short, long = (study.run_trained(tiny_trained(steps=n), CONTEXT) for n in (1, 60))
    assert long["rmse"] < short["rmse"] and long["train_loss"] < short["train_loss"]


@pytest.mark.parametrize("task", TASKS)
def test_both_uses_see_the_same_degraded_images(task, monkeypatch):
    seen = {}
    as_input, fit = study._as_input, prior.fit

    def watch_input(degraded, mask, trial):
        seen["trained"] = degraded  # at last the test images
        return as_input(degraded, mask, trial)

    def watch_fit(architecture, targets, clean, **options):
        seen["prior"] = targets
        return fit(architecture, targets, clean, **options)

    monkeypatch.setattr(study, "_as_input", watch_input)
    monkeypatch.setattr(prior, "fit", watch_fit)
    study.run_trained(tiny_trained(task=task, steps=1, seed=3), CONTEXT)
    study.run_dip(tiny_dip(task=task, images=2, seed=4), CONTEXT)
    assert torch.equal(seen["trained"][:2], seen["prior"])
    assert (seen["prior"].numpy() - centres()[:2]).std() > 0.05


def test_the_noise_has_the_standard_deviation_asked_for():
    for sigma in (0.0, 10.0, 25.0):
        _, clean, noisy, mask = degraded_test_images(tiny_dip(sigma=sigma))
        assert (noisy - clean).std().item() * 255 == pytest.approx(sigma, rel=0.05)
        assert mask.min() == 1


def test_the_mask_hides_the_fraction_asked_for():
    for hidden in (0.0, 0.25, 0.8):
        _, clean, seen, mask = degraded_test_images(tiny_dip(task="inpainting", hidden=hidden))
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


@pytest.mark.parametrize(("name", "value"), [("reg_noise", -0.03), ("fixed", 99), ("window", 1)])
def test_a_prior_trial_refuses_what_its_fit_would(name, value):
    with pytest.raises(ValueError, match=f"{name} .*{value}"):
        tiny_dip(**{name: value})


def test_more_images_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"1\.\.4, not 5"):
        study.run_dip(tiny_dip(images=5), CONTEXT)


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


@pytest.mark.parametrize("name", PROFILES)
def test_the_grid_has_every_pair_once(name):
    profile = load_profile(EncoderDecoderStudy, name)
    grid = main_grid(profile)
    assert len(grid) == len(set(grid))
    family = profile.architectures or 2 ** (profile.max_depth + 1) - 2
    assert len(grid) == family + (profile.seeds - 1) * profile.seeded
    assert [seed for _, seed in grid[:family]] == [0] * family


def test_rmse_and_psnr_by_hand():
    clean = torch.full((1, 16, 16), 0.5)
    image = clean.clone()
    image[0, :4] += 0.2  # a quarter of the pixels is off by 0.2: mse = 0.01
    values = quality(image, clean)
    assert values["rmse"] == pytest.approx(0.1, rel=1e-6)
    assert values["psnr"] == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_images(channels):
    image = torch.rand(channels, 20, 24)
    assert quality(image, image) == {"rmse": 0, "psnr": math.inf, "ssim": pytest.approx(1)}


def test_the_image_is_clipped_and_the_clean_one_is_not_touched():
    clean = torch.zeros(1, 16, 16)
    clean[0, :8] = 1
    beyond = torch.where(clean > 0, 1.7, -3.0)
    assert quality(beyond, clean)["rmse"] == 0
    assert quality(torch.full_like(clean, 9.0), clean)["rmse"] == pytest.approx(math.sqrt(0.5))


def test_ssim_is_that_of_wang_et_al():
    clean = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = (clean + 0.1).clamp(0, 1)
    planes = [
        structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(clean.numpy(), image.numpy(), strict=True)
    ]
    value = quality(image, clean)["ssim"]
    assert value == pytest.approx(sum(planes) / 3, rel=1e-9) and 0.5 < value < 0.999


def test_ssim_of_constant_images_by_hand():
    """Without contrast only the luminance term is left: (2ab + c) / (a² + b² + c), c = 0.01²."""
    image, clean = torch.full((1, 16, 16), 0.3), torch.full((1, 16, 16), 0.6)
    expected = (2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4)
    assert quality(image, clean)["ssim"] == pytest.approx(expected, rel=1e-5)
