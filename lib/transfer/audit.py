"""Notebook 03: what follows from Ueno et al.'s Table 1 alone.

Twelve models, two scores and one accuracy each, without spread: the findings are rank correlations,
what the sums say about the number of images and the class names, and what a choice by score costs.
"""

from __future__ import annotations

from itertools import product
from math import floor, sqrt

import pandas as pd
from scipy import stats

from lib.ledger.claims import judged
from lib.transfer.agreement import MEASURES, kendall_p

NETWORKS = ("AlexNet", "ResNet-18")
SOURCES = {  # classes of the output: section 4.2 has those of the first and of the fourth
    "untrained": 1000,
    "ImageNet": 1000,
    "ImageNet & Caltech-256": 256,
    "Caltech-256": 256,
    "Places365": 365,
    "Places365 & Caltech-256": 256,
}
PRETRAINED = [source for source in SOURCES if source.startswith(("ImageNet", "Places365"))]
DELIVERED = ["ImageNet", "Places365"]  # models that can be had without training any
_ALEXNET = {
    "softmax": (7.095, 2154, 4344, 27.519, 1912, 4039),
    "emd": (44280, 40805, 32285, 52505, 53355, 34520),
    "accuracy": (0.2071, 0.7724, 0.7831, 0.183, 0.6899, 0.7001),
    "epoch": (21, 27, 26, 24, 22, 27),
}
_RESNET = {
    "softmax": (31.98, 2012, 3953, 873, 2396, 2759),
    "emd": (44258, 39016, 30429, 49056, 53217, 36465),
    "accuracy": (0.4065, 0.8496, 0.8532, 0.4449, 0.7162, 0.7488),
    "epoch": (24, 26, 20, 28, 24, 23),
}
_NAMES = {"source": list(SOURCES), "classes": list(SOURCES.values())}
TABLE_1 = pd.concat(
    [
        pd.DataFrame({"network": network} | _NAMES | columns)
        for network, columns in zip(NETWORKS, (_ALEXNET, _RESNET), strict=True)
    ],
    ignore_index=True,
)
SIGN = {"softmax": 1, "emd": -1}  # of a score, so that more is better
IMAGES, WITH_CLUTTER = 8677, 9144  # of Caltech-101, without and with its 102nd folder
NAN = float("nan")
_Row = tuple[str, str, float, float, str, str]


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    columns = ["id", "statement", "paper", "ours", "unit", "explanation"]
    rows = [*_ranks(), *_places(), *_uniform(), *_images(), *_twins(), *_epochs(), *_choices()]
    return judged(pd.DataFrame(rows, columns=columns).set_index("id"))


def agreement(sources: list[str] | None = None) -> pd.DataFrame:
    """Rank correlations of score and accuracy: network, score, measure, value.

    sources: all six if none are named. The sign of the EMD is turned: more is better.
    """
    kept = TABLE_1[TABLE_1["source"].isin(sources or list(SOURCES))]
    rows = [
        (network, score, name, measure(SIGN[score] * part[score], part["accuracy"]))
        for network, part in kept.groupby("network")
        for score in SIGN
        for name, measure in MEASURES.items()
    ]
    return pd.DataFrame(rows, columns=["network", "score", "measure", "value"])


def normalised() -> pd.DataFrame:
    """The EMD over that of a uniform output: sources by networks, NaN for Places365.

    A network's own untrained EMD is taken for that of uniform output over ImageNet's names, and
    that of the AlexNet trained on Caltech-256 alone (constant output) for Caltech-256's.
    """
    table = {}
    for network in NETWORKS:
        part = _of(network)
        uniform = {1000: part["emd"]["untrained"], 256: _of("AlexNet")["emd"]["Caltech-256"]}
        table[network] = part["emd"] / part["classes"].map(uniform)
    return pd.DataFrame(table)


