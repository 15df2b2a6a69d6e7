"""Released weights: one base network, a mask for each further task, residual blocks, and a card.

A folder has ``base.safetensors`` (task 1's U-Net in float16), ``T2.safetensors`` to
``T5.safetensors`` (see ``save_task``), ``blocks.safetensors`` (the auto-encoder with the residual
blocks of two tasks, float16), and ``README.md``, the model card: facts in YAML between two lines
``---``, with the SHA-256 of every file, and then the same facts for people.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from safetensors.torch import load, save
from torch import Tensor, nn

from lib.continual.analysis import MAIN
from lib.continual.masks import MaskedTask, TaskSwitcher, fingerprint, load_task, save_task
from lib.continual.methods import generator_of, mask_task, unet_base
from lib.continual.networks import Generator, UNet
from lib.continual.tasks import Segmentation, evaluate, optimised, stream_task
from lib.continual.trials import TASKS, ContinualStudy, Stream, planned
from lib.data.catalogue import DATASETS
from lib.engine.files import committed_reports, write_atomically
from lib.engine.provenance import provenance
from lib.engine.sweep import Context

# of the committed medium run
RELEASED = committed_reports() / "medium" / "01_piggyback_continual" / "weights"
BLOCKS = (3, 4)  # tasks whose residual blocks are released
CARD, BASE, GENERATOR = "README.md", "base.safetensors", "blocks.safetensors"
WHAT = "A U-Net with four masks, and an auto-encoder with residual blocks of two tasks"
REQUIRED = ("what", "licence", "limits", "commit", "width", "size", "norm", "tasks", "files")


@dataclass(frozen=True)
class Release:
    """The card's facts, task 1's network, the tasks "T2" to "T5", and the auto-encoder with the
    residual blocks "t3" and "t4"; on the CPU.
    """

    card: dict[str, Any]
    base: UNet
    tasks: dict[str, MaskedTask]
    blocks: Generator

    def switcher(self) -> TaskSwitcher:
        """One network that can be turned into any of the tasks; see ``TaskSwitcher``."""
        return TaskSwitcher(self.base, self.tasks)


def write_release(
    folder: Path, sizes: ContinualStudy, table: pd.DataFrame, context: Context
) -> dict[str, Any]:
    """Write the networks of seed 0 with their card, and return the card's facts.

    table: ``analysis.table_2``, as the card has the mean over all seeds besides the score of the
    very weights that are released. Raises NotStored where the run's networks were not kept.
    """
    trials = {number: planned(sizes, "piggyback", number, 0) for number in TASKS}
    base = rounded(unet_base(trials[2], context))
    tasks = {
        f"T{number}": replace(mask_task(trial, context), base=fingerprint(base))
        for number, trial in trials.items()
        if number > 1
    }
    blocks = [planned(sizes, "resblock", number, 0) for number in BLOCKS]
    generator = rounded(generator_of(blocks, replace(context, device=torch.device("cpu"))))
    for name, network in ((BASE, base), (GENERATOR, generator)):
        write_atomically(folder / name, save(_halves(network)))
    for name, task in tasks.items():
        save_task(folder / f"{name}.safetensors", task)
    switcher = TaskSwitcher(base.to(context.device), tasks)
    means = table[(table.method == "piggyback") & (table.metric == table.task.map(MAIN))]
    card = {
        "what": WHAT,
        "licence": _licence(sizes.stream),
        "limits": _limits(sizes.stream, context),
        "commit": provenance()["commit"],
        "width": sizes.stream.width,
        "size": sizes.stream.size,
        "norm": generator.norm,
        "tasks": {
            f"T{row.task}": _task_card(sizes.stream, row, switcher, context)
            for row in means.itertuples()
        },
        "files": {path.name: _sha256(path) for path in sorted(folder.glob("*.safetensors"))},
    }
    write_atomically(folder / CARD, _card_text(card))
    return card


def load_release(folder: Path) -> Release:
    """Read a folder of released weights.

    Raises FileNotFoundError, and ValueError, with the file's name, for a card that is cut and for a
    file that is not the one that the card names.
    """
    card = _read_card(folder / CARD)
    for name, wanted in card["files"].items():
        if _sha256(folder / name) != wanted:
            raise ValueError(f"{folder / name} is damaged or not the file that {CARD} names")
    channels = {name: facts["channels"] for name, facts in card["tasks"].items()}
    base = UNet(3, channels["T1"], width=card["width"])
    blocks = Generator(width=card["width"], norm=card["norm"])
    for number in BLOCKS:
        blocks.add_task(f"t{number}")
    for name, network in ((BASE, base), (GENERATOR, blocks)):
        try:
            _filled(network, load((folder / name).read_bytes()))
        except RuntimeError as error:
            raise ValueError(f"{folder / name} is of another network: {error}") from error
    tasks = {
        name: load_task(folder / f"{name}.safetensors", base) for name in channels if name != "T1"
    }
    return Release(card, base, tasks, blocks)


def rounded(network: nn.Module) -> Any:
    """The network with the values that float16 leaves, in float32 and evaluation mode."""
    return _filled(network, _halves(network))


def _halves(network: nn.Module) -> dict[str, Tensor]:
    """Weights in float16. Statistics and counters stay: a large variance would be infinite."""
    state = {name: values.cpu().contiguous() for name, values in network.state_dict().items()}
    small = (n for n, x in state.items() if x.is_floating_point() and "running" not in n)
    return state | {name: state[name].half() for name in small}


def _filled(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    network.load_state_dict(state)  # which copies float16 into float32
    return network.eval().requires_grad_(False)


def _licence(stream: Stream) -> str:
    """The weights have no licence of their own; the data's are named."""
    used = dict.fromkeys(re.split("[@:]", name)[0] for name in stream.scenes + stream.styles)
    known = [f"{name}: {DATASETS[name].licence}" for name in used if name in DATASETS]
    return "; ".join(["for research and teaching, as the data they are learned from", *known])


