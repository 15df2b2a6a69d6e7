"""Notebook 04's trials: trainings on landmarks and attributes of faces, and looks inside.

The plan lists the paper's four networks, the controls, and networks of the literature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lib.data.faces import LANDMARKS, Faces, attribute_count, load_faces
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.engine.training import train
from lib.multitask import measures, networks
from lib.networks.sizes import count_parameters

BASELINE, SMTN = "stage 1 (baseline)", "SMTN"
CONV, TUNED = "SMTN + conv1x1", "SMTN + conv1x1 + fine-tuning"
LONG, WEIGHTED = "stage 1, trained on", "stage 1, trained on, landmarks weighted"
WIDE, COPIES = "hard sharing, width-matched", "stage 1, a copy tuned for each task"
RANDOM, JOINT = "SMTN, random shared stream", "SMTN, end to end"
LOOSE = "SMTN + conv1x1 + fine-tuning, random 1x1"
SINGLE, STITCH, ATTENTION = "single-task networks", "cross-stitch", "MTAN"
PAPER, CONTROL, LITERATURE, TRIVIAL = "paper", "control", "literature", "trivial"
KINDS = {
    PAPER: (BASELINE, SMTN, CONV, TUNED),
    CONTROL: (LONG, WEIGHTED, WIDE, COPIES, RANDOM, JOINT, LOOSE),
    LITERATURE: (SINGLE, STITCH, ATTENTION),
}
VARIANTS = tuple(name for names in KINDS.values() for name in names)
DECISIVE = (BASELINE, SMTN, TUNED, LONG, COPIES, CONV, SINGLE)  # the first that a long run takes
LOOKED_AT = (BASELINE, SMTN, TUNED, RANDOM, JOINT, SINGLE, ATTENTION)
SETTLED = 500  # training faces whose statistics an untrained frozen stream takes


@dataclass(frozen=True)
class MultiTaskStudy:
    """The numbers of a profile; ``profile.yaml`` says what each of them means."""

    faces: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]
    widths: tuple[int, ...]
    hidden: int
    epochs: int
    lr: float
    batch: int
    seeds: int
    probed: int
    landmark_weight: float


@dataclass(frozen=True, kw_only=True)
class FaceTask:
    """Which faces, as in ``load_faces``.

    tests: the parts on which the network is tried, the main one first.
    """

    name: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MultiTaskTrial:
    """One training.

    network: name in ``NETWORKS``, with its widths and the hidden units of a head.
    fusion: of a separation network. frozen: its shared stream stays as it is.
    shared: where the shared stream begins, ``stage 1`` or, empty, random weights.
    copied: the streams and heads of the tasks (of hard sharing: everything) begin as stage 1's.
    pass_own: 1 x 1 convolutions begin by passing on a task's own features, and not at random.
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

    @property
    def shape(self) -> networks.Shape:
        """The size of its network."""
        return networks.Shape(self.widths, self.faces.size, self.hidden)


@dataclass(frozen=True, kw_only=True)
class SeparationTrial:
    """A look into a trained network.

    probed: number of faces to fit a probe, and to try it, at most.
    beside: another network, which had nothing to do with it, whose streams are compared with its.
    """

    of: MultiTaskTrial
    probed: int
    beside: MultiTaskTrial | None = None
    version: int = 1


def face_task(sizes: MultiTaskStudy) -> FaceTask:
    """The faces of a profile."""
    numbers = {name: getattr(sizes, name) for name in ("size", "train", "test", "tests")}
    return FaceTask(name=sizes.faces, **numbers)


def variants(sizes: MultiTaskStudy, seed: int) -> dict[str, MultiTaskTrial]:
    """Every training of a seed; what replaces both stages is trained for the epochs of both."""
    first = MultiTaskTrial(
        faces=face_task(sizes),
        network="hard sharing",
        widths=sizes.widths,
        hidden=sizes.hidden,
        epochs=sizes.epochs,
        lr=sizes.lr,
        batch=sizes.batch,
        seed=seed,
    )
    second = replace(first, stage1=first)
    smtn = replace(second, network="separation", fusion="concat", frozen=True, shared="stage 1")
    conv = replace(smtn, fusion="conv1x1")
    whole = replace(first, epochs=2 * sizes.epochs)
    longer = replace(second, copied=True)
    trials = {
        BASELINE: first,
        SMTN: smtn,
        CONV: conv,
        TUNED: replace(conv, copied=True, pass_own=True),
        LONG: longer,
        WEIGHTED: replace(longer, landmark_weight=sizes.landmark_weight),
        WIDE: replace(
            whole, widths=networks.matched_widths(tuple(_outputs(first).items()), first.shape)
        ),
        COPIES: replace(longer, network="independent"),
        RANDOM: replace(smtn, shared="", stage1=None),
        JOINT: replace(whole, network="separation", fusion="concat"),
        LOOSE: replace(conv, copied=True),
        SINGLE: replace(whole, network="independent"),
        STITCH: replace(whole, network="cross-stitch"),
        ATTENTION: replace(whole, network="mtan"),
    }
    return {name: trials[name] for name in VARIANTS}


