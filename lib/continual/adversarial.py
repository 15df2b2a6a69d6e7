"""A patch discriminator as loss: does this output look as if it belonged to this input?

Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017: the
discriminator sees input and output together and judges every patch. Its loss is CycleGAN's least
squares (Mao et al., ICCV 2017): real patches should score 1, generated ones 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.continual.generator import initialised
from lib.engine.seeding import seeded
from lib.networks.sizes import refuse_below_one


class PatchDiscriminator(nn.Sequential):
    """(N, C, H, W) to scores (N, 1, h, w), one a patch; C64-C128-...: instance norm, LeakyReLU.

    layers: convolutions of stride 2; 3 look at patches of 70 px, 2 at 34, 1 at 16.
    """

    def __init__(self, channels: int, *, width: int = 64, layers: int = 3, seed: int = 0) -> None:
        refuse_below_one(channels=channels, width=width, layers=layers)
        with seeded(seed):
            parts = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            inputs = width
            for index in range(1, layers + 1):
                outputs = width * min(2**index, 8)
                stride = 2 if index < layers else 1
                parts += [
                    nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1),
                    nn.InstanceNorm2d(outputs),
                    nn.LeakyReLU(0.2),
                ]
                inputs = outputs
            parts.append(nn.Conv2d(inputs, 1, 4, padding=1))
            super().__init__(*parts)
            initialised(self)


class Adversary:
    """A discriminator that learns beside the network it judges.

    Its optimiser is Adam with CycleGAN's betas. ``loss`` takes one step of the discriminator, then
    gives the network's loss.
    """

    def __init__(self, discriminator: PatchDiscriminator, *, lr: float = 2e-4) -> None:
        self.discriminator = discriminator
        self.optimiser = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def loss(self, inputs: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Mean of (D(input, output) - 1)^2 after a step on the target and the detached output."""
        real = self._score(inputs, target)
        fake = self._score(inputs, output.detach())
        self.optimiser.zero_grad()
        (((real - 1).square().mean() + fake.square().mean()) / 2).backward()
        self.optimiser.step()
        # the network's gradient must not end up in the discriminator
        self.discriminator.requires_grad_(False)
        value = (self._score(inputs, output) - 1).square().mean()
        self.discriminator.requires_grad_(True)
        return value

    def _score(self, inputs: Tensor, image: Tensor) -> Tensor:
        return self.discriminator(torch.cat((inputs, image), 1))
