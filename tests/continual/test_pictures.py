"""Chains are scored batch by batch, and one photograph is made by every method."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from tiny_stream import SIZES, STREAM

from lib.continual import pictures, tasks
from lib.continual.losses import gatys
from lib.continual.methods import network
from lib.continual.pictures import ORDERS, chains, compare_chains, one_photograph
from lib.continual.tasks import chroma, ssim, style_task
from lib.continual.trials import ContinualStudy, planned
from lib.data.images import load_images
from lib.engine.profiles import load_profile
from lib.engine.sweep import Context

COLOUR, STYLE = (planned(SIZES, "resblock", task, 0) for task in (3, 4))
BY_METHOD = {"Resblock": STYLE, "decoder": planned(SIZES, "decoder", 4, 0)}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


@torch.no_grad()
def test_chains_in_batches_are_as_all_images_at_once(context, monkeypatch):
    """Six images in batches of four: the last is smaller and counts for less."""
    task = style_task(STREAM, 4, context)
    images = task.test.images.float() / 255
    whole = chains(COLOUR, STYLE, images, context)
    sizes = []

    def chained(*arguments):
        sizes.append(len(arguments[2]))
        return chains(*arguments)

    monkeypatch.setattr(tasks, "EVALUATION_BATCH", 4)
    monkeypatch.setattr(pictures, "chains", chained)
    table = compare_chains(COLOUR, STYLE, context)
    assert sizes == [4, 2]
    ways = ["chained", "re-encoded", "colour only", "style only", "neither"]
    assert list(zip(table["order"], table["way"], strict=True)) == [
        (order, way) for order in ORDERS for way in ways
    ]
    for row in table.to_dict("records"):
        output = whole.get((row["order"], row["way"]), whole.get(("", row["way"])))
        losses = task.perceptual(output, images)
        for name in ("content", "style", "total"):
            assert row[name] == pytest.approx(float(getattr(losses, name).mean()), rel=1e-5)
        goal = whole[row["order"], "re-encoded"]
        apart = (output - goal).square().mean().sqrt()
        assert row["distance"] == pytest.approx(float(apart), rel=1e-5)
        apart = (chroma(output) - chroma(goal)).square().mean().sqrt()
        assert row["colour_distance"] == pytest.approx(float(apart), rel=1e-5)


@torch.no_grad()
def test_one_photograph_by_every_method(context, monkeypatch):
    optimised = []

    def counted(*arguments, **options):
        optimised.append(gatys(*arguments, **options))
        return optimised[-1]

    monkeypatch.setattr(pictures, "gatys", counted)
    table, shown = one_photograph(BY_METHOD, "photos:astronaut", context)
    photograph = load_images("photos:astronaut", size=16, channels=3)[1].float() / 255
    (target,) = optimised
    assert list(shown) == ["input", "target", "Resblock", "decoder"]
    assert torch.equal(shown["input"], photograph) and torch.equal(shown["target"], target)
    scores = network(BY_METHOD["decoder"], context)(photograph)
    assert torch.equal(shown["decoder"], scores.sigmoid())
    table = table.set_index("method")
    assert list(table.index) == ["untouched photograph", "Gatys", "Resblock", "decoder"]
    perceptual = style_task(STREAM, 4, context).perceptual
    for (name, row), picture in zip(table.iterrows(), shown.values(), strict=True):
        total = float(perceptual(picture, photograph).total)
        assert row["total"] == pytest.approx(total, rel=1e-5), name
        assert row["ssim"] == pytest.approx(ssim(picture, target), abs=1e-6)
    untouched, by_gatys = table.loc["untouched photograph"], table.loc["Gatys"]
    assert untouched["content"] == 0 and by_gatys["ssim"] == pytest.approx(1)
    assert by_gatys["total"] < untouched["total"]
    with pytest.raises(ValueError, match="task 3 is no style"):
        one_photograph({"Resblock": COLOUR}, "photos:astronaut", context)


@pytest.mark.real_data
@pytest.mark.parametrize("profile", ["medium", "paper"])
def test_the_photograph_of_figure_6_a_is_large_enough(profile):
    sizes = load_profile(ContinualStudy, profile)
    names, images = load_images(sizes.photograph, size=sizes.stream.size, channels=3)
    assert names == ["Tuebingen_Neckarfront.jpg"] and len(images) == 1


def test_a_folder_of_photographs_is_looked_for_below_the_data_root(context, tmp_path):
    elsewhere = replace(context, data_root=tmp_path)
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        one_photograph(BY_METHOD, "styles:Tuebingen_Neckarfront", elsewhere)
