"""Multi-task networks: what feeds what, what is trained and what is not, where they begin."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lib.multitask.networks import (
    NETWORKS,
    SHARED,
    HardSharing,
    MultiTask,
    Shape,
    matched_widths,
    multitask_network,
)
from lib.networks.sizes import count_parameters

TASKS = {"points": 3, "labels": 2}
FUSIONS = ("concat", "conv1x1")
SHAPE = Shape(widths=(4, 6), size=8, hidden=5)
EVERY = [(name, {}) for name in NETWORKS if name != "separation"]
EVERY += [("separation", {"fusion": fusion}) for fusion in FUSIONS]
LATE = [("hard sharing", {"late": 1})]
LATE += [("separation", {"fusion": fusion, "late": 1}) for fusion in FUSIONS]
every = pytest.mark.parametrize(("name", "options"), EVERY, ids=str)
fusions = pytest.mark.parametrize("fusion", FUSIONS)


def make(name: str, tasks=TASKS, *, seed=0, widths=(4, 6), size=8, **options) -> MultiTask:
    return multitask_network(name, tasks, Shape(widths, size, 5), seed=seed, **options)


def pictures(count=7, size=8, seed=0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def learn(network: MultiTask, steps=4, size=8) -> None:
    """SGD with momentum, on any targets."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.train()
    for step in range(steps):
        optimiser.zero_grad()
        sum((out - 1).square().mean() for out in network(pictures(seed=step)).values()).backward()
        optimiser.step()


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(each, second[name]) for name, each in first.items()
    )


def stage1() -> MultiTask:
    """A hard-sharing network whose weights and statistics are not those of the start."""
    network = make("hard sharing", seed=3)
    learn(network)
    return network.eval()


# shapes and sizes


@every
@pytest.mark.parametrize(
    ("widths", "size", "outputs"),
    [((4, 6), 8, (3,)), ((5,), 2, (1, 4)), ((2, 3, 4, 4), 48, (10, 19)), ((4, 4), 12, (2, 1, 5))],
)
def test_shapes(name, options, widths, size, outputs):
    tasks = {f"task {place}": count for place, count in enumerate(outputs)}
    network = make(name, tasks, widths=widths, size=size, **options)
    found = network(pictures(3, size))
    assert {task: tuple(each.shape) for task, each in found.items()} == {
        task: (3, count) for task, count in tasks.items()
    }
    maps = network.features(pictures(3, size))
    streams = {"hard sharing": {SHARED}, "mtan": {SHARED, *tasks}, "separation": {SHARED, *tasks}}
    assert maps.keys() == streams.get(name, set(tasks))
    shapes = [
        (3, width, size >> layer + 1, size >> layer + 1) for layer, width in enumerate(widths)
    ]
    for layers in maps.values():
        assert [tuple(each.shape) for each in layers] == shapes


@pytest.mark.parametrize(("name", "options"), EVERY + LATE, ids=str)
def test_one_image_does_not_hang_on_the_others(name, options):
    network = make(name, **options).eval()
    images = pictures()
    alone = network(images[2:3])
    for task, each in network(images).items():
        torch.testing.assert_close(each[2:3], alone[task], atol=1e-6, rtol=1e-5)


def stream_weights(grown: int) -> int:
    """3 x 3 convolutions without bias and two weights a channel of the batch norms."""
    return (3 * 4 * 9 + 2 * 4) + (grown * 4 * 6 * 9 + 2 * 6)


def head_weights(inputs: int) -> int:
    return sum((inputs + 1) * 5 + (5 + 1) * outputs for outputs in (3, 2))


ONE = 6 * 2 * 2  # features below a head: 8 px are halved twice
MASKS = (4 * 4 + 8 + 4 * 4 + 8) + ((6 + 6) * 6 + 12 + 6 * 6 + 12)


PLAIN, DOUBLE, HEADS = stream_weights(1), stream_weights(2), head_weights(ONE)
FIRST = 3 * 4 * 9 + 2 * 4  # the first layer of a stream


