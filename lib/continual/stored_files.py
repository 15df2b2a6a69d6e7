"""Notebook 01: what the paper-size networks take as files, written and measured."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save
from torch import nn

from lib.continual.audit import audit
from lib.continual.generator import Generator
from lib.continual.mask_files import save_task
from lib.continual.masks import MaskedNetwork
from lib.continual.sizes import CLASSES
from lib.continual.unet import UNet

# Table 2's columns: the finding with its size, and the pieces that are stored for five tasks
_STORED = {
    "scratch": ("size-scratch", {"network": 5}),
    "fine-tune": ("size-fine-tune", {"network": 1}),
    "decoder": ("size-decoders", {"network": 1, "decoder": 4}),
    "piggyback": ("size-piggyback", {"network": 1, "mask": 4}),
    "resblock": ("size-resblock-cyclegan", {"auto-encoder": 1, "blocks": 5}),
}


def piece_files(width: int = 64) -> dict[str, float]:
    """MiB of one file of each piece with every tensor in it: norms, biases, last layers."""
    unet, generator = UNet(3, CLASSES[1], width=width), Generator(width=width)
    decoder = nn.ModuleDict({"decoder": unet.decoder, "last": unet.last})
    pieces = {
        "network": unet,
        "decoder": decoder,
        "auto-encoder": nn.ModuleList((generator.encoder, generator.decoder)),
        "blocks": generator.add_task("any"),
    }
    found = {name: len(save(dict(part.state_dict()))) / 2**20 for name, part in pieces.items()}
    return found | {"mask": _mask_file(unet)}


def _mask_file(unet: UNet) -> float:
    """With masks of half zeros, the hardest to make smaller, and the largest of the last layers."""
    masked = MaskedNetwork(unet, {"last": unet.new_last(CLASSES[2])}, norm="statistics")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for mask in masked.masks().values():
            mask.real.copy_(torch.randint(2, mask.real.shape, generator=rng))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "task.safetensors")
        save_task(path, masked.task())
        return path.stat().st_size / 2**20


def stored_sizes(width: int = 64) -> pd.DataFrame:
    """MiB for five tasks by method: the paper's, from counted weights, and of real files."""
    findings, files = audit(), piece_files(width)
    rows = [
        {
            "method": method,
            "paper": findings.loc[finding, "paper"],
            "counted": findings.loc[finding, "ours"],
            "files": sum(count * files[piece] for piece, count in pieces.items()),
        }
        for method, (finding, pieces) in _STORED.items()
    ]
    return pd.DataFrame(rows)
