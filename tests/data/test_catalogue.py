"""The list of data sets and its command, with a server of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lib.data import catalogue
from lib.data.__main__ import README, main, with_table
from lib.data.catalogue import DATASETS, Dataset, download, folder_of, locate
from lib.engine.files import REPOSITORY
from lib.engine.sweep import Context
from lib.image_weights.classifiers import ClassifierTrial, load_classifier


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data räum 1"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A data set ``toy`` on a server; gives (function that enters it with a checksum, sha256)."""
    folder = tmp_path / "server"
    folder.mkdir()
    with tarfile.open(folder / "toy.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("sets/toy/one.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/toy.tar.gz"

    def enter(checksum: str, url: str = url) -> None:
        toy = Dataset("toy", "a toy", "none", "sets/toy", url=url, checksum=checksum)
        monkeypatch.setitem(DATASETS, "toy", toy)

    yield enter, hashlib.sha256((folder / "toy.tar.gz").read_bytes()).hexdigest()
    server.shutdown()
    server.server_close()


def entries(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_every_data_set_says_where_it_is_from():
    for name, dataset in DATASETS.items():
        assert dataset.embedded or dataset.url or dataset.by_hand, name
        assert not dataset.url or dataset.checksum.startswith(("md5:", "sha256:")), name
        assert not dataset.checksums or len(dataset.checksums) == len(dataset.files), name


def test_the_table_of_the_readme_is_that_of_the_catalogue():
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "run python -m lib.data readme"
    assert all(f"| `{name}` | {dataset.what} |" in text for name, dataset in DATASETS.items())


@pytest.mark.parametrize("name", ["photos", "digits", "scenes", "drawn_faces"])
def test_embedded_sets_are_there_whatever_the_data_root(name, root):
    folder, files = folder_of(name, root), DATASETS[name].files
    assert files and all((folder / file).is_file() for file in files)
    assert locate(name, root) == folder


def test_a_download_is_checked_and_unpacked(served, root):
    enter, checksum = served
    enter(f"sha256:{checksum}")
    assert download("toy", root) == root / "sets" / "toy"
    assert (root / "sets/toy/one.txt").read_bytes() == b"hello"
    assert entries(root) == ["sets/toy/one.txt", "toy.tar.gz"]


def test_what_is_there_is_not_fetched_again(served, root):
    enter, checksum = served
    enter(f"sha256:{checksum}", url="http://127.0.0.1:9/nobody")
    mine = root / "sets" / "toy" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("kept")
    assert download("toy", root) == mine.parent
    assert entries(root) == ["sets/toy/mine.txt"]


def test_a_wrong_checksum_unpacks_nothing(served, root):
    enter, checksum = served
    enter("sha256:" + checksum[::-1])
    done = CliRunner().invoke(main, ["--data-root", str(root), "download", "toy"])
    assert done.exit_code == 1 and "hash" in done.output
    assert entries(root) == [] and not (root / "sets").exists()


def test_an_interrupted_unpacking_leaves_nothing_that_looks_whole(served, root, monkeypatch):
    enter, checksum = served
    enter(f"sha256:{checksum}")

    def interrupted(tar, path, **_):
        Path(path, "sets/toy").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalogue.tarfile.TarFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download("toy", root)
    assert entries(root) == ["toy.tar.gz"] and not (root / "sets").exists()
    assert entries(download("toy", root)) == ["one.txt"]


def test_a_server_that_is_not_there_is_one_message(served, root):
    enter, checksum = served
    enter(f"sha256:{checksum}", url="http://127.0.0.1:9/toy.tar.gz")
    done = CliRunner().invoke(main, ["--data-root", str(root), "download", "toy"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert done.output.splitlines()[-1].startswith("error: ") and "127.0.0.1" in done.output


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lib.data", *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"},
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_command_lists_present_and_missing(root, tmp_path):
    (root / "photos/set12").mkdir(parents=True)
    (root / "photos/set12/a.png").write_bytes(bytes(250_000))
    done = command("--data-root", str(root), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    state = {line.split()[0]: line for line in lines if line.split()[:1] and line[0] != " "}
    assert state["set12"].split()[1:4] in (["present,", "0.2", "MB"], ["present,", "0.3", "MB"])
    assert all("present, " in state[name] for name in ("photos", "digits", "scenes"))
    assert "missing" in state["cifar10"] and "missing" in state["train400"]
    assert lines[0] == f"data root: {root}"
    assert f"looked for in: {root / 'photos/train400'}" in done.stdout
    assert "get it: python -m lib.data download cifar10" in done.stdout
    assert "licence: non-commercial research (BSDS)" in done.stdout


def test_an_unknown_name_is_one_line(tmp_path):
    done = command("download", "imagenet", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "'imagenet'" in done.stderr


@pytest.mark.parametrize(("name", "why"), [("photos", "embedded"), ("set12", "DnCNN")])
def test_what_cannot_be_downloaded_says_why(name, why, root):
    with pytest.raises(ValueError, match=why):
        download(name, root)
    assert not root.exists()


def test_a_folder_without_its_file_is_missing(root):
    """Someone made the folder and forgot the weights; the file alone makes it present."""
    folder = root / "weights/cifar10_resnet"
    folder.mkdir(parents=True)
    listed = CliRunner().invoke(main, ["--data-root", str(root)]).output
    assert "resnet20-cifar10 missing" in listed and "get it: copy pretrained_models/" in listed
    with pytest.raises(FileNotFoundError, match="pytorch_resnet_cifar10 there"):
        locate("resnet20-cifar10", root)
    (folder / "resnet20-12fca82f.th").write_bytes(bytes(1_100_000))
    assert locate("resnet20-cifar10", root) == folder
    listed = CliRunner().invoke(main, ["--data-root", str(root)]).output
    assert "resnet20-cifar10 present, 1.1 MB" in listed


PUBLISHED = {"dataset": "cifar10", "architecture": "resnet20", "width": 16}
NUMBERS = {"train": 0, "test": 0, "epochs": 0, "batch": 128, "lr": 0.05}


def test_a_trial_without_the_published_weights_says_how_to_get_them(root):
    trial = ClassifierTrial(**PUBLISHED, **NUMBERS)
    with pytest.raises(FileNotFoundError, match="copy pretrained_models/resnet20-12f") as error:
        load_classifier(trial, Context(torch.device("cpu"), data_root=root))
    assert str(root / "weights/cifar10_resnet") in str(error.value)


@pytest.mark.parametrize(
    "other", [{"dataset": "scenes"}, {"architecture": "vgg16"}, {"width": 8}], ids=str
)
def test_no_other_classifier_comes_without_training(other):
    with pytest.raises(ValueError, match="without epochs there is only"):
        ClassifierTrial(**PUBLISHED | other, **NUMBERS)
