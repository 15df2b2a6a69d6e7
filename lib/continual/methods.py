"""What each method trains, with which loss, and what is kept of it; and the trial function.

What is learned is an artefact with the entries ``net/<name>`` (a whole network that runs as it is),
``mask/<layer>``, ``importance/...`` and ``anchor/...`` (elastic weight consolidation), ``losses``
and ``seconds``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from lib.continual.losses import Adversary, Anchor, extended, importance, penalty
from lib.continual.masks import MaskedNetwork, MaskedTask, TaskSwitcher, part, zero_rates
from lib.continual.networks import Generator, PatchDiscriminator, UNet
from lib.continual.tasks import Segmentation, Task, evaluate, likeness, optimised, stream_task
from lib.continual.trials import MASKED_BLOCKS, ONE_BODY, TaskTrial, base, history, parent
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, train

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], labels (B, H, W) int64
Tensors = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True)
class Learner:
    """What a method trains, its loss, what is kept at the end, and a loss's discriminator."""

    network: nn.Module
    loss: Loss
    keep: Callable[[], dict[str, Tensor]]
    adversary: Adversary | None = None


def run_task(trial: TaskTrial, context: Context) -> dict[str, Any]:
    """Learn the task, then score it and every earlier one: ``T2 miou`` and so on."""
    learned = _learned(trial, context)
    losses = learned["losses"]
    metrics: dict[str, Any] = {"train_loss": float(losses[-max(1, len(losses) // 10) :].mean())}
    metrics["train_seconds"] = float(learned["seconds"])
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

    body: of a U-Net, the later trial that all but the last layer are taken from.
    """
    state = _network_state(trial, context)
    if trial.on_images:
        net = _generator(trial, state, context)
        return lambda x: net(x, f"t{trial.task}")
    if body is not None:
        last = {name: values for name, values in state.items() if name.startswith("last.")}
        state = _network_state(body, context) | last
    return _unet(trial, state, context.device)


def masks(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    """Layer name -> bool mask of a Piggyback trial."""
    return part(_learned(trial, context), "mask")


def mask_task(trial: TaskTrial, context: Context) -> MaskedTask:
    """A U-Net's Piggyback trial as what has to be stored of it."""
    state, original = _network_state(trial, context), unet_base(trial, context)
    last = original.new_last(len(state["last.weight"]))
    net = MaskedNetwork(original, {"last": last}, norm=trial.norms)
    net.network.load_state_dict(state, strict=False)  # masked weights have other names there
    bits = masks(trial, context)
    for name, mask in net.masks().items():
        mask.real.data = bits[name].float()  # 0 and 1 lie on either side of the threshold
    return net.task()


def unet_base(trial: TaskTrial, context: Context) -> UNet:
    """Task 1's network, on which the trial's masks lie, on the CPU."""
    return _unet(trial, _network_state(base(trial), context), torch.device("cpu"))


def generator_of(trials: Sequence[TaskTrial], context: Context) -> Generator:
    """One frozen generator with the residual blocks of several trials, as ``t3``, ``t4``, ..."""
    merged: dict[str, Tensor] = {}
    for trial in trials:
        merged |= _network_state(trial, context)
    return _generator(trials[0], merged, context).requires_grad_(False)


def draws(trial: TaskTrial) -> int:
    """Seed of what a task draws anew: masks of equal last layers would be alike by that alone."""
    return 100 * trial.seed + 10 * trial.run + trial.task


def batches(trial: TaskTrial, task: Task) -> Callable[[int], Batch]:
    """Step -> mirrored training images and their label maps; equal for all methods of a seed."""
    images, labels, seed = task.train.images, task.train.labels, draws(trial)
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


def _unet(trial: TaskTrial, state: Tensors, device: torch.device) -> UNet:
    """A U-Net of the stream's width with a state, in evaluation mode."""
    net = UNet(3, len(state["last.weight"]), width=trial.stream.width)
    net.load_state_dict(state)
    return net.to(device).eval()


def _generator(trial: TaskTrial, state: Tensors, context: Context) -> Generator:
    """The auto-encoder with the blocks that are in the state, frozen; without a state, new."""
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
    stream, before = trial.stream, parent(trial)
    task = stream_task(trial.task_stream, trial.task or 1, context)
    earlier = _learned(before, context) if before else {}
    learner = _LEARNERS.get(trial.method, _whole)(trial, task, earlier, context)
    net = learner.network
    begin = time.perf_counter()
    with own_checkpoint(trial, context) as checkpoint:
        losses = train(
            net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            learner.loss,
            batches(trial, task),
            steps=stream.base_steps if trial == base(trial) else stream.steps,
            lr=stream.lr,
            groups=net.groups(stream.mask_lr) if isinstance(net, MaskedNetwork) else None,
            schedule=one_cycle,
            checkpoint=checkpoint,
            beside=learner.adversary,
            label=f"{trial.method}, task {trial.task}",
        )
    seconds = torch.tensor(time.perf_counter() - begin, dtype=torch.float64)
    net.eval()
    return learner.keep() | {"losses": torch.tensor(losses), "seconds": seconds}


@torch.no_grad()
def _identity(trial: TaskTrial, context: Context) -> dict[str, float]:
    """How well the auto-encoder gives the test images back."""
    net = _generator(trial, _network_state(trial, context), context)
    error = MeanSquaredError(squared=False).to(context.device)
    similar = likeness(context.device)
    for pictures in stream_task(trial.stream, 1, context).test_batches():
        output = net(pictures).contiguous()
        error.update(output, pictures)
        similar.update(output, pictures)
    return {"rmse": float(error.compute()), "ssim": float(similar.compute())}


def _loss(task: Task, blocks: str = "", kind: str = "", adversary: Adversary | None = None) -> Loss:
    """Of a last layer's output; with blocks of the RGB output: the paper's losses for a
    segmentation (kind), L2 for colour, the style loss; and of the identity.
    """

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        if kind == "identity":
            return (net(images).float() - images).abs().mean()
        inputs = task.inputs(images)
        if not blocks:
            return task.loss(net(inputs).float(), images, labels)
        output = net(inputs, blocks).float()
        if adversary:
            return adversary.loss(inputs, output, task.target_image(images, labels))
        return task.image_loss(kind, output, images, labels)

    return loss


def _kept(network: nn.Module) -> Callable[[], dict[str, Tensor]]:
    return lambda: _as_part(network.state_dict(), "net")


def _kept_mask(original: nn.Module, net: MaskedNetwork) -> dict[str, Tensor]:
    learned = net.task()
    plain = TaskSwitcher(original, {"it": learned}).use("it")
    return _as_part(plain.state_dict(), "net") | _as_part(learned.masks, "mask")


def _new_last(net: UNet, trial: TaskTrial, task: Task) -> nn.Conv2d:
    last = net.new_last(task.channels, seed=draws(trial))
    task.prepare(last)
    return last


# A method is given all that the trial before has learned, or nothing.
def _whole(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    """Scratch, fine-tune, and decoder, which keeps the encoder of the trial before."""
    if trial.method == "scratch":
        net = UNet(3, task.channels, width=trial.stream.width, seed=trial.seed)
        net.to(context.device)
        task.prepare(net.last)
    else:
        net = _unet(trial, part(before, "net"), context.device)
        net.last = _new_last(net, trial, task)
    if trial.method == "decoder":
        net.freeze("encoder")
    return Learner(net, _loss(task), _kept(net))


def _ewc(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    plain, anchor = _whole(trial, task, before, context), _anchor(trial, before, context)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return plain.loss(model, batch) + penalty(model, anchor, trial.stream.strength)

    def keep() -> dict[str, Tensor]:
        held = _as_part(anchor.importance, "importance") | _as_part(anchor.values, "anchor")
        return plain.keep() | held

    return replace(plain, loss=loss, keep=keep)


def _anchor(trial: TaskTrial, before: Tensors, context: Context) -> Anchor:
    """All tasks before the trial's; the importance for the last of them is computed now."""
    last, earlier = parent(trial) or trial, None
    if last.method == "ewc":
        kept = {name: values.to(context.device) for name, values in before.items()}
        earlier = Anchor(part(kept, "importance"), part(kept, "anchor"))
    task = stream_task(trial.stream, last.task, context)
    net = _unet(last, part(before, "net"), context.device)
    shared = {name: x for name, x in net.named_parameters() if not name.startswith("last.")}
    single = batches(replace(last, stream=replace(last.stream, batch=1)), task)
    losses = (_loss(task)(net, single(step)) for step in range(trial.stream.importance_images))
    return extended(earlier, net, importance(shared, losses))


def _piggyback(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    original = _unet(trial, part(before, "net"), context.device)
    last = _new_last(original, trial, task)
    net = MaskedNetwork(original, {"last": last}, norm=trial.norms)
    return Learner(net, _loss(task), lambda: _kept_mask(original, net))


def _resblock(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    net = _generator(trial, part(before, "net"), context)
    if trial.task == 0:
        return Learner(net, _loss(task, kind="identity"), _kept(net))
    name, adversary = f"t{trial.task}", None
    net.add_task(name, seed=draws(trial))
    if isinstance(task, Segmentation) and trial.loss in ("", "adversarial"):
        judge = PatchDiscriminator(
            6, width=trial.stream.width, layers=trial.stream.patches, seed=trial.seed
        )
        adversary = Adversary(judge.to(context.device))
    return Learner(net, _loss(task, name, trial.loss, adversary), _kept(net), adversary)


def _resblock_piggyback(trial: TaskTrial, task: Task, before: Tensors, context: Context) -> Learner:
    first, own = f"t{MASKED_BLOCKS['base']}", f"t{trial.task}"
    original = _generator(trial, part(before, "net"), context)
    net = MaskedNetwork(original, within=f"tasks.{first}")

    def keep() -> dict[str, Tensor]:
        kept = _kept_mask(original, net).items()
        return {k.replace(f"net/tasks.{first}.", f"net/tasks.{own}."): v for k, v in kept}

    return Learner(net, _loss(task, first, trial.loss), keep)


_LEARNERS: dict[str, Callable[[TaskTrial, Task, Tensors, Context], Learner]] = {
    "ewc": _ewc,
    "piggyback": _piggyback,
    "resblock": _resblock,
    "resblock+piggyback": _resblock_piggyback,
}  # of the others it is _whole
