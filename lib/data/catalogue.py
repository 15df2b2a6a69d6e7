"""Every data set by name: what it is, its licence, where it is looked for, how to get it."""

from __future__ import annotations

import os
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import yaml

from lib.engine.files import data_root

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


@dataclass(frozen=True)
class Dataset:
    """One data set.

    folder: where it lies below the data root; ``files``, if given, are all it consists of.
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
    embedded: str = ""
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.embedded or self.url or self.by_hand):
            raise ValueError("embedded, url or by_hand must say where it is from")
        if self.url and not self.checksum.startswith(("md5:", "sha256:")):
            raise ValueError(f"checksum must be md5:... or sha256:..., not {self.checksum!r}")

    @property
    def how(self) -> str:
        """How to get it, in a few words."""
        if self.embedded:
            return "embedded, nothing to do"
        return f"python -m lib.data download {self.name}" if self.url else self.by_hand


def read_catalogue(path: Path) -> dict[str, Dataset]:
    """The data sets of a file, by name.

    Raises ValueError, naming the file, for one that is no YAML, and naming the data set as well,
    for a missing or an unknown field, no way to get it and a download without a checksum.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    except (yaml.YAMLError, AttributeError) as error:
        raise ValueError(f"{path} is no readable list of data sets: {error}") from error
    datasets = {}
    for name, fields in entries:
        try:
            lists = {key: tuple(fields[key]) for key in ("files", "classes") if key in fields}
            datasets[name] = Dataset(name, **fields | lists)
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}, {name}: {error}") from error
    return datasets


DATASETS = read_catalogue(CATALOGUE)


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
