"""The tables behind the claims of notebook 01, masks compared, and chains of two tasks' blocks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from skimage.color import rgb2ycbcr
from sklearn.metrics import cohen_kappa_score
from stream_records import NAMES, record
from tiny_stream import SIZES, STREAM

from lib.continual import analysis
from lib.continual.analysis import similarity
from lib.continual.masks import part
from lib.continual.methods import network, run_task
from lib.continual.networks import Generator
from lib.continual.pictures import ORDERS, chains, compare_chains, pictures_by_method, shown_images
from lib.continual.tasks import grey, stream_task, style_task
from lib.continual.trials import STREAMS, planned
from lib.engine.sweep import Context, trial_key

BETTER = {1: 20.0, 2: 40.0, 3: 500.0, 4: 1e5, 5: 2e5}  # right after a task was learned
TRIVIAL = pd.DataFrame(
    [
        (task, answer, NAMES[task], number)
        for answer, numbers in (
            ("best", (5.0, 10.0, 700.0, 3e5, 3e5)),
            ("one", (1, 2, 9e3, 9e5, 9e5)),
        )
        for task, number in enumerate(numbers, start=1)
    ],
    columns=["task", "answer", "metric", "value"],
)


@pytest.fixture
def trials():
    """Piggyback forgets nothing; fine-tuning halves T1 with T2 and loses all of T3's gain."""
    rows = []
    for seed in (0, 1):
        rows.append(record("scratch", 1, seed, {1: 20.0 + seed}))
        learned = {1: 20.0 + seed}
        for task in (2, 3, 4, 5):
            learned = learned | {task: BETTER[task] + seed}
            rows.append(record("piggyback", task, seed, learned))
            rows.append(record("scratch", task, seed, {task: BETTER[task] / 2}))
        rows.append(record("fine-tune", 2, seed, {1: 10.0, 2: 30.0}))
        rows.append(record("fine-tune", 3, seed, {1: 8.0, 2: 10.0, 3: 600.0}))
        rows.append(record("fine-tune", 4, seed, {1: 8.0, 2: 10.0, 3: 900.0, 4: 2e5}))
    rows.append(record("piggyback", 2, 0, {2: 99.0}, norms="frozen", alone=True))
    rows.append(record("piggyback", 2, 1, {2: 77.0}, status="error"))
    return pd.DataFrame(rows)


@pytest.fixture
def rows(trials):
    return analysis.scores(trials)


def test_a_number_is_found_by_method_task_and_seed(rows):
    assert analysis.pick(rows, "piggyback", 2).to_dict() == {0: 40.0, 1: 41.0}
    assert analysis.pick(rows, "fine-tune", 1, after=2).to_dict() == {0: 10.0, 1: 10.0}


def test_task_1_of_a_unet_method_is_the_bases(rows):
    for method in ("piggyback", "fine-tune", "decoder"):
        assert analysis.pick(rows, method, 1).to_dict() == {0: 20.0, 1: 21.0}
    assert analysis.pick(rows, "resblock", 1).empty


def test_controls_and_failures_are_kept_out_of_the_main_table(rows):
    assert 99.0 not in set(analysis.pick(rows, "piggyback", 2))
    assert 77.0 not in set(rows["value"])
    control = analysis.pick(rows, "piggyback", 2, norms="frozen", alone=True)
    assert control.to_dict() == {0: 99.0}


def test_forgetting_by_hand(rows):
    matrix = analysis.forgetting(rows, "fine-tune")
    assert matrix[0, 0] == 20.5 and matrix[1, :2].tolist() == [10.0, 30.0]
    assert np.isnan(matrix[0, 1]) and np.isnan(matrix[4]).all()
    left = analysis.share_left(rows, "fine-tune", TRIVIAL)
    # T1: (10 - 5) / (20.5 - 5); T3: 900 is worse than the trivial 700
    assert left[1, 0] == pytest.approx(5 / 15.5)
    assert left[3, 2] == 0 and left[2, 2] == 1
    assert left[3, 3] == 1 and np.isnan(left[4, 4]) and np.isnan(left[0, 1])


