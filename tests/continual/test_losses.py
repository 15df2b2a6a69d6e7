"""Losses against sums by hand, numpy, scipy and torchvision's trained network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.models
from safetensors.torch import load_file
from scipy.optimize import minimize
from scipy.signal import correlate
from torch import Tensor, nn

from lib.continual.losses import (
    CONTENT,
    Adversary,
    Anchor,
    FeatureNetwork,
    Losses,
    PerceptualLoss,
    extended,
    feature_network,
    gatys,
    gram,
    importance,
    penalty,
)
from lib.continual.networks import PatchDiscriminator
from lib.data.catalogue import locate
from lib.networks.sources import IMAGENET

MEAN, STD = (np.array(values).reshape(3, 1, 1) for values in IMAGENET)


def images(count: int = 2, size: tuple[int, int] = (12, 9), seed: int = 0) -> torch.Tensor:
    """Multiples of 1/256: exact in 32 bits."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(257, (count, 3, *size), generator=rng) / 256


def tiny() -> FeatureNetwork:
    """Features at the first layer's output and the second's; one more is never run."""
    torch.manual_seed(5)
    parts = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 2), nn.Tanh(), nn.Linear(1, 1)
    return FeatureNetwork(nn.Sequential(*parts), (1, 3))


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


def numpy_losses(output, content, style) -> tuple[float, float]:
    """Of lists of features (C, H, W); the content is compared at the second layer."""
    content_loss = ((output[1] - content[1]) ** 2).mean()
    style_loss = 0.0
    for ours, wanted in zip(output, style, strict=True):
        a, b = (np.einsum("ihw,jhw->ij", f, f) / f.size for f in (ours, wanted))
        style_loss += ((a - b) ** 2).mean()
    return content_loss, style_loss


def test_gram_is_numpys_image_by_image():
    features = torch.randn(3, 5, 4, 7, dtype=torch.float64)
    expected = np.einsum("nihw,njhw->nij", features, features) / (5 * 4 * 7)
    np.testing.assert_allclose(gram(features), expected, rtol=1e-12)


def test_the_losses_are_numpys_on_a_tiny_network():
    """The style image has another size; the weights are the common ones."""
    network, style = tiny(), images(1, (7, 20), seed=1)[0]
    outputs, contents = images(seed=2), images(seed=3)
    found = PerceptualLoss(network, style, 1e5, 1e10)(outputs, contents)
    assert isinstance(found, Losses)
    for number in range(2):
        features = [
            tiny_features(network, image.double().numpy())
            for image in (outputs[number], contents[number], style)
        ]
        content_loss, style_loss = numpy_losses(*features)
        assert found.content[number].item() == pytest.approx(content_loss, rel=1e-4)
        assert found.style[number].item() == pytest.approx(style_loss, rel=1e-3)
        expected = 1e5 * content_loss + 1e10 * style_loss
        assert found.total[number].item() == pytest.approx(expected, rel=1e-3)


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
    network = FeatureNetwork(whole, (0, 2))
    outer = nn.ModuleList([network]).train()
    assert outer.training and not any(each.training for each in network.modules())
    before = {name: values.clone() for name, values in network.state_dict().items()}
    output = images().requires_grad_()
    contents = images(seed=1).requires_grad_()
    loss = PerceptualLoss(network, images(1)[0], 1e5, 1e10)
    first = loss(output, contents).total
    assert torch.equal(first, loss(output, contents).total)
    first.sum().backward()
    assert output.grad.abs().sum() > 0 and contents.grad is None
    assert all(each.grad is None and not each.requires_grad for each in network.parameters())
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


def test_neither_autocast_nor_64_bits_change_the_loss():
    network, style = feature_network("random"), images(1, (16, 16), seed=1)[0]
    loss = PerceptualLoss(network, style, 1e5, 1e10)
    output, content = images(seed=2), images(seed=3)
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
        torchvision.models,
        "get_model",
        lambda *name, **given: asked.append((*name, given)) or published_vgg16(),
    )
    network = feature_network("vgg16")
    assert asked == [("vgg16", {"weights": "IMAGENET1K_V1"})]
    found = vgg_layers(network.network, network.layers)
    assert found == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    assert found[CONTENT] == "relu2_2"
    assert not any(part.inplace for part in network.modules() if isinstance(part, nn.ReLU))


