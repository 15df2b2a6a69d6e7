"""What each method trains, with which loss, and what is kept of it; and the trial function.

What is learned is an artefact with the entries ``net/<name>`` (a whole network that runs as it is),
``mask/<layer>``, ``importance/...`` and ``anchor/...`` (elastic weight consolidation), ``losses``
and ``seconds``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from lib.continual.losses import Adversary, Anchor, extended, importance, penalty
from lib.continual.masks import (
    NORMS,
    MaskedNetwork,
    MaskedTask,
    TaskSwitcher,
    WeightMask,
    fingerprint,
    norm_state_names,
    part,
    zero_rates,
)
from lib.continual.networks import Generator, PatchDiscriminator, UNet
from lib.continual.tasks import (
    EVALUATION_BATCH,
    Segmentation,
    Task,
    evaluate,
    likeness,
    optimised,
    stream_task,
    value_of,
)
from lib.continual.trials import ONE_BODY, Stream, TaskTrial, base, history, origin, parent
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, train

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], labels (B, H, W) int64
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Learner:
    """What a method trains: a network, its loss on a batch, and what is kept at the end.

    adversary: the discriminator of the loss, if it has one.
    """

    network: nn.Module
    loss: Callable[[nn.Module, Batch], Tensor]
    keep: Callable[[], dict[str, Tensor]]
    adversary: Adversary | None = None


def run_task(trial: TaskTrial, context: Context) -> dict[str, Any]:
    """Learn the task, then score it and every earlier one: ``T2 miou`` and so on."""
    learned = _learned(trial, context)
    last_losses = learned["losses"][-max(1, len(learned["losses"]) // 10) :]
    metrics: dict[str, Any] = {
        "train_loss": float(last_losses.mean()),
        "train_seconds": float(learned["seconds"]),
    }
    if trial.masked:
        metrics["zero_rates"] = zero_rates(masks(trial, context))
    if trial.task == 0:
        return metrics | _identity(trial, context)
    for earlier in history(trial):
        task = stream_task(earlier.task_stream, earlier.task, context)
        forward = network(earlier, context, body=trial if trial.method in ONE_BODY else None)
        pictures = optimised(trial.stream, earlier.task, context)
        scores = evaluate(task, forward, rgb=earlier.on_images, optimised=pictures)
        metrics |= {f"T{earlier.task} {name}": value for name, value in scores.items()}
    return metrics


def network(
    trial: TaskTrial, context: Context, *, body: TaskTrial | None = None
) -> Callable[[Tensor], Tensor]:
    """What a trial has learned, in evaluation mode: network inputs to outputs.

    body: of a U-Net, take all but the last layer from this trial, so that an earlier task's last
    layer stands on a network that has learned something else since.
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


def mask_task(trial: TaskTrial, context: Context) -> MaskedTask:
    """A U-Net's Piggyback trial as what has to be stored of it."""
    state, original = _network_state(trial, context), unet_base(trial, context)
    outputs, inputs = state["last.weight"].shape[:2]
    last = nn.Conv2d(inputs, outputs, 1)
    last.load_state_dict({name: state[f"last.{name}"] for name in ("weight", "bias")})
    norms = [name for name, layer in original.named_modules() if isinstance(layer, NORMS)]
    return MaskedTask(
        fingerprint(original),
        trial.norms,
        masks(trial, context),
        {"last": last.eval().requires_grad_(False)},
        {name: state[name] for name in norm_state_names(original, trial.norms, norms)},
    )


def unet_base(trial: TaskTrial, context: Context) -> UNet:
    """Task 1's network, on which the trial's masks lie, on the CPU."""
    first = base(trial)
    here = replace(context, device=torch.device("cpu"))
    return unet(first, _network_state(first, context), here).eval()


def generator_of(trials: Sequence[TaskTrial], context: Context) -> Generator:
    """One frozen generator with the residual blocks of several trials, as ``t3``, ``t4``, ..."""
    states = [_network_state(trial, context) for trial in trials]
    merged = {name: values for state in states for name, values in state.items()}
    return generator(trials[0], merged, context).requires_grad_(False)


def draws(trial: TaskTrial) -> int:
    """Seed of what a task draws anew: masks of equal last layers would be alike by that alone."""
    return 100 * trial.seed + 10 * trial.run + trial.task


