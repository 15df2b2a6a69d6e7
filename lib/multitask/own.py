"""Faces of one's own: from a table of landmarks and attributes to the paper's best network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.data.faces import UNKNOWN, Faces, cut_out
from lib.data.images import open_picture
from lib.engine.files import read_table
from lib.engine.sweep import chosen_device
from lib.multitask import measures, networks

BOX = ("left", "top", "width", "height")
TESTED = 5  # every so many-th picture is kept for the test
FAR = 2  # times the side of the face's square: a landmark farther from its middle is a mistake
FALLING = 1 / 3  # share of the steps, the last ones, in which the rate falls to 0


@dataclass(frozen=True)
class FaceModel:
    """A trained network with the names of what it tells.

    score: how good it is on the faces of ``held_out`` pictures, which it has not learned from,
    beside the mean shape and the majority of those that it has.
    """

    network: networks.MultiTask
    size: int
    points: tuple[str, ...]
    names: tuple[str, ...]
    score: pd.DataFrame
    held_out: tuple[str, ...]

    def predict(self, table: str | Path | pd.DataFrame, folder: str | Path) -> pd.DataFrame:
        """A row for each face of a table: picture, NAME_x and NAME_y, and the attributes.

        table: as of ``faces_from_table``, of which picture and the box are read. Landmarks are in
        pixels of the picture, attributes are probabilities.
        """
        rows, told = _read_table(table)
        images, corners, sides = _crops(rows, told, folder, self.size)
        device = next(self.network.parameters()).device
        outputs = measures.predict(self.network, images.to(device))
        points = outputs["landmarks"].double().numpy() * sides[:, None, None] + corners[:, None]
        found = pd.DataFrame({"picture": rows["picture"]})
        for place, name in enumerate(self.points):
            found[f"{name}_x"], found[f"{name}_y"] = points[:, place].T
        chances = outputs["attributes"].sigmoid().numpy()
        return found.assign(**dict(zip(self.names, chances.T, strict=True)))


def faces_from_table(
    table: str | Path | pd.DataFrame, folder: str | Path, *, size: int = 64
) -> Faces:
    """The faces that a CSV file lists, a row each, as squares of ``size`` pixels.

    Its columns: picture, a file in the folder. NAME_x and NAME_y for each landmark, in pixels of
    the picture from its upper left corner. left, top, width and height of the face, where a picture
    shows more than it: the crop is the square around this box, and without a box around the whole
    picture; beyond the picture its edge is repeated. Any other column is an attribute: 1, 0, or
    empty where nobody knows. Landmarks move with the crop.
    Raises ValueError, naming file, row and value, for what cannot be read, and for a table without
    landmarks or without attributes; FileNotFoundError for a missing table.
    """
    rows, told = _read_table(table)
    points = [name[:-2] for name in rows if name.endswith("_x") and f"{name[:-2]}_y" in rows]
    columns = [f"{name}_{axis}" for name in points for axis in "xy"]
    names = [name for name in rows if name not in ("picture", *BOX, *columns)]
    if alone := [name for name in names if name.endswith(("_x", "_y"))]:
        raise ValueError(f"{told} has a column {alone[0]} without the other coordinate")
    for what, found in (("a landmark, NAME_x and NAME_y", points), ("an attribute", names)):
        if not found:
            raise ValueError(f"{told} lacks a column of {what}; the network learns both")
    places = _numbers(rows, told, columns).reshape(len(rows), -1, 2)
    if places.min() >= 0 and places.max() <= 1:
        raise ValueError(f"{told}: landmarks are in pixels of the picture, and all are at most 1")
    attributes = _numbers(rows, told, names, empty=UNKNOWN)
    if len(wrong := np.argwhere(~np.isin(attributes, (0, 1, UNKNOWN)))):
        row, column = wrong[0]
        value = rows[names[column]].iloc[row]
        raise ValueError(f"{told}, row {row + 2}: {names[column]} is {value}, not 1, 0 or empty")
    images, corners, sides = _crops(rows, told, folder, size)
    landmarks = (places - corners[:, None]) / sides[:, None, None]
    if len(far := np.argwhere(np.abs(landmarks - 0.5).max(2) > FAR)):
        row, point = far[0]
        x, y = places[row, point]
        raise ValueError(f"{told}, row {row + 2}: {points[point]} at {x:g}, {y:g} is far outside")
    return Faces(
        images,
        torch.from_numpy(landmarks.astype(np.float32)),
        torch.from_numpy(attributes.astype(np.int8)),
        torch.from_numpy(sides.astype(np.float32))[:, None].repeat(1, 2),
        tuple(rows["picture"]),
        tuple(names),
        points=tuple(points),
    )


def _read_table(table: str | Path | pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The cells as text, and what to call the table in an error."""
    if isinstance(table, pd.DataFrame):
        rows, told = table.astype(str).where(table.notna(), ""), "the table"
    else:
        rows, told = read_table(Path(table).expanduser()), str(table)
    if twice := rows.columns[rows.columns.duplicated()].tolist():
        raise ValueError(f"{told} has two columns {twice[0]}")
    if "picture" not in rows:
        raise ValueError(f"{told} has no column picture, but {', '.join(map(str, rows))}")
    if rows.empty:
        raise ValueError(f"{told} has no rows")
    return rows.reset_index(drop=True), told


