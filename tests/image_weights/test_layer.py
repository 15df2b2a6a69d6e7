"""Images as weights, against eqs. 1-8 in numpy, finite differences and torch's own layer."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from lib.image_weights.layer import (
    EPSILON,
    LOSSES,
    MAPS,
    ImageWeights,
    Recipe,
    UntilReached,
    kl,
    low_pass,
    reverse_kl,
    steps_to,
    synthesize,
)

BYTES = torch.arange(256).view(1, 1, 16, 16)
HARD = Recipe(lr=2.0, momentum=0.9, steps=6, low_pass=2)  # moves far, and uses everything


class Linear(nn.Module):
    """Logits A z + b; its cross entropy to t has the gradient A^T (softmax - t)."""

    def __init__(self, a: np.ndarray, b: np.ndarray) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b))

    def forward(self, images):
        return images.flatten(1) @ self.a.T + self.b


def linear(classes: int = 3, pixels: int = 12, seed: int = 0) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear(rng.normal(size=(classes, pixels)), rng.normal(size=classes)).eval()


def smooth(channels: int = 3, size: int = 6, classes: int = 4) -> nn.Module:
    """A small network with everything that a batch could leak through."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(channels, 5, 3),
        nn.BatchNorm2d(5),
        nn.Dropout(0.5),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(5 * (size - 2) ** 2, classes),
    )
    nn.init.normal_(network[1].running_mean)
    return network.double().eval()


