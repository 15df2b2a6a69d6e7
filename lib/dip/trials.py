"""Notebook 02: one encoder-decoder, scored once trained and once as an untrained prior.

Ishikawa, "Relationship between the structures of image spaces and image transformation
networks": each of more than 300 structures is (i) trained to restore images and (ii) fitted to
single images without training (Deep Image Prior). Both scores are taken on the same test images
with the same degradation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.images import load_images
from lib.dip import prior as dip
from lib.dip.metrics import quality
from lib.dip.network import Architecture, EncoderDecoder
from lib.engine.batches import Patches
from lib.engine.seeding import seeded
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, train
from lib.networks.sizes import count_parameters

TASKS = ("denoising", "inpainting")
CURVE_EVERY = 10  # iterations between the stored points of a DIP curve


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What both uses of a network share.

    task: ``denoising`` (Gaussian noise of standard deviation ``sigma``, of 255, not clipped) or
        ``inpainting`` (a fraction ``hidden`` of the pixels is set to 0 and known to be missing).
    image_size, patch: photographs are reduced to the first; networks see patches of the second
        (test images: the central one).
    """

    depth: int
    skips: tuple[int, ...]
    seed: int
    task: str
    sigma: float
    hidden: float
    test_set: str
    image_size: int
    patch: int
    channels: int
    width: int
    skip_width: int
    upsampling: str
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

    @property
    def network(self) -> dict:
        """Options of EncoderDecoder."""
        return {
            "width": self.width,
            "skip_width": self.skip_width,
            "upsampling": self.upsampling,
        }


@dataclass(frozen=True, kw_only=True)
class TrainedTrial(_Trial):
    """A network trained from scratch on patches of ``train_set``, with Adam and one cycle."""

    train_set: str
    steps: int
    batch: int
    lr: float
    global_residual: bool = False


@dataclass(frozen=True, kw_only=True)
class DipTrial(_Trial):
    """The same network as an image prior, on the first ``images`` test images."""

    images: int
    iterations: int
    fixed: int
    window: int
    patience: int
    lr: float = 0.01
    reg_noise: float = 0.0
    ema: float = 0.99

    @property
    def settings(self) -> dip.DipSettings:
        """The fit's settings."""
        names = ("iterations", "fixed", "window", "patience", "lr", "reg_noise", "ema")
        return dip.DipSettings(**{name: getattr(self, name) for name in names})


def test_images(trial: _Trial, root: object = None) -> tuple[list[str], Tensor]:
    """Names and clean (N, C, P, P) float32 test images: the central patch of each."""
    names, images = load_images(
        trial.test_set, size=trial.image_size, channels=trial.channels, root=root
    )
    start = (trial.image_size - trial.patch) // 2
    end = start + trial.patch
    return names, images[:, :, start:end, start:end].float() / 255


def degrade(clean: Tensor, trial: _Trial, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The degraded images and the mask (N, 1, H, W) of the pixels that are known."""
    if trial.task == "denoising":
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        return clean + noise * (trial.sigma / 255), torch.ones_like(clean[:, :1])
    mask = (torch.rand(clean[:, :1].shape, generator=rng) >= trial.hidden).to(clean)
    return clean * mask, mask


def degraded_test_images(trial: _Trial, root: object = None) -> tuple[Tensor, Tensor, Tensor]:
    """Clean, degraded, mask; the degradation is the same for every trial of a task."""
    _, clean = test_images(trial, root)
    rng = torch.Generator().manual_seed(20_201_004)
    return clean, *degrade(clean, trial, rng)


def untouched(degraded: Tensor, mask: Tensor) -> Tensor:
    """The trivial answer: the noisy image itself; missing pixels get the mean of the known."""
    known = mask.expand_as(degraded)
    mean = (degraded * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    return torch.where(known > 0, degraded, mean)


def trivial_rmse(trial: _Trial, root: object = None) -> float:
    """Mean RMSE of the trivial answer over the test images."""
    return _trivial_rmse(*degraded_test_images(trial, root))


def _trivial_rmse(clean: Tensor, degraded: Tensor, mask: Tensor) -> float:
    return _mean_quality(untouched(degraded, mask), clean)["rmse"]


def run_trained(trial: TrainedTrial, context: Context) -> dict:
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

    model = _trained_network(trial).to(device, memory_format=torch.channels_last)
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
    clean, degraded, mask = degraded_test_images(trial, context.data_root)
    restored = restore(model, _as_input(degraded, mask, trial).to(device)).cpu()
    tail = losses[-max(1, len(losses) // 10) :]
    return {
        **_mean_quality(restored, clean),
        "rmse_images": _rmse_of_each(restored, clean),
        "trivial_rmse": _trivial_rmse(clean, degraded, mask),
        "train_loss": float(np.mean(tail)),
        "parameters": count_parameters(model),
        "slc": trial.architecture.slc,
    }


@torch.no_grad()
def restore(model: nn.Module, images: Tensor) -> Tensor:
    """The model's answer in evaluation mode, one image at a time."""
    model.eval()
    return torch.cat([model(image[None]).float() for image in images])


def _trained_network(trial: TrainedTrial) -> EncoderDecoder:
    with seeded(trial.seed):
        return EncoderDecoder(
            trial.architecture,
            trial.channels + (trial.task == "inpainting"),  # the mask is an input channel
            trial.channels,
            global_residual=trial.global_residual,
            **trial.network,
        )


def _as_input(degraded: Tensor, mask: Tensor, trial: _Trial) -> Tensor:
    return degraded if trial.task == "denoising" else torch.cat((degraded, mask), 1)


def run_dip(trial: DipTrial, context: Context) -> dict:
    """Fit the untrained network to each degraded image and measure along the way."""
    clean, fitted = fit_images(trial, context)
    metrics: dict[str, Any] = {"slc": trial.architecture.slc}
    for stop in ("fixed", "best", "last", "stopped", "ema"):
        values = _mean_quality(fitted.outputs[stop], clean)
        metrics |= {f"{stop}_{name}": value for name, value in values.items()}
    metrics["fixed_rmse_images"] = _rmse_of_each(fitted.outputs["fixed"], clean)
    every = slice(CURVE_EVERY - 1, None, CURVE_EVERY)
    return metrics | {
        "best_iteration": float(fitted.best.float().mean()),
        "stop_iteration": float(fitted.stop.float().mean()),
        "curve": [round(value, 5) for value in fitted.rmse.mean(0)[every].tolist()],
    }


def fit_images(
    trial: DipTrial, context: Context, snapshots: tuple[int, ...] = ()
) -> tuple[Tensor, dip.DipFit]:
    """Clean test images and the fit to their degraded versions, with outputs to look at."""
    every = degraded_test_images(trial, context.data_root)
    if not 1 <= trial.images <= len(every[0]):
        raise ValueError(f"images must be in 1..{len(every[0])}, not {trial.images}")
    clean, degraded, mask = (values[: trial.images] for values in every)
    fitted = dip.fit(
        trial.architecture,
        degraded.to(context.device),
        clean.to(context.device),
        seeds=[trial.seed * 1000 + i for i in range(len(clean))],
        settings=trial.settings,
        masks=mask.to(context.device),
        snapshots=snapshots,
        **trial.network,
    )
    return clean, fitted


def _mean_quality(images: Tensor, clean: Tensor) -> dict[str, float]:
    rows = [quality(image, truth) for image, truth in zip(images, clean, strict=True)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _rmse_of_each(images: Tensor, clean: Tensor) -> list[float]:
    pairs = zip(images, clean, strict=True)
    return [round(quality(image, truth)["rmse"], 6) for image, truth in pairs]
