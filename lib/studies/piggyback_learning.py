"""Notebook 01: learns a task by one of the methods, and scores every task met so far.

What is learned is an artefact with the entries ``net/<name>`` (a whole network that runs as it is),
``mask/<layer>``, ``importance/...`` and ``anchor/...`` (elastic weight consolidation), ``losses``
and ``seconds``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lib.artefacts import artefact
from lib.data.batches import Epochs
from lib.methods.adversarial import Adversary, PatchDiscriminator
from lib.methods.ewc import Anchor, add_task, importance, penalty
from lib.methods.mask_similarity import zero_rates
from lib.methods.mask_tasks import Task as MaskTask
from lib.methods.mask_tasks import TaskSwitcher, fingerprint
from lib.methods.masks import MaskedNetwork
from lib.models.generator import Generator
from lib.models.unet import UNet
from lib.studies.image_tasks import Task, evaluate, optimised, ssim, task
from lib.studies.piggyback_trials import ONE_BODY, TaskTrial, base, history, parent
from lib.sweep import Context, trial_key
from lib.training import one_cycle, train

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], labels (B, H, W) int64


@dataclass(frozen=True)
class Learner:
    """What a method trains: a network, its loss on a batch, and what is kept at the end."""

    network: nn.Module
    loss: Callable[[nn.Module, Batch], Tensor]
    keep: Callable[[], dict[str, Tensor]]
    lr: float


def run_task(trial: TaskTrial, context: Context) -> dict:
    """Learn the task, then score it and every earlier one: ``T2 miou`` and so on."""
    learned = _learned(trial, context)
    metrics = {
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
        net = _generator(trial, state, context)
        return lambda x: net(x, f"t{trial.task}")
    if body is not None:
        last = {name: values for name, values in state.items() if name.startswith("last.")}
        state = {**_network_state(body, context), **last}
    return _unet(trial, state, context).eval()


def masks(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    """Layer name -> bool mask of a Piggyback trial."""
    return _part(_learned(trial, context), "mask")


def mask_task(trial: TaskTrial, context: Context) -> MaskTask:
    """A U-Net's Piggyback trial as what has to be stored of it."""
    state = _network_state(trial, context)
    original = unet_base(trial, context)
    last = nn.Conv2d(*state["last.weight"].shape[1::-1], 1)
    last.load_state_dict({name: state[f"last.{name}"] for name in ("weight", "bias")})
    kept = _norm_names(original, trial.norms)
    own = {name: state[name] for name in kept}
    heads = {"last": last.eval().requires_grad_(False)}
    return MaskTask(fingerprint(original), trial.norms, masks(trial, context), heads, own)


def unet_base(trial: TaskTrial, context: Context) -> UNet:
    """Task 1's network, on which the trial's masks lie, on the CPU."""
    origin = base(trial)
    here = replace(context, device=torch.device("cpu"))
    return _unet(origin, _network_state(origin, context), here).eval()


def generator_of(trials: Sequence[TaskTrial], context: Context) -> Generator:
    """One frozen generator with the residual blocks of several trials, as ``t3``, ``t4``, ..."""
    states = [_network_state(trial, context) for trial in trials]
    merged = {name: values for state in states for name, values in state.items()}
    return _generator(trials[0], merged, context).requires_grad_(False)


