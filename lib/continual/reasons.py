"""Why masks have many zeros: the paper's comparison with a classifier, and its third reason.

Its figure 4, after Mallya et al., is a VGG16 that was trained to classify, under masks for another
classification: few zeros in low layers, more in high ones. Its third reason is that perhaps only
half of the weights matter, as PackNet prunes half of a network and loses less than 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import update_bn

from lib.continual.masks import MaskedNetwork, TaskSwitcher
from lib.continual.methods import unet_base
from lib.continual.networks import UNet
from lib.continual.tasks import EVALUATION_BATCH, evaluate, stream_task
from lib.continual.trials import POLICY, ClassifierSizes, ContinualStudy, Pruning, Stream, TaskTrial
from lib.data.labelled import Labelled, load_labelled
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, seeded, train
from lib.networks.classifiers import Classifier, build_classifier

LAYERS = tuple(f"conv{i}_{j}" for i, n in enumerate((2, 2, 3, 3, 3), 1) for j in range(1, n + 1))
BASE, MASKS, HEAD = LEARNED = ("base", "masks", "head")
PRUNED = {"smallest": prune.l1_unstructured, "random": prune.random_unstructured}


@dataclass(frozen=True)
class ClassifierTrial:
    """A VGG16 that is trained to classify, or what is learned on top of it.

    learned: ``base``, the VGG16 itself; ``masks``, with a last layer of their own, on the frozen
        base; ``head``, a last layer and the norms' statistics alone.
    data: place in ``sizes.data``; the base's is 0. shuffled: its labels belong to other images.
    steps, lr, mask_lr: the stream's; the base has ``sizes.base_steps``.
    """

    sizes: ClassifierSizes
    steps: int
    lr: float
    mask_lr: float
    learned: str = BASE
    data: int = 0
    shuffled: bool = False
    seed: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        if self.learned not in LEARNED:
            raise ValueError(f"learned must be one of {LEARNED}, not {self.learned!r}")

    @property
    def base(self) -> ClassifierTrial:
        """The trained VGG16 on which it stands; itself, if it is that."""
        return replace(self, learned=BASE, data=0, shuffled=False)


@dataclass(frozen=True)
class PruneTrial:
    """Task 1's U-Net without a share of each layer's weights; nothing is trained."""

    stream: Stream
    sizes: Pruning
    seed: int = 0
    version: int = 1


def classifiers(sizes: ContinualStudy) -> list[list[ClassifierTrial]]:
    """The bases; then masks, masks for shuffled labels of either set, and a last layer alone."""
    own, stream = sizes.classifier, sizes.stream
    plain = ClassifierTrial(own, stream.steps, stream.lr, stream.mask_lr)
    bases = [replace(plain, seed=seed) for seed in range(sizes.controls)]
    kinds = ((MASKS, 1, False), (MASKS, 1, True), (MASKS, 0, True), (HEAD, 1, False))
    on_top = [
        replace(base, learned=learned, data=data, shuffled=shuffled)
        for base, (learned, data, shuffled) in product(bases, kinds)
    ]
    return [bases, on_top]


def prunings(sizes: ContinualStudy) -> list[PruneTrial]:
    """One for each seed of the main table."""
    return [PruneTrial(sizes.stream, sizes.pruned, seed) for seed in range(sizes.seeds)]


@torch.no_grad()
def run_classifier(trial: ClassifierTrial, context: Context) -> dict[str, Any]:
    """Test images classified right (``top1``) and of the training set's largest class
    (``largest``), in per cent; ``layers``: each convolution's share of zeros, ``rate``.
    """
    data, net = _load(trial, context), _network(trial, context).eval()
    parts = (part.to(context.device) for part in data.test_images.split(EVALUATION_BATCH))
    answers = torch.cat([net(part.float() / 255).argmax(1).cpu() for part in parts])
    labels, largest = data.test_labels, data.train_labels.bincount().argmax()
    layers = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    rates = [float((weight == 0).cpu().double().mean()) for weight in layers]
    return {
        "top1": 100 * float((answers == labels).double().mean()),
        "largest": 100 * float((labels == largest).double().mean()),
        "layers": [
            {"layer": name, "place": place, "rate": rate}
            for place, (name, rate) in enumerate(zip(LAYERS, rates, strict=True))
        ],
    }


def _load(trial: ClassifierTrial, context: Context) -> Labelled:
    sizes, place = trial.sizes, trial.data
    counts = {"train": sizes.train[place], "test": sizes.test[place]}
    return load_labelled(sizes.data[place], **counts, root=context.data_root)


def _network(trial: ClassifierTrial, context: Context) -> Classifier:
    """What a trial has learned, with plain weights."""
    state = artefact(trial, context, lambda: _learn(trial, context))
    net = build_classifier("vgg16", len(state["linear.bias"]), trial.sizes.width, trial.seed)
    net.load_state_dict(state)
    return net.to(context.device)


@torch.enable_grad()  # it may be needed by whoever scores it without gradients
def _learn(trial: ClassifierTrial, context: Context) -> dict[str, Tensor]:
    data = _load(trial, context)
    if trial == trial.base:
        net = build_classifier("vgg16", len(data.classes), trial.sizes.width, trial.seed)
        _train(trial, net.to(context.device), data, context)
        return net.state_dict()
    net = _network(trial.base, context)
    with seeded(trial.seed):
        head = nn.Linear(net.linear.in_features, len(data.classes)).to(context.device)
    masked = MaskedNetwork(net, {"linear": head}, norm=POLICY)
    _train(trial, masked, data, context)
    return TaskSwitcher(net, {"it": masked.task()}).use("it").state_dict()


def _train(trial: ClassifierTrial, net: nn.Module, data: Labelled, context: Context) -> None:
    labels, images = (x.to(context.device) for x in (data.train_labels, data.train_images))
    if trial.shuffled:
        rng = torch.Generator().manual_seed(trial.seed)
        labels = labels[torch.randperm(len(labels), generator=rng).to(labels.device)]
    rate = trial.mask_lr if trial.learned == MASKS else 0.0  # a head leaves all masks at 1
    with own_checkpoint(trial, context) as checkpoint:
        train(
            net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            lambda model, batch: F.cross_entropy(model(batch[1]).float(), labels[batch[0]]),
            Epochs(images, batch=trial.sizes.batch, seed=trial.seed),
            steps=trial.sizes.base_steps if trial.learned == BASE else trial.steps,
            lr=trial.lr,
            groups=net.groups(rate) if isinstance(net, MaskedNetwork) else None,
            schedule=one_cycle,
            checkpoint=checkpoint,
            label=f"{trial.learned}, {trial.sizes.data[trial.data]}",
        )


@torch.no_grad()
def run_pruned(trial: PruneTrial, context: Context) -> dict[str, Any]:
    """``pruned``: task 1's metrics for each share, for the ``smallest`` weights and ``random``
    ones, and for the ``stored`` statistics of the norms and those of the training images, anew.
    """
    task, rows = stream_task(trial.stream, 1, context), []
    base = TaskTrial(stream=trial.stream, method="scratch", task=1, seed=trial.seed)
    images = task.train.images[: trial.sizes.images or None]
    for share, which in product(trial.sizes.shares, PRUNED):
        net = unet_base(base, context)
        prune_layers(net, share, which, seed=trial.seed)
        net.to(context.device)
        for norms in ("stored", "anew"):
            if norms == "anew":
                update_bn((x.float() / 255 for x in images.split(EVALUATION_BATCH)), net)
            rows.append({"share": share, "which": which, "norms": norms, **evaluate(task, net)})
    return {"pruned": rows}


def prune_layers(net: UNet, share: float, which: str, *, seed: int = 0) -> None:
    """Put a share of each of the 22 layers' weights to 0, in place; which: one of ``PRUNED``."""
    with seeded(seed):
        for layer in net.weight_layers().values():
            PRUNED[which](layer, "weight", amount=share)
            prune.remove(layer, "weight")


def entries(records: pd.DataFrame, name: str, *fields: str) -> pd.DataFrame:
    """One row an entry of the list that each record has under a name, with fields of its trial."""
    rows = [
        {field: getattr(trial, field) for field in fields} | entry
        for trial in records.itertuples()
        for entry in (getattr(trial, name) if trial.status == "ok" else ())
    ]
    return pd.DataFrame(rows, columns=None if rows else list(fields))
