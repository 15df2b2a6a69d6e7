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

from lib.engine.artefacts import artefact
from lib.engine.batches import Epochs
from lib.engine.sweep import Context
from lib.image_weights.classifiers import (
    ClassifierTrial,
    as_float,
    fit,
    labelled_images,
    load_classifier,
    predict,
    run_classifier,
    score,
)
from lib.image_weights.layer import MAPS, Recipe, kl, reverse_kl, synthesize
from lib.image_weights.synthesis import (
    TOLERANCE,
    Attack,
    SynthesisTrial,
    kl_to,
    measure,
    mixture,
    rounded,
    run_synthesis,
    second_classes,
)

ARMS = {
    "original": "no image is replaced (eq. 12)",
    "generated": "the paper: generated image, label q and true label (eq. 9)",
    "hard label": "generated image, true label only",
    "soft label": "original image, label q and true label",
    "distillation": "original image, what the teacher says to it, augmented, and true label",
    "relabelled": "generated image, what the teacher says to it, augmented, and true label",
    "regenerated": "generated anew in every batch, from the augmented image",
}
DIRECTIONS = ("forward", "reverse")


@dataclass(frozen=True, kw_only=True)
class GeneratedTrial:
    """The generated versions of a training set's first images, by the teacher trained on it.

    share is how much of the training set gets one. The set is in a random balanced order, so its
    beginnings are random nested subsets.
    """

    teacher: ClassifierTrial
    share: float
    recipe: Recipe
    seed: int = 0
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class StudentTrial:
    """A classifier trained from scratch on a set in which some images are replaced.

    student has network, data, schedule and seed. arm is a name of ``ARMS``. share is that of the
    images that are replaced. direction is that of the divergence between the student's output p
    and the label q in eq. 9: ``forward`` for KL(q || p), what KLDivLoss computes, or ``reverse``
    for KL(p || q), as printed. On original images eq. 9 is the cross entropy either way, because
    KL(t || p) equals it for a one-hot t, and KL(p || t) is infinite.
    regeneration is the recipe inside a batch, for the arm ``regenerated``.
    """

    student: ClassifierTrial
    generated: GeneratedTrial
    arm: str
    share: float
    direction: str = "forward"
    regeneration: Recipe | None = None
    version: int = 1

    def __post_init__(self) -> None:
        teacher, most = self.generated.teacher, self.generated.share
        if self.arm not in ARMS or self.direction not in DIRECTIONS:
            known = f"{tuple(ARMS)} and {DIRECTIONS}"
            raise ValueError(f"arm and direction are of {known}: {self.arm!r}, {self.direction!r}")
        if not 0 <= self.share <= most:
            raise ValueError(f"share must be in [0, {most}], not {self.share!r}: no more are made")
        if (self.student.dataset, self.student.train) != (teacher.dataset, teacher.train):
            raise ValueError("student and teacher must have the same training images")
        if (self.arm == "regenerated") != (self.regeneration is not None):
            raise ValueError(f"arm {self.arm!r} with regeneration {self.regeneration!r}")
        if (self.arm == "original") != (self.share == 0):
            raise ValueError(f"arm {self.arm!r} does not go with a share of {self.share!r}")


def run_generation(trial: GeneratedTrial, context: Context) -> dict:
    """Generate and keep; how well the targets are met, as floats, as bytes and when augmented.

    kl_before and reached_before are those of the originals, rms that of the change, in [0, 1].
    label_errors and original_errors are image by image.
    """
    made = generated_images(trial, context)
    teacher, data = load_classifier(trial.teacher, context), labelled_images(trial.teacher, context)
    originals = data.train_images[: len(made["images"])]
    before = kl_to(made["targets"], F.softmax(predict(teacher, originals), 1))
    reached = kl_to(made["targets"], made["unrounded"])
    errors = label_errors(trial, teacher, made["images"])
    original_errors = label_errors(trial, teacher, originals)
    return {
        "count": len(originals),
        "kl_before": float(before.mean()),
        "reached_before": float((before <= TOLERANCE).double().mean()),
        "kl": float(reached.mean()),
        "kl_of_bytes": float(kl_to(made["targets"], made["outputs"]).mean()),
        "reached": float((reached <= TOLERANCE).double().mean()),
        "rms": float(measure(as_float(made["images"]) - as_float(originals))["rms"].mean()),
        "moved_generated": float(errors.mean()),
        "moved_original": float(original_errors.mean()),
        "label_errors": rounded(errors),
        "original_errors": rounded(original_errors),
    }


