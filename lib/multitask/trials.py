"""Notebook 04's trials: trainings on landmarks and attributes of faces, and looks inside.

The plan lists the paper's four networks, the controls, and networks of the literature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from lib.data.faces import LANDMARKS, PARTS, Faces, attribute_count, cut_out, load_faces, mtfl_boxes
from lib.engine.artefacts import artefact, own_checkpoint
from lib.engine.sweep import Context
from lib.multitask import measures, networks
from lib.networks.sizes import count_parameters

BASELINE, SMTN = "stage 1 (baseline)", "SMTN"
CONV, TUNED = "SMTN + conv1x1", "SMTN + conv1x1 + fine-tuning"
LONG, WEIGHTED = "stage 1, trained on", "stage 1, trained on, landmarks weighted"
WIDE, COPIES = "hard sharing, width-matched", "stage 1, a copy tuned for each task"
RANDOM, JOINT = "SMTN, random shared stream", "SMTN, end to end"
LOOSE = "SMTN + conv1x1 + fine-tuning, random 1x1"
LATE, LATE_SMTN = "stage 1, late layers apart", "SMTN on stage 1 with late layers apart"
SINGLE, STITCH, ATTENTION = "single-task networks", "cross-stitch", "MTAN"
PAPER, CONTROL, LITERATURE, TRIVIAL = "paper", "control", "literature", "trivial"
KINDS = {
    PAPER: (BASELINE, SMTN, CONV, TUNED),
    CONTROL: (LONG, WEIGHTED, WIDE, COPIES, RANDOM, JOINT, LOOSE, LATE, LATE_SMTN),
    LITERATURE: (SINGLE, STITCH, ATTENTION),
}
VARIANTS = tuple(name for names in KINDS.values() for name in names)
DECISIVE = (BASELINE, SMTN, CONV, TUNED, LONG, COPIES)  # with ``seeds``, others with fewer
LOOKED_AT = (BASELINE, SMTN, TUNED, RANDOM, JOINT, SINGLE, ATTENTION)
DRAWN, DRAWN_SIZE = "drawn_faces", 64  # the set, and its pictures' pixels before the crop
SETTLED = 500  # training faces whose statistics an untrained frozen stream takes


@dataclass(frozen=True)
class Rates:
    """Learning rates of networks that begin at random, or at stage 1's weights; of wide ones."""

    random: float
    stage1: float
    wide: float


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
    late: int
    epochs: int
    lr: Rates
    falling: float
    moved: bool
    batch: int
    seeds: int
    seeds_of_single: int
    seeds_of_others: int
    folds: int
    probed: int
    landmark_weight: float
    heavier: float


@dataclass(frozen=True, kw_only=True)
class FaceTask:
    """Which faces, as in ``load_faces``; tests: the parts on which it is tried, the main first."""

    name: str
    size: int
    train: int
    test: int
    tests: tuple[str, ...]
    fold: int = 0


@dataclass(frozen=True, kw_only=True)
class MultiTaskTrial:
    """One training of a network of ``NETWORKS``; late, fusion and frozen are its options.

    lr: the rate, which falls to 0 over the last share ``falling`` of the steps.
    moved: faces are mirrored, shifted and scaled by chance.
    landmark_weight: of the landmarks' loss; the paper's equation 1 has 1.
    stage1: the training whose shared stream a network takes over, where it has one (``shared``).
    copied: all streams, and the heads, begin as stage 1's.
    pass_own: 1 x 1 convolutions begin by passing on a task's own features, and not at random.
    """

    faces: FaceTask
    network: str
    widths: tuple[int, ...]
    hidden: int
    epochs: int
    lr: float
    batch: int
    falling: float = 0.0
    moved: bool = False
    momentum: float = 0.9
    landmark_weight: float = 1.0
    late: int = 0
    fusion: str = ""
    frozen: bool = False
    shared: str = ""
    copied: bool = False
    pass_own: bool = False
    stage1: MultiTaskTrial | None = None
    seed: int = 0
    version: int = 2

    @property
    def shape(self) -> networks.Shape:
        """The size of its network."""
        return networks.Shape(self.widths, self.faces.size, self.hidden)


