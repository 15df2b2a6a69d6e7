"""Tensors that belong to a trial (trained weights, generated images), kept beside its record.

Several trials need the same teacher; whichever comes first builds it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lib.engine.files import write_atomically
from lib.engine.sweep import Context, trial_key


def artefact(
    trial: object, context: Context, build: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of a trial, on the CPU: from its file, else built and kept.

    Two processes that miss the file both build it; equal trials make equal files, so either may
    win. Nothing is kept where ``context.artefacts`` is None. A file that cannot be read is built
    anew, with a warning. Raises NotStored where it would have to be built and
    ``context.stored`` forbids it.
    """
    if context.artefacts is None:
        return _plain(build())
    path = context.artefacts / f"{trial_key(trial)}.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError:
        pass
    except (SafetensorError, OSError) as error:
        warnings.warn(f"damaged {path} ({error}): built anew", stacklevel=2)
    if context.stored:
        raise NotStored(f"the tensors of this {type(trial).__name__} were not kept: {path.name}")
    tensors = _plain(build())
    write_atomically(path, save(tensors))
    return tensors


class NotStored(FileNotFoundError):
    """A trained network or generated images are needed of which only the record was kept."""


@contextmanager
def own_checkpoint(trial: object, context: Context) -> Iterator[Path | None]:
    """Where the training of an artefact may resume from: its own file, not that of the trial that
    happens to need it; removed at the end, unless that is an error. None where nothing is kept.
    """
    path = context.artefacts and context.artefacts / f"{trial_key(trial)}.checkpoint"
    yield path
    if path:
        path.unlink(missing_ok=True)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
