"""Notebook 02: one encoder-decoder, scored once trained and once as an untrained prior.

Ishikawa, "Relationship between the structures of image spaces and image transformation
networks": each of more than 300 structures is (i) trained to restore images and (ii) fitted to
single images without training (Deep Image Prior). Both scores are taken on the same test images
with the same degradation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from lib.data.images import load_images
from lib.dip.network import (
    UPSAMPLINGS,
    Architecture,
    EncoderDecoder,
    Layers,
    enumerate_architectures,
)
from lib.dip.prior import DipFit, DipSettings, fit
from lib.engine.batches import Patches
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, seeded, train
from lib.networks.sizes import count_parameters

TASKS = ("denoising", "inpainting")
QUALITIES = ("rmse", "psnr", "ssim")
STOPS = ("fixed", "best", "last", "stopped", "ema")  # outputs of a fit that are scored
CURVE_EVERY = 10  # iterations between the stored points of a fit's curve
BEFORE_CONTROLS = 100  # pairs after which the bands are clear, and more only narrow intervals


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What every trial of a profile has in common; the rest of ``profile.yaml`` differs by use.

    sigma, hidden: of the degradation, see ``_Trial``. image_size: pixels a side to which
        photographs are reduced. patch: pixels a side that a network sees, cut anywhere to train
        and at the centre to test.
    """

    sigma: float
    hidden: float
    test_set: str
    image_size: int
    patch: int
    channels: int
    width: int
    skip_width: int
    upsampling: str

    @property
    def layers(self) -> Layers:
        """What the networks have in common."""
        return Layers(self.width, self.skip_width, self.upsampling)


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderStudy(_Shared):
    """Sizes and budgets of notebook 02; ``profile.yaml`` says what each is."""

    train_set: str
    max_depth: int
    architectures: int
    seeds: int
    seeded: int
    control_depths: tuple[int, ...]
    ladder_depth: int
    steps: int
    batch: int
    lr: float
    dip_images: int
    iterations: int
    fixed: int
    window: int
    patience: int


@dataclass(frozen=True, kw_only=True)
class _Trial(_Shared):
    """One network, one use, one seed.

    task: ``denoising`` (Gaussian noise of standard deviation ``sigma``, of 255, not clipped) or
        ``inpainting`` (a fraction ``hidden`` of the pixels is set to 0 and known to be missing).
    """

    depth: int
    skips: tuple[int, ...]
    seed: int
    task: str
    version: int = 1

    def __post_init__(self) -> None:
        Architecture(self.depth, self.skips)
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, not {self.task!r}")
        if not self.sigma >= 0:
            raise ValueError(f"sigma must not be negative: {self.sigma!r}")
        if not 0 <= self.hidden < 1:
            raise ValueError(f"hidden is a fraction in [0, 1), not {self.hidden!r}")

    @property
    def architecture(self) -> Architecture:
        """The structure under test."""
        return Architecture(self.depth, self.skips)


@dataclass(frozen=True, kw_only=True)
class TrainedTrial(_Trial):
    """A network trained from scratch on patches of ``train_set``, with Adam and one cycle."""

    train_set: str
    steps: int
    batch: int
    lr: float
    global_residual: bool = False


@dataclass(frozen=True, kw_only=True)
class DipTrial(_Trial, DipSettings):
    """The same network as an image prior, on the first ``images`` test images.

    reg_noise: fresh noise on the input; it is part of every record's key, and always 0 here.
    """

    images: int
    reg_noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        DipSettings.__post_init__(self)
        if self.reg_noise:
            raise ValueError(f"reg_noise must be 0, not {self.reg_noise!r}")


