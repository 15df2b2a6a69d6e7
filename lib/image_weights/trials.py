"""What runs: training on generated images, the sizes of a profile, and the plan of all trials.

Section 3 of the paper asks whether training gets better when some images are replaced by generated
ones; the controls tell the images from their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.data.labelled import Labelled
from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.image_weights import classifiers, layer
from lib.image_weights import synthesis as driving
from lib.image_weights.classifiers import ClassifierTrial, Network, predict, run_classifier
from lib.image_weights.synthesis import SynthesisTrial, run_synthesis

ARMS = driving.WAYS["arms"]  # name -> what a student learns from
DIRECTIONS = ("forward", "reverse")


@dataclass(frozen=True, kw_only=True)
class GeneratedTrial:
    """The generated versions of a training set's first images, by a teacher.

    train is the number of training images, 0 for all, of the teacher's data set. share is how much
    of them gets a version. The set is in a random balanced order, so its beginnings are random
    nested subsets. seed is that of the second classes of the targets.
    """

    teacher: ClassifierTrial
    train: int
    share: float
    recipe: layer.Recipe
    seed: int = 0
    version: int = 2


@dataclass(frozen=True, kw_only=True)
class StudentTrial:
    """A classifier trained from scratch on a set in which some images are replaced.

    student has network, data, schedule and seed. arm is a name of ``ARMS``. share is that of the
    images that are replaced. direction is that of the divergence between the student's output p
    and the label q in eq. 9: ``forward`` for KL(q || p), what KLDivLoss computes, or ``reverse``
    for KL(p || q), as printed. On original images eq. 9 is the cross entropy either way, because
    KL(t || p) equals it for a one-hot t, and KL(p || t) is infinite.
    The arm ``regenerated`` has the recipe of the generated set, inside each batch.
    """

    student: ClassifierTrial
    generated: GeneratedTrial
    arm: str
    share: float
    direction: str = "forward"
    version: int = 2

    def __post_init__(self) -> None:
        teacher, most = self.generated.teacher, self.generated.share
        if self.arm not in ARMS or self.direction not in DIRECTIONS:
            known = f"{tuple(ARMS)} and {DIRECTIONS}"
            raise ValueError(f"arm and direction are of {known}: {self.arm!r}, {self.direction!r}")
        if not 0 <= self.share <= most:
            raise ValueError(f"share must be in [0, {most}], not {self.share!r}: no more are made")
        if (self.student.dataset, self.student.train) != (teacher.dataset, self.generated.train):
            raise ValueError("generated images must be those of the student's training images")
        if (self.arm == "original") != (self.share == 0):
            raise ValueError(f"arm {self.arm!r} does not go with a share of {self.share!r}")


def run_generation(trial: GeneratedTrial, context: Context) -> dict:
    """Generate and keep; how well the targets are met, as floats, as bytes and when augmented.

    kl_before and reached_before are those of the originals, rms that of the change, in [0, 1].
    label_errors and original_errors are image by image.
    """
    made = generated_images(trial, context)
    teacher = classifiers.load_classifier(trial.teacher, context)
    originals = training_set(trial, context).train_images[: len(made["images"])]
    before = driving.kl_to(made["targets"], F.softmax(predict(teacher, originals), 1))
    reached = driving.kl_to(made["targets"], made["unrounded"])
    change = classifiers.as_float(made["images"]) - classifiers.as_float(originals)
    errors = label_errors(trial, teacher, made["images"])
    original_errors = label_errors(trial, teacher, originals)
    return {
        "count": len(originals),
        "kl_before": float(before.mean()),
        "reached_before": float((before <= layer.TOLERANCE).double().mean()),
        "kl": float(reached.mean()),
        "kl_of_bytes": float(driving.kl_to(made["targets"], made["outputs"]).mean()),
        "reached": float((reached <= layer.TOLERANCE).double().mean()),
        "rms": float(driving.measure(change)["rms"].mean()),
        "moved_generated": float(errors.mean()),
        "moved_original": float(original_errors.mean()),
        "label_errors": driving.rounded(errors),
        "original_errors": driving.rounded(original_errors),
    }


def training_set(trial: GeneratedTrial, context: Context) -> Labelled:
    """The data whose first images get a generated version, on the CPU."""
    return classifiers.labelled_images(replace(trial.teacher, train=trial.train), context)


def label_errors(trial: GeneratedTrial, teacher: nn.Module, images: Tensor) -> Tensor:
    """(M,) KL(what the teacher says to an image || what it says to it augmented).

    It is how wrong a label becomes that was made for the image as it is.
    """
    epochs = Epochs(images, batch=500, seed=trial.seed, flip=trial.teacher.flip)
    plain = F.softmax(predict(teacher, images), 1)
    errors = torch.zeros(len(images))
    for index, augmented in map(epochs, range(len(epochs))):
        errors[index] = layer.kl(plain[index], F.log_softmax(predict(teacher, augmented), 1))
    return errors


def generated_images(trial: GeneratedTrial, context: Context) -> dict[str, Tensor]:
    """images (M, 3, H, W) uint8, targets, outputs (the label q) and unrounded, (M, K) each.

    A target is 0.9 for the own class and 0.1 for a random other one. outputs is what the teacher
    says to the bytes, unrounded to the image before it became bytes.
    """

    def generate() -> dict[str, Tensor]:
        teacher = classifiers.load_classifier(trial.teacher, context)
        data = training_set(trial, context)
        count, classes = round(trial.share * len(data.train_images)), len(data.classes)
        labels = data.train_labels[:count]
        second = driving.second_classes(labels, classes, trial.seed)
        targets = driving.mixture(labels, second, classes)
        originals = classifiers.as_float(data.train_images[:count].to(context.device))
        made = layer.synthesize(teacher, originals, targets.to(context.device), trial.recipe)
        images = (made.images * 255).round().to(torch.uint8)
        outputs = F.softmax(predict(teacher, images), 1)
        return {"images": images, "targets": targets, "outputs": outputs, "unrounded": made.outputs}

    return artefact(trial, context, generate)


def run_student(trial: StudentTrial, context: Context) -> dict:
    """Train with the arm's images and labels; accuracy at the end."""
    data = classifiers.labelled_images(trial.student, context)
    images, labels = data.train_images, data.train_labels.to(context.device)
    count = round(trial.share * len(images))
    made = generated_images(trial.generated, context) if count else {}
    if count and trial.arm in ("generated", "hard label"):
        images = torch.cat((made["images"][:count], images[count:]))
    soften = _soft_labels(trial, made, context)

    def loss(model: nn.Module, index: Tensor, images: Tensor) -> Tensor:
        """Eq. 9: half divergence, half cross entropy on the first images, else the latter."""
        changed = index < count
        if not changed.any():
            return F.cross_entropy(model(images), labels[index])
        images, q = soften(index, images, changed)
        log_p = F.log_softmax(model(images).float(), 1)
        losses = F.nll_loss(log_p, labels[index], reduction="none")
        if q is not None:
            if trial.direction == "forward":
                divergence = layer.kl(q, log_p[changed])
            else:  # eq. 10 as printed
                divergence = layer.reverse_kl(q.clamp(min=1e-12), log_p[changed])
            losses = losses.masked_scatter(changed, 0.5 * divergence + 0.5 * losses[changed])
        return losses.mean()

    model = classifiers.fit(trial.student, images, loss, context)
    return classifiers.score(predict(model, data.test_images), data.test_labels)


