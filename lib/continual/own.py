"""A task of one's own on a base network: from a folder of pairs of pictures to a task's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lib.continual.masks import MaskedNetwork, MaskedTask, TaskSwitcher
from lib.continual.networks import UNet
from lib.data.images import open_picture, pairs_in
from lib.data.segmented import FOLDER_TEST_EVERY, IGNORED, class_names_in
from lib.engine.sweep import chosen_device
from lib.engine.training import one_cycle, seeded, train

LR, MASK_LR = 2e-3, 1e-3  # of the last layer and of the masks, as in the medium run


@dataclass(frozen=True)
class Pairs:
    """Pictures and what is to be made of them, in squares of the same side S.

    A picture keeps its proportions: its longer side has at most S pixels, and it stands in the
    upper left corner. names: N. inputs: (N, 3, S, S) uint8. targets: (N, 3, S, S) uint8, or with
    classes label maps (N, 1, S, S) uint8. inside: (N, 1, S, S) bool, False where no picture is.
    """

    names: tuple[str, ...]
    inputs: Tensor
    targets: Tensor
    inside: Tensor
    classes: tuple[str, ...] = ()

    def part(self, places: Sequence[int]) -> Pairs:
        """Some of the pairs."""
        at = list(places)
        names = tuple(self.names[place] for place in at)
        return Pairs(names, self.inputs[at], self.targets[at], self.inside[at], self.classes)

    def split(self) -> tuple[Pairs, Pairs]:
        """For training, and every fifth pair for the test; ValueError for a single pair."""
        if len(self.names) < 2:
            raise ValueError("one pair cannot be both learned from and tested on; give two or more")
        test = range(0, len(self.names), FOLDER_TEST_EVERY)
        return self.part([n for n in range(len(self.names)) if n not in test]), self.part(test)


def load_pairs(folder: str | Path, *, size: int = 64) -> Pairs:
    """Read ``folder/inputs`` and ``folder/targets``, whose pictures have the same names.

    Suffixes may differ. With a file ``folder/classes.txt``, a name a line, the targets are label
    maps: palette or grey pictures whose pixels are numbers of classes from 0 on, and 255 for what
    is ignored. size: pixels of the longer side; a smaller picture stays as it is.
    Raises FileNotFoundError for a folder without pictures, and ValueError, naming the file, for one
    without partner, of another size than it, or not readable, and for a label that is no class.
    """
    where = Path(folder).expanduser()
    classes = class_names_in(where) if (where / "classes.txt").is_file() else ()
    files = pairs_in(Path(folder))
    names = tuple(name for name, _, _ in files)
    inputs = torch.zeros(len(names), 3, size, size, dtype=torch.uint8)
    targets = torch.full_like(inputs[:, :1], IGNORED) if classes else inputs.clone()
    inside = torch.zeros(len(names), 1, size, size, dtype=torch.bool)
    for place, (_, first, second) in enumerate(files):
        pair = [open_picture(first)]
        pair.append(_labels(second, len(classes)) if classes else open_picture(second))
        shapes = [f"{picture.width} x {picture.height}" for picture in pair]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{first} and {second} differ in size: {' and '.join(shapes)}")
        for values, picture in zip((inputs, targets), pair, strict=True):
            pixels = torch.from_numpy(_within(picture, size)).permute(2, 0, 1)
            values[place, :, : pixels.shape[1], : pixels.shape[2]] = pixels
        inside[place, :, : pixels.shape[1], : pixels.shape[2]] = True
    return Pairs(names, inputs, targets, inside, classes)


def _labels(path: Path, classes: int) -> Image.Image:
    """A label map as numbers; a palette's colours do not matter."""
    with Image.open(path) as file:
        file.load()
        if file.mode not in ("P", "L", "1"):
            raise ValueError(f"{path} is {file.mode}: a label map is a palette or grey picture")
        numbers = np.array(file, dtype=np.uint8)
    if len(strange := np.setdiff1d(numbers, [*range(classes), IGNORED])):
        raise ValueError(f"{path} has the label {strange[0]}; there are {classes} classes")
    return Image.fromarray(numbers)


def _within(picture: Image.Image, size: int) -> np.ndarray:
    """(H, W, C) with no side above ``size``; label maps take the nearest pixel."""
    how = Image.Resampling.NEAREST if picture.mode == "L" else Image.Resampling.LANCZOS
    if max(picture.size) > size:
        width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
        picture = picture.resize((width, height), how)
    return np.array(picture).reshape(picture.height, picture.width, -1)