def test_cells_that_are_compared_are_of_the_same_seeds():
    """Seed 1 has not come to task 5: its task 1 would look like forgetting."""
    learned = {task: {scored: 10.0 for scored in range(1, task + 1)} for task in range(1, 6)}
    trials = [
        record("scratch" if task == 1 else "decoder", task, 0, learned[task]) for task in learned
    ]
    trials.append(record("scratch", 1, 1, {1: 30.0}))
    matrix = analysis.forgetting(analysis.scores(pd.DataFrame(trials)), "decoder")
    assert matrix[:, 0].tolist() == [10.0] * 5


@pytest.mark.parametrize(
    ("numbers", "learned"),
    [
        ((5.008,), False),  # of a single seed, less than the margin
        ((5.5,), True),
        ((5.2, 5.3, 5.25), True),
        ((5.0, 9.0, 5.5), False),  # the interval of the gain contains 0
        ((4.0, 4.0, 4.1), False),
    ],
)
def test_what_was_not_learned_has_nothing_to_lose(numbers, learned):
    trials = [record("scratch", 1, seed, {1: number}) for seed, number in enumerate(numbers)]
    left = analysis.share_left(analysis.scores(pd.DataFrame(trials)), "scratch", TRIVIAL)
    assert left[0, 0] == 1 if learned else np.isnan(left[0, 0])


def test_the_largest_change_is_zero_only_if_nothing_changes(rows):
    still = analysis.largest_change(rows, "piggyback")
    assert (still.value, still.low, still.high, still.n) == (0, 0, 0, 20)
    assert analysis.largest_change(rows, "fine-tune").value == 300  # T3 after T4


def test_table_2_has_every_method_and_the_best_trivial_answer(rows):
    table = analysis.table_2(rows, TRIVIAL).set_index(["task", "method"])
    assert len(table) == 5 * len(STREAMS)
    row = table.loc[(2, "piggyback")]
    assert (row["mean"], row["n"], row["trivial"]) == (40.5, 2, 10.0)
    assert row["high"] == pytest.approx(40.5 + 12.706 * 0.5, abs=1e-3)
    assert table.loc[(3, "scratch"), "trivial"] == 700
    assert table.loc[(5, "decoder"), "n"] == 0


def test_in_table_2_fine_tuning_comes_to_task_5_from_task_3():
    trials = [record("fine-tune", 5, 0, {5: 7.0}), record("fine-tune", 5, 0, {5: 8.0}, start=3)]
    rows = analysis.scores(pd.DataFrame(trials))
    table = analysis.table_2(rows, TRIVIAL).set_index(["task", "method"])
    assert table.loc[(5, "fine-tune"), "mean"] == 8
    assert analysis.forgetting(rows, "fine-tune")[4, 4] == 7


def test_trivial_answers_are_read_from_their_records():
    answers = {"black": {"mse": 3.0, "ssim": 0.5}, "white": {"mse": 4.0, "ssim": 0.7}}
    trials = [{"task": 3, "status": "ok", "answers": answers}]
    trials += [{"task": 1, "status": "error", "answers": None}]
    table = analysis.trivial_table(pd.DataFrame(trials))
    assert table.to_numpy().tolist()[-1] == [3, "white", "ssim", 0.7] and len(table) == 4
    assert analysis.best_answers(table) == {(3, "mse"): 3.0, (3, "ssim"): 0.7}


def test_masks_are_compared_inside_a_seed_only():
    ones, halves = torch.ones(8, dtype=torch.bool), torch.arange(8) % 2 == 0
    masks = {(0, "a"): {"l": halves}, (0, "b"): {"l": ~halves}, (1, "a"): {"l": ones}}
    pairs = analysis.compare_masks(masks)
    assert len(pairs) == 1 and pairs.agreement[0] == 0 and pairs.kappa[0] == -1


