"""Released weights: what is written is read again, and what does not belong together is refused."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import torch
from tiny_stream import SIZES

from lib.continual import analysis, methods
from lib.continual.masks import TaskSwitcher, fingerprint, load_task
from lib.continual.networks import UNet
from lib.continual.release import CARD, load_release, rounded, write_release
from lib.continual.tasks import evaluate, run_trivial, stream_task
from lib.continual.trials import planned, trivial_answers
from lib.engine.sweep import Context, Store, execute


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A tiny run, its released folder, the card and the run's context."""
    store, folder = tmp_path_factory.mktemp("trials"), tmp_path_factory.mktemp("weights")
    masks = [planned(SIZES, "piggyback", number, 0) for number in (1, 2, 3, 4, 5)]
    trials = [*masks, *(planned(SIZES, "resblock", number, 0) for number in (3, 4))]
    for function, trial in [
        *((methods.run_task, trial) for trial in trials),
        *((run_trivial, trial) for trial in trivial_answers(SIZES)),
    ]:
        execute(function, trial, str(store), "cpu")
    records = Store(store)
    rows = analysis.scores(records.table(trials))
    rows = pd.concat([rows, rows.assign(seed=1, value=rows["value"] + 1)])
    answers = analysis.trivial_table(records.table(trivial_answers(SIZES)))
    context = Context(torch.device("cpu"), artefacts=store)
    table = analysis.table_2(rows, answers)
    return folder, write_release(folder, SIZES, table, context), context


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(written[0], tmp_path / "weights")


def test_what_is_read_is_what_the_run_has_learned(written):
    release = load_release(written[0])
    base = methods.unet_base(planned(SIZES, "piggyback", 2, 0), written[2])
    for name, values in base.state_dict().items():
        kept = values if "running" in name or not values.is_floating_point() else values.half()
        assert torch.equal(release.base.state_dict()[name], kept.to(values))
    for number in (2, 3, 4, 5):
        masks = methods.masks(planned(SIZES, "piggyback", number, 0), written[2])
        read = release.tasks[f"T{number}"].masks
        assert all(torch.equal(read[name], mask) for name, mask in masks.items())


def test_the_card_has_the_score_of_the_released_weights(written):
    release = load_release(written[0])
    switcher = release.switcher()
    for number in (1, 2, 3):
        name, metric = f"T{number}", analysis.MAIN[number]
        network = switcher.use(name if number > 1 else None)
        score = evaluate(stream_task(SIZES.stream, number, written[2]), network)[metric]
        assert release.card["tasks"][name]["released"] == pytest.approx(score, abs=6e-4)


def test_blocks_are_the_generators(written):
    x = torch.rand(2, 3, 16, 16)
    trials = [planned(SIZES, "resblock", number, 0) for number in (3, 4)]
    own = rounded(methods.generator_of(trials, written[2]))
    assert torch.equal(load_release(written[0]).blocks(x, "t3", "t4"), own(x, "t3", "t4"))


def test_the_text_says_what_the_card_knows(written):
    text = (written[0] / CARD).read_text()
    for task in written[1]["tasks"].values():
        assert task["seeds"] == 2
        assert sum(task["interval"]) / 2 == pytest.approx(task["mean"], abs=2e-3)
        assert f"{task['released']:g}" in text.rpartition("---")[2]


def test_masks_of_another_base_are_refused(written):
    release = load_release(written[0])
    other = UNet(3, release.base.last.out_channels, width=SIZES.stream.width, seed=99)
    assert fingerprint(other) != fingerprint(release.base)
    with pytest.raises(ValueError, match="belongs to base network"):
        load_task(written[0] / "T3.safetensors", other, {"last": other.new_last(2)})
    with pytest.raises(ValueError, match="belongs to base network"):
        TaskSwitcher(other, release.tasks)


@pytest.mark.parametrize("name", ["T2.safetensors", "base.safetensors", "blocks.safetensors"])
def test_a_cut_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    with pytest.raises(ValueError, match=name):
        load_release(folder)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6])
def test_a_cut_card_is_named(folder, share):
    text = (folder / CARD).read_text()
    facts = text.index("---\n", 4)
    (folder / CARD).write_text(text[: int(share * facts)])
    with pytest.raises(ValueError, match=CARD):
        load_release(folder)


def test_a_missing_file_is_named(folder):
    (folder / "T4.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"T4\.safetensors"):
        load_release(folder)


def test_a_card_of_another_width_is_refused(folder):
    card = (folder / CARD).read_text()
    (folder / CARD).write_text(card.replace("width: 4\n", "width: 8\n"))
    with pytest.raises(ValueError, match=r"base\.safetensors is of another network"):
        load_release(folder)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 16)])
def test_any_size_of_picture_goes_through_every_task(written, size):
    release = load_release(written[0])
    switcher = release.switcher()
    for name, task in release.tasks.items():
        channels = task.heads["last"].out_channels
        output = switcher.use(name)(torch.rand(1, 3, *size))
        assert output.shape == (1, channels, *size)
        assert output.isfinite().all()


def test_a_grey_picture_is_refused(written):
    with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\), not \(1, 1, 16, 16\)"):
        load_release(written[0]).base(torch.rand(1, 1, 16, 16))