def batches(trial: TaskTrial, task: Task) -> Callable[[int], Batch]:
    """Step -> mirrored training images and their label maps; equal for all methods of a seed."""
    images, labels = task.train.images, task.train.labels
    seed = draws(trial)
    if trial.shuffled:
        rng = torch.Generator().manual_seed(seed)
        labels = labels[torch.randperm(len(labels), generator=rng).to(labels.device)]
    # equal seeds mirror an image and its label map alike; both in one tensor would be a copy
    pictures, maps = (
        Epochs(x, batch=trial.stream.batch, seed=seed, pad=0) for x in (images, labels[:, None])
    )

    def at(step: int) -> Batch:
        chosen = pictures(step)[1].contiguous(memory_format=torch.channels_last)
        return chosen, (255 * maps(step)[1][:, 0]).round().long()

    return at


def unet(trial: TaskTrial, state: Tensors, context: Context) -> UNet:
    """A U-Net of the stream's width; from the state, or if that is empty from the seed."""
    channels = (
        len(state["last.weight"])
        if state
        else stream_task(trial.task_stream, trial.task, context).channels
    )
    net = UNet(3, channels, width=trial.stream.width, seed=trial.seed)
    if state:
        net.load_state_dict(state)
    return net.to(context.device)


def generator(trial: TaskTrial, state: Tensors, context: Context) -> Generator:
    """The auto-encoder with the residual blocks that are in the state, frozen; as ``unet``."""
    net = Generator(width=trial.stream.width, norm=trial.norms, seed=trial.seed)
    for name in sorted({key.split(".")[1] for key in state if key.startswith("tasks.")}):
        net.add_task(name)
    if state:
        net.load_state_dict(state)
        net.freeze("encoder", "decoder")
    return net.to(context.device).eval()


def _as_part(tensors: Tensors, kind: str) -> dict[str, Tensor]:
    """The inverse of ``part``."""
    return {f"{kind}/{name}": values for name, values in tensors.items()}


