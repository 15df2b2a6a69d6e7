"""Notebook 01's methods: what each may change, what it keeps, and that a run can be repeated."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_stream import SIZES, STREAM
from torch import Tensor, nn

from lib.continual import methods
from lib.continual.analysis import zero_rate_rows
from lib.continual.masks import TaskSwitcher, load_task, part, save_task
from lib.continual.methods import (
    batches,
    generator_of,
    mask_task,
    masks,
    network,
    run_task,
    unet_base,
)
from lib.continual.networks import LAYERS, Generator, UNet
from lib.continual.tasks import (
    Segmentation,
    evaluate,
    palette,
    run_trivial,
    ssim,
    stream_task,
)
from lib.continual.trials import TaskTrial, TrivialTrial, base, parent, planned
from lib.data.segmented import Segmented
from lib.engine.sweep import Context, Store, execute, trial_key

UNET_METHODS = ("scratch", "fine-tune", "ewc", "decoder", "piggyback")
TENS = replace(STREAM, steps=20)


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    """One store of artefacts: each trial is learned once."""
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


def trial(method: str, task: int, **changes) -> TaskTrial:
    return planned(SIZES, method, task, **{"seed": 0, **changes})


BASE, AUTO_ENCODER = trial("scratch", 1), trial("resblock", 0)


def file_of(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    """What is stored of a trial, learned if it is not."""
    masks(trial, context)
    return load_file(context.artefacts / f"{trial_key(trial)}.safetensors")


def weights(trial: TaskTrial, context: Context) -> dict[str, Tensor]:
    return part(file_of(trial, context), "net")


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(x, second[n]) for n, x in first.items()
    )


def starting(state: dict[str, Tensor], *starts: str) -> dict[str, Tensor]:
    return {name: values for name, values in state.items() if name.startswith(starts)}


def images(number: int, context: Context) -> Tensor:
    each = stream_task(STREAM, number, context)
    return each.inputs(each.test.images.float() / 255)


def watch(trial: TaskTrial, context: Context, *, learn: bool = False) -> SimpleNamespace:
    """What the training of a trial is given; with ``learn`` it also takes place, unkept."""
    seen = SimpleNamespace()

    def train(model, loss, batches, **options):
        seen.initial = {name: values.clone() for name, values in model.state_dict().items()}
        seen.model, seen.loss, seen.batches, seen.options = model, loss, batches, options
        seen.losses = inner(model, loss, batches, **options) if learn else [0.0]
        return seen.losses

    inner = methods.train
    for before in filter(None, (parent(trial), base(trial))):
        file_of(before, context)  # its own training is not to be seen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "train", train)
        methods._learn(trial, context)
    return seen


# what a method may change


def test_decoder_keeps_task_1s_encoder(context):
    """To the bit, with the statistics of its norms; all else is learned."""
    before, after = weights(BASE, context), weights(trial("decoder", 3), context)
    assert equal(starting(after, "encoder"), starting(before, "encoder"))
    assert any("running_mean" in name for name in starting(before, "encoder"))
    for name, values in starting(after, "decoder").items():
        assert not torch.equal(values, before[name]), name
    assert after["last.weight"].shape == (2, 4, 1, 1)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_every_weight_of_piggyback_is_the_bases_or_zero(number, context):
    of = trial("piggyback", number, alone=True, stream=TENS)
    before = weights(base(of), context)
    path = context.artefacts / f"{trial_key(base(of))}.safetensors"
    bytes_before = path.read_bytes()
    learned = file_of(of, context)
    after, found = part(learned, "net"), part(learned, "mask")
    layers = UNet(width=4).weight_layers()
    assert len(found) == len(layers) == 22
    for name, mask in found.items():
        values, original = after[f"{name}.weight"], before[f"{name}.weight"]
        assert ((values == 0) | (values == original)).all()
        assert torch.equal(values == 0, ~mask)
    used = torch.cat([mask.flatten() for mask in found.values()])
    assert 0.02 < used.float().mean() < 0.98
    rest = {n for n in before if "norm.running" not in n and "tracked" not in n}
    rest -= {f"{name}.weight" for name in found} | {"last.weight", "last.bias"}
    assert rest and all(torch.equal(after[name], before[name]) for name in rest)
    assert path.read_bytes() == bytes_before


@pytest.mark.parametrize("norms", ["instance", "batch"])
def test_residual_blocks_leave_the_auto_encoder_alone(norms, context):
    before = weights(trial("resblock", 0, norms=norms), context)
    after = weights(trial("resblock", 3, norms=norms), context)
    assert equal(starting(after, "encoder", "decoder"), before)
    blocks = starting(after, "tasks")
    assert after.keys() == before.keys() | blocks.keys()
    assert {name.split(".")[1] for name in blocks} == {"t3"}
    new = watch(trial("resblock", 3, norms=norms), context).initial
    for name, values in blocks.items():
        assert not torch.equal(values, new[name]), name
    assert any("running_mean" in name for name in blocks) == (norms == "batch")


def test_masked_blocks_are_task_3s(context):
    before = weights(trial("resblock", 3), context)
    learned = file_of(trial("resblock+piggyback", 4), context)
    after, found = part(learned, "net"), part(learned, "mask")
    assert equal(starting(after, "encoder", "decoder"), starting(before, "encoder", "decoder"))
    assert len(found) == 12 and all(name.startswith("tasks.t3.") for name in found)
    for name, mask in found.items():
        assert torch.equal(
            after[f"{name.replace('t3', 't4')}.weight"], before[f"{name}.weight"] * mask
        )
    assert 0.02 < torch.cat([mask.flatten() for mask in found.values()]).float().mean() < 0.98
    biases = {name: x for name, x in before.items() if "tasks" in name and "bias" in name}
    assert biases and all(torch.equal(after[n.replace("t3", "t4")], x) for n, x in biases.items())
    assert len(after) == len(before)


# where a method starts


@pytest.mark.parametrize(
    ("of", "before"),
    [
        (trial("fine-tune", 3), trial("fine-tune", 2)),
        (trial("fine-tune", 5, start=3), trial("fine-tune", 3)),
        (trial("ewc", 3), trial("ewc", 2)),
        (trial("decoder", 3), BASE),
        (trial("resblock", 2), AUTO_ENCODER),
    ],
    ids=lambda of: f"{of.method} {of.task}",
)
def test_a_method_starts_where_it_should(of, before, context):
    """With the weights of the trial before, to the bit; only the last layer or blocks are new."""
    initial = starting(watch(of, context).initial, "encoder", "decoder")
    assert equal(initial, starting(weights(before, context), "encoder", "decoder"))


def test_from_scratch_is_from_the_seed(context):
    first = watch(trial("scratch", 4), context).initial
    assert equal(first, UNet(3, 3, width=4, seed=0).state_dict())
    other = watch(trial("scratch", 4, seed=1), context).initial
    assert equal(other, UNet(3, 3, width=4, seed=1).state_dict())
    assert not torch.equal(first["last.weight"], other["last.weight"])
    auto_encoder = watch(AUTO_ENCODER, context).initial
    assert equal(auto_encoder, Generator(width=4).state_dict())


@pytest.mark.parametrize("method", UNET_METHODS)
def test_before_training_colour_scores_what_the_trivial_answer_scores(method, context):
    """The mean colour of the training set, to rounding, whatever features are below."""
    task = stream_task(STREAM, 3, context)
    with torch.no_grad():
        scored = evaluate(task, watch(trial(method, 3), context).model.eval())
    answer = run_trivial(TrivialTrial(STREAM, 3), context)["answers"]["mean chroma"]
    assert scored == pytest.approx(answer, rel=1e-5)


def test_all_methods_of_a_seed_get_the_same_last_layer(context):
    first, *others = (
        watch(trial(method, 2), context).initial for method in ("fine-tune", "ewc", "decoder")
    )
    masked = watch(trial("piggyback", 2), context).initial
    for other in (*others, {n.removeprefix("network."): x for n, x in masked.items()}):
        assert equal(starting(other, "last"), starting(first, "last"))
    again = watch(trial("piggyback", 2, run=1), context).initial
    assert not torch.equal(again["network.last.weight"], first["last.weight"])


@pytest.mark.parametrize("changes", [{"task": 5}, {"seed": 1}, {"run": 1}], ids=str)
@pytest.mark.parametrize(
    ("method", "new"),
    [("fine-tune", "last"), ("piggyback", "network.last"), ("resblock", "tasks")],
)
def test_tasks_seeds_and_runs_draw_their_own(method, new, changes, context):
    """Equal last layers would make the masks of tasks 4 and 5 alike."""
    first, second = (
        starting(watch(trial(method, **{"task": 4, **each}), context).initial, new)
        for each in ({}, changes)
    )
    assert first and len(first) == len(second)
    for one, other in zip(first.values(), second.values(), strict=True):
        assert not torch.equal(one, other) or (one == 0).all()


@pytest.mark.parametrize(
    ("of", "steps", "masked"),
    [
        (BASE, STREAM.base_steps, 0),
        (AUTO_ENCODER, STREAM.base_steps, 0),
        (trial("scratch", 2), STREAM.steps, 0),
        (trial("decoder", 2), STREAM.steps, 0),
        (trial("resblock", 1), STREAM.steps, 0),
        (trial("piggyback", 2), STREAM.steps, 22),
        (trial("piggyback", 2, norms="affine", alone=True), STREAM.steps, 22),
        (trial("resblock+piggyback", 4), STREAM.steps, 12),
    ],
    ids=lambda of: f"{of.method} {of.task}" if isinstance(of, TaskTrial) else "",
)
def test_every_method_has_the_same_budget(of, steps, masked, context):
    """Masks have a rate of their own; last layers, norms and all else learn at the stream's."""
    seen = watch(of, context)
    assert (seen.options["steps"], seen.options["lr"]) == (steps, STREAM.lr)
    names = {id(parameter): name for name, parameter in seen.model.named_parameters()}
    rates = {
        names.pop(id(parameter)): group.get("lr", STREAM.lr)
        for group in seen.options["groups"] or [{"params": seen.model.parameters()}]
        for parameter in group["params"]
    }
    assert not names, "each parameter is in a group"
    at_mask_lr = {name for name, rate in rates.items() if rate == STREAM.mask_lr}
    assert at_mask_lr == {name for name in rates if name.endswith(".real")}
    assert len(at_mask_lr) == masked
    assert STREAM.base_steps != STREAM.steps and STREAM.lr != STREAM.mask_lr