def _soft_labels(
    trial: StudentTrial, made: dict[str, Tensor], context: Context
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """(index, augmented images, which are changed) -> images, and q for the changed ones."""
    if not made or trial.arm == "hard label":
        return lambda index, images, changed: (images, None)
    if trial.arm in ("generated", "soft label"):
        q = made["outputs"].to(context.device)
        return lambda index, images, changed: (images, q[index[changed]])
    # the paper's own remedy: generate from the augmented image, inside the training
    teacher = classifiers.load_classifier(trial.generated.teacher, context)
    targets, recipe = made["targets"].to(context.device), trial.generated.recipe

    def generate(index: Tensor, images: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        anew = layer.synthesize(teacher, images[changed], targets[index[changed]], recipe)
        return images.masked_scatter(changed[:, None, None, None], anew.images), anew.outputs

    return generate


@dataclass(frozen=True)
class ImageWeightStudy:
    """The numbers of a profile; ``profile.yaml`` has them, and says what each is."""

    dataset: str
    test: int
    networks: tuple[Network, ...]
    digits: Network
    images: int
    simplex_images: int
    teacher: Network
    student: Network
    seeds: int
    sets: int
    printed_seeds: int
    small: Network
    small_seeds: int
    batch: int
    lr: float
    shares: tuple[float, ...]
    control_share: float
    pictures: str


def classifier(sizes: ImageWeightStudy, network: Network) -> ClassifierTrial:
    """The trial of one of a profile's networks."""
    shared = {name: getattr(sizes, name) for name in ("dataset", "test", "batch", "lr")}
    return ClassifierTrial(**asdict(network), **shared)


def networks(sizes: ImageWeightStudy) -> list[ClassifierTrial]:
    """The classifiers that are driven; each looks on while another one is."""
    return [classifier(sizes, network) for network in sizes.networks]


def digits(sizes: ImageWeightStudy) -> ClassifierTrial:
    """A classifier of black and white images, whose pixels are all saturated."""
    trial = classifier(sizes, sizes.digits)
    return replace(trial, dataset="digits", test=500, batch=64, flip=False)


def teacher(sizes: ImageWeightStudy) -> ClassifierTrial:
    """The classifier that generates training images."""
    return classifier(sizes, sizes.teacher)


def _until_reached(sizes: ImageWeightStudy, teacher: ClassifierTrial) -> SynthesisTrial:
    return SynthesisTrial(
        label="until reached",
        teacher=teacher,
        method=layer.UntilReached(),
        targets="mixture",
        images=sizes.images,
    )


def synthesis(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Each classifier to the 0.9/0.1 target in several ways, and until reached to every target.

    The first classifier comes first, with every recipe and attack, and the triangle of targets.
    """
    first, *_ = driven = networks(sizes)
    ways = driving.OPTIMISERS | driving.MAPPINGS | driving.ATTACKS
    trials = []
    for teacher in driven:
        plain = _until_reached(sizes, teacher)
        watched = replace(plain, observers=tuple(other for other in driven if other != teacher))
        labels = ways if teacher == first else driving.COMPARED
        trials += [replace(watched, label=label, method=ways[label]) for label in labels]
        trials += [replace(plain, targets=targets) for targets in driving.MIXTURES]
        if teacher == first:
            large = driving.OPTIMISERS["large steps"]
            reverse, to_random = replace(large, loss="reverse_kl"), replace(plain, targets="random")
            trials.append(replace(to_random, label="large steps", method=large))
            trials.append(replace(to_random, label="reverse KL", method=reverse))
            trials.append(replace(plain, targets="simplex", images=sizes.simplex_images))
    return trials


def saturated(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Black and white images under each map."""
    driven = _until_reached(sizes, digits(sizes))
    driven = replace(driven, images=min(sizes.images, driven.teacher.test))
    return [replace(driven, label=m, method=layer.UntilReached(mapping=m)) for m in layer.MAPS]


def generated(sizes: ImageWeightStudy) -> list[GeneratedTrial]:
    """The sets of replacements as section 3.1 makes them; they differ by their targets."""
    train, share = sizes.student.train, max(sizes.shares)
    first = GeneratedTrial(teacher=teacher(sizes), train=train, share=share, recipe=layer.Recipe())
    return [replace(first, seed=seed) for seed in range(sizes.sets)]


def small_sets(sizes: ImageWeightStudy) -> list[GeneratedTrial]:
    """The replacements of the first images alone, for which they are generated anew as well."""
    return [replace(made, train=sizes.small.train) for made in generated(sizes)]


def _pair(
    sizes: ImageWeightStudy, network: Network, sets: list[GeneratedTrial], seed: int
) -> tuple[StudentTrial, StudentTrial]:
    """A student of originals alone and one of the controls' share; seeds take turns with sets."""
    student = replace(classifier(sizes, network), seed=seed)
    made = sets[seed % len(sets)]
    original = StudentTrial(student=student, generated=made, arm="original", share=0.0)
    return original, replace(original, arm="generated", share=sizes.control_share)


def students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Every arm from every seed; one seed after the other, so that a beginning is balanced.

    Some seeds have eq. 10 as it is printed as well.
    """
    sets, trials = generated(sizes), []
    for seed in range(sizes.seeds):
        original, paper = _pair(sizes, sizes.student, sets, seed)
        trials += [original, *(replace(paper, share=share) for share in sizes.shares)]
        trials += [replace(paper, arm=arm) for arm in ("hard label", "soft label")]
        if seed < sizes.printed_seeds:
            trials.append(replace(paper, direction="reverse"))
    return trials


def small_students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Generated once against anew in each batch, by the same hundred updates.

    The second takes as many updates for each epoch as the first in all, so the sets are small.
    """
    sets, trials = small_sets(sizes), []
    for seed in range(sizes.small_seeds):
        original, once = _pair(sizes, sizes.small, sets, seed)
        trials += [original, once, replace(once, arm="regenerated")]
    return trials


def evidence(sizes: ImageWeightStudy) -> Iterator[tuple[Callable, object]]:
    """All trials of the plan with their functions, in the order that a long run should take.

    The classifiers come first, since all others need them, then the synthesis, which takes
    minutes, then the generated sets, and then the students, seed by seed.
    """
    plan: dict[Callable, list] = {
        run_classifier: [*networks(sizes), digits(sizes), teacher(sizes)],
        run_synthesis: [*synthesis(sizes), *saturated(sizes)],
        run_generation: [*generated(sizes), *small_sets(sizes)],
        run_student: [*students(sizes), *small_students(sizes)],
    }
    for function, trials in plan.items():
        yield from ((function, trial) for trial in dict.fromkeys(trials))
