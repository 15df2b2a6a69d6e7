"""Ranking torchvision's networks on a folder that is made here, without any download."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets, models

from lib.transfer.own import OwnNetwork, rank_sources
from lib.transfer.scores import SCORES, log_me

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


def test_a_network_of_ones_own_is_ranked_beside_the_others(folder):
    """One that knows nothing but the mean colour tells red pictures from noise."""
    colours = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2)
    )
    own = OwnNetwork("colours", colours, pixels, ("house", "grass"))
    found = rank_sources(folder, [own, NETWORKS[0]], words="scenes", trained=False)
    row = found.set_index("network").loc["colours"]
    assert (row["knn"], row["outputs"], row["outputs without a word"]) == (1, 2, 0)
    assert len(found) == 2 and np.isfinite(found["emd"]).all()
    nameless = OwnNetwork("colours", colours, pixels)
    assert np.isnan(rank_sources(folder, [nameless], words="scenes")["emd"].item())
    wrong = OwnNetwork("colours", colours, pixels, ("house",))
    with pytest.raises(ValueError, match="2 outputs and 1 names"):
        rank_sources(folder, [wrong], words="scenes")


class Gives(torch.nn.Module):
    """A network that makes something of its logits."""

    def __init__(self, change):
        super().__init__()
        self.last, self.change = torch.nn.Linear(3 * 8 * 8, 2), change

    def forward(self, images):
        return self.change(self.last(images.flatten(1)))


@pytest.mark.parametrize(
    ("network", "transform", "said"),
    [
        (Gives(lambda logits: (logits, logits)), None, "odd gives tuple, not logits"),
        (Gives(lambda logits: {"out": logits}), None, "odd gives dict, not logits"),
        (Gives(lambda logits: logits[:, 0]), None, r"odd gives \(12,\), not logits"),
        (Gives(lambda logits: logits / 0), None, "odd gives NaN or infinite"),
        (torch.nn.Flatten(), None, "odd has no linear layer"),
        (Gives(lambda logits: logits), lambda p: torch.rand(3, 8, int(p.getpixel((0, 0))[0]) + 1),
         "the transform of odd gives pictures of sizes"),
    ],
)  # fmt: skip
def test_an_odd_network_is_named(folder, network, transform, said):
    with pytest.raises(ValueError, match=said):
        rank_sources(folder, [OwnNetwork("odd", network, transform or pixels)])


def test_no_network_is_refused(folder):
    with pytest.raises(ValueError, match="no network is given"):
        rank_sources(folder, [])


def pixels(picture):
    return torch.tensor(np.array(picture.resize((8, 8)))).permute(2, 0, 1) / 255


def test_one_class_cannot_be_ranked(folder, tmp_path):
    shutil.copytree(folder / "house", tmp_path / "house")
    with pytest.raises(ValueError, match="has one class"):
        rank_sources(tmp_path, NETWORKS[:1], trained=False)


def test_pictures_are_read_as_viewers_show_them(folder, tmp_path):
    """Sideways with a mark that says so, 16 bits, transparent, among what systems leave there."""
    for name in ("grass", "house"):
        (tmp_path / name).mkdir()
    upright = np.zeros((40, 64), np.uint8)
    upright[:20] = 250  # the upper half is bright
    Image.fromarray(upright.astype(np.uint16) * 257).save(tmp_path / "grass/deep.png")
    turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    marks = Image.Exif()
    marks[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "grass/turned.png", exif=marks)
    for place in range(2):
        clear = np.full((40, 64, 4), (0, 0, 0, 255), np.uint8)
        clear[:20, :, 3] = 0  # nothing in the upper half: white paper
        Image.fromarray(clear).save(tmp_path / f"house/clear{place}.png")
    for rubbish in ("grass/._deep.png", "house/Thumbs.db", "grass/.hidden.jpg"):
        (tmp_path / rubbish).write_bytes(b"no picture")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        shutil.copytree(folder / "house", tmp_path / name)
    seen = []

    def transform(picture):
        seen.append(np.asarray(picture))
        return pixels(picture)

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    found = rank_sources(tmp_path, [OwnNetwork("any", network, transform)])
    assert found["images"].item() == len(seen) == 4
    for picture, bright in zip(seen, (250, 250, 255, 255), strict=True):
        assert picture.shape == (40, 64, 3)
        assert (picture[:20] == bright).all() and (picture[20:] == 0).all()


def test_a_damaged_picture_and_a_class_without_one_are_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own/house/7.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"house/7\.png is not a readable image"):
        rank_sources(tmp_path / "own", NETWORKS[:1], trained=False)
    (tmp_path / "own/tree").mkdir()
    with pytest.raises(FileNotFoundError, match="own/tree"):
        rank_sources(tmp_path / "own", NETWORKS[:1], trained=False)