def first_loss(of: TaskTrial, answer, context: Context) -> tuple[float, Tensor, Tensor]:
    """Loss of made-up outputs on the first batch, its images and labels."""
    seen = watch(of, context)
    batch = seen.batches(0)
    return float(seen.loss(lambda x, *blocks: answer(x), batch)), *batch


def test_residual_blocks_have_the_papers_losses(context):
    """The identity for the auto-encoder, L2 of RGB for colour; a segmentation is painted."""
    loss, *_ = first_loss(AUTO_ENCODER, lambda x: x + 0.1, context)
    assert loss == pytest.approx(0.1, rel=1e-4)
    loss, rgb, _ = first_loss(trial("resblock", 3), lambda x: x, context)
    grey = 0.299 * rgb[:, :1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:]
    assert loss == pytest.approx(float((rgb - grey).square().mean()), rel=1e-4)
    loss, rgb, labels = first_loss(trial("resblock", 2, loss="l1"), lambda x: x, context)
    colours, seen = palette(256)[labels].permute(0, 3, 1, 2), (labels != 255)[:, None]
    assert loss == pytest.approx(float(((rgb - colours).abs() * seen).mean()), rel=1e-4)
    perceptual = stream_task(STREAM, 4, context).perceptual
    for of in (trial("resblock", 4), trial("resblock+piggyback", 4)):
        loss, rgb, _ = first_loss(of, lambda x: x, context)
        assert loss == pytest.approx(float(perceptual(rgb, rgb).total.mean()) / 1e5, rel=1e-4)


