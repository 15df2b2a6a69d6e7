"""Masks: against networks built by hand; tasks that leave each other alone; files that are safe."""

from __future__ import annotations

import copy
import hashlib
import os

import pytest
import torch
from masked import LAYERS, base, draw_masks, images, task, trained
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

from lib.continual.masks import (
    NORM_POLICIES,
    THRESHOLD,
    MaskedNetwork,
    MaskedTask,
    TaskSwitcher,
    WeightMask,
    digest,
    fingerprint,
    load_task,
    save_task,
    zero_rates,
)
from lib.engine.training import train


def by_hand(network: nn.Module, masked: MaskedNetwork) -> nn.Module:
    """The base with W * m as its weights, weight by weight, and the task's head."""
    plain = copy.deepcopy(network)
    plain.out = copy.deepcopy(masked.network.out)
    for name, mask in masked.masks().items():
        layer = plain.get_submodule(name)
        chosen = [
            w if r > THRESHOLD else 0.0
            for w, r in zip(
                layer.weight.flatten().tolist(), mask.real.flatten().tolist(), strict=True
            )
        ]
        layer.weight = nn.Parameter(torch.tensor(chosen).view(layer.weight.shape))
    return plain


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


def assert_same_state(network: nn.Module, before: dict[str, torch.Tensor]) -> None:
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_every_convolution_but_the_head_is_masked():
    masked = MaskedNetwork(base(), {"out": nn.Conv2d(5, 7, 1)})
    assert {name: mask.real.numel() for name, mask in masked.masks().items()} == LAYERS
    assert all((mask.real == 1e-2).all() for mask in masked.masks().values())
    assert "out" in MaskedNetwork(base()).masks()  # no head of its own: the last layer as well


def test_a_new_task_computes_what_the_base_does():
    network, x = base(), images()
    torch.testing.assert_close(MaskedNetwork(network)(x), network(x), rtol=0, atol=0)
    headed = MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)})
    assert headed(x).shape == (2, 7, 8, 8)


def test_the_masked_network_is_the_one_built_by_hand():
    network, x = base(), images()
    masked = draw_masks(MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)}), seed=3)
    torch.testing.assert_close(masked(x), by_hand(network, masked)(x), rtol=0, atol=0)
    assert not torch.allclose(masked.network.down(x), network.down(x))


def test_the_gradient_passes_straight_through():
    """dL/dr = dL/d(W m) * W, where the first factor comes from the network built by hand."""
    network, x = base(), images()
    masked = draw_masks(MaskedNetwork(network, {"out": nn.Conv2d(5, 7, 1)}), seed=3)
    plain = by_hand(network, masked)
    for model in (masked, plain):
        model(x).pow(3).sum().backward()
    for name, mask in masked.masks().items():
        expected = plain.get_submodule(name).weight.grad * network.get_submodule(name).weight
        torch.testing.assert_close(mask.real.grad, expected.detach(), rtol=1e-5, atol=1e-7)
        assert mask.real.grad[~mask.bits()].abs().max() > 0  # unused weights can come back
    torch.testing.assert_close(masked.network.out.weight.grad, plain.out.weight.grad)


def test_a_number_at_the_threshold_is_zero():
    mask, threshold = WeightMask(torch.ones(3)), torch.tensor(THRESHOLD)
    above = torch.nextafter(threshold, torch.tensor(1.0))
    mask.real.data = torch.stack((threshold, above, torch.tensor(-1.0)))
    assert mask(torch.full((3,), 5.0)).tolist() == [0, 5, 0]
    assert mask.bits().tolist() == [False, True, False]


def test_masked_weights_and_gradients_keep_their_layout():
    """Another layout would be copied in every step."""
    layout = torch.channels_last
    weight = torch.rand(4, 3, 2, 2).to(memory_format=layout)
    mask = WeightMask(weight)
    chosen = mask(weight)
    chosen.square().sum().backward()
    assert not chosen.is_contiguous() and chosen.is_contiguous(memory_format=layout)
    assert mask.real.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("norm", NORM_POLICIES)
