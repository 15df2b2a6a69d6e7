"""Every kind of trial on a device that is not the CPU: tensors of two devices never meet."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pretended import pretended_gpu  # noqa: F401 - a fixture
from torch import nn

from lib.dip import prior
from lib.engine.sweep import Context


def test_the_pretended_gpu_finds_a_mix_up(pretended_gpu):  # noqa: F811
    """What a GPU would refuse is refused, and what it would take is taken."""
    here, there = torch.ones(3), torch.ones(3).to(pretended_gpu)
    assert here.device.type == "cpu" and there.device.type == "cuda"
    for wrong in (
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: nn.Linear(3, 2).to(pretended_gpu)(here),
        lambda: there.mul_(here),
        lambda: torch.where(there > 0, there, here),
    ):
        with pytest.raises(RuntimeError, match="meet"):
            wrong()
    with pytest.raises(TypeError, match="no numpy"):
        there.numpy()
    assert (there * 2).device.type == "cuda" and there.cpu().device.type == "cpu"
    assert torch.zeros(2, device=pretended_gpu).device.type == "cuda"
    assert torch.zeros_like(there).device.type == "cuda"
    assert there[torch.tensor([0])].device.type == "cuda", "an index may stay on the CPU"
    assert (there * torch.tensor(2.0)).sum().item() == 6, "and a number"
    assert nn.Linear(3, 2).to(pretended_gpu)(there).device.type == "cuda"
    here.copy_(there)
    assert here.device.type == "cpu" and there.device.type == "cuda"
    linear = nn.Linear(3, 2).to(pretended_gpu)
    linear(there).sum().backward()
    torch.optim.SGD(linear.parameters(), 0.1, momentum=0.9).step()
    assert linear.weight.grad.device.type == "cuda" == linear.weight.device.type


def beside(path: str) -> ModuleType:
    """Another test module, for its tiny trials; by path, as benchmarks have files of such names."""
    file = Path(__file__).parent / path
    spec = spec_from_file_location(f"tiny_{file.parent.name}_{file.stem}", file)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image_weights_trials():
    from lib.image_weights import trials as study
    from lib.image_weights.layer import UntilReached
    from lib.image_weights.synthesis import ATTACKS, TARGETS

    tiny = beside("image_weights/test_synthesis.py")
    student = beside("image_weights/test_training.py").student
    reached = UntilReached(lr=5.0, steps=5, stop=0.3)
    driven = [tiny.synthesis(observers=(tiny.OTHER,))]
    driven += [tiny.synthesis(targets=targets) for targets in TARGETS]
    driven += [tiny.synthesis(method=method) for method in (*ATTACKS.values(), reached)]
    return [
        (study.run_classifier, tiny.TINY),
        *((study.run_synthesis, trial) for trial in driven),
        (study.run_generation, student("generated").generated),
        *((study.run_student, student(arm)) for arm in study.ARMS),
    ]


def continual_trials():
    from lib.continual.trials import KINDS, evidence

    kinds = {}  # one of each; what it starts from is learned on the way
    for function, trial in evidence(beside("continual/test_reasons.py").TINY):
        task = KINDS.get(getattr(trial, "task", 0))
        how = [getattr(trial, name, "") for name in ("method", "loss", "norms", "learned")]
        kinds.setdefault((function, task, *how), (function, trial))
    return list(kinds.values())


def dip_trials():
    tiny = beside("dip/test_trials.py")
    study = tiny.study
    trials = [(study.run_trained, tiny.tiny_trained(task=task)) for task in tiny.TASKS]
    return trials + [(study.run_dip, tiny.tiny_dip(task=task, images=2)) for task in tiny.TASKS]


def transfer_trials():
    from lib.transfer.sources import Recipe, Stage, run_source

    tiny = beside("transfer/test_trials.py")
    blank, target, scored, trials = tiny.BLANK, tiny.TARGET, tiny.TRIAL, tiny.trials
    recipe = Recipe(epochs=2, lr=0.01, decay_every=1, batch=16, momentum=0.9, frozen=False)
    staged = replace(blank, stages=(Stage(replace(target, name="things"), recipe),))
    tuned = trials.FineTuneTrial(source=staged, target=target, recipe=replace(recipe, frozen=True))
    return [
        (run_source, staged),
        (trials.run_scores, scored),
        (trials.run_scores, replace(scored, source=staged)),
        (trials.run_fine_tuning, tuned),
        (trials.run_fine_tuning, replace(tuned, recipe=recipe)),
    ]


def multitask_trials():
    from lib.multitask.trials import evidence

    return list(evidence(beside("multitask/test_trials.py").SIZES))


@pytest.mark.parametrize(
    "study",
    [continual_trials, dip_trials, transfer_trials, multitask_trials, image_weights_trials],
)
def test_every_kind_of_trial_stays_on_its_device(study, pretended_gpu, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(prior, "_captured", lambda step, device: step)  # there is no CUDA graph
    for function, trial in study():
        context = Context(pretended_gpu, artefacts=tmp_path)
        assert function(trial, context), trial