def test_the_adversary_is_the_default_and_is_shown_the_painted_map(context, monkeypatch):
    shown = []
    plain = methods.Adversary.loss
    monkeypatch.setattr(methods.Adversary, "loss", lambda *a: (shown.append(a[1:]), plain(*a))[1])
    of = trial("resblock", 2)
    seen = watch(of, context, learn=True)
    explicit = watch(replace(of, loss="adversarial"), context, learn=True)
    assert seen.losses == explicit.losses and len(shown) == 2 * STREAM.steps
    other = watch(replace(of, loss="l2"), context, learn=True)
    assert other.losses != seen.losses and len(shown) == 2 * STREAM.steps
    (inputs, output, target), (rgb, labels) = shown[0], seen.batches(0)
    assert torch.equal(inputs, rgb) and output.requires_grad
    painted = palette(256)[labels].permute(0, 3, 1, 2) * (labels != 255)[:, None]
    assert torch.equal(target, painted)


# forgetting


@pytest.mark.parametrize("method", ["decoder", "piggyback", "resblock"])
def test_nothing_is_forgotten(method, context):
    """The same numbers after every later task, not nearly."""
    first = run_task(BASE if method != "resblock" else trial(method, 1), context)
    after = [run_task(trial(method, number), context) for number in (2, 3)]
    for metrics, earlier in zip(after, [first, *after], strict=False):
        kept = [name for name in earlier if name.startswith("T")]
        assert kept and {name: metrics[name] for name in kept} == {n: earlier[n] for n in kept}


