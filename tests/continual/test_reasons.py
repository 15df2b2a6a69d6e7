"""Reasons for zeros: a masked classifier, and a U-Net without some of its weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_stream import SIZES, STREAM
from torch import nn
from torchvision.models.vgg import cfgs

from lib.continual.methods import unet_base
from lib.continual.networks import UNet
from lib.continual.reasons import (
    LAYERS,
    PruneTrial,
    classifiers,
    entries,
    prune_layers,
    prunings,
    run_classifier,
    run_pruned,
)
from lib.continual.tasks import evaluate, stream_task
from lib.continual.trials import Pruning, planned
from lib.data.labelled import load_labelled
from lib.engine.sweep import Context, trial_key
from lib.networks.classifiers import build_classifier

TINY = replace(
    SIZES,
    controls=1,
    stream=replace(STREAM, steps=12),
    classifier=replace(
        SIZES.classifier,
        data=("digits", "colours"),
        train=(64, 24),
        test=(40, 40),
        width=2,
        base_steps=6,
        batch=16,
    ),
)
(BASE,), (MASKS, SHUFFLED, OWN_SHUFFLED, HEAD) = classifiers(TINY)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def records(context):
    return {trial: run_classifier(trial, context) for trial in (BASE, MASKS, SHUFFLED, HEAD)}


def stored(trial, context) -> dict[str, torch.Tensor]:
    return load_file(context.artefacts / f"{trial_key(trial)}.safetensors")


# the plan


def test_masks_have_the_streams_steps_and_rates():
    bases, on_top = classifiers(replace(SIZES, controls=3))
    assert [trial.seed for trial in bases] == [0, 1, 2] and len(on_top) == 4 * 3
    for trial in bases + on_top:
        rates = (trial.steps, trial.lr, trial.mask_lr)
        assert rates == (STREAM.steps, STREAM.lr, STREAM.mask_lr)
        assert trial.base in bases and trial.base.seed == trial.seed
    kinds = [(trial.learned, trial.data, trial.shuffled) for trial in on_top[:4]]
    assert kinds == [
        ("masks", 1, False),
        ("masks", 1, True),
        ("masks", 0, True),
        ("head", 1, False),
    ]
    pruned = [
        (trial.stream, trial.sizes, trial.seed) for trial in prunings(replace(SIZES, seeds=2))
    ]
    assert pruned == [(STREAM, SIZES.pruned, 0), (STREAM, SIZES.pruned, 1)]


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ValueError, match=r"\('base', 'masks', 'head'\), not 'mask'"):
        replace(MASKS, learned="mask")


# the classifier


def test_layers_have_torchvisions_order():
    """Between two max-pools is a stage; conv3_2 is the second convolution of the third."""
    expected, stage, number = [], 1, 0
    for channels in cfgs["D"]:
        if channels == "M":
            stage, number = stage + 1, 0
        else:
            number += 1
            expected.append(f"conv{stage}_{number}")
    assert list(LAYERS) == expected


def test_masked_weights_are_the_bases_or_zero(records, context):
    base, masked = stored(BASE, context), stored(MASKS, context)
    names = [name for name, values in base.items() if values.ndim == 4]
    names.sort(key=lambda name: int(name.split(".")[1]))  # "layers.10.weight" is after "layers.3"
    shares = []
    for name in names:
        used = masked[name] != 0
        assert torch.equal(masked[name][used], base[name][used])
        shares.append(1 - used.double().mean().item())
    found = records[MASKS]["layers"]
    assert [entry["rate"] for entry in found] == pytest.approx(shares)
    assert [entry["place"] for entry in found] == list(range(13))
    assert max(shares) > 0.05
    assert masked["linear.weight"].shape == (10, 16)


def test_base_and_head_have_no_zeros_and_the_head_has_the_bases_weights(records, context):
    base, head = stored(BASE, context), stored(HEAD, context)
    for trial in (BASE, HEAD):
        assert {entry["rate"] for entry in records[trial]["layers"]} == {0}
    for name, values in base.items():
        if values.ndim == 4 or name.endswith(("1.weight", "4.weight")):
            assert torch.equal(values, head[name])
    moved = [name for name in base if name.endswith("running_mean")]
    assert not any(torch.equal(base[name], head[name]) for name in moved)


def test_scores_by_hand(records, context):
    """Top-1 of the stored network, and how often the test set has the commonest training class."""
    data = load_labelled("colours", train=24, test=40)
    net = build_classifier("vgg16", 10, 2, 0)
    net.load_state_dict(stored(MASKS, context))
    with torch.no_grad():
        logits = net.eval()(data.test_images.float() / 255)
    labels = data.test_labels.tolist()
    right = [row.argmax().item() == label for row, label in zip(logits, labels, strict=True)]
    assert records[MASKS]["top1"] == pytest.approx(100 * sum(right) / 40)
    (commonest, _), *_ = Counter(data.train_labels.tolist()).most_common()
    assert records[MASKS]["largest"] == pytest.approx(100 * labels.count(commonest) / 40)


def test_shuffled_labels_give_another_mask(records):
    rates = [[entry["rate"] for entry in records[t]["layers"]] for t in (MASKS, SHUFFLED)]
    assert rates[0] != rates[1]


# pruning


def test_the_smallest_weights_are_put_to_zero_by_hand():
    net = UNet(3, 2, width=1)
    before = net.encoder["conv2_1"].conv.weight.clone()
    weights = net.encoder["conv1_1"].conv.weight
    assert weights.shape == (1, 3, 3, 3)
    with torch.no_grad():
        weights.copy_(torch.tensor([(-1) ** i * (i + 1.0) for i in range(27)]).view(1, 3, 3, 3))
    prune_layers(net, 0.25, "smallest")
    left = net.encoder["conv1_1"].conv.weight.flatten().tolist()
    # a fourth of 27 is 6.75, so 7: the numbers 1 to 7
    assert left == [0.0] * 7 + [(-1) ** i * (i + 1.0) for i in range(7, 27)]
    after = net.encoder["conv2_1"].conv.weight
    assert (after == 0).sum() == round(0.25 * before.numel())
    assert after[after != 0].abs().min() >= before[after == 0].abs().max()


@pytest.mark.parametrize("which", ["smallest", "random"])
def test_every_layer_loses_the_share_and_nothing_else_does(which):
    net, whole = UNet(3, 2, width=4), UNet(3, 2, width=4).state_dict()
    prune_layers(net, 0.5, which, seed=3)
    names = {f"{name}.weight" for name, layer in net.named_modules()
             if layer in net.weight_layers().values()}  # fmt: skip
    assert len(names) == 22 and net.state_dict().keys() == whole.keys()
    for name, values in net.state_dict().items():
        zeros = (values == 0).sum().item()
        if name in names:
            assert zeros == values.numel() / 2
            assert torch.equal(values[values != 0], whole[name][values != 0])
        else:
            assert torch.equal(values, whole[name])


def test_random_weights_are_the_seeds():
    def zeros(which: str, seed: int) -> torch.Tensor:
        net = UNet(3, 2, width=4)
        prune_layers(net, 0.5, which, seed=seed)
        return net.encoder["conv3_1"].conv.weight == 0

    assert torch.equal(zeros("random", 1), zeros("random", 1))
    assert not torch.equal(zeros("random", 1), zeros("random", 2))
    assert torch.equal(zeros("smallest", 1), zeros("smallest", 2))


@torch.no_grad()
def test_a_pruned_network_is_scored_with_both_kinds_of_statistics(context):
    rows = pd.DataFrame(run_pruned(PruneTrial(STREAM, Pruning((0.0, 0.5), 0)), context)["pruned"])
    rows = rows.set_index(["share", "which", "norms"])["miou"]
    assert len(rows) == 8 and rows.index.is_unique
    trial, task = planned(SIZES, "scratch", 1, 0), stream_task(STREAM, 1, context)
    assert rows[0.0, "random", "stored"] == evaluate(task, unet_base(trial, context))["miou"]
    net = unet_base(trial, context)
    prune_layers(net, 0.5, "smallest")
    assert rows[0.5, "smallest", "stored"] == evaluate(task, net)["miou"]
    # all twelve training images are one batch, so its statistics are theirs
    first = net.encoder["conv1_1"]
    seen = first.conv(task.train.images.float() / 255).detach()
    again = collected(trial, context)
    mean, variance = seen.mean((0, 2, 3)), seen.transpose(0, 1).flatten(1).var(1)
    assert torch.allclose(again.encoder["conv1_1"].norm.running_mean, mean, atol=1e-5)
    assert torch.allclose(again.encoder["conv1_1"].norm.running_var, variance, rtol=1e-3)
    assert rows[0.5, "smallest", "anew"] == evaluate(task, again)["miou"]


def collected(trial, context) -> UNet:
    """The pruned network after one pass in training mode whose statistics count wholly."""
    net = unet_base(trial, context)
    prune_layers(net, 0.5, "smallest")
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    net.train()(stream_task(STREAM, 1, context).train.images.float() / 255)
    return net.eval()


def test_entries_are_rows_with_the_trials_fields():
    records = pd.DataFrame(
        {
            "seed": [3, 4],
            "status": ["ok", "error"],
            "pruned": [[{"share": 0.0, "miou": 9.0}, {"share": 0.5, "miou": 2.0}], None],
        }
    )
    assert entries(records, "pruned", "seed").to_dict("list") == {
        "seed": [3, 3],
        "share": [0.0, 0.5],
        "miou": [9.0, 2.0],
    }


def test_each_kind_has_a_record_of_its_own_and_one_base():
    kinds = (BASE, MASKS, SHUFFLED, OWN_SHUFFLED, HEAD)
    assert len(set(map(trial_key, kinds))) == 5
    assert {trial.base for trial in kinds} == {BASE}