@dataclass(frozen=True, kw_only=True)
class SeparationTrial:
    """A look into a trained network, with at most ``probed`` faces to fit a probe, and to try it.

    beside: another network, which had nothing to do with it, whose streams are compared with its.
    """

    of: MultiTaskTrial
    probed: int
    beside: MultiTaskTrial | None = None
    version: int = 2


def face_task(sizes: MultiTaskStudy, seed: int = 0) -> FaceTask:
    """The faces of a profile; seeds hold out one fold after the other."""
    numbers = {name: getattr(sizes, name) for name in ("size", "train", "test", "tests")}
    return FaceTask(name=sizes.faces, fold=seed % sizes.folds, **numbers)


def variants(sizes: MultiTaskStudy, seed: int) -> dict[str, MultiTaskTrial]:
    """Every kind of training; what replaces both stages is trained for the epochs of both."""
    same = ("widths", "hidden", "epochs", "batch", "falling", "moved", "landmark_weight")
    first = MultiTaskTrial(
        faces=face_task(sizes, seed),
        network="hard sharing",
        lr=sizes.lr.random,
        seed=seed,
        **{name: getattr(sizes, name) for name in same},
    )
    second = replace(first, stage1=first)
    smtn = replace(second, network="separation", fusion="concat", frozen=True, shared="stage 1")
    conv = replace(smtn, fusion="conv1x1")
    whole = replace(first, epochs=2 * sizes.epochs)
    longer = replace(second, copied=True, lr=sizes.lr.stage1)
    tuned = replace(conv, copied=True, pass_own=True, lr=sizes.lr.stage1)
    late = replace(first, late=sizes.late)
    wide = networks.matched_widths(tuple(_outputs(first).items()), first.shape)
    times = sizes.heavier / sizes.landmark_weight  # so that the landmarks' steps stay what they are
    trials = {
        BASELINE: first,
        SMTN: smtn,
        CONV: conv,
        TUNED: tuned,
        LONG: longer,
        WEIGHTED: replace(longer, landmark_weight=sizes.heavier, lr=longer.lr / times),
        WIDE: replace(whole, widths=wide, lr=sizes.lr.wide),
        COPIES: replace(longer, network="independent"),
        RANDOM: replace(smtn, shared="", stage1=None),
        JOINT: replace(whole, network="separation", fusion="concat"),
        LOOSE: replace(tuned, pass_own=False),
        LATE: late,
        LATE_SMTN: replace(smtn, late=sizes.late, stage1=late),
        SINGLE: replace(whole, network="independent"),
        STITCH: replace(whole, network="cross-stitch"),
        ATTENTION: replace(whole, network="mtan"),
    }
    return {name: trials[name] for name in VARIANTS}


def all_variants(sizes: MultiTaskStudy) -> list[tuple[str, MultiTaskTrial]]:
    """Every training, with the variant's name: whole seeds of what decides, then the others."""
    plan = {seed: variants(sizes, seed) for seed in range(sizes.seeds)}
    others = [name for name in VARIANTS if name not in (*DECISIVE, SINGLE)]
    alone = {seed: (SINGLE,) if seed < sizes.seeds_of_single else () for seed in plan}
    order = [(name, seed) for seed in plan for name in (*DECISIVE, *alone[seed])]
    order += [(name, seed) for seed in range(sizes.seeds_of_others) for name in others]
    return [(name, plan[seed][name]) for name, seed in order]


def separation_trials(sizes: MultiTaskStudy) -> dict[SeparationTrial, str]:
    """The looks of all seeds, with the variant's name; single-task networks beside stage 1."""
    looks = {}
    for name, trial in all_variants(sizes):
        if name in LOOKED_AT:
            beside = variants(sizes, trial.seed)[BASELINE] if name == SINGLE else None
            looks[SeparationTrial(of=trial, probed=sizes.probed, beside=beside)] = name
    return looks


