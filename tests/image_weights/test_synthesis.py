"""Notebook 05's classifiers and the trials that change images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from lib.data.labelled import load_labelled
from lib.engine.sweep import Context, trial_key
from lib.image_weights import classifiers
from lib.image_weights.classifiers import (
    ClassifierTrial,
    initial_classifier,
    labelled_images,
    load_classifier,
    predict,
    run_classifier,
    score,
)
from lib.image_weights.layer import Recipe
from lib.image_weights.synthesis import (
    TARGETS,
    Attack,
    SynthesisTrial,
    attacked,
    in_order,
    run_synthesis,
    second_classes,
    simplex_grid,
    synthesize_images,
)

TINY = ClassifierTrial(
    dataset="digits",
    train=60,
    test=30,
    architecture="vgg5",
    width=2,
    epochs=1,
    batch=30,
    lr=0.05,
    flip=False,
)
OTHER = replace(TINY, architecture="resnet20", seed=1)
FAR = Recipe(lr=20.0, momentum=0.9, steps=4)  # a classifier this small hardly cares for its input


def synthesis(**changes) -> SynthesisTrial:
    values = {"label": "a", "teacher": TINY, "method": FAR, "targets": "mixture", "images": 7}
    return SynthesisTrial(**values | changes)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_classifier_is_trained_once_and_measured(tmp_path, monkeypatch):
    context = Context(torch.device("cpu"), artefacts=tmp_path)
    metrics = run_classifier(TINY, context)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{trial_key(TINY)}.safetensors"
    trained = load_classifier(TINY, Context(torch.device("cpu")))  # trained a second time
    monkeypatch.setattr(classifiers, "train", lambda *_, **__: pytest.fail("trained again"))
    model = load_classifier(TINY, context)
    assert same(model, trained) and run_classifier(TINY, context) == metrics
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    data = load_labelled("digits", train=60, test=30)
    with torch.no_grad():
        p = softmax(model(data.test_images.float() / 255).numpy(), 1)
    labels = data.test_labels.numpy()
    assert metrics["accuracy"] == pytest.approx(100 * (p.argmax(1) == labels).mean())
    most = max(np.mean(labels == label) for label in range(10))
    assert (metrics["tested"], metrics["trivial_accuracy"]) == (30, pytest.approx(100 * most))
    entropy = -np.log(p[np.arange(30), labels]).mean()
    assert metrics["cross_entropy"] == pytest.approx(entropy, rel=1e-5)
    assert metrics["confidence"] == pytest.approx(p.max(1).mean(), rel=1e-5)
    # convolutions 3-2-4-8-16 with biases and norms, then 16 * 10 + 10
    assert metrics["parameters"] == 9 * (6 + 8 + 32 + 128) + 3 * 30 + 170


def test_training_changes_the_weights_and_seeds_differ(context):
    trained, initial = load_classifier(TINY, context), initial_classifier(TINY, context)
    assert not same(trained, initial)
    assert same(initial, initial_classifier(replace(TINY, lr=0.1), context))
    other = replace(TINY, seed=1)
    for network in (load_classifier, initial_classifier):
        first, second = network(TINY, context), network(other, context)
        assert not torch.equal(first.linear.weight, second.linear.weight)


def test_digits_are_learned():
    """Chance is 10 %."""
    longer = replace(TINY, train=400, width=6, epochs=8, batch=40)
    metrics = run_classifier(longer, Context(torch.device("cpu")))
    assert metrics["accuracy"] > 60


def test_bytes_and_floats_are_predicted_alike(context):
    model, images = load_classifier(TINY, context), labelled_images(TINY, context).test_images
    whole = predict(model, images)
    assert whole.shape == (30, 10)
    torch.testing.assert_close(predict(model, images.float() / 255), whole)
    torch.testing.assert_close(predict(model, images, 7), whole)


def test_score_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0], [0.0, 0.0]])
    values = score(logits, torch.tensor([1, 1, 0]))
    assert values["accuracy"] == pytest.approx(200 / 3)
    expected = -(math.log(3 / 4) + math.log(1 / 5) + math.log(1 / 2)) / 3
    assert values["cross_entropy"] == pytest.approx(expected, rel=1e-6)


def test_second_classes_are_random_others():
    labels = torch.arange(10).repeat(300)
    second = second_classes(labels, 10, seed=0)
    assert (second != labels).all() and second.min() == 0 and second.max() == 9
    counts = torch.bincount((second - labels) % 10, minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 250  # 333 each, standard deviation 17
    assert torch.equal(second, second_classes(labels, 10, seed=0))
    assert not torch.equal(second, second_classes(labels, 10, seed=1))
    assert (second_classes(labels % 2, 2, seed=0) == 1 - labels % 2).all()


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("classes", [3, 10])
def test_every_target_is_a_distribution(kind, classes):
    labels = torch.arange(50) % classes
    second = second_classes(labels, classes, seed=0)
    targets = TARGETS[kind](labels, second, classes)
    assert targets.shape == (50, classes) and targets.is_floating_point()
    assert targets.min() >= 0
    torch.testing.assert_close(targets.sum(1), torch.ones(50))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mixture", [0, 0.9, 0, 0, 0.1]),
        ("swapped", [0, 0.1, 0, 0, 0.9]),
        ("two", [0, 0.5, 0, 0, 0.5]),
        ("three", [1 / 3, 1 / 3, 0, 0, 1 / 3]),
        ("uniform", [0.2] * 5),
        ("simplex", [0, 1, 0, 0, 0]),
    ],
)
def test_targets_of_one_image(kind, expected):
    """An image of class 1 with class 4 as its second, of five classes."""
    (target,) = TARGETS[kind](torch.tensor([1]), torch.tensor([4]), 5)
    assert target.tolist() == pytest.approx(expected)


def test_three_classes_are_three_even_where_the_third_would_be_the_first():
    (target,) = TARGETS["three"](torch.tensor([1]), torch.tensor([0]), 5)
    assert target.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0])


def test_random_targets_are_uniform_over_all_distributions():
    """Of ten classes each has mean 1/10 and variance 9 / (100 * 11), as Dirichlet(1) has."""
    labels = torch.zeros(4000, dtype=torch.long)
    targets = TARGETS["random"](labels, labels + 1, 10)
    torch.testing.assert_close(targets.mean(0), torch.full((10,), 0.1), rtol=0, atol=0.01)
    variance = torch.full((10,), 9 / 1100)
    torch.testing.assert_close(targets.var(0), variance, rtol=0.15, atol=0)


def test_the_simplex_is_covered_once():
    grid = simplex_grid()
    assert len({tuple(point) for point in grid.tolist()}) == len(grid) == 9 * 10 / 2
    assert torch.equal(grid.sum(1), torch.ones(45)) and grid.min() == 0 and grid.max() == 1
    labels = torch.arange(90) % 10
    targets = TARGETS["simplex"](labels, labels, 10)
    for n in (0, 8, 44, 45, 89):  # classes 9 and 8 go on with 0
        place = [(n + i) % 10 for i in range(3)]
        assert torch.equal(targets[n, place], grid[n % 45])


@pytest.mark.parametrize(
    ("target", "output", "expected"),
    [
        ((0.9, 0.1, 0, 0), (0.6, 0.2, 0.1, 0.1), True),
        ((0.9, 0.1, 0, 0), (0.2, 0.6, 0.1, 0.1), False),
        ((0.9, 0.1, 0, 0), (0.6, 0.1, 0.2, 0.1), False),
        ((0.9, 0.1, 0, 0), (0.6, 0.25, 0.05, 0.1), True),  # the rest may come as it likes
        ((0, 0.5, 0, 0.5), (0.1, 0.3, 0.2, 0.4), True),  # a tie may come either way
        ((0, 0.5, 0, 0.5), (0.1, 0.4, 0.2, 0.3), True),
        ((0, 0.5, 0, 0.5), (0.3, 0.4, 0.2, 0.1), False),
        ((0.2, 0.2, 0.6, 0), (0.05, 0.3, 0.5, 0.15), False),
        ((0.2, 0.2, 0.6, 0), (0.2, 0.3, 0.45, 0.05), True),
        ((0.2, 0.2, 0.6, 0), (0.2, 0.45, 0.3, 0.05), False),
        ((0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.3, 0.4), True),
        ((0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4), True),
        ((0.1, 0.2, 0.3, 0.4), (0.2, 0.1, 0.3, 0.4), False),
    ],
)
def test_in_order_by_hand(target, output, expected):
    assert in_order(torch.tensor([target]), torch.tensor([output])).tolist() == [expected]


def test_every_measure_has_one_value_an_image(context):
    trial = synthesis(observers=(OTHER,))
    metrics, done = run_synthesis(trial, context), synthesize_images(trial, context)
    single = ("images_per_second",)
    curves = {"curve": 5, "spectrum": 24, "image_spectrum": 24}  # 22.6 bins to the corner
    for name, values in metrics.items():
        if name not in single:
            assert len(values) == curves.get(name, 7), name
    per_image = {"start_kl", "kl", "largest_error", "in_order", "rms", "local", "steps_to"}
    assert per_image <= metrics.keys() and metrics["images_per_second"] > 0

    before = load_labelled("digits", train=60, test=30).test_images[:7].float() / 255
    assert torch.equal(done.before, before)
    torch.testing.assert_close(done.start, before.clamp(1 / 512, 511 / 512))
    for model, prefix in ((TINY, ""), (OTHER, "resnet20-2 1: ")):
        for name, images in ((f"{prefix}start_kl", before), (f"{prefix}kl", done.after)):
            p = softmax(predict(load_classifier(model, context), images).numpy(), 1)
            expected = rel_entr(done.targets.numpy(), p).sum(1)
            np.testing.assert_allclose(metrics[name], expected, rtol=1e-3, atol=1e-6)
    error = (done.outputs - done.targets).abs().max(1).values
    np.testing.assert_allclose(metrics["largest_error"], error, rtol=1e-4)
    rms = (done.after - done.start).square().mean((1, 2, 3)).sqrt()
    np.testing.assert_allclose(metrics["rms"], rms, rtol=1e-4)
    assert rms.min() > 1e-3
    np.testing.assert_allclose(metrics["curve"][-1], np.mean(metrics["kl"]), rtol=1e-3)
    assert np.mean(metrics["kl"]) < np.mean(metrics["start_kl"])


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_attacks_go_towards_their_target_inside_their_ball(kind, hard, context):
    trial = synthesis(targets="two", method=Attack(kind, hard=hard, steps=5, radius=0.02))
    metrics, done = run_synthesis(trial, context), synthesize_images(trial, context)
    assert metrics["curve"] == metrics["steps_to"] == []
    assert len(metrics["kl"]) == 7 and max(metrics["largest"]) <= 0.02 + 1e-6
    assert torch.equal(done.start, done.before)
    second = second_classes(labelled_images(TINY, context).test_labels[:7], 10, trial.seed)
    rows, one_hot = torch.arange(7), torch.eye(10)[second]
    np.testing.assert_allclose(done.targets[rows, second], 0.5)  # measured on what was wanted
    hard_one, soft_one = (
        attacked(load_classifier(TINY, context), done.before, aim, trial.method)
        for aim in (one_hot, done.targets)
    )
    assert torch.equal(done.after, hard_one if hard else soft_one)
    assert not torch.equal(hard_one, soft_one)


def test_the_same_trial_gives_the_same_numbers(context):
    first, second, other = (
        run_synthesis(trial, context) for trial in (synthesis(), synthesis(), synthesis(seed=1))
    )
    for metrics in (first, second, other):
        metrics.pop("images_per_second")
    assert first == second != other


@pytest.mark.parametrize("images", [0, 31])
def test_more_images_than_there_are_are_refused(images, context):
    with pytest.raises(ValueError, match=rf"in 1\.\.30, not {images}"):
        run_synthesis(synthesis(images=images), context)


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"'mixture'.*'simplex'\), not 'onehot'"):
        synthesis(targets="onehot")
