"""Source networks against torchvision's, and weights from files made here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from lib.data.catalogue import locate
from lib.networks import sources
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
        ("efficientnet_lite0", 4_652_008),
        ("mobilenet_v1_0.25", 470_072),
        ("mobilenet_v1_0.5", 1_331_592),
        ("mobilenet_v1_0.75", 2_585_560),
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


@pytest.mark.parametrize(("kernel", "side", "before"), [(3, 7, 1), (5, 8, 1), (5, 7, 2)])
def test_padding_of_other_sizes_and_kernels(kernel, side, before):
    """By hand: 7 to 4 needs 7 + 2 of a kernel of 3 and 7 + 4 of 5; 8 to 4 needs 8 + 3 of 5."""
    layer = torch.nn.Conv2d(1, 1, kernel, 2, kernel // 2, bias=False)
    sources._pad_as_tensorflow(layer)
    found = layer(torch.ones(1, 1, side, side))
    assert found.shape[-2:] == (4, 4)
    corner = layer.weight[0, 0, before:, before:].sum()
    torch.testing.assert_close(found[0, 0, 0, 0], corner)


@pytest.mark.parametrize(
    ("architecture", "tensors", "shapes"),
    [
        (
            "efficientnet_lite0",
            247,
            {
                "blocks.0.0.conv_pw.weight": (16, 32, 1, 1),
                "blocks.2.1.conv_dw.weight": (240, 1, 5, 5),
                "blocks.6.0.conv_pwl.weight": (320, 1152, 1, 1),
                "conv_head.weight": (1280, 320, 1, 1),
                "classifier.weight": (1000, 1280),
            },
        ),
        (
            "mobilenet_v1_0.25",
            164 - 27,
            {
                "conv_stem.weight": (8, 3, 3, 3),
                "blocks.3.5.conv_pw.weight": (128, 128, 1, 1),
                "blocks.4.1.bn2.running_var": (256,),
                "classifier.bias": (1000,),
            },
        ),
    ],
)
def test_files_with_timms_names_are_read(tmp_path, architecture, tensors, shapes):
    """Numbers and shapes of the published files, without the counts that Lite0's lacks."""
    model = sources._mobile(architecture, 1000)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1), layer.running_var.uniform_(0.5, 1.5)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("tracked")}
    assert len(state) == tensors
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    (file,) = sources.DATASETS[f"{architecture}-imagenet"].files
    (tmp_path / "weights").mkdir()
    save_file(state, tmp_path / "weights" / file)
    net = network(architecture, 1000).eval()
    load_published(net, architecture, "imagenet", tmp_path)
    sources._pad_as_tensorflow(model.eval())
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGES), model(2 * IMAGES - 1))


def test_deeplab_says_the_mean_of_what_it_says_of_pixels():
    net = network(sources.DEEPLAB).eval()
    with torch.no_grad():
        maps = net.layers(IMAGES)
        assert maps.shape == (2, 256, 4, 4)  # a sixteenth of 64 pixels
        pixels = net.head[0](maps)
        torch.testing.assert_close(net(IMAGES), pixels.mean((2, 3)))


def test_torchvisions_own_weights_are_asked_for_by_name(monkeypatch):
    asked, net = [], network("resnet18", 1000)

    def fake(name, weights):
        asked.append((name, weights))
        return get_model(name)

    monkeypatch.setattr("torchvision.models.get_model", fake)
    load_published(net, "resnet18", "imagenet")
    assert asked == [("resnet18", "IMAGENET1K_V1")]


