"""Tensors that belong to a trial (trained weights, generated images), kept beside its record.

Several trials need the same teacher; whichever comes first builds it.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from lib.data.catalogue import fingerprints
from lib.engine.files import write_atomically
from lib.engine.sweep import Context, same_data, trial_key


class NotStored(FileNotFoundError):
    """A trained network or generated images are needed of which only the record was kept."""


def artefact(
    trial: Any, context: Context, build: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of a trial, on the CPU: from its file, else built and stored there.

    Two processes that miss the file both build it: equal trials make equal files. A file that
    cannot be read or is of other data than lies here is built anew, with a warning. Raises
    NotStored where it would have to be built and ``context.stored`` forbids it.
    """
    path = context.artefacts and context.artefacts / f"{trial_key(trial)}.safetensors"
    data = fingerprints(asdict(trial), context.data_root)
    if path and path.exists():
        try:
            with safe_open(path, "pt") as file:
                made_from = json.loads((file.metadata() or {}).get("data", "{}"))
            if context.stored or same_data(made_from, data):
                return load_file(path)
            warnings.warn(f"{path} is of other data than lies here: built anew", stacklevel=2)
        except (SafetensorError, OSError) as error:
            warnings.warn(f"damaged {path} ({error}): built anew", stacklevel=2)
    if path and context.stored:
        raise NotStored(f"the tensors of this {type(trial).__name__} were not kept: {path.name}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in build().items()}
    if path:
        write_atomically(path, save(tensors, {"data": json.dumps(data)} if data else None))
    return tensors


@contextmanager
def own_checkpoint(trial: object, context: Context) -> Iterator[Path | None]:
    """The file from which the training of an artefact may resume, removed unless there is an error.

    None where nothing is stored.
    """
    path = context.artefacts and context.artefacts / f"{trial_key(trial)}.checkpoint"
    yield path
    if path:
        path.unlink(missing_ok=True)
