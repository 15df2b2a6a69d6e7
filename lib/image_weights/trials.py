"""What runs: the sizes of a profile, the recipes and attacks, and the plan of all trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lib.image_weights.attacks import Attack
from lib.image_weights.classifiers import ClassifierTrial, run_classifier
from lib.image_weights.layer import MAPS, Recipe
from lib.image_weights.synthesis import SynthesisTrial, run_synthesis
from lib.image_weights.training import GeneratedTrial, StudentTrial, run_generation, run_student


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
    return ClassifierTrial(
        dataset=sizes.dataset,
        train=network.train,
        test=sizes.test,
        architecture=network.architecture,
        width=network.width,
        epochs=network.epochs,
        batch=sizes.batch,
        lr=sizes.lr,
        seed=network.seed,
    )


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
