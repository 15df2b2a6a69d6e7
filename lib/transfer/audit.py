"""What follows from Ueno et al.'s Table 1 alone.

Twelve models, two scores and one accuracy each, without spread. ``paper_findings.csv`` says what is
worked out from the table; ``caltech101_folders.csv`` has the number of images in each folder of the
target's archive: 9,144, and 8,677 without the background.
"""

from math import ceil, floor, sqrt
from pathlib import Path

import pandas as pd
from scipy import stats

from lib.ledger.estimates import MEASURES, agreement
from lib.ledger.tables import compared_with_print
from lib.transfer.analysis import correlation
from lib.transfer.sources import UNTRAINED

HERE = Path(__file__).parent
# classes: of the source's output; section 4.2 has those of ImageNet and of Caltech-256
TABLE_1 = pd.read_csv(HERE / "paper_table_1.csv")
PARTS = {name: rows.set_index("source") for name, rows in TABLE_1.groupby("network")}
SOURCES = tuple(TABLE_1["source"].unique())
PRETRAINED = [name for name in SOURCES if name.startswith(("ImageNet", "Places365"))]
DELIVERED = ("ImageNet", "Places365")  # models that can be had without training any
SIGN = {"softmax": 1, "emd": -1}  # of a score, so that more is better
FOLDERS = pd.read_csv(HERE / "caltech101_folders.csv", index_col="folder")["images"]
BACKGROUND = "BACKGROUND_Google"  # the 102nd folder, which is no class
HALF_A_DIGIT = 5e-4  # of the sums of maxima, as printed


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    findings = pd.read_csv(HERE / "paper_findings.csv", index_col="id")
    values = _of_ranks() | _of_sums()
    ours = {id.lower().replace(" & ", "-").replace(" ", "-"): v for id, v in values.items()}
    return compared_with_print(findings.assign(ours=pd.Series(ours, dtype=float)[findings.index]))