@pytest.mark.parametrize(
    ("name", "options", "total", "still"),
    [
        ("hard sharing", {}, PLAIN + HEADS, 0),
        ("independent", {}, 2 * PLAIN + HEADS, 0),
        ("separation", {"fusion": "concat"}, PLAIN + 2 * DOUBLE + head_weights(2 * ONE), PLAIN),
        ("separation", {"fusion": "conv1x1"}, 3 * PLAIN + 2 * (8 * 4 + 12 * 6) + HEADS, PLAIN),
        (
            "separation",
            {"fusion": "concat", "frozen": False},
            PLAIN + 2 * DOUBLE + head_weights(2 * ONE),
            0,
        ),
        ("cross-stitch", {}, 2 * PLAIN + 2 * 2 * (4 + 6) + HEADS, 0),
        ("mtan", {}, PLAIN + 2 * MASKS + (4 * 6 * 9 + 12) + HEADS, 0),  # steps for both tasks
        ("hard sharing", {"late": 1}, FIRST + 2 * (PLAIN - FIRST) + HEADS, 0),
        ("separation", {"fusion": "concat", "late": 1}, FIRST + 2 * DOUBLE + HEADS, FIRST),
        (
            "separation",
            {"fusion": "conv1x1", "late": 1},
            FIRST + 2 * (PLAIN + 8 * 4) + HEADS,
            FIRST,
        ),
    ],
)
def test_weights_by_hand(name, options, total, still):
    network = make(name, **options)
    assert count_parameters(network) == total
    assert count_parameters(network, trained_only=True) == total - still


# the separation network


