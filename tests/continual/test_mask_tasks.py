"""Fingerprints, and one network that becomes each of its tasks."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from masked import base, images, task, trained
from torch import nn

from lib.continual.mask_tasks import TaskSwitcher, digest, fingerprint
from lib.continual.masks import NORM_POLICIES, MaskedNetwork


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


def test_a_transposed_weight_has_another_fingerprint():
    square = torch.arange(4.0).view(2, 2)
    assert (
        len({digest({"w": w}) for w in (square, square.T, square.view(4), square.view(1, 4))}) == 4
    )


def test_a_digest_is_of_values_and_not_of_memory():
    spread = torch.arange(6.0)[::2]
    assert digest({"w": spread}) == digest({"w": torch.tensor([0.0, 2.0, 4.0])})


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
