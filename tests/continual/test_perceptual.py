"""Style losses against sums by hand, numpy on a tiny network, and torchvision's trained one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.models
from safetensors.torch import load_file
from scipy.signal import correlate
from torch import nn

from lib.continual.perceptual import (
    IMAGENET,
    FeatureNetwork,
    Losses,
    PerceptualLoss,
    feature_network,
    gram,
)
from lib.data.catalogue import locate
from lib.data.images import load_images

MEAN, STD = (np.array(values).reshape(3, 1, 1) for values in IMAGENET)


def images(count: int = 2, size: tuple[int, int] = (12, 9), seed: int = 0) -> torch.Tensor:
    """Multiples of 1/256: exact in 32 bits."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(257, (count, 3, *size), generator=rng) / 256


def tiny(content: int = 1) -> FeatureNetwork:
    """Features at the first layer's output and the second's; one more is never run."""
    torch.manual_seed(5)
    parts = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 2), nn.Tanh(), nn.Linear(1, 1)
    return FeatureNetwork(nn.Sequential(*parts), (1, 3), content)


def tiny_features(network: FeatureNetwork, image: np.ndarray) -> list[np.ndarray]:
    """The same in numpy, (C, H, W) each."""
    x, found = (image - MEAN) / STD, []
    for index in (0, 2):
        layer = network.network[index]
        kernels, biases = layer.weight.double().numpy(), layer.bias.double().numpy()
        sums = [correlate(x, kernel, "valid")[0] for kernel in kernels]
        x = np.tanh(np.stack(sums) + biases[:, None, None])
        found.append(x)
    return found


def numpy_losses(output, content, style, layer: int) -> tuple[float, float]:
    """Of lists of features (C, H, W)."""
    content_loss = ((output[layer] - content[layer]) ** 2).mean()
    style_loss = 0.0
    for ours, wanted in zip(output, style, strict=True):
        a, b = (np.einsum("ihw,jhw->ij", f, f) / f.size for f in (ours, wanted))
        style_loss += ((a - b) ** 2).mean()
    return content_loss, style_loss


def test_gram_by_hand():
    """1 + 4 + 9, 2 - 3, 1 + 1, over 2 channels of 3 pixels."""
    features = torch.tensor([[[[1.0, 2, 3]], [[0.0, 1, -1]]]])
    torch.testing.assert_close(gram(features), torch.tensor([[[14.0, -1], [-1, 2]]]) / 6)


def test_gram_is_numpys_image_by_image():
    features = torch.randn(3, 5, 4, 7, dtype=torch.float64)
    expected = np.einsum("nihw,njhw->nij", features, features) / (5 * 4 * 7)
    np.testing.assert_allclose(gram(features), expected, rtol=1e-12)


def test_losses_of_plain_colours_by_hand():
    """Features are the normalised colours a = 0.5 (output), 0.25 (content) and 1 (style).

    Content: 0.25^2. Gram matrices: a^2 / 3 everywhere, so the style loss is (0.75 / 3)^2.
    """
    network = FeatureNetwork(nn.Sequential(nn.Identity()), (0,), content=0)

    def plain(a: float, *size: int) -> torch.Tensor:
        return torch.tensor(MEAN + STD * a).float().expand(3, *size)

    loss = PerceptualLoss(network, plain(1, 4, 5), content_weight=2, style_weight=30)
    found = loss(plain(0.5, 3, 3)[None], plain(0.25, 3, 3)[None])
    values = [found.content.item(), found.style.item(), found.total.item()]
    assert values == pytest.approx([0.0625, 0.0625, 2 * 0.0625 + 30 * 0.0625], rel=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_losses_are_numpys_on_a_tiny_network(layer):
    """The style image has another size; the default weights are the common ones."""
    network, style = tiny(layer), images(1, (7, 20), seed=1)[0]
    outputs, contents = images(seed=2), images(seed=3)
    found = PerceptualLoss(network, style)(outputs, contents)
    assert isinstance(found, Losses)
    for number in range(2):
        features = [
            tiny_features(network, image.double().numpy())
            for image in (outputs[number], contents[number], style)
        ]
        content_loss, style_loss = numpy_losses(*features, layer)
        assert found.content[number].item() == pytest.approx(content_loss, rel=1e-4)
        assert found.style[number].item() == pytest.approx(style_loss, rel=1e-3)
        expected = 1e5 * content_loss + 1e10 * style_loss
        assert found.total[number].item() == pytest.approx(expected, rel=1e-3)


def test_losses_vanish_for_the_content_in_its_own_style_and_nowhere_else():
    image, other = images(1), images(1, seed=4)
    loss = PerceptualLoss(tiny(), image[0], content_weight=1, style_weight=1)
    same, moved = loss(image, image), loss(other, image)
    assert same.content.item() == 0 and same.style.item() < 1e-12 and same.total.item() < 1e-12
    assert moved.content.item() > 1e-3 and moved.style.item() > 1e-5


def test_a_style_is_its_texture_and_not_its_size():
    """Pixel by pixel, a picture tiled 2 x 3 has the same mean products."""
    torch.manual_seed(0)
    network = FeatureNetwork(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Tanh()), (1,), content=0)
    picture = images(1)
    tiled = PerceptualLoss(network, picture[0].repeat(1, 2, 3))(picture, picture)
    assert tiled.style.item() < 1e-12
    assert PerceptualLoss(network, picture[0].flip(0))(picture, picture).style.item() > 1e-6


