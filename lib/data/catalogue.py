"""Every data set by name: what it is, its licence, where it is looked for, how to get it."""

import hashlib
import os
import re
import shutil
import tarfile
import warnings
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from lib.engine.files import REPOSITORY, data_root, is_rubbish, read_text

SPLITS = REPOSITORY / "data" / "splits"


@dataclass(frozen=True)
class Dataset:
    """One data set.

    folder: where it lies below the data root; ``files``, if given, are all it consists of, and
        ``checksums`` their md5 or sha256. parts: pattern of file names -> how many the whole set
        has at least.
    url, checksum: for those that ``download`` may fetch; the checksum is ``md5:...`` or
        ``sha256:...`` of the archive, which is unpacked below the data root. Without a checksum
        ``url`` is where ``files`` lie one by one.
    torchvision: the class of torchvision.datasets that fetches it.
    embedded: the installed package that has it; ``folder`` is then below that package.
    classes: names of label 0, 1, ..., where none of the files has them; groups: of classes.
    enlarged: whether a picture of it that is smaller than asked for is enlarged, not refused.
    """

    name: str
    what: str
    licence: str
    folder: str
    by_hand: str = ""
    url: str = ""
    checksum: str = ""
    torchvision: str = ""
    files: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()
    embedded: str = ""
    classes: tuple[str, ...] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    enlarged: bool = False

    @property
    def how(self) -> str:
        """How to get it, in a few words."""
        if self.embedded:
            return "embedded, nothing to do"
        command = f"python -m lib.data download {self.name}"
        ways = (command if self.url or self.torchvision else "", self.by_hand)
        return ", or ".join(filter(None, ways))


def _entered(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }


CATALOGUE = yaml.safe_load(Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8"))
DATASETS = {name: Dataset(name, **_entered(fields)) for name, fields in CATALOGUE.items()}


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
    """Whether the folder of a data set is there, with all ``files`` and something of its parts."""
    folder, dataset = folder_of(name, root), DATASETS.get(name)
    files, parts = (dataset.files, dataset.parts) if dataset else ((), {})
    some = not parts or any(next(_there(folder, part), None) for part in parts)
    return folder.is_dir() and some and all((folder / file).is_file() for file in files)


def _there(folder: Path, part: str) -> Iterator[Path]:
    """What is in a folder under a pattern of names, without what systems leave there."""
    return (path for path in folder.glob(part) if not is_rubbish(path.name))


def lacking(name: str, root: str | Path | None = None) -> list[str]:
    """What a data set's folder lacks, such as "12 of 5,000 val2017/*.jpg"."""
    folder, dataset = folder_of(name, root), DATASETS[name]
    wanted = {**dict.fromkeys(dataset.files, 1), **dataset.parts}
    if not wanted and not any(_there(folder, "*")):
        return ["any file"]
    missing = {part: count - sum(1 for _ in _there(folder, part)) for part, count in wanted.items()}
    return [
        part if wanted[part] == 1 else f"{count:,} of {wanted[part]:,} {part}"
        for part, count in missing.items()
        if count > 0
    ]


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


def fingerprints(values: object, root: str | Path | None = None) -> dict[str, str]:
    """Name -> hash of the files, for each data set or folder here that a text among values names.

    values: texts, and mappings and collections of them, such as the fields of a trial; behind "@"
    or ":" a text says which part of a set is meant.
    """
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        found = [fingerprints(value, root) for value in values]
        return {name: digest for one in found for name, digest in one.items()}
    base = re.split("[@:]", values)[0] if isinstance(values, str) else ""
    name = next((set_ for set_ in DATASETS if f"{base}_".startswith(f"{set_}_")), base)
    if not 0 < len(base) < 200 or (name in DATASETS and DATASETS[name].embedded):
        return {}
    places = folder_of(name, root), data_root(root) / "words" / base
    here = [place for place in places if place.exists()]
    return {name: _digest(here[0])} if here else {}


@cache  # a folder of 200,000 files takes seconds
def _digest(place: Path) -> str:
    """A hash of the names and sizes of all files, and of the beginnings of some 64 of them."""
    walk = os.walk(place, followlinks=True)
    within = (Path(folder, name) for folder, _, names in walk for name in names)
    files = sorted(path for path in within if path.is_file() and not is_rubbish(path.name))
    digest = hashlib.sha256()
    for number, path in enumerate(files or [place]):
        name = os.fsencode(path.relative_to(place).as_posix())
        digest.update(name + f" {path.stat().st_size}\n".encode())
        if number % (len(files) // 64 + 1) == 0 and path.is_file():
            with path.open("rb") as file:
                digest.update(file.read(2**16))
    return digest.hexdigest()[:12]


def listed_ids(name: str, part: str, there: Container[str], where: Path) -> list[str]:
    """The ids that ``data/splits/NAME.PART.txt`` lists, one a line, in its order.

    name: a data set and its list, such as coco2017@medium. there: the ids that the data set has in
    the folder ``where``. Lines that begin with "#" are remarks.
    Raises FileNotFoundError for a list that is not there, ValueError, naming it, for a wrong one.
    """
    path = SPLITS / f"{name}.{part}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{name!r} has no list of ids {path}")
    lines = map(str.strip, read_text(path, "list of ids").splitlines())
    ids = [line for line in lines if line and not line.startswith("#")]
    if len(ids) != len(set(ids)) or not ids:
        raise ValueError(f"{path} has {len(ids):,} ids, {len(set(ids)):,} of them different")
    missing = [name for name in ids if name not in there]
    if missing:
        raise ValueError(
            f"{path} lists {missing[0]}, which is not in {where} ({len(missing):,} so)"
        )
    return ids


def apart(train: Sequence[str], test: Collection[str], where: Path) -> list[str]:
    """Training images without those that are for testing too, with a warning; all if all are."""
    shared, tested = sorted(set(train) & set(test)), set(test)
    left = [name for name in train if name not in tested]
    if shared:
        told = f"{len(shared)} training images of {where}, such as {shared[0]}, are test images too"
        done = "they are left out of training" if left else "no others are there"
        warnings.warn(f"{told}: {done}", stacklevel=2)
    return left or list(train)


def download(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set, check it, and put it below the data root, unless it is there.

    An archive is checked before a byte of it is unpacked, and unpacked beside its place: an
    interruption leaves nothing that anyone would take for whole, and the next call goes on where
    the download stopped. Raises ValueError for a set that cannot be fetched, a folder with a part
    of it and a wrong checksum, OSError with the server's reason.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    target, folder, missing = data_root(root), folder_of(name, root), lacking(name, root)
    if not dataset.url and not dataset.torchvision:
        raise ValueError(f"{name} is not downloaded: {dataset.how} ({folder})")
    if not missing:
        return folder
    if dataset.url and not dataset.checksum:
        for file, checksum in zip(dataset.files, dataset.checksums, strict=True):
            _fetched(dataset.url + file, checksum, folder / file)
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} lacks {', '.join(missing)}: move it away, then download")
    staged = target / f".{name}.download"
    if dataset.torchvision:
        from torchvision import datasets  # here: importing it takes a second

        staged.mkdir(parents=True, exist_ok=True)
        try:
            getattr(datasets, dataset.torchvision)(staged, download=True)
        except Exception as error:  # torchvision and what it calls raise many kinds
            told = f"torchvision cannot fetch {name}: {error} ({dataset.by_hand})"
            raise OSError(told) from error
    else:
        archive = _fetched(dataset.url, dataset.checksum, target / Path(dataset.url).name)
        with tarfile.open(archive) as tar:
            tar.extractall(staged, filter="data")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged / dataset.folder, folder)
    shutil.rmtree(staged)
    return folder


def _fetched(url: str, checksum: str, path: Path) -> Path:
    """The file of an address at its path, checked; what a cut download left is not fetched again.

    Raises ValueError for a wrong checksum and a page in the file's place, OSError else.
    """
    import pooch  # here: in a notebook it warns of widgets that are not installed

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")

    def fetch(url: str, output: str, _: object) -> None:
        with part.open("ab") as file:

            def begin(reply: Any, **_: Any) -> None:
                if reply.status_code in (200, 416):  # from the beginning, or nothing is left
                    file.truncate(0)
                if reply.status_code < 300 and "html" in reply.headers.get("content-type", ""):
                    raise ValueError(f"{url} answers with a page: a quota, or a log-in is needed")

            options = {"headers": {"Range": f"bytes={file.tell()}-"}, "hooks": {"response": begin}}
            pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, **options)(url, file, None)
        os.replace(part, output)

    return Path(pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=fetch))
