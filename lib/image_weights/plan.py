"""Notebook 05: which recipes, targets and training arms are tried."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from lib.image_weights.classifiers import ClassifierTrial
from lib.image_weights.layer import MAPS, Recipe
from lib.image_weights.profile import ImageWeightStudy, Network
from lib.image_weights.synthesis import Attack, SynthesisTrial
from lib.image_weights.training import GeneratedTrial, StudentTrial

# The paper stops after 100 updates in section 3 and "when the loss is small enough" in section 2;
# this is the second reading: ten times the effective step of its momentum SGD, twice the updates.
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


def classifier(sizes: ImageWeightStudy, network: Network, **changes: object) -> ClassifierTrial:
    """The trial of one of a profile's networks."""
    values = {
        "dataset": sizes.dataset,
        "test": sizes.test,
        "batch": sizes.batch,
        "lr": sizes.lr,
        "train": network.train,
        "architecture": network.architecture,
        "width": network.width,
        "epochs": network.epochs,
        "seed": network.seed,
    }
    return ClassifierTrial(**values | changes)


def networks(sizes: ImageWeightStudy) -> list[ClassifierTrial]:
    """The driven classifier, then the onlookers."""
    return [classifier(sizes, network) for network in sizes.networks]


def digits(sizes: ImageWeightStudy) -> ClassifierTrial:
    """A classifier of black and white images, whose pixels are all saturated."""
    return classifier(sizes, sizes.digits, dataset="digits", test=500, batch=64, flip=False)


def base(sizes: ImageWeightStudy, seed: int = 0) -> ClassifierTrial:
    """The student's network, from a seed."""
    return classifier(sizes, sizes.student, seed=seed)


def synthesis(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Every recipe and attack to the 0.9/0.1 target, then every other target, then the triangle."""
    main, *others = networks(sizes)
    shared = {"teacher": main, "images": sizes.images}
    ways = OPTIMISERS | MAPPINGS | ATTACKS
    trials = [
        SynthesisTrial(
            label=label, method=way, targets="mixture", observers=tuple(others), **shared
        )
        for label, way in ways.items()
    ]
    for kind in MIXTURES:
        trials.append(
            SynthesisTrial(label="until reached", method=UNTIL_REACHED, targets=kind, **shared)
        )
    reverse = replace(UNTIL_REACHED, loss="reverse_kl")
    trials.append(SynthesisTrial(label="reverse KL", method=reverse, targets="random", **shared))
    shared["images"] = sizes.simplex_images
    return [
        *trials,
        SynthesisTrial(label="until reached", method=UNTIL_REACHED, targets="simplex", **shared),
    ]


def second_teacher(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """The optimisers again, on the next classifier; the others look on."""
    main, second, *rest = networks(sizes)
    return [
        SynthesisTrial(
            label=label,
            teacher=second,
            method=OPTIMISERS[label],
            targets="mixture",
            images=sizes.images,
            observers=(*rest, main),
        )
        for label in PAIR
    ]


def saturated(sizes: ImageWeightStudy) -> list[SynthesisTrial]:
    """Black and white images under each map."""
    ways = {mapping: replace(UNTIL_REACHED, mapping=mapping) for mapping in MAPS}
    shared = {"teacher": digits(sizes), "targets": "mixture", "images": min(sizes.images, 500)}
    return [SynthesisTrial(label=label, method=way, **shared) for label, way in ways.items()]


def generated(sizes: ImageWeightStudy, recipe: Recipe | None = None) -> GeneratedTrial:
    """The replacements, as section 3.1 makes them unless another recipe is given."""
    teacher = base(sizes, TEACHER_SEED)
    return GeneratedTrial(teacher=teacher, share=max(sizes.shares), recipe=recipe or Recipe())


def students(sizes: ImageWeightStudy) -> list[StudentTrial]:
    """Every arm from every seed; one seed after the other, so that a beginning is balanced."""
    return [trial for seed in range(sizes.seeds) for trial in _arms(sizes, seed)]


def _arms(sizes: ImageWeightStudy, seed: int) -> list[StudentTrial]:
    shared = {"student": base(sizes, seed), "generated": generated(sizes)}
    paper = [StudentTrial(arm="original", share=0.0, **shared)]
    paper += [StudentTrial(arm="generated", share=share, **shared) for share in sizes.shares]
    shared["share"] = sizes.control_share
    controls = [
        StudentTrial(arm=arm, **shared)
        for arm in ("hard label", "soft label", "distillation", "relabelled")
    ]
    # few updates must go as far as the paper's hundred
    anew = Recipe(steps=sizes.regeneration, lr=0.05 * 100 / sizes.regeneration)
    reached = generated(sizes, UNTIL_REACHED)
    return [
        *paper,
        *controls,
        StudentTrial(arm="generated", direction="reverse", **shared),
        StudentTrial(arm="generated", **shared | {"generated": reached}),
        StudentTrial(arm="regenerated", regeneration=anew, **shared),
    ]


def arm_name(trial: dict[str, Any]) -> str:
    """How tables and figures call a student's arm, from the fields of its trial."""
    name = trial["arm"]
    if name != "original":
        name += f" {trial['share']:.0%}"
    if trial["direction"] == "reverse":
        name += ", KL(p||q)"
    return name + (", reached" if trial["generated"]["recipe"] == asdict(UNTIL_REACHED) else "")
