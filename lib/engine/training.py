"""The one supervised training loop: any model, any ``loss(model, batch)``; and its bar."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lib.engine.files import write_atomically

CHECK_EVERY = 50  # steps between looks at the loss: each look makes the GPU wait


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


def progress(items: Iterable, **options: Any) -> Iterable:
    """``items`` with a bar on a terminal and in an open notebook, unless TQDM_DISABLE is set.

    A Jupyter server names its session to a kernel, papermill and nbval do not. The processes that
    a kernel starts inherit the name, but are no kernels.
    """
    terminal = sys.stderr.isatty()
    notebook = "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules and not terminal
    if notebook:  # standard error would be red; what is left of a finished bar would be saved
        options |= {"file": sys.stdout, "leave": False}
    off = os.environ.get("TQDM_DISABLE") or not (notebook or terminal)
    return tqdm(items, disable=bool(off), **options)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, draws on the CPU start from the seed; afterwards the generator is where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
        yield


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Callable[[int], Any],
    *,
    steps: int,
    lr: float,
    groups: list[dict[str, Any]] | None = None,
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimiser_options: dict | None = None,
    schedule: Callable[[float], float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1000,
    beside: Any = None,
    observe: Callable[[int], None] | None = None,
    label: str = "training",
) -> list[float]:
    """Take ``steps`` optimiser steps in place, with bfloat16 autocast on a GPU.

    batches: step -> batch, decided by the step alone, so that a resumed run sees the same data.
    groups: parameters and their own ``lr``, as ``torch.optim`` takes them; default: the model's.
    schedule: factor on every rate as a function of the fraction of steps taken, e.g. ``one_cycle``.
    checkpoint: file to resume from if it is there; saved every ``checkpoint_every`` steps.
    beside: what has a state besides the model, such as a discriminator; the checkpoint has it too.
    observe: called after every step with the number of steps taken; may call ``model.eval()``.
    Returns the loss of every step. Raises Diverged, naming the step, when it is not finite, and
    ValueError for a checkpoint of another run or a damaged one.
    """
    if steps < 1:
        raise ValueError(f"a training takes at least one step, not {steps}")
    device = next(model.parameters()).device
    optim = optimiser(groups or model.parameters(), lr=lr, **(optimiser_options or {"fused": True}))
    rates = [group["lr"] for group in optim.param_groups]
    losses = torch.zeros(steps, device=device)
    parts = {"model": model, "optim": optim, **({"beside": beside} if beside else {})}
    first = _resume(checkpoint, parts, losses)
    model.train()
    for step in progress(range(first, steps), desc=label, initial=first, total=steps):
        if schedule:
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step / steps)
        optim.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss(model, batches(step))
        value.backward()
        optim.step()
        losses[step] = value.detach()
        taken = step + 1
        if taken % CHECK_EVERY == 0 or taken == steps:
            finite = losses[:taken].isfinite()
            if not finite.all():
                wrong = int((~finite).nonzero()[0])
                raise Diverged(f"the loss is {losses[wrong].item()} at step {wrong}")
        if observe:
            observe(taken)
            model.train()
        if checkpoint and taken % checkpoint_every == 0 and taken < steps:
            buffer = io.BytesIO()
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "losses": losses, "done": taken}, buffer)
            write_atomically(checkpoint, buffer.getvalue())
    return losses.tolist()


def one_cycle(fraction: float) -> float:
    """Linear rise to 1 over the first tenth, then linear fall to 0."""
    return min(fraction / 0.1 + 1e-3, (1 - fraction) / (1 - 0.1))


def _resume(path: Path | None, parts: Mapping[str, Any], losses: Tensor) -> int:
    """Load a checkpoint, if there is one; returns the number of steps that were taken."""
    if path is None or not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=losses.device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        losses[: len(state["losses"])] = state["losses"]
        return state["done"]
    except Exception as error:
        raise ValueError(f"checkpoint {path} cannot be used ({error}); delete it") from error