def degrade(clean: Tensor, trial: _Trial, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The degraded images and the mask (N, 1, H, W) of the pixels that are known."""
    if trial.task == "denoising":
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        return clean + noise * (trial.sigma / 255), torch.ones_like(clean[:, :1])
    mask = (torch.rand(clean[:, :1].shape, generator=rng) >= trial.hidden).to(clean)
    return clean * mask, mask


def degraded_test_images(
    trial: _Trial, root: Path | None = None
) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Names of the test images; clean, degraded (N, C, P, P) float32, and mask of known pixels."""
    size, channels = trial.image_size, trial.channels
    names, images = load_images(trial.test_set, size=size, channels=channels, root=root)
    inside = slice((size - trial.patch) // 2, (size - trial.patch) // 2 + trial.patch)
    clean = images[:, :, inside, inside].float() / 255
    rng = torch.Generator().manual_seed(20_201_004)  # the same for every trial of a task
    return names, clean, *degrade(clean, trial, rng)


def untouched(degraded: Tensor, mask: Tensor) -> Tensor:
    """The trivial answer, which is the noisy image itself, or the mean of the known pixels."""
    known = mask.expand_as(degraded)
    mean = (degraded * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    return torch.where(known > 0, degraded, mean)


def quality(image: Tensor, clean: Tensor) -> dict[str, float]:
    """RMSE, PSNR (dB) and SSIM of one image against another, both (C, H, W) in [0, 1].

    The image is clipped to [0, 1] first, as a file or a screen would. SSIM has the Gaussian
    window of Wang et al. 2004 (sigma 1.5, population covariance). All by scikit-image.
    """
    a = clean.detach().cpu().numpy().astype(np.float64)
    b = image.detach().cpu().numpy().astype(np.float64).clip(0, 1)
    mse = mean_squared_error(a, b)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(a, b, channel_axis=0, data_range=1, **wang)
    psnr = peak_signal_noise_ratio(a, b, data_range=1) if mse else np.inf
    return {"rmse": float(np.sqrt(mse)), "psnr": float(psnr), "ssim": float(ssim)}


def _qualities(images: Tensor, clean: Tensor) -> tuple[dict[str, float], list[float]]:
    """Means over the images, and the RMSE of each."""
    rows = [quality(image, truth) for image, truth in zip(images, clean, strict=True)]
    means = {name: float(np.mean([row[name] for row in rows])) for name in QUALITIES}
    return means, [round(row["rmse"], 6) for row in rows]


def run_trained(trial: TrainedTrial, context: Context) -> dict[str, Any]:
    """Train, then restore the test images in evaluation mode."""
    device = context.device
    _, images = load_images(
        trial.train_set, size=trial.image_size, channels=trial.channels, root=context.data_root
    )
    patches = Patches(images.to(device), patch=trial.patch, batch=trial.batch, seed=trial.seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        clean = patches(step)
        rng = torch.Generator().manual_seed(trial.seed * 1_000_003 + step + 500_000)
        return _as_input(*degrade(clean, trial, rng), trial), clean

    with seeded(trial.seed):
        model = EncoderDecoder(
            trial.architecture,
            trial.channels + (trial.task == "inpainting"),  # the mask is an input channel
            trial.channels,
            trial.layers,
            global_residual=trial.global_residual,
        )
    model = model.to(device).to(memory_format=torch.channels_last)
    losses = train(
        model,
        lambda net, pair: (net(pair[0]).float() - pair[1]).square().mean(),
        batch,
        steps=trial.steps,
        lr=trial.lr,
        schedule=one_cycle,
        checkpoint=context.checkpoint,
        label=f"training {trial.architecture.name}",
    )
    _, clean, degraded, mask = degraded_test_images(trial, context.data_root)
    restored = restore(model, _as_input(degraded, mask, trial).to(device)).cpu()
    means, rmse_images = _qualities(restored, clean)
    return {
        **means,
        "rmse_images": rmse_images,
        "trivial_rmse": _qualities(untouched(degraded, mask), clean)[0]["rmse"],
        "train_loss": float(np.mean(losses[-max(1, len(losses) // 10) :])),
        "parameters": count_parameters(model),
        "slc": trial.architecture.slc,
    }


@torch.no_grad()
def restore(model: nn.Module, images: Tensor) -> Tensor:
    """The model's answer in evaluation mode, one image at a time."""
    model.eval()
    return torch.cat([model(image[None]).float() for image in images])


def _as_input(degraded: Tensor, mask: Tensor, trial: _Trial) -> Tensor:
    return degraded if trial.task == "denoising" else torch.cat((degraded, mask), 1)


def run_dip(trial: DipTrial, context: Context) -> dict[str, Any]:
    """Fit the untrained network to each degraded image and measure along the way."""
    clean, fitted = fit_images(trial, context)
    scored = {stop: _qualities(fitted.outputs[stop], clean) for stop in STOPS}
    curve = fitted.rmse.mean(0)[CURVE_EVERY - 1 :: CURVE_EVERY]
    return {
        "slc": trial.architecture.slc,
        **{f"{stop}_{name}": scored[stop][0][name] for stop in STOPS for name in QUALITIES},
        "fixed_rmse_images": scored["fixed"][1],
        "best_iteration": float(fitted.best.float().mean()),
        "stop_iteration": float(fitted.stop.float().mean()),
        "curve": [round(value, 5) for value in curve.tolist()],
    }


def fit_images(
    trial: DipTrial, context: Context, snapshots: tuple[int, ...] = ()
) -> tuple[Tensor, DipFit]:
    """Clean test images and the fit to their degraded versions, with outputs to look at."""
    names, *test_set = degraded_test_images(trial, context.data_root)
    if not 1 <= trial.images <= len(names):
        raise ValueError(f"images must be in 1..{len(names)}, not {trial.images}")
    clean, degraded, mask = (values[: trial.images] for values in test_set)
    fitted = fit(
        trial.architecture,
        degraded.to(context.device),
        clean.to(context.device),
        seeds=[trial.seed * 1000 + i for i in range(len(clean))],
        layers=trial.layers,
        settings=trial,
        masks=mask.to(context.device),
        snapshots=snapshots,
    )
    return clean, fitted


def ladder(depth: int, slc: int) -> Architecture:
    """The plainest network of a depth and an SLC: that one skip, or none if SLC = depth."""
    return Architecture(depth, () if slc == depth else (slc,))


def stratified(max_depth: int, count: int = 0) -> list[Architecture]:
    """The family, or ``count`` of it; every beginning is spread over (depth, SLC).

    Each round takes one network of every stratum: first the plainest one, then random ones.
    """
    rng = np.random.default_rng(0)
    strata: dict[tuple[int, int], list[Architecture]] = {}
    for architecture in enumerate_architectures(max_depth):
        strata.setdefault((architecture.depth, architecture.slc), []).append(architecture)
    for (depth, slc), members in strata.items():
        rng.shuffle(members)
        plainest = ladder(depth, slc)
        members.remove(plainest)
        members.insert(0, plainest)
    rounds = max(map(len, strata.values()))
    order = [m[i] for i in range(rounds) for m in strata.values() if i < len(m)]
    return order[: count or None]


def _values(kind: type[_Trial], sizes: EncoderDecoderStudy, place: Architecture) -> dict[str, Any]:
    """The profile's numbers that a kind of trial has, and its structure."""
    names = {field.name for field in fields(kind)} & {field.name for field in fields(sizes)}
    structure = {"depth": place.depth, "skips": place.skips, "task": "denoising"}
    return {name: getattr(sizes, name) for name in names} | structure


def trained_trial(
    sizes: EncoderDecoderStudy, architecture: Architecture, seed: int = 0
) -> TrainedTrial:
    """A training trial with the profile's numbers."""
    return TrainedTrial(**_values(TrainedTrial, sizes, architecture), seed=seed)


def dip_trial(sizes: EncoderDecoderStudy, architecture: Architecture, seed: int = 0) -> DipTrial:
    """A Deep Image Prior trial with the profile's numbers, but its authors' learning rate."""
    values = _values(DipTrial, sizes, architecture) | {"lr": DipSettings.lr}
    return DipTrial(**values, images=sizes.dip_images, seed=seed)


def main_grid(sizes: EncoderDecoderStudy) -> list[tuple[Architecture, int]]:
    """(architecture, seed) pairs in the order they should run: all once, then the repeats."""
    order = stratified(sizes.max_depth, sizes.architectures)
    repeats = [(a, seed) for seed in range(1, sizes.seeds) for a in order[: sizes.seeded]]
    return [(a, 0) for a in order] + repeats


def residual_control(sizes: EncoderDecoderStudy) -> tuple[list[TrainedTrial], list[TrainedTrial]]:
    """SLC moved alone at one depth: as in the report, and with a global residual."""
    depth = sizes.ladder_depth
    plain = [trained_trial(sizes, ladder(depth, slc)) for slc in range(depth + 1)]
    return plain, [replace(trial, global_residual=True) for trial in plain]


def upsampling_control(sizes: EncoderDecoderStudy) -> list[DipTrial]:
    """Depth moved alone (skip at level 0), with every kind of upsampling, the usual one first."""
    return [
        replace(dip_trial(sizes, ladder(depth, 0)), upsampling=kind)
        for kind in sorted(UPSAMPLINGS, key=lambda kind: kind != sizes.upsampling)
        for depth in sizes.control_depths
    ]


def inpainting_trials(sizes: EncoderDecoderStudy) -> tuple[list[TrainedTrial], list[DipTrial]]:
    """The second task on a small grid over depth and SLC: both uses of each network."""
    grid = [
        ladder(depth, slc)
        for depth in sizes.control_depths
        for slc in sorted({0, depth // 2, depth})
    ]
    return (
        [replace(trained_trial(sizes, a), task="inpainting") for a in grid],
        [replace(dip_trial(sizes, a), task="inpainting") for a in grid],
    )


def evidence(sizes: EncoderDecoderStudy) -> Iterator[tuple[Callable, object]]:
    """Every trial with its function: pairs first, and the controls once the bands are clear."""
    pairs: list[tuple[Callable, object]] = []
    for architecture, seed in main_grid(sizes):
        pairs.append((run_trained, trained_trial(sizes, architecture, seed)))
        pairs.append((run_dip, dip_trial(sizes, architecture, seed)))
    yield from pairs[: 2 * BEFORE_CONTROLS]
    plain, residual = residual_control(sizes)
    to_train, to_fit = inpainting_trials(sizes)
    yield from ((run_trained, trial) for trial in plain + residual + to_train)
    yield from ((run_dip, trial) for trial in upsampling_control(sizes) + to_fit)
    yield from pairs[2 * BEFORE_CONTROLS :]