def test_the_gradient_is_that_of_finite_differences():
    """In 64 bits, at pixels that 32 bits hold exactly: the loss rounds what it is given."""
    network, style = tiny().double(), images(1, (8, 8), seed=1)[0]
    loss = PerceptualLoss(network, style, content_weight=3, style_weight=500)
    output, content = images(2, seed=2).double().requires_grad_(), images(2, seed=3).double()
    loss(output, content).total.sum().backward()
    assert output.grad.dtype == torch.float64
    for place in ((0, 0, 5, 5), (0, 2, 0, 0), (1, 1, 11, 8), (1, 0, 6, 2)):
        ends = []
        for step in (2**-12, -(2**-12)):
            shifted = output.detach().clone()
            shifted[place] += step
            ends.append(loss(shifted, content).total.sum().item())
        slope = (ends[0] - ends[1]) * 2**11
        assert output.grad[place].item() == pytest.approx(slope, rel=1e-4) and slope != 0


def test_the_network_stays_as_it_is():
    """In evaluation mode and without gradients: batch norm and dropout would show."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
    whole = nn.Sequential(*parts).train()
    network = FeatureNetwork(whole, (0, 2), content=1)
    outer = nn.ModuleList([network]).train()
    assert outer.training and not any(each.training for each in network.modules())
    before = {name: values.clone() for name, values in network.state_dict().items()}
    output = images().requires_grad_()
    contents = images(seed=1).requires_grad_()
    loss = PerceptualLoss(network, images(1)[0])
    first = loss(output, contents).total
    assert torch.equal(first, loss(output, contents).total)
    first.sum().backward()
    assert output.grad.abs().sum() > 0 and contents.grad is None
    assert all(each.grad is None and not each.requires_grad for each in network.parameters())
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


def test_neither_autocast_nor_64_bits_change_the_loss():
    network, style = feature_network("random"), images(1, (16, 16), seed=1)[0]
    loss, output, content = PerceptualLoss(network, style), images(seed=2), images(seed=3)
    expected = loss(output, content)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(output)[0].dtype == torch.bfloat16
        found = loss(output, content)
        half = loss(output.bfloat16(), content)
    assert found.total.dtype == half.total.dtype == torch.float32
    for name in ("content", "style", "total"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert torch.equal(half.total, loss(output.bfloat16().float(), content).total)
    assert torch.equal(loss(output.double(), content.double()).total, expected.total)


def vgg_layers(network: nn.Sequential, positions: tuple[int, ...]) -> list[str]:
    """relu<level>_<part>, counted from the pools and convolutions before."""
    names = []
    for position in positions:
        kinds = [type(part) for part in network[: position + 1]]
        parts = kinds[::-1].index(nn.MaxPool2d) if nn.MaxPool2d in kinds else len(kinds)
        name = {nn.ReLU: "relu", nn.Conv2d: "conv"}[kinds[-1]]
        names.append(f"{name}{kinds.count(nn.MaxPool2d) + 1}_{parts // 2}")
    return names


def published_vgg16() -> nn.Module:
    """Its plan without weights, which would have to be downloaded."""
    with torch.device("meta"):
        return torchvision.models.vgg.VGG(
            torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
        )


def test_the_vgg16_has_imagenets_weights_and_the_common_layers(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torchvision.models, "vgg16", lambda **given: asked.append(given) or published_vgg16()
    )
    network = feature_network("vgg16")
    assert asked == [{"weights": torchvision.models.VGG16_Weights.IMAGENET1K_V1}]
    found = vgg_layers(network.network, network.layers)
    assert found == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    assert found[network.content] == "relu2_2"
    assert not any(part.inplace for part in network.modules() if isinstance(part, nn.ReLU))


def test_the_random_network_is_three_levels_of_vgg16_at_a_quarter_of_the_width():
    network, published = feature_network("random"), published_vgg16().features[:16]
    assert [type(part) for part in network.network] == [type(part) for part in published]
    for ours, theirs in zip(network.network, published, strict=True):
        if isinstance(ours, nn.Conv2d):
            assert 4 * ours.out_channels == theirs.out_channels
            assert (ours.kernel_size, ours.padding) == (theirs.kernel_size, theirs.padding)
    found = vgg_layers(network.network, network.layers)
    assert found == ["relu1_2", "relu2_2", "relu3_3"] and found[network.content] == "relu2_2"
    shapes = [tuple(each.shape) for each in network(torch.rand(2, 3, 32, 24))]
    assert shapes == [(2, 16, 32, 24), (2, 32, 16, 12), (2, 64, 8, 6)]


def test_the_random_network_is_orthogonal_and_always_the_same():
    random = torch.random.get_rng_state()
    torch.manual_seed(1)
    first = feature_network("random")
    torch.manual_seed(2)
    second = feature_network("random")
    assert torch.initial_seed() == 2
    torch.random.set_rng_state(random)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    for part in first.network:
        if isinstance(part, nn.Conv2d):
            rows = part.weight.flatten(1)
            torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(len(rows)), rtol=0, atol=1e-4)
            assert not part.bias.any()


def test_random_features_tell_textures_apart():
    """Two patches of one picture are closer to each other than to another picture's."""
    brick, grass = load_images("photos:brick,grass", size=128, channels=3)[1].float() / 255
    loss = PerceptualLoss(feature_network("random"), brick[:, :64])
    same, other = (loss(each, each).style.item() for each in (brick[None, :, 64:], grass[None]))
    assert same < other / 2


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"'vgg16', 'squeezenet', 'random'.*not 'vgg19'"):
        feature_network("vgg19")