@fusions
@pytest.mark.parametrize("frozen", [True, False])
def test_separation_by_a_loop_of_its_own(fusion, frozen):
    """Every layer of a task, and its head, sees [own, shared]; the shared ones see no task."""
    network = make("separation", fusion=fusion, frozen=frozen, widths=(4, 6, 3), size=16).train()
    learned = copied(network)
    images = pictures(size=16)
    found = network(images)
    network.load_state_dict(learned)  # the statistics moved
    for task in TASKS:
        own = shared = images
        for layer in range(3):
            own = network.streams[task][layer](own)
            shared = network.streams[SHARED][layer](shared)
            if not frozen:  # once a task: let the statistics be what they were
                network.streams[SHARED].load_state_dict(
                    {n.removeprefix("streams.shared."): each for n, each in learned.items()
                     if n.startswith("streams.shared.")}
                )  # fmt: skip
            if layer == 2:
                last = torch.cat([own, shared], 1)
                if fusion == "conv1x1":
                    last = network.fusions[task][layer](last)
                break
            own = torch.cat([own, shared], 1)
            if fusion == "conv1x1":
                own = nn.functional.conv2d(own, network.fusions[task][layer].weight)
        torch.testing.assert_close(found[task], network.heads[task](last), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("late", [1, 2])
def test_late_layers_read_their_own_stream_alone(late):
    """Where there is a shared stream as in the network without late layers, behind it as alone."""
    networks = [
        make("separation", fusion="concat", late=each, widths=(4, 6, 3), size=16).eval()
        for each in (late, 0)
    ]
    images, late_one = pictures(size=16), networks[0]
    maps = late_one.features(images)
    assert len(maps[SHARED]) == 3 - late and len(maps["points"]) == 3
    for task in TASKS:
        own, shared = images, images
        for layer in range(3):
            own = late_one.streams[task][layer](own)
            if layer < 3 - late:
                shared = late_one.streams[SHARED][layer](shared)
                own_and_shared = torch.cat([own, shared], 1)
            else:
                own_and_shared = own
            torch.testing.assert_close(maps[task][layer], own, atol=1e-6, rtol=1e-5)
            own = own_and_shared
        expected = late_one.heads[task](own)
        torch.testing.assert_close(late_one(images)[task], expected, atol=1e-6, rtol=1e-5)


def test_hard_sharing_with_late_layers():
    """Figure 1 of the paper: a task teaches the shared layers and its own late ones."""
    network, images = make("hard sharing", widths=(4, 6, 3), late=2).eval(), pictures()
    shared = network.streams[SHARED][0](images)
    for task in TASKS:
        own = shared
        for layer in network.streams[task]:
            own = layer(own)
        expected = network.heads[task](own)
        torch.testing.assert_close(network(images)[task], expected, atol=1e-6, rtol=1e-5)
    network(images)["points"].square().sum().backward()
    grads = {n: next(iter(s.parameters())).grad for n, s in network.streams.items()}
    assert grads["labels"] is None
    assert (grads[SHARED] != 0).any() and (grads["points"] != 0).any()
    taken = make("separation", widths=(4, 6, 3), fusion="concat", late=2)
    taken.begin_at(network, copied=False)
    assert equal(copied(taken.streams[SHARED]), copied(network.streams[SHARED]))


@fusions
def test_the_frozen_stream_stays_to_the_bit(fusion):
    network = make("separation", fusion=fusion)
    network.begin_at(stage1(), copied=False)
    before, tasks = copied(network.streams[SHARED]), copied(network.streams["points"])
    assert any("running_var" in name for name in before)
    learn(network)
    assert equal(before, copied(network.streams[SHARED]))
    after = copied(network.streams["points"])
    assert all(not torch.equal(each, after[name]) for name, each in tasks.items())
    assert all(each.grad is None for each in network.streams[SHARED].parameters())
    for task in TASKS:
        streams = (network.streams[task], network.heads[task])
        assert all((p.grad != 0).any() for each in streams for p in each.parameters())


@fusions
def test_a_free_stream_learns(fusion):
    network = make("separation", fusion=fusion, frozen=False)
    before = copied(network.streams[SHARED])
    learn(network)
    after = copied(network.streams[SHARED])
    assert all(not torch.equal(each, after[name]) for name, each in before.items())


@pytest.mark.parametrize("frozen", [True, False])
def test_modes(frozen):
    network = make("separation", fusion="concat", frozen=frozen)
    assert network.train() is network
    assert network.streams[SHARED].training != frozen
    assert all(not layer.training for layer in network.streams[SHARED]) == frozen
    assert network.streams["points"].training and network.heads.training
    assert not any(each.training for each in network.eval().modules())


def test_with_copies_passed_on_it_begins_at_stage_1():
    first, images = stage1(), pictures()
    expected = first(images)
    for passed in (True, False):
        network = make("separation", fusion="conv1x1").eval()
        network.begin_at(first, copied=True)
        if passed:
            network.pass_own()
        for task, each in network(images).items():
            assert torch.allclose(each, expected[task], atol=1e-6) == passed
            assert (each - expected[task]).abs().max() > 0.01 or passed


def test_passing_on_lets_the_shared_half_in_later():
    """The weights of the shared half begin at 0 but have a gradient."""
    network = make("separation", fusion="conv1x1")
    network.pass_own()
    for layers in network.fusions.values():
        for fuse, width in zip(layers, SHAPE.widths, strict=True):
            assert torch.equal(fuse.weight[:, :width, 0, 0], torch.eye(width))
            assert (fuse.weight[:, width:] == 0).all()
    learn(network, steps=1)
    for layers in network.fusions.values():
        for fuse, width in zip(layers, SHAPE.widths, strict=True):
            assert (fuse.weight[:, width:] != 0).any()


def test_concatenation_cannot_take_weights_of_stage_1():
    """The paper's reason for the 1 x 1 convolution."""
    with pytest.raises(RuntimeError, match="size mismatch"):
        make("separation", fusion="concat").begin_at(stage1(), copied=True)


def test_copies_do_not_share_memory():
    first = stage1()
    before = copied(first)
    for network in (make("separation", fusion="conv1x1", frozen=False), make("independent")):
        network.begin_at(first, copied=True)
        for task in TASKS:
            assert equal(copied(network.streams[task]), copied(first.streams[SHARED]))
            assert equal(copied(network.heads[task]), copied(first.heads[task]))
        learn(network)
        assert equal(copied(first), before)


# the others


@pytest.mark.parametrize(
    ("name", "options", "taught"),
    [
        ("independent", {}, {"points": True, "labels": False}),
        ("cross-stitch", {}, {"points": True, "labels": True}),
        ("hard sharing", {}, {SHARED: True}),
        ("mtan", {}, {SHARED: True}),
        (
            "separation",
            {"fusion": "concat", "frozen": False},
            {SHARED: True, "points": True, "labels": False},
        ),
    ],
)
def test_which_streams_a_task_teaches(name, options, taught):
    network = make(name, **options)
    network(pictures())["points"].square().sum().backward()
    assert taught == {
        stream: any(p.grad is not None and bool((p.grad != 0).any()) for p in layers.parameters())
        for stream, layers in network.streams.items()
    }
    assert all(p.grad is None for p in network.heads["labels"].parameters())


def test_hard_sharing_is_its_stream_and_heads():
    network, x = make("hard sharing").eval(), pictures()
    found = network(x)
    for layer in network.streams[SHARED]:
        x = nn.functional.relu(layer[1](nn.functional.conv2d(x, layer[0].weight, padding=1)))
        x = nn.functional.max_pool2d(x, 2)
    for task, head in network.heads.items():
        hidden = nn.functional.relu(x.flatten(1) @ head[1].weight.T + head[1].bias)
        expected = hidden @ head[3].weight.T + head[3].bias
        torch.testing.assert_close(found[task], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_stitches_begin_at_nine_tenths_of_the_own(count):
    network = make("cross-stitch", {f"t{place}": 1 for place in range(count)})
    for stitch, width in zip(network.stitches, SHAPE.widths, strict=True):
        assert stitch.shape == (count, count, width)
        own = stitch.diagonal(dim1=0, dim2=1)
        torch.testing.assert_close(own, torch.full((width, count), 0.9))
        rest = stitch.sum(1) - own.T
        torch.testing.assert_close(rest, torch.full_like(rest, 0.1 if count > 1 else 0.0))


def test_stitches_mix_channel_by_channel():
    network = make("cross-stitch")
    maps = {task: [torch.rand(2, 4, 3, 3)] for task in TASKS}
    network.stitches[0].data.copy_(torch.rand(2, 2, 4))
    found, (points, labels) = network.mix(0, maps), (maps[task][0] for task in TASKS)
    for row, task in enumerate(TASKS):
        own, other = (network.stitches[0][row, column][:, None, None] for column in (0, 1))
        torch.testing.assert_close(found[task], own * points + other * labels)


def test_masks_only_take_away():
    network = make("mtan", widths=(4, 6, 6)).train()
    seen = []
    for layers in network.masks.values():
        for mask in layers:
            mask.register_forward_hook(lambda _, given, mask: seen.append(mask))
    maps = network.features(pictures(16))
    assert len(seen) == 6
    assert all(((each > 0) & (each < 1)).all() for each in seen)
    for task in TASKS:
        for picked, shared in zip(maps[task], maps[SHARED], strict=True):
            assert (picked.abs() <= shared.abs()).all()
            assert (picked < shared).any()
    assert not torch.equal(maps["points"][0], maps["labels"][0])


def test_masks_look_at_what_was_picked_before():
    network, x = make("mtan").eval(), pictures()
    before = network.features(x)
    network.masks["points"][0][-2].bias.data.add_(-2)  # picks less in the first layer
    after = network.features(x)
    assert (after["points"][0] <= before["points"][0]).all()
    assert not torch.allclose(before["points"][1], after["points"][1])
    assert torch.equal(before["labels"][1], after["labels"][1])


def test_one_set_of_layers_carries_on_what_each_task_picked():
    """As in the authors' code; its batch norm sees the maps of every task."""
    network = make("mtan", widths=(4, 6, 6))
    read = []
    network.steps[0].register_forward_hook(lambda _, given, __: read.append(given[0]))
    maps = network.train().features(pictures())
    assert len(network.steps) == 2 and len(read) == 2
    for given, task in zip(read, TASKS, strict=True):
        assert torch.equal(given, maps[task][0])


# beginnings, and what is refused


@every
def test_a_seed_decides_the_weights(name, options):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = make(name, **options)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert equal(copied(first), copied(make(name, **options)))
    other = make(name, seed=1, **options)
    weights = [n for n, each in first.named_parameters() if n.endswith("weight") and each.ndim > 1]
    assert len(weights) > 3
    assert all(not torch.equal(first.get_parameter(n), other.get_parameter(n)) for n in weights)


def test_kinds_of_networks_begin_different():
    """Or single-task streams would resemble a shared one for their first weights."""
    first = [make(name, **options).streams for name, options in EVERY]
    kernels = [next(iter(streams.values()))[0][0].weight for streams in first]
    streams = make("independent").streams.values()  # of one network
    for one, other in (*pairwise(kernels[:-1]), [stream[0][0].weight for stream in streams]):
        assert not torch.equal(one, other)  # the last two kernels are the fusions of one kind


def test_matched_widths():
    """Hard sharing as large as the paper's network, all widths grown by one factor."""
    shape = Shape((16, 32, 32), 24, 8)
    widths = matched_widths(tuple(TASKS.items()), shape)
    found = count_parameters(HardSharing(TASKS, shape._replace(widths=widths)))
    paper = count_parameters(multitask_network("separation", TASKS, shape, seed=0, fusion="concat"))
    assert found == pytest.approx(paper, rel=0.04)
    ratios = [new / old for new, old in zip(widths, shape.widths, strict=True)]
    assert min(ratios) > 1.2 and max(ratios) - min(ratios) < 0.05


@pytest.mark.parametrize(
    ("name", "tasks", "options", "match"),
    [
        ("hard sharing", TASKS, {"size": 10}, "no whole number"),
        ("mtan", TASKS, {"widths": (4,) * 4}, "no whole number"),
        ("separation", TASKS, {"fusion": "sum"}, "fusion must be concat or conv1x1"),
        ("separation", TASKS, {"fusion": ""}, "fusion must be concat or conv1x1"),
        ("nddr", TASKS, {}, "network must be one of"),
    ],
)
def test_refused(name, tasks, options, match):
    with pytest.raises(ValueError, match=match):
        make(name, tasks, **options)
