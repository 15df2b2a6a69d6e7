"""Notebook 01's five tasks: colours, losses and scores against ones worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax
from skimage.metrics import structural_similarity
from tiny_stream import STREAM
from torch import Tensor
from torch.nn.functional import one_hot

from lib.continual import tasks
from lib.continual.losses import PerceptualLoss, feature_network
from lib.continual.tasks import (
    Colour,
    Segmentation,
    Style,
    Task,
    chroma,
    evaluate,
    luma,
    optimised,
    palette,
    run_gatys,
    run_trivial,
    ssim,
    stream_task,
    to_rgb,
)
from lib.continual.trials import TASKS, GatysTrial, TrivialTrial
from lib.data.images import load_images
from lib.data.segmented import Segmented, load_segmented
from lib.engine.sweep import Context, trial_key

# as the development kit of the VOC challenge gives it
VOC_COLOURS = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128),
    (0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0),
    (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0),
    (0, 192, 0), (128, 192, 0), (0, 64, 128),
)  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


def made_up(kind: str, images: Tensor, labels: Tensor, classes: int = 5) -> Task:
    """A task on uint8 images (N, 3, H, W) and label maps of one's own, as its test set."""
    names = ("background", *map(str, range(1, classes)))
    data = Segmented(images, labels.to(torch.uint8), names, tuple(map(str, range(len(images)))), 0)
    if kind == "style":
        return Style(4, data, data, palette(classes), reference(4))
    kinds = {"segmentation": Segmentation, "colour": Colour}
    return kinds[kind](1, data, data, palette(classes))


def label_maps(count: int, classes: tuple[int, ...], seed: int, size: int = 8) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.tensor(classes)[
        torch.randint(len(classes), (count, size, size), generator=rng)
    ].long()


def carrying(labels: Tensor) -> Tensor:
    """Images whose red is the label, so that a network can be made that answers with it."""
    return labels[:, None].repeat(1, 3, 1, 1).to(torch.uint8)


def reader(classes: int):
    return lambda x: one_hot((255 * x[:, 0]).round().long(), classes).movedim(-1, 1).float()


def photographs(count: int = 3, size: int = 24) -> Tensor:
    names = "photos:astronaut,chelsea,coffee,retina"
    return load_images(names, size=size, channels=3)[1][:count]


def pillow(images: Tensor, mode: str) -> np.ndarray:
    """(N, H, W, ...) of uint8 images, converted by PIL."""
    pictures = [Image.fromarray(each.permute(1, 2, 0).numpy()).convert(mode) for each in images]
    return np.stack([np.asarray(each, np.float32) for each in pictures])


def test_the_palette_is_vocs():
    assert tuple(map(tuple, (255 * palette(21)).round().int().tolist())) == VOC_COLOURS


