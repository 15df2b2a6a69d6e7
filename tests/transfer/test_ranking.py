"""Ranking torchvision's networks on a folder that is made here, without any download."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets, models

from lib.transfer.scores import SCORES, log_me
from lib.transfer.sources import rank_sources

NETWORKS = ["squeezenet1_1", "mobilenet_v3_small"]
EMD = {"emd", "normalised_emd", "centred_emd"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six red pictures and six that are noise; the words know what a house is."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("house", "Qxzv"):
        (folder / name).mkdir()
        for place in range(6):
            pixels = rng.integers(256, size=(64, 80, 3), dtype=np.uint8)
            if name == "house":
                pixels[..., 0], pixels[..., 1:] = 255, 0
            Image.fromarray(pixels).save(folder / name / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return rank_sources(folder, NETWORKS, words="scenes", trained=False)


def test_every_network_has_every_score(table):
    assert sorted(table["network"]) == sorted(NETWORKS)
    assert table["log_me"].is_monotonic_decreasing
    assert np.isfinite(table[[*SCORES]]).all(axis=None)
    assert table["images"].tolist() == [12, 12] and table["outputs"].tolist() == [1000, 1000]


def test_a_class_without_a_word_is_reported(table):
    assert table["classes without a word"].tolist() == ["Qxzv", "Qxzv"]
    assert table["outputs without a word"].between(1, 999).all()


def test_synonyms_give_it_one(folder):
    found = rank_sources(
        folder, NETWORKS[:1], words="scenes", synonyms={"qxzv": "grass"}, trained=False
    )
    assert found["classes without a word"].item() == ""


def test_without_vectors_there_is_no_emd(folder):
    found = rank_sources(folder, NETWORKS[:1], by="knn", trained=False)
    assert {name for name in SCORES if np.isnan(found[name].item())} == EMD


def test_features_are_what_the_last_layer_gets(folder):
    """MobileNetV3's, one picture after the other, by the parts of torchvision's network."""
    weights = models.MobileNet_V3_Small_Weights.DEFAULT
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.mobilenet_v3_small().eval()
    pictures = datasets.ImageFolder(str(folder), transform=weights.transforms())
    features = []
    with torch.no_grad():
        for image, _ in pictures:
            pooled = network.avgpool(network.features(image[None])).flatten(1)
            features.append(network.classifier[:-1](pooled)[0].numpy())
    expected = log_me(np.stack(features).astype(float), np.array(pictures.targets))
    found = rank_sources(folder, NETWORKS[1:], trained=False)["log_me"].item()
    assert found == pytest.approx(expected, rel=1e-3)


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="no classifier resnet17"):
        rank_sources(folder, ["resnet17"], trained=False)
    with pytest.raises(ValueError, match="by must be one of"):
        rank_sources(folder, NETWORKS, by="luck", trained=False)
    with pytest.raises(FileNotFoundError):
        rank_sources(tmp_path, NETWORKS, trained=False)
    assert isinstance(rank_sources(folder, [NETWORKS[0]], trained=False), pd.DataFrame)
