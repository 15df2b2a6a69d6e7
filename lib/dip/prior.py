"""Deep Image Prior: fit an untrained network to one degraded image, and several images at once.

Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior", CVPR 2018, eq. 2: the input z is fixed noise and
only the weights theta move, min over theta of E(f_theta(z); x0), stopped before the network
reproduces the degradation. Early stopping by windowed moving variance (ES-WMV): Wang, Li, Zhuang,
Chen, Sun, "Early Stopping for Deep Image Prior", TMLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lib.dip.network import Architecture, EncoderDecoder, group
from lib.dip.tracker import Tracker
from lib.engine.seeding import seeded

CPU_GROUPED_PIXELS = 100 * 100
WARM_UP = 3  # eager iterations before a CUDA graph is captured; they count as iterations


@dataclass(frozen=True)
class DipSettings:
    """How a fit is run; the defaults are those of Deep Image Prior's denoising.

    iterations, lr: of Adam. input_channels, input_scale: z is uniform in [0, input_scale).
    reg_noise: standard deviation of fresh noise added to z at every iteration.
    ema: decay of the exponential moving average of the outputs (0.99 there).
    fixed: the iteration whose output is reported as "fixed" (1800 there).
    window, patience: of ES-WMV, in iterations.
    """

    iterations: int = 3000
    lr: float = 0.01
    input_channels: int = 32
    input_scale: float = 0.1
    reg_noise: float = 0.0
    ema: float = 0.99
    fixed: int = 1800
    window: int = 100
    patience: int = 1000

    def __post_init__(self) -> None:
        if not 1 <= self.fixed <= self.iterations:
            raise ValueError(f"fixed must be in 1..{self.iterations}, not {self.fixed}")
        if not 2 <= self.window <= self.iterations:
            raise ValueError(f"window must be in 2..{self.iterations}, not {self.window}")
        if self.reg_noise < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"bad reg_noise {self.reg_noise} or ema {self.ema}")


@dataclass
class DipFit:
    """What came out, on the CPU; B images, T iterations.

    outputs: ``fixed``, ``best`` (lowest RMSE, an oracle: it needs the clean image), ``last``,
        ``stopped`` (ES-WMV), ``ema`` (average at the last iteration) and ``at N`` for
        every iteration asked for; each (B, C, H, W) in [0, 1].
    loss, rmse, ema_rmse, variance: (B, T). rmse is against the clean image; variance is the
        windowed variance of ES-WMV a pixel, infinite before the window is full.
    stop, best: (B,) iterations, counted from 1.
    """

    outputs: dict[str, Tensor]
    loss: Tensor
    rmse: Tensor
    ema_rmse: Tensor
    variance: Tensor
    stop: Tensor
    best: Tensor


def fit(
    architecture: Architecture,
    targets: Tensor,
    clean: Tensor,
    *,
    seeds: Sequence[int],
    settings: DipSettings = DipSettings(),
    masks: Tensor | None = None,
    snapshots: Sequence[int] = (),
    grouped: bool | None = None,
    **network: object,
) -> DipFit:
    """Fit B independent networks to B degraded images, in one call.

    targets, clean: (B, C, H, W) float on one device, where everything then happens; the clean
        images are only measured against. seeds: one a problem, for weights, z and noise.
    masks: (B, 1 or C, H, W) of 0 and 1; the loss sees the pixels with 1 only (inpainting).
    snapshots: iterations whose output is kept. network: options of EncoderDecoder.
    grouped: True for one grouped network, False for one network after another; None takes what
        measured faster: one after another only on a CPU whose caches large maps overflow. Results
        agree to rounding, which Adam's first steps amplify in float32.
    Raises ValueError for bad input and FloatingPointError if a loss stops being finite.
    """
    _check(targets, clean, masks, seeds)
    _refuse_one_pixel_bottleneck(architecture, targets)
    outside = [i for i in snapshots if not 1 <= i <= settings.iterations]
    if outside:
        raise ValueError(f"snapshots {outside} are outside 1..{settings.iterations}")
    if grouped is None:
        grouped = targets.is_cuda or targets[0, 0].numel() <= CPU_GROUPED_PIXELS
    masks = torch.ones_like(targets[:, :1]) if masks is None else masks
    count = len(targets)
    parts = [range(count)] if grouped else [range(i, i + 1) for i in range(count)]
    fits = []
    for part in parts:
        rows = slice(part.start, part.stop)
        loop = _Loop(
            architecture, targets[rows], clean[rows], masks[rows], seeds[rows], settings, network
        )
        fits.append(loop.run(snapshots))
    return _join(fits)


def _check(targets: Tensor, clean: Tensor, masks: Tensor | None, seeds: Sequence[int]) -> None:
    if targets.ndim != 4 or not targets.is_floating_point():
        raise ValueError(
            f"targets must be float (B, C, H, W), not {targets.dtype} {tuple(targets.shape)}"
        )
    if clean.shape != targets.shape or len(seeds) != len(targets):
        raise ValueError(
            f"{len(targets)} targets {tuple(targets.shape[1:])} need as many clean images of that "
            f"shape (got {tuple(clean.shape)}) and seeds (got {len(seeds)})"
        )
    for name, values in (("targets", targets), ("clean images", clean), ("masks", masks)):
        if values is not None and not values.isfinite().all():
            raise ValueError(f"{name} contain NaN or infinite values")


def _refuse_one_pixel_bottleneck(architecture: Architecture, targets: Tensor) -> None:
    """Normalising an image by itself erases a map of one pixel: such a level carries nothing."""
    height, width = targets.shape[2:]
    if min(height, width) <= 2**architecture.depth:
        raise ValueError(
            f"an image of {height} x {width} pixels leaves architecture {architecture.name} a "
            f"bottleneck of one pixel or less: it needs more than 2^depth = "
            f"{2**architecture.depth} pixels a side"
        )


class _Loop:
    """All state of a fit lives in tensors that are changed in place, as a CUDA graph needs."""

    def __init__(
        self,
        architecture: Architecture,
        targets: Tensor,
        clean: Tensor,
        masks: Tensor,
        seeds: Sequence[int],
        settings: DipSettings,
        network: dict,
    ) -> None:
        self.targets, self.masks = targets.contiguous(), masks
        self.settings, device = settings, targets.device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.net = _build(architecture, seeds, settings, targets.shape[1], network).to(device)
        layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        self.net = self.net.to(targets.dtype, memory_format=layout).train()
        self.z = self._draw(torch.rand).mul_(settings.input_scale).contiguous(memory_format=layout)
        self.optim = torch.optim.Adam(
            self.net.parameters(), lr=settings.lr, fused=True, capturable=targets.is_cuda
        )
        self.tracker = Tracker(
            clean.contiguous(),
            iterations=settings.iterations,
            ema=settings.ema,
            window=settings.window,
            patience=settings.patience,
        )

    def _draw(self, kind: Callable[..., Tensor]) -> Tensor:
        """(1, B * C_in, H, W) noise, each problem's from its own generator."""
        shape = (1, self.settings.input_channels, *self.targets.shape[2:])
        device = self.targets.device
        draws = [kind(shape, generator=g, device=device) for g in self.generators]
        return torch.cat(draws, 1).to(self.targets.dtype)

    def step(self) -> None:
        """One iteration; never waits for the device."""
        z = self.z
        if self.settings.reg_noise:
            z = z + self.settings.reg_noise * self._draw(torch.randn)
        self.optim.zero_grad(set_to_none=True)
        output = self.net(z).view(self.targets.shape)
        loss = ((output - self.targets) * self.masks).square().mean((1, 2, 3))
        loss.sum().backward()  # the problems share no weight: the sum's gradient is each one's own
        self.optim.step()
        with torch.no_grad():
            self.tracker.add(output, loss)

    def run(self, snapshots: Sequence[int]) -> DipFit:
        """All iterations; the graph is replayed between the iterations that are kept."""
        kept: dict[int, Tensor] = {}
        wanted = {self.settings.fixed, *snapshots}
        advance = self.step
        for iteration in range(1, self.settings.iterations + 1):
            if iteration == WARM_UP + 1 and self.targets.is_cuda:
                advance = self._capture()
            advance()
            if iteration in wanted:
                kept[iteration] = self.tracker.output.clone()
        return self._result(kept)

    def _capture(self) -> Callable[[], None]:
        """Record one iteration as a CUDA graph: a single launch replaces hundreds."""
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        self.optim.zero_grad(set_to_none=True)
        torch.cuda.synchronize(self.targets.device)
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def _result(self, kept: dict[int, Tensor]) -> DipFit:
        tracker = self.tracker
        _refuse_divergence(tracker.loss.T.cpu())
        outputs = {f"at {i}": image for i, image in kept.items()}
        outputs["fixed"] = kept[self.settings.fixed]
        outputs |= {"last": tracker.output, "ema": tracker.average}
        outputs |= {"best": tracker.best.image, "stopped": tracker.calmest.image}
        return DipFit(
            outputs={name: image.cpu() for name, image in outputs.items()},
            loss=tracker.loss.T.cpu(),
            rmse=tracker.rmse.T.cpu(),
            ema_rmse=tracker.ema_rmse.T.cpu(),
            variance=tracker.variance.T.cpu(),
            stop=tracker.calmest.step.long().cpu(),
            best=tracker.best.step.long().cpu(),
        )


def _refuse_divergence(loss: Tensor) -> None:
    finite = loss.isfinite()
    if not finite.all():
        problem, iteration = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"the loss of image {problem} is {loss[problem, iteration].item()} "
            f"at iteration {iteration + 1}"
        )


def _build(
    architecture: Architecture,
    seeds: Sequence[int],
    settings: DipSettings,
    channels: int,
    network: dict,
) -> EncoderDecoder:
    """One grouped network whose groups start as the single networks of the seeds would."""
    singles = []
    for seed in seeds:
        with seeded(seed):
            singles.append(
                EncoderDecoder(architecture, settings.input_channels, channels, **network)
            )
    if len(singles) == 1:
        return singles[0]
    net = EncoderDecoder(
        architecture, settings.input_channels, channels, problems=len(seeds), **network
    )
    net.load_state_dict(group(singles))
    return net


def _join(fits: list[DipFit]) -> DipFit:
    outputs = {name: torch.cat([fit.outputs[name] for fit in fits]) for name in fits[0].outputs}
    curves = {
        field.name: torch.cat([getattr(fit, field.name) for fit in fits])
        for field in fields(DipFit)
        if field.name != "outputs"
    }
    return DipFit(outputs, **curves)