def regret(sources: list[str] | None = None) -> pd.DataFrame:
    """Accuracy lost by the top-scored model, best minus chosen: score, network, regret."""
    rows = []
    for network in NETWORKS:
        part = _of(network).loc[sources or list(SOURCES)]
        accuracy = part["accuracy"]
        chosen = {s: accuracy[(sign * part[s]).idxmax()] for s, sign in SIGN.items()}
        chosen |= {"ImageNet model": accuracy["ImageNet"], "random choice": accuracy.mean()}
        rows += [(score, network, accuracy.max() - value) for score, value in chosen.items()]
    return pd.DataFrame(rows, columns=["score", "network", "regret"])


def sizes_of_test_set(largest: int) -> list[int]:
    """Numbers of test images with which every accuracy of Table 1, to four digits, is a count."""
    sizes = pd.Series(range(1, largest + 1))
    fits = [(a - (a * sizes).round() / sizes).abs() <= 5e-5 + 1e-9 for a in TABLE_1["accuracy"]]
    return sizes[pd.concat(fits, axis=1).all(axis=1)].tolist()


def _of(network: str) -> pd.DataFrame:
    return TABLE_1[TABLE_1["network"] == network].set_index("source")


def _ranks() -> list[_Row]:
    """The text praises the EMD; softmax ranks as well or better."""
    rows = []
    for row in agreement().itertuples():
        name = f"{row.measure}-{row.score}-{row.network}".lower().replace(" ", "-")
        text = f"{row.network}: {row.measure} of {row.score} and accuracy"
        rows.append((name, text, NAN, row.value, "correlation", "six sources, more is better"))
    for row in agreement(PRETRAINED).query("measure == 'Kendall'").itertuples():
        name = f"kendall-pretrained-{row.score}-{row.network}".lower()
        text = f"{row.network}: Kendall of {row.score} among pre-trained sources"
        rows.append((name, text, NAN, row.value, "correlation", "four sources"))
    for network, score in product(NETWORKS, SIGN):
        part = _of(network)
        ranked = SIGN[score] * part[score], part["accuracy"]
        end = f"{score}-{network}".lower()
        text = f"{network}: p of {score}'s Kendall"
        rows.append((f"p-{end}", text, NAN, kendall_p(*ranked), "probability", "exact, two-sided"))
        text = f"{network}: pairs of sources that {score} puts in the wrong order"
        why = "of 15; the text names ImageNet and Places365 & Caltech-256, for the EMD"
        named = 1.0 if score == "emd" else NAN
        wrong = round((1 - MEASURES["Kendall"](*ranked)) / 2 * 15)
        rows.append((f"wrong-{end}", text, named, wrong, "pairs", why))
    return rows


def _places() -> list[_Row]:
    rows = []
    for network in NETWORKS:
        places, untrained = _of(network).loc["Places365"], _of(network).loc["untrained"]
        why = f"accuracy {places['accuracy']} against {untrained['accuracy']}"
        text = f"{network}: EMD of Places365 less that of the untrained network, which it ranks up"
        value = places["emd"] - untrained["emd"]
        rows.append((f"places-{network.lower()}", text, NAN, value, "EMD", why))
    return rows


def _uniform() -> list[_Row]:
    """An untrained network's EMD is the mean distance of the names, whatever the network."""
    first, second = (_of(network)["emd"]["untrained"] for network in NETWORKS)
    why = "the output is uniform: the EMD is the mean distance between the class names"
    text = "Untrained networks: difference of their EMD, of AlexNet's"
    rows = [("untrained-emd", text, NAN, 100 * (first - second) / first, "%", why)]
    for name, source in (("untrained", "untrained"), ("constant", "Caltech-256")):
        for images in (6941, WITH_CLUTTER - sizes_of_test_set(3000)[0]):
            value = _of("AlexNet")["emd"][source] / images
            text, why = f"AlexNet, {source}: EMD of an image", f"if the sum has {images} images"
            rows.append((f"emd-image-{name}-{images}", text, NAN, value, "distance", why))
    for network, values in normalised().dropna().items():
        for source, value in values.items():
            name = f"normalised-{source}-{network}".lower().replace(" & ", "-")
            text, why = f"{network}, {source}: EMD over that of a uniform output", "by label set"
            rows.append((name, text, NAN, value, "ratio", why))
        accuracy = _of(network)["accuracy"][values.index]
        value = MEASURES["Kendall"](-values, accuracy)
        name, text = f"kendall-normalised-{network.lower()}", f"{network}: Kendall of this ratio"
        rows.append((name, text, NAN, value, "correlation", "five sources, without Places365"))
    return rows


