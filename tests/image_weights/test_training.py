"""Notebook 05's training on generated images: which image, which label, which loss."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from lib.data.labelled import load_labelled
from lib.engine.sweep import Context
from lib.image_weights import classifiers
from lib.image_weights import trials as study
from lib.image_weights.classifiers import ClassifierTrial, load_classifier
from lib.image_weights.layer import Recipe
from lib.image_weights.trials import (
    ARMS,
    GeneratedTrial,
    StudentTrial,
    generated_images,
    run_generation,
    run_student,
)

STUDENT = ClassifierTrial(
    dataset="digits",
    train=60,
    test=30,
    architecture="vgg5",
    width=2,
    epochs=1,
    batch=20,
    lr=0.05,
    flip=False,
)
TEACHER = replace(STUDENT, seed=1000)
FAR = Recipe(lr=50.0, momentum=0.9, steps=5)  # a teacher this small hardly cares for its input
GENERATED = GeneratedTrial(teacher=TEACHER, train=60, share=0.5, recipe=FAR)
DATA = load_labelled("digits", train=60, test=30)
CHANGED, KEPT = 4, 40  # an image of the first 30 %, and one that is not


def student(arm: str, **changes) -> StudentTrial:
    values = {"student": STUDENT, "generated": GENERATED, "arm": arm, "share": 0.3}
    return StudentTrial(**values | ({"share": 0.0} if arm == "original" else {}) | changes)


def watch(trial: StudentTrial, context: Context) -> SimpleNamespace:
    """Run a trial; what its training was given, and its metrics."""
    seen = SimpleNamespace()
    fit, train = classifiers.fit, classifiers.train

    def watch_fit(trial, images, loss, context):
        seen.images, seen.loss = images, loss
        return fit(trial, images, loss, context)

    def watch_train(model, loss, batches, **options):
        seen.initial = {name: value.clone() for name, value in model.state_dict().items()}
        seen.batches = [batches(step) for step in range(options["steps"])]
        return train(model, loss, batches, **options)

    generated_images(trial.generated, context)  # the teacher's training is not to be seen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "fit", watch_fit)
        patch.setattr(classifiers, "train", watch_train)
        seen.metrics = run_student(trial, context)
    return seen


class Fixed(nn.Module):
    """Answers with given logits and keeps the images it was shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images):
        self.images = images
        return self.logits


def two_images(trial: StudentTrial, context: Context) -> tuple:
    """Loss of a batch of a kept and a changed image; log-softmax, the model, the images."""
    rng = torch.Generator().manual_seed(3)
    model = Fixed(torch.randn(2, 10, generator=rng))
    index, images = torch.tensor([KEPT, CHANGED]), torch.rand(2, 3, 32, 32, generator=rng)
    loss = watch(trial, context).loss(model, index, images)
    return float(loss), log_softmax(model.logits.double().numpy(), 1), model, images


def teacher_says(images: torch.Tensor, context: Context) -> np.ndarray:
    with torch.no_grad():
        return softmax(load_classifier(TEACHER, context)(images).double().numpy(), 1)


def by_hand(log_p: np.ndarray, q: np.ndarray | None, reverse: bool = False) -> float:
    """Eq. 9: cross entropy on the kept image; on the changed one half of it, half divergence."""
    kept, changed = -log_p[[0, 1], DATA.train_labels[[KEPT, CHANGED]].numpy()]
    if q is not None:
        p = np.exp(log_p[1])
        between = rel_entr(p, q).sum() if reverse else rel_entr(q, p).sum()
        changed = 0.5 * between + 0.5 * changed
    return (kept + changed) / 2


def test_generated_images_come_with_what_the_teacher_says_to_them(context):
    made = generated_images(GENERATED, context)
    assert made["images"].shape == (30, 3, 32, 32) and made["images"].dtype == torch.uint8
    said = teacher_says(made["images"].float() / 255, context)
    np.testing.assert_allclose(made["outputs"], said, atol=1e-6)
    labels = DATA.train_labels[:30]
    rows = torch.arange(30)
    np.testing.assert_allclose(made["targets"][rows, labels], 0.9)
    np.testing.assert_allclose(made["targets"].sort(1).values[:, -2], 0.1)
    np.testing.assert_allclose(made["targets"].sum(1), 1, atol=1e-6)
    before = teacher_says(DATA.train_images[:30].float() / 255, context)
    far, near = (rel_entr(made["targets"].numpy(), p).sum(1).mean() for p in (before, said))
    assert near < 0.9 * far
    np.testing.assert_allclose(made["unrounded"], said, atol=0.05)