def test_an_earlier_task_is_its_own_last_layer_on_the_new_body(context):
    new, x = trial("fine-tune", 2), images(1, context)
    body, features = network(new, context), []
    body.last.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    with torch.no_grad():
        body(x)
        found, old = network(BASE, context, body=new)(x), network(BASE, context)(x)
    head = starting(weights(BASE, context), "last")
    expected = F.conv2d(features[0], head["last.weight"], head["last.bias"])
    torch.testing.assert_close(found, expected)
    assert found.shape[1] == 11 and not torch.allclose(found, old, atol=1e-2)
    scored = evaluate(stream_task(STREAM, 1, context), network(BASE, context, body=new))
    metrics = run_task(new, context)
    assert {name: metrics[f"T1 {name}"] for name in scored} == scored


@pytest.mark.parametrize(
    ("of", "tasks", "others"),
    [
        (BASE, "T1", set()),
        (trial("fine-tune", 3), "T1 T2 T3", set()),
        (trial("piggyback", 2), "T1 T2", {"zero_rates"}),
        (trial("piggyback", 2, run=1, alone=True), "T2", {"zero_rates"}),
        (trial("resblock", 3), "T1 T2 T3", {"T3 ssim_rgb"}),
        (trial("resblock+piggyback", 4), "T3 T4", {"zero_rates", "T3 ssim_rgb"}),
        (AUTO_ENCODER, "", {"rmse", "ssim"}),
    ],
    ids=lambda of: f"{of.method} {of.task}" if isinstance(of, TaskTrial) else "",
)
def test_what_is_scored(of, tasks, others, context):
    names = {
        "T1": {"miou", "accuracy"},
        "T2": {"miou", "accuracy"},
        "T3": {"mse", "ssim"},
        "T4": {"total", "content", "style", "ssim_content", "ssim"},
    }
    wanted = {f"{number} {name}" for number in tasks.split() for name in names[number]}
    metrics = run_task(of, context)
    assert metrics.keys() == wanted | others | {"train_loss", "train_seconds"}
    assert metrics["train_seconds"] > 0


@pytest.mark.parametrize("method", ["scratch", "fine-tune", "decoder", "piggyback"])
def test_a_harder_task_2_has_other_scenes_and_the_same_base(method, context):
    """Here task 1's own scenes, with their 11 classes, stand in for them."""
    of = trial(method, 2, scenes="scenes_a")
    assert weights(of, context)["last.weight"].shape[0] == 11
    metrics = run_task(of, context)
    same = replace(stream_task(STREAM, 1, context), number=2)
    assert evaluate(same, network(of, context))["miou"] == metrics["T2 miou"]
    if method in ("decoder", "piggyback"):
        assert metrics["T1 miou"] == run_task(BASE, context)["T1 miou"]


