"""Mask files: bits where they belong, and no damaged or foreign file that is taken for good."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from masked import LAYERS, base, images, task
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lib.continual.mask_files import load_task, pack, save_task, unpack
from lib.continual.mask_tasks import Task, TaskSwitcher, fingerprint
from lib.continual.masks import NORM_POLICIES


def head(classes: int = 7) -> dict[str, nn.Module]:
    return {"out": nn.Conv2d(5, classes, 1)}


def assert_equal(found: Task, expected: Task) -> None:
    assert (found.base, found.norm) == (expected.base, expected.norm)
    for a, b in ((found.masks, expected.masks), (found.norms, expected.norms)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in b)
    assert found.heads.keys() == expected.heads.keys()
    for name, module in expected.heads.items():
        kept = found.heads[name].state_dict()
        assert all(torch.equal(kept[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 31, 1000])
def test_bits_are_packed_from_the_highest(count):
    mask = torch.rand(count, generator=torch.Generator().manual_seed(count)) > 0.5
    digits = "".join("01"[bit] for bit in mask.tolist()) + "0" * (-count % 8)
    expected = [int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)]
    assert pack(mask).tolist() == expected and pack(mask).dtype == torch.uint8
    assert torch.equal(unpack(pack(mask), (count,)), mask)


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (1, 1, 1, 1), (2, 7, 2, 2), ()])
def test_packing_keeps_the_shape(shape):
    mask = torch.rand(shape) > 0.5
    back = unpack(pack(mask), shape)
    assert back.dtype == torch.bool and back.shape == shape and torch.equal(back, mask)


def test_packing_goes_by_places_and_not_by_memory():
    mask = torch.rand(3, 5) > 0.5
    assert torch.equal(pack(mask.T), pack(mask.T.contiguous()))


@pytest.mark.parametrize("norm", NORM_POLICIES)
def test_a_file_gives_the_task_back(tmp_path, norm):
    network, path = base(), tmp_path / "new" / "voc.safetensors"
    saved, empty = task(network, norm=norm), head()
    unset = empty["out"].weight.clone()
    save_task(path, saved)
    found = load_task(path, network, empty)
    assert_equal(found, saved)
    assert torch.equal(empty["out"].weight, unset)  # a copy was filled
    x = images()
    one, other = (TaskSwitcher(network, {"t": t}).use("t")(x) for t in (saved, found))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_file_as_others_see_it(tmp_path):
    network, path = base(), tmp_path / "voc.safetensors"
    saved = task(network)
    save_task(path, saved)
    tensors = load_file(path)
    sizes = {name: len(values) for name, values in tensors.items() if name.startswith("mask/")}
    assert sizes == {f"mask/{name}": -(-count // 8) for name, count in LAYERS.items()}
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["base"] == fingerprint(network) and about["norm"] == "affine"
    assert {"norm/first.running_var", "norm/deep.norm.weight", "head/out/bias"} <= set(tensors)


def test_the_papers_masks_are_1_761_mib(tmp_path):
    """14,776,000 weights in 22 layers; names and metadata are the rest."""
    masks = {f"conv{i}": torch.ones(1000, 642, dtype=torch.bool) for i in range(21)}
    masks["last"] = torch.ones(14_776_000 - 21 * 642_000, dtype=torch.bool)
    path = tmp_path / "task.safetensors"
    save_task(path, Task("0" * 64, "frozen", masks, {}, {}))
    assert 1_847_000 <= path.stat().st_size <= 1_847_000 + 3000
    assert round(1_847_000 / 2**20, 3) == 1.761


def test_another_base_is_refused(tmp_path):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    named = rf"voc\.safetensors belongs to base network {fingerprint(base())[:8]}, this one is "
    with pytest.raises(ValueError, match=named + fingerprint(base(1))[:8]):
        load_task(path, base(1), head())


@pytest.mark.parametrize(
    ("heads", "named"),
    [
        (head(6), r"out/weight \(7, 5, 1, 1\), given are .*out/weight \(6, 5, 1, 1\)"),
        ({"last": nn.Conv2d(5, 7, 1)}, "given are last/bias"),
        ({"out": nn.Conv2d(5, 7, 1, bias=False)}, r"given are out/weight \(7, 5, 1, 1\)$"),
        (head() | {"up": nn.Conv2d(1, 1, 1)}, "given are out/bias .*up/bias"),
        (None, "given are none"),
    ],
)
def test_other_heads_are_refused(tmp_path, heads, named):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    with pytest.raises(ValueError, match=named):
        load_task(path, base(), heads)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base(), norm="frozen"))
    whole = path.read_bytes()
    for length in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"voc\.safetensors is damaged or no mask file"):
            load_task(path, base(), head())


def test_every_damaged_byte_is_refused(tmp_path):
    path, network = tmp_path / "voc.safetensors", base()
    save_task(path, task(network, norm="frozen"))
    whole = path.read_bytes()
    for place in [*range(0, 9), *range(9, len(whole), 23), len(whole) - 1]:
        if whole[place : place + 1] == b" ":
            continue  # the header is filled up with blanks
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged or no mask file"):
            load_task(path, network, head())


def test_metadata_of_another_task_is_damage(tmp_path):
    """Tensors as they were, said to be of another base or policy."""
    path = tmp_path / "voc.safetensors"
    save_task(path, task(base()))
    with safe_open(path, "pt") as file:
        about = file.metadata()
    for key in ("base", "norm"):
        save_file(load_file(path), tmp_path / "changed", about | {key: fingerprint(base(1))})
        with pytest.raises(ValueError, match="checksum does not fit"):
            load_task(tmp_path / "changed", base(1), head())


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is None:
        save_file(base().state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged or no mask file"):
        load_task(path, base(), head())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="voc"):
        load_task(tmp_path / "voc.safetensors", base(), head())


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path, network = tmp_path / "voc.safetensors", base()
    first = task(network)
    save_task(path, first)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"voc\.safetensors could not be written"):
        save_task(path, task(network, seed=2))
    assert_equal(load_task(path, network, head()), first)
    assert os.listdir(tmp_path) == ["voc.safetensors"]


def test_a_loaded_task_does_not_follow_its_file(tmp_path):
    path, network = tmp_path / "voc.safetensors", base()
    first = task(network)
    save_task(path, first)
    found = load_task(path, network, head())
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_equal(found, first)


def test_the_checksum_is_of_everything(tmp_path):
    seen = set()
    saved = task(base())
    variants = [
        saved,
        replace(saved, norm="frozen"),
        replace(saved, masks=saved.masks | {"up": ~saved.masks["up"]}),
        replace(saved, norms={}),
        replace(saved, heads={}),
    ]
    for variant in variants:
        save_task(tmp_path / "task", variant)
        header = (tmp_path / "task").read_bytes()[8:]
        seen.add(
            json.JSONDecoder().raw_decode(header.decode("latin-1"))[0]["__metadata__"]["content"]
        )
    assert len(seen) == len(variants)