def test_zero_rates_by_layer_and_their_mean():
    rates = {"decoder.conv9_2.conv": 0.6, "encoder.conv1_1.conv": 0.2, "decoder.up-conv1": 0.4}
    plain = record("piggyback", 2, 3, {2: 1.0}, zero_rates=rates)
    other = record("piggyback", 2, 3, {2: 1.0}, zero_rates=rates, shuffled=True, alone=True)
    trials = pd.DataFrame([plain, other, record("scratch", 2, 3, {2: 1.0})])
    layers = analysis.zero_rate_rows(trials)
    assert len(layers) == 6
    ordered = layers[~layers.shuffled].sort_values("place").layer.tolist()
    assert ordered == ["conv1_1", "up-conv1", "conv9_2"]
    assert analysis.zero_share(layers, 2).to_dict() == pytest.approx({3: 0.4})
    assert analysis.zero_share(layers, 2, layers="conv.*").to_dict() == pytest.approx({3: 0.4})
    assert analysis.zero_share(layers, 2, layers="up.*").to_dict() == pytest.approx({3: 0.4})
    assert analysis.zero_share(layers, 4).empty


# similarity


def masks(seed: int, used: dict[str, float]) -> dict[str, torch.Tensor]:
    """Layers of different sizes, with about these shares of ones."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 3, 3, 3), "b": (10, 6, 3, 3), "c": (4, 5, 2, 2)}
    return {name: torch.rand(shapes[name], generator=rng) < share for name, share in used.items()}


HALF = {"a": 0.5, "b": 0.45, "c": 0.6}
UNEVEN = {"a": 0.9, "b": 0.2, "c": 0.5}


def flat(one: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([mask.numpy().ravel() for mask in one.values()])


@pytest.mark.parametrize("shares", [(HALF, HALF), (HALF, UNEVEN), (UNEVEN, UNEVEN)])
def test_kappa_is_scikit_learns(shares):
    a, b = masks(0, shares[0]), masks(1, shares[1])
    b["a"][:3] = a["a"][:3]
    found = similarity(a, b)
    assert found["bits"] == 782
    assert found["agreement"] == pytest.approx((flat(a) == flat(b)).mean())
    assert found["kappa"] == pytest.approx(cohen_kappa_score(flat(a), flat(b)), abs=1e-12)


def test_equal_opposite_and_full_masks():
    a = masks(0, {"a": 0.5})
    same, opposite = similarity(a, a), similarity(a, {"a": ~a["a"]})
    assert (same["agreement"], same["kappa"]) == (1, pytest.approx(1))
    assert opposite["agreement"] == 0 and opposite["kappa"] < -0.9
    full = {"a": torch.ones_like(a["a"])}
    against = similarity(a, full)
    assert against["agreement"] == pytest.approx(a["a"].float().mean().item())
    assert against["kappa"] == pytest.approx(0, abs=1e-12)
    assert math.isnan(similarity(full, full)["kappa"])


def test_the_null_by_permutations():
    """Bits of one mask moved about inside each layer, kappa by scikit-learn."""
    a, b = masks(0, UNEVEN), masks(1, UNEVEN)
    found = similarity(a, b)["null_mean"]
    rng = np.random.default_rng(0)
    drawn = [
        cohen_kappa_score(
            flat(a), np.concatenate([rng.permutation(mask.numpy().ravel()) for mask in b.values()])
        )
        for _ in range(500)
    ]
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert found == pytest.approx(np.mean(drawn), abs=4 * error)
    assert found > 0.05  # the layers' densities alone


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"a": torch.ones(2, 3, dtype=torch.bool)}, "not of the same layers"),
        ({"b": torch.ones(3, 2, dtype=torch.bool)}, "not of the same layers"),
        ({}, "not of the same layers"),
        ({"a": torch.ones(3, 2)}, "masks are bool"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(other, named):
    a = {"a": torch.ones(3, 2, dtype=torch.bool)}
    with pytest.raises(ValueError, match=named):
        similarity(a, other)
    with pytest.raises(ValueError, match="not of the same layers"):
        similarity({}, {})


# chains and pictures


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


COLOUR, STYLE = (planned(SIZES, "resblock", task, 0) for task in (3, 4))
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def stored_generator(context):
    """Both tasks' blocks in one network, from the files alone."""
    net = Generator(width=STREAM.width)
    for trial in (COLOUR, STYLE):
        run_task(trial, context)
        state = load_file(context.artefacts / f"{trial_key(trial)}.safetensors")
        net.add_task(f"t{trial.task}")
        net.load_state_dict(part(state, "net"), strict=False)
    return net.eval()


