"""``make bench``: how much faster than a plain loop, both measured in one run on this machine.

Prints ours, the reference, their ratio and the target, and writes reports/bench/<device>.csv.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable

import click
import pandas as pd
import torch

from lib.data.images import load_images
from lib.files import reports_root, write_atomically
from lib.methods import dip
from lib.models.encoder_decoder import Architecture, EncoderDecoder
from lib.provenance import describe_device, provenance

ARCHITECTURE = Architecture(4, (0,))
NETWORK = {"width": 32, "skip_width": 4, "upsampling": "nearest"}
PHOTOS = "photos:astronaut,camera,chelsea,coffee"


def plain_dip(noisy: torch.Tensor, clean: torch.Tensor, iterations: int) -> list[list[float]]:
    """What a reader of the paper would write: an image at a time, a number printed each step."""
    curves = []
    for seed, (target, truth) in enumerate(zip(noisy, clean, strict=True)):
        torch.manual_seed(seed)
        net = EncoderDecoder(ARCHITECTURE, 32, len(target), **NETWORK).to(target.device)
        z = torch.rand(1, 32, *target.shape[1:], device=target.device) * 0.1
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        curve = []
        for _ in range(iterations):
            optimiser.zero_grad()
            output = net(z)
            loss = torch.nn.functional.mse_loss(output, target[None])
            loss.backward()
            optimiser.step()
            curve.append(((output[0] - truth) ** 2).mean().sqrt().item())
        curves.append(curve)
    return curves


def our_dip(noisy: torch.Tensor, clean: torch.Tensor, iterations: int) -> dip.DipFit:
    settings = dip.DipSettings(iterations=iterations, fixed=iterations, window=10, patience=20)
    seeds = range(len(noisy))
    return dip.fit(ARCHITECTURE, noisy, clean, seeds=seeds, settings=settings, **NETWORK)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(name: str, ours: Callable, reference: Callable, work: int, unit: str, target: float):
    """Alternate the two, so that both meet the same disturbances; medians of the repeats."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours(), reference()
    pairs = [(seconds(ours, device), seconds(reference, device)) for _ in range(5)]
    mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "what": name,
        "unit": unit,
        "ours": work / mine,
        "reference": work / theirs,
        "ratio": theirs / mine,
        "target": target,
        "device": describe_device(device),
        "commit": provenance()["commit"],
    }


@click.command()
@click.option("--iterations", default=40, show_default=True, help="Of each fit that is timed.")
def main(iterations: int) -> None:
    """Print and store the ratios."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, images = load_images(PHOTOS, size=64, channels=3)
    clean = images.to(device).float() / 255
    noisy = clean + torch.randn_like(clean) * 25 / 255
    row = compare(
        "Deep Image Prior, 4 images of 64 px",
        lambda: our_dip(noisy, clean, iterations),
        lambda: plain_dip(noisy, clean, iterations),
        len(clean) * iterations,
        "image iterations/s",
        5.0 if device.type == "cuda" else 1.3,
    )
    table = pd.DataFrame([row])
    name = re.sub(r"[^a-z0-9]+", "_", row["device"].lower()).strip("_")
    path = reports_root() / "bench" / f"{name}.csv"
    write_atomically(path, table.to_csv(index=False, float_format="%.4g"))
    print(table.drop(columns=["device", "commit"]).to_string(index=False, float_format="%.3g"))
    print(f"on {row['device']}; written to {path}")


if __name__ == "__main__":
    main()