def test_the_random_network_is_three_levels_of_vgg16_at_a_quarter_of_the_width():
    network, published = feature_network("random"), published_vgg16().features[:16]
    assert [type(part) for part in network.network] == [type(part) for part in published]
    for ours, theirs in zip(network.network, published, strict=True):
        if isinstance(ours, nn.Conv2d):
            assert 4 * ours.out_channels == theirs.out_channels
            assert (ours.kernel_size, ours.padding) == (theirs.kernel_size, theirs.padding)
    found = vgg_layers(network.network, network.layers)
    assert found == ["relu1_2", "relu2_2", "relu3_3"] and found[CONTENT] == "relu2_2"
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


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"'vgg16', 'squeezenet', 'random'.*not 'vgg19'"):
        feature_network("vgg19")


def test_missing_weights_name_the_place(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        feature_network("squeezenet", tmp_path)
    assert str(tmp_path / "weights") in str(caught.value)
    assert "squeezenet1_1-imagenet" in str(caught.value)


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

    found = PerceptualLoss(network, style[0], 1e5, 1e10)(output, content)
    wanted = [each[0] for each in features(style)]
    for number in range(2):
        ours, theirs = ([each[number] for each in features(batch)] for batch in (output, content))
        content_loss, style_loss = numpy_losses(ours, theirs, wanted)
        assert found.content[number].item() == pytest.approx(content_loss, rel=1e-3)
        assert found.style[number].item() == pytest.approx(style_loss, rel=1e-3)


# Gatys


class Toy:
    """A stand-in for the perceptual loss: any function of one picture's pixels, (N, P) to (N,)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, output: Tensor, content: Tensor) -> Losses:
        assert output.min() >= 0 and output.max() <= 1, "no image"
        total = self.function(output.flatten(1))
        return Losses(total, total, total)


def contents(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def optimised(loss, content: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Gatys' pictures and their total losses."""
    pictures = gatys(loss, content, steps=steps)
    return pictures, loss(pictures, content).total


def stripes_of(dark: float, red: float) -> PerceptualLoss:
    """The loss against a style of stripes, on random features."""
    style = torch.full((3, 16, 24), dark)
    style[0, :, ::4] = red
    return PerceptualLoss(feature_network("random"), style, 1e5, 1e8)


@pytest.fixture(scope="module")
def stripes() -> PerceptualLoss:
    return stripes_of(0.4, 0.7)


def test_the_loss_falls_far_below_the_untouched_pictures_among_images(stripes):
    images = contents()
    kept, before = images.clone(), stripes(images, images).total
    pictures, totals = optimised(stripes, images, steps=25)
    assert torch.equal(images, kept) and not images.requires_grad
    assert pictures.shape == images.shape and totals.shape == (2,)
    assert not pictures.requires_grad and not totals.requires_grad
    assert pictures.min() >= 0 and pictures.max() <= 1
    torch.testing.assert_close(totals, stripes(pictures, images).total)
    assert (totals < before / 2).all()
    assert (optimised(stripes, images, steps=2)[1] > totals).all()


@pytest.mark.parametrize(("white", "colours"), [(0, (0.4, 0.7)), (8, (0.0, 1.0))])
def test_the_loss_reached_is_scipys(white, colours):
    """Its L-BFGS with bounds, as many iterations; rows of white sky must not stop the search."""
    loss, image = stripes_of(*colours), 0.3 + 0.4 * contents(1)
    image[:, :, :white] = 1
    unit = loss(image, image).total.item()

    def value_and_gradient(pixels: np.ndarray) -> tuple[float, np.ndarray]:
        picture = torch.tensor(pixels).float().view_as(image).requires_grad_()
        value = loss(picture, image).total.sum() / unit
        value.backward()
        return value.item(), picture.grad.double().flatten().numpy()

    expected = minimize(
        value_and_gradient,
        image.double().flatten().numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 1)] * image.numel(),
        options={"maxiter": 20, "maxcor": 20},
    )
    _, total = optimised(loss, image, steps=20)
    assert total.item() / unit < 1.3 * expected.fun
    assert expected.fun < 0.4


