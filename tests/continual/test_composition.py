"""Notebook 01: chains of two tasks' blocks, pictures of all methods, and sizes of real files."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_stream import SIZES, STREAM

from lib.continual import composition, pictures, plan
from lib.continual import stored_files as files
from lib.continual.generator import Generator
from lib.continual.learning import network, run_task
from lib.continual.tasks import task
from lib.engine.sweep import Context, trial_key


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


def trial(method, task, **changes):
    return plan.trial(SIZES, method, task, 0, **changes)


COLOUR, STYLE = trial("resblock", 3), trial("resblock", 4)
GREY = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)


def stored_generator(context):
    """Both tasks' blocks in one network, from the files alone."""
    net = Generator(width=STREAM.width)
    for of in (COLOUR, STYLE):
        run_task(of, context)
        state = load_file(context.artefacts / f"{trial_key(of)}.safetensors")
        name = f"t{of.task}"
        net.add_task(name)
        own = {k.removeprefix("net/"): v for k, v in state.items() if k.startswith("net/")}
        net.load_state_dict(own, strict=False)
    return net.eval()


@torch.no_grad()
def test_chained_decodes_once_and_re_encoded_twice(context):
    net = stored_generator(context)
    ways = composition.ways(COLOUR, STYLE, context)
    features = net.tasks["t4"](net.tasks["t3"](net.encode(GREY)))
    assert torch.equal(ways["chained"](GREY), net.decode(features))
    middle = network(COLOUR, context)(GREY)
    assert torch.equal(ways["re-encoded"](GREY), network(STYLE, context)(middle))
    assert not torch.equal(ways["chained"](GREY), ways["re-encoded"](GREY))


def test_the_order_of_the_tasks_matters(context):
    one = composition.ways(COLOUR, STYLE, context)["chained"](GREY)
    other = composition.ways(STYLE, COLOUR, context)["chained"](GREY)
    assert not torch.equal(one, other)


def test_blocks_of_other_auto_encoders_do_not_fit(context):
    with pytest.raises(ValueError, match="same auto-encoder"):
        composition.ways(COLOUR, replace(STYLE, seed=1), context)


@torch.no_grad()
def test_the_table_has_both_orders_both_ways_and_each_task_alone(context):
    table = composition.compare(COLOUR, STYLE, context).set_index(["order", "way"])
    assert len(table) == 7 and table.index.is_unique
    each = task(STREAM, 4, context)
    images = each.test.images.float() / 255
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (images * weights).sum(1, keepdim=True).repeat(1, 3, 1, 1)
    alone = each.perceptual(network(STYLE, context)(grey), images)
    assert table.loc[("style only", ""), "total"] == pytest.approx(
        alone.total.mean().item(), rel=1e-4
    )
    between = table["ssim_between"]
    assert between["colour, style"].nunique() == 1 and between["style only"].isna().all()


def test_pictures_are_the_networks_outputs_on_the_same_images(context):
    images, labels = pictures.shown(SIZES, 3, context)
    assert images.shape == (4, 3, 16, 16) and labels.shape == (4, 16, 16)
    found = pictures.by_method({"a": COLOUR, "b": trial("decoder", 3)}, images, labels, context)
    assert list(found) == ["input", "target", "a", "b"]
    assert torch.equal(found["target"], images)
    assert (found["input"] - found["input"][:, :1]).abs().max() == 0
    with torch.no_grad():
        assert torch.equal(found["a"], network(COLOUR, context)(found["input"]).clamp(0, 1))


def test_without_label_maps_a_segmentation_has_a_blank_target(context):
    photos = replace(SIZES, pictures="photos:chelsea,coffee")
    images, labels = pictures.shown(photos, 2, context)
    assert len(images) == 2 and labels is None
    found = pictures.by_method({"a": trial("decoder", 2)}, images, labels, context)
    assert (found["target"] == 1).all()
    palette = task(STREAM, 2, context).palette
    pixels = found["a"].permute(0, 2, 3, 1).reshape(-1, 3)
    assert (torch.cdist(pixels, palette).amin(1) < 1e-6).all()


def test_files_hold_what_was_counted_and_little_more():
    sizes = files.stored_sizes(width=16).set_index("method")
    assert sizes.loc["piggyback", "paper"] == 63.6  # printed
    pieces = files.piece_files(width=16)
    weights = 14_776_000 / 16  # a quarter of the width
    assert pieces["network"] * 2**20 == pytest.approx(4 * weights, rel=0.1)
    assert pieces["mask"] * 2**20 == pytest.approx(weights / 8, rel=0.35)
    whole = pieces["network"] + 4 * pieces["mask"]
    assert sizes.loc["piggyback", "files"] == pytest.approx(whole)