@torch.no_grad()
def test_chained_decodes_once_and_re_encoded_twice(context):
    net, inputs = stored_generator(context), grey(IMAGES)
    outputs = chains(COLOUR, STYLE, IMAGES, context)
    features = net.tasks["t4"](net.tasks["t3"](net.encode(inputs)))
    assert torch.equal(outputs["colour, style", "chained"], net.decode(features))
    middle = network(COLOUR, context)(inputs)
    expected = network(STYLE, context)(middle)
    assert torch.equal(outputs["colour, style", "re-encoded"], expected)
    assert torch.equal(outputs["", "colour only"], middle)
    assert torch.equal(outputs["", "neither"], net(inputs))
    both = [outputs[order, "chained"] for order in ORDERS]
    assert not torch.equal(*both) and not torch.equal(both[0], expected)


def test_blocks_of_other_auto_encoders_do_not_fit(context):
    with pytest.raises(ValueError, match="same auto-encoder"):
        chains(COLOUR, replace(STYLE, seed=1), IMAGES, context)


@torch.no_grad()
def test_the_table_has_both_orders_both_ways_and_each_task_alone(context):
    table = compare_chains(COLOUR, STYLE, context).set_index(["order", "way"])
    assert len(table) == 10 and table.index.is_unique
    task = style_task(STREAM, 4, context)
    alone = network(STYLE, context)(grey(task.images_at(slice(None))))
    expected = task.perceptual(alone, task.images_at(slice(None))).total.mean().item()
    row = table.loc["colour, style", "style only"]
    assert row["total"] == pytest.approx(expected, rel=1e-4)
    goal = network(STYLE, context)(network(COLOUR, context)(grey(task.images_at(slice(None)))))
    assert row["distance"] == pytest.approx((alone - goal).square().mean().sqrt().item(), rel=1e-4)
    assert (table.xs("re-encoded", level="way")[["distance", "colour_distance"]] == 0).all(
        axis=None
    )
    chroma = [skimage_chroma(images) for images in (alone, goal)]
    expected = np.sqrt(((chroma[0] - chroma[1]) ** 2).mean())
    assert row["colour_distance"] == pytest.approx(expected, rel=1e-2)


def skimage_chroma(images):
    """Cb and Cr of JPEG's colours, which scikit-image has with a smaller range."""
    ycbcr = rgb2ycbcr(images.movedim(1, -1).double().numpy())
    return (ycbcr[..., 1:] - 128) / 224


def test_pictures_are_the_networks_outputs_on_the_same_images(context):
    images, labels = shown_images(SIZES, 3, context)
    assert images.shape == (4, 3, 16, 16) and labels.shape == (4, 16, 16)
    trials = {"a": COLOUR, "b": planned(SIZES, "decoder", 3, 0)}
    pictures = pictures_by_method(trials, images, labels, context)
    assert list(pictures) == ["input", "target", "a", "b"]
    assert torch.equal(pictures["target"], images)
    assert (pictures["input"] - pictures["input"][:, :1]).abs().max() == 0
    with torch.no_grad():
        output = network(COLOUR, context)(pictures["input"]).clamp(0, 1)
    assert torch.equal(pictures["a"], output)


def test_without_label_maps_a_segmentation_has_a_blank_target(context):
    photos = replace(SIZES, pictures="photos:chelsea,coffee")
    images, labels = shown_images(photos, 2, context)
    assert len(images) == 2 and labels is None
    trials = {"a": planned(SIZES, "decoder", 2, 0)}
    pictures = pictures_by_method(trials, images, labels, context)
    assert (pictures["target"] == 1).all()
    palette = stream_task(STREAM, 2, context).palette
    pixels = pictures["a"].permute(0, 2, 3, 1).reshape(-1, 3)
    assert (torch.cdist(pixels, palette).amin(1) < 1e-6).all()
