"""Does training get better when some images are replaced by generated ones?

Section 3 of the paper, with the controls that tell the images from their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    score,
)
from lib.image_weights.layer import Recipe, kl, reverse_kl, synthesize
from lib.image_weights.synthesis import TOLERANCE, kl_to, mixture, rounded, second_classes

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

    label_errors and original_errors are image by image.
    """
    made = generated_images(trial, context)
    teacher, data = load_classifier(trial.teacher, context), labelled_images(trial.teacher, context)
    originals = data.train_images[: len(made["images"])]
    reached = kl_to(made["targets"], made["unrounded"])
    errors = label_errors(trial, teacher, made["images"])
    original_errors = label_errors(trial, teacher, originals)
    return {
        "count": len(originals),
        "kl": float(reached.mean()),
        "kl_of_bytes": float(kl_to(made["targets"], made["outputs"]).mean()),
        "reached": float((reached <= TOLERANCE).double().mean()),
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
    model, train_loss = fit(trial.student, images, loss, context)
    scores = score(predict(model, data.test_images), data.test_labels)
    return {**scores, "train_loss": train_loss, "replaced": count}


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
