"""Training batches cut on the device from images that stay there as bytes."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


class Patches:
    """Random, randomly flipped square patches of one image set.

    images: (N, C, H, W) uint8, kept on its device. Batch ``step`` depends on (seed, step) alone,
    so a run that resumes at a step sees what it would have seen. Calling gives (B, C, P, P)
    float32 in [0, 1].
    """

    def __init__(self, images: Tensor, *, patch: int, batch: int, seed: int) -> None:
        height, width = images.shape[2:]
        if patch > min(height, width):
            raise ValueError(f"a patch of {patch} px does not fit images of {height} x {width} px")
        self.images, self.patch, self.batch, self.seed = images, patch, batch, seed

    def __call__(self, step: int) -> Tensor:
        rng = _generator(self.seed, step)
        count, _, height, width = self.images.shape

        def draw(high: int) -> Tensor:
            return torch.randint(high, (self.batch,), generator=rng).to(self.images.device)

        index, flip = draw(count), draw(2).bool()
        offsets = torch.arange(self.patch, device=self.images.device)
        rows = draw(height - self.patch + 1)[:, None] + offsets
        columns = draw(width - self.patch + 1)[:, None] + offsets
        columns = torch.where(flip[:, None], columns.flip(1), columns)
        return _pick(self.images, index, rows, columns).float() / 255


class Epochs:
    """Shuffled mini-batches of one image set, randomly flipped and moved.

    images: (N, C, H, W) uint8, kept on its device. ``len()`` steps are an epoch, in which every
    image comes once; its last batch is smaller if ``batch`` does not divide N.
    pad: images are moved by up to so many pixels each way; zeros (black) come in.
    flip: mirror every other image, by chance.
    Calling with a step gives (index, images): (B,) int64 into the set and (B, C, H, W) float32 in
    [0, 1]. Both depend on (seed, step) and the number of images alone, never on their content, so
    that runs on different data are paired; without ``flip`` the same images move the same way.
    """

    def __init__(
        self, images: Tensor, *, batch: int, seed: int, pad: int = 4, flip: bool = True
    ) -> None:
        if not len(images) or batch < 1 or pad < 0:
            raise ValueError(
                "at least one image, batch of at least 1 and pad of at least 0 are needed, "
                f"not {len(images)}, {batch} and {pad}"
            )
        self.images, self.batch, self.seed, self.pad, self.flip = images, batch, seed, pad, flip
        self._epoch = -1  # none yet
        self._draws: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch)

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        epoch, position = divmod(step, len(self))
        if epoch != self._epoch:  # one transfer to the device an epoch, not one a step
            self._epoch, self._draws = epoch, self._draw(epoch)
        here = slice(position * self.batch, (position + 1) * self.batch)
        return self._batch(*(values[here] for values in self._draws))

    def _batch(self, index: Tensor, flips: Tensor, *moves: Tensor) -> tuple[Tensor, ...]:
        images, (rows, columns) = self.images[index], moves
        if self.pad or self.flip:
            images = flip_and_crop(images, flips, rows, columns, self.pad)
        return index, images.float() / 255

    def _draw(self, epoch: int) -> tuple[Tensor, ...]:
        """Order, flips, rows and columns of an epoch, (N,) each, on the images' device."""
        rng, count = _generator(self.seed, epoch), len(self.images)
        order = torch.randperm(count, generator=rng)
        flips = torch.randint(2, (count,), generator=rng).bool() & self.flip
        rows, columns = torch.randint(2 * self.pad + 1, (2, count), generator=rng)
        return tuple(values.to(self.images.device) for values in (order, flips, rows, columns))


class Mirrored(Epochs):
    """Shuffled mini-batches of values that were made of images and of their mirror images.

    plain, mirrored: (N, ...) each, of any type. By chance every other value is the mirrored one,
    as ``Epochs`` of the same seed would mirror the image.
    """

    def __init__(self, plain: Tensor, mirrored: Tensor, *, batch: int, seed: int) -> None:
        if plain.shape != mirrored.shape:
            raise ValueError(
                "plain and mirrored values must have the same shape, not "
                f"{tuple(plain.shape)} and {tuple(mirrored.shape)}"
            )
        super().__init__(plain, batch=batch, seed=seed)
        self.mirrored = mirrored

    def _batch(self, index: Tensor, flips: Tensor, *moves: Tensor) -> tuple[Tensor, Tensor]:
        flips = flips.view(-1, *[1] * (self.mirrored.ndim - 1))
        return index, torch.where(flips, self.mirrored[index], self.images[index])


def flip_and_crop(images: Tensor, flips: Tensor, rows: Tensor, columns: Tensor, pad: int) -> Tensor:
    """Mirror some images, pad all with ``pad`` zeros and crop back to their size.

    images: (N, C, H, W) of any type. flips: (N,) bool, which are mirrored left to right.
    rows, columns: (N,) int64 in 0..2 pad, where in the mirrored and padded image the crop starts;
        ``pad`` is no move.
    """
    height, width = images.shape[2:]
    count = partial(torch.arange, device=images.device)
    rows, columns = rows[:, None] + count(height), columns[:, None] + count(width)
    columns = torch.where(flips[:, None], width + 2 * pad - 1 - columns, columns)
    return _pick(F.pad(images, (pad,) * 4), count(len(images)), rows, columns)


def _generator(seed: int, count: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + count)


def _pick(images: Tensor, index: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of image ``index[b]`` the pixels at ``rows[b]`` x ``columns[b]``: (B, C, P, Q)."""
    picked = images[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()
