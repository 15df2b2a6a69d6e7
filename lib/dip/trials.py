"""Notebook 02: one encoder-decoder, scored once trained and once as an untrained prior.

Ishikawa, "Relationship between the structures of image spaces and image transformation
networks": each of more than 300 structures is (i) trained to restore images and (ii) fitted to
single images without training (Deep Image Prior). Both scores are taken on the same test images
with the same degradation.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lib.data.images import QUALITIES, load_images
from lib.dip import prior
from lib.dip.network import UPSAMPLINGS, Architecture, EncoderDecoder, Layers, ladder, stratified
from lib.engine.batches import Patches
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, seeded, train
from lib.networks.sizes import count_parameters

STOPS = ("fixed", "best", "last", "stopped", "ema")  # outputs of a fit that are scored
CURVE_EVERY = 10  # iterations between the stored points of a fit's curve
Kind = TypeVar("Kind", bound=prior.Degraded)


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderStudy:
    """Sizes and budgets of notebook 02; ``profile.yaml`` says what each is."""

    train_set: str
    test_set: str
    channels: int
    image_size: int
    patch: int
    max_depth: int
    architectures: int
    seeds: int
    seeded: int
    control_depths: tuple[int, ...]
    ladder_depth: int
    ladder_controls: tuple[str, ...]
    width: int
    doublings: int
    other_doublings: int
    skip_width: int
    steps: int
    long_steps: int
    batch: int
    lr: float
    dip_images: int
    iterations: int
    fixed: int
    window: int
    patience: int
    reg_noise: float
    other_noise: float
    other_fixed: int
    upsampling: str
    sigma: float
    hidden: float

    def __post_init__(self) -> None:
        if unknown := set(self.ladder_controls) - set(LADDER_CONTROLS):
            raise ValueError(f"no control is called {sorted(unknown)}: {list(LADDER_CONTROLS)}")

    @property
    def layers(self) -> Layers:
        return Layers(widths(self.width, self.doublings), self.skip_width, self.upsampling)


def widths(width: int, doublings: int) -> int | tuple[int, ...]:
    """Channels that double from level to level, ``doublings`` times; one number for none."""
    return tuple(width * 2**level for level in range(doublings + 1)) if doublings else width


@dataclass(frozen=True, kw_only=True)
class _Trial(prior.Degraded):
    """One network, one use, one seed; width, skip_width and upsampling as of ``Layers``."""

    width: int | tuple[int, ...]
    skip_width: int
    upsampling: str
    depth: int
    skips: tuple[int, ...]
    seed: int
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.architecture  # refuses what does not exist

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.depth, self.skips)

    @property
    def layers(self) -> Layers:
        return Layers(self.width, self.skip_width, self.upsampling)


@dataclass(frozen=True, kw_only=True)
class TrainedTrial(_Trial):
    """A network trained from scratch on patches of ``train_set``, with Adam and one cycle."""

    train_set: str
    steps: int
    batch: int
    lr: float
    global_residual: bool = False


@dataclass(frozen=True, kw_only=True)
class BypassTrial(TrainedTrial):
    """A trained network whose last 3x3 convolution sees the degraded image; see ``Layers``."""

    @property
    def layers(self) -> Layers:
        return replace(super().layers, bypass=True)


@dataclass(frozen=True, kw_only=True)
class DipTrial(_Trial, prior.DipSettings):
    """The same network as an image prior, on the first ``images`` test images."""

    images: int

    def __post_init__(self) -> None:
        super().__post_init__()
        prior.DipSettings.__post_init__(self)


def run_trained(trial: TrainedTrial, context: Context) -> dict[str, Any]:
    """Train, then restore the test images in evaluation mode."""
    device, size = context.device, {"size": trial.image_size, "channels": trial.channels}
    _, images = load_images(trial.train_set, **size, root=context.data_root)
    patches = Patches(images.to(device), patch=trial.patch, batch=trial.batch, seed=trial.seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        clean = patches(step)
        rng = torch.Generator().manual_seed(trial.seed * 1_000_003 + step + 500_000)
        return _as_input(*prior.degrade(clean, trial, rng), trial), clean

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
    _, clean, degraded, mask = prior.degraded_test_images(trial, context.data_root)
    model.eval()
    with torch.no_grad():  # one by one, as they are large
        inputs = _as_input(degraded, mask, trial).to(device).split(1)
        restored = torch.cat([model(image).float() for image in inputs]).cpu()
    means, rmse_images = prior.qualities(restored, clean)
    prior.keep_picture(trial, context, restored[0])
    return {
        **means,
        "rmse_images": rmse_images,
        "trivial_rmse": prior.qualities(prior.untouched(degraded, mask), clean)[0]["rmse"],
        "train_loss": float(np.mean(losses[-max(1, len(losses) // 10) :])),
        "parameters": count_parameters(model),
        "slc": trial.architecture.slc,
    }


def _as_input(degraded: Tensor, mask: Tensor, trial: _Trial) -> Tensor:
    return degraded if trial.task == "denoising" else torch.cat((degraded, mask), 1)


def run_dip(trial: DipTrial, context: Context) -> dict[str, Any]:
    """Fit the untrained network to each degraded image and measure along the way."""
    clean, fitted = fit_images(trial, context)
    prior.keep_picture(trial, context, fitted.outputs["fixed"][0])
    scored = {stop: prior.qualities(fitted.outputs[stop], clean) for stop in STOPS}
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
) -> tuple[Tensor, prior.DipFit]:
    """Clean test images and the fit to their degraded versions, with outputs to look at."""
    names, *test_set = prior.degraded_test_images(trial, context.data_root)
    if not 1 <= trial.images <= len(names):
        raise ValueError(f"images must be in 1..{len(names)}, not {trial.images}")
    clean, degraded, mask = (values[: trial.images] for values in test_set)
    fitted = prior.fit(
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


def _planned(kind: type[Kind], sizes: EncoderDecoderStudy, **more: Any) -> Kind:
    """A trial with the profile's numbers."""
    values = asdict(sizes) | {"width": sizes.layers.width, "task": "denoising"} | more
    return kind(
        **{field.name: values[field.name] for field in fields(kind) if field.name in values}
    )