def evidence(sizes: MultiTaskStudy) -> Iterator[tuple[Callable[..., dict], object]]:
    """Every trial with its function: whole seeds of what is decisive, a look after its network."""
    looks = {look.of: look for look in separation_trials(sizes)}
    for _, trial in all_variants(sizes):
        yield run_multitask, trial
        if trial in looks:
            yield run_separation, looks[trial]


def run_multitask(trial: MultiTaskTrial, context: Context) -> dict:
    """Train, keep the network and its predictions, and say how it went.

    test_nme, test_accuracy: of the last epoch on the main test part, as shares. curve: NME of each
    landmark and accuracy after every epoch. moved: largest change of a frozen shared stream. gap:
    largest difference to stage 1's outputs before training. macs: multiply-accumulates of an image.
    """
    tensors, network = trained(trial, context), untrained(trial)
    known, tested = (faces_of(trial.faces, p, context) for p in ("train", trial.faces.tests[0]))
    curve = tensors["curve"].double().round(decimals=6)
    return {
        "parameters": count_parameters(network),
        "trained_parameters": count_parameters(network, trained_only=True),
        "macs": networks.multiplications(network, trial.faces.size),
        "train_images": len(known),
        "test_images": len(tested),
        "test_nme": float(curve[-1, : len(LANDMARKS)].mean()),
        "test_accuracy": float(curve[-1, -1]),
        "curve": dict(zip((*LANDMARKS, "accuracy"), curve.T.tolist(), strict=True)),
        "trivial": measures.trivial_scores(known, tested),
        "moved": float(tensors["moved"]),
        "gap": float(tensors["gap"]),
        "train_seconds": round(float(tensors["seconds"]), 2),
    }


def run_separation(trial: SeparationTrial, context: Context) -> dict:
    """Similarity of every two streams, and what a linear probe reads from each, by layer.

    cka: [first, second, layer, linear CKA on test faces]. probes: [stream, layer, task, value], R^2
    for landmarks, mean balanced accuracy for attributes, fitted on training and tried on test
    faces; of each stream, and of ``shared + `` each other one. The first layer is 1.
    """
    opened = [load_network(of, context) for of in (trial.beside, trial.of) if of]
    parts = [faces_of(trial.of.faces, p, context) for p in ("train", trial.of.faces.tests[0])]
    fitted, features = (
        {
            name: maps
            for network in opened
            for name, maps in measures.stream_features(
                network, faces.images[: trial.probed]
            ).items()
        }
        for faces in parts
    )
    cka = [
        (first, second, layer, measures.linear_cka(*pair))
        for first, second in combinations(features, 2)
        for layer, pair in enumerate(zip(features[first], features[second], strict=True), 1)
    ]
    read = {stream: [stream] for stream in features}
    if shared := read.get(networks.SHARED):
        read |= {f"{networks.SHARED} + {s}": shared + read[s] for s in features if [s] != shared}
    tried = {"landmarks": measures.linear_probe, "attributes": measures.attribute_probe}
    probes = []
    for name, streams in read.items():
        for layer in range(len(features[streams[0]])):
            x, test_x = (
                np.concatenate([of[stream][layer] for stream in streams], 1)
                for of in (fitted, features)
            )
            for task, probe in tried.items():
                known, truth = (getattr(faces, task)[: trial.probed] for faces in parts)
                probes.append((name, layer + 1, task, probe(x, known, test_x, truth)))
    return {"cka": cka, "probes": probes}


def trained(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    """Weights, predictions by test part, and the curve (epochs, 6) of a trial."""
    return artefact(trial, context, lambda: _train(trial, context))


def load_network(trial: MultiTaskTrial, context: Context) -> networks.MultiTask:
    """The trained network on the context's device, in evaluation mode."""
    network, tensors = untrained(trial), trained(trial, context)
    mine = (name for name in tensors if name.startswith("model."))
    network.load_state_dict({name.removeprefix("model."): tensors[name] for name in mine})
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
        late=trial.late,
    )


def _outputs(trial: MultiTaskTrial) -> dict[str, int]:
    return {"landmarks": 2 * len(LANDMARKS), "attributes": attribute_count(trial.faces.name)}