def add_task(
    base: UNet, pairs: Pairs, *, steps: int = 400, seed: int = 0, device: str = "auto"
) -> MaskedTask:
    """``learn_mask``, as what ``save_task`` writes and ``TaskSwitcher`` switches in."""
    return learn_mask(base, pairs, steps=steps, seed=seed, device=device).task()


def learn_mask(
    base: UNet,
    pairs: Pairs,
    *,
    steps: int = 400,
    batch: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> MaskedNetwork:
    """A copy of the base, on the device, with a mask and a last layer that do what the pairs show.

    The loss is the cross entropy of label maps, or the mean squared error of pictures, whose
    network output goes through a sigmoid. Half of the pictures are mirrored. steps, batch: Adam's
    steps and the images in each. device: auto (the first GPU, else the CPU), cpu, cuda:0 or mps.
    """
    where = chosen_device(device)
    last = base.new_last(len(pairs.classes) or 3, seed=seed)
    network = MaskedNetwork(base, {"last": last}, norm="statistics").to(where)
    data = [values.to(where) for values in (pairs.inputs, pairs.targets, pairs.inside)]

    def batch_of(step: int) -> list[Tensor]:
        rng = torch.Generator().manual_seed(1_000_003 * seed + step)
        chosen = torch.randint(len(pairs.names), (batch,), generator=rng).to(where)
        mirrored = torch.rand((), generator=rng) < 0.5
        return [values[chosen].flip(3) if mirrored else values[chosen] for values in data]

    def loss(net: nn.Module, values: list[Tensor]) -> Tensor:
        inputs, targets, inside = values
        output = net(inputs.float() / 255).float()
        if pairs.classes:
            return F.cross_entropy(output, targets[:, 0].long(), ignore_index=IGNORED)
        error = (output.sigmoid() - targets.float() / 255).square()
        return (error * inside).sum() / (inside.sum() * error.shape[1])

    with seeded(seed):
        train(
            network,
            loss,
            batch_of,
            steps=steps,
            lr=LR,
            groups=network.groups(MASK_LR),
            schedule=one_cycle,
            label="a task of your own",
        )
    return network.eval()


@torch.no_grad()
def apply_task(base: UNet, task: MaskedTask, inputs: Tensor, *, labels: bool = False) -> Tensor:
    """(N, 3, H, W) uint8 pictures to such or, with labels, to (N, 1, H, W) uint8 classes."""
    network = TaskSwitcher(base, {"own": task}).use("own")
    device = base.last.weight.device
    output = torch.cat([network(x.to(device).float() / 255).cpu() for x in inputs.split(32)])
    if labels:
        return output.argmax(1, keepdim=True).byte()
    return (255 * output.sigmoid()).round().byte()


def score_task(base: UNet, task: MaskedTask, train_pairs: Pairs, test_pairs: Pairs) -> pd.DataFrame:
    """How good the task is on pairs that it has not seen, beside trivial answers.

    For pictures the root mean squared error of 255 levels, for label maps right pixels in per cent.
    """
    truth, labels, known = test_pairs.targets, bool(test_pairs.classes), train_pairs.targets
    inside = test_pairs.inside.expand_as(truth)
    answers = {"the mask": apply_task(base, task, test_pairs.inputs, labels=labels)}
    if labels:
        counts = known[train_pairs.inside & (known != IGNORED)].long().bincount()
        answers["most frequent class"] = torch.full_like(truth, int(counts.argmax()))
        right = {name: (values == truth)[truth != IGNORED] for name, values in answers.items()}
        scores = {name: 100 * float(values.double().mean()) for name, values in right.items()}
        return pd.DataFrame(scores.items(), columns=["answer", "right pixels (%)"])
    mean = (known * train_pairs.inside).double().sum((0, 2, 3)) / train_pairs.inside.sum()
    answers["the picture as it is"] = test_pairs.inputs
    answers["mean colour"] = mean[None, :, None, None].expand(truth.shape)
    errors = {name: (values.double() - truth)[inside] for name, values in answers.items()}
    scores = {name: float(values.square().mean().sqrt()) for name, values in errors.items()}
    return pd.DataFrame(scores.items(), columns=["answer", "root mean squared error"])