def test_miou_is_that_of_a_confusion_matrix_counted_by_hand():
    """Of 0..4, class 3 is nowhere and 4 only found: the mean is over the three of the truth.

    40 images are more than one batch.
    """
    labels, found = label_maps(40, (0, 0, 1, 2, 255), 0), label_maps(40, (0, 1, 2, 2, 4), 1)
    matrix = np.zeros((5, 5))
    for truth, answer in zip(labels.flatten().tolist(), found.flatten().tolist(), strict=True):
        if truth != 255:
            matrix[truth, answer] += 1
    common = matrix.diagonal()
    together = matrix.sum(0) + matrix.sum(1) - common
    assert together[3] == 0 and matrix[4].sum() == 0 < matrix[:, 4].sum()
    expected = 100 * (common[:3] / together[:3]).mean()
    metrics = evaluate(made_up("segmentation", carrying(found), labels), reader(5))
    assert metrics["miou"] == pytest.approx(expected, rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(100 * common.sum() / matrix.sum())


def test_the_majority_class_by_hand():
    """Ten of 14 labelled pixels: an intersection over union of 10 / 14, and one of 0."""
    labels = torch.tensor([3] * 10 + [1] * 4 + [255] * 2).view(1, 4, 4)
    each = made_up("segmentation", torch.zeros(1, 3, 4, 4, dtype=torch.uint8), labels)
    metrics = scored_answers(each)["majority class"]
    assert metrics == pytest.approx({"miou": 100 * 10 / 14 / 2, "accuracy": 100 * 10 / 14})


def test_mse_is_in_levels_of_255_by_hand():
    """JPEG's Cb and Cr of pure red are 43.03 levels below and 127.5 above grey."""
    grey, labels = torch.full((2, 3, 12, 12), 90, dtype=torch.uint8), torch.zeros(2, 12, 12)
    off = torch.tensor([3.0, -1.0])[:, None, None] / 255
    metrics = evaluate(made_up("colour", grey, labels), lambda x: off.expand(len(x), -1, 12, 12))
    assert metrics["mse"] == pytest.approx((3**2 + 1**2) / 2, rel=1e-4)
    red = torch.zeros_like(grey)
    red[:, 0] = 255
    nothing = scored_answers(made_up("colour", red, labels))["grey picture"]
    assert nothing["mse"] == pytest.approx((43.028**2 + 127.5**2) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", ["segmentation", "colour", "style"])
@pytest.mark.parametrize("rgb", [False, True])
def test_numbers_do_not_depend_on_the_batches(kind, rgb, monkeypatch):
    """Of five images in one, and in three with the last one smaller."""
    images, labels = photographs(3, 16).repeat(2, 1, 1, 1)[:5], label_maps(5, (0, 1, 4, 255), 0, 16)
    each, other = made_up(kind, images, labels), photographs(2, 16).float() / 255
    options = {"rgb": rgb, "optimised": other if kind == "style" else None}
    channels = 3 if rgb else each.channels

    def answer(inputs: Tensor) -> Tensor:
        return inputs.sin().repeat(1, 2, 1, 1)[:, :channels]

    whole = evaluate(each, answer, **options)
    seen = []
    monkeypatch.setattr(tasks, "EVALUATION_BATCH", 2)
    parts = evaluate(each, lambda inputs: (seen.append(len(inputs)), answer(inputs))[1], **options)
    assert seen == [2, 2, 1]
    assert parts == pytest.approx(whole, rel=1e-4) and len(whole) >= 2


def test_the_outputs_of_a_whole_test_set_are_never_held(monkeypatch):
    """Of 81 classes at 64 px one batch of two is 2.7 MB; twenty of them are not kept."""
    import weakref

    labels = torch.zeros(40, 64, 64)
    each = made_up("segmentation", torch.zeros(40, 3, 64, 64, dtype=torch.uint8), labels, 81)
    monkeypatch.setattr(tasks, "EVALUATION_BATCH", 2)
    outputs, most = [], 0

    def answer(inputs: Tensor) -> Tensor:
        nonlocal most
        output = torch.zeros(len(inputs), 81, 64, 64)
        outputs.append(weakref.ref(output))
        most = max(most, sum(reference() is not None for reference in outputs))
        return output

    assert evaluate(each, answer)["miou"] == 100
    assert len(outputs) == 20 and most <= 2


def test_ssim_is_scikit_images():
    """Which leaves out five pixels at each border; ours continues the image there by its mirror.

    On images continued that way both are the mean over the same windows, to 32 bits of accuracy.
    """
    a = photographs().float() / 255
    b = (a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    b[2] = a[2].flip(1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    wider = (
        np.pad(each.double().numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), "reflect")
        for each in (a, b)
    )
    expected = [
        structural_similarity(x, y, data_range=1, channel_axis=0, **options)
        for x, y in zip(*wider, strict=True)
    ]
    assert ssim(a, b) == pytest.approx(np.mean(expected), abs=1e-5)
    assert max(expected) - min(expected) > 0.1


@pytest.mark.parametrize("classes", [21, 81])
def test_a_painted_label_map_is_read_back(classes):
    labels = torch.arange(100).view(1, 10, 10) % classes
    labels[0, 0, :3] = 255
    each = made_up("segmentation", carrying(labels), labels, classes)
    painted = each.target_image(torch.rand(1, 3, 10, 10), labels)
    seen, found = labels != 255, each.colour_scores(painted).argmax(1)
    assert torch.equal(found[seen], labels[seen])
    assert (painted.movedim(1, -1)[~seen] == 0).all()
    noise = 0.03 * (2 * torch.rand(painted.shape) - 1)  # half of the least distance is 0.063
    assert torch.equal(each.colour_scores(painted + noise).argmax(1)[seen], labels[seen])
    metrics = evaluate(each, lambda _: painted, rgb=True)
    assert metrics == pytest.approx({"miou": 100, "accuracy": 100})


def segmentation_loss(each: Task, kind: str, output: Tensor, labels: Tensor) -> Tensor:
    if kind == "last layer":
        return each.loss(output, torch.zeros(len(labels), 3, 8, 8), labels)
    return each.image_loss(kind, output, torch.zeros(len(labels), 3, 8, 8), labels)


@pytest.mark.parametrize("kind", ["last layer", "ce", "l1", "l2"])
def test_segmentation_losses_by_hand(kind):
    """Cross entropy: mean over the labelled pixels; distances: over all, 0 at borders."""
    labels = label_maps(2, (0, 1, 4, 255), 0)
    each = made_up("segmentation", carrying(labels), labels)
    channels = 5 if kind == "last layer" else 3
    output = torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    colours = np.array(VOC_COLOURS[:5]) / 255
    terms, ignored = [], 0
    for pixel, label in zip(
        output.movedim(1, -1).reshape(-1, channels), labels.view(-1), strict=True
    ):
        values = pixel.double().numpy()
        if label == 255:
            ignored += 1
        elif kind in ("l1", "l2"):
            terms.append((np.abs(values - colours[label]) ** int(kind[1])).mean())
        else:
            distances = np.sqrt(((values - colours) ** 2).sum(1)) if kind == "ce" else None
            terms.append(-log_softmax(values if kind == "last layer" else -20 * distances)[label])
    expected = sum(terms) / (len(terms) + (ignored if kind in ("l1", "l2") else 0))
    assert ignored > 10
    found = segmentation_loss(each, kind, output, labels)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_grey_input_carries_no_colour(context):
    """PIL's grey is rounded to bytes. Both colours below are of the luma 0.299 * 200."""
    each, images = stream_task(STREAM, 3, context), photographs()
    grey = each.inputs(images.float() / 255)
    assert grey.shape == images.shape
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    np.testing.assert_allclose(255 * grey[:, 0], pillow(images, "L"), atol=1)
    red = torch.tensor([200.0, 0, 0]).view(1, 3, 1, 1) / 255
    green = torch.tensor([0, 0.299 * 200 / 0.587, 0]).view(1, 3, 1, 1) / 255
    torch.testing.assert_close(each.inputs(red), each.inputs(green))
    for number in (1, 2, 4, 5):
        assert stream_task(STREAM, number, context).inputs(red) is red


def test_tasks_have_the_papers_data_and_outputs(context):
    channels = {1: 11, 2: 6, 3: 2, 4: 3, 5: 3}
    uneven = replace(STREAM, train=(5, 9))
    trained = [len(stream_task(uneven, number, context).train.images) for number in TASKS]
    assert trained == [5, 9, 5, 5, 5]
    for number in TASKS:
        each = stream_task(STREAM, number, context)
        domain = "scenes_b" if number == 2 else "scenes_a"
        for split, count in (("train", 12), ("test", 6)):
            data, expected = getattr(each, split), load_segmented(domain, split, size=16, count=12)
            assert torch.equal(data.images, expected.images[:count])
            assert torch.equal(data.labels, expected.labels[:count])
        assert (each.number, each.channels) == (number, channels[number])
        assert stream_task(STREAM, number, context) is each


def test_losses_are_in_their_units(context):
    """1 for cross entropy (as by hand above), 0.01 for colour, 1e5 for style."""
    images = photographs(2, 16).float() / 255
    labels = torch.zeros(2, 16, 16).long()
    without = images.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    colour = stream_task(STREAM, 3, context).loss(torch.full((2, 2, 16, 16), 0.3), without, labels)
    assert float(colour) == pytest.approx(0.3**2 / 0.01, rel=1e-4)
    style = stream_task(STREAM, 4, context)
    scores = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    total = reference(4)(1 / (1 + (-scores).exp()), images).total.mean()
    assert float(style.loss(scores, images, labels)) == pytest.approx(float(total) / 1e5, rel=1e-4)
    # an RGB output is the picture already
    for kind in ("l2", "ce"):
        found = style.image_loss(kind, scores.sigmoid(), images, labels)
        assert float(found) == pytest.approx(float(total) / 1e5, rel=1e-4)
    squared = stream_task(STREAM, 3, context).image_loss("l2", images + 0.1, images, labels)
    assert float(squared) == pytest.approx(0.01, rel=1e-4)


def reference(number: int) -> PerceptualLoss:
    """Of task 4 or 5, with the quick profile's weights and pictures."""
    _, style = load_images({4: "photos:brick", 5: "photos:ihc"}[number], size=16, channels=3)
    weights = {"content_weight": 4e6, "style_weight": 2.1e9}
    return PerceptualLoss(feature_network("random"), style[0] / 255, **weights)


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("rgb", [False, True])
def test_the_style_score_is_the_perceptual_loss(number, rgb, context, monkeypatch):
    monkeypatch.setattr(tasks, "EVALUATION_BATCH", 4)  # of six images
    each = stream_task(STREAM, number, context)
    metrics = evaluate(each, lambda x: 2 * x - 0.5, rgb=rgb)
    images = each.test.images.float() / 255
    output = (2 * images - 0.5).clamp(0, 1) if rgb else (2 * images - 0.5).sigmoid()
    losses = reference(number)(output, images)
    for name in ("total", "content", "style"):
        assert metrics[name] == pytest.approx(float(getattr(losses, name).mean()), rel=1e-4)
    weighted = 4e6 * metrics["content"] + 2.1e9 * metrics["style"]
    assert metrics["total"] == pytest.approx(weighted, rel=1e-4)
    assert metrics["ssim_content"] == pytest.approx(ssim(output, images), abs=1e-5)


def test_an_rgb_output_is_scored_with_the_inputs_luma_and_as_it_is():
    """Lighter everywhere: the chroma of before."""
    images = (64 + photographs() // 2).to(torch.uint8)
    lighter = images.float() / 255 + 0.2 * torch.rand(3, 1, 24, 24)
    metrics = evaluate(
        made_up("colour", images, torch.zeros(3, 24, 24)), lambda _: lighter, rgb=True
    )
    assert metrics["mse"] == pytest.approx(0, abs=1e-4)
    assert metrics["ssim"] == pytest.approx(1, abs=1e-4)
    assert metrics["ssim_rgb"] == pytest.approx(ssim(lighter, images / 255), abs=1e-5)
    assert metrics["ssim_rgb"] < 0.9


def scored_answers(each: Task) -> dict[str, dict[str, float]]:
    rgb = isinstance(each, Style)
    return {name: evaluate(each, forward, rgb=rgb) for name, forward in each.answers().items()}


def test_colourless_and_the_mean_colour_by_hand():
    images = photographs()
    answers = scored_answers(made_up("colour", images, torch.zeros(3, 24, 24)))
    levels = pillow(images, "YCbCr")[..., 1:] - 128
    mean = levels.mean((0, 1, 2))
    assert answers["grey picture"]["mse"] == pytest.approx((levels**2).mean(), rel=0.02)
    assert answers["mean chroma"]["mse"] == pytest.approx(((levels - mean) ** 2).mean(), rel=0.02)
    grey = torch.from_numpy(pillow(images, "L"))[:, None].repeat(1, 3, 1, 1) / 255
    assert answers["grey picture"]["ssim"] == pytest.approx(ssim(grey, images / 255), abs=1e-3)
    assert answers["grey picture"]["ssim"] < 0.99


def test_untouched_photograph_style_picture_and_blank_by_hand(context):
    answers = run_trivial(TrivialTrial(STREAM, 5), context)["answers"]
    rgb = stream_task(STREAM, 5, context).test.images.float() / 255
    _, style = load_images("photos:ihc", size=16, channels=3)
    shown = {
        "untouched photograph": rgb,
        "style picture": (style / 255).expand(len(rgb), -1, -1, -1),
        "blank picture": (style / 255).mean((2, 3), keepdim=True).expand(len(rgb), -1, 16, 16),
    }
    assert answers.keys() == shown.keys()
    pictures = optimised(STREAM, 5, context)
    for name, output in shown.items():
        expected = reference(5)(output, rgb)
        for part in ("total", "content", "style"):
            found, wanted = answers[name][part], float(getattr(expected, part).mean())
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-9)
        assert answers[name]["ssim_content"] == pytest.approx(ssim(output, rgb), abs=1e-5)
        assert answers[name]["ssim"] == pytest.approx(ssim(output[:2], pictures), abs=1e-5)
    assert answers["style picture"]["style"] == pytest.approx(0, abs=1e-9)


def test_a_small_style_picture_is_pasted_into_the_corner(context):
    each = stream_task(STREAM, 4, context)
    wide = torch.rand(2, 3, 16, 20)
    pasted = each.answers()["style picture"](wide)
    assert torch.equal(pasted[..., :16], each.perceptual.style.expand(2, -1, -1, -1))
    assert torch.equal(pasted[..., 16:], wide[..., 16:])


def test_pictures_to_look_at():
    labels = label_maps(1, (0, 1, 2), 0)
    each = made_up("segmentation", carrying(labels), labels)
    scores, painted = one_hot(labels, 5).movedim(-1, 1), each.target_image(None, labels)
    assert torch.equal(each.picture(scores, None, rgb=False), painted)
    assert torch.equal(each.picture(painted + 0.05, None, rgb=True), painted)
    images = photographs(1).float() / 255
    colour = made_up("colour", photographs(1), torch.zeros(1, 24, 24))
    grey = colour.picture(torch.zeros(1, 2, 24, 24), images, rgb=False)
    torch.testing.assert_close(grey, colour.inputs(images))
    style = made_up("style", photographs(1), torch.zeros(1, 24, 24))
    torch.testing.assert_close(style.picture(images.logit(), images, rgb=False), images)
    for each in (colour, style):
        assert torch.equal(each.picture(images + 2, images, rgb=True), torch.ones_like(images))


@pytest.mark.parametrize("number", TASKS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_is_refused(number, value, context):
    def broken(x: Tensor) -> Tensor:
        output = torch.zeros(len(x), each.channels, *x.shape[2:])
        output[-1, -1, -1, -1] = value
        return output

    each = stream_task(STREAM, number, context)
    with pytest.raises(ArithmeticError, match=f"task {number}: .*not finite"):
        evaluate(each, broken)


@pytest.mark.parametrize("number", [0, 6, "4"])
def test_an_unknown_task_is_refused(number, context):
    with pytest.raises(ValueError, match=rf"\(1, 2, 3, 4, 5\), not {number!r}"):
        stream_task(STREAM, number, context)


def test_optimised_pictures_are_kept(tmp_path, monkeypatch):
    context = Context(torch.device("cpu"), artefacts=tmp_path)
    assert all(optimised(STREAM, number, context) is None for number in (1, 2, 3))
    assert not list(tmp_path.iterdir())
    pictures = optimised(STREAM, 4, context)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{trial_key(GatysTrial(STREAM, 4))}.safetensors"
    assert pictures.shape == (2, 3, 16, 16) and 0 <= pictures.min() < pictures.max() <= 1
    monkeypatch.setattr(tasks, "gatys", lambda *_, **__: pytest.fail("optimised again"))
    assert torch.equal(optimised(STREAM, 4, context), pictures)
    metrics = run_gatys(GatysTrial(STREAM, 4), context)
    images = stream_task(STREAM, 4, context).test.images[:2].float() / 255
    loss = reference(4)
    reached, untouched = (float(loss(of, images).total.mean()) for of in (pictures, images))
    assert metrics["total"] == pytest.approx(reached, rel=1e-4)
    assert reached < 0.9 * untouched


def test_a_style_is_compared_with_the_optimised_pictures(context):
    """Which are of the first images alone; both styles have their own."""
    of_4, of_5 = (optimised(STREAM, number, context) for number in (4, 5))
    assert not torch.equal(of_4, of_5)
    each = stream_task(STREAM, 4, context)
    output = torch.cat((of_4, torch.rand(4, 3, 16, 16)))
    metrics = evaluate(each, lambda _: output, rgb=True, optimised=of_4)
    assert metrics["ssim"] == pytest.approx(1, abs=1e-5)
    metrics = evaluate(each, lambda _: output, rgb=True, optimised=of_5)
    assert metrics["ssim"] == pytest.approx(ssim(of_4, of_5), abs=1e-5)
    assert metrics["ssim"] < 0.99


# colours


def every_colour() -> np.ndarray:
    """18 levels of each channel, (72, 81, 3) bytes."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), -1).reshape(72, 81, 3)


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)[None].double()


def test_luma_and_chroma_are_pils_to_a_level():
    pixels = every_colour()
    expected = as_images(np.asarray(Image.fromarray(pixels).convert("YCbCr")))
    images = as_images(pixels) / 255
    found = torch.cat((255 * luma(images), 255 * chroma(images) + 128), 1)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1 + 1e-9  # it cuts fractions off


def test_rgb_is_pils_to_two_levels():
    """PIL rounds twice: YCbCr to bytes, then RGB."""
    converted = Image.fromarray(every_colour()).convert("YCbCr")
    parts = as_images(np.asarray(converted))
    expected = as_images(np.asarray(converted.convert("RGB")))
    found = 255 * to_rgb(parts[:, :1] / 255, (parts[:, 1:] - 128) / 255)
    assert (found - expected).abs().max() <= 2


def test_grey_has_no_chroma_and_keeps_its_luma():
    grey = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    torch.testing.assert_close(luma(grey.expand(1, 3, 16, 16)), grey)
    assert chroma(grey.expand(1, 3, 16, 16)).abs().max() < 1e-6
    without = to_rgb(grey, torch.zeros(1, 2, 16, 16))
    torch.testing.assert_close(without, grey.expand(1, 3, 16, 16))


def test_colours_outside_rgb_are_clipped():
    """Y = 0.9, Cr = 0.5: R = 1.601, G = 0.9 - 0.299 * 0.701 / 0.587, B = 0.9; then Y = 0.1."""
    y = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1)
    colours = torch.tensor([[0.0, 0.5], [-0.5, 0.0]]).view(2, 2, 1, 1)
    bright, dark = to_rgb(y, colours).flatten(1).tolist()
    assert bright == pytest.approx([1, 0.9 - 0.299 * 0.701 / 0.587, 0.9], abs=1e-6)
    assert dark == pytest.approx([0.1, 0.1 + 0.114 * 0.886 / 0.587, 0], abs=1e-6)