def test_permuted_pictures_are_taken(stripes):
    """As ``load_images`` gives them: the channel's numbers lie side by side."""
    images = contents(1)
    permuted = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    expected, found = (gatys(stripes, each, steps=2) for each in (images, permuted))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - images).abs().max() > 0.01


def test_a_batch_is_one_picture_at_a_time(stripes):
    images = contents(3)
    together, totals = optimised(stripes, images, steps=4)
    for number, image in enumerate(images):
        alone, total = optimised(stripes, image[None], steps=4)
        assert torch.equal(together[number], alone[0])
        assert total.item() == pytest.approx(totals[number].item(), rel=1e-5)
    assert (together - images).abs().amax((1, 2, 3)).min() > 0.01


def test_an_optimum_outside_of_the_images_ends_at_black_and_white():
    wanted = torch.tensor([-3.0, -0.1, 0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0, 1.1, 4.0])
    start = torch.full((1, 3, 2, 2), 0.5)
    pictures, totals = optimised(Toy(lambda x: (x - wanted).square().sum(1)), start, steps=100)
    expected = wanted.clamp(0, 1)
    torch.testing.assert_close(pictures.flatten(), expected, rtol=0, atol=0.02)
    assert totals.item() == pytest.approx(9 + 0.01 + 0.01 + 9, abs=0.02)


def test_a_picture_without_any_loss_stays_but_black_and_white_move_a_hundredth():
    start = contents(1)
    start[..., 0], start[..., 1] = 0, 1
    pictures, totals = optimised(Toy(lambda x: 0 * x.sum(1)), start, steps=5)
    torch.testing.assert_close(pictures, start.clamp(0.01, 0.99), rtol=0, atol=1e-6)
    assert totals.tolist() == [0]


def test_a_loss_that_turns_nan_on_the_way_is_refused():
    """The root of what is below zero, as soon as the mean is under 0.4."""
    with pytest.raises(ArithmeticError, match="not finite"):
        gatys(Toy(lambda x: (x.mean(1) - 0.4).sqrt()), contents(1), steps=50)


# EWC


NAMES = ("weight", "bias")


def linear(weights: list[float], bias: float = 0.0) -> nn.Linear:
    model = nn.Linear(len(weights), 1).double()
    model.weight.data = torch.tensor([weights], dtype=torch.float64)
    model.bias.data = torch.tensor([bias], dtype=torch.float64)
    return model


def squared(model: nn.Module, sample: tuple[torch.Tensor, float]) -> torch.Tensor:
    x, target = sample
    return (model(x) - target).square().sum()


def samples(count: int = 7, seed: int = 0) -> list[tuple[torch.Tensor, float]]:
    rng = np.random.default_rng(seed)
    return [(torch.tensor(rng.normal(size=2)), float(rng.normal())) for _ in range(count)]


def importance_of(model: nn.Module, loss, images, names=NAMES) -> dict[str, torch.Tensor]:
    parameters = {name: model.get_parameter(name) for name in names}
    return importance(parameters, (loss(model, image) for image in images))


def flat(values: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([values[name].flatten() for name in NAMES]).numpy()


def drawn_tasks(count: int) -> list[tuple[nn.Linear, dict[str, torch.Tensor]]]:
    rng = np.random.default_rng(3)
    tasks = []
    for _ in range(count):
        f = torch.tensor(rng.uniform(0.1, 3, size=3))
        tasks.append((linear(rng.normal(size=2).tolist(), rng.normal()),
                      {"weight": f[None, :2], "bias": f[2:]}))  # fmt: skip
    return tasks


def anchored(tasks: list[tuple[nn.Linear, dict[str, torch.Tensor]]]) -> Anchor:
    anchor = None
    for model, importances in tasks:
        anchor = extended(anchor, model, importances)
    return anchor


def test_importance_by_hand():
    """w = (1, 2), b = 0. Sample 1: x = (1, 1), t = 2: error 1, gradient (2, 2, 2). Sample 2:
    x = (3, 0), t = 4: error -1, gradient (-6, 0, -2). Squares: 4 + 36, 4 + 0, 4 + 4; mean 52 / 3.
    """
    two = [(torch.tensor(x).double(), t) for x, t in (([1.0, 1], 2.0), ([3.0, 0], 4.0))]
    found = importance_of(linear([1, 2]), squared, two)
    assert flat(found) == pytest.approx(np.array([40, 4, 8]) * 3 / 52)


def test_importance_is_the_mean_of_squares_image_by_image():
    w, b = np.array([0.3, -1.2]), 0.7
    gradients = np.array(
        [2 * (w @ x.numpy() + b - t) * np.array([*x.numpy(), 1]) for x, t in samples()]
    )
    expected = (gradients**2).mean(0)
    found = flat(importance_of(linear(w.tolist(), b), squared, samples()))
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-12)
    of_the_batch = gradients.mean(0) ** 2
    assert abs(found - of_the_batch / of_the_batch.mean()).max() > 0.1