def _limits(stream: Stream, context: Context) -> str:
    counts = [len(stream_task(stream, number, context).train.images) for number in (1, 2)]
    return (
        f"a demonstration of the method: learned from {counts[0]} and {counts[1]} pictures of"
        f" {stream.size} px by a network of {stream.width} channels; classes, colours and the"
        " scale of the styles are those of these pictures"
    )


def _task_card(
    stream: Stream, row: Any, switcher: TaskSwitcher, context: Context
) -> dict[str, Any]:
    """What a task is, and how well it is done: by these weights, over seeds, trivially."""
    task = stream_task(stream, row.task, context)
    network = switcher.use(f"T{row.task}" if row.task > 1 else None)
    found = evaluate(task, network, optimised=optimised(stream, row.task, context))
    score, mean, low, high, trivial = (
        round(float(x), 3) for x in (found[row.metric], row.mean, row.low, row.high, row.trivial)
    )
    return {
        "data": stream.scenes[1 if row.task == 2 else 0],
        "classes": list(task.train.classes) if isinstance(task, Segmentation) else [],
        "style": stream.styles[row.task - 4] if row.task > 3 else "",
        "channels": task.channels,
        "metric": row.metric,
        "released": score,
        "mean": mean,
        "interval": [low, high],
        "seeds": row.n,
        "trivial": trivial,
    }


def _card_text(card: Mapping[str, Any]) -> str:
    facts = yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=100)
    lines = [
        f"| {name} | {task['data']} | {task['metric']} | {task['released']:g} | {task['mean']:g}"
        f" [{task['interval'][0]:g}, {task['interval'][1]:g}] | {task['trivial']:g} |"
        for name, task in card["tasks"].items()
    ]
    return (
        f"---\n{facts}---\n\n# {card['what']}\n\n"
        "| task | data | metric | these weights | mean over seeds [95 %] | best trivial answer |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n\n"
        f"**Licence.** {card['licence']}\n\n**Limits.** {card['limits']}\n\n"
        "`lib.continual.release.load_release(folder)` reads this folder; notebook 01 uses it.\n"
    )


def _read_card(path: Path) -> dict[str, Any]:
    """The facts of a card; ValueError, with its name, for one that is cut or lacks some."""
    parts = path.read_text(encoding="utf-8").split("---\n")
    try:
        card = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
        lacking = [name for name in REQUIRED if name not in dict(card)]
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no model card: {error}") from error
    if lacking:
        raise ValueError(f"{path} is no whole model card: it lacks {', '.join(lacking)}")
    return card


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
