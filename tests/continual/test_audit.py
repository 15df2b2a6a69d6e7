"""The audit against other libraries, masks drawn at random, and the paper's own sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from sklearn.metrics import cohen_kappa_score, mutual_info_score
from stream_records import record
from torch import nn

from lib.continual.analysis import scores
from lib.continual.audit import (
    AGREEMENT,
    ONES,
    audit,
    beside_paper,
    piece_files,
    similarity,
    stored_sizes,
)


@pytest.fixture(scope="module")
def table():
    return audit()


def test_sizes_by_hand(table):
    """14,776,000 weights are 59,104,000 bytes; 7,077,888 are 27 times 2^20; and so on."""
    expected = {
        "unet-weights": 14_776_000,
        "encoder-weights": 9_402_048,
        "decoder-weights": 5_373_952,
        "block-weights": 7_077_888,
        "size-unet": 59_104_000 / 1_048_576,
        "size-decoder": 20.5,
        "size-mask": 1_847_000 / 1_048_576,
        "size-scratch": 281.83,
        "size-fine-tune": 56.366,
        "size-decoders": 56.366 + 82,
        "size-piggyback": 63.41,
        "size-blocks": 27.0,
        "size-resblock": 143.7,
        "size-auto-encoder": 756_739 * 4 / 1_048_576,
        "size-resblock-cyclegan": 137.9,
        "size-block-mask": 0.84375,
        "size-two-tasks": 62.7,
        "size-two-tasks-masked": 36.54375,
        "size-saving": 26.15625,
        "size-ratio": 63.41 / 138.366,
        "size-resblock-ratio": 143.7 / 281.83,
        "size-blocks-5": 135.0,
        "size-block-masks-5": 4.21875,
        "size-auto-encoder-3": 8.66,
    }
    assert table["ours"][list(expected)].to_dict() == pytest.approx(expected, rel=3e-4)


def test_what_agrees_with_the_paper(table):
    given = table[table["paper"].notna()]
    assert table[table["paper"].isna()]["agrees"].isna().all()
    wrong = """size-fine-tune size-blocks size-resblock size-auto-encoder size-resblock-cyclegan
        size-block-mask size-two-tasks size-two-tasks-masked size-saving size-resblock-ratio
        sum-two-tasks sum-saving mask-pairs changed-scratch kinds methods"""
    assert set(given.index[~given["agrees"].astype(bool)]) == set(wrong.split())


def test_the_papers_sums_again(table):
    """Its own terms: two of the seven sums are not what is printed."""
    sums = table[table.index.str.startswith("sum-")]["ours"]
    expected = {
        "sum-scratch": 282.0,
        "sum-decoders": 138.4,
        "sum-piggyback": 63.6,
        "sum-ratio": 0.4595,
        "sum-resblock": 683.7,
        "sum-two-tasks": 278.7,
        "sum-two-tasks-twice": 287.4,
        "sum-two-tasks-masked": 147.9,
        "sum-saving": 130.8,
    }
    assert sums.round(4).to_dict() == expected


def test_vgg16_has_as_many_weights_in_its_convolutions(table):
    with torch.device("meta"):
        layers = list(torchvision.models.vgg16().modules())
    counted = sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Conv2d))
    linear = sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))
    assert table["ours"]["vgg-weights"] == counted == 14_710_464
    assert round(linear / 1e6) == 124
    assert table["ours"]["vgg-parameters"] == 138_357_544
    assert table["ours"]["unet-vgg"] == pytest.approx(0.1068, abs=5e-5)
    assert table["ours"]["unet-layers"] == 22


def test_similarity_is_that_of_masks_with_these_numbers():
    """A pair of masks built to agree as printed, judged by scikit-learn."""
    ones, n = ONES, 20_000
    for row in similarity().itertuples():
        both = round(n * (row.agreement + ones[row.a] + ones[row.b] - 1) / 2)
        first, second = np.zeros(n, int), np.zeros(n, int)
        first[: round(n * ones[row.a])] = 1
        second[:both] = 1
        second[round(n * ones[row.a]) :][: round(n * ones[row.b]) - both] = 1
        assert (first == second).mean() == pytest.approx(AGREEMENT[row.a, row.b], abs=1e-9)
        assert row.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
        bits = mutual_info_score(first, second) / np.log(2)
        assert row.mutual_information == pytest.approx(bits, abs=1e-9)


def test_claims_against_table_2(table):
    expected = {
        "resblock-mse-3": 2.1837,
        "resblock-ssim-3": 0.0143,
        "resblock-ssim-4": -0.0211,
        "resblock-loss-4": 1.1122,
        "resblock-loss-5": 1.1626,
        "piggyback-ratio-loss-4": 1.3023,
        "constant-1": 1.2346,
        "constant-2": 4.7619,
        "kept": 12,
        "changed-fine-tune": 4,
        "changed-scratch": 0,
        "epochs-4": 4,
        "kinds": 3,
        "methods": 3,
    }
    assert table["ours"][list(expected)].to_dict() == pytest.approx(expected, abs=5e-5)


def test_files_hold_what_was_counted_and_little_more():
    sizes = stored_sizes(width=16).set_index("method")
    assert sizes.loc["piggyback", "paper"] == 63.6  # printed
    pieces = piece_files(width=16)
    weights = 14_776_000 / 16  # a quarter of the width
    assert pieces["network"] * 2**20 == pytest.approx(4 * weights, rel=0.1)
    assert pieces["mask"] * 2**20 == pytest.approx(weights / 8, rel=0.35)
    whole = pieces["network"] + 4 * pieces["mask"]
    assert sizes.loc["piggyback", "files"] == pytest.approx(whole)


def test_our_numbers_stand_beside_the_printed_ones():
    """Fine-tuning comes to task 5 from task 3; a later task is the next one."""
    trials = pd.DataFrame(
        [
            *(record("scratch", 1, seed, {1: 40 + 2 * seed}) for seed in (0, 1)),
            *(record("fine-tune", 2, seed, {1: 5 + 2 * seed, 2: 60}) for seed in (0, 1)),
            record("fine-tune", 3, 0, {1: 3, 2: 7, 3: 200}),
            record("fine-tune", 5, 0, {5: 9}),
            record("fine-tune", 5, 0, {5: 8}, start=3),
        ]
    )
    answers = pd.DataFrame({"task": [1], "answer": ["x"], "metric": ["miou"], "value": [2.5]})
    table = beside_paper(scores(trials), answers).set_index(["number", "learned", "method"])
    now, later = "right after the task", "after a later task"
    ours = {
        ("mIoU of task 1", now, "Fine-tune"): (21.47, 2, 41, 2.5),
        ("mIoU of task 1", later, "Fine-tune"): (0.7, 2, 6, 2.5),
        ("mIoU of task 2", later, "Fine-tune"): (1.87, 1, 7, np.nan),
        ("loss of task 5", now, "Fine-tune"): (400400, 1, 8, np.nan),
        ("mIoU of task 1", later, "Scratch"): (np.nan, 0, np.nan, 2.5),
    }
    assert len(table) == (7 + 4) * 5
    for cell, expected in ours.items():
        row = table.loc[cell, ["paper", "n", "ours", "trivial"]].to_numpy(float)
        assert row == pytest.approx(expected, nan_ok=True)
