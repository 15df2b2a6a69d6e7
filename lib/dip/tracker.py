"""What is measured along a Deep Image Prior fit, without ever waiting for the device.

Everything is a tensor changed in place and indexed by a step counter that lives on the device,
so that one iteration can be captured as a CUDA graph and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Best:
    """The output with the lowest score so far, for each of B problems."""

    score: Tensor  # (B,)
    image: Tensor  # (B, C, H, W)
    step: Tensor  # (B,)

    @classmethod
    def start(cls, like: Tensor) -> Best:
        """Nothing yet: infinite scores at step 0."""
        none = like.new_full((len(like),), torch.inf)
        return cls(none, torch.zeros_like(like), torch.zeros_like(none))

    def update(self, score: Tensor, image: Tensor, step: Tensor, allowed: Tensor) -> None:
        """Take over the problems whose score is lower, where that is allowed."""
        better = (score < self.score) & allowed
        self.score.copy_(torch.where(better, score, self.score))
        self.step.copy_(torch.where(better, step, self.step))
        self.image.copy_(torch.where(better[:, None, None, None], image, self.image))


class Tracker:
    """Curves, best outputs, moving average and early stop of B fits over T iterations.

    clean: (B, C, H, W). window, patience: of ES-WMV (Wang et al. 2023): the variance over the
    last ``window`` outputs falls while the image forms and rises when the noise comes in; its
    minimum, unless ``patience`` iterations bring no lower one, is where to stop.
    """

    def __init__(
        self, clean: Tensor, *, iterations: int, ema: float, window: int, patience: int
    ) -> None:
        self.clean, self.ema, self.window, self.patience = clean, ema, window, patience
        self.loss, self.rmse, self.ema_rmse, self.variance = (
            clean.new_full((iterations, len(clean)), torch.inf) for _ in range(4)
        )
        self.index = torch.zeros(1, dtype=torch.long, device=clean.device)
        self.output, self.average = torch.zeros_like(clean), torch.zeros_like(clean)
        self.best, self.calmest = Best.start(clean), Best.start(clean)
        # on the device beforehand: a number copied there would break the capture of a graph
        self.infinite = clean.new_tensor(torch.inf)
        self.recent = clean.new_zeros(window, *clean.shape)
        # sums of thousands of updates: float32 would drift by as much as the variance sought
        self.sum = torch.zeros_like(clean, dtype=torch.float64)
        self.square = clean.new_zeros(len(clean), dtype=torch.float64)

    def add(self, output: Tensor, loss: Tensor) -> None:
        """Enter the (B, C, H, W) outputs and (B,) losses of one iteration."""
        index = self.index
        self.output.copy_(output)
        decay = self.ema * (index > 0).to(output.dtype)  # the first output starts the average
        self.average.mul_(decay).add_(self.output * (1 - decay))
        rmse, variance = _rmse(self.output, self.clean), self._windowed_variance()
        self.loss.index_copy_(0, index, loss[None])
        self.rmse.index_copy_(0, index, rmse[None])
        self.ema_rmse.index_copy_(0, index, _rmse(self.average, self.clean)[None])
        self.variance.index_copy_(0, index, variance[None])
        step = (index + 1).to(rmse.dtype).expand(len(rmse))
        self.best.update(rmse, self.output, step, rmse.isfinite())
        waiting = (step - self.calmest.step <= self.patience) | self.calmest.score.isinf()
        self.calmest.update(variance, self.output, step, waiting)
        index.add_(1)

    def _windowed_variance(self) -> Tensor:
        """Mean over the pixels of the variance over the last ``window`` outputs, (B,)."""
        window, index = self.window, self.index
        slot = index % window
        oldest = self.recent.index_select(0, slot)[0].double()
        newest = self.output.double()
        self.sum.add_(newest - oldest)
        self.square.add_((newest.square() - oldest.square()).mean((1, 2, 3)))
        self.recent.index_copy_(0, slot, self.output[None])
        variance = self.square / window - (self.sum / window).square().mean((1, 2, 3))
        variance = variance.clamp(min=0).to(self.output.dtype)
        return torch.where(index + 1 >= window, variance, self.infinite)


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean((1, 2, 3)).sqrt()
