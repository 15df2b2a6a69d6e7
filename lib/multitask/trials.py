"""Notebook 04: trains a network on landmarks and attributes of faces, from nothing or stage 1."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lib.data.face_records import LANDMARKS, Faces
from lib.data.faces import load_faces
from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import train
from lib.multitask.build import multitask_network
from lib.multitask.face_training import EVALUATION_BATCH, TASKS, evaluate, face_loss, predict
from lib.multitask.networks import SHARED, HardSharing, Independent, MultiTask, Separation
from lib.networks.sizes import count_parameters

SETTLED = 500  # training faces whose statistics an untrained frozen stream takes


@dataclass(frozen=True, kw_only=True)
class FaceTask:
    """Which faces: see ``load_faces``. tests: parts on which the network is tried, main first."""

    name: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MultiTaskTrial:
    """One training.

    network: of ``lib.multitask.build``, with its widths and hidden units of a head.
    fusion: of a separation network. frozen: its shared stream stays as it is.
    shared: where the shared stream begins, ``stage 1`` or, empty, random weights.
    copied: the streams and heads of the tasks (of hard sharing: everything) begin as stage 1's.
    pass_own: 1 x 1 convolutions begin by passing on a task's own features; else at random.
    stage1: the training that those weights come from.
    landmark_weight: of the landmarks' loss; the paper's equation 1 has 1.
    """

    faces: FaceTask
    network: str
    widths: tuple[int, ...]
    hidden: int
    epochs: int
    lr: float
    batch: int
    momentum: float = 0.9
    landmark_weight: float = 1.0
    fusion: str = ""
    frozen: bool = False
    shared: str = ""
    copied: bool = False
    pass_own: bool = False
    stage1: MultiTaskTrial | None = None
    seed: int = 0
    version: int = 1


def run_multitask(trial: MultiTaskTrial, context: Context) -> dict:
    """Train, keep the network and its predictions, and say how it went.

    nme, accuracy: of the last epoch on the main test part, as shares; by part in ``lib.studies.
    multitask_analysis``. moved: largest change of a frozen shared stream. gap: largest difference
    to stage 1's outputs before training. macs: multiply-accumulates of one image.
    """
    kept = trained(trial, context)
    network = untrained(trial, context)
    nme, accuracy = kept["curve"][-1, 0, : len(LANDMARKS)], kept["curve"][-1, 0, -1]
    return {
        "parameters": count_parameters(network),
        "trained_parameters": count_parameters(network, trained_only=True),
        "macs": multiplications(network, trial.faces.size),
        "train_images": len(faces_of(trial.faces, "train", context)),
        "test_images": len(faces_of(trial.faces, trial.faces.tests[0], context)),
        "test_nme": float(nme.mean()),
        "test_accuracy": float(accuracy),
        "moved": float(kept["moved"]),
        "gap": float(kept["gap"]),
        "train_seconds": round(float(kept["seconds"]), 2),
    }


def trained(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    """What a training leaves behind.

    model.*: its weights. PART.landmarks (N, 5, 2) as shares of the image and PART.attributes
    (N, A) logits, for each test part. curve (epochs, parts, 6): the five landmarks' NME and the
    attribute accuracy after each epoch. moved, gap, seconds: see ``run_multitask``.
    """
    return artefact(trial, context, lambda: _train(trial, context))


def load_network(trial: MultiTaskTrial, context: Context) -> MultiTask:
    """The trained network on the context's device, in evaluation mode."""
    network = untrained(trial, context)
    prefix = "model."
    kept = trained(trial, context).items()
    state = {name.removeprefix(prefix): each for name, each in kept if name.startswith(prefix)}
    network.load_state_dict(state)
    return network.to(context.device).eval()


def faces_of(task: FaceTask, part: str, context: Context) -> Faces:
    """A part of the faces, on the CPU."""
    count = task.train if part == "train" else task.test
    return load_faces(task.name, part, size=task.size, count=count, root=context.data_root)


def untrained(trial: MultiTaskTrial, context: Context) -> MultiTask:
    """The network with random weights, on the CPU: nothing has to be trained for it."""
    attributes = len(faces_of(trial.faces, "train", context).names)
    options = {"widths": trial.widths, "size": trial.faces.size, "hidden": trial.hidden}
    if trial.network == "separation":
        options |= {"fusion": trial.fusion, "frozen": trial.frozen}
    outputs = {"landmarks": 2 * len(LANDMARKS), "attributes": attributes}
    return multitask_network(trial.network, outputs, seed=trial.seed, **options)