def test_the_loss_is_the_mean_of_the_last_tenth(context):
    of = trial("scratch", 3, stream=TENS, alone=True)
    losses = file_of(of, context)["losses"].tolist()
    assert len(losses) == 20 and np.mean(losses[:10]) > np.mean(losses[10:])
    assert run_task(of, context)["train_loss"] == pytest.approx((losses[18] + losses[19]) / 2)


def test_the_auto_encoder_is_measured_by_what_it_gives_back(context):
    net, x = Generator(width=4), images(1, context)
    net.load_state_dict(weights(AUTO_ENCODER, context))
    with torch.no_grad():
        output = net.eval()(x)
    metrics = run_task(AUTO_ENCODER, context)
    error = np.sqrt(((output - x).double().numpy() ** 2).mean())
    assert metrics["rmse"] == pytest.approx(error, rel=1e-4)
    assert metrics["ssim"] == pytest.approx(ssim(output, x), abs=1e-5)


def test_zero_rates_are_shares_of_the_weights_that_are_zero(context):
    of = trial("piggyback", 2)
    after, rates = weights(of, context), run_task(of, context)["zero_rates"]
    for name, rate in rates.items():
        assert rate == pytest.approx(float((after[f"{name}.weight"] == 0).float().mean()))
    execute(run_task, of, str(context.artefacts), "cpu", None)
    rows = zero_rate_rows(Store(context.artefacts).table([of])).set_index("place").sort_index()
    assert rows.layer.tolist() == list(LAYERS), "as in the paper's figures, from input to output"
    net = UNet(width=4)
    names = {module: name for name, module in net.named_modules()}
    assert rows.rate.tolist() == [rates[names[each]] for each in net.weight_layers().values()]


# masks and what is stored of them


@pytest.mark.parametrize("policy", ["frozen", "statistics", "affine"])
def test_a_task_from_its_file_is_the_network_to_the_bit(policy, context, tmp_path):
    """Base and mask files are enough."""
    trials = {number: trial("piggyback", number, norms=policy, alone=True) for number in (2, 3)}
    base, loaded = unet_base(trials[2], context), {}
    for number, of in trials.items():
        path = tmp_path / f"{number}.task"
        save_task(path, mask_task(of, context))
        channels = stream_task(STREAM, number, context).channels
        loaded[str(number)] = load_task(path, base, {"last": nn.Conv2d(4, channels, 1)})
    assert not base.training
    switcher = TaskSwitcher(base, loaded)
    for number in (2, 3, 2):
        x = images(number, context)
        with torch.no_grad():
            found, expected = switcher.use(str(number))(x), network(trials[number], context)(x)
        assert torch.equal(found, expected)
    whole, task_file = (path.stat().st_size for path in (
        context.artefacts / f"{trial_key(BASE)}.safetensors", tmp_path / "2.task"))  # fmt: skip
    assert task_file < whole / 2


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Context:
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("elsewhere"))


def test_one_generator_holds_the_blocks_of_several_tasks(context):
    trials = [trial("resblock", 3), trial("resblock+piggyback", 4)]
    net, x = generator_of(trials, context), images(3, context)
    assert list(net.tasks) == ["t3", "t4"] and not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    for of in trials:
        with torch.no_grad():
            assert torch.equal(net(x, f"t{of.task}"), network(of, context)(x))


# batches


