"""Notebook 01: learns a task by one of the methods, and scores every task met so far.

What is learned is an artefact with the entries ``net/<name>`` (a whole network that runs as it is),
``mask/<layer>``, ``importance/...`` and ``anchor/...`` (elastic weight consolidation), ``losses``
and ``seconds``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lib.continual.generator import Generator
from lib.continual.mask_similarity import zero_rates
from lib.continual.mask_tasks import Task as MaskTask
from lib.continual.mask_tasks import fingerprint
from lib.continual.methods import is_adversarial, learner
from lib.continual.parents import batches, generator, part, unet
from lib.continual.tasks import evaluate, in_batches, optimised, ssim, task
from lib.continual.trials import ONE_BODY, TaskTrial, base, history, parent
from lib.continual.unet import UNet
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, train


def run_task(trial: TaskTrial, context: Context) -> dict:
    """Learn the task, then score it and every earlier one: ``T2 miou`` and so on."""
    learned = _learned(trial, context)
    metrics: dict[str, Any] = {
        "train_loss": float(learned["losses"][-max(1, len(learned["losses"]) // 10) :].mean())
    }
    metrics["train_seconds"] = float(learned["seconds"])
    if trial.masked:
        metrics["zero_rates"] = zero_rates(masks(trial, context))
    if trial.task == 0:
        return metrics | _identity(trial, context)
    for met in history(trial):
        each = task(trial.stream, met.task, context)
        forward = network(met, context, body=trial if trial.method in ONE_BODY else None)
        found = evaluate(
            each, forward, rgb=met.on_images, optimised=optimised(trial.stream, met.task, context)
        )
        metrics |= {f"T{met.task} {name}": value for name, value in found.items()}
    return metrics


def network(
    trial: TaskTrial, context: Context, *, body: TaskTrial | None = None
) -> Callable[[Tensor], Tensor]:
    """What a trial has learned, in evaluation mode: network inputs to outputs.

    body: of a U-Net, take all but the last layer from this trial: an earlier task's last layer on
    a network that has learned something else since.
    """
    state = _network_state(trial, context)
    if trial.on_images:
        net = generator(trial, state, context)
        return lambda x: net(x, f"t{trial.task}")
    if body is not None:
        last = {name: values for name, values in state.items() if name.startswith("last.")}
        state = {**_network_state(body, context), **last}
    return unet(trial, state, context).eval()


def masks(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    """Layer name -> bool mask of a Piggyback trial."""
    return part(_learned(trial, context), "mask")


def mask_task(trial: TaskTrial, context: Context) -> MaskTask:
    """A U-Net's Piggyback trial as what has to be stored of it."""
    state = _network_state(trial, context)
    original = unet_base(trial, context)
    outputs, inputs = state["last.weight"].shape[:2]
    last = nn.Conv2d(inputs, outputs, 1)
    last.load_state_dict({name: state[f"last.{name}"] for name in ("weight", "bias")})
    kept = _norm_names(original, trial.norms)
    own = {name: state[name] for name in kept}
    heads = {"last": last.eval().requires_grad_(False)}
    return MaskTask(fingerprint(original), trial.norms, masks(trial, context), heads, own)


def unet_base(trial: TaskTrial, context: Context) -> UNet:
    """Task 1's network, on which the trial's masks lie, on the CPU."""
    origin = base(trial)
    here = replace(context, device=torch.device("cpu"))
    return unet(origin, _network_state(origin, context), here).eval()


def generator_of(trials: Sequence[TaskTrial], context: Context) -> Generator:
    """One frozen generator with the residual blocks of several trials, as ``t3``, ``t4``, ..."""
    states = [_network_state(trial, context) for trial in trials]
    merged = {name: values for state in states for name, values in state.items()}
    return generator(trials[0], merged, context).requires_grad_(False)


def _norm_names(network: nn.Module, policy: str) -> list[str]:
    norms = [n for n, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    parts = {"frozen": (), "statistics": ("running_mean", "running_var", "num_batches_tracked")}
    parts["affine"] = (*parts["statistics"], "weight", "bias")
    return [f"{name}.{part}" for name in norms for part in parts[policy]]


def _learned(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return artefact(trial, context, lambda: _learn(trial, context))


def _network_state(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return part(_learned(trial, context), "net")


@torch.enable_grad()  # whoever asks for a trained network may be looking at it without gradients
def _learn(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    stream = trial.stream
    each = task(stream, trial.task or 1, context)
    origin = parent(trial)
    learned = learner(trial, each, origin and _learned(origin, context), context)
    begin = time.perf_counter()
    with own_checkpoint(trial, context) as checkpoint:
        losses = train(
            learned.network.to(memory_format=torch.channels_last),
            learned.loss,
            batches(trial, each),
            steps=stream.base_steps if trial == base(trial) else stream.steps,
            lr=learned.lr,
            schedule=one_cycle,
            # it would not hold the discriminator
            checkpoint=None if is_adversarial(trial, each) else checkpoint,
            label=f"{trial.method}, task {trial.task}",
        )
    seconds = time.perf_counter() - begin
    learned.network.eval()
    return {
        **learned.keep(),
        "losses": torch.tensor(losses),
        "seconds": torch.tensor(seconds, dtype=torch.float64),
    }


def _identity(trial: TaskTrial, context: Context) -> dict[str, float]:
    """How well the auto-encoder gives the test images back."""
    net = generator(trial, _network_state(trial, context), context)
    images = task(trial.stream, 1, context).test.images.float() / 255
    with torch.no_grad():
        output = in_batches(net, images)
    return {"rmse": float((output - images).square().mean().sqrt()), "ssim": ssim(output, images)}