def test_importance_has_mean_one_whatever_the_unit_of_the_loss_and_the_number_of_images():
    model = linear([0.3, -1.2])
    found = flat(importance_of(model, squared, samples()))
    other = importance_of(model, lambda *it: 1000 * squared(*it), 3 * samples())
    np.testing.assert_allclose(flat(other), found, rtol=1e-12)
    assert found.mean() == pytest.approx(1)
    assert list(importance_of(model, squared, samples(), ["bias"])) == ["bias"]


@pytest.mark.parametrize(
    ("images", "factor", "named"),
    [([], 1, "0 images"), (samples(2), 0, "2 images"), (samples(3), float("nan"), "3 images")],
)
def test_no_gradient_is_refused(images, factor, named):
    with pytest.raises(ValueError, match=named):
        importance_of(linear([1, 2]), lambda *it: factor * squared(*it), images)


def test_the_penalty_is_zero_at_the_anchor_of_one_task_which_stays_when_the_model_moves():
    ((model, importances),) = drawn_tasks(1)
    anchor = extended(None, model, importances)
    assert penalty(model, anchor, 1e6).item() == 0
    model.weight.data += 1
    moved = penalty(model, anchor, 2)
    assert moved.item() == pytest.approx(importances["weight"].sum().item())
    assert penalty(model, anchor, 10).item() == pytest.approx(5 * moved.item())
    assert penalty(model, anchor, 0).item() == 0


@pytest.mark.parametrize("count", [2, 3])
def test_the_anchor_of_several_tasks_is_the_sum_of_their_penalties_up_to_a_constant(count):
    tasks, rng = drawn_tasks(count), np.random.default_rng(9)
    anchor, strength, differences = anchored(tasks), 1.7, []
    for _ in range(5):
        w = rng.normal(size=3)
        model = linear(w[:2].tolist(), w[2])
        value = penalty(model, anchor, strength)
        value.backward()
        apart = [(flat(f), w - flat(dict(m.state_dict()))) for m, f in tasks]
        gradient = strength * sum(f * d for f, d in apart)
        found = torch.cat([model.weight.grad[0], model.bias.grad]).numpy()
        np.testing.assert_allclose(found, gradient, rtol=1e-12)
        explicit = strength / 2 * sum((f * d**2).sum() for f, d in apart)
        differences.append(explicit - value.item())
    assert np.ptp(differences) < 1e-12 < 0.1 < min(differences)


def test_a_second_task_is_learnt_beside_the_first_only_with_the_penalty():
    """Task 1 needs w_1 = 1 and does not see w_2; task 2 needs w_1 + w_2 = 3.

    The shortest way for task 2 is (2, 1), where task 1's error is 1; held at w_1 it is (1, 2).
    """
    seen = torch.tensor([1.0, 0]).double()
    noisy = [(seen, 1.5), (seen, 0.5)]  # at the optimum no gradient would be left
    start = linear([1, 0])
    anchor = extended(None, start, importance_of(start, squared, noisy, ["weight"]))
    ends = {}
    for strength in (0, 20):
        model = linear([1, 0])
        optimiser = torch.optim.SGD([model.weight], lr=0.04)
        for _ in range(300):
            optimiser.zero_grad()
            both = squared(model, (torch.ones(2).double(), 3.0))
            (both + penalty(model, anchor, strength)).backward()
            optimiser.step()
        ends[strength] = model.weight[0].tolist()
    assert ends[0] == pytest.approx([2, 1], abs=1e-6)
    assert ends[20] == pytest.approx([1, 2], abs=1e-6)


