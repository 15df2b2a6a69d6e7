"""The patch discriminator as pixels see it, and who learns from which gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.continual.adversarial import Adversary, PatchDiscriminator


def small(**options) -> PatchDiscriminator:
    return PatchDiscriminator(**{"channels": 4, "width": 4, "layers": 1} | options)


def triple(seed: int = 0, count: int = 3) -> tuple[torch.Tensor, ...]:
    """Inputs of 1 channel, outputs and targets of 3."""
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, channels, 16, 16, generator=rng) for channels in (1, 3, 3))


def scores(discriminator: nn.Module, inputs: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return discriminator(torch.cat((inputs, image), 1))


def own_loss(discriminator: nn.Module, inputs, output, target) -> float:
    real, fake = (scores(discriminator, inputs, image) for image in (target, output))
    return float(((1 - real) ** 2).mean() + (fake**2).mean()) / 2


def convolutions(discriminator: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in discriminator if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(("layers", "side"), [(3, 70), (2, 34), (1, 16)])
def test_a_score_sees_the_promised_patch(layers, side):
    """Without norms, whose mean and variance come from all pixels."""
    network = nn.Sequential(
        *(part for part in small(layers=layers) if not isinstance(part, nn.InstanceNorm2d))
    ).double()
    image = torch.rand(1, 4, 160, 160, dtype=torch.float64, requires_grad=True)
    found = network(image)
    middle = found.shape[-1] // 2
    found[0, 0, middle, middle].backward()
    seen = image.grad[0].abs().sum(0) > 0
    for axis in (0, 1):
        pixels = seen.any(axis).nonzero().flatten()
        assert pixels[0] > 0 and pixels[-1] < 159, "cut off at the border"
        assert pixels[-1] - pixels[0] + 1 == side


@pytest.mark.parametrize(
    ("layers", "widths"),
    [(3, [64, 128, 256, 512]), (2, [64, 128, 256]), (1, [64, 128]),
     (5, [64, 128, 256, 512, 512, 512])],
)  # fmt: skip
def test_channels_are_pix2pix(layers, widths):
    """C64-C128-C256-C512 for 70 px, C64-C128 for 16, C64-C128-C256-C512-C512-C512 for 286."""
    network = PatchDiscriminator(6, layers=layers)
    assert [layer.out_channels for layer in convolutions(network)] == [*widths, 1]
    assert [layer.in_channels for layer in convolutions(network)] == [6, *widths]
    normed = [part.num_features for part in network if isinstance(part, nn.InstanceNorm2d)]
    assert normed == widths[1:]
    kinds = [type(part) for part in network]
    assert kinds[:3] == [nn.Conv2d, nn.LeakyReLU, nn.Conv2d] and kinds[-1] is nn.Conv2d
    assert {part.negative_slope for part in network if isinstance(part, nn.LeakyReLU)} == {0.2}


def test_the_count_of_cyclegans_discriminator():
    """Kernels of 16 values and biases; its code prints 2.765 M for RGB."""
    by_hand = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 128 + 256 + 512 + 1
    found = sum(values.numel() for values in PatchDiscriminator(3).parameters())
    assert found == by_hand == 2_764_737


@torch.no_grad()
@pytest.mark.parametrize(("layers", "side"), [(3, 30), (2, 62), (1, 126)])
def test_one_score_a_patch_and_each_image_by_itself(layers, side):
    network, images = small(layers=layers), torch.rand(3, 4, 256, 256)
    together = network(images)
    assert together.shape == (3, 1, side, side)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_initial_weights_are_cyclegans_and_depend_on_the_seed_alone():
    random = torch.random.get_rng_state()
    network, again, other = (PatchDiscriminator(6, width=32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), random)
    for a, b, c in zip(*map(convolutions, (network, again, other)), strict=True):
        assert torch.equal(a.weight, b.weight) and not torch.equal(a.weight, c.weight)
        assert a.weight.std().item() == pytest.approx(0.02, rel=0.1) and not a.bias.any()


def test_the_discriminators_step_is_adams_first_towards_one_and_zero():
    """Adam's first step moves each weight by lr against the sign of its gradient."""
    inputs, output, target = triple()
    adversary = Adversary(small().double(), lr=1e-4)
    inputs, output, target = inputs.double(), output.double(), target.double()
    before = copy.deepcopy(adversary.discriminator)
    real, fake = (before(torch.cat((inputs, image), 1)) for image in (target, output))
    (real.sub(1).pow(2).mean() / 2 + fake.pow(2).mean() / 2).backward()
    adversary.loss(inputs, output, target)
    moved = 0
    for old, new in zip(before.parameters(), adversary.discriminator.parameters(), strict=True):
        clear = old.grad.abs() > 1e-6  # Adam's epsilon is 1e-8
        expected = -1e-4 * old.grad.sign()
        torch.testing.assert_close((new - old)[clear], expected[clear], rtol=0.02, atol=0)
        moved += int(clear.sum())
    assert moved > 500
    adam = Adversary(small()).optimiser.defaults
    assert (adam["lr"], adam["betas"]) == (2e-4, (0.5, 0.999))


def test_the_discriminators_step_lowers_its_own_loss():
    adversary, images = Adversary(small()), triple()
    before = own_loss(adversary.discriminator, *images)
    adversary.loss(*images)
    assert own_loss(adversary.discriminator, *images) < before


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


def test_fixed_images_are_told_apart_with_scores_near_one_and_zero():
    adversary, (inputs, output, target) = Adversary(small(), lr=5e-3), triple()
    values = [adversary.loss(inputs, output, target).item() for _ in range(150)]
    assert scores(adversary.discriminator, inputs, target).mean() > 0.9
    assert scores(adversary.discriminator, inputs, output).mean() < 0.1
    assert own_loss(adversary.discriminator, inputs, output, target) < 0.05
    assert values[-1] > 0.8


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


@pytest.mark.parametrize("name", ["channels", "width", "layers"])
def test_sizes_below_one_are_refused(name):
    sizes = {"channels": 3, "width": 4, "layers": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        PatchDiscriminator(**sizes)
