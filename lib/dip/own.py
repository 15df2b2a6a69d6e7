"""The Deep Image Prior on pictures of one's own, of which nobody has a clean version."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from PIL.Image import Resampling

from lib.data.images import by_stem, list_images, open_picture, results_of
from lib.dip.network import Architecture, Layers
from lib.dip.prior import DipSettings, fit
from lib.engine.sweep import chosen_device

LOWEST = Architecture(5, (3, 4))  # of all in the medium run, the lowest error where ES-WMV stops
AT_ONCE = 8  # pictures that are fitted together


@dataclass(frozen=True)
class Restored:
    """A picture as it was read, and as it was restored.

    stop: the iteration, from 1, whose output this is. variance: (iterations,) what the stop looked
        at, infinite until its window is full. settled: the stop's patience ran out before the last
        iteration; if not, more iterations may bring a later stop.
    """

    name: str
    noisy: Image.Image
    picture: Image.Image
    stop: int
    variance: np.ndarray
    settled: bool


def numbers(restored: Sequence[Restored]) -> pd.DataFrame:
    """A row a picture: its size, the stop, the variance there, and what changed."""
    rows = []
    for one in restored:
        change = np.asarray(one.picture, float) - np.asarray(one.noisy, float)
        row = (one.name, *one.picture.size, one.stop, len(one.variance), one.settled)
        rows.append((*row, one.variance[one.stop - 1], np.sqrt(np.mean(change**2))))
    columns = ["picture", "width", "height", "stop", "iterations", "settled", "variance"]
    return pd.DataFrame(rows, columns=[*columns, "change (RMS of 255)"])


def restore(
    noisy: str | Path | Sequence[str | Path],
    architecture: Architecture = LOWEST,
    layers: Layers = Layers(32, 4, "nearest"),
    settings: DipSettings = DipSettings(),
    *,
    masks: str | Path = "",
    size: int = 0,
    device: str = "auto",
    seed: int = 0,
    into: str | Path = "",
) -> list[Restored]:
    """Take the noise out of pictures, or fill in pixels, with an untrained network for each.

    Without a clean picture nobody can know the best iteration. The automatic stop (ES-WMV, see
    ``DipSettings``) may be early, and the picture is blurred, or late, and noise is left.
    noisy: a picture, a list of pictures or a folder; of any shape, in colour or grey. For the
        network each is mirrored at its edges to a multiple of 2^depth pixels, and cut back.
    masks: white where pixels are known, which stay as they are, black where they are to be filled
        in. One file for all, or a folder with a mask for each picture's stem, where ``all`` stands
        for any other. Empty: the folder ``masks`` in the folder ``noisy``, if there is one.
    size: pixels of the longer side to which larger pictures are reduced; 0 for none. Memory for
        ``settings.window`` times a picture is needed.
    device: auto (the first GPU, else the CPU), cpu, cuda:0 or mps. seed: of weights and input.
    into: a folder for the pictures, as PNG, and for ``numbers`` as restored.csv; empty for none.
    Raises FileNotFoundError for what is not there, and ValueError, naming the file, for what is no
    picture, for pictures of one stem, for a mask that is missing, all black or of another size,
    and for a picture that would be written over.
    """
    where = chosen_device(device)
    if size < 0:
        raise ValueError(f"size must be a number of pixels, or 0 for no limit, not {size}")
    paths = _pictures(noisy)
    made = results_of(paths, into) if into else []
    files = zip(paths, _masks(noisy, paths, masks), strict=True)
    read = [_read(path, mask, size) for path, mask in files]
    if into:  # before any work that a folder which cannot be made would lose
        made[0].parent.mkdir(parents=True, exist_ok=True)
    unit, restored = 2**architecture.depth, {}
    for places in _batches([_padded(picture, unit).shape for picture, _ in read]):
        images, masked = (np.stack([_padded(read[at][i], unit) for at in places]) for i in (0, 1))
        targets, known = (  # a grey picture has no axis of colours
            torch.from_numpy(values).view(*values.shape[:3], -1).permute(0, 3, 1, 2).to(where) / 255
            for values in (images, masked)
        )
        fitted = fit(
            architecture,
            targets,
            None,
            seeds=[seed] * len(places),
            layers=layers,
            settings=settings,
            masks=known,
            label=", ".join(paths[at].name for at in places),
        )
        outputs = (255 * fitted.outputs["stopped"]).round().byte().permute(0, 2, 3, 1).numpy()
        for i, (at, pixels) in enumerate(zip(places, outputs.reshape(images.shape), strict=True)):
            stop, variance = int(fitted.stop[i]), fitted.variance[i].numpy()
            settled = stop + settings.patience <= settings.iterations
            name, (picture, mask) = paths[at].name, read[at]
            output = _filled_in(pixels, picture, mask)
            restored[at] = Restored(name, picture, output, stop, variance, settled)
    done = [restored[at] for at in range(len(paths))]
    if into:
        for one, path in zip(done, made, strict=True):
            one.picture.save(path)
        numbers(done).to_csv(made[0].with_name("restored.csv"), index=False)
    return done


def _filled_in(pixels: np.ndarray, picture: Image.Image, mask: Image.Image) -> Image.Image:
    """An output without its padding; where the mask is white, if not everywhere, the picture."""
    output = Image.fromarray(pixels).crop((0, 0, *picture.size))
    if mask.getextrema()[0] == 0:  # something is to be filled in
        output.paste(picture, mask=mask)
    return output


def _pictures(noisy: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(noisy, str | Path):
        one = Path(noisy).expanduser().resolve()
        paths = [one] if one.is_file() else list_images(str(one))
    else:
        paths = [Path(path).expanduser() for path in noisy]
    if not paths:
        raise ValueError(f"no picture is given: {noisy!r}")
    return list(by_stem(paths).values())


def _masks(noisy: object, paths: Sequence[Path], masks: str | Path) -> Sequence[Path | None]:
    """The file of each picture's mask; None without any."""
    beside = Path(noisy).expanduser() / "masks" if isinstance(noisy, str | Path) else Path()
    place = Path(masks).expanduser() if masks else beside
    if not masks and not (beside.name and beside.is_dir()):
        return [None] * len(paths)
    if not place.is_dir():
        return [place] * len(paths)
    there = by_stem(list_images(str(place.resolve())))
    found = [there.get(path.stem, there.get("all")) for path in paths]
    if None in found:
        raise ValueError(f"{place} has no mask for {paths[found.index(None)].name}")
    return found


