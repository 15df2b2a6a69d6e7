"""What follows from Ueno et al.'s Table 1 alone.

Twelve models, two scores and one accuracy each, without spread: the findings are rank correlations,
what the sums say about the number of images and the class names, and what a choice by score costs.
``paper_table_1.csv`` is the paper's table; ``paper_findings.csv`` says what is worked out from it.
"""

from __future__ import annotations

from math import floor, sqrt
from pathlib import Path

import pandas as pd
from scipy import stats

from lib.ledger.claims import judged
from lib.transfer.agreement import MEASURES, kendall

# classes: of the source's output; section 4.2 has those of ImageNet and of Caltech-256
TABLE_1 = pd.read_csv(Path(__file__).with_name("paper_table_1.csv"))
PARTS = {name: rows.set_index("source") for name, rows in TABLE_1.groupby("network")}
SOURCES = tuple(TABLE_1["source"].unique())
PRETRAINED = tuple(name for name in SOURCES if name.startswith(("ImageNet", "Places365")))
DELIVERED = ("ImageNet", "Places365")  # models that can be had without training any
SIGN = {"softmax": 1, "emd": -1}  # of a score, so that more is better
IMAGES, WITH_CLUTTER = 8677, 9144  # of Caltech-101, without and with its 102nd folder
HALF_A_DIGIT = 5e-4  # of the sums of maxima, as printed


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    findings = pd.read_csv(Path(__file__).with_name("paper_findings.csv"), index_col="id")
    values = _of_ranks() | _of_names() | _of_images()
    for name, sources in (("all", SOURCES), ("delivered", DELIVERED)):
        for row in regrets(sources).itertuples():
            values[f"regret-{name}-{row.score}-{row.network}"] = 100 * row.regret
    ours = {id.lower().replace(" & ", "-").replace(" ", "-"): v for id, v in values.items()}
    return judged(findings.assign(ours=pd.Series(ours, dtype=float)[findings.index]))


def rank_correlations(sources: tuple[str, ...] = SOURCES) -> pd.DataFrame:
    """Rank correlations of score and accuracy among some sources: network, score, measure, value.

    The sign of the EMD is turned: more is better.
    """
    rows = [
        (network, score, name, measure(SIGN[score] * part[score], part["accuracy"]))
        for network, part in ((name, rows.loc[list(sources)]) for name, rows in PARTS.items())
        for score in SIGN
        for name, measure in MEASURES.items()
    ]
    return pd.DataFrame(rows, columns=["network", "score", "measure", "value"])


def normalised() -> pd.DataFrame:
    """The EMD over that of a uniform output: sources by networks, NaN for Places365.

    A network's own untrained EMD is taken for that of uniform output over ImageNet's names, and
    that of the AlexNet trained on Caltech-256 alone (constant output) for Caltech-256's.
    """
    columns = {}
    for network, part in PARTS.items():
        uniform = {1000: part["emd"]["untrained"], 256: PARTS["AlexNet"]["emd"]["Caltech-256"]}
        columns[network] = part["emd"] / part["classes"].map(uniform)
    return pd.DataFrame(columns)


def regrets(sources: tuple[str, ...] = SOURCES) -> pd.DataFrame:
    """Accuracy lost by the top-scored model, best minus chosen: score, network, regret."""
    rows = []
    for network in PARTS:
        part = PARTS[network].loc[list(sources)]
        accuracy = part["accuracy"]
        chosen = {score: accuracy[(sign * part[score]).idxmax()] for score, sign in SIGN.items()}
        chosen |= {"ImageNet model": accuracy["ImageNet"], "random choice": accuracy.mean()}
        rows += [(score, network, accuracy.max() - value) for score, value in chosen.items()]
    return pd.DataFrame(rows, columns=["score", "network", "regret"])


def sizes_of_test_set(largest: int) -> list[int]:
    """Numbers of test images with which every accuracy of Table 1, to four digits, is a count."""
    sizes = pd.Series(range(1, largest + 1))
    fits = [(a - (a * sizes).round() / sizes).abs() <= 5e-5 + 1e-9 for a in TABLE_1["accuracy"]]
    return sizes[pd.concat(fits, axis=1).all(axis=1)].tolist()


def _of_ranks() -> dict[str, float]:
    """The text praises the EMD, but softmax ranks as well or better.

    By the text better models peak earlier: the correlation with the epoch should be below 0.
    """
    values = {}
    for row in rank_correlations().itertuples():
        values[f"{row.measure}-{row.score}-{row.network}"] = row.value
    for row in rank_correlations(PRETRAINED).itertuples():
        values[f"{row.measure}-pretrained-{row.score}-{row.network}"] = row.value
    for network, part in PARTS.items():
        for name, sign in (SIGN | {"accuracy": 1}).items():
            value = MEASURES["Spearman"](sign * part[name], part["epoch"])
            values[f"epoch-{name}-{network}"] = value
        for score, sign in SIGN.items():
            exact = stats.kendalltau(sign * part[score], part["accuracy"], method="exact")
            values[f"p-{score}-{network}"] = exact.pvalue
            values[f"wrong-{score}-{network}"] = round((1 - exact.statistic) / 2 * 15)
        ratios = normalised()[network].dropna()
        values[f"kendall-normalised-{network}"] = kendall(-ratios, part["accuracy"][ratios.index])
    return values


def _of_names() -> dict[str, float]:
    """An untrained network's EMD is the mean distance of the names, whatever the network."""
    emd = TABLE_1.pivot_table(index="source", columns="network", values="emd")
    untrained, constant = emd.loc["untrained"], emd["AlexNet"]["Caltech-256"]
    first, second = untrained[list(PARTS)]
    values = {"untrained-emd": 100 * (first - second) / first}
    for network in PARTS:
        values[f"places-{network}"] = emd[network]["Places365"] - untrained[network]
        for source, ratio in normalised()[network].items():
            values[f"normalised-{source}-{network}"] = ratio
    for images in (6941, WITH_CLUTTER - sizes_of_test_set(3000)[0]):
        values[f"emd-image-untrained-{images}"] = first / images
        values[f"emd-image-constant-{images}"] = constant / images
    return values


def _of_images() -> dict[str, float]:
    """A maximum of C probabilities is at least 1 / C: their sum bounds the number of images.

    Two AlexNets know nothing before they are fine-tuned: the untrained and the constant one.
    """
    untrained, constant = (PARTS["AlexNet"].loc[name] for name in ("untrained", "Caltech-256"))
    (test,) = sizes_of_test_set(3000)
    first, second = untrained["accuracy"], constant["accuracy"]
    error = sqrt((first * (1 - first) + second * (1 - second)) / test)
    return {
        "images-1000": floor((untrained["softmax"] + HALF_A_DIGIT) * 1000),
        "images-257": floor((constant["softmax"] + HALF_A_DIGIT) * 257),
        "images-256": floor((constant["softmax"] + HALF_A_DIGIT) * 256),
        "images-80": int(0.8 * IMAGES),
        "images-80-clutter": int(0.8 * WITH_CLUTTER),
        "images-test": test,
        "images-train": IMAGES - test,
        "images-train-clutter": WITH_CLUTTER - test,
        "collapsed": int(0.8 * IMAGES) / constant["softmax"],
        "twins-images": round(test * (first - second)),
        "twins-p": 2 * stats.norm.sf((first - second) / error),
    }