def _norm_names(network: nn.Module, policy: str) -> list[str]:
    norms = [n for n, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    parts = {"frozen": (), "statistics": ("running_mean", "running_var", "num_batches_tracked")}
    parts["affine"] = (*parts["statistics"], "weight", "bias")
    return [f"{name}.{part}" for name in norms for part in parts[policy]]


def _learned(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return artefact(trial, context, lambda: _learn(trial, context))


def _network_state(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return _part(_learned(trial, context), "net")


def _part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    prefix = f"{kind}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _as_part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {f"{kind}/{name}": values for name, values in tensors.items()}


def _learn(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    stream = trial.stream
    each = task(stream, trial.task or 1, context)
    learner = _LEARNERS[trial.method](trial, each, context)
    folder = context.artefacts
    checkpoint = folder and folder / f"{trial_key(trial)}.checkpoint"
    if _adversarial(trial, each):
        checkpoint = None  # it would not hold the discriminator
    begin = time.perf_counter()
    losses = train(
        learner.network.to(memory_format=torch.channels_last),
        learner.loss,
        batches(trial, each),
        steps=stream.base_steps if trial == base(trial) else stream.steps,
        lr=learner.lr,
        schedule=one_cycle,
        checkpoint=checkpoint,
        label=f"{trial.method}, task {trial.task}",
    )
    seconds = time.perf_counter() - begin
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    learner.network.eval()
    return {
        **learner.keep(),
        "losses": torch.tensor(losses),
        "seconds": torch.tensor(seconds, dtype=torch.float64),
    }


def _draws(trial: TaskTrial) -> int:
    """Seed of what a task draws anew: masks of equal last layers would be alike by that alone."""
    return 100 * trial.seed + 10 * trial.run + trial.task


def batches(trial: TaskTrial, each: Task) -> Callable[[int], Batch]:
    """Step -> mirrored training images and their label maps; equal for all methods of a seed."""
    images, labels = each.train.images, each.train.labels
    seed = _draws(trial)
    if trial.shuffled:
        rng = torch.Generator().manual_seed(seed)
        labels = labels[torch.randperm(len(labels), generator=rng).to(labels.device)]
    # the label map is a fourth channel, so that it is mirrored with its image
    both = torch.cat((images, labels[:, None]), 1)
    epochs = Epochs(both, batch=trial.stream.batch, seed=seed, pad=0)

    def at(step: int) -> Batch:
        _, found = epochs(step)
        found = found.contiguous(memory_format=torch.channels_last)
        return found[:, :3], (255 * found[:, 3]).round().long()

    return at


def _unet(trial: TaskTrial, state: Mapping[str, Tensor] | None, context: Context) -> UNet:
    """A U-Net of the stream's width; from the state, else from the seed."""
    channels = (
        len(state["last.weight"]) if state else task(trial.stream, trial.task, context).channels
    )
    net = UNet(3, channels, width=trial.stream.width, seed=trial.seed)
    if state:
        net.load_state_dict(state)
    return net.to(context.device)


def _generator(trial: TaskTrial, state: Mapping[str, Tensor] | None, context: Context) -> Generator:
    """The auto-encoder with the residual blocks that are in the state, frozen."""
    net = Generator(width=trial.stream.width, norm=trial.norms, seed=trial.seed)
    for name in sorted({key.split(".")[1] for key in state or () if key.startswith("tasks.")}):
        net.add_task(name)
    if state:
        net.load_state_dict(state)
        net.freeze()
    return net.to(context.device).eval()


def _own_loss(each: Task) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return each.loss(net(each.inputs(images)).float(), images, labels)

    return loss


def _kept(network: nn.Module) -> Callable[[], dict[str, Tensor]]:
    return lambda: _as_part(network.state_dict(), "net")


def _continued(trial: TaskTrial, each: Task, context: Context) -> UNet:
    """The network of the trial before, with a new last layer."""
    net = _unet(parent(trial), _network_state(parent(trial), context), context)
    net.last = net.new_last(each.channels, seed=_draws(trial))
    return net


def _scratch(trial: TaskTrial, each: Task, context: Context) -> Learner:
    net = _unet(trial, None, context)
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _fine_tune(trial: TaskTrial, each: Task, context: Context) -> Learner:
    net = _continued(trial, each, context)
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _decoder(trial: TaskTrial, each: Task, context: Context) -> Learner:
    net = _continued(trial, each, context).freeze_encoder()
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _ewc(trial: TaskTrial, each: Task, context: Context) -> Learner:
    net, anchor = _continued(trial, each, context), _anchor(trial, context)
    own = _own_loss(each)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return own(model, batch) + penalty(model, anchor, trial.stream.strength)

    def keep() -> dict[str, Tensor]:
        held = _as_part(anchor.importance, "importance") | _as_part(anchor.values, "anchor")
        return _kept(net)() | held

    return Learner(net, loss, keep, trial.stream.lr)


def _anchor(trial: TaskTrial, context: Context) -> Anchor:
    """All tasks before the trial's, the last of which has its importance found now."""
    before = parent(trial)
    learned, earlier = _learned(before, context), None
    if before.method == "ewc":
        parts = (_part(learned, kind) for kind in ("importance", "anchor"))
        earlier = Anchor(
            *({name: values.to(context.device) for name, values in part.items()} for part in parts)
        )
    each = task(trial.stream, before.task, context)
    net = _unet(before, _part(learned, "net"), context).eval()
    names = [name for name, _ in net.named_parameters() if not name.startswith("last.")]
    single = batches(replace(before, stream=replace(before.stream, batch=1)), each)
    images = (single(step) for step in range(trial.stream.importance_images))
    return add_task(earlier, net, importance(net, _own_loss(each), images, names))


def _piggyback(trial: TaskTrial, each: Task, context: Context) -> Learner:
    original = _unet(parent(trial), _network_state(parent(trial), context), context)
    last = original.new_last(each.channels, seed=_draws(trial))
    net = MaskedNetwork(original, {"last": last}, norm=trial.norms)

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        plain = TaskSwitcher(original, {"it": learned}).use("it")
        return _as_part(plain.state_dict(), "net") | _as_part(learned.masks, "mask")

    return Learner(net, _own_loss(each), keep, trial.stream.mask_lr)


def _resblock(trial: TaskTrial, each: Task, context: Context) -> Learner:
    if trial.task == 0:
        net = _generator(trial, None, context)
        return Learner(net, _identity_loss, _kept(net), trial.stream.lr)
    net = _generator(trial, _network_state(parent(trial), context), context)
    name = f"t{trial.task}"
    net.add_task(name, seed=_draws(trial))
    return Learner(net, _image_loss(trial, each, name), _kept(net), trial.stream.lr)


def _resblock_piggyback(trial: TaskTrial, each: Task, context: Context) -> Learner:
    first, own = f"t{parent(trial).task}", f"t{trial.task}"
    original = _generator(parent(trial), _network_state(parent(trial), context), context)
    net = MaskedNetwork(original, within=f"tasks.{first}", norm="frozen")

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        state = TaskSwitcher(original, {"it": learned}).use("it").state_dict()
        renamed = {k.replace(f"tasks.{first}.", f"tasks.{own}."): v for k, v in state.items()}
        return _as_part(renamed, "net") | _as_part(learned.masks, "mask")

    return Learner(net, _image_loss(trial, each, first), keep, trial.stream.mask_lr)


def _identity_loss(net: nn.Module, batch: Batch) -> Tensor:
    return (net(batch[0]).float() - batch[0]).abs().mean()


def _adversarial(trial: TaskTrial, each: Task) -> bool:
    """Whether the loss is a discriminator's; the auto-encoder learns the identity."""
    segments = trial.on_images and trial.task != 0 and each.kind == "segmentation"
    return segments and trial.loss in ("", "adversarial")


def _image_loss(trial: TaskTrial, each: Task, blocks: str) -> Callable[[nn.Module, Batch], Tensor]:
    """Of an RGB output: the paper's losses for a segmentation, L2 for colour, the style loss."""
    adversary = None
    if _adversarial(trial, each):
        sizes = {"width": trial.stream.width, "layers": trial.stream.patches, "seed": trial.seed}
        judge = PatchDiscriminator(6, **sizes).to(each.palette.device)
        adversary = Adversary(judge)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        inputs = each.inputs(images)
        output = net(inputs, blocks).float()
        if adversary:
            return adversary.loss(inputs, output, each.target_image(images, labels))
        return each.image_loss(trial.loss or "l2", output, images, labels)

    return loss


def _identity(trial: TaskTrial, context: Context) -> dict[str, float]:
    """How well the auto-encoder gives the test images back."""
    net = _generator(trial, _network_state(trial, context), context)
    images = task(trial.stream, 1, context).test.images.float() / 255
    with torch.no_grad():
        output = torch.cat([net(part) for part in images.split(32)])
    return {"rmse": float((output - images).square().mean().sqrt()), "ssim": ssim(output, images)}


_LEARNERS: dict[str, Callable[[TaskTrial, Task, Context], Learner]] = {
    "scratch": _scratch,
    "fine-tune": _fine_tune,
    "ewc": _ewc,
    "decoder": _decoder,
    "piggyback": _piggyback,
    "resblock": _resblock,
    "resblock+piggyback": _resblock_piggyback,
}
