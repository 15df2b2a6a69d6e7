"""Degraded photographs, and the Deep Image Prior: an untrained network fitted to one of them.

Both uses of a network, and the trivial answers, which need none, are scored on the same test
photographs with the same degradation. Several photographs are fitted at once.

Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior", CVPR 2018, eq. 2: the input z is fixed noise and
only the weights theta move, min over theta of E(f_theta(z); x0), stopped before the network
reproduces the degradation. Early stopping by windowed moving variance (ES-WMV): Wang, Li, Zhuang,
Chen, Sun, "Early Stopping for Deep Image Prior", TMLR 2023.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor

from lib.data.images import QUALITIES, load_images, quality
from lib.dip.network import Architecture, EncoderDecoder, Layers, group
from lib.engine.artefacts import NotStored, artefact
from lib.engine.sweep import Context
from lib.engine.training import progress, seeded

TASKS = ("denoising", "inpainting")
INPUT_CHANNELS, INPUT_SCALE = 32, 0.1  # of z, which is uniform in [0, INPUT_SCALE)
CPU_GROUPED_PIXELS = 100 * 100  # larger maps overflow a CPU's caches, one by one is then faster
WARM_UP = 3  # eager iterations before a CUDA graph is captured; they count as iterations


@dataclass(frozen=True, kw_only=True)
class Degraded:
    """What is to be restored.

    task: ``denoising`` (Gaussian noise of standard deviation ``sigma``, of 255, not clipped) or
        ``inpainting`` (a fraction ``hidden`` of the pixels is set to 0 and known to be missing).
    image_size: pixels a side to which photographs are reduced. patch: pixels a side that a network
        sees, cut anywhere to train and at the centre to test.
    """

    task: str
    sigma: float
    hidden: float
    test_set: str
    image_size: int
    patch: int
    channels: int

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, not {self.task!r}")
        if not self.sigma >= 0:
            raise ValueError(f"sigma must not be negative: {self.sigma!r}")
        if not 0 <= self.hidden < 1:
            raise ValueError(f"hidden is a fraction in [0, 1), not {self.hidden!r}")


ANSWERS: dict[str, Callable[..., np.ndarray]] = {  # of (H, W, C) and the noise's sigma, of 1
    "noisy photograph": lambda noisy, _: noisy,
    # Buades, Coll, Morel, CVPR 2005; of 0.6, 0.8 and 1 sigma as h the first was best on train400
    "non-local means": lambda noisy, sigma: denoise_nl_means(
        noisy, 5, 6, 0.6 * sigma, sigma=sigma, channel_axis=-1
    ).reshape(noisy.shape),  # it drops a single channel
    # Chambolle, JMIV 2004, with scikit-image's default weight
    "total variation": lambda noisy, _: denoise_tv_chambolle(noisy, weight=0.1, channel_axis=-1),
}


@dataclass(frozen=True, kw_only=True)
class AnswerTrial(Degraded):
    """What a method without any network, one of ``ANSWERS``, makes of the noisy photographs."""

    answer: str
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer not in ANSWERS or self.task != "denoising":
            told = f"not {self.answer!r} of {self.task!r}"
            raise ValueError(f"answer must be one of {tuple(ANSWERS)} of 'denoising', {told}")


def run_answer(trial: AnswerTrial, context: Context) -> dict[str, Any]:
    """Restore the noisy test images without a network and measure."""
    _, clean, noisy, _ = degraded_test_images(trial, context.data_root)
    images = noisy.double().permute(0, 2, 3, 1).numpy()
    images = np.stack([ANSWERS[trial.answer](image, trial.sigma / 255) for image in images])
    means, rmse_images = qualities(torch.from_numpy(images).permute(0, 3, 1, 2), clean)
    return {**means, "rmse_images": rmse_images}


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
    try:
        return artefact(trial, replace(context, stored=True), dict).get("restored")
    except NotStored:
        return None


@dataclass(frozen=True)
class DipSettings:
    """How a fit is run; all defaults but ``reg_noise`` are those of Deep Image Prior's denoising.

    iterations, lr: of Adam. ema: decay of the exponential moving average of the outputs.
    fixed: the iteration whose output is reported as "fixed". reg_noise: standard deviation of the
        noise that is added to z anew in every iteration; 1/30 in Deep Image Prior's denoising.
    window, patience: of ES-WMV, in iterations. The variance over the last ``window`` outputs
        falls while the image forms and rises when the noise comes in; its minimum, unless
        ``patience`` iterations bring no lower one, is where to stop.
    """

    iterations: int = 3000
    lr: float = 0.01
    ema: float = 0.99
    fixed: int = 1800
    window: int = 100
    patience: int = 1000
    reg_noise: float = 0.0

    def __post_init__(self) -> None:
        for name, lowest in (("fixed", 1), ("window", 2)):
            if not lowest <= (value := getattr(self, name)) <= self.iterations:
                raise ValueError(f"{name} must be in {lowest}..{self.iterations}, not {value}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), not {self.ema}")
        if not self.reg_noise >= 0:
            raise ValueError(f"reg_noise must not be negative: {self.reg_noise}")


@dataclass
class DipFit:
    """What came out, on the CPU; B images, T iterations.

    outputs: (B, C, H, W) in [0, 1]: ``fixed``, ``best`` (lowest RMSE, an oracle), ``last``,
        ``stopped`` (ES-WMV), ``ema`` (average at the last iteration), and ``at N`` if asked for.
    loss, rmse, variance: (B, T); rmse is against the clean image, NaN without one; variance is what
        ES-WMV looks at, infinite until the window is full.
    stop, best: (B,) iterations, counted from 1; best is 0 without a clean image.
    """

    outputs: dict[str, Tensor]
    loss: Tensor
    rmse: Tensor
    variance: Tensor
    stop: Tensor
    best: Tensor


def fit(
    architecture: Architecture,
    targets: Tensor,
    clean: Tensor | None,
    *,
    seeds: Sequence[int],
    layers: Layers = Layers(),
    settings: DipSettings = DipSettings(),
    masks: Tensor | None = None,
    snapshots: Sequence[int] = (),
    grouped: bool | None = None,
    label: str = "",
) -> DipFit:
    """Fit B independent networks to B degraded images, in one call.

    targets, clean: (B, C, H, W) float on one device, where everything then happens; the clean
        images are only measured against, None where nobody has them. seeds: for weights and z.
    masks: (B, 1 or C, H, W) of 0 and 1; the loss sees the pixels with 1 only (inpainting).
    snapshots: iterations whose output is kept. label: of a progress bar; empty for none.
    grouped: True for one grouped network, False for one network after another, with equal results
        up to rounding; None takes what measured faster.
    Raises ValueError for bad input and FloatingPointError if a loss stops being finite.
    """
    masks = torch.ones_like(targets[:, :1]) if masks is None else masks
    _check(targets, targets if clean is None else clean, masks, seeds)
    if outside := set(snapshots) - set(range(1, settings.iterations + 1)):
        raise ValueError(f"snapshots {sorted(outside)} are outside 1..{settings.iterations}")
    if grouped is None:
        grouped = targets.is_cuda or targets[0, 0].numel() <= CPU_GROUPED_PIXELS
    if not grouped and len(targets) > 1:
        same: Any = {"layers": layers, "settings": settings, "snapshots": snapshots, "label": label}
        truths: Sequence[Any] = [None] * len(targets) if clean is None else clean.split(1)
        problems = zip(targets.split(1), truths, masks.split(1), seeds, strict=True)
        return _join(
            [fit(architecture, x, y, masks=mask, seeds=[s], **same) for x, y, mask, s in problems]
        )
    truth = torch.full_like(targets, torch.nan) if clean is None else clean
    net = _networks(architecture, targets, seeds, layers)
    tracker = Tracker(truth.contiguous(), settings)
    return _fit_together(net, targets.contiguous(), masks, tracker, seeds, snapshots, label)


def _layout(targets: Tensor) -> torch.memory_format:
    return torch.contiguous_format if targets.is_cuda else torch.channels_last


def _networks(
    architecture: Architecture, targets: Tensor, seeds: Sequence[int], layers: Layers
) -> EncoderDecoder:
    """One grouped network, whose groups start as the single networks of the seeds would."""
    new = partial(EncoderDecoder, architecture, INPUT_CHANNELS, targets.shape[1], layers)
    singles = []
    for seed in seeds:
        with seeded(seed):
            singles.append(new())
    net = new(problems=len(seeds))
    net.load_state_dict(group(singles))
    return net.to(targets.device, targets.dtype).train().to(memory_format=_layout(targets))


def _fit_together(
    net: EncoderDecoder,
    targets: Tensor,
    masks: Tensor,
    tracker: "Tracker",
    seeds: Sequence[int],
    snapshots: Sequence[int],
    label: str,
) -> DipFit:
    """The iterations of ``fit`` for one grouped network; tracker: what is kept on the way."""
    settings, cuda, device = tracker.settings, targets.is_cuda, targets.device
    shape = (1, INPUT_CHANNELS, *targets.shape[2:])
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def drawn(draw: Callable[..., Tensor]) -> Tensor:
        numbers = torch.cat([draw(shape, generator=g, device=device) for g in generators], 1)
        return numbers.to(targets.dtype).contiguous(memory_format=_layout(targets))

    z = drawn(torch.rand).mul_(INPUT_SCALE)
    seen = z.clone(memory_format=torch.preserve_format)
    optim = torch.optim.Adam(net.parameters(), lr=settings.lr, fused=True, capturable=cuda)

    def step() -> None:  # never waits for the device
        optim.zero_grad(set_to_none=True)
        output = net(seen).view(targets.shape)
        loss = ((output - targets) * masks).square().mean((1, 2, 3))
        loss.sum().backward()  # the problems share no weight: the sum's gradient is each one's own
        optim.step()
        with torch.no_grad():
            tracker.add(output, loss)

    advance, outputs = step, {}
    iterations: Iterable[int] = range(1, settings.iterations + 1)
    for iteration in progress(iterations, desc=label) if label else iterations:
        if iteration == WARM_UP + 1 and cuda:
            optim.zero_grad(set_to_none=True)
            advance = _captured(step, device)
        if settings.reg_noise:  # outside of the graph, which reads the same memory each time
            torch.add(z, drawn(torch.randn), alpha=settings.reg_noise, out=seen)
        advance()
        if iteration in (settings.fixed, *snapshots):
            outputs[f"at {iteration}"] = tracker.output.clone()
    return tracker.result(outputs | {"fixed": outputs[f"at {settings.fixed}"]})


def _join(fits: list[DipFit]) -> DipFit:
    """The fits of a batch, one after the other."""
    outputs = {name: torch.cat([f.outputs[name] for f in fits]) for name in fits[0].outputs}
    curves = {c.name: torch.cat([getattr(f, c.name) for f in fits]) for c in fields(DipFit)[1:]}
    return DipFit(outputs, **curves)


def _check(targets: Tensor, clean: Tensor, masks: Tensor, seeds: Sequence[int]) -> None:
    shape = tuple(targets.shape)
    if targets.ndim != 4 or not targets.is_floating_point():
        raise ValueError(f"targets must be float (B, C, H, W), not {targets.dtype} {shape}")
    if clean.shape != targets.shape or len(seeds) != len(targets):
        got = f"got {tuple(clean.shape)}) and seeds (got {len(seeds)}"
        raise ValueError(f"targets {shape} need as many clean images of that shape ({got})")
    for name, values in (("targets", targets), ("clean images", clean), ("masks", masks)):
        if not values.isfinite().all():
            raise ValueError(f"{name} contain NaN or infinite values")


def _captured(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """One iteration as a CUDA graph: a single launch replaces hundreds."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Best:
    """The output with the lowest score so far, for each of B problems; step 0 means none yet."""

    def __init__(self, like: Tensor) -> None:
        self.score = like.new_full((len(like),), torch.inf)
        self.image, self.step = torch.zeros_like(like), torch.zeros_like(self.score)

    def update(self, score: Tensor, image: Tensor, step: Tensor, allowed: Tensor) -> None:
        """Take over the problems whose score is lower, where that is allowed."""
        better = (score < self.score) & allowed
        self.score.copy_(torch.where(better, score, self.score))
        self.step.copy_(torch.where(better, step, self.step))
        self.image.copy_(torch.where(better[:, None, None, None], image, self.image))


