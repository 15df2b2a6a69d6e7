"""The photographs of notebook 02: how they are degraded, how a restored one is scored.

Both uses of a network are scored on the same test images with the same degradation, and so are the
trivial answers, which need no network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor

from lib.data.images import load_images
from lib.engine.artefacts import NotStored, artefact
from lib.engine.sweep import Context

TASKS = ("denoising", "inpainting")
QUALITIES = ("rmse", "psnr", "ssim")
ANSWERS = ("noisy photograph", "non-local means", "total variation")


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Degraded test photographs.

    sigma, hidden: of the degradation, see ``Degraded``. image_size: pixels a side to which
        photographs are reduced. patch: pixels a side that a network sees, cut anywhere to train
        and at the centre to test.
    """

    sigma: float
    hidden: float
    test_set: str
    image_size: int
    patch: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Degraded(Photographs):
    """What is to be restored.

    task: ``denoising`` (Gaussian noise of standard deviation ``sigma``, of 255, not clipped) or
        ``inpainting`` (a fraction ``hidden`` of the pixels is set to 0 and known to be missing).
    """

    task: str

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, not {self.task!r}")
        if not self.sigma >= 0:
            raise ValueError(f"sigma must not be negative: {self.sigma!r}")
        if not 0 <= self.hidden < 1:
            raise ValueError(f"hidden is a fraction in [0, 1), not {self.hidden!r}")


@dataclass(frozen=True, kw_only=True)
class AnswerTrial(Degraded):
    """What a method without any network makes of the noisy test photographs.

    answer: one of ``ANSWERS``.
    """

    answer: str
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer not in ANSWERS or self.task != "denoising":
            told = f"not {self.answer!r} of {self.task!r}"
            raise ValueError(f"answer must be one of {ANSWERS} of 'denoising', {told}")


def degrade(clean: Tensor, trial: Degraded, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The degraded images and the mask (N, 1, H, W) of the pixels that are known."""
    if trial.task == "denoising":
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        return clean + noise * (trial.sigma / 255), torch.ones_like(clean[:, :1])
    mask = (torch.rand(clean[:, :1].shape, generator=rng) >= trial.hidden).to(clean)
    return clean * mask, mask


def degraded_test_images(
    trial: Degraded, root: Path | None = None
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


def qualities(images: Tensor, clean: Tensor) -> tuple[dict[str, float], list[float]]:
    """Means over the images, and the RMSE of each."""
    rows = [quality(image, truth) for image, truth in zip(images, clean, strict=True)]
    means = {name: float(np.mean([row[name] for row in rows])) for name in QUALITIES}
    return means, [round(row["rmse"], 6) for row in rows]


def keep_picture(trial: Degraded, context: Context, image: Tensor) -> None:
    """Keep a restored (C, H, W) image of [0, 1] beside its trial's record, as bytes."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    artefact(trial, context, lambda: {"restored": pixels})


def kept_picture(trial: Degraded, context: Context) -> Tensor | None:
    """The restored first test image, (C, H, W) uint8; None where only the record was kept."""
    if context.artefacts is None:
        return None
    try:
        return artefact(trial, replace(context, stored=True), dict)["restored"]
    except NotStored:
        return None


def run_answer(trial: AnswerTrial, context: Context) -> dict[str, Any]:
    """Restore the noisy test images without a network and measure."""
    _, clean, noisy, _ = degraded_test_images(trial, context.data_root)
    images = np.stack([_answer(trial, image) for image in noisy.numpy().astype(float)])
    means, rmse_images = qualities(torch.from_numpy(images), clean)
    return {**means, "rmse_images": rmse_images}


def _answer(trial: AnswerTrial, noisy: np.ndarray) -> np.ndarray:
    """One (C, H, W) image, by scikit-image.

    Total variation has scikit-image's default weight; of 0.6, 0.8 and 1 sigma as the strength h of
    non-local means the first was best on photographs of train400.
    """
    if trial.answer == "total variation":  # Chambolle, JMIV 2004
        return denoise_tv_chambolle(noisy, weight=0.1, channel_axis=0)
    if trial.answer == "non-local means":  # Buades, Coll, Morel, CVPR 2005
        sigma = trial.sigma / 255
        size = {"patch_size": 5, "patch_distance": 6, "channel_axis": 0}
        return denoise_nl_means(noisy, h=0.6 * sigma, sigma=sigma, **size)
    return noisy