def label_errors(trial: GeneratedTrial, teacher: nn.Module, images: Tensor) -> Tensor:
    """(M,) KL(what the teacher says to an image || what it says to it augmented).

    It is how wrong a label becomes that was made for the image as it is.
    """
    epochs = Epochs(images, batch=500, seed=trial.seed, flip=trial.teacher.flip)
    plain = F.softmax(predict(teacher, images), 1)
    errors = torch.zeros(len(images))
    for step in range(len(epochs)):
        index, augmented = epochs(step)
        errors[index] = kl(plain[index], F.log_softmax(predict(teacher, augmented), 1))
    return errors


def generated_images(trial: GeneratedTrial, context: Context) -> dict[str, Tensor]:
    """images (M, 3, H, W) uint8, targets, outputs (the label q) and unrounded, (M, K) each.

    outputs is what the teacher says to the bytes, unrounded to the image before it became bytes.
    """
    return artefact(trial, context, lambda: _generate(trial, context))


def _generate(trial: GeneratedTrial, context: Context) -> dict[str, Tensor]:
    teacher, data = load_classifier(trial.teacher, context), labelled_images(trial.teacher, context)
    count = round(trial.share * len(data.train_images))
    originals = as_float(data.train_images[:count].to(context.device))
    targets = targets_of(trial, data.train_labels[:count], len(data.classes))
    made = synthesize(teacher, originals, targets.to(context.device), trial.recipe)
    images = (made.images * 255).round().to(torch.uint8)
    outputs = F.softmax(predict(teacher, images), 1)
    return {"images": images, "targets": targets, "outputs": outputs, "unrounded": made.outputs}


def targets_of(trial: GeneratedTrial, labels: Tensor, classes: int) -> Tensor:
    """(M, K) 0.9 own class, 0.1 a random other."""
    return mixture(labels, second_classes(labels, classes, trial.seed), classes)


def run_student(trial: StudentTrial, context: Context) -> dict:
    """Train with the arm's images and labels; accuracy at the end."""
    data = labelled_images(trial.student, context)
    count = round(trial.share * len(data.train_images))
    images = data.train_images
    if count and trial.arm in ("generated", "hard label", "relabelled"):
        made = generated_images(trial.generated, context)["images"]
        images = torch.cat((made[:count], images[count:]))
    loss = _loss(trial, data.train_labels.to(context.device), count, context)
    model = fit(trial.student, images, loss, context)
    return score(predict(model, data.test_images), data.test_labels)