# a table: the numbers of a row in its first line, the reason below
# fmt: off
def _images() -> list[_Row]:
    """A maximum of C probabilities is at least 1 / C: their sum bounds the number of images."""
    untrained, constant = (_of("AlexNet")["softmax"][s] for s in ("untrained", "Caltech-256"))
    text, half = "Images in the sums, at most", 5e-4  # of the last digit printed
    bounds = [
        (f"images-{classes}", f"{text}: {classes} classes", NAN,
         floor((value + half) * classes), "images", f"{value} times the number of classes")
        for classes, value in ((1000, untrained), (257, constant), (256, constant))
    ]
    (test,) = sizes_of_test_set(3000)
    return [
        *bounds,
        ("images-80", "80 % of Caltech-101", NAN, int(0.8 * IMAGES), "images",
         "possible: below the bounds"),
        ("images-80-clutter", "80 % of Caltech-101 with its background folder",
         NAN, int(0.8 * WITH_CLUTTER), "images", "impossible: above the bounds"),
        ("images-test", "Test images: the only number up to 3,000 with which each of the 12 "
         "accuracies is a count", NAN, test, "images",
         "by chance there is one with a probability of 0.0001; 20 % of 8,677 are 1,735 or 1,736"),
        ("images-train", "The others, of Caltech-101", NAN, IMAGES - test, "images", "possible"),
        ("images-train-clutter", "The others, with the background folder",
         NAN, WITH_CLUTTER - test, "images", "possible, and nearer to the bounds"),
        ("collapsed", "AlexNet trained on Caltech-256 alone: images over the sum of maxima",
         NAN, int(0.8 * IMAGES) / constant, "classes",
         "near 256 or 257: its output is constant, it never learned; 6,941 images"),
    ]


def _twins() -> list[_Row]:
    """Two AlexNets that know nothing, before fine-tuning: .2071 and .183."""
    (test,), accuracy = sizes_of_test_set(3000), _of("AlexNet")["accuracy"]
    first, second = accuracy["untrained"], accuracy["Caltech-256"]
    error = sqrt((first * (1 - first) + second * (1 - second)) / test)
    z = (first - second) / error
    return [
        ("twins-images", "AlexNet, untrained and Caltech-256: difference", NAN,
         round(test * (first - second)), "images", f"of {test}"),
        ("twins-p", "The same: p, if the runs were on independent test images",
         NAN, 2 * stats.norm.sf(z), "probability",
         "one run each, the best of 30 epochs on the test images: no difference is shown"),
    ]
# fmt: on


def _epochs() -> list[_Row]:
    """Better models should peak earlier: a correlation below 0."""
    rows = []
    for network in NETWORKS:
        part, end = _of(network), network.lower()
        for name, sign in (SIGN | {"accuracy": 1}).items():
            value = stats.spearmanr(sign * part[name], part["epoch"]).statistic
            text = f"{network}: Spearman of {name} and epoch"
            why = "the text has better models peak earlier: below 0"
            rows.append((f"epoch-{name}-{end}", text, NAN, value, "correlation", why))
    return rows


def _choices() -> list[_Row]:
    """What a choice by score costs, among all, and among what can be had without training."""
    rows = []
    for name, sources in (("all", list(SOURCES)), ("delivered", DELIVERED)):
        for row in regret(sources).itertuples():
            end = f"{name}-{row.score}-{row.network}".lower().replace(" ", "-")
            text = f"{row.network}: accuracy lost by {row.score}, among {len(sources)} sources"
            paper = 0.0 if name == "all" and row.score in SIGN else NAN  # its bold numbers
            why = ", ".join(sources)
            rows.append((f"regret-{end}", text, paper, 100 * row.regret, "points", why))
    return rows