def test_missing_weights_name_the_place(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        feature_network("squeezenet", tmp_path)
    assert str(tmp_path / "weights") in str(caught.value)
    assert "squeezenet1_1-imagenet" in str(caught.value)


def test_inputs_are_normalised_as_torchvision_does():
    expected = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    assert [list(values) for values in IMAGENET] == [expected.mean, expected.std]


def squeezenet() -> tuple[FeatureNetwork, nn.Module]:
    """Ours, and torchvision's with the same file."""
    try:
        file = locate("squeezenet1_1-imagenet") / "squeezenet1_1-imagenet.safetensors"
    except FileNotFoundError as error:
        pytest.skip(str(error))
    published = torchvision.models.squeezenet1_1().eval()
    published.load_state_dict({name: values.float() for name, values in load_file(file).items()})
    return feature_network("squeezenet"), published


@pytest.mark.real_data
@torch.no_grad()
def test_the_losses_are_those_of_torchvisions_squeezenet():
    """Its features are copied at once: its ReLUs work in place."""
    network, published = squeezenet()
    rng = torch.Generator().manual_seed(0)
    output, content = (torch.rand(2, 3, 64, 48, generator=rng) for _ in range(2))
    style = torch.rand(1, 3, 40, 80, generator=rng)

    def features(batch: torch.Tensor) -> list[np.ndarray]:
        x, kept = (batch.double() - torch.tensor(MEAN)) / torch.tensor(STD), []
        for index, part in enumerate(published.double().features[:10]):
            x = part(x)
            if index in (1, 4, 7, 9):
                kept.append(x.clone().numpy())
        return kept

    found = PerceptualLoss(network, style[0])(output, content)
    wanted = [each[0] for each in features(style)]
    for number in range(2):
        ours, theirs = ([each[number] for each in features(batch)] for batch in (output, content))
        content_loss, style_loss = numpy_losses(ours, theirs, wanted, 1)
        assert found.content[number].item() == pytest.approx(content_loss, rel=1e-3)
        assert found.style[number].item() == pytest.approx(style_loss, rel=1e-3)


@pytest.mark.real_data
@torch.no_grad()
def test_the_squeezenets_weights_are_trained_ones():
    """ImageNet's classes: 281 to 287 are cats, 967 is espresso."""
    _, published = squeezenet()
    wanted = {"chelsea.png": range(281, 288), "coffee.png": [967]}
    names, photos = load_images("photos:chelsea,coffee", size=224, channels=3)
    normal = (photos / 255 - torch.tensor(MEAN).float()) / torch.tensor(STD).float()
    for name, best in zip(names, published(normal).topk(5).indices.tolist(), strict=True):
        assert set(best) & set(wanted[name]), name
