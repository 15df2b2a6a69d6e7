"""Classifiers against torchvision's layers, sizes counted by hand, and published weights."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
import torch
from torch import nn

from lib.data.catalogue import DATASETS, locate
from lib.data.labelled import load_labelled
from lib.networks import classifiers
from lib.networks.classifiers import (
    CLASSIFIERS,
    IMAGENET,
    ResNet,
    build_classifier,
    pretrained_resnet,
    vgg5,
    vgg16,
)
from lib.networks.sizes import count_parameters


def small(architecture: str, classes: int = 4, seed: int = 0) -> nn.Module:
    return build_classifier(architecture, classes, 4, seed).eval()


def with_random_norms(network: nn.Module) -> nn.Module:
    """So that the running statistics and the affine part of every norm matter."""
    rng = torch.Generator().manual_seed(5)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2, generator=rng)
            nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=rng)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=rng)
            nn.init.normal_(layer.bias, std=0.2, generator=rng)
    return network


@pytest.mark.parametrize(("width", "classes"), [(64, 10), (3, 7)])
def test_vgg16_parameters(width, classes):
    """Layer by layer from the paper's table D; weight, bias, and two for the norm."""
    maps = [3] + [width * factor for factor in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
    expected = sum(9 * a * b + b + 2 * b for a, b in pairwise(maps)) + 8 * width * classes + classes
    assert count_parameters(vgg16(classes, width)) == expected
    if width == 64:
        assert expected == 14_728_266


@pytest.mark.parametrize(("width", "classes"), [(32, 10), (5, 7)])
def test_vgg5_parameters(width, classes):
    """Maps 3, w, 2 w, 4 w, 8 w: 27 w + 9 (2 + 8 + 32) w^2; a bias and a norm on 15 w maps."""
    expected = 378 * width**2 + 27 * width + 3 * 15 * width + 8 * width * classes + classes
    assert count_parameters(vgg5(classes, width)) == expected
    if width == 32:
        assert expected == 391_946


@pytest.mark.parametrize(("blocks", "width", "classes"), [(3, 16, 10), (3, 5, 7), (9, 16, 10)])
def test_resnet_parameters(blocks, width, classes):
    """With 3 blocks, in units of 9 w^2: 6 + (2 + 5 * 4) + (8 + 5 * 16); 7 + 6 * 2 + 6 * 4 norms."""
    c = 2 * blocks  # convolutions of a stage
    convolutions = 27 * width + 9 * width**2 * (c + (2 + (c - 1) * 4) + (8 + (c - 1) * 16))
    expected = convolutions + 2 * width * (1 + 7 * c) + 4 * width * classes + classes
    assert count_parameters(ResNet(blocks, classes, width)) == expected
    if width == 16:
        assert expected == {3: 269_722, 9: 853_018}[blocks]


@pytest.mark.parametrize(
    ("build", "plan"),
    [(vgg16, None), (vgg5, [64, "M", 128, "M", 256, "M", 512, "M"])],
    ids=["vgg16", "vgg5"],
)
def test_a_vgg_computes_what_torchvisions_layers_compute(build, plan):
    from torchvision.models.vgg import cfgs, make_layers
    from torchvision.transforms.v2.functional import normalize

    ours = with_random_norms(build(10).eval())
    layers = make_layers(plan or cfgs["D"], batch_norm=True).eval()
    mine, theirs = ours.layers.state_dict(), layers.state_dict()
    layers.load_state_dict(dict(zip(theirs, mine.values(), strict=True)))
    images = torch.rand(2, 3, 32, 32)
    normalised = normalize(images, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    with torch.no_grad():
        expected = ours.linear(layers(normalised).mean((2, 3)))  # 1 or 2 x 2 pixels are left
        torch.testing.assert_close(ours(images), expected)
    assert expected.std() > 1e-3


def test_option_a_takes_every_second_pixel_and_adds_empty_channels_around():
    """With the residuals switched off the stem's output comes through the shortcuts alone."""
    network = with_random_norms(small("resnet20"))
    for name, layer in network.named_modules():
        if name.endswith("bn2"):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    x = torch.rand(2, 3, 32, 32)
    expected = torch.zeros(2, 16, 8, 8)
    expected[:, 6:10] = network.bn1(network.conv1(x)).clamp(min=0)[:, :, ::4, ::4]
    torch.testing.assert_close(network.features(x), expected)
    assert expected.std() > 0.05


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_normalisation_is_inside(architecture):
    """The same network without it answers alike on (x - mean) / std; pixels get gradient / std."""
    column = torch.tensor([(0.1, 0.2, 0.3), (0.5, 0.25, 2.0)])[:, None, :, None, None]
    inside, outside = small(architecture), small(architecture)
    for network, values in ((inside, column[:, 0]), (outside, torch.tensor([0, 1]).view(2, 1))):
        network.mean.copy_(values[0]), network.std.copy_(values[1])
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    normalised = ((pixels.detach() - column[0]) / column[1]).requires_grad_()
    torch.testing.assert_close(inside(pixels), outside(normalised))
    inside(pixels)[:, 1].sum().backward()
    outside(normalised)[:, 1].sum().backward()
    torch.testing.assert_close(pixels.grad, normalised.grad / column[1])
    assert pixels.grad.abs().max() > 1e-6


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_sizes(architecture):
    network = small(architecture)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert network(torch.rand(1, 3, 64, 96)).shape == (1, 4)
    for shape in ((1, 3, 28, 32), (1, 3, 32, 40), (1, 1, 32, 32)):
        with pytest.raises(ValueError, match=r"multiples of 32, not \(1, "):
            network(torch.rand(shape))


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_the_seed_alone_decides_the_weights(architecture):
    first = small(architecture, seed=3).state_dict()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = small(architecture, seed=3).state_dict(), small(architecture, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    changed = [name for name, p in other.named_parameters() if not torch.equal(p, first[name])]
    weights = [name for name, p in other.named_parameters() if p.ndim > 1]
    assert set(weights) <= set(changed)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_it_learns_eight_images_by_heart(architecture):
    network = build_classifier(architecture, 4, 8, 0)
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
    assert loss < 0.1 and torch.equal(network(images).argmax(1), labels)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match=r"\('vgg16', 'vgg5', 'resnet20', .*\), not 'alexnet'"):
        build_classifier("alexnet", 10, 16, 0)
    for classes, width, name in ((0, 4, "classes"), (10, 0, "width")):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
            build_classifier("vgg16", classes, width, 0)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file in the published layout, accepted; gives (path, the network it was made of)."""
    network = with_random_norms(ResNet(3, 10).eval())
    for buffer, values in zip((network.mean, network.std), IMAGENET, strict=True):
        buffer.copy_(torch.tensor(values).view(3, 1, 1))
    state = {
        f"module.{name}": value
        for name, value in network.state_dict().items()
        if name not in ("mean", "std") and not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "resnet20.th"
    torch.save({"state_dict": state, "best_prec1": 91.78}, path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(classifiers.PUBLISHED, "resnet20", checksum)
    return path, network


def test_published_weights_are_loaded(published):
    path, network = published
    loaded, images = pretrained_resnet("resnet20", path), torch.rand(3, 3, 32, 32)
    assert not loaded.training
    assert torch.equal(loaded(images), network(images))


def test_another_file_is_refused_before_it_is_read(published, monkeypatch):
    path, _ = published
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    with pytest.raises(ValueError, match=r"resnet20\.th has sha256 .*, not "):
        pretrained_resnet("resnet20", path)
    with pytest.raises(FileNotFoundError, match=r"none\.th"):
        pretrained_resnet("resnet20", path.with_name("none.th"))


@pytest.mark.real_data
@pytest.mark.parametrize("architecture", classifiers.PUBLISHED)
def test_published_weights_classify_cifar10(architecture):
    """91.7 to 93.4 % on all 10,000; 400 of them are within 4 %."""
    try:
        name = f"{architecture}-cifar10"
        path = locate(name) / DATASETS[name].files[0]
        network = pretrained_resnet(architecture, path)
        data = load_labelled("cifar10", train=1, test=400)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with torch.no_grad():
        answers = network(data.test_images.float() / 255).argmax(1)
    assert (answers == data.test_labels).float().mean() > 0.877
