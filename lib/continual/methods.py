"""Notebook 01: what each method trains, with which loss, and what is kept of it.

A method is given what the trial before has learned (``lib.continual.learning``) and leaves
the loop to ``lib.engine.training``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from lib.continual.adversarial import Adversary, PatchDiscriminator
from lib.continual.ewc import Anchor, add_task, importance, penalty
from lib.continual.mask_tasks import TaskSwitcher
from lib.continual.masks import MaskedNetwork
from lib.continual.parents import Batch, as_part, batches, draws, generator, part, unet
from lib.continual.tasks import Task, task
from lib.continual.trials import TaskTrial, origin
from lib.continual.unet import UNet
from lib.engine.sweep import Context

Before = Mapping[str, Tensor] | None  # what the parent has learned


@dataclass(frozen=True)
class Learner:
    """What a method trains: a network, its loss on a batch, and what is kept at the end."""

    network: nn.Module
    loss: Callable[[nn.Module, Batch], Tensor]
    keep: Callable[[], dict[str, Tensor]]
    lr: float


def learner(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    """What has to be trained for a trial; ``before`` is all that its parent has learned."""
    return _LEARNERS[trial.method](trial, each, before, context)


def _own_loss(each: Task) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(net: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return each.loss(net(each.inputs(images)).float(), images, labels)

    return loss


def _kept(network: nn.Module) -> Callable[[], dict[str, Tensor]]:
    return lambda: as_part(network.state_dict(), "net")


def _continued(trial: TaskTrial, each: Task, before: Before, context: Context) -> UNet:
    """The network of the trial before, with a new last layer."""
    net = unet(origin(trial), part(before, "net"), context)
    net.last = net.new_last(each.channels, seed=draws(trial))
    return net


def _scratch(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    net = unet(trial, None, context)
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _fine_tune(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    net = _continued(trial, each, before, context)
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _decoder(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    net = _continued(trial, each, before, context).freeze_encoder()
    return Learner(net, _own_loss(each), _kept(net), trial.stream.lr)


def _ewc(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    net, anchor = _continued(trial, each, before, context), _anchor(trial, before, context)
    own = _own_loss(each)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return own(model, batch) + penalty(model, anchor, trial.stream.strength)

    def keep() -> dict[str, Tensor]:
        held = as_part(anchor.importance, "importance") | as_part(anchor.values, "anchor")
        return _kept(net)() | held

    return Learner(net, loss, keep, trial.stream.lr)


def _anchor(trial: TaskTrial, before: Before, context: Context) -> Anchor:
    """All tasks before the trial's, the last of which has its importance found now."""
    last, earlier = origin(trial), None
    if last.method == "ewc":
        parts = (part(before, kind) for kind in ("importance", "anchor"))
        earlier = Anchor(
            *({name: values.to(context.device) for name, values in part.items()} for part in parts)
        )
    each = task(trial.stream, last.task, context)
    net = unet(last, part(before, "net"), context).eval()
    names = [name for name, _ in net.named_parameters() if not name.startswith("last.")]
    single = batches(replace(last, stream=replace(last.stream, batch=1)), each)
    images = (single(step) for step in range(trial.stream.importance_images))
    return add_task(earlier, net, importance(net, _own_loss(each), images, names))


def _piggyback(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    original = unet(origin(trial), part(before, "net"), context)
    last = original.new_last(each.channels, seed=draws(trial))
    net = MaskedNetwork(original, {"last": last}, norm=trial.norms)

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        plain = TaskSwitcher(original, {"it": learned}).use("it")
        return as_part(plain.state_dict(), "net") | as_part(learned.masks, "mask")

    return Learner(net, _own_loss(each), keep, trial.stream.mask_lr)


def _resblock(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    if trial.task == 0:
        net = generator(trial, None, context)
        return Learner(net, _identity_loss, _kept(net), trial.stream.lr)
    net = generator(trial, part(before, "net"), context)
    name = f"t{trial.task}"
    net.add_task(name, seed=draws(trial))
    return Learner(net, _image_loss(trial, each, name), _kept(net), trial.stream.lr)


def _resblock_piggyback(trial: TaskTrial, each: Task, before: Before, context: Context) -> Learner:
    first, own = f"t{origin(trial).task}", f"t{trial.task}"
    original = generator(origin(trial), part(before, "net"), context)
    net = MaskedNetwork(original, within=f"tasks.{first}", norm="frozen")

    def keep() -> dict[str, Tensor]:
        learned = net.task()
        state = TaskSwitcher(original, {"it": learned}).use("it").state_dict()
        renamed = {k.replace(f"tasks.{first}.", f"tasks.{own}."): v for k, v in state.items()}
        return as_part(renamed, "net") | as_part(learned.masks, "mask")

    return Learner(net, _image_loss(trial, each, first), keep, trial.stream.mask_lr)


def _identity_loss(net: nn.Module, batch: Batch) -> Tensor:
    return (net(batch[0]).float() - batch[0]).abs().mean()


def is_adversarial(trial: TaskTrial, each: Task) -> bool:
    """Whether the loss is a discriminator's; the auto-encoder learns the identity."""
    segments = trial.on_images and trial.task != 0 and each.kind == "segmentation"
    return segments and trial.loss in ("", "adversarial")


def _image_loss(trial: TaskTrial, each: Task, blocks: str) -> Callable[[nn.Module, Batch], Tensor]:
    """Of an RGB output: the paper's losses for a segmentation, L2 for colour, the style loss."""
    adversary = None
    if is_adversarial(trial, each):
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


_LEARNERS: dict[str, Callable[[TaskTrial, Task, Before, Context], Learner]] = {
    "scratch": _scratch,
    "fine-tune": _fine_tune,
    "ewc": _ewc,
    "decoder": _decoder,
    "piggyback": _piggyback,
    "resblock": _resblock,
    "resblock+piggyback": _resblock_piggyback,
}
