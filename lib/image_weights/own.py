"""One's own pictures, driven through any classifier to a table of wanted outputs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from lib.data.images import list_images, read_square, results_of
from lib.engine.files import naming, read_table
from lib.engine.sweep import chosen_device
from lib.image_weights.classifiers import as_float, predict
from lib.image_weights.layer import TOLERANCE, UntilReached, kl, steps_to, synthesize
from lib.image_weights.synthesis import measure, mixture
from lib.networks.classifiers import IMAGENET

BATCH = 32  # pictures that are classified together; they may be large


class Normalised(nn.Sequential):
    """A classifier for images in [0, 1], which it normalises as the classifier was trained with.

    mean, std: of the colour channels; the defaults are those of torchvision's weights.
    """

    def __init__(
        self,
        classifier: nn.Module,
        mean: Sequence[float] = IMAGENET[0],
        std: Sequence[float] = IMAGENET[1],
    ) -> None:
        from torchvision.transforms import Normalize  # here: importing it takes a second

        super().__init__(Normalize(mean, std), classifier)
        self.eval()


def wanted_outputs(
    folder: str | Path,
    classifier: nn.Module,
    classes: Sequence[str],
    size: int = 224,
    pictures: Sequence[str] = (),
) -> pd.DataFrame:
    """Targets for ``drive_pictures``: what the folder's file ``targets.csv`` says.

    It has a column for each class, in any order; ValueError, naming the file, where it has not.
    Without it, one half of the class that a picture has for the classifier, and one half of the
    next one. classes: names of the classifier's outputs. pictures: file names; empty for all.
    """
    file = Path(folder).expanduser() / "targets.csv"
    if file.is_file():
        return _read_targets(file, list(classes))
    if len(classes) < 2:
        raise ValueError("one class leaves nothing to be wanted; two are needed")
    paths = list_images(str(file.parent.resolve()))
    paths = [path for path in paths if not pictures or path.name in pictures]
    first = predict(classifier, _squares(paths, size), BATCH).argmax(1)
    halves = mixture(first, (first + 1) % len(classes), len(classes), 0.5)
    return pd.DataFrame(halves.numpy(), [path.name for path in paths], list(classes))


def _read_targets(file: Path, classes: list[str]) -> pd.DataFrame:
    """The table of a file, its columns in the classifier's order; ValueError names the file."""
    cells = read_table(file)
    table = cells.set_index(cells.columns[0])
    if table.columns.tolist() != classes:  # else two classes may have one name
        for name in classes:
            if (count := table.columns.tolist().count(name)) != 1:
                raise ValueError(f"{file} has {count} columns {name}, not one")
        table = table[classes]
    with naming(file, "table of targets"):
        return table.astype(float)


def _squares(paths: Sequence[Path], size: int) -> Tensor:
    """(N, 3, size, size) uint8, each picture's centre square."""
    squares = [read_square(path, size, 3, enlarge=True) for path in paths]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def drive_pictures(
    folder: str | Path,
    classifier: nn.Module,
    targets: pd.DataFrame,
    into: str | Path,
    *,
    size: int = 224,
    steps: int = 1000,
    device: str = "auto",
) -> pd.DataFrame:
    """Change the pictures of a folder until a classifier's output is the wanted one; save them.

    The paper's SGD moves each picture's centre square until KL(target || output) is at most 0.01
    nats, or for ``steps`` updates.
    classifier: gives logits (N, K) for images in [0, 1], see ``Normalised``.
    targets: a row, which sums to 1, for each picture that is wanted, by its file name; a column for
        each of the K classes, in the classifier's order.
    into: a folder for the pictures, as PNG, and for ``outputs.csv``.
    size: side in pixels that the classifier takes; a smaller picture is enlarged.
    device: auto (the first GPU, else the CPU), cpu, cuda:0 or mps; the classifier is moved to it.
    Returns what ``outputs.csv`` has, by file name: divergences, the last one of the saved picture,
    which is rounded to bytes; the number of updates, -1 where it is not reached; the root mean
    squared change; the output for each class.
    Raises FileNotFoundError for a folder without pictures, ValueError for a row without a picture,
    two rows of one name, no rows, a picture that would be written over, a classifier that gives
    NaN, and as ``synthesize``.
    """
    where = chosen_device(device)
    paths = {path.name: path for path in list_images(str(Path(folder).expanduser().resolve()))}
    if unknown := [name for name in targets.index if name not in paths]:
        raise ValueError(f"{folder} has no picture {', '.join(map(str, unknown[:5]))}")
    if targets.empty:
        raise ValueError("the table of targets has no rows")
    chosen = [paths[name] for name in targets.index]
    files = results_of(chosen, into, beside=paths.values())
    originals = as_float(_squares(chosen, size).to(where))
    wanted = torch.tensor(targets.to_numpy(dtype=np.float32), device=where)
    made = synthesize(classifier.to(where), originals, wanted, UntilReached(steps=steps))
    if (wrong := made.divergence[0].isnan()).any():
        raise ValueError(f"the classifier gives NaN for {targets.index[int(wrong.int().argmax())]}")
    pictures = (made.images * 255).round().byte()
    saved = predict(classifier, pictures, BATCH).log_softmax(1)
    numbers = {
        "KL before": made.divergence[0],
        "KL after": made.divergence[-1],
        "KL of the saved picture": kl(wanted.cpu(), saved),
        "updates": steps_to(made.divergence, TOLERANCE),
        "change (RMS of 255)": 255 * measure(as_float(pictures) - originals)["rms"],
        **dict(zip(targets.columns, saved.exp().T, strict=True)),
    }
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in numbers.items()})
    table.index = targets.index.rename("picture")
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for file, picture in zip(files, pictures.cpu(), strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file)
    table.to_csv(files[0].with_name("outputs.csv"))
    return table