def _loss(
    trial: StudentTrial, labels: Tensor, count: int, context: Context
) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Eq. 9: half divergence, half cross entropy on the first ``count`` images, else the latter."""
    soften = _soft_labels(trial, labels, context)

    def loss(model: nn.Module, index: Tensor, images: Tensor) -> Tensor:
        changed = index < count
        if not changed.any():
            return F.cross_entropy(model(images), labels[index])
        images, q = soften(index, images, changed)
        log_p = F.log_softmax(model(images).float(), 1)
        losses = F.nll_loss(log_p, labels[index], reduction="none")
        if q is not None:
            if trial.direction == "forward":
                divergence = kl(q, log_p[changed])
            else:  # eq. 10 as printed
                divergence = reverse_kl(q.clamp(min=1e-12), log_p[changed])
            losses = losses.masked_scatter(changed, 0.5 * divergence + 0.5 * losses[changed])
        return losses.mean()

    return loss


def _soft_labels(
    trial: StudentTrial, labels: Tensor, context: Context
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """(index, augmented images, which are changed) -> images, and q for the changed ones."""
    if trial.arm in ("original", "hard label"):
        return lambda index, images, changed: (images, None)
    if trial.arm in ("generated", "soft label"):
        q = generated_images(trial.generated, context)["outputs"].to(context.device)
        return lambda index, images, changed: (images, q[index[changed]])
    teacher, recipe = load_classifier(trial.generated.teacher, context), trial.regeneration
    count = round(trial.generated.share * len(labels))
    classes = len(labelled_images(trial.student, context).classes)
    targets = targets_of(trial.generated, labels[:count].cpu(), classes).to(context.device)

    def ask_teacher(index: Tensor, images: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        if recipe is None:
            with torch.no_grad():
                return images, F.softmax(teacher(images[changed]).float(), 1)
        # the paper's own remedy: generate from the augmented image, inside the training
        made = synthesize(teacher, images[changed], targets[index[changed]], recipe)
        return images.masked_scatter(changed[:, None, None, None], made.images), made.outputs

    return ask_teacher


@dataclass(frozen=True)
class Network:
    """A classifier and what it is trained on; 0 epochs for published weights, 0 images for all."""

    architecture: str
    width: int
    train: int
    epochs: int
    seed: int = 0


@dataclass(frozen=True)
class ImageWeightStudy:
    """The numbers of a profile; ``profile.yaml`` has them, and says what each is."""

    dataset: str
    test: int
    networks: tuple[Network, ...]
    digits: Network
    images: int
    simplex_images: int
    student: Network
    seeds: int
    regeneration: int
    batch: int
    lr: float
    shares: tuple[float, ...]
    control_share: float
    pictures: str


# The paper stops after 100 updates in section 3 and "when the loss is small enough" in section 2.
# This is the second reading, ten times the effective step of its momentum SGD, twice the updates.
UNTIL_REACHED = Recipe(lr=0.5, momentum=0.9, steps=200)
OPTIMISERS = {
    "SGD": Recipe(),
    "SGD, 10 x lr": Recipe(lr=0.5),
    "momentum": Recipe(momentum=0.9),
    "momentum, lr / 10": Recipe(momentum=0.9, lr=0.005),
    # v <- mu v + lr g; W <- W - lr v (eqs. 7, 8): the learning rate acts twice
    "momentum, as printed": Recipe(momentum=0.9, lr=0.05**2),
    "momentum + low-pass": Recipe(momentum=0.9, low_pass=10),
    "SGD + low-pass": Recipe(low_pass=10),
    "Fourier": Recipe(basis="fourier"),
    "Fourier, momentum": Recipe(basis="fourier", momentum=0.9),
    "until reached": UNTIL_REACHED,
}
MAPPINGS = {
    f"{mapping}, {name}": replace(recipe, mapping=mapping)
    for mapping in ("sigmoid", "clamp")
    for name, recipe in (("SGD", Recipe()), ("until reached", UNTIL_REACHED))
}
ATTACKS = {
    "FGSM, hard": Attack("fgsm", hard=True),
    "FGSM, soft": Attack("fgsm", hard=False),
    "PGD, hard": Attack("pgd", hard=True),
    "PGD, soft": Attack("pgd", hard=False),
    "PGD, soft, small steps": Attack("pgd", hard=False, step=0.25 / 255, steps=100),
}
TEACHER_SEED = 1000  # the teacher is a twin of the students: same data, a start of its own
PAIR = ("SGD", "SGD, 10 x lr", "momentum", "momentum, lr / 10", "until reached")
MIXTURES = ("swapped", "two", "three", "uniform", "random")
CONTROLS = ("hard label", "soft label", "distillation", "relabelled")


def classifier(sizes: ImageWeightStudy, network: Network) -> ClassifierTrial:
    """The trial of one of a profile's networks."""
    shared = {name: getattr(sizes, name) for name in ("dataset", "test", "batch", "lr")}
    return ClassifierTrial(**asdict(network), **shared)


