"""The plan of notebook 05: the paper's numbers where they belong, and no trial twice."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.image_weights import analysis
from lib.image_weights import trials as plan
from lib.image_weights.synthesis import TARGETS

SIZES = {name: load_profile(plan.ImageWeightStudy, name) for name in PROFILES}
EACH = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def synthesis_trials(sizes) -> list:
    return [*plan.synthesis(sizes), *plan.second_teacher(sizes), *plan.saturated(sizes)]


def test_figures_3_to_5_have_the_papers_numbers():
    """Learning rate, momentum, weight decay, updates, radius; as the paper states them."""
    papers = {"SGD": (0.0, None), "momentum": (0.9, None), "momentum + low-pass": (0.9, 10)}
    for label, (momentum, radius) in papers.items():
        recipe = plan.OPTIMISERS[label]
        assert (recipe.lr, recipe.weight_decay, recipe.steps) == (0.05, 5e-4, 100)
        assert (recipe.momentum, recipe.low_pass) == (momentum, radius)
        assert (recipe.mapping, recipe.basis, recipe.loss) == ("tan", "pixel", "kl")


def test_the_controls_have_the_same_effective_step():
    """lr / (1 - momentum) is what momentum moves in the long run."""

    def effective(label: str) -> float:
        return plan.OPTIMISERS[label].lr / (1 - plan.OPTIMISERS[label].momentum)

    assert effective("SGD, 10 x lr") == pytest.approx(effective("momentum"))
    assert effective("momentum, lr / 10") == pytest.approx(effective("SGD"))
    reached = plan.OPTIMISERS["until reached"]
    assert effective("until reached") == pytest.approx(10 * effective("momentum"))
    assert reached.steps == 200
    # eqs. 7 and 8 as printed multiply by the learning rate twice
    assert plan.OPTIMISERS["momentum, as printed"].lr == pytest.approx(0.0025)


@EACH
def test_every_way_and_every_target_is_tried_once(sizes):
    trials = plan.synthesis(sizes)
    names = [(trial.label, trial.targets) for trial in trials]
    assert len(names) == len(set(names))
    tried = [label for label, targets in names if targets == "mixture"]
    assert tried == [*plan.OPTIMISERS, *plan.MAPPINGS, *plan.ATTACKS]
    assert {targets for _, targets in names} == set(TARGETS)
    main, *others = plan.networks(sizes)
    for trial in trials:
        assert trial.teacher == main
        if trial.targets == "mixture":
            assert trial.observers == tuple(others)
    (triangle,) = (trial for trial in trials if trial.targets == "simplex")
    assert triangle.images == sizes.simplex_images and triangle.images % 45 == 0


@EACH
def test_a_second_classifier_is_driven_and_the_first_looks_on(sizes):
    main, second, *_ = networks = plan.networks(sizes)
    assert len(set(networks)) == 3 and networks[-1].seed != 0
    twin = replace(networks[-1], seed=0)
    assert twin in networks[:-1], "the last network differs from another one by its seed alone"
    for trial in plan.second_teacher(sizes):
        assert trial.teacher == second and set(trial.observers) == set(networks) - {second}
        assert trial.method == plan.OPTIMISERS[trial.label]
        names = [f"{observer.architecture} {observer.seed}" for observer in trial.observers]
        assert len(set(names)) == len(names), "metrics are named by them"
    assert main not in (trial.teacher for trial in plan.second_teacher(sizes))


def test_there_are_as_many_test_images_as_trials_ask_for():
    for sizes in SIZES.values():
        for trial in synthesis_trials(sizes):
            assert trial.images <= (trial.teacher.test or 10_000), trial


@EACH
def test_images_are_generated_as_in_section_3(sizes):
    trial = plan.generated(sizes)
    assert trial.recipe == plan.OPTIMISERS["SGD"] and trial.recipe.steps == 100
    assert trial.share == 0.5
    for taught in plan.students(sizes):
        teacher, student = taught.generated.teacher, taught.student
        assert replace(teacher, seed=student.seed) == student, "a twin from another seed"
        assert teacher.seed != student.seed


@EACH
def test_students_come_seed_by_seed_with_the_papers_table_and_its_controls(sizes):
    trials = plan.students(sizes)
    seeds = [trial.student.seed for trial in trials]
    assert seeds == sorted(seeds) and set(seeds) == set(range(sizes.seeds))
    names = [analysis.arm_name(asdict(trial)) for trial in trials]
    first = len(names) // sizes.seeds
    assert names == sizes.seeds * names[:first]
    assert names[:first] == [
        "original",
        *(f"generated {share}%" for share in (10, 20, 30, 40, 50)),
        "hard label 30%",
        "soft label 30%",
        "distillation 30%",
        "relabelled 30%",
        "generated 30%, KL(p||q)",
        "generated 30%, reached",
        "regenerated 30%",
    ]
    by_name = dict(zip(names[:first], trials[:first], strict=True))
    assert by_name["generated 30%, reached"].generated.recipe == plan.UNTIL_REACHED
    assert by_name["generated 30%, KL(p||q)"].direction == "reverse"
    anew = by_name["regenerated 30%"].regeneration
    assert anew.steps == sizes.regeneration
    assert anew.lr * anew.steps == pytest.approx(0.05 * 100), "as far as a hundred of the paper's"


def test_the_papers_schedule():
    sizes = SIZES["paper"]
    student = plan.base(sizes)
    assert (student.dataset, student.architecture, student.width) == ("cifar10", "vgg16", 64)
    assert (student.train, student.test, student.epochs) == (0, 0, 300)
    assert student.flip and sizes.seeds == 5


@EACH
def test_a_long_run_trains_first_what_later_trials_need(sizes):
    trained = set()
    for function, trial in plan.evidence(sizes):
        if function is plan.run_classifier:
            trained.add(trial)
        elif function is plan.run_synthesis:
            assert {trial.teacher, *trial.observers} <= trained
        elif function is plan.run_generation:
            assert trial.teacher in trained
            trained.add(trial)
        else:
            assert function is plan.run_student and trial.generated in trained
