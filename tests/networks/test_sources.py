"""Source networks against torchvision's, and weights from files made here."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from lib.networks.sources import (
    ARCHITECTURES,
    PUBLISHED,
    TRAINED_ON,
    load_published,
    source_network,
)

TORCHVISION = ("alexnet", "resnet18", "squeezenet1_1", "mobilenet_v2")
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def network(architecture, classes=7, seed=0):
    return source_network(architecture, classes, width=8, seed=seed)


def save_state(architecture, folder, classes, name):
    """Torchvision's network with random weights, saved under its own names."""
    torch.manual_seed(3)
    model = get_model(architecture, num_classes=classes).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    return model, folder / name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_and_logits(architecture):
    net = network(architecture).eval()
    features, logits = net.describe(IMAGES)
    assert features.shape[0] == 2
    assert features.ndim == 2
    assert logits.shape == (2, 7)
    assert torch.equal(net(IMAGES), logits)
    early = net.layers[: net.kept](IMAGES)
    assert torch.equal(net.part(net.kept)(early), logits)
    assert 0 < net.kept < len(net.layers)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_hang_on_the_seed_alone(architecture):
    torch.manual_seed(1)
    first = network(architecture).state_dict()
    torch.manual_seed(2)
    again, other = network(architecture).state_dict(), network(architecture, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("alexnet", 61_100_840),
        ("resnet18", 11_689_512),
        ("squeezenet1_1", 1_235_496),
        ("mobilenet_v2", 3_504_872),
    ],
)
def test_published_parameter_counts(architecture, parameters):
    net = network(architecture, 1000)
    assert sum(each.numel() for each in net.parameters()) == parameters


@pytest.mark.parametrize("architecture", ["alexnet", "resnet18"])
def test_places_weights_give_torchvisions_outputs(tmp_path, architecture):
    """Files as MIT's: a checkpoint whose names begin with "module." or have it inside."""
    folder = tmp_path / "weights/places365"
    model, path = save_state(architecture, folder, 365, f"{architecture}_places365.pth.tar")
    for each in TORCHVISION[:2]:
        (folder / f"{each}_places365.pth.tar").touch()
    prefix = {"alexnet": ("features.", "features.module."), "resnet18": ("", "module.")}
    state = {
        name.replace(*prefix[architecture], 1): values
        for name, values in model.state_dict().items()
    }
    torch.save({"state_dict": state, "arch": architecture}, path)
    net = network(architecture, 365).eval()
    load_published(net, architecture, "places365", tmp_path)
    with torch.no_grad():
        expected = model((IMAGES - MEAN) / STD)
        torch.testing.assert_close(net(IMAGES), expected)


def test_squeezenet_weights_give_torchvisions_outputs(tmp_path):
    folder = tmp_path / "weights"
    model, path = save_state("squeezenet1_1", folder, 1000, "squeezenet1_1-imagenet.safetensors")
    save_file({name: each.half() for name, each in model.state_dict().items()}, path)
    net = network("squeezenet1_1", 1000).eval()
    load_published(net, "squeezenet1_1", "imagenet", tmp_path)
    with torch.no_grad():
        expected = model((IMAGES - MEAN) / STD)
        torch.testing.assert_close(net(IMAGES), expected, rtol=1e-2, atol=1e-2)


def test_mobilenet_pads_at_the_end():
    """TensorFlow's SAME: a stride-2 convolution of an even size sees the first pixel."""
    net = network("mobilenet_v2")
    first = net.layers[1][0]
    image = torch.zeros(1, 3, 8, 8)
    image[..., 0, 0] = 1
    found = first(image)
    assert found.shape[-2:] == (4, 4)
    torch.testing.assert_close(found[0, :, 0, 0], first.weight[:, :, 0, 0].sum(1))


def test_torchvisions_own_weights_are_asked_for_by_name(monkeypatch):
    asked, net = [], network("resnet18", 1000)

    def fake(name, weights):
        asked.append((name, weights))
        return get_model(name)

    monkeypatch.setattr("torchvision.models.get_model", fake)
    load_published(net, "resnet18", "imagenet")
    assert asked == [("resnet18", "IMAGENET1K_V1")]


def test_every_published_pair_is_of_known_networks_and_classes():
    assert {a for a, _ in PUBLISHED} <= set(ARCHITECTURES)
    assert {t for _, t in PUBLISHED} == set(TRAINED_ON)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="nonsense"):
        network("nonsense")
    with pytest.raises(ValueError, match="at least 1"):
        network("vgg5", classes=0)
    with pytest.raises(ValueError, match="no weights of vgg5 on imagenet"):
        load_published(network("vgg5"), "vgg5", "imagenet", tmp_path)
    with pytest.raises(FileNotFoundError, match="google-coral"):
        load_published(network("mobilenet_v2", 1000), "mobilenet_v2", "imagenet", tmp_path)


def test_damaged_and_wrong_files_are_named(tmp_path):
    path = tmp_path / "weights/mobilenet_v2-imagenet.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"mobilenet_v2-imagenet\.safetensors is not readable"):
        load_published(network("mobilenet_v2", 1000), "mobilenet_v2", "imagenet", tmp_path)
    save_file({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="has not mobilenet_v2's weights"):
        load_published(network("mobilenet_v2", 1000), "mobilenet_v2", "imagenet", tmp_path)


def test_weights_of_other_classes_do_not_fit(monkeypatch):
    monkeypatch.setattr("torchvision.models.get_model", lambda name, **_: get_model(name))
    with pytest.raises(ValueError, match="do not fit"):
        load_published(network("resnet18", 10), "resnet18", "imagenet")


@pytest.mark.skipif(not os.environ.get("DATA_ROOT"), reason="no DATA_ROOT")
@pytest.mark.parametrize(
    ("architecture", "trained_on"),
    [
        ("squeezenet1_1", "imagenet"),
        ("mobilenet_v2", "imagenet"),
        ("mobilenet_v2", "inat_birds"),
        ("resnet20", "cifar10"),
    ],
)
def test_real_weights_are_sure_of_something(architecture, trained_on):
    net = source_network(architecture, TRAINED_ON[trained_on], width=16, seed=0).eval()
    load_published(net, architecture, trained_on)
    from lib.data.labelled import load_labelled

    size = 32 if architecture == "resnet20" else 112
    images = load_labelled("caltech101", size=size).test_images[::20].float() / 255
    with torch.no_grad():
        confidence = net(images).softmax(1).amax(1).mean()
    assert confidence > 0.5