def answer_trials(sizes: EncoderDecoderStudy) -> list[prior.AnswerTrial]:
    """The trivial answers: what needs no network."""
    return [_planned(prior.AnswerTrial, sizes, answer=answer) for answer in prior.ANSWERS]


def trained_trial(sizes: EncoderDecoderStudy, place: Architecture, seed: int = 0) -> TrainedTrial:
    """A training trial with the profile's numbers."""
    return _planned(TrainedTrial, sizes, **asdict(place), seed=seed)


def dip_trial(sizes: EncoderDecoderStudy, place: Architecture, seed: int = 0) -> DipTrial:
    """A Deep Image Prior trial with the profile's numbers, but its authors' learning rate."""
    lr, images = DipTrial.lr, sizes.dip_images
    return _planned(DipTrial, sizes, **asdict(place), seed=seed, lr=lr, images=images)


def main_grid(sizes: EncoderDecoderStudy) -> list[tuple[Architecture, int]]:
    """(architecture, seed) pairs in the order they should run: all once, then the repeats."""
    order = stratified(sizes.max_depth, sizes.architectures)
    repeats = [(a, seed) for seed in range(1, sizes.seeds) for a in order[: sizes.seeded]]
    return [(a, 0) for a in order] + repeats


LADDER_CONTROLS: dict[str, Callable[[TrainedTrial], TrainedTrial]] = {
    "as in the report": lambda trial: trial,
    "global residual": lambda trial: replace(trial, global_residual=True),
    "bypass": lambda trial: BypassTrial(**asdict(trial)),
    "larger batch": lambda trial: replace(trial, batch=3 * trial.batch),
}


def controls(sizes: EncoderDecoderStudy) -> dict[str, list[Any]]:
    """What is run beside the main grid, by name; nothing where a profile has no such control.

    The ladder's controls: SLC moved alone at one depth. upsampling: depth moved alone (skip at
    level 0), the usual kind first. budget: SLC moved alone at several depths. noise: the networks
    that have every seed, with the other noise on the prior's input. inpainting, widths: both uses
    of networks with a skip at the top, in the middle and none.
    """
    depths = sizes.control_depths
    rungs = [ladder(sizes.ladder_depth, slc) for slc in range(sizes.ladder_depth + 1)]
    plain = [trained_trial(sizes, rung) for rung in rungs]
    plan: dict[str, list[Any]] = {
        name: [LADDER_CONTROLS[name](trial) for trial in plain] for name in sizes.ladder_controls
    }
    plan["upsampling"] = [
        replace(dip_trial(sizes, ladder(depth, 0)), upsampling=kind)
        for kind in dict.fromkeys((sizes.upsampling, *UPSAMPLINGS))
        for depth in depths
    ]
    ladders = [ladder(depth, slc) for depth in depths for slc in range(depth + 1)]
    plan["budget"] = [trained_trial(sizes, rung) for rung in ladders if sizes.long_steps]
    plan["longer budget"] = [replace(trial, steps=sizes.long_steps) for trial in plan["budget"]]
    plan["noise"] = [
        replace(dip_trial(sizes, place), reg_noise=sizes.other_noise, fixed=sizes.other_fixed)
        for place in stratified(sizes.max_depth, sizes.architectures)[: sizes.seeded]
    ]
    grid = [ladder(depth, slc) for depth in depths for slc in sorted({0, depth // 2, depth})]
    uses: dict[str, list[Any]] = {
        "trained": [trained_trial(sizes, place) for place in grid],
        "prior": [dip_trial(sizes, place) for place in grid],
    }
    for use, usual in uses.items():
        plan[f"inpainting, {use}"] = [replace(trial, task="inpainting") for trial in usual]
    other = widths(sizes.width, sizes.other_doublings)
    for use, usual in uses.items():
        changed = [replace(trial, width=other) for trial in usual]
        plan[f"widths, {use}"] = [] if other == sizes.layers.width else changed
    return plan


def evidence(sizes: EncoderDecoderStudy) -> Iterator[tuple[Callable, Any]]:
    """Every trial with its function: the family once, the repeats, and then the controls."""
    yield from ((prior.run_answer, trial) for trial in answer_trials(sizes))
    for architecture, seed in main_grid(sizes):
        yield run_trained, trained_trial(sizes, architecture, seed)
        yield run_dip, dip_trial(sizes, architecture, seed)
    for trial in chain(*controls(sizes).values()):
        yield run_dip if isinstance(trial, DipTrial) else run_trained, trial