class MakesAFolder:
    """Stands for any code that a pickle may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Torchvision's cache of weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("as_named", [False, True])
def test_no_code_in_cached_weights_is_run(cache, tmp_path, monkeypatch, as_named):
    path = cache / "resnet18-f37072fd.pth"
    torch.save({**get_model("resnet18").state_dict(), "x": MakesAFolder(tmp_path / "ran")}, path)
    if as_named:  # eight digits of a hash can be met by trying
        hexdigest = SimpleNamespace(hexdigest=lambda: "f37072fd")
        monkeypatch.setattr(sources.hashlib, "sha256", lambda data: hexdigest)
    why = "is not a readable file of weights" if as_named else r"has sha256 \w+\.\.\., not f37072fd"
    with pytest.raises(ValueError, match=rf"resnet18-f37072fd\.pth {why}"):
        load_published(network("resnet18", 1000), "resnet18", "imagenet")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"<html>please log in</html>", b"PK\3\4" + bytes(200), None])
def test_cached_weights_that_are_others_or_cannot_be_had_are_named(cache, content):
    path = cache / "alexnet-owt-7be5be79.pth"
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError if content else FileNotFoundError, match=str(path)):
        load_published(network("alexnet", 1000), "alexnet", "imagenet")


def test_weights_that_are_not_finite_are_damaged(tmp_path):
    path = tmp_path / "weights/squeezenet1_1-imagenet.safetensors"
    path.parent.mkdir()
    state = get_model("squeezenet1_1").state_dict()
    save_file(state | {"features.0.bias": torch.full((64,), torch.nan)}, path)
    with pytest.raises(ValueError, match=rf"{path}.*features\.0\.bias has numbers that are not"):
        load_published(network("squeezenet1_1", 1000), "squeezenet1_1", "imagenet", tmp_path)


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
    with pytest.raises(ValueError, match=r"mobilenet_v2-imagenet\.safetensors is not a readable"):
        load_published(network("mobilenet_v2", 1000), "mobilenet_v2", "imagenet", tmp_path)
    save_file({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="has not mobilenet_v2's weights"):
        load_published(network("mobilenet_v2", 1000), "mobilenet_v2", "imagenet", tmp_path)


def test_weights_of_other_classes_do_not_fit(monkeypatch):
    monkeypatch.setattr("torchvision.models.get_model", lambda name, **_: get_model(name))
    with pytest.raises(ValueError, match="do not fit"):
        load_published(network("resnet18", 10), "resnet18", "imagenet")


@pytest.mark.skipif(not os.environ.get("DATA_ROOT"), reason="no DATA_ROOT")
@pytest.mark.parametrize("architecture", ["mobilenet_v2", "squeezenet1_1", *sources.MOBILE])
def test_real_weights_name_what_they_see(architecture):
    """Of 36 photographs of things that are classes of ImageNet under the same name."""
    from lib.data.images import read_square
    from lib.data.words import class_names

    net = source_network(architecture, 1000, width=0, seed=0).eval()
    load_published(net, architecture, "imagenet")
    names, right = class_names("imagenet"), 0
    for folder in ("accordion", "dalmatian", "flamingo", "pizza", "strawberry", "trilobite"):
        files = sorted((locate("caltech101") / folder).iterdir())[:6]
        images = np.stack([read_square(file, 112, 3, enlarge=True) for file in files])
        with torch.no_grad():
            top = net(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(1)
        right += int((top == names.index(folder)).sum())
    assert right >= 36 / 4


@pytest.mark.skipif(not os.environ.get("DATA_ROOT"), reason="no DATA_ROOT")
@pytest.mark.parametrize(
    ("architecture", "trained_on"),
    [
        ("squeezenet1_1", "imagenet"),
        ("mobilenet_v2", "imagenet"),
        ("mobilenet_v2", "inat_birds"),
        ("mobilenet_v2", "inat_insects"),
        ("efficientnet_lite0", "imagenet"),
        ("mobilenet_v1_0.25", "imagenet"),
        ("mobilenet_v1_0.5", "imagenet"),
        ("mobilenet_v1_0.75", "imagenet"),
        ("deeplabv3_mobilenet_v2", "voc2012"),
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
    assert confidence > 0.15  # of random weights: below 0.1