def test_a_weight_without_importance_is_free_and_its_anchor_finite():
    first, second = linear([1, 5]), linear([3, 7])
    parts = [{"weight": torch.tensor([f], dtype=torch.float64)} for f in ([1.0, 0], [3.0, 0])]
    anchor = anchored([(first, parts[0]), (second, parts[1])])
    assert anchor.values["weight"].tolist() == [pytest.approx([2.5, 7])]
    model = linear([2.5, -100])
    assert penalty(model, anchor, 1).item() == 0


# adversary


def small(**options) -> PatchDiscriminator:
    return PatchDiscriminator(**{"channels": 4, "width": 4, "layers": 1} | options)


def triple(seed: int = 0, count: int = 3) -> tuple[Tensor, ...]:
    """Inputs of 1 channel, outputs and targets of 3."""
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, channels, 16, 16, generator=rng) for channels in (1, 3, 3))


def scores(discriminator: nn.Module, inputs: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return discriminator(torch.cat((inputs, image), 1))


def test_each_step_has_the_gradient_of_half_the_sum_of_its_own_images():
    """Nothing is left over from the step before."""
    adversary, (inputs, output, target) = Adversary(small(), lr=1e-3), triple()
    for images in ((inputs, output, target), (inputs, 1 - output, target.flip(3))):
        now = copy.deepcopy(adversary.discriminator)
        now.zero_grad()
        real, fake = (now(torch.cat((images[0], image), 1)) for image in (images[2], images[1]))
        (real.sub(1).pow(2).mean() / 2 + fake.pow(2).mean() / 2).backward()
        adversary.loss(*images)
        for ours, wanted in zip(
            adversary.discriminator.parameters(), now.parameters(), strict=True
        ):
            torch.testing.assert_close(ours.grad, wanted.grad, rtol=1e-3, atol=1e-6)


def test_the_value_is_the_distance_of_the_scores_from_one_after_the_step():
    adversary, (inputs, output, target) = Adversary(small(), lr=0.01), triple()
    value = adversary.loss(inputs, output, target).item()
    after = scores(adversary.discriminator, inputs, output)
    assert value == pytest.approx(float(((after - 1) ** 2).mean()), rel=1e-6)


def test_the_output_gets_the_networks_gradient_and_the_discriminator_does_not():
    adversary, (inputs, output, target) = Adversary(small().double()), triple()
    inputs, target = inputs.double(), target.double()
    output = output.double().requires_grad_()
    value = adversary.loss(inputs, output, target)
    assert output.grad is None, "the discriminator's step used the output detached"
    network = adversary.discriminator
    kept = [(each.grad.clone(), each.detach().clone()) for each in network.parameters()]
    value.backward()
    for each, (gradient, values) in zip(network.parameters(), kept, strict=True):
        assert torch.equal(each.grad, gradient) and torch.equal(each, values)
        assert each.requires_grad
    for place in ((0, 0, 3, 4), (2, 1, 8, 15)):
        ends = []
        for sign in (1, -1):
            shifted = output.detach().clone()
            shifted[place] += sign * 1e-5
            ends.append(float(((scores(network, inputs, shifted) - 1) ** 2).mean()))
        slope = (ends[0] - ends[1]) / 2e-5
        assert output.grad[place].item() == pytest.approx(slope, rel=1e-3) and slope != 0


def test_the_discriminator_sees_the_input():
    """The same two images, real for one input and false for another."""
    first, second = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    first[..., ::2], second[..., ::2, :] = 1, 1
    _, a, b = triple(count=1)
    adversary = Adversary(small(width=8), lr=5e-3)
    together = (torch.cat((first, second)), torch.cat((a, b)), torch.cat((b, a)))
    for _ in range(200):
        adversary.loss(*together)
    for inputs, fake, real in zip(*together, strict=True):
        found = [
            scores(adversary.discriminator, inputs[None], each[None]).mean()
            for each in (fake, real)
        ]
        assert found[0] < 0.2 and found[1] > 0.8