def _read(path: Path, file: Path | None, size: int) -> tuple[Image.Image, Image.Image]:
    """RGB, or L where no pixel has a colour; and its mask, L: 255 where the pixels are known."""
    picture = open_picture(path)
    mask = open_picture(file, "L") if file else Image.new("L", picture.size, "white")
    if mask.size != picture.size:
        told = [f"{image.width} x {image.height} pixels" for image in (mask, picture)]
        raise ValueError(f"{file} has {told[0]}, but {path} has {told[1]}")
    mask = mask.point([0] * 128 + [255] * 128)
    for image in (picture, mask) if size else ():  # each pixel of a box weighs the same in both
        image.thumbnail((size, size), Resampling.BOX, reducing_gap=None)
    mask = mask.point([0] * 255 + [255])  # where the whole box is known
    if not mask.getextrema()[1]:
        raise ValueError(f"{file} is black: no pixel of {path} is known")
    grey = picture.convert("L")
    return (grey if grey.convert("RGB") == picture else picture), mask


def _padded(picture: Image.Image, unit: int) -> np.ndarray:
    """(H, W) or (H, W, 3), mirrored below and to the right; two units a side at least."""
    pixels = np.asarray(picture)
    sides = [max(2 * unit, -(-side // unit) * unit) for side in pixels.shape[:2]]
    missing = [(0, side - length) for side, length in zip(sides, pixels.shape, strict=False)]
    return np.pad(pixels, missing + [(0, 0)] * (pixels.ndim - 2), mode="symmetric")


def _batches(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Places of equal shapes, at most ``AT_ONCE`` together."""
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        yield from (places[i : i + AT_ONCE] for i in range(0, len(places), AT_ONCE))
