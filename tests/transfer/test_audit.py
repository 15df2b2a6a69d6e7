"""The audit against digits worked out by hand from the paper's Table 1."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest

from lib.engine.files import REPOSITORY
from lib.transfer.audit import (
    BACKGROUND,
    FOLDERS,
    PARTS,
    SOURCES,
    TABLE_1,
    audit,
    normalised,
    printed_accuracies,
    rank_correlations,
    regrets,
    sizes_of_test_set,
    splits,
    uniform_emds,
)


@pytest.fixture(scope="module")
def table():
    return audit()


def cells(column):
    """A column of Table 1: networks x sources."""
    return TABLE_1[column].to_numpy().reshape(2, 6)


def pairs_in_order(score, accuracy):
    return [
        np.sign(score[i] - score[j]) == np.sign(accuracy[i] - accuracy[j])
        for i, j in combinations(range(len(score)), 2)
    ]


def test_the_table_is_the_papers():
    """Sums of its columns, added up by hand, and a row."""
    assert TABLE_1.groupby("network", sort=False).size().to_dict() == dict.fromkeys(PARTS, 6)
    sums = TABLE_1.groupby("network")[["softmax", "emd", "accuracy", "epoch"]].sum()
    assert sums.loc["AlexNet"].tolist() == pytest.approx([12_483.614, 257_750, 3.3356, 147])
    assert sums.loc["ResNet-18"].tolist() == pytest.approx([12_024.98, 252_441, 4.0192, 145])
    assert TABLE_1.iloc[9].tolist() == ["ResNet-18", "Caltech-256", 256, 873, 49_056, 0.4449, 28]


def test_the_uniform_emd_of_an_image():
    """44,280 and 52,505, over 6,903 images."""
    assert uniform_emds() == {
        1000: pytest.approx(6.4146, abs=1e-4),
        257: pytest.approx(7.6061, abs=1e-4),
    }


def test_rank_correlations():
    """To the three digits of the notes."""
    found = (
        rank_correlations()
        .set_index(["network", "score", "measure"])
        .sort_index()["value"]
        .round(3)
    )
    expected = {
        ("AlexNet", "softmax"): (0.733, 0.804, 0.886),
        ("AlexNet", "emd"): (0.6, 0.729, 0.771),
        ("ResNet-18", "softmax"): (0.733, 0.762, 0.829),
        ("ResNet-18", "emd"): (0.467, 0.663, 0.714),
    }
    for key, values in expected.items():
        assert found[key][["Kendall", "weighted tau", "Spearman"]].tolist() == list(values)


def test_pairs_by_counting(table):
    """Kendall is the share of pairs in order, turned to -1..1."""
    wrong = {"softmax": (2, 2), "emd": (3, 4)}
    for score, sign in (("softmax", 1), ("emd", -1)):
        for network, values, accuracy, expected in zip(
            PARTS, sign * cells(score), cells("accuracy"), wrong[score], strict=True
        ):
            right = pairs_in_order(values, accuracy)
            end = f"{score}-{network.lower()}"
            assert right.count(False) == table["ours"][f"wrong-{end}"] == expected
    assert not table["agrees"][["wrong-emd-alexnet", "wrong-emd-resnet-18"]].any()


def test_p_of_kendall_by_every_order_of_six(table):
    """Two-sided: 40, 98 and 196 of the 720 orders have as few wrong pairs, or as few right."""
    wrong = np.array([pairs_in_order(o, range(6)).count(False) for o in permutations(range(6))])
    for end, few, orders in (
        ("softmax-alexnet", 2, 40),
        ("softmax-resnet-18", 2, 40),
        ("emd-alexnet", 3, 98),
        ("emd-resnet-18", 4, 196),
    ):
        count = ((wrong <= few) | (wrong >= 15 - few)).sum()
        assert count == orders
        assert table["ours"][f"p-{end}"] == pytest.approx(orders / 720)


def test_p_of_both_networks_by_every_pair_of_orders(table):
    """The chance of as many wrong pairs of 30, from 720 orders in each of the two networks."""
    wrong = [pairs_in_order(o, range(6)).count(False) for o in permutations(range(6))]
    both = np.add.outer(wrong, wrong)
    for score, few in (("softmax", 4), ("emd", 7)):
        expected = ((both <= few) | (both >= 30 - few)).mean()
        assert table["ours"][f"p-{score}-both"] == pytest.approx(expected)


def test_pretrained_sources_alone(table):
    """The EMD is better on ResNet-18 only: two wrong pairs of six against one."""
    found = {
        end: [table["ours"][f"kendall-pretrained-{score}-{end}"] for score in ("softmax", "emd")]
        for end in ("alexnet", "resnet-18")
    }
    assert found["alexnet"] == pytest.approx([2 / 3, 2 / 3])
    assert found["resnet-18"] == pytest.approx([1 / 3, 2 / 3])


def test_places_is_ranked_below_the_untrained_network(table):
    assert table["ours"]["places-alexnet"] == 53_355 - 44_280
    assert table["ours"]["places-resnet-18"] == 53_217 - 44_258
    assert table["explanation"]["places-alexnet"] == "accuracy 0.6899 against 0.2071"
    assert table["explanation"]["places-resnet-18"] == "accuracy 0.7162 against 0.4065"


def test_normalised_values(table):
    values = normalised().round(3)
    order = ["untrained", "ImageNet", "ImageNet & Caltech-256", "Caltech-256"]
    order.append("Places365 & Caltech-256")
    assert values["AlexNet"][order].tolist() == [1, 0.922, 0.615, 1, 0.657]
    assert values["ResNet-18"][order].tolist() == [1, 0.882, 0.580, 0.934, 0.695]
    assert values.loc["Places365"].isna().all() and len(values) == len(SOURCES)
    # one wrong pair of ten; AlexNet: the same one, and a tie: 7 / sqrt(10 * 9)
    assert table["ours"]["kendall-normalised-alexnet"] == pytest.approx(7 / 90**0.5)
    assert table["ours"]["kendall-normalised-resnet-18"] == pytest.approx(0.8)


def test_numbers_of_images(table):
    """27.519 times 256 is 7044.9; the sums over 6,903 images are near those of uniform outputs."""
    expected = {
        "images-1000": 7095,
        "images-256": 7044,
        "images-test": 2241,
        "images-quarters": 2241,
        "images-splits": 1,
        "images-rest": 6903,
        "emd-image-untrained": 6.415,
        "emd-image-constant": 7.606,
        "maximum-untrained": 1.028,
        "maximum-constant": 1.021,
        "untrained-emd": 0.05,
    }
    assert table["ours"][list(expected)].round(3).to_dict() == expected


def test_folders_are_those_of_the_archive():
    """Its published totals; no committed id of a folder is above its number of images."""
    assert (len(FOLDERS), FOLDERS.sum(), FOLDERS.drop(BACKGROUND).sum()) == (102, 9144, 8677)
    assert FOLDERS[["accordion", "airplanes", "BACKGROUND_Google"]].tolist() == [55, 800, 467]
    last = dict.fromkeys(FOLDERS.index, 0)
    for part in ("train", "test"):
        path = REPOSITORY / f"data/splits/caltech101@medium.{part}.txt"
        for line in path.read_text().splitlines()[1:]:
            folder, number = line.removesuffix(".jpg").split("/image_")
            last[folder] = max(last[folder], int(number))
    del last[BACKGROUND]  # no class of the loader
    assert all(0 < number <= FOLDERS[folder] for folder, number in last.items())


def test_one_split_leaves_2241():
    assert splits(2241) == ["25 % of all folders, floor"]
    assert "20 % of without background, as one, floor" in splits(1735)


def test_accuracies_are_counts_of_2241_test_images():
    """Of no other number below twice as many; 20 % of Caltech-101 allow three of the twelve."""
    assert sizes_of_test_set(4481) == [2241]
    counts = [464, 1731, 1755, 410, 1546, 1569, 911, 1904, 1912, 997, 1605, 1678]
    assert [f"{n / 2241:.4f}" for n in counts] == [f"{a:.4f}" for a in TABLE_1["accuracy"]]
    for images in (1735, 1736):
        fits = [f"{round(a * images) / images:.4f}" == f"{a:.4f}" for a in TABLE_1["accuracy"]]
        assert sum(fits) <= 3


def test_the_two_alexnets_that_know_nothing(table):
    """464 and 410 of 2,241: z = 0.0241 / sqrt((0.1642 + 0.1495) / 2241) = 2.04."""
    assert table["ours"]["twins-images"] == 464 - 410
    assert table["ours"]["twins-p"] == pytest.approx(0.042, abs=5e-4)


def test_epochs(table):
    """Up on AlexNet, against the text, down on ResNet-18, with it."""
    expected = {"softmax": (0.754, -0.754), "emd": (0.638, -0.667)}
    for name, values in expected.items():
        found = [table["ours"][f"epoch-{name}-{network.lower()}"] for network in PARTS]
        assert np.round(found, 3).tolist() == list(values)


def test_regret():
    """Both scores choose the best of six; ImageNet is 1.07 and 0.36 points behind it."""
    found = regrets().loc[:, list(PARTS)]
    expected = {
        "softmax": (0, 0),
        "emd": (0, 0),
        "ImageNet model": (0.0107, 0.0036),
        "random choice": (0.7831 - 3.3356 / 6, 0.8532 - 4.0192 / 6),
    }
    for score, values in expected.items():
        assert found.loc[score].tolist() == pytest.approx(values)
    delivered = regrets(("ImageNet", "Places365"))
    assert delivered["ResNet-18"]["softmax"] == pytest.approx(0.8496 - 0.7162)  # 2396 > 2012
    assert delivered.loc["emd"].tolist() == [0, 0]


def test_every_finding_has_a_name_of_its_own_and_a_reason(table):
    assert table.index.is_unique
    assert (table["explanation"] != "").all() and table["ours"].notna().all()
    assert table["agrees"].isna().equals(table["paper"].isna())


def test_accuracies_beside_those_of_a_run():
    """To the sources of another run by what each stands for; birds take Places365's place."""
    names = pd.Series(["no training", "imagenet", "birds & voc", "voc", "insects"])
    found = printed_accuracies(names, "imagenet", "birds", "voc")
    assert found.tolist() == [
        "20.71 / 40.65", "77.24 / 84.96", "70.01 / 74.88", "18.30 / 44.49", "",
    ]  # fmt: skip