def all_variants(sizes: MultiTaskStudy) -> list[tuple[str, MultiTaskTrial]]:
    """Every training of every seed, with the variant's name."""
    return [pair for seed in range(sizes.seeds) for pair in variants(sizes, seed).items()]


def separation_trials(sizes: MultiTaskStudy) -> dict[SeparationTrial, str]:
    """The looks of all seeds, with the variant's name; single-task networks beside stage 1."""
    looks = {}
    for name, trial in all_variants(sizes):
        if name in LOOKED_AT:
            beside = variants(sizes, trial.seed)[BASELINE] if name == SINGLE else None
            looks[SeparationTrial(of=trial, probed=sizes.probed, beside=beside)] = name
    return looks


def evidence(sizes: MultiTaskStudy) -> Iterator[tuple[Callable[..., dict], object]]:
    """Every trial with its function, the most decisive first, a look after its network."""
    looks = separation_trials(sizes).items()
    for name in dict.fromkeys((*DECISIVE, *VARIANTS)):
        yield from ((run_multitask, trial) for n, trial in all_variants(sizes) if n == name)
        yield from ((run_separation, look) for look, n in looks if n == name)


def run_multitask(trial: MultiTaskTrial, context: Context) -> dict:
    """Train, keep the network and its predictions, and say how it went.

    test_nme, test_accuracy: of the last epoch on the main test part, as shares. curve: NME and
    accuracy after every epoch. trivial: what no look at the images gives. moved: largest change of
    a frozen shared stream. gap: largest difference to stage 1's outputs before training. macs:
    multiply-accumulates of one image.
    """
    tensors, network = trained(trial, context), untrained(trial)
    known, tested = (faces_of(trial.faces, p, context) for p in ("train", trial.faces.tests[0]))
    curve = tensors["curve"][:, 0]
    nme, accuracy = curve[:, : len(LANDMARKS)].mean(1), curve[:, -1]
    return {
        "parameters": count_parameters(network),
        "trained_parameters": count_parameters(network, trained_only=True),
        "macs": multiplications(network, trial.faces.size),
        "train_images": len(known),
        "test_images": len(tested),
        "test_nme": float(nme[-1]),
        "test_accuracy": float(accuracy[-1]),
        "curve": {"nme": nme.tolist(), "accuracy": accuracy.tolist()},
        "trivial": measures.trivial_scores(known, tested),
        "moved": float(tensors["moved"]),
        "gap": float(tensors["gap"]),
        "train_seconds": round(float(tensors["seconds"]), 2),
    }


def run_separation(trial: SeparationTrial, context: Context) -> dict:
    """Similarity of every two streams, and what a linear probe reads from each, by layer.

    cka: [first, second, layer, debiased linear CKA on test faces]. probes: [stream, layer, task,
    value], R^2 for landmarks, mean balanced accuracy for attributes; fitted on training faces,
    tried on test faces. The first layer is 1.
    """
    opened = [load_network(each, context) for each in (trial.beside, trial.of) if each]
    parts = [faces_of(trial.of.faces, p, context) for p in ("train", trial.of.faces.tests[0])]
    images, points, labels = (
        [getattr(faces, name)[: trial.probed] for faces in parts]
        for name in ("images", "landmarks", "attributes")
    )
    fitted, features = (
        {k: v for network in opened for k, v in measures.stream_features(network, shown).items()}
        for shown in images
    )
    cka = [
        (first, second, layer, measures.linear_cka(*pair))
        for first, second in combinations(features, 2)
        for layer, pair in enumerate(zip(features[first], features[second], strict=True), 1)
    ]
    probes = []
    for stream in features:
        pairs = zip(fitted[stream], features[stream], strict=True)
        for layer, (x, test_x) in enumerate(pairs, 1):
            r2 = measures.linear_probe(x, points[0], test_x, points[1])
            balanced = measures.attribute_probe(x, labels[0], test_x, labels[1])
            probes += [(stream, layer, "landmarks", r2), (stream, layer, "attributes", balanced)]
    return {"cka": cka, "probes": probes}


