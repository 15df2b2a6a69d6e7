"""Ranking networks for pictures of one's own, without any fine-tuning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from lib.data.images import list_images, open_picture
from lib.data.words import class_vectors, load_vectors
from lib.engine.files import is_rubbish
from lib.engine.sweep import chosen_device
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
    device: str = "auto",
) -> pd.DataFrame:
    """Score networks on pictures; the best source for a fine-tuning on them comes first.

    folder: has a folder of pictures for each class, at least two, called as the class. Pictures
        are taken as viewers show them; what systems leave there is no class and no picture.
    networks: names of torchvision's classifiers, such as resnet18, whose best weights are
        downloaded once, or networks of your own.
    words: vectors for the names of classes, see ``load_vectors``; without any the EMD scores are
        NaN. synonyms: of names, see ``class_vectors``; root: where vectors are looked for.
    by: the score that decides the order. trained: with False no weights are downloaded.
    device: auto (the first GPU, else the CPU), cpu, cuda:0 or mps; networks are moved to it.
    Returns a row a network: network, every score, images, outputs, and which of the folder's
    classes and how many outputs have no word, so that the EMD scores leave them out.
    Raises ValueError for a name that is not there, one class alone, a damaged picture and a network
    with other classes than outputs, FileNotFoundError for no class and a class without pictures.
    """
    if not networks:
        raise ValueError("no network is given")
    if by not in SCORES:
        raise ValueError(f"by must be one of {tuple(SCORES)}, not {by!r}")
    where = chosen_device(device)
    folder = Path(folder).expanduser().resolve()
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    paths = {path.name: list_images(str(path)) for path in inside if not is_rubbish(path.name)}
    if len(paths) < 2:
        told = f"{folder} has {'one class' if paths else 'no folder of a class'}"
        raise (ValueError if paths else FileNotFoundError)(f"{told}; a ranking needs two")
    classes, pictures = tuple(paths), [path for part in paths.values() for path in part]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in paths.values()])
    vectors = load_vectors(words, root) if words else None
    rows = []
    for model in [_published(n, trained) if isinstance(n, str) else n for n in networks]:
        features, logits = _described(model, pictures, where)
        outputs = model.classes or ("",) * logits.shape[1]
        if len(outputs) != logits.shape[1]:
            told = f"{logits.shape[1]} outputs and {len(outputs)} names of classes"
            raise ValueError(f"{model.name} has {told}")
        named = [np.full((len(side), 1), np.nan) for side in (outputs, classes)]
        if vectors is not None and model.classes:
            found = [
                class_vectors(n, vectors, synonyms, complete=False) for n in (outputs, classes)
            ]
            named = [side.vectors for side in found]
        lacking = [np.isnan(side).any(1) for side in named]
        scores = all_scores(logits.softmax(1).numpy(), features.numpy(), labels, cdist(*named))
        rows.append(
            {"network": model.name, **scores, "images": len(pictures), "outputs": len(outputs)}
            | {"classes without a word": ", ".join(np.array(classes)[lacking[1]])}
            | {"outputs without a word": int(lacking[0].sum())}
        )
    return pd.DataFrame(rows).sort_values(by, ascending=SCORES[by] < 0, ignore_index=True)


def _published(name: str, trained: bool) -> OwnNetwork:
    from torchvision import models  # here: importing it takes a second

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name}, but {known}")
    weights = models.get_model_weights(name)["DEFAULT"]
    with seeded(0):  # of a network without training
        network = torchvision_network(name) if trained else models.get_model(name)
    return OwnNetwork(name, network, weights.transforms(), tuple(weights.meta["categories"]))


@torch.no_grad()
def _described(
    model: OwnNetwork, pictures: Sequence[Path], device: torch.device
) -> tuple[Tensor, Tensor]:
    """(N, D) of what goes into the last layer, a map's averaged over its pixels, (N, C) logits."""
    network = model.network.to(device).eval()
    layers = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ValueError(f"{model.name} has no linear layer and no convolution")
    features: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float().cpu()
        features.append(values.flatten(2).mean(2) if values.ndim == 4 else values)

    logits = []
    with layers[-1].register_forward_pre_hook(keep):
        for start in progress(range(0, len(pictures), EVALUATION_BATCH), desc=model.name):
            paths = pictures[start : start + EVALUATION_BATCH]
            images = [model.transform(open_picture(path)) for path in paths]
            if len(shapes := {tuple(image.shape) for image in images}) > 1:
                raise ValueError(f"the transform of {model.name} gives pictures of sizes {shapes}")
            output = network(torch.stack(images).to(device))
            if not isinstance(output, Tensor) or output.ndim != 2:
                told = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"{model.name} gives {told}, not logits (N, classes)")
            if not output.isfinite().all():
                raise ValueError(f"{model.name} gives NaN or infinite logits")
            logits.append(output.float().cpu())
    return torch.cat(features), torch.cat(logits)