@pytest.mark.parametrize(
    ("optimiser", "options"),
    [
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_the_base_is_the_same_to_the_bit_after_training(norm, optimiser, options):
    network = base()
    before, flags = state(network), [p.requires_grad for p in network.parameters()]
    masked = MaskedNetwork(network, {"out": nn.Conv2d(5, 2, 1)}, norm=norm)
    train(
        masked,
        lambda model, x: (model(x) - x[:, :2]).square().mean(),
        lambda step: images(),
        steps=5,
        lr=1e-2,
        optimiser=optimiser,
        optimiser_options=options,
    )
    assert_same_state(network, before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert all(p.grad is None for p in network.parameters())
    inside = masked.network.state_dict()
    for name in LAYERS:
        frozen = masked.network.get_submodule(name).parametrizations.weight.original
        assert torch.equal(frozen, before[f"{name}.weight"]) and frozen.grad is None
        assert (masked.masks()[name].real != 1e-2).any()
    assert torch.equal(inside["up.bias"], before["up.bias"])
    assert masked.base == fingerprint(network)


def test_a_hidden_choice_of_weights_is_found():
    """Targets come from the layer with known weights cut off: training is to find which."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, bias=False)
    hidden, teacher = torch.rand(layer.weight.shape) < 0.6, copy.deepcopy(layer)
    teacher.weight.data.mul_(hidden)
    masked = MaskedNetwork(nn.Sequential(layer))
    train(
        masked,
        lambda model, x: (model(x) - teacher(x).detach()).square().mean(),
        lambda step: torch.randn(16, 8, 5, 5),
        steps=150,
        lr=1e-3,
    )
    found, weight = masked.masks()["0"].bits(), layer.weight.detach().abs()
    assert (found == hidden)[weight > 0.02].float().mean() > 0.97
    assert (found == hidden).float().mean() > 0.9


def test_frozen_norms_use_the_bases_statistics_in_training():
    network, x = base(), images(4)
    masked = MaskedNetwork(network, norm="frozen").train()
    assert masked.training and not masked.network.first.training
    torch.testing.assert_close(masked(x), network(x), rtol=0, atol=0)
    assert_same_state(masked.network.first, network.first.state_dict())
    assert masked.task().norms == {}


@pytest.mark.parametrize("norm", ["statistics", "affine"])
def test_own_statistics_start_as_the_bases_and_follow_the_data(norm):
    network, x = base(), images(4)
    masked = MaskedNetwork(network, norm=norm).train()
    old, features = network.first.running_mean.clone(), network.down(x).detach()
    masked(x)
    expected = 0.9 * old + 0.1 * features.mean((0, 2, 3))
    torch.testing.assert_close(masked.task().norms["first.running_mean"], expected)
    torch.testing.assert_close(network.first.running_mean, old, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("norm", "learnt", "kept"),
    [
        ("frozen", [], []),
        ("statistics", [], ["running_mean", "running_var", "num_batches_tracked"]),
        (
            "affine",
            ["weight", "bias"],
            ["running_mean", "running_var", "num_batches_tracked", "weight", "bias"],
        ),
    ],
)
def test_what_each_norm_policy_trains_and_keeps(norm, learnt, kept):
    masked = trained(base(), 1, norm)
    norms = ("first", "deep.norm")
    free = {name for name, p in masked.network.named_parameters() if p.requires_grad}
    reals = {f"{name}.parametrizations.weight.0.real" for name in LAYERS}
    head = {"out.weight", "out.bias"}
    assert free == reals | head | {f"{layer}.{key}" for layer in norms for key in learnt}
    own = masked.task().norms
    assert own.keys() == {f"{layer}.{key}" for layer in norms for key in kept}
    before = base().state_dict()
    assert all(not torch.equal(values, before[name]) for name, values in own.items())


def test_masks_and_norms_stay_within_a_part():
    network = base()
    masked = MaskedNetwork(network, within="deep", norm="affine")
    assert list(masked.masks()) == ["deep.conv"]
    free = {name for name, p in masked.network.named_parameters() if p.requires_grad}
    assert free == {
        "deep.conv.parametrizations.weight.0.real",
        "deep.norm.weight",
        "deep.norm.bias",
    }
    masked.train()(images())
    assert {name.rsplit(".", 1)[0] for name in masked.task().norms} == {"deep.norm"}
    assert_same_state(masked.network.first, network.first.state_dict())
    assert not torch.equal(masked.network.deep.norm.running_mean, network.deep.norm.running_mean)


def test_a_part_is_not_every_name_that_starts_alike():
    network = nn.Sequential()
    network.conv1, network.conv10 = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    assert MaskedNetwork(network, within="conv1").masked == ("conv1",)
    assert MaskedNetwork(network, {"conv1": nn.Conv2d(1, 2, 1)}).masked == ("conv10",)


def test_a_task_is_a_copy():
    masked = trained(base(), 1)
    task, x = masked.task(), images()
    mask, head = task.masks["up"].clone(), task.heads["out"](torch.ones(1, 5, 2, 2))
    masks = masked.masks()
    with torch.no_grad():
        masks["up"].real.zero_()
        masked.network.out.weight.zero_()
        masked.network.first.running_mean.zero_()
    masked(x)
    assert torch.equal(task.masks["up"], mask) and mask.any()
    assert torch.equal(task.heads["out"](torch.ones(1, 5, 2, 2)), head)
    assert task.norms["first.running_mean"].abs().max() > 0
    assert not any(p.requires_grad for p in task.heads["out"].parameters())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heads": {"last": nn.Conv2d(5, 7, 1)}}, "no layer 'last'"),
        ({"within": "blocks"}, "no layer 'blocks'"),
        ({"within": "first"}, "first has no convolution"),
        ({"norm": "batch"}, "frozen, statistics, affine, not 'batch'"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        MaskedNetwork(base(), **options)


def test_a_weight_that_is_already_parametrized_is_refused():
    network = base()
    parametrizations.weight_norm(network.up)
    with pytest.raises(ValueError, match="'up' is already parametrized"):
        MaskedNetwork(network)
    with pytest.raises(ValueError, match="already parametrized"):
        MaskedNetwork(trained(base(), 1).network)


# finished tasks


def test_a_digest_by_hand():
    tensors = {"b": torch.tensor([1, 2], dtype=torch.uint8), "a": torch.tensor(True)}
    text = b"said\na torch.bool ()\n\x01\nb torch.uint8 (2,)\n\x01\x02"
    assert digest(tensors, "said") == hashlib.sha256(text).hexdigest()


def test_equal_networks_have_one_fingerprint():
    network = base()
    assert (
        fingerprint(network) == fingerprint(base()) == fingerprint(copy.deepcopy(network).train())
    )
    assert fingerprint(network.to(memory_format=torch.channels_last)) == fingerprint(base())


def one_bit(network: nn.Module, name: str) -> None:
    values = network.state_dict()[name].view(-1)
    values.view(torch.uint8)[0] ^= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda n: one_bit(n, "deep.conv.weight"),
        lambda n: one_bit(n, "up.bias"),
        lambda n: one_bit(n, "first.running_var"),
        lambda n: setattr(n, "other", nn.Parameter(torch.zeros(0))),
        lambda n: n.double(),
        lambda n: setattr(n, "out", nn.Conv2d(5, 5, 1)),
    ],
)
def test_any_change_changes_the_fingerprint(change):
    network = base()
    change(network)
    assert fingerprint(network) != fingerprint(base())


@pytest.mark.parametrize("norm", NORM_POLICIES)
def test_the_switched_network_is_the_trained_one(norm):
    network, x = base(), images()
    networks = {f"task {seed}": trained(network, seed, norm, classes=seed) for seed in (2, 5, 3)}
    switcher = TaskSwitcher(network, {name: net.task() for name, net in networks.items()})
    plain = network(x)
    order = [None, "task 2", "task 5", "task 5", None, "task 3", "task 2", None]
    for name in order:
        expected = networks[name](x) if name else plain
        found = switcher.use(name)
        assert found is switcher.network and not found.training
        torch.testing.assert_close(found(x), expected, rtol=0, atol=0)
    assert fingerprint(switcher.network) == fingerprint(network) == fingerprint(base())


def test_a_task_leaves_nothing_to_the_next():
    """One task has masks in a part, no head and no norm; the other has all of them."""
    network, x = base(), images()
    part = MaskedNetwork(network, within="deep")
    part.masks()["deep.conv"].real.data[::2] = 0
    part.eval()
    whole = trained(network, 4)
    switcher = TaskSwitcher(network, {"whole": whole.task(), "part": part.task()})
    for name, expected in (("whole", whole), ("part", part), ("whole", whole)):
        torch.testing.assert_close(switcher.use(name)(x), expected(x), rtol=0, atol=0)
    assert not torch.allclose(part(x), network(x))


def test_the_base_and_the_tasks_are_left_alone():
    network = base().train()
    one = task(network)
    before = {name: values.clone() for name, values in one.heads["out"].state_dict().items()}
    switcher = TaskSwitcher(network, {"one": one})
    with torch.no_grad():
        switcher.use("one").out.weight.zero_()
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in one.heads["out"].state_dict().items())
    assert fingerprint(network) == one.base


def test_a_task_of_another_base_is_refused():
    mine, other = base(), base(seed=1)
    with pytest.raises(ValueError, match=rf"'voc' belongs to base network {fingerprint(mine)[:8]}"):
        TaskSwitcher(other, {"fits": task(other), "voc": task(mine)})


@pytest.mark.parametrize("name", ["coco", ""])
def test_an_unknown_task_is_refused_and_nothing_is_switched(name):
    switcher = TaskSwitcher(base(), {"voc": task(base()), "gogh": task(base(), 2)})
    before = fingerprint(switcher.use("voc"))
    with pytest.raises(ValueError, match=f"no task '{name}'; there are voc, gogh"):
        switcher.use(name)
    assert fingerprint(switcher.network) == before != fingerprint(base())


# files


def head(classes: int = 7) -> dict[str, nn.Module]:
    return {"out": nn.Conv2d(5, classes, 1)}


def assert_equal(found: MaskedTask, expected: MaskedTask) -> None:
    assert (found.base, found.norm) == (expected.base, expected.norm)
    for a, b in ((found.masks, expected.masks), (found.norms, expected.norms)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in b)
    assert found.heads.keys() == expected.heads.keys()
    for name, module in expected.heads.items():
        kept = found.heads[name].state_dict()
        assert all(torch.equal(kept[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("norm", NORM_POLICIES)
def test_a_file_gives_the_task_back(tmp_path, norm):
    network, path = base(), tmp_path / "new" / "voc.safetensors"
    saved, empty = task(network, norm=norm), head()
    unset = empty["out"].weight.clone()
    save_task(path, saved)
    found = load_task(path, network, empty)
    assert_equal(found, saved)
    assert torch.equal(empty["out"].weight, unset)  # a copy was filled
    x = images()
    one, other = (TaskSwitcher(network, {"t": t}).use("t")(x) for t in (saved, found))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_file_as_others_see_it(tmp_path):
    network, path = base(), tmp_path / "voc.safetensors"
    saved = task(network)
    save_task(path, saved)
    tensors = load_file(path)
    sizes = {name: len(values) for name, values in tensors.items() if name.startswith("mask/")}
    assert sizes == {f"mask/{name}": -(-count // 8) for name, count in LAYERS.items()}
    for name, mask in saved.masks.items():  # bits from the highest, the last byte filled with 0
        digits = "".join("01"[bit] for bit in mask.flatten().tolist()) + "0" * (-mask.numel() % 8)
        expected = [int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)]
        assert tensors[f"mask/{name}"].tolist() == expected
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["base"] == fingerprint(network) and about["norm"] == "affine"
    assert {"norm/first.running_var", "norm/deep.norm.weight", "head/out/bias"} <= set(tensors)


def test_another_base_is_refused(tmp_path):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    named = rf"voc\.safetensors belongs to base network {fingerprint(base())[:8]}, this one is "
    with pytest.raises(ValueError, match=named + fingerprint(base(1))[:8]):
        load_task(path, base(1), head())


@pytest.mark.parametrize(
    ("heads", "named"),
    [
        (head(6), r"out/weight \(7, 5, 1, 1\), given are .*out/weight \(6, 5, 1, 1\)"),
        ({"last": nn.Conv2d(5, 7, 1)}, "given are last/bias"),
        ({"out": nn.Conv2d(5, 7, 1, bias=False)}, r"given are out/weight \(7, 5, 1, 1\)$"),
        (head() | {"up": nn.Conv2d(1, 1, 1)}, "given are out/bias .*up/bias"),
        (None, "given are none"),
    ],
)
def test_other_heads_are_refused(tmp_path, heads, named):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    with pytest.raises(ValueError, match=named):
        load_task(path, base(), heads)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base(), norm="frozen"))
    whole = path.read_bytes()
    for length in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"voc\.safetensors is damaged or no mask file"):
            load_task(path, base(), head())


def test_every_damaged_byte_is_refused(tmp_path):
    path, network = tmp_path / "voc.safetensors", base()
    save_task(path, task(network, norm="frozen"))
    whole = path.read_bytes()
    for place in [*range(0, 9), *range(9, len(whole), 23), len(whole) - 1]:
        if whole[place : place + 1] == b" ":
            continue  # the header is filled up with blanks
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged or no mask file"):
            load_task(path, network, head())


def test_metadata_of_another_task_is_damage(tmp_path):
    """Tensors as they were, said to be of another base or policy."""
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    with safe_open(path, "pt") as file:
        about = file.metadata()
    for key in ("base", "norm"):
        save_file(load_file(path), tmp_path / "changed", about | {key: fingerprint(base(1))})
        with pytest.raises(ValueError, match="checksum does not fit"):
            load_task(tmp_path / "changed", base(1), head())


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is None:
        save_file(base().state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged or no mask file"):
        load_task(path, base(), head())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="voc"):
        load_task(tmp_path / "voc.safetensors", base(), head())


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path, network = tmp_path / "voc.safetensors", base()
    first = task(network)
    save_task(path, first)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"voc\.safetensors could not be written"):
        save_task(path, task(network, seed=2))
    assert_equal(load_task(path, network, head()), first)
    assert os.listdir(tmp_path) == ["voc.safetensors"]


def test_a_loaded_task_does_not_follow_its_file(tmp_path):
    path, network = tmp_path / "voc.safetensors", base()
    first = task(network)
    save_task(path, first)
    found = load_task(path, network, head())
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_equal(found, first)


def test_zero_rates_by_hand():
    one = {
        "conv1": torch.tensor([[True, False], [False, False]]),
        "conv2": torch.tensor([True] * 9 + [False]),
        "up": torch.ones(2, dtype=torch.bool),
    }
    rates = zero_rates(one)
    assert rates == {"conv1": 0.75, "conv2": pytest.approx(0.1), "up": 0}
    assert list(rates) == ["conv1", "conv2", "up"]
