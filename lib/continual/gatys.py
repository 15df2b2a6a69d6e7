"""Style transfer by optimising the picture itself.

Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", CVPR 2016: the
pixels are moved until content and style losses are small, by L-BFGS from the content image (their
figure 6 A). Matsumoto and Yanai compare a network's output with such a picture by SSIM.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.continual.perceptual import PerceptualLoss

EDGE = 0.01  # black and white start this far inside, where the sigmoid has a slope


def gatys(loss: PerceptualLoss, content: Tensor, *, steps: int = 300) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) in [0, 1] and their total loss (N,), each optimised by itself.

    content: (N, 3, H, W) in [0, 1], where it starts. steps: iterations of L-BFGS with a strong
    Wolfe line search. A pixel is the sigmoid of the number that is moved, so it stays in (0, 1):
    with pixels that are clipped instead, white skies stop the search early.
    Raises ArithmeticError if a loss becomes NaN or infinite.
    """
    pictures = torch.cat([_one(loss, each[None], steps) for each in content])
    with torch.no_grad():
        return pictures, loss(pictures, content).total


@torch.enable_grad()
def _one(loss: PerceptualLoss, content: Tensor, steps: int) -> Tensor:
    # L-BFGS cannot take the strides of a permuted picture
    numbers = content.clamp(EDGE, 1 - EDGE).logit().contiguous().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [numbers], max_iter=steps, max_eval=2 * steps, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    with torch.no_grad():
        scale = loss(content, content).total.sum().clamp(min=1e-12)  # steps fit losses near 1

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        value = loss(numbers.sigmoid(), content).total.sum() / scale
        if not value.isfinite():  # every time: ``step`` returns the first value only
            raise ArithmeticError("the style loss is not finite")
        value.backward()
        return value

    optimiser.step(evaluate)
    return numbers.detach().sigmoid()
