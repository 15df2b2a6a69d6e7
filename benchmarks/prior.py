"""Where an iteration of the Deep Image Prior spends its time, and how near its limit is.

``python benchmarks/prior.py --threads 1`` wants idle cores. It times an iteration of four images of
64 px in several arrangements side by side, splits the time of the one that ``fit`` uses by kind of
operation, and compares the convolutions' GFLOP/s with those of a matrix product on this machine.
Writes reports/bench/prior_<device>.csv.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial

import click
import pandas as pd
import torch
from dip import ARCHITECTURE, LAYERS
from timing import file_name, seconds
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lib.dip.network import EncoderDecoder
from lib.dip.prior import INPUT_CHANNELS, INPUT_SCALE, DipSettings, Tracker
from lib.engine.files import reports_root, write_atomically
from lib.engine.provenance import describe_device

IMAGES, SIDE, CHANNELS = 4, 64, 3
ROUNDS, ITERATIONS = 7, 10  # of each arrangement, taken in turns
GEMM = 1024  # rows and columns of the matrices
CPU = torch.device("cpu")
LAST, PLAIN = torch.channels_last, torch.contiguous_format
KINDS = {  # beginnings of profiler names -> what the reader knows them as; the first that fits
    "aten::mkldnn_convolution": "convolutions",
    "aten::convolution_backward": "convolutions",
    "aten::_slow_conv2d": "convolutions",
    "aten::thnn_conv2d": "convolutions",
    "aten::native_batch_norm": "batch norm",
    "aten::upsample": "up-sampling",
    "aten::reflection_pad": "padding",
    "aten::leaky_relu": "leaky ReLU",
    "aten::cat": "joining",
    "aten::_fused_adam": "Adam",
}


def arrangement(
    problems: int, layout: torch.memory_format, tracked: bool = False
) -> Callable[[], None]:
    """One iteration of all images: as so many networks in one, one such network after the other."""
    targets = torch.rand(IMAGES // problems, 1, problems * CHANNELS, SIDE, SIDE)
    clean = torch.rand(IMAGES, CHANNELS, SIDE, SIDE)
    tracker = Tracker(clean, DipSettings(iterations=10_000, window=10))
    parts = []
    for target in targets:
        net = EncoderDecoder(ARCHITECTURE, INPUT_CHANNELS, CHANNELS, LAYERS, problems=problems)
        z = torch.rand(1, problems * INPUT_CHANNELS, SIDE, SIDE) * INPUT_SCALE
        adam = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
        parts.append(
            (net.to(memory_format=layout), z.contiguous(memory_format=layout), adam, target)
        )

    def iterate() -> None:
        for net, z, adam, target in parts:
            adam.zero_grad(set_to_none=True)
            output = net(z)
            (output - target).square().mean((1, 2, 3)).sum().backward()
            adam.step()
            if tracked:
                with torch.no_grad():
                    tracker.add(output.view(clean.shape), torch.ones(IMAGES))

    return iterate


ARRANGEMENTS = {
    "plain loop: a network an image": arrangement(1, PLAIN),
    "a network an image, channels last": arrangement(1, LAST),
    "one grouped network": arrangement(IMAGES, PLAIN),
    "one grouped network, channels last": arrangement(IMAGES, LAST),
    "the same with all that is measured, as fit": arrangement(IMAGES, LAST, tracked=True),
}


def repeat(iterate: Callable[[], None]) -> None:
    for _ in range(ITERATIONS):
        iterate()


def timed() -> pd.DataFrame:
    """Median milliseconds an iteration of all images, the arrangements in turns."""
    times: dict[str, list[float]] = {name: [] for name in ARRANGEMENTS}
    for turn in range(ROUNDS + 1):
        for name, iterate in ARRANGEMENTS.items():
            taken = seconds(partial(repeat, iterate), CPU)
            if turn:  # the first one warms up
                times[name].append(1000 * taken / ITERATIONS)
    medians = [statistics.median(values) for values in times.values()]
    table = pd.DataFrame({"what": list(times), "ms": medians})
    return table.assign(ratio=medians[0] / table["ms"])


def split(iterate: Callable[[], None]) -> pd.DataFrame:
    """Share of an iteration's time by kind of operation."""
    iterate()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        repeat(iterate)
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        kinds = (kind for start, kind in KINDS.items() if event.key.startswith(start))
        spent[next(kinds, "all else")] += event.self_cpu_time_total
    rows = [(kind, micro / 1000 / ITERATIONS) for kind, micro in spent.most_common()]
    table = pd.DataFrame(rows, columns=["what", "ms"])
    return table.assign(share=table["ms"] / table["ms"].sum())


def speeds(iterate: Callable[[], None], milliseconds: float) -> pd.DataFrame:
    """GFLOP/s of the convolutions, which take so long in an iteration, and of a matrix product."""
    with FlopCounterMode(display=False) as counter:
        iterate()
    matrix = torch.rand(GEMM, GEMM)
    fastest = min(seconds(lambda: matrix @ matrix, CPU) for _ in range(10))
    rows = [
        ("convolutions", counter.get_total_flops() / milliseconds / 1e6),
        (f"matrix product, {GEMM} x {GEMM}", 2 * GEMM**3 / fastest / 1e9),
    ]
    return pd.DataFrame(rows, columns=["what", "GFLOP/s"])


@click.command()
@click.option("--threads", default=1, show_default=True, help="Of this process.")
def main(threads: int) -> None:
    """Print and store what was measured."""
    torch.set_num_threads(threads)
    times = timed()
    used = list(ARRANGEMENTS.values())[-1]
    shares = split(used)
    convolutions = shares.loc[shares["what"] == "convolutions", "ms"].sum()
    parts = {
        "an iteration of four images": times,
        "where the time of fit goes": shares,
        "speed reached": speeds(used, convolutions),
    }
    for title, table in parts.items():
        print(f"{title}, {threads} threads\n{table.to_string(index=False, float_format='%.3g')}\n")
    limit = times["ms"][0] / convolutions
    print(f"with nothing but its convolutions fit would reach {limit:.2f}x")
    stored = pd.concat(table.assign(part=title, threads=threads) for title, table in parts.items())
    name = f"prior_{file_name(describe_device(CPU))}.csv"
    write_atomically(
        reports_root() / "bench" / name, stored.to_csv(index=False, float_format="%.4g")
    )


if __name__ == "__main__":
    main()
