"""Trains a classifier of 32 px images, or takes a published one, for all that need it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.data.catalogue import DATASETS, locate
from lib.data.labelled import Labelled, load_labelled
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import one_cycle, train
from lib.networks.classifiers import PUBLISHED, build_classifier, pretrained_resnet
from lib.networks.sizes import count_parameters

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ClassifierTrial:
    """One classifier: what it is and how it is trained.

    train and test are numbers of images, 0 for all. epochs=0 with an architecture of ``PUBLISHED``
    takes the published CIFAR-10 weights. lr is the peak of SGD with Nesterov momentum 0.9, weight
    decay 5e-4 and one cycle. flip adds mirror images, which digits have none of.
    """

    dataset: str
    train: int
    test: int
    architecture: str
    width: int
    epochs: int
    batch: int
    lr: float
    flip: bool = True
    seed: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        published = [("cifar10", architecture, 16) for architecture in PUBLISHED]
        if not self.epochs and (self.dataset, self.architecture, self.width) not in published:
            raise ValueError(f"without epochs there are only {published}, not {self}")


def network_name(trial: Mapping[str, Any]) -> str:
    """How tables call a classifier, from the fields of its trial: architecture, width and seed."""
    return f"{trial['architecture']}-{trial['width']} {trial['seed']}"


def labelled_images(trial: ClassifierTrial, context: Context) -> Labelled:
    """The trial's data, on the CPU."""
    return load_labelled(trial.dataset, train=trial.train, test=trial.test, root=context.data_root)


def run_classifier(trial: ClassifierTrial, context: Context) -> dict:
    """Train, keep and test; trivial_accuracy is that of always the most frequent class."""
    model, data = load_classifier(trial, context), labelled_images(trial, context)
    logits = predict(model, data.test_images)
    return {
        **score(logits, data.test_labels),
        "trivial_accuracy": 100 * float(data.test_labels.bincount().max()) / len(logits),
        "tested": len(logits),
        "confidence": float(F.softmax(logits, 1).amax(1).mean()),
        "parameters": count_parameters(model),
    }


def load_classifier(trial: ClassifierTrial, context: Context) -> nn.Module:
    """The trained classifier, frozen, in evaluation mode on the trial's device."""
    if trial.epochs == 0:
        name = f"{trial.architecture}-cifar10"
        path = locate(name, context.data_root) / DATASETS[name].files[0]
        model: nn.Module = pretrained_resnet(trial.architecture, path)
    else:
        model = initial_classifier(trial, context)
        model.load_state_dict(artefact(trial, context, lambda: _train(trial, context)))
    model = model.to(context.device).to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def initial_classifier(trial: ClassifierTrial, context: Context) -> nn.Module:
    """The untrained network of a trial's seed, on the CPU."""
    classes = len(labelled_images(trial, context).classes)
    model = build_classifier(trial.architecture, classes, trial.width, trial.seed)
    return model.to(memory_format=torch.channels_last)


def _train(trial: ClassifierTrial, context: Context) -> dict[str, Tensor]:
    data = labelled_images(trial, context)
    labels = data.train_labels.to(context.device)

    def loss(model: nn.Module, index: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(model(images), labels[index])

    with own_checkpoint(trial, context) as checkpoint:
        model = fit(trial, data.train_images, loss, replace(context, checkpoint=checkpoint))
    return model.state_dict()


def fit(trial: ClassifierTrial, images: Tensor, loss: Loss, context: Context) -> nn.Module:
    """Train from scratch on uint8 images; the model in evaluation mode.

    loss takes the model, the index of a batch's images and these, augmented; it gives a scalar.
    The seed alone decides weights, order and augmentation, so runs with other losses are paired.
    """
    model = initial_classifier(trial, context).to(context.device)
    epochs = Epochs(images.to(context.device), batch=trial.batch, seed=trial.seed, flip=trial.flip)
    train(
        model,
        lambda network, batch: loss(network, *batch),
        epochs,
        steps=trial.epochs * len(epochs),
        lr=trial.lr,
        optimiser=torch.optim.SGD,
        optimiser_options={"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        schedule=one_cycle,
        checkpoint=context.checkpoint,
        label=f"training {trial.architecture}",
    )
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch: int = 500) -> Tensor:
    """(N, K) logits on the CPU, for (N, 3, H, W) images, uint8 or in [0, 1]."""
    device = next((p.device for p in model.parameters()), images.device)
    return torch.cat([model(as_float(part.to(device))).cpu() for part in images.split(batch)])


def as_float(images: Tensor) -> Tensor:
    """Images in [0, 1], whether they are bytes or floats already."""
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    return images.contiguous(memory_format=torch.channels_last)


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy in per cent, and cross entropy."""
    return {
        "accuracy": 100 * float((logits.argmax(1) == labels).double().mean()),
        "cross_entropy": float(F.cross_entropy(logits, labels)),
    }