def problem(count: int = 5, shape=(3, 6, 6), classes: int = 4, seed: int = 0):
    """Random float64 images, none of them saturated, and targets."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.01 + 0.98 * torch.rand(count, *shape, generator=rng, dtype=torch.float64)
    targets = torch.rand(count, classes, generator=rng, dtype=torch.float64) + 0.1
    return images, targets / targets.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("mapping", "basis"),
    [(m, b) for m in MAPS for b in ("pixel", "fourier") if (m, b) != ("clamp", "fourier")],
)
def test_every_byte_comes_back(mapping, basis):
    layer = ImageWeights(BYTES.float() / 255, Recipe(mapping=mapping, basis=basis))
    assert layer.weight.dtype == torch.float32 and layer.weight.isfinite().all()
    assert torch.equal((layer() * 255).round().long(), BYTES)


def test_epsilon_is_the_largest_half_power_of_two_that_bytes_do_not_see():
    assert 255 * EPSILON < 0.5 <= 255 * 2 * EPSILON
    layer = ImageWeights(BYTES.float() / 255, Recipe(epsilon=2 * EPSILON))
    assert not torch.equal((layer() * 255).round().long(), BYTES)


def test_without_epsilon_float32_gives_white_the_weight_of_black():
    """Half of pi, rounded to float32, lies 4.4e-8 beyond it: the tangent is -1 / 4.4e-8."""
    to_weight, to_image = MAPS["tan"]
    beyond = float(np.float32(np.pi / 2)) - np.pi / 2
    assert 4e-8 < beyond < 5e-8
    weight = to_weight(torch.ones(1))
    assert weight.item() == pytest.approx(-1 / beyond, rel=1e-5)
    assert to_image(weight).item() < 1e-6
    assert to_image(to_weight(torch.zeros(1))).item() > 1 - 1e-6
    assert to_image(to_weight(torch.ones(1).double())).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("mapping", "floor"),
    [("tan", math.sin(math.pi / 512) ** 2 / math.pi), ("sigmoid", 511 / 512**2), ("clamp", 1.0)],
)
def test_the_gradient_has_a_floor(mapping, floor):
    """dz/dW = 1 / (pi (1 + W^2)) is least at black and white: sin(pi epsilon)^2 / pi."""
    layer = ImageWeights(BYTES.float() / 255, Recipe(mapping=mapping))
    layer().sum().backward()
    gradient = layer.weight.grad.flatten()
    assert gradient[0].item() == pytest.approx(floor, rel=1e-3)
    assert gradient[255].item() == pytest.approx(floor, rel=1e-3)
    assert gradient.min() >= 0.999 * floor


def test_the_layer_is_a_fully_connected_one_with_input_one():
    """Eqs. 1 to 5, element by element; i, j, k count from 0."""
    images, _ = problem(2, (3, 4, 5))
    layer = ImageWeights(images, Recipe())
    made, (channels, height, width) = layer(), images.shape[1:]
    made.square().sum().backward()
    for n, image in enumerate(images.numpy()):
        connected = nn.Linear(1, channels * height * width, bias=False).double()
        stacked = [math.tan((x - 0.5) * math.pi) for plane in image for row in plane for x in row]
        connected.weight.data[:, 0] = torch.tensor(stacked, dtype=torch.float64)
        y = connected(torch.ones(1, dtype=torch.float64)).arctan() / math.pi + 0.5
        for i, j, k in product(range(channels), range(height), range(width)):
            pixel = y[i * height * width + j * width + k].item()
            assert made[n, i, j, k].item() == pytest.approx(pixel, abs=1e-12)
        y.square().sum().backward()
        torch.testing.assert_close(layer.weight.grad[n].flatten(), connected.weight.grad[:, 0])


def weight_gradient(weight: np.ndarray, model: Linear, target: np.ndarray) -> np.ndarray:
    a, b = (p.detach().numpy() for p in (model.a, model.b))
    z = np.arctan(weight) / np.pi + 0.5
    return a.T @ (softmax(a @ z + b) - target) / (np.pi * (1 + weight**2))


@pytest.mark.parametrize(("momentum", "printed"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_and_momentum_are_equations_6_to_8(momentum, printed):
    """The usual recursion; eqs. 7 and 8 as printed are the same with the learning rate squared."""
    rate, decay = 0.5, 0.02
    images, targets = problem(2, (3, 2, 2), 3)
    model, lr = linear(), rate**2 if printed else rate
    recipe = Recipe(lr=lr, momentum=momentum, weight_decay=decay, steps=3)
    made = synthesize(model, images, targets, recipe).images.numpy()
    for image, target, result in zip(images.numpy(), targets.numpy(), made, strict=True):
        weight = np.tan((image.ravel() - 0.5) * np.pi)
        velocity = np.zeros_like(weight)
        for _ in range(3):
            gradient = weight_gradient(weight, model, target) + decay * weight
            velocity = momentum * velocity + (rate if printed else 1) * gradient
            weight = weight - rate * velocity
        np.testing.assert_allclose(result.ravel(), np.arctan(weight) / np.pi + 0.5, atol=1e-6)
    other = replace(recipe, momentum=0.9 - momentum)
    assert np.abs(made - synthesize(model, images, targets, other).images.numpy()).max() > 1e-3


def numpy_low_pass(planes: np.ndarray, radius: float) -> np.ndarray:
    """Every coefficient of the DFT alone, by its definition."""
    height, width = planes.shape[-2:]
    rows, columns = np.arange(height)[:, None], np.arange(width)
    result = np.zeros(planes.shape, complex)
    for u in range(height):
        for v in range(width):
            distance = math.hypot(min(u, height - u), min(v, width - v))
            if distance <= radius:
                wave = np.exp(2j * np.pi * (u * rows / height + v * columns / width))
                amount = (planes * wave.conj()).sum((-2, -1), keepdims=True) / (height * width)
                result += amount * wave
    assert np.abs(result.imag).max() < 1e-9
    return result.real


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5), (16, 1)])
@pytest.mark.parametrize("radius", [1, 2.5, 5])
def test_the_low_pass_is_a_disc_of_the_dft(size, radius):
    """Radius 5 has coefficients exactly on the rim: 3, 4 and 5, 0."""
    images, _ = problem(2, (2, *size))
    passed = low_pass(images, radius)
    np.testing.assert_allclose(passed, numpy_low_pass(images.numpy(), radius), atol=1e-12)
    torch.testing.assert_close(low_pass(passed, radius), passed)


@pytest.mark.parametrize("size", [(7, 5), (8, 9), (5, 8), (1, 6), (32, 32)])
@pytest.mark.parametrize("mapping", ["tan", "sigmoid"])
def test_the_fourier_basis_starts_at_the_same_image(size, mapping):
    images, _ = problem(2, (3, *size))
    pixels, waves = (
        ImageWeights(images, Recipe(basis=basis, mapping=mapping)) for basis in ("pixel", "fourier")
    )
    assert waves.weight.shape == (2, 3, size[0], size[1] // 2 + 1, 2)
    torch.testing.assert_close(waves(), pixels(), rtol=0, atol=1e-7)


def spectrum_scale(height: int, width: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    scale = 1 / np.maximum(frequency, 1 / max(height, width))
    twice = np.array([1 if column in (0, width / 2) else 2 for column in range(width // 2 + 1)])
    return (scale / (scale**4).mean() ** 0.25)[:, : width // 2 + 1] / np.sqrt(twice)


def test_white_gradients_move_a_spectrum_as_far_as_pixels():
    images = torch.full((64, 3, 32, 32), 0.5)
    white = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    moves = {}
    for basis in ("pixel", "fourier"):
        layer = ImageWeights(images, Recipe(basis=basis))
        (gradient,) = torch.autograd.grad((layer() * white).sum(), [layer.weight])
        layer.weight.data -= 1e-3 * gradient
        moves[basis] = (layer() - images).square().mean().sqrt().item()
    assert moves["fourier"] == pytest.approx(moves["pixel"], rel=0.1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mapping", ["tan", "sigmoid"])
@pytest.mark.parametrize(
    ("basis", "radius"), [("pixel", None), ("pixel", 1.5), ("fourier", None), ("fourier", 1.5)]
)
def test_one_step_goes_down_the_slope_found_by_finite_differences(basis, radius, mapping, loss):
    """The whole way from the weights to the loss again in numpy."""
    images, targets = problem(1, (2, 4, 5), 3)
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(6, 40)), rng.normal(size=(3, 6))
    target, scale = targets[0].numpy(), spectrum_scale(4, 5)

    def image_of(weight: np.ndarray) -> np.ndarray:
        if basis == "fourier":
            spectrum = (weight[..., 0] + 1j * weight[..., 1]) * scale
            weight = np.fft.irfft2(spectrum, s=(4, 5), norm="ortho")
        image = np.arctan(weight) / np.pi + 0.5 if mapping == "tan" else 1 / (1 + np.exp(-weight))
        return image if radius is None else numpy_low_pass(image, radius)

    def loss_of(weight: np.ndarray) -> float:
        log_p = log_softmax(second @ np.tanh(first @ image_of(weight).ravel()))
        if loss == "reverse_kl":
            return rel_entr(np.exp(log_p), target).sum()
        return -(target * log_p).sum()

    image = images[0].numpy().clip(EPSILON, 1 - EPSILON)
    weight = np.tan((image - 0.5) * np.pi) if mapping == "tan" else np.log(image / (1 - image))
    if basis == "fourier":
        spectrum = np.fft.rfft2(weight, norm="ortho") / scale
        weight = np.stack([spectrum.real, spectrum.imag], -1)
    gradient, step = np.zeros(weight.size), 1e-5
    for place in range(weight.size):
        moved = np.zeros(weight.size)
        moved[place] = step
        moved = moved.reshape(weight.shape)
        gradient[place] = (loss_of(weight + moved) - loss_of(weight - moved)) / (2 * step)
    expected = image_of(weight - 0.5 * gradient.reshape(weight.shape))

    network = nn.Sequential(
        nn.Flatten(), nn.Linear(40, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False)
    ).double()
    network[1].weight.data, network[3].weight.data = map(torch.from_numpy, (first, second))
    recipe = Recipe(lr=0.5, steps=1, weight_decay=0, mapping=mapping, loss=loss, basis=basis)
    recipe = replace(recipe, low_pass=radius)
    made = synthesize(network.eval(), images, targets, recipe).images[0].numpy()
    np.testing.assert_allclose(made, expected.clip(0, 1), atol=2e-6)
    assert np.abs(expected - image_of(weight)).max() > 1e-3


@pytest.mark.parametrize(
    "recipe",
    [HARD, Recipe(lr=8.0, momentum=0.9, basis="fourier", steps=6), replace(HARD, mapping="clamp")],
)
def test_images_of_a_batch_are_independent(recipe):
    images, targets = problem()
    model = smooth()
    together = synthesize(model, images, targets, recipe)
    alone = [synthesize(model, images[i : i + 1], targets[i : i + 1], recipe) for i in range(5)]
    made = torch.cat([part.images for part in alone])
    torch.testing.assert_close(together.images, made, rtol=0, atol=1e-10)
    for size in (1, 2, 4):
        chunked = synthesize(model, images, targets, recipe, batch=size)
        for name, value in vars(chunked).items():
            torch.testing.assert_close(value, getattr(together, name), rtol=0, atol=1e-10)
    assert (together.images - images).abs().amax((1, 2, 3)).min() > 1e-2


@pytest.mark.parametrize("recipe", [HARD, replace(HARD, low_pass=None, momentum=0.0)])
def test_each_image_stops_by_itself_where_it_is_reached(recipe):
    """As if it had been driven alone for as many updates as it needs; the others go on."""
    images, targets = problem()
    model = smooth()
    whole = synthesize(model, images, targets, replace(recipe, steps=60))
    stop = float(whole.divergence[:40].amin(0).median())  # some get there, some do not
    fields = vars(recipe) | {"steps": 60, "stop": stop}
    made = synthesize(model, images, targets, UntilReached(**fields))
    updates = steps_to(made.divergence, stop)
    assert {-1} < set(updates.tolist()) and updates.max() < 60
    for i, needed in enumerate(updates.tolist()):
        steps = 60 if needed < 0 else needed
        alone = synthesize(
            model, images[i : i + 1], targets[i : i + 1], replace(recipe, steps=steps)
        )
        torch.testing.assert_close(made.images[i], alone.images[0], rtol=0, atol=1e-10)
        expected = torch.cat([alone.divergence[:, 0], alone.divergence[-1].expand(60 - steps)])
        until = slice(steps)  # at the stop itself a low-pass filter is not clipped yet
        torch.testing.assert_close(made.divergence[until, i], expected[until], rtol=0, atol=1e-10)
        assert (made.divergence[steps:-1, i] == made.divergence[steps, i]).all()
        if needed >= 0:
            assert made.divergence[steps, i] <= stop
            assert (made.divergence[:steps, i] > stop).all()


def test_nothing_moves_where_every_target_is_reached_before():
    images, _ = problem()
    with torch.no_grad():
        targets = smooth()(images.clamp(EPSILON, 1 - EPSILON)).softmax(1)
    made = synthesize(smooth(), images, targets, UntilReached(steps=5))
    torch.testing.assert_close(made.images, images.clamp(EPSILON, 1 - EPSILON))
    assert made.divergence.shape == (6, 5) and made.divergence.max() < 1e-9


def test_what_is_reported_is_what_the_classifier_says():
    images, targets = problem()
    model = smooth()
    made = synthesize(model, images, targets, HARD)
    assert made.divergence.shape == (7, 5) and made.images.shape == images.shape
    assert made.images.min() >= 0 and made.images.max() <= 1
    seen = (low_pass(images.clamp(EPSILON, 1 - EPSILON), 2), made.images)
    with torch.no_grad():
        outputs = [softmax(model(shown).numpy(), 1) for shown in seen]
    np.testing.assert_allclose(made.outputs, outputs[1], atol=1e-6)
    for step, output in zip((0, -1), outputs, strict=True):
        expected = rel_entr(targets.numpy(), output).sum(1)
        np.testing.assert_allclose(made.divergence[step], expected, atol=1e-6)


def test_the_classifier_and_the_input_are_left_as_they_were():
    images, targets = problem()
    model = smooth()
    model[0].weight.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = images.clone(), targets.clone()
    synthesize(model, images, targets, HARD)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(images, inputs[0]) and torch.equal(targets, inputs[1])
    assert not images.requires_grad


def test_no_step_gives_the_image_back():
    images, targets = problem()
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    made = synthesize(smooth(), images, targets, Recipe(steps=0))
    torch.testing.assert_close(made.images, images.clamp(1 / 512, 511 / 512))
    assert made.divergence.shape == (1, 5)


def test_a_clamped_pixel_can_come_back():
    """From 1/2 by 4 (0.7 - 0.5) to 1.3, put back to 1, and on by 4 (0.7 - sigmoid(2))."""
    model = Linear(np.array([[4.0], [0.0]]), np.array([-2.0, 0.0])).eval()
    pixel, target = torch.full((1, 1, 1, 1), 0.5), torch.tensor([[0.7, 0.3]])
    recipe = Recipe(lr=1, weight_decay=0, mapping="clamp", steps=1)
    there, back = (
        synthesize(model.float(), pixel, target, replace(recipe, steps=n)).images.item()
        for n in (1, 2)
    )
    assert there == 1
    assert back == pytest.approx(1 - 4 * (1 / (1 + math.exp(-2)) - 0.7), abs=1e-6)


def test_divergences_in_both_directions():
    """Where a target is 0, KL(target || output) is finite and the other way is refused."""
    targets = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    outputs = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.2, 0.4, 0.4]])
    expected = rel_entr(targets.numpy(), outputs.numpy()).sum(1)
    np.testing.assert_allclose(kl(targets, outputs.log()), expected, atol=1e-6)
    expected = rel_entr(outputs[2:].numpy(), targets[2:].numpy()).sum(1)
    np.testing.assert_allclose(reverse_kl(targets[2:], outputs[2:].log()), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="infinite where a target is 0"):
        reverse_kl(targets, outputs.log())


def test_steps_to_a_tolerance():
    curves = torch.tensor(
        [[0.5, 0.5, 0.01, 0.9], [0.2, 0.3, 0.5, 0.01], [0.01, 0.2, 0.5, 0.5], [0.0, 0.1, 0.0, 0.0]]
    )
    assert steps_to(curves, 0.01).tolist() == [2, -1, 0, 1]


def test_a_mixture_is_reached_on_a_trained_classifier():
    """Three classes of tinted noise; 0.9 own class and 0.1 the next one."""
    torch.manual_seed(0)
    labels = torch.arange(90) % 3
    images = (0.3 + 0.3 * torch.eye(3)[labels][:, :, None, None]).expand(90, 3, 8, 8)
    images = (images + 0.15 * torch.randn(90, 3, 8, 8)).clamp(0, 1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    model.eval()
    assert (model(images).argmax(1) == labels).float().mean() > 0.95
    targets = 0.9 * torch.eye(3)[labels] + 0.1 * torch.eye(3)[(labels + 1) % 3]
    made = synthesize(model, images, targets, Recipe(lr=0.5, momentum=0.9, steps=100))
    with torch.no_grad():
        start, end = (softmax(model(x).numpy(), 1) for x in (images, made.images))
    reached = rel_entr(targets.numpy(), end).sum(1) <= 0.01
    assert reached.mean() >= 0.95
    assert (rel_entr(targets.numpy(), start).sum(1) <= 0.01).mean() < 0.5
    found = steps_to(made.divergence, 0.01)
    assert ((found > 0) & (found <= 100)).float().mean() > 0.5


def changed(values: torch.Tensor, place: tuple, value: float) -> torch.Tensor:
    values = values.clone()
    values[place] = value
    return values


IMAGES, TARGETS = problem()


@pytest.mark.parametrize(
    ("images", "targets", "named"),
    [
        (IMAGES, TARGETS * 1.01, "must sum to 1"),
        (IMAGES, TARGETS * 0.0, "must sum to 1"),
        (IMAGES, changed(TARGETS, (2, 1), math.inf), "must sum to 1"),
        (IMAGES, changed(TARGETS, (2, 1), -0.01), "negative or NaN"),
        (IMAGES, changed(TARGETS, (2, 1), math.nan), "negative or NaN"),
        (IMAGES, TARGETS[:4], r"\(4, 4\) for 5 images"),
        (IMAGES, TARGETS[0], r"\(4,\) for 5 images"),
        (IMAGES[:0], TARGETS[:0], r"\(0, 4\) for 0 images"),
        (IMAGES, torch.full((5, 3), 1 / 3), "has 4 classes, the targets have 3"),
        ((IMAGES * 255).to(torch.uint8), TARGETS, r"floating point .* not torch\.uint8"),
        (IMAGES[:, 0], TARGETS, r"shape \(4, 6, 6\)"),
        (IMAGES * 255, TARGETS, r"in \[0, 1\] without NaN"),
        (changed(IMAGES, (1, 0, 0, 0), -1e-6), TARGETS, r"in \[0, 1\] without NaN"),
        (changed(IMAGES, (4, 2, 5, 5), math.nan), TARGETS, r"in \[0, 1\] without NaN"),
    ],
)
def test_bad_images_and_targets_are_refused(images, targets, named):
    with pytest.raises(ValueError, match=named):
        synthesize(smooth(), images, targets, Recipe(steps=1), batch=4)


@pytest.mark.parametrize("part", [(), (1,), (2,)])
def test_training_mode_is_refused_even_in_one_layer(part):
    model = smooth()
    for module in [model[i] for i in part] or [model]:
        module.train()
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\)"):
        synthesize(model, IMAGES, TARGETS, Recipe(steps=1))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"mapping": "tanh"}, "tan, sigmoid, clamp, not 'tanh'"),
        ({"loss": "mse"}, "kl, reverse_kl, not 'mse'"),
        ({"basis": "wavelet"}, "pixel, fourier, not 'wavelet'"),
        ({"epsilon": 0.0}, r"needs 0 < epsilon < 0\.5, not .*epsilon=0\.0"),
        ({"epsilon": 0.5}, r"needs 0 < epsilon < 0\.5, not .*epsilon=0\.5"),
        ({"epsilon": math.nan}, r"needs 0 < epsilon < 0\.5, not .*epsilon=nan"),
        ({"steps": -1}, "needs steps >= 0, not .*steps=-1"),
        ({"lr": 0.0}, r"needs lr > 0, not .*lr=0\.0"),
        ({"lr": math.nan}, "needs lr > 0, not .*lr=nan"),
        ({"low_pass": 0}, "needs low_pass > 0 or None, not .*low_pass=0"),
        ({"low_pass": -3.0}, r"needs low_pass > 0 or None, not .*low_pass=-3\.0"),
        ({"mapping": "clamp", "basis": "fourier"}, "needs basis pixel with mapping clamp"),
        ({"stop": 0.0}, r"needs stop > 0, not .*stop=0\.0"),
        ({"stop": math.nan}, "needs stop > 0, not .*stop=nan"),
        ({"lr": -1, "steps": -1}, "needs lr > 0 and steps >= 0, not"),
    ],
)
def test_bad_recipes_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        (UntilReached if "stop" in values else Recipe)(**values)
