"""Which published network to fine-tune on pictures of one's own: ``rank_sources``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from lib.data.words import class_vectors, load_vectors
from lib.engine.training import seeded
from lib.transfer.scores import SCORES, all_scores

BATCH = 50  # images


def rank_sources(
    folder: str | Path,
    networks: Sequence[str],
    *,
    words: str = "",
    synonyms: Mapping[str, str] | None = None,
    by: str = "log_me",
    trained: bool = True,
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Score torchvision's classifiers on pictures, without any fine-tuning; the best comes first.

    folder: has a folder of pictures for each class, at least two, called as the class.
    networks: names of torchvision's, such as resnet18; their best weights are downloaded once.
    words: vectors for the names of classes, see ``load_vectors``; without any the EMD scores are
        NaN. synonyms: of names, see ``class_vectors``; root: where vectors are looked for.
    by: the score that decides the order. trained: with False no weights are downloaded.
    Returns a row a network: network, every score, images, outputs, and which of the folder's
    classes and how many outputs have no word, so that the EMD scores leave them out.
    Raises ValueError for a name that is not there, FileNotFoundError for a folder without classes.
    """
    from torchvision import datasets, models  # here: importing it takes a second

    known = models.list_models(module=models)
    if unknown := [name for name in networks if name not in known]:
        raise ValueError(f"torchvision has no classifier {', '.join(unknown)}, but {known}")
    if by not in SCORES:
        raise ValueError(f"by must be one of {tuple(SCORES)}, not {by!r}")
    vectors = load_vectors(words, root) if words else None
    rows = []
    for name in networks:
        weights = models.get_model_weights(name)["DEFAULT"]
        pictures = datasets.ImageFolder(str(folder), transform=weights.transforms())
        with seeded(0):  # of a network without training
            network = models.get_model(name, weights=weights if trained else None)
        features, logits = _described(network.eval(), pictures)
        sides = [weights.meta["categories"], pictures.classes]
        named = [np.full((len(side), 1), np.nan) for side in sides]
        if vectors is not None:
            found = [class_vectors(side, vectors, synonyms, complete=False) for side in sides]
            named = [each.vectors for each in found]
        missing = [np.isnan(each).any(1) for each in named]
        scores = all_scores(
            logits.softmax(1).numpy(), features.numpy(), np.array(pictures.targets), cdist(*named)
        )
        without = [each for each, lacks in zip(sides[1], missing[1], strict=True) if lacks]
        rows.append(
            {"network": name, **scores, "images": len(pictures), "outputs": logits.shape[1]}
            | {"classes without a word": ", ".join(without)}
            | {"outputs without a word": int(missing[0].sum())}
        )
    return pd.DataFrame(rows).sort_values(by, ascending=SCORES[by] < 0, ignore_index=True)


@torch.no_grad()
def _described(network: nn.Module, pictures: torch.utils.data.Dataset) -> tuple[Tensor, Tensor]:
    """(N, D) of what goes into the last layer, a map's averaged over its pixels, (N, C) logits."""
    last = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    features: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        features.append(values.flatten(2).mean(2) if values.ndim == 4 else values)

    last.register_forward_pre_hook(keep)
    loader = torch.utils.data.DataLoader(pictures, batch_size=BATCH)
    logits = [network(images) for images, _ in loader]
    return torch.cat(features), torch.cat(logits)
