"""The plan of notebook 05: the paper's numbers where they belong, and no trial twice."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from lib.engine.profiles import PROFILES, load_profile
from lib.image_weights import analysis
from lib.image_weights import trials as plan
from lib.image_weights.classifiers import network_name
from lib.image_weights.synthesis import ATTACKS, COMPARED, OPTIMISERS, TARGETS

SIZES = {name: load_profile(plan.ImageWeightStudy, name) for name in PROFILES}
EACH = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def synthesis_trials(sizes) -> list:
    return [*plan.synthesis(sizes), *plan.saturated(sizes)]


def test_figures_3_to_5_have_the_papers_numbers():
    """Learning rate, momentum, weight decay, updates, radius; as the paper states them."""
    papers = {"SGD": (0.0, None), "momentum": (0.9, None), "momentum + low-pass": (0.9, 10)}
    for label, (momentum, radius) in papers.items():
        recipe = OPTIMISERS[label]
        assert (recipe.lr, recipe.weight_decay, recipe.steps) == (0.05, 5e-4, 100)
        assert (recipe.momentum, recipe.low_pass) == (momentum, radius)
        assert (recipe.mapping, recipe.basis, recipe.loss) == ("tan", "pixel", "kl")


def test_the_controls_have_the_same_effective_step():
    """lr / (1 - momentum) is what momentum moves in the long run."""

    def effective(label: str) -> float:
        return OPTIMISERS[label].lr / (1 - OPTIMISERS[label].momentum)

    assert effective("SGD, 10 x lr") == pytest.approx(effective("momentum"))
    assert effective("momentum, lr / 10") == pytest.approx(effective("SGD"))
    assert effective("large steps") == pytest.approx(10 * effective("momentum"))
    assert OPTIMISERS["large steps"].steps == 200
    # eqs. 7 and 8 as printed multiply by the learning rate twice
    assert OPTIMISERS["momentum, as printed"].lr == pytest.approx(0.0025)


def test_until_reached_is_the_papers_sgd_with_a_stop():
    recipe = vars(OPTIMISERS["until reached"])
    assert vars(OPTIMISERS["SGD"]) | {"steps": 1000, "stop": 0.01} == recipe


@EACH
def test_every_way_and_every_target_is_tried_once(sizes):
    driven = (*sizes.networks, *sizes.weaker)
    trials = plan.synthesis(sizes)
    names = [(trial.teacher, trial.label, trial.targets) for trial in trials]
    assert len(names) == len(set(names))
    for teacher in driven:
        own = [trial for trial in trials if trial.teacher == teacher]
        tried = [trial.label for trial in own if trial.targets == "mixture"]
        ways = COMPARED
        if teacher == driven[0]:
            maps = ("sigmoid, SGD", "sigmoid, until reached", "clamp, SGD", "clamp, until reached")
            ways = (*OPTIMISERS, *maps, *ATTACKS)
        assert tried == [*ways]
        reached = {trial.targets for trial in own if trial.label == "until reached"}
        assert reached == {*TARGETS} - (set() if teacher == driven[0] else {"simplex"})
        for trial in own:
            if trial.targets == "mixture":
                group = {*sizes.networks}
                if teacher in sizes.weaker:
                    group = {sizes.networks[0], *sizes.weaker}
                assert set(trial.observers) == group - {teacher}
    (triangle,) = (trial for trial in trials if trial.targets == "simplex")
    assert triangle.images == sizes.simplex_images and triangle.images % 45 == 0
    assert {*COMPARED} <= {*OPTIMISERS, *ATTACKS}


@EACH
def test_two_classifiers_differ_by_their_seed_alone(sizes):
    driven = (*sizes.networks, *sizes.weaker)
    names = [network_name(asdict(trial)) for trial in driven]
    assert len(set(names)) == len(names), "metrics are named by them"
    assert [trial.seed for trial in driven].count(1) == 1
    (twin,) = (trial for trial in driven if trial.seed)
    assert replace(twin, seed=0) in driven


def test_there_are_as_many_test_images_as_trials_ask_for():
    for sizes in SIZES.values():
        for trial in synthesis_trials(sizes):
            assert trial.images <= (trial.teacher.test or 10_000), trial


@EACH
def test_images_are_generated_as_in_section_3(sizes):
    both = plan.generated(sizes)
    made = both[: sizes.sets]
    assert [trial.seed for trial in made] == list(range(sizes.sets))
    for trial in both:
        assert trial.recipe == OPTIMISERS["SGD"] and trial.recipe.steps == 100
        assert (trial.share, trial.teacher) == (0.5, sizes.teacher)
    for taught in plan.students(sizes):
        assert taught.generated == made[taught.student.seed % len(made)]
        assert taught.student != taught.generated.teacher


@EACH
def test_students_come_seed_by_seed_with_the_papers_table_and_its_controls(sizes):
    trials = plan.students(sizes)
    seeds = [trial.student.seed for trial in trials]
    assert seeds == sorted(seeds) and set(seeds) == set(range(sizes.seeds))
    arms = [
        "original",
        *(f"generated {share}%" for share in (10, 20, 30, 40, 50)),
        "hard label 30%",
        "soft label 30%",
    ]
    for seed in range(sizes.seeds):
        own = [trial for trial in trials if trial.student.seed == seed]
        names = [analysis.arm_name(asdict(trial)) for trial in own]
        printed = ["generated 30%, KL(p||q)", "soft label 30%, KL(p||q)"]
        printed *= seed < sizes.printed_seeds
        assert names == arms + printed
        assert {trial.direction for trial in own[:8]} == {"forward"}
        assert [trial.direction for trial in own[8:]] == ["reverse"] * len(printed)


@EACH
def test_images_are_generated_anew_as_they_are_generated_once(sizes):
    trials = plan.small_students(sizes)
    names = [analysis.arm_name(asdict(trial)) for trial in trials]
    assert names == sizes.small_seeds * ["original", "generated 30%", "regenerated 30%"]
    for original, once, anew in zip(trials[::3], trials[1::3], trials[2::3], strict=True):
        assert original.student == once.student == anew.student
        assert once.generated == anew.generated and anew.generated.recipe.steps == 100
        assert anew.generated in plan.generated(sizes)[-sizes.sets :]
        assert anew.generated.train == anew.student.train == sizes.small.train


def test_the_paper_has_no_smaller_set():
    sizes = SIZES["paper"]
    assert len(plan.generated(sizes)) == sizes.sets
    anew = {trial for trial in plan.small_students(sizes) if trial.arm == "regenerated"}
    assert {*plan.small_students(sizes)} - anew <= {*plan.students(sizes)}


def test_the_papers_schedule():
    sizes = SIZES["paper"]
    student = plan.students(sizes)[0].student
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