def tagged() -> Segmentation:
    """Twelve images that show their own label maps, in which every third pixel is ignored."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (12, 16, 16), generator=rng).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=rng) < 1 / 3] = 255
    pictures = labels[:, None].repeat(1, 3, 1, 1)
    names = tuple(map(str, range(6)))
    data = Segmented(pictures, labels, names, names, 0)
    return Segmentation(2, data, data, palette(6))


def epoch(of: TaskTrial, each: Segmentation, start: int = 0) -> tuple[Tensor, Tensor]:
    """The twelve images and label maps of three steps."""
    at = batches(of, each)
    pictures, labels = zip(*(at(step) for step in range(start, start + 3)), strict=True)
    return torch.cat(pictures), torch.cat(labels)


def up_to_mirror(labels: Tensor) -> list[bytes]:
    return [min(x.numpy().tobytes(), x.flip(1).numpy().tobytes()) for x in labels.to(torch.uint8)]


def test_label_maps_are_mirrored_with_their_images():
    """Over two epochs; 255 stays 255."""
    each, mirrored = tagged(), []
    for start in (0, 3):
        pictures, labels = epoch(trial("decoder", 2), each, start)
        assert labels.dtype == torch.long and pictures.shape == (12, 3, 16, 16)
        for channel in pictures.unbind(1):
            assert torch.equal((255 * channel).round().long(), labels)
        originals = each.train.labels
        assert Counter(up_to_mirror(labels)) == Counter(up_to_mirror(originals))
        mirrored += [not (x == originals).all((1, 2)).any() for x in labels]
    assert 4 < sum(mirrored) < 20
    assert ((labels == 255).float().mean() - 1 / 3).abs() < 0.05


def test_all_methods_of_a_seed_see_the_same_images_in_the_same_order():
    each = tagged()
    first, *others = (epoch(trial(method, 2), each, 2) for method in (*UNET_METHODS, "resblock"))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    for changes in ({"seed": 1}, {"run": 1}):
        assert not torch.equal(epoch(trial("piggyback", 2, **changes), each, 2)[0], first[0])
    assert not torch.equal(epoch(trial("piggyback", 3), each, 2)[0], first[0])


def test_shuffled_label_maps_are_the_same_ones_on_other_images():
    each, pairs = tagged(), []
    for start in (0, 3):
        plain = trial("piggyback", 2, seed=1)
        pictures, labels = epoch(plain, each, start)
        same, others = epoch(replace(plain, shuffled=True), each, start)
        assert torch.equal(pictures, same)
        assert Counter(up_to_mirror(others)) == Counter(up_to_mirror(labels))
        assert sum(torch.equal(a, b) for a, b in zip(labels, others, strict=True)) < 4
        names = up_to_mirror((255 * same[:, 0]).round().long())
        pairs.append(dict(zip(names, up_to_mirror(others), strict=True)))
    assert pairs[0] == pairs[1], "an image keeps its wrong label map"


# elastic weight consolidation


def test_without_strength_it_is_fine_tuning(context):
    free = replace(STREAM, strength=0.0)
    first, second = (weights(trial(m, 2, stream=free), context) for m in ("ewc", "fine-tune"))
    assert equal(first, second)


def test_a_huge_strength_holds_the_weights_that_matter(context):
    """Adam takes steps of lr whatever the gradient: what is held trembles around its anchor."""
    strong = replace(STREAM, steps=20, strength=1e6)
    of = trial("ewc", 2, stream=strong)
    held = file_of(of, context)
    important, anchor = part(held, "importance"), part(held, "anchor")

    def moved(state: dict[str, Tensor]) -> float:
        return sum(float((f * (state[n] - anchor[n]).square()).sum()) for n, f in important.items())

    free = moved(weights(trial("fine-tune", 2, stream=strong), context))
    assert moved(part(held, "net")) < free / 100


def test_the_anchor_of_task_3_covers_both_tasks_before(context):
    """Each task's importance has the mean 1; the anchor is the mean weighted by it."""
    second, third = (file_of(trial("ewc", number), context) for number in (2, 3))
    first_f, both_f = part(second, "importance"), part(third, "importance")
    names = {n for n, _ in UNet(3, 6, width=4).named_parameters() if not n.startswith("last")}
    assert first_f.keys() == both_f.keys() == names
    for importance, mean in ((first_f, 1), (both_f, 2)):
        found = torch.cat([each.flatten() for each in importance.values()])
        assert found.min() >= 0 and float(found.mean()) == pytest.approx(mean, rel=1e-3)
    before, after = weights(BASE, context), part(second, "net")
    anchors = part(third, "anchor")
    assert equal(part(second, "anchor"), {name: before[name] for name in names})
    for name in names:
        f = first_f[name].double(), (both_f[name] - first_f[name]).double()
        mean = (f[0] * before[name] + f[1] * after[name]) / both_f[name].double()
        matters = both_f[name] > 1e-3
        torch.testing.assert_close(
            anchors[name][matters].double(), mean[matters], rtol=1e-3, atol=1e-5
        )