def networks(sizes: ImageWeightStudy) -> list[ClassifierTrial]:
    """The driven classifier, then the onlookers."""
    return [classifier(sizes, network) for network in sizes.networks]


def digits(sizes: ImageWeightStudy) -> ClassifierTrial:
    """A classifier of black and white images, whose pixels are all saturated."""
    trial = classifier(sizes, sizes.digits)
    return replace(trial, dataset="digits", test=500, batch=64, flip=False)


def base(sizes: ImageWeightStudy, seed: int = 0) -> ClassifierTrial:
    """The student's network, from a seed."""
    return replace(classifier(sizes, sizes.student), seed=seed)


def _driven(sizes: ImageWeightStudy, teacher: ClassifierTrial) -> SynthesisTrial:
    return SynthesisTrial(
        label="until reached",
        teacher=teacher,
        method=UNTIL_REACHED,
        targets="mixture",
        images=sizes.images,
    )


def synthesis(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Every recipe and attack to the 0.9/0.1 target, then every other target, then the triangle."""
    main, *others = networks(sizes)
    driven, ways = _driven(sizes, main), OPTIMISERS | MAPPINGS | ATTACKS
    watched = replace(driven, observers=tuple(others))
    reverse = replace(UNTIL_REACHED, loss="reverse_kl")
    return [
        *(replace(watched, label=label, method=way) for label, way in ways.items()),
        *(replace(driven, targets=targets) for targets in MIXTURES),
        replace(driven, label="reverse KL", method=reverse, targets="random"),
        replace(driven, targets="simplex", images=sizes.simplex_images),
    ]


def second_teacher(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """The optimisers again, on the next classifier; the others look on."""
    main, second, *rest = networks(sizes)
    driven = replace(_driven(sizes, second), observers=(*rest, main))
    return [replace(driven, label=label, method=OPTIMISERS[label]) for label in PAIR]


def saturated(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Black and white images under each map."""
    driven = replace(_driven(sizes, digits(sizes)), images=min(sizes.images, 500))
    return [replace(driven, label=m, method=replace(UNTIL_REACHED, mapping=m)) for m in MAPS]


def generated(sizes: ImageWeightStudy, recipe: Recipe = OPTIMISERS["SGD"]) -> GeneratedTrial:
    """The replacements, as section 3.1 makes them unless another recipe is given."""
    teacher = base(sizes, TEACHER_SEED)
    return GeneratedTrial(teacher=teacher, share=max(sizes.shares), recipe=recipe)


def students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Every arm from every seed; one seed after the other, so that a beginning is balanced."""
    trials = []
    # few updates must go as far as the paper's hundred
    anew = Recipe(steps=sizes.regeneration, lr=0.05 * 100 / sizes.regeneration)
    for seed in range(sizes.seeds):
        student, made = base(sizes, seed), generated(sizes)
        original = StudentTrial(student=student, generated=made, arm="original", share=0.0)
        paper = replace(original, arm="generated", share=sizes.control_share)
        trials += [
            original,
            *(replace(paper, share=share) for share in sizes.shares),
            *(replace(paper, arm=arm) for arm in CONTROLS),
            replace(paper, direction="reverse"),
            replace(paper, generated=generated(sizes, UNTIL_REACHED)),
            replace(paper, arm="regenerated", regeneration=anew),
        ]
    return trials


def evidence(sizes: ImageWeightStudy) -> Iterator[tuple[Callable, object]]:
    """All trials of the plan with their functions, in the order that a long run should take.

    The classifiers come first, since all others need them, then the synthesis, which takes
    minutes, then the generated sets, and then the students, seed by seed.
    """
    for network in (*networks(sizes), digits(sizes), generated(sizes).teacher):
        yield run_classifier, network
    for driven in (*synthesis(sizes), *second_teacher(sizes), *saturated(sizes)):
        yield run_synthesis, driven
    for recipe in (OPTIMISERS["SGD"], UNTIL_REACHED):
        yield run_generation, generated(sizes, recipe)
    for student in students(sizes):
        yield run_student, student