def build(trial: MultiTaskTrial, context: Context) -> MultiTask:
    """The network before training, on the CPU: outputs begin around the trivial predictions."""
    faces, network = faces_of(trial.faces, "train", context), untrained(trial, context)
    network.set_biases(
        {
            "landmarks": (2 * faces.landmarks.mean(0) - 1).flatten(),
            "attributes": _log_odds(faces.attributes),
        }
    )
    if isinstance(network, Separation) and trial.frozen and not trial.shared:
        network.settle(faces.images[:SETTLED].float() / 255)
    if trial.stage1:
        _start(network, trial, context)
    return network


def _start(network: MultiTask, trial: MultiTaskTrial, context: Context) -> None:
    """Take over weights of stage 1, as the trial says."""
    # the trial's checkpoint is not that of another trial
    stage1 = load_network(trial.stage1, replace(context, checkpoint=None)).cpu()
    if isinstance(network, Separation):
        if trial.shared:
            network.copy_shared(stage1)
        if trial.pass_own:
            network.pass_own()
    if trial.copied and isinstance(network, HardSharing):
        network.load_state_dict(stage1.state_dict())
    elif trial.copied and isinstance(network, Independent):
        network.copy_tasks(stage1)


def _log_odds(attributes: Tensor) -> Tensor:
    """(A,) of having each attribute, with a face added to each side so that none is infinite."""
    yes, no = ((attributes == value).sum(0).float() + 1 for value in (1, 0))
    return (yes / no).log()


class _Watched(nn.Module):
    """A network with what was seen of it: one state, so that a checkpoint keeps both."""

    def __init__(self, network: MultiTask, epochs: int, parts: int) -> None:
        super().__init__()
        self.network = network
        self.curve: Tensor
        self.register_buffer("curve", torch.full((epochs, parts, len(LANDMARKS) + 1), torch.nan))


def _train(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    device, start = context.device, time.perf_counter()
    faces = faces_of(trial.faces, "train", context)
    parts = [faces_of(trial.faces, part, context) for part in trial.faces.tests]
    images = [part.images.to(device) for part in parts]
    network = build(trial, context).to(device, memory_format=torch.channels_last)
    before = _frozen_state(network)
    gap = _gap(network, trial, images[0], context)
    batches = Epochs(faces.images.to(device), batch=trial.batch, seed=trial.seed, pad=0, flip=False)
    loss = face_loss(faces, trial.landmark_weight, device)
    watched = _Watched(network, trial.epochs, len(parts)).to(device)

    def observe(done: int) -> None:
        if done % len(batches) == 0:
            seen = [evaluate(network, *each) for each in zip(images, parts, strict=True)]
            watched.curve[done // len(batches) - 1].copy_(torch.stack(seen))

    train(
        watched,
        lambda whole, batch: loss(whole.network, batch),
        batches,
        steps=trial.epochs * len(batches),
        lr=trial.lr,
        optimiser=torch.optim.SGD,
        optimiser_options={"momentum": trial.momentum},
        checkpoint=context.checkpoint,
        checkpoint_every=5 * len(batches),
        observe=observe,
        label=trial.network,
    )
    kept = {f"model.{name}": each for name, each in network.state_dict().items()}
    for part, shown in zip(trial.faces.tests, images, strict=True):
        for task, output in predict(network, shown).items():
            kept[f"{part}.{task}"] = output
    pairs = zip(_frozen_state(network), before, strict=True)
    moved = max((float((now - then).abs().max()) for now, then in pairs), default=0.0)
    single = {"moved": moved, "gap": gap, "seconds": time.perf_counter() - start}
    single = {name: torch.tensor(value) for name, value in single.items()}
    return kept | {"curve": watched.curve} | single


def _gap(network: MultiTask, trial: MultiTaskTrial, images: Tensor, context: Context) -> float:
    """Largest difference of outputs to those of stage 1, on a batch of test images."""
    if trial.stage1 is None:
        return 0.0
    stage1 = load_network(trial.stage1, replace(context, checkpoint=None))
    pair = [predict(each, images[:EVALUATION_BATCH]) for each in (network, stage1)]
    return max(float((pair[0][task] - pair[1][task]).abs().max()) for task in TASKS)


def _frozen_state(network: MultiTask) -> list[Tensor]:
    """A copy of every weight and statistic of a frozen shared stream."""
    if not getattr(network, "frozen", False):
        return []
    return [each.detach().float().clone() for each in network.streams[SHARED].state_dict().values()]


def multiplications(network: MultiTask, size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2
