"""Every data set by name: what it is, its licence, where it is looked for, how to get it."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Container
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from lib.engine.files import REPOSITORY, data_root

SPLITS = REPOSITORY / "data" / "splits"


@dataclass(frozen=True)
class Dataset:
    """One data set.

    folder: where it lies below the data root; ``files``, if given, are all it consists of, and
        ``checksums`` their md5 or sha256.
    url, checksum: for those that ``download`` may fetch; the checksum is ``md5:...`` or
        ``sha256:...`` of the archive, which is unpacked below the data root.
    embedded: the installed package that has it; ``folder`` is then below that package.
    classes: names of label 0, 1, ..., where none of the files has them.
    """

    name: str
    what: str
    licence: str
    folder: str
    by_hand: str = ""
    url: str = ""
    checksum: str = ""
    files: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()
    embedded: str = ""
    classes: tuple[str, ...] = ()

    @property
    def how(self) -> str:
        """How to get it, in a few words."""
        if self.embedded:
            return "embedded, nothing to do"
        return f"python -m lib.data download {self.name}" if self.url else self.by_hand


def _dataset(name: str, **fields: Any) -> Dataset:
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return Dataset(name, **fields | lists)


CATALOGUE = Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8")
DATASETS = {name: _dataset(name, **fields) for name, fields in yaml.safe_load(CATALOGUE).items()}


def refuse_below(least: int, **values: int) -> None:
    """Raise ValueError, with the name and the value, for a value below ``least``."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value!r}")


def folder_of(name: str, root: str | Path | None = None) -> Path:
    """Where a data set, or a plain folder of that name below the data root, is looked for."""
    dataset = DATASETS.get(name)
    if dataset and dataset.embedded:
        package = find_spec(dataset.embedded)  # found without being imported
        if package is None or package.origin is None:
            raise FileNotFoundError(f"{name} is inside {dataset.embedded}, which is not installed")
        return Path(package.origin).parent / dataset.folder
    return data_root(root) / (dataset.folder if dataset else name)


def is_present(name: str, root: str | Path | None = None) -> bool:
    """Whether the folder of a data set is there, with all ``files`` that it must have."""
    folder, dataset = folder_of(name, root), DATASETS.get(name)
    files = dataset.files if dataset else ()
    return folder.is_dir() and all((folder / file).is_file() for file in files)


def locate(name: str, root: str | Path | None = None) -> Path:
    """The folder of a data set; FileNotFoundError says where it was looked for and what to do."""
    folder = folder_of(name, root)
    if is_present(name, root):
        return folder
    dataset = DATASETS.get(name)
    if dataset is None:
        known = ", ".join(DATASETS)
        raise FileNotFoundError(f"{name!r} is neither a data set ({known}) nor a folder {folder}")
    embedded = ", ".join(repr(other.name) for other in DATASETS.values() if other.embedded)
    raise FileNotFoundError(
        f"data set {name!r} is not in {folder}. Get it: {dataset.how}. Another place: DATA_ROOT or "
        f"--data-root. Embedded, without any download: {embedded}."
    )


def listed_ids(name: str, part: str, there: Container[str], where: Path) -> list[str]:
    """The ids that ``data/splits/NAME.PART.txt`` lists, one a line, in its order.

    name: a data set and its list, such as coco2017@medium. there: the ids that the data set has in
    the folder ``where``. Lines that begin with "#" are remarks.
    Raises FileNotFoundError for a list that is not there, ValueError, naming it, for a wrong one.
    """
    path = SPLITS / f"{name}.{part}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{name!r} has no list of ids {path}")
    lines = path.read_text(encoding="utf-8").splitlines()
    ids = [line for line in lines if line and not line.startswith("#")]
    if len(ids) != len(set(ids)) or not ids:
        raise ValueError(f"{path} has {len(ids):,} ids, {len(set(ids)):,} of them different")
    missing = [name for name in ids if name not in there]
    if missing:
        raise ValueError(
            f"{path} lists {missing[0]}, which is not in {where} ({len(missing):,} so)"
        )
    return ids


def download(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set's archive, check it, unpack it below the data root, unless it is there.

    The archive is checked before a byte of it is unpacked, and unpacked beside its place: an
    interruption leaves nothing that anyone would take for whole. Raises ValueError for a set that
    cannot be fetched or a wrong checksum.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    if not dataset.url:
        raise ValueError(f"{name} is not downloaded: {dataset.how} ({folder_of(name, root)})")
    target, folder = data_root(root), folder_of(name, root)
    if folder.is_dir():
        return folder
    import pooch  # here: in a notebook it warns of widgets that are not installed

    archive = pooch.retrieve(
        dataset.url, dataset.checksum, path=target, fname=Path(dataset.url).name, progressbar=True
    )
    with tempfile.TemporaryDirectory(dir=target) as unpacked, tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(Path(unpacked, dataset.folder), folder)
    return folder
