"""Ranking networks for pictures of one's own, without any fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from lib.data.words import class_vectors, load_vectors
from lib.engine.sweep import available_devices
from lib.engine.training import progress, seeded
from lib.networks.sources import torchvision_network
from lib.transfer.scores import SCORES, all_scores
from lib.transfer.sources import EVALUATION_BATCH


@dataclass(frozen=True)
class OwnNetwork:
    """A network that is to be ranked.

    network: gives logits (N, C) for a batch of what transform makes of an RGB picture.
    classes: names of its C outputs; without them the EMD scores are NaN.
    """

    name: str
    network: nn.Module
    transform: Callable[[Image.Image], Tensor]
    classes: tuple[str, ...] = ()


def rank_sources(
    folder: str | Path,
    networks: Sequence[str | OwnNetwork],
    *,
    words: str = "",
    synonyms: Mapping[str, str] | None = None,
    by: str = "log_me",
    trained: bool = True,
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Score networks on pictures; the best source for a fine-tuning on them comes first.

    folder: has a folder of pictures for each class, at least two, called as the class.
    networks: names of torchvision's classifiers, such as resnet18, whose best weights are
        downloaded once, or networks of your own.
    words: vectors for the names of classes, see ``load_vectors``; without any the EMD scores are
        NaN. synonyms: of names, see ``class_vectors``; root: where vectors are looked for.
    by: the score that decides the order. trained: with False no weights are downloaded.
    Returns a row a network: network, every score, images, outputs, and which of the folder's
    classes and how many outputs have no word, so that the EMD scores leave them out.
    Raises ValueError for a name that is not there, for fewer than two classes and for a network
    whose classes are not as many as its outputs, FileNotFoundError for a folder without classes.
    """
    from torchvision import datasets  # here: importing it takes a second

    if by not in SCORES:
        raise ValueError(f"by must be one of {tuple(SCORES)}, not {by!r}")
    vectors = load_vectors(words, root) if words else None
    rows = []
    for model in [
        _published(each, trained) if isinstance(each, str) else each for each in networks
    ]:
        pictures = datasets.ImageFolder(str(Path(folder).expanduser()), transform=model.transform)
        if len(pictures.classes) < 2:
            raise ValueError(f"{folder} has one class; a ranking needs two")
        features, logits = _described(model, pictures)
        outputs = model.classes or ("",) * logits.shape[1]
        if len(outputs) != logits.shape[1]:
            told = f"{logits.shape[1]} outputs and {len(outputs)} names of classes"
            raise ValueError(f"{model.name} has {told}")
        named = [np.full((len(side), 1), np.nan) for side in (outputs, pictures.classes)]
        if vectors is not None and model.classes:
            found = [
                class_vectors(side, vectors, synonyms, complete=False)
                for side in (outputs, pictures.classes)
            ]
            named = [each.vectors for each in found]
        missing = [np.isnan(each).any(1) for each in named]
        scores = all_scores(
            logits.softmax(1).numpy(), features.numpy(), np.array(pictures.targets), cdist(*named)
        )
        pairs = zip(pictures.classes, missing[1], strict=True)
        rows.append(
            {"network": model.name, **scores, "images": len(pictures), "outputs": len(outputs)}
            | {"classes without a word": ", ".join(name for name, lacks in pairs if lacks)}
            | {"outputs without a word": int(missing[0].sum())}
        )
    return pd.DataFrame(rows).sort_values(by, ascending=SCORES[by] < 0, ignore_index=True)


def _published(name: str, trained: bool) -> OwnNetwork:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name}, but {known}")
    weights = models.get_model_weights(name)["DEFAULT"]
    with seeded(0):  # of a network without training
        network = torchvision_network(name) if trained else models.get_model(name)
    return OwnNetwork(name, network, weights.transforms(), tuple(weights.meta["categories"]))


@torch.no_grad()
def _described(model: OwnNetwork, pictures: torch.utils.data.Dataset) -> tuple[Tensor, Tensor]:
    """(N, D) of what goes into the last layer, a map's averaged over its pixels, (N, C) logits."""
    device = torch.device(available_devices()[0])
    network = model.network.to(device).eval()
    last = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    features: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float().cpu()
        features.append(values.flatten(2).mean(2) if values.ndim == 4 else values)

    handle = last.register_forward_pre_hook(keep)
    loader = torch.utils.data.DataLoader(pictures, batch_size=EVALUATION_BATCH)
    logits = [network(x.to(device)).float().cpu() for x, _ in progress(loader, desc=model.name)]
    handle.remove()
    return torch.cat(features), torch.cat(logits)
