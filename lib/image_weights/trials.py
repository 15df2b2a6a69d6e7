"""What runs: training on generated images (section 3), and the plan of all trials."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.data.labelled import Labelled
from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.image_weights import classifiers, layer
from lib.image_weights import synthesis as driving
from lib.image_weights.classifiers import ClassifierTrial, predict, run_classifier
from lib.image_weights.synthesis import SynthesisTrial, run_synthesis

ARMS = driving.WAYS["arms"]  # name -> what a student learns from
DIRECTIONS = ("forward", "reverse")


@dataclass(frozen=True, kw_only=True)
class GeneratedTrial:
    """The generated versions of a training set's first images, by a teacher.

    train is the number of training images, 0 for all, of the teacher's data set, in its random
    balanced order. share is how much of them gets a version. seed is that of the second classes.
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

    arm is a name of ``ARMS``; ``regenerated`` has the recipe of the generated set. share is that of
    the images that are replaced. direction is that of the divergence between the student's output
    p and the label q in eq. 9: ``forward`` for KL(q || p), what KLDivLoss computes, or ``reverse``
    for KL(p || q), as printed. On original images eq. 9 is the cross entropy either way, because
    KL(t || p) equals it for a one-hot t, and KL(p || t) is infinite.
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
    teacher, data = _teacher_and_data(trial, context)
    originals = data.train_images[: len(made["images"])]
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


def _teacher_and_data(trial: GeneratedTrial, context: Context) -> tuple[nn.Module, Labelled]:
    data = classifiers.labelled_images(replace(trial.teacher, train=trial.train), context)
    return classifiers.load_classifier(trial.teacher, context), data


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
        teacher, data = _teacher_and_data(trial, context)
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
    images, count = data.train_images, round(trial.share * len(data.train_images))
    made = generated_images(trial.generated, context) if count else {}
    if count and trial.arm in ("generated", "hard label"):
        images = torch.cat((made["images"][:count], images[count:]))
    loss = _loss(trial, data.train_labels.to(context.device), made, context)
    model = classifiers.fit(trial.student, images, loss, context)
    return classifiers.score(predict(model, data.test_images), data.test_labels)


def _loss(
    trial: StudentTrial, labels: Tensor, made: dict[str, Tensor], context: Context
) -> classifiers.Loss:
    """Eq. 9: half divergence, half cross entropy on images that are replaced, else the latter."""
    count = round(trial.share * len(labels))
    made = {name: made[name].to(labels.device) for name in ("targets", "outputs") if made}
    if trial.arm == "regenerated":
        teacher = classifiers.load_classifier(trial.generated.teacher, context)

    def loss(model: nn.Module, index: Tensor, images: Tensor) -> Tensor:
        changed = index < count
        if not (count and changed.any()):
            return F.cross_entropy(model(images), labels[index])
        targets, q = (made[name][index[changed]] for name in ("targets", "outputs"))
        if trial.arm == "regenerated":  # the paper's own remedy: from the augmented image
            anew = layer.synthesize(teacher, images[changed], targets, trial.generated.recipe)
            images = images.masked_scatter(changed[:, None, None, None], anew.images)
            q = anew.outputs
        log_p = F.log_softmax(model(images).float(), 1)
        losses = F.nll_loss(log_p, labels[index], reduction="none")
        if trial.arm != "hard label":
            if trial.direction == "forward":
                divergence = layer.kl(q, log_p[changed])
            else:  # eq. 10 as printed
                divergence = layer.reverse_kl(q.clamp(min=1e-12), log_p[changed])
            losses = losses.masked_scatter(changed, 0.5 * divergence + 0.5 * losses[changed])
        return losses.mean()

    return loss


@dataclass(frozen=True)
class ImageWeightStudy:
    """The numbers of a profile; ``profile.yaml`` has them, and says what each is."""

    networks: tuple[ClassifierTrial, ...]
    weaker: tuple[ClassifierTrial, ...]
    digits: ClassifierTrial
    images: int
    simplex_images: int
    teacher: ClassifierTrial
    student: ClassifierTrial
    seeds: int
    sets: int
    printed_seeds: int
    small: ClassifierTrial
    small_seeds: int
    shares: tuple[float, ...]
    control_share: float
    pictures: str


