"""The one supervised training loop: any model, any ``loss(model, batch)``."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.engine.files import write_atomically
from lib.engine.progress import progress

CHECK_EVERY = 50  # steps between looks at the loss: each look makes the GPU wait


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Callable[[int], Any],
    *,
    steps: int,
    lr: float,
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimiser_options: dict | None = None,
    schedule: Callable[[float], float] | None = None,
    clip: float | None = None,
    amp: bool = True,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1000,
    observe: Callable[[int], None] | None = None,
    label: str = "training",
) -> list[float]:
    """Take ``steps`` optimiser steps in place; return the loss of every step.

    batches: step -> batch, decided by the step alone, so that a resumed run sees the same data.
    schedule: factor on ``lr`` as a function of the fraction of steps done, e.g. ``one_cycle``.
    clip: largest norm of the gradient.
    amp: bfloat16 autocast; acts on a GPU only.
    checkpoint: file to resume from if it is there; saved every ``checkpoint_every`` steps.
    observe: called after every step with the number of steps done; may put the model into
        evaluation mode.
    Raises Diverged, naming the step, when the loss is not finite.
    """
    device = next(model.parameters()).device
    cuda = device.type == "cuda"
    optim = optimiser(model.parameters(), lr=lr, **(optimiser_options or {"fused": True}))
    losses = torch.zeros(steps, device=device)
    first = _resume(checkpoint, model, optim, losses)
    model.train()
    for step in progress(range(first, steps), desc=label, initial=first, total=steps):
        if schedule:
            for parameters in optim.param_groups:
                parameters["lr"] = lr * schedule(step / steps)
        optim.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp and cuda):
            value = loss(model, batches(step))
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optim.step()
        losses[step] = value.detach()
        done = step + 1
        if done % CHECK_EVERY == 0 or done == steps:
            _refuse_divergence(losses, done)
        if observe:
            observe(done)
            model.train()
        if checkpoint and done % checkpoint_every == 0 and done < steps:
            _save(checkpoint, model, optim, losses, done)
    return losses.tolist()


def one_cycle(fraction: float, warm_up: float = 0.1) -> float:
    """Linear rise to 1 over the first tenth, then linear fall to 0."""
    return min(fraction / warm_up + 1e-3, (1 - fraction) / (1 - warm_up))


def _refuse_divergence(losses: Tensor, done: int) -> None:
    finite = losses[max(0, done - CHECK_EVERY) : done].isfinite()
    if not finite.all():
        step = max(0, done - CHECK_EVERY) + int((~finite).nonzero()[0])
        raise Diverged(f"the loss is {losses[step].item()} at step {step}")


def _save(
    path: Path, model: nn.Module, optim: torch.optim.Optimizer, losses: Tensor, done: int
) -> None:
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optim": optim.state_dict()}
    torch.save({**state, "losses": losses, "done": done}, buffer)
    write_atomically(path, buffer.getvalue())


def _resume(
    path: Path | None, model: nn.Module, optim: torch.optim.Optimizer, losses: Tensor
) -> int:
    if path is None or not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=losses.device, weights_only=True)
        model.load_state_dict(state["model"])
        optim.load_state_dict(state["optim"])
        losses[: len(state["losses"])] = state["losses"]
        return state["done"]
    except Exception as error:
        raise ValueError(f"checkpoint {path} cannot be used ({error}); delete it") from error