def test_a_smaller_share_is_a_beginning_of_a_larger_one(context):
    few = generated_images(replace(GENERATED, share=0.2), context)
    many = generated_images(GENERATED, context)
    assert len(few["images"]) == 12
    assert torch.equal(few["targets"], many["targets"][:12])
    torch.testing.assert_close(few["outputs"], many["outputs"][:12], rtol=0, atol=0.01)
    other = generated_images(replace(GENERATED, seed=1), context)
    assert not torch.equal(other["targets"], many["targets"])


def test_a_teacher_may_have_seen_other_images_than_the_student(context):
    """The set is made from the first images of ``train``, whatever the teacher was trained on."""
    few = replace(GENERATED, train=20)
    made = generated_images(few, context)
    assert len(made["images"]) == 10
    torch.testing.assert_close(
        made["outputs"].double().numpy(),
        teacher_says(made["images"].float() / 255, context),
        rtol=0,
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="must be those of the student's training images"):
        student("generated", generated=few)


def test_the_generation_is_measured(context):
    metrics, made = run_generation(GENERATED, context), generated_images(GENERATED, context)
    assert metrics["count"] == 30
    targets = made["targets"].numpy()
    reached = rel_entr(targets, made["unrounded"].numpy()).sum(1)
    rounded = rel_entr(targets, made["outputs"].numpy()).sum(1)
    assert metrics["kl"] == pytest.approx(reached.mean(), rel=1e-3)
    assert metrics["kl_of_bytes"] == pytest.approx(rounded.mean(), rel=1e-3)
    assert metrics["reached"] == pytest.approx((reached <= 0.01).mean())
    originals = DATA.train_images[:30].float() / 255
    before = rel_entr(targets, teacher_says(originals, context)).sum(1)
    assert metrics["kl_before"] == pytest.approx(before.mean(), rel=1e-3)
    assert metrics["reached_before"] == pytest.approx((before <= 0.01).mean())
    change = made["images"].float() / 255 - originals
    assert metrics["rms"] == pytest.approx(
        change.square().mean((1, 2, 3)).sqrt().mean().item(), rel=1e-4
    )
    for name, errors in (("generated", "label_errors"), ("original", "original_errors")):
        assert len(metrics[errors]) == 30
        assert metrics[f"moved_{name}"] == pytest.approx(np.mean(metrics[errors]), rel=1e-5)
        assert metrics[f"moved_{name}"] > 0


def test_label_errors_are_between_an_image_and_itself_moved(context, monkeypatch):
    """Without a move there is none; with all moved alike it is worked out by hand."""
    teacher, images = load_classifier(TEACHER, context), DATA.train_images[:6]

    class Moved:
        def __init__(self, images, **_):
            self.images = images

        def __len__(self):
            return 2

        def __call__(self, step):
            index = torch.tensor([[5, 0, 3], [1, 4, 2]][step])
            return index, (self.images[index].float() / 255).roll(shift, 3)

    monkeypatch.setattr(study, "Epochs", Moved)
    plain = teacher_says(images.float() / 255, context)
    for shift in (0, 3):
        moved = teacher_says((images.float() / 255).roll(shift, 3), context)
        expected = rel_entr(plain, moved).sum(1)
        found = study.label_errors(GENERATED, teacher, images)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-6)
    assert expected.max() > 1e-4


@pytest.mark.parametrize("arm", ARMS)
def test_the_beginning_of_the_set_is_replaced_and_nothing_else(arm, context):
    seen = watch(student(arm), context)
    differs = (seen.images != DATA.train_images).flatten(1).any(1)
    replaced = 18 if arm in ("generated", "hard label") else 0
    assert torch.equal(differs, torch.arange(60) < replaced)
    if replaced:
        assert torch.equal(seen.images[:18], generated_images(GENERATED, context)["images"][:18])
    assert all(np.isfinite(value) for value in seen.metrics.values())
    assert {"accuracy", "cross_entropy"} <= seen.metrics.keys()


def test_the_training_set_that_others_use_is_not_written_into(context):
    before = DATA.train_images.clone()
    for arm in ("generated", "regenerated"):
        run_student(student(arm), context)
    assert torch.equal(load_labelled("digits", train=60, test=30).train_images, before)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("arm", ["hard label", "generated", "soft label"])