def _until_reached(teacher: ClassifierTrial, images: int) -> SynthesisTrial:
    label, method = "until reached", layer.UntilReached()
    return SynthesisTrial(
        label=label, teacher=teacher, method=method, targets="mixture", images=images
    )


def synthesis(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Each classifier to the 0.9/0.1 target in several ways, and until reached to every target.

    The first classifier comes first, with every recipe and attack, and the triangle of targets. The
    others look on; at a weaker classifier the first one and the other weaker ones do.
    """
    ways = driving.OPTIMISERS | driving.MAPPINGS | driving.ATTACKS
    trials, first = [], sizes.networks[0]
    for teacher in (*sizes.networks, *sizes.weaker):
        group = sizes.networks if teacher in sizes.networks else (first, *sizes.weaker)
        others = tuple(other for other in group if other != teacher)
        plain = _until_reached(teacher, sizes.images)
        for label in ways if teacher == first else driving.COMPARED:
            trials.append(replace(plain, label=label, method=ways[label], observers=others))
        trials += [replace(plain, targets=targets) for targets in driving.MIXTURES]
        if teacher == first:
            large = driving.OPTIMISERS["large steps"]
            further = {"large steps": large, "reverse KL": replace(large, loss="reverse_kl")}
            for label, method in further.items():
                trials.append(replace(plain, label=label, method=method, targets="random"))
            trials.append(replace(plain, targets="simplex", images=sizes.simplex_images))
    return trials


def saturated(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Black and white images under each map."""
    driven = _until_reached(sizes.digits, min(sizes.images, sizes.digits.test))
    return [replace(driven, label=m, method=layer.UntilReached(mapping=m)) for m in layer.MAPS]


def _generated(sizes: ImageWeightStudy, student: ClassifierTrial, seed: int) -> GeneratedTrial:
    """The set for a student: as in section 3.1. Seeds take turns with sets of other targets."""
    seed, share, recipe = seed % sizes.sets, max(sizes.shares), layer.Recipe()
    return GeneratedTrial(
        teacher=sizes.teacher, train=student.train, share=share, recipe=recipe, seed=seed
    )


def generated(sizes: ImageWeightStudy) -> list[GeneratedTrial]:
    """The sets of replacements, of all training images and of those of the small students."""
    pairs = product((sizes.student, sizes.small), range(sizes.sets))
    return list(dict.fromkeys(_generated(sizes, *pair) for pair in pairs))


def _taught(
    sizes: ImageWeightStudy, student: ClassifierTrial, seed: int
) -> tuple[StudentTrial, StudentTrial]:
    """A student of original images alone, and one with the controls' share of generated ones."""
    made, student = _generated(sizes, student, seed), replace(student, seed=seed)
    original = StudentTrial(student=student, generated=made, arm="original", share=0.0)
    return original, replace(original, arm="generated", share=sizes.control_share)


def students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Every arm from every seed; one seed after the other, so that a beginning is balanced.

    Some seeds have eq. 10 as it is printed as well, on generated and on original images: what the
    divergence does must be told from what the images do.
    """
    trials = []
    for seed in range(sizes.seeds):
        original, paper = _taught(sizes, sizes.student, seed)
        trials += [original, *(replace(paper, share=share) for share in sizes.shares)]
        trials += [replace(paper, arm=arm) for arm in ("hard label", "soft label")]
        if seed < sizes.printed_seeds:
            printed = replace(paper, direction="reverse")
            trials += [printed, replace(printed, arm="soft label")]
    return trials


def small_students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Generated once against anew in each batch, by the same hundred updates.

    The second takes as many updates for each epoch as the first in all, so the sets are small.
    """
    trials = []
    for seed in range(sizes.small_seeds):
        original, once = _taught(sizes, sizes.small, seed)
        trials += [original, once, replace(once, arm="regenerated")]
    return trials


def evidence(sizes: ImageWeightStudy) -> Iterator[tuple[Callable, object]]:
    """All trials of the plan with their functions, in the order that a long run should take.

    A trial comes after those that it needs; students come seed by seed.
    """
    plan: dict[Callable, list] = {
        run_classifier: [*sizes.networks, *sizes.weaker, sizes.digits, sizes.teacher],
        run_synthesis: [*synthesis(sizes), *saturated(sizes)],
        run_generation: generated(sizes),
        run_student: [*students(sizes), *small_students(sizes)],
    }
    for function, trials in plan.items():
        yield from ((function, trial) for trial in dict.fromkeys(trials))
