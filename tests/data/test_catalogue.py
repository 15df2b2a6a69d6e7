"""The list of data sets and its command, with a server of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
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


class Flaky(Quiet):
    """Serves ranges; ``cut`` ends a reply in the middle, ``page`` answers with a page."""

    cut = page = False
    asked: list[str] = []  # noqa: RUF012 - of all requests

    def do_GET(self):
        data = Path(self.directory, self.path.lstrip("/"))
        if not data.exists():
            return self.send_error(404)
        content = b"<html>quota exceeded</html>" if self.page else data.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.asked.append(f"{start} of {len(content)}")
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html" if self.page else "application/gzip")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2 if self.cut else None])


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    """The handler of a server with the data set ``toy``, and the address of its archive."""
    folder = tmp_path / "flaky"
    folder.mkdir()
    with tarfile.open(folder / "toy.tar", "w") as tar:
        info = tarfile.TarInfo("sets/toy/one.txt")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(bytes(300_000)))
    checksum = hashlib.sha256((folder / "toy.tar").read_bytes()).hexdigest()
    handler = type("Handler", (Flaky,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/toy.tar"
    toy = Dataset("toy", "", "", "sets/toy", url=handler.url, checksum=f"sha256:{checksum}")
    monkeypatch.setitem(DATASETS, "toy", toy)
    yield handler
    server.shutdown()
    server.server_close()


def test_a_cut_download_goes_on_where_it_stopped(flaky, root):
    flaky.cut = True
    done = CliRunner().invoke(main, ["--data-root", str(root), "download", "toy"])
    assert done.exit_code == 1 and done.output.splitlines()[-1].startswith("error: ")
    part = (root / ".toy.tar.part").stat().st_size
    assert 0 < part < 300_000 and entries(root) == [".toy.tar.part"]
    flaky.cut = False
    assert download("toy", root) == root / "sets/toy"
    assert flaky.asked[-1].startswith(f"{part} of ")
    assert entries(root) == ["sets/toy/one.txt", "toy.tar"]
    assert (root / "sets/toy/one.txt").stat().st_size == 300_000


@pytest.mark.parametrize("kind", ["page", "404", "checksum"])
def test_what_comes_in_the_place_of_a_file_is_told(flaky, root, monkeypatch, kind):
    toy = DATASETS["toy"]
    flaky.page = kind == "page"
    if kind == "404":
        monkeypatch.setitem(DATASETS, "toy", replace(toy, url=f"{toy.url}.gone.tar"))
    if kind == "checksum":
        monkeypatch.setitem(DATASETS, "toy", replace(toy, checksum="sha256:" + "0" * 64))
    why = {"page": "answers with a page: a quota", "404": "404", "checksum": "hash"}[kind]
    with pytest.raises((ValueError, OSError), match=why):
        download("toy", root)
    assert not (root / "sets/toy").exists()
    monkeypatch.setitem(DATASETS, "toy", toy)
    flaky.page = False
    assert download("toy", root) == root / "sets/toy"


def test_half_a_set_is_neither_complete_nor_completed(root, tmp_path):
    folder = root / "VOCdevkit/VOC2012"
    (folder / "JPEGImages").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"VOC2012 lacks 17,125 of 17,125 JPEGImages/\*\.jpg, "):
        download("voc2012", root)
    for name in ("celeba", "mtfl", "coco", "caltech101/101_ObjectCategories"):
        (root / name).mkdir(parents=True)
    (root / "coco/train2017.zip").write_bytes(b"PK")
    (root / "mtfl/training.txt").write_text("")
    done = CliRunner().invoke(main, ["--data-root", str(root), "check"])
    state = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.output.splitlines()}
    assert all(state[name].startswith("absent; get it: ") for name in ("celeba", "coco2017"))
    assert state["mtfl"].startswith("incomplete, 0.0 MB; lacks testing.txt; lacks 2,995 of 2,995")
    assert state["photos"].startswith("complete, ")
    with pytest.raises(FileNotFoundError, match=r"'coco2017' is not in .*unpack train2017\.zip"):
        locate("coco2017", root)


def test_torchvision_fetches_beside_the_place(root, monkeypatch):
    def fetch(staged: Path, download: bool) -> None:
        assert download and staged.parent == root
        (staged / "caltech101/101_ObjectCategories/ant").mkdir(parents=True)

    def fail(staged: Path, download: bool) -> None:
        raise RuntimeError("quota exceeded")

    monkeypatch.setattr("torchvision.datasets.Caltech101", fail)
    with pytest.raises(OSError, match="torchvision cannot fetch caltech101: quota exceeded"):
        download("caltech101", root)
    assert not (root / "caltech101/101_ObjectCategories").exists()
    monkeypatch.setattr("torchvision.datasets.Caltech101", fetch)
    assert (download("caltech101", root) / "ant").is_dir()
    assert [path.name for path in root.iterdir()] == ["caltech101"]


def test_single_files_are_fetched_by_their_checksums(flaky, root, monkeypatch):
    toy = DATASETS["toy"]
    url, _, name = toy.url.rpartition("/")
    sum_ = toy.checksum.removeprefix("sha256:")
    single = Dataset("toy", "", "", "one", url=f"{url}/", files=(name,), checksums=(sum_,))
    monkeypatch.setitem(DATASETS, "toy", single)
    assert entries(download("toy", root)) == ["toy.tar"]


def entries(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_every_data_set_says_where_it_is_from():
    for name, dataset in DATASETS.items():
        assert dataset.embedded or dataset.url or dataset.by_hand, name
        checked = dataset.checksum.startswith(("md5:", "sha256:"))
        assert not dataset.url or checked or (dataset.url[-1] == "/" and dataset.checksums), name
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
    assert state["set12"].split()[1:3] in (["incomplete,", "0.2"], ["incomplete,", "0.3"])
    assert "lacks 11 of 12 *.png" in done.stdout
    assert all("complete, " in state[name] for name in ("photos", "digits", "scenes"))
    assert "absent" in state["cifar10"] and "absent" in state["train400"]
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
    assert "resnet20-cifar10 absent" in listed and "resnet20-cifar10, or copy pretrain" in listed
    with pytest.raises(FileNotFoundError, match="pytorch_resnet_cifar10 there"):
        locate("resnet20-cifar10", root)
    (folder / "resnet20-12fca82f.th").write_bytes(bytes(1_100_000))
    assert locate("resnet20-cifar10", root) == folder
    listed = CliRunner().invoke(main, ["--data-root", str(root)]).output
    assert "resnet20-cifar10 complete, 1.1 MB" in listed


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
    with pytest.raises(ValueError, match="without epochs there are only"):
        ClassifierTrial(**PUBLISHED | other, **NUMBERS)