def _numbers(
    rows: pd.DataFrame, told: str, columns: Sequence[str], *, empty: float | None = None
) -> np.ndarray:
    """(N, columns) float64 of some columns; ValueError for what is no number, or empty."""
    values = rows[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(float, copy=True)
    blank = (rows[list(columns)] == "").to_numpy()
    if empty is not None:
        values[blank] = empty
    if len(wrong := np.argwhere(~np.isfinite(values))):
        row, column = wrong[0]
        what = "empty" if blank[row, column] else f"{rows[columns[column]][row]!r}, not a number"
        raise ValueError(f"{told}, row {row + 2}: {columns[column]} is {what}")
    return values


def _crops(
    rows: pd.DataFrame, told: str, folder: str | Path, size: int
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """(N, 3, size, size) uint8, their corners (N, 2), left and top, and sides (N,) in pixels."""
    given = [name for name in BOX if name in rows]
    if given and len(given) < len(BOX):
        raise ValueError(
            f"{told} has the columns {', '.join(given)} of a box, not {', '.join(BOX)}"
        )
    boxes = _numbers(rows, told, BOX) if given else None
    images, corners, sides = [], [], []
    for row, name in enumerate(rows["picture"]):
        path, place = Path(folder).expanduser() / name, f"{told}, row {row + 2}"
        if not path.is_file():
            raise ValueError(f"{place}: there is no picture {path}")
        try:
            pixels = np.asarray(open_picture(path))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        whole = np.array([pixels.shape[1], pixels.shape[0]])
        corner, extent = np.split(np.array([0, 0, *whole]) if boxes is None else boxes[row], 2)
        if (extent < 1).any() or (corner >= whole).any() or (corner <= -extent).any():
            box = (*corner, *extent)
            shown = ", ".join(f"{key} {value:g}" for key, value in zip(BOX, box, strict=True))
            raise ValueError(f"{place}: {path} is {whole[0]} x {whole[1]}, its box {shown}")
        side = int(np.rint(extent.max()))
        corner = np.rint(corner + extent / 2 - side / 2).astype(int)
        images.append(cut_out(pixels, [*corner, *(corner + side)], size))
        corners.append(corner)
        sides.append(side)
    crops = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return crops.contiguous(), np.array(corners, float), np.array(sides, float)


def fit_separation(
    faces: Faces,
    *,
    epochs: int = 24,
    lr: float = 0.02,
    widths: tuple[int, ...] = (8, 16, 32, 64),
    hidden: int = 64,
    batch: int = 32,
    mirror: bool = False,
    seed: int = 0,
    device: str = "auto",
) -> FaceModel:
    """Train the paper's best variant on four fifths of the pictures, and score it on the others.

    All faces of a picture are on the same side.
    epochs: of each stage; over the last third of them the rate falls to 0. widths: channels of the
    layers, each of which halves the image. hidden: units of a head.
    mirror: every other face is mirrored, by chance; of names with a word left or right the sides
    are then swapped. Shifts and scales are drawn for every face.
    device: auto (the first GPU, else the CPU), cpu, cuda:0 or mps.
    Raises ValueError for a single picture, for an attribute that is known of no face to learn from,
    and as ``networks.MultiTask``; Diverged for a rate that is too high.
    """
    pictures = sorted(set(faces.ids))
    if len(pictures) < 2:
        raise ValueError("one picture cannot be both learned from and tested on; give two or more")
    held_out = pictures[::TESTED]
    tested = np.isin(faces.ids, held_out)
    known, test = _part(faces, ~tested), _part(faces, tested)
    for name, known_of in zip(faces.names, (known.attributes != UNKNOWN).sum(0), strict=True):
        if not known_of:
            raise ValueError(f"{name} is empty for every face that is to be learned from")
    where = chosen_device(device)
    tasks = {"landmarks": 2 * len(faces.points), "attributes": len(faces.names)}
    shape = networks.Shape(tuple(widths), faces.images.shape[-1], hidden)
    stage1 = networks.multitask_network("hard sharing", tasks, shape, seed=seed)
    network = networks.multitask_network("separation", tasks, shape, seed=seed, fusion="conv1x1")
    assert isinstance(network, networks.Separation)
    stage1.set_biases(measures.trivial_outputs(known))
    batches = measures.FaceBatches(
        known, batch=batch, seed=seed, moved=True, mirror=mirror, device=where
    )
    measures.fit(stage1.to(where), batches, epochs=epochs, lr=lr, falling=FALLING)
    network.begin_at(stage1.cpu(), copied=True)
    network.pass_own()
    measures.fit(network.to(where), batches, epochs=epochs, lr=lr, falling=FALLING)
    score = _score(network, known, test)
    return FaceModel(network.eval(), shape.size, faces.points, faces.names, score, tuple(held_out))


def _part(faces: Faces, chosen: np.ndarray) -> Faces:
    names = ("images", "landmarks", "attributes", "extent")
    tensors: dict[str, Any] = {
        name: getattr(faces, name)[torch.from_numpy(chosen)] for name in names
    }
    return replace(faces, ids=tuple(np.array(faces.ids)[chosen].tolist()), **tensors)


def _score(network: networks.MultiTask, known: Faces, test: Faces) -> pd.DataFrame:
    """A row for each answer: errors of landmarks, and right attributes, in per cent."""
    outputs = measures.predict(network, test.images.to(next(network.parameters()).device))
    shape, usual = map(torch.tensor, measures.trivial_answers(known, len(test)))
    answers = {
        "the network": (outputs["landmarks"], outputs["attributes"]),
        "mean shape, majority": (shape, usual),
    }
    rows = {}
    for answer, (points, logits) in answers.items():
        errors = (points - test.landmarks).norm(dim=2).mean(1)
        scores = measures.attribute_scores(logits, test.attributes)
        rows[answer] = {
            "faces": len(test),
            "landmark error (% of the side)": 100 * float(errors.mean()),
            "landmark error (px)": float((errors * test.extent[:, 0]).mean()),
            "right attributes (%)": 100 * measures.pooled_accuracy(scores),
            "balanced accuracy (%)": 100 * float(scores["balanced_accuracy"].mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reset_index(names="answer")