class Tracker:
    """What is measured along B fits, without ever waiting for the device.

    All is changed in place and indexed by a counter on the device, as a CUDA graph needs.
    """

    def __init__(self, clean: Tensor, settings: DipSettings) -> None:
        self.clean, self.settings = clean, settings
        empty = clean.new_full((settings.iterations, len(clean)), torch.inf)
        self.curves = {name: empty.clone() for name in ("loss", "rmse", "variance")}
        self.index = torch.zeros(1, dtype=torch.long, device=clean.device)
        self.output, self.average = torch.zeros_like(clean), torch.zeros_like(clean)
        self.best, self.calmest = Best(clean), Best(clean)
        # on the device beforehand: a number copied there would break the capture of a graph
        self.infinite = clean.new_tensor(torch.inf)
        self.recent = clean.new_zeros(settings.window, *clean.shape)
        # sums of thousands of updates: float32 would drift by as much as the variance sought
        exact = torch.float32 if clean.device.type == "mps" else torch.float64  # MPS has no other
        self.sum = torch.zeros_like(clean, dtype=exact)
        self.square = clean.new_zeros(len(clean), dtype=exact)

    def add(self, output: Tensor, loss: Tensor) -> None:
        """Enter the (B, C, H, W) outputs and (B,) losses of one iteration."""
        index = self.index
        self.output.copy_(output)
        # the first output starts the average
        decay = self.settings.ema * (index > 0).to(output.dtype)
        self.average.mul_(decay).add_(self.output * (1 - decay))
        rmse = (self.output - self.clean).square().mean((1, 2, 3)).sqrt()
        variance = self._windowed_variance()
        for name, now in (("loss", loss), ("rmse", rmse), ("variance", variance)):
            self.curves[name].index_copy_(0, index, now[None])
        step = (index + 1).to(rmse.dtype).expand(len(rmse))
        self.best.update(rmse, self.output, step, rmse.isfinite())
        patient = step - self.calmest.step <= self.settings.patience
        self.calmest.update(variance, self.output, step, patient | self.calmest.score.isinf())
        index.add_(1)

    def _windowed_variance(self) -> Tensor:
        """Mean over the pixels of the variance over the last ``window`` outputs, (B,)."""
        window, index = self.settings.window, self.index
        slot = index % window
        oldest = self.recent.index_select(0, slot)[0].to(self.sum.dtype)
        newest = self.output.to(self.sum.dtype)
        self.sum.add_(newest - oldest)
        self.square.add_((newest.square() - oldest.square()).mean((1, 2, 3)))
        self.recent.index_copy_(0, slot, self.output[None])
        variance = self.square / window - (self.sum / window).square().mean((1, 2, 3))
        variance = variance.clamp(min=0).to(self.output.dtype)
        return torch.where(index + 1 >= window, variance, self.infinite)

    def result(self, outputs: dict[str, Tensor]) -> DipFit:
        """Everything on the CPU, with the outputs that the caller kept."""
        curves = {name: curve.T.cpu() for name, curve in self.curves.items()}
        loss = curves["loss"]
        if len(infinite := (~loss.isfinite()).nonzero()):
            image, index = infinite[0].tolist()
            told = f"the loss of image {image} is {loss[image, index]} at iteration {index + 1}"
            raise FloatingPointError(told)
        outputs = outputs | {"last": self.output, "ema": self.average}
        outputs |= {"best": self.best.image, "stopped": self.calmest.image}
        images = {name: image.cpu() for name, image in outputs.items()}
        stops = {"stop": self.calmest.step.long().cpu(), "best": self.best.step.long().cpu()}
        return DipFit(images, **curves, **stops)