def build(trial: MultiTaskTrial, context: Context) -> networks.MultiTask:
    """The network before training, on the CPU: outputs begin around the trivial predictions."""
    faces, network = faces_of(trial.faces, "train", context), untrained(trial)
    network.set_biases(measures.trivial_outputs(faces))
    if trial.stage1:
        network.begin_at(load_network(trial.stage1, context).cpu(), copied=trial.copied)
    elif trial.frozen:
        # without statistics its maps would shrink from layer to layer, and be as good as absent
        update_bn([faces.images[:SETTLED].float() / 255], network.streams[networks.SHARED])
    if trial.pass_own:
        assert isinstance(network, networks.Separation)
        network.pass_own()
    return network


def _train(trial: MultiTaskTrial, context: Context) -> dict[str, Tensor]:
    device, start = context.device, time.perf_counter()
    faces = faces_of(trial.faces, "train", context)
    parts = {part: faces_of(trial.faces, part, context) for part in trial.faces.tests}
    images = {part: faces.images.to(device) for part, faces in parts.items()}
    main = trial.faces.tests[0]
    network = build(trial, context).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before, gap = _frozen_state(network), _gap(network, trial, images[main], context)
    batches = measures.FaceBatches(
        faces, batch=trial.batch, seed=trial.seed, moved=trial.moved, device=device
    )
    curve = torch.full((trial.epochs, len(LANDMARKS) + 1), torch.nan, device=device)
    network.register_buffer("curve", curve)  # so that a checkpoint keeps it

    def observe(steps: int) -> None:
        if steps % len(batches) == 0:
            seen = measures.evaluate(network, images[main], parts[main])
            curve[steps // len(batches) - 1].copy_(seen)

    with own_checkpoint(trial, context) as checkpoint:
        measures.fit(
            network,
            batches,
            epochs=trial.epochs,
            lr=trial.lr,
            falling=trial.falling,
            momentum=trial.momentum,
            weight=trial.landmark_weight,
            checkpoint=checkpoint,
            observe=observe,
        )
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    tensors["curve"] = tensors.pop("model.curve")
    for part, shown in images.items():
        outputs = measures.predict(network, shown)
        tensors |= {f"{part}.{task}": value for task, value in outputs.items()}
    changes = zip(_frozen_state(network), before, strict=True)
    moved = max((float((now - then).abs().max()) for now, then in changes), default=0.0)
    numbers = {"moved": moved, "gap": gap, "seconds": time.perf_counter() - start}
    return tensors | {name: torch.tensor(value) for name, value in numbers.items()}


def faces_of(task: FaceTask, part: str, context: Context) -> Faces:
    """A part of the faces, on the CPU; drawn ones as of ``drawn_crops``."""
    count = task.train if part == "train" else task.test
    if task.name == DRAWN:
        return drawn_crops(part, size=task.size, count=count)
    return load_faces(
        task.name, part, size=task.size, count=count, fold=task.fold, root=context.data_root
    )


@cache  # a sweep asks for the same faces in every trial
def drawn_crops(part: str, *, size: int, count: int) -> Faces:
    """Drawn faces, cut out as MTFL's are, at a third of their shift and scale, as ``size`` pixels.

    Face i depends on (part, i, size) alone, so a smaller set is the start of a larger one.
    """
    faces = load_faces(DRAWN, part, size=DRAWN_SIZE, count=count)
    points = DRAWN_SIZE * faces.landmarks.double().numpy()
    chances = np.random.default_rng(PARTS[DRAWN].index(part)).random((count, 3))
    boxes = mtfl_boxes(points, (1 + chances) / 3)
    pictures, sides = faces.images.permute(0, 2, 3, 1).numpy(), boxes[:, 2:] - boxes[:, :2]
    crops = [cut_out(*cut, size) for cut in zip(pictures, boxes.tolist(), strict=True)]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
    landmarks = torch.from_numpy((points - boxes[:, None, :2]) / sides[:, None]).float()
    return replace(
        faces, images=images, landmarks=landmarks, extent=torch.from_numpy(sides).float()
    )


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
    state = network.streams[networks.SHARED].state_dict()
    return [value.detach().float().clone() for value in state.values()]