def rank_correlations() -> pd.DataFrame:
    """Rank correlations of score and accuracy: network, score, measure, value."""
    rows = [
        (network, score, name, agreement(sign * part[score], part["accuracy"], name))
        for network, part in PARTS.items()
        for score, sign in SIGN.items()
        for name in MEASURES
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


def uniform_emds() -> dict[int, float]:
    """EMD of a uniform output, an image: by the outputs of ImageNet's and Caltech-256's sources.

    It hangs on the class names and the word vectors alone, so it tells which vectors were used.
    """
    values = _of_sums()
    return {1000: values["emd-image-untrained"], 257: values["emd-image-constant"]}


def printed_accuracies(names: pd.Series, general: str, other: str, stage: str) -> pd.Series:
    """The paper's accuracies in per cent, "AlexNet / ResNet-18", for sources of a run.

    general, other, stage: what takes the place of ImageNet, Places365 and Caltech-256.
    """
    roles = {"ImageNet": general, "Places365": other, "Caltech-256": stage, "untrained": UNTRAINED}
    ours = {" & ".join(map(roles.__getitem__, name.split(" & "))): name for name in SOURCES}
    columns = [(100 * part["accuracy"]).map("{:.2f}".format) for part in PARTS.values()]
    return names.map(ours).map(columns[0] + " / " + columns[1]).fillna("")


def regrets(sources: tuple[str, ...] = SOURCES) -> pd.DataFrame:
    """Accuracy lost by the top-scored model, best minus chosen: rankers by networks."""
    columns = {}
    for network, rows in PARTS.items():
        part = rows.loc[list(sources)]
        accuracy = part["accuracy"]
        chosen = {score: accuracy[(sign * part[score]).idxmax()] for score, sign in SIGN.items()}
        chosen |= {"ImageNet model": accuracy["ImageNet"], "random choice": accuracy.mean()}
        columns[network] = accuracy.max() - pd.Series(chosen)
    return pd.DataFrame(columns)


def sizes_of_test_set(largest: int) -> list[int]:
    """Numbers of test images with which every accuracy of Table 1, to four digits, is a count."""
    sizes = pd.Series(range(1, largest + 1))
    fits = [(a - (a * sizes).round() / sizes).abs() <= 5e-5 + 1e-9 for a in TABLE_1["accuracy"]]
    return sizes[pd.concat(fits, axis=1).all(axis=1)].tolist()


def splits(test: int) -> list[str]:
    """The splits that leave this number of test images, of those that one would think of.

    1 to 50 % of each folder or of all images, rounded down, up or to the nearest, with the
    background folder or without.
    """
    counts = {"all folders": FOLDERS, "without background": FOLDERS.drop(BACKGROUND)}
    counts |= {f"{name}, as one": pd.Series([part.sum()]) for name, part in counts.items()}
    return [
        f"{percent} % of {name}, {rounding.__name__}"
        for name, part in counts.items()
        for percent in range(1, 51)
        for rounding in (floor, round, ceil)
        if sum(rounding(images * percent / 100) for images in part) == test
    ]


def _of_ranks() -> dict[str, float]:
    """The text praises the EMD, but softmax ranks as well or better.

    By the text better models peak earlier: the correlation with the epoch should be below 0.
    """
    values: dict[str, float] = {}
    group = pd.Series(pd.factorize(TABLE_1["network"])[0], name="group")
    for score, sign in SIGN.items():
        both = pd.concat([sign * TABLE_1[score], TABLE_1["accuracy"], group], axis=1)
        values[f"p-{score}-both"] = correlation(both).p or 0.0
        for network, part in PARTS.items():
            ranks, accuracy = sign * part[score], part["accuracy"]
            exact = stats.kendalltau(ranks, accuracy, method="exact")
            few = agreement(ranks[PRETRAINED], accuracy[PRETRAINED])
            values |= {
                f"p-{score}-{network}": exact.pvalue,
                f"wrong-{score}-{network}": round((1 - exact.statistic) / 2 * 15),
                f"kendall-pretrained-{score}-{network}": few,
                f"epoch-{score}-{network}": agreement(ranks, part["epoch"], "Spearman"),
            }
    for network, ratios in normalised().dropna().items():
        accuracy = PARTS[network]["accuracy"][ratios.index]
        values[f"kendall-normalised-{network}"] = agreement(-ratios, accuracy)
    return values


def _of_sums() -> dict[str, float]:
    """What the sums say about the images that they are of, and about the names of the classes.

    A maximum of C probabilities is at least 1 / C: their sum bounds the number of images. Two
    AlexNets know nothing before they are fine-tuned: the untrained and the constant one.
    """
    untrained, constant = (PARTS["AlexNet"].loc[name] for name in ("untrained", "Caltech-256"))
    other = PARTS["ResNet-18"].loc["untrained", "emd"]
    (test,) = sizes_of_test_set(3000)
    rest = FOLDERS.sum() - test
    first, second = untrained["accuracy"], constant["accuracy"]
    error = sqrt((first * (1 - first) + second * (1 - second)) / test)
    emd = {network: part["emd"] for network, part in PARTS.items()}
    return {
        f"places-{name}": part["Places365"] - part["untrained"] for name, part in emd.items()
    } | {
        "untrained-emd": 100 * (untrained["emd"] - other) / untrained["emd"],
        "emd-image-untrained": untrained["emd"] / rest,
        "emd-image-constant": constant["emd"] / rest,
        "images-1000": floor((untrained["softmax"] + HALF_A_DIGIT) * 1000),
        "images-256": floor((constant["softmax"] + HALF_A_DIGIT) * 256),
        "images-test": test,
        "images-quarters": (FOLDERS // 4).sum(),
        "images-splits": len(splits(test)),
        "images-rest": rest,
        "maximum-untrained": 1000 * untrained["softmax"] / rest,
        "maximum-constant": 256 * constant["softmax"] / rest,
        "twins-images": round(test * (first - second)),
        "twins-p": 2 * stats.norm.sf((first - second) / error),
    }