def trained(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    """Weights, predictions by test part, and the curve (epochs, parts, 6) of a trial."""
    return artefact(trial, context, lambda: _train(trial, context))


def load_network(trial: MultiTaskTrial, context: Context) -> networks.MultiTask:
    """The trained network on the context's device, in evaluation mode."""
    network, tensors = untrained(trial), trained(trial, context)
    network.load_state_dict(
        {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    )
    return network.to(context.device).eval()


def untrained(trial: MultiTaskTrial) -> networks.MultiTask:
    """The network with random weights, on the CPU: nothing has to be trained or loaded for it."""
    return networks.multitask_network(
        trial.network,
        _outputs(trial),
        trial.shape,
        seed=trial.seed,
        fusion=trial.fusion,
        frozen=trial.frozen,
    )


def _outputs(trial: MultiTaskTrial) -> dict[str, int]:
    return {"landmarks": 2 * len(LANDMARKS), "attributes": attribute_count(trial.faces.name)}


def build(trial: MultiTaskTrial, context: Context) -> networks.MultiTask:
    """The network before training, on the CPU: outputs begin around the trivial predictions."""
    faces, network = faces_of(trial.faces, "train", context), untrained(trial)
    # a face is added to each side, so that no log odds are infinite
    yes, no = ((faces.attributes == value).sum(0).float() + 1 for value in (1, 0))
    shape = (2 * faces.landmarks.mean(0) - 1).flatten()
    network.set_biases({"landmarks": shape, "attributes": (yes / no).log()})
    if isinstance(network, networks.Separation) and trial.frozen and not trial.shared:
        network.settle(faces.images[:SETTLED].float() / 255)
    if not trial.stage1:
        return network
    stage1 = load_network(trial.stage1, context).cpu()
    assert isinstance(stage1, networks.HardSharing)
    if isinstance(network, networks.Separation) and trial.shared:
        network.copy_shared(stage1)
    if isinstance(network, networks.Separation) and trial.pass_own:
        network.pass_own()
    if trial.copied and isinstance(network, networks.Independent):
        network.copy_tasks(stage1)
    elif trial.copied:
        network.load_state_dict(stage1.state_dict())
    return network


def _train(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    device, start = context.device, time.perf_counter()
    faces = faces_of(trial.faces, "train", context)
    parts = [faces_of(trial.faces, part, context) for part in trial.faces.tests]
    images = [part.images.to(device) for part in parts]
    network = build(trial, context).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before, gap = _frozen_state(network), _gap(network, trial, images[0], context)
    batches = Epochs(faces.images.to(device), batch=trial.batch, seed=trial.seed, pad=0, flip=False)
    curve = torch.full((trial.epochs, len(parts), len(LANDMARKS) + 1), torch.nan, device=device)
    network.register_buffer("curve", curve)  # so that a checkpoint keeps it

    def observe(steps: int) -> None:
        if steps % len(batches) == 0:
            seen = [measures.evaluate(network, *pair) for pair in zip(images, parts, strict=True)]
            curve[steps // len(batches) - 1].copy_(torch.stack(seen))

    with own_checkpoint(trial, context) as checkpoint:
        train(
            network,
            measures.face_loss(faces, trial.landmark_weight, device),
            batches,
            steps=trial.epochs * len(batches),
            lr=trial.lr,
            optimiser=torch.optim.SGD,
            optimiser_options={"momentum": trial.momentum},
            checkpoint=checkpoint,
            checkpoint_every=5 * len(batches),
            observe=observe,
            label=trial.network,
        )
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    tensors["curve"] = tensors.pop("model.curve")
    for part, shown in zip(trial.faces.tests, images, strict=True):
        tensors |= {
            f"{part}.{task}": value for task, value in measures.predict(network, shown).items()
        }
    changes = zip(_frozen_state(network), before, strict=True)
    moved = max((float((now - then).abs().max()) for now, then in changes), default=0.0)
    numbers = {"moved": moved, "gap": gap, "seconds": time.perf_counter() - start}
    return tensors | {name: torch.tensor(value) for name, value in numbers.items()}


def faces_of(task: FaceTask, part: str, context: Context) -> Faces:
    """A part of the faces, on the CPU."""
    count = task.train if part == "train" else task.test
    return load_faces(task.name, part, size=task.size, count=count, root=context.data_root)


def _gap(
    network: networks.MultiTask, trial: MultiTaskTrial, images: Tensor, context: Context
) -> float:
    """Largest difference of outputs to those of stage 1, on a batch of test images."""
    if trial.stage1 is None:
        return 0.0
    batch, stage1 = images[: measures.EVALUATION_BATCH], load_network(trial.stage1, context)
    outputs, others = measures.predict(network, batch), measures.predict(stage1, batch)
    return max(float((outputs[task] - others[task]).abs().max()) for task in outputs)


def _frozen_state(network: networks.MultiTask) -> list[Tensor]:
    """A copy of every weight and statistic of a frozen shared stream."""
    if not (isinstance(network, networks.Separation) and network.frozen):
        return []
    return [
        value.detach().float().clone()
        for value in network.streams[networks.SHARED].state_dict().values()
    ]


def multiplications(network: networks.MultiTask, size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2