def test_importance_is_of_the_task_before_image_by_image(context):
    """Squared gradients of task 2's cross entropy, one image at a time, at the weights after it."""
    second, third = (file_of(trial("ewc", number), context) for number in (2, 3))
    net = UNet(3, 6, width=4)
    net.load_state_dict(part(second, "net"))
    single = replace(STREAM, batch=1)
    at, total = batches(trial("ewc", 2, stream=single), stream_task(STREAM, 2, context)), 0
    names = [name for name, _ in net.named_parameters() if not name.startswith("last")]
    for step in range(STREAM.importance_images):
        rgb, labels = at(step)
        assert len(rgb) == 1
        net.eval().zero_grad()
        F.cross_entropy(net(rgb), labels, ignore_index=255).backward()
        gradients = [net.get_parameter(name).grad.flatten() for name in names]
        total = total + torch.cat(gradients).square()
    found = [
        (part(third, "importance")[n] - part(second, "importance")[n]).flatten() for n in names
    ]
    torch.testing.assert_close(torch.cat(found), total / total.mean(), rtol=1e-3, atol=1e-4)


# records, and runs that are killed


def test_what_was_learned_is_not_learned_again(context, monkeypatch):
    of = trial("piggyback", 3)
    metrics = run_task(of, context)
    monkeypatch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained again"))
    assert run_task(of, context) == metrics


class Killed(BaseException):
    """As a signal: no handler of exceptions sees it."""


@pytest.mark.parametrize(
    "of",
    [
        trial("fine-tune", 2),
        trial("ewc", 3),
        trial("decoder", 2),
        trial("piggyback", 2, shuffled=True, run=1, norms="affine"),
        AUTO_ENCODER,
        trial("resblock", 2, loss="ce"),
        trial("resblock+piggyback", 4),
        trial("resblock", 2),  # its discriminator is in the checkpoint too
    ],
    ids=lambda of: f"{of.method} {of.task} {of.loss}" if isinstance(of, TaskTrial) else "",
)
def test_a_killed_run_ends_as_one_that_was_not(of, context, elsewhere, monkeypatch):
    """In another folder, whatever was drawn before: with the same tensors, to the bit."""
    steps, whole = [], file_of(of, context)
    path = elsewhere.artefacts / f"{trial_key(of)}.safetensors"
    path.unlink(missing_ok=True)
    torch.manual_seed(1234)
    for before in filter(None, (parent(of), base(of))):
        if before != of:
            file_of(before, elsewhere)

    def watched(trial, each):
        at = batches(trial, each)
        return at if trial != of else lambda step: see(step, at)

    def see(step, at):
        if step == stop:
            raise Killed
        steps.append(step)
        return at(step)

    monkeypatch.setattr(methods, "batches", watched)
    monkeypatch.setattr(methods, "train", partial(methods.train, checkpoint_every=2))
    stop = 3
    with pytest.raises(Killed):
        file_of(of, elsewhere)
    checkpoint = elsewhere.artefacts / f"{trial_key(of)}.checkpoint"
    assert checkpoint.exists() and not path.exists()
    stop, steps = None, []
    again = file_of(of, elsewhere)
    assert steps[0] == 2 and not checkpoint.exists()
    whole.pop("seconds"), again.pop("seconds")
    assert equal(again, whole)


def test_without_a_folder_nothing_is_kept(context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = run_task(BASE, Context(torch.device("cpu")))
    stored = run_task(BASE, context)
    metrics.pop("train_seconds"), stored.pop("train_seconds")
    assert metrics == stored and not list(tmp_path.iterdir())


def test_a_network_that_gives_no_numbers_is_an_error(tmp_path):
    """Not a row of NaN."""
    of = trial("scratch", 3, stream=replace(STREAM, lr=1e30))
    execute(run_task, of, str(tmp_path), "cpu", None)
    record = Store(tmp_path).read(of)
    assert record["status"] == "error" and record["metrics"] == {}
    assert "Diverged" in record["error"] or "not finite" in record["error"]