def _learned(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return artefact(trial, context, lambda: _learn(trial, context))


def _network_state(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return part(_learned(trial, context), "net")


@torch.enable_grad()  # whoever asks for a trained network may be looking at it without gradients
def _learn(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    stream = trial.stream
    task = stream_task(trial.task_stream, trial.task or 1, context)
    before = parent(trial)
    earlier = _learned(before, context) if before else {}
    learner = _LEARNERS[trial.method](trial, task, earlier, context)
    begin = time.perf_counter()
    with own_checkpoint(trial, context) as checkpoint:
        losses = train(
            learner.network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            learner.loss,
            batches(trial, task),
            steps=stream.base_steps if trial == base(trial) else stream.steps,
            lr=stream.lr,
            groups=parameter_groups(learner.network, stream),
            schedule=one_cycle,
            checkpoint=checkpoint,
            beside=learner.adversary,
            label=f"{trial.method}, task {trial.task}",
        )
    seconds = time.perf_counter() - begin
    learner.network.eval()
    return {
        **learner.keep(),
        "losses": torch.tensor(losses),
        "seconds": torch.tensor(seconds, dtype=torch.float64),
    }


def parameter_groups(network: nn.Module, stream: Stream) -> list[dict[str, Any]]:
    """Masks learn at a rate of their own; all else, last layers too, as in every method."""
    masks = [layer.real for layer in network.modules() if isinstance(layer, WeightMask)]
    known = set(map(id, masks))
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [{"params": others}, *([{"params": masks, "lr": stream.mask_lr}] if masks else [])]


@torch.no_grad()
def _identity(trial: TaskTrial, context: Context) -> dict[str, float]:
    """How well the auto-encoder gives the test images back."""
    net = generator(trial, _network_state(trial, context), context)
    images = stream_task(trial.stream, 1, context).test.images
    error = MeanSquaredError(squared=False).to(context.device)
    similar = likeness(context.device)
    for chosen in images.split(EVALUATION_BATCH):
        pictures = chosen.float() / 255
        output = net(pictures)
        error.update(output.contiguous(), pictures)
        similar.update(output, pictures)
    return {"rmse": value_of(error), "ssim": value_of(similar)}


def _own_loss(task: Task) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return task.loss(net(task.inputs(images)).float(), images, labels)

    return loss


def _kept(network: nn.Module) -> Callable[[], dict[str, Tensor]]:
    return lambda: _as_part(network.state_dict(), "net")


def _continued(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> UNet:
    """The network of the trial before, with a new last layer."""
    net = unet(origin(trial), part(before, "net"), context)
    net.last = _new_last(net, trial, task)
    return net


def _new_last(net: UNet, trial: TaskTrial, task: Task) -> nn.Conv2d:
    last = net.new_last(task.channels, seed=draws(trial))
    task.prepare(last)
    return last


# A method is given all that the trial before has learned, or nothing.
def _whole(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    """Scratch, fine-tune, and decoder, which keeps the encoder of the trial before."""
    if trial.method == "scratch":
        net = unet(trial, {}, context)
        task.prepare(net.last)
    else:
        net = _continued(trial, task, before, context)
    if trial.method == "decoder":
        net.freeze("encoder")
    return Learner(net, _own_loss(task), _kept(net))


def _ewc(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    net, anchor = _continued(trial, task, before, context), _anchor(trial, before, context)
    own = _own_loss(task)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return own(model, batch) + penalty(model, anchor, trial.stream.strength)

    def keep() -> dict[str, Tensor]:
        held = _as_part(anchor.importance, "importance") | _as_part(anchor.values, "anchor")
        return _kept(net)() | held

    return Learner(net, loss, keep)


def _anchor(trial: TaskTrial, before: Tensors, context: Context) -> Anchor:
    """All tasks before the trial's; the importance for the last of them is computed now."""
    last, earlier = origin(trial), None
    if last.method == "ewc":
        importances, values = (
            {name: tensor.to(context.device) for name, tensor in part(before, kind).items()}
            for kind in ("importance", "anchor")
        )
        earlier = Anchor(importances, values)
    task = stream_task(trial.stream, last.task, context)
    net = unet(last, part(before, "net"), context).eval()
    names = [name for name, _ in net.named_parameters() if not name.startswith("last.")]
    single = batches(replace(last, stream=replace(last.stream, batch=1)), task)
    images = (single(step) for step in range(trial.stream.importance_images))
    return extended(earlier, net, importance(net, _own_loss(task), images, names))


def _piggyback(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    original = unet(origin(trial), part(before, "net"), context)
    last = _new_last(original, trial, task)
    net = MaskedNetwork(original, {"last": last}, norm=trial.norms)

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        plain = TaskSwitcher(original, {"it": learned}).use("it")
        return _as_part(plain.state_dict(), "net") | _as_part(learned.masks, "mask")

    return Learner(net, _own_loss(task), keep)


def _resblock(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    net = generator(trial, part(before, "net"), context)
    if trial.task == 0:
        return Learner(net, _identity_loss, _kept(net))
    name = f"t{trial.task}"
    net.add_task(name, seed=draws(trial))
    adversary = _adversary(trial, task)
    return Learner(net, _image_loss(trial, task, name, adversary), _kept(net), adversary)


def _resblock_piggyback(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    first, own = f"t{origin(trial).task}", f"t{trial.task}"
    original = generator(origin(trial), part(before, "net"), context)
    net = MaskedNetwork(original, within=f"tasks.{first}", norm="frozen")

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        state = TaskSwitcher(original, {"it": learned}).use("it").state_dict()
        renamed = {k.replace(f"tasks.{first}.", f"tasks.{own}."): v for k, v in state.items()}
        return _as_part(renamed, "net") | _as_part(learned.masks, "mask")

    return Learner(net, _image_loss(trial, task, first), keep)


def _identity_loss(net: nn.Module, batch: Batch) -> Tensor:
    return (net(batch[0]).float() - batch[0]).abs().mean()


def _adversary(trial: TaskTrial, task: Task) -> Adversary | None:
    """The discriminator of residual blocks that learn a segmentation, unless by another loss."""
    if not isinstance(task, Segmentation) or trial.loss not in ("", "adversarial"):
        return None
    judge = PatchDiscriminator(
        6, width=trial.stream.width, layers=trial.stream.patches, seed=trial.seed
    )
    return Adversary(judge.to(task.palette.device))


def _image_loss(
    trial: TaskTrial, task: Task, blocks: str, adversary: Adversary | None = None
) -> Callable[[nn.Module, Batch], Tensor]:
    """Of an RGB output: the paper's losses for a segmentation, L2 for colour, the style loss."""

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        inputs = task.inputs(images)
        output = net(inputs, blocks).float()
        if adversary:
            return adversary.loss(inputs, output, task.target_image(images, labels))
        return task.image_loss(trial.loss, output, images, labels)

    return loss


_LEARNERS: dict[str, Callable[[TaskTrial, Task, Tensors, Context], Learner]] = {
    "scratch": _whole,
    "fine-tune": _whole,
    "ewc": _ewc,
    "decoder": _whole,
    "piggyback": _piggyback,
    "resblock": _resblock,
    "resblock+piggyback": _resblock_piggyback,
}