def test_labels_of_a_changed_image(arm, direction, context):
    """It is what the teacher said to the image as it was made, not as it is augmented."""
    loss, log_p, model, images = two_images(student(arm, direction=direction), context)
    q = generated_images(GENERATED, context)["outputs"][CHANGED].double().numpy()
    expected = [by_hand(log_p, q, reverse) for reverse in (False, True)]
    if arm == "hard label":
        expected = [by_hand(log_p, None)] * 2
    assert loss == pytest.approx(expected[direction == "reverse"], rel=1e-5)
    if arm != "hard label":
        assert loss != pytest.approx(expected[direction != "reverse"], rel=1e-3)
    assert torch.equal(model.images, images)


def test_regeneration_starts_at_the_augmented_image(context):
    loss, log_p, model, images = two_images(student("regenerated"), context)
    assert torch.equal(model.images[0], images[0])
    assert (model.images[1] - images[1]).abs().max() > 1e-3
    q = teacher_says(model.images, context)[1]
    assert loss == pytest.approx(by_hand(log_p, q), rel=1e-5)
    target = generated_images(GENERATED, context)["targets"][CHANGED].numpy()
    start = teacher_says(images, context)[1]
    assert rel_entr(target, q).sum() < rel_entr(target, start).sum()
    none = replace(GENERATED, recipe=replace(FAR, steps=0))
    _, _, unchanged, _ = two_images(student("regenerated", generated=none), context)
    torch.testing.assert_close(unchanged.images, images.clamp(0, 1), rtol=0, atol=1 / 512 + 1e-6)


@pytest.mark.parametrize("arm", ["original", "generated"])
def test_on_originals_equation_9_is_the_cross_entropy(arm, context):
    """Half KL(t || p) and half cross entropy, with a one-hot t."""
    model = Fixed(torch.randn(3, 10, generator=torch.Generator().manual_seed(0)))
    index = torch.tensor([20, 59, 33])
    loss = watch(student(arm), context).loss(model, index, torch.rand(3, 3, 32, 32))
    p = softmax(model.logits.double().numpy(), 1)
    labels = DATA.train_labels[index].numpy()
    one_hot = np.eye(10)[labels]
    entropy = -np.log(p[np.arange(3), labels])
    expected = (0.5 * rel_entr(one_hot, p).sum(1) + 0.5 * entropy).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("arm", ["hard label", "generated", "soft label", "regenerated"])
def test_runs_of_one_seed_are_paired(arm, context):
    """The same start, the same order, the same moves; of the images that are kept, all alike."""
    first, second = watch(student("original"), context), watch(student(arm), context)
    assert first.initial.keys() == second.initial.keys()
    assert all(torch.equal(first.initial[name], second.initial[name]) for name in first.initial)
    assert len(first.batches) == len(second.batches) == 3
    for (index, images), (again, others) in zip(first.batches, second.batches, strict=True):
        assert torch.equal(index, again)
        assert torch.equal(images[index >= 18], others[index >= 18])
    order = torch.cat([index for index, _ in first.batches])
    assert sorted(order.tolist()) == list(range(60)) != order.tolist()


def test_a_run_can_be_repeated(context):
    assert run_student(student("generated"), context) == run_student(student("generated"), context)


def test_a_teacher_trained_on_the_way_leaves_the_student_alone(tmp_path, context, monkeypatch):
    expected = run_student(student("soft label"), context)
    train = classifiers.train
    monkeypatch.setattr(
        classifiers, "train", lambda *args, **given: train(*args, **given, checkpoint_every=1)
    )
    alone = Context(torch.device("cpu"), tmp_path / "trial.checkpoint", artefacts=tmp_path)
    assert run_student(student("soft label"), alone) == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"arm": "mixup"}, "'original'.*'mixup'"),
        ({"arm": "generated", "direction": "sideways"}, "'reverse'.*'sideways'"),
        ({"arm": "generated", "share": 0.6}, r"in \[0, 0\.5\], not 0\.6"),
        ({"arm": "generated", "share": -0.1}, r"not -0\.1"),
        ({"arm": "generated", "share": float("nan")}, "not nan"),
        ({"arm": "original", "share": 0.3}, r"'original' does not go with a share of 0\.3"),
        ({"arm": "generated", "share": 0.0}, r"'generated' does not go with a share of 0\.0"),
    ],
)
def test_bad_trials_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        student(**changes)
