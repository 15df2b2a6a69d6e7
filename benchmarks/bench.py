"""``make bench``: how much faster than a plain loop, both measured in one run on this machine.

Prints ours, the reference, their ratio and the target, and writes reports/bench/<device>.csv. The
target is the least ratio; in a row without reference it is the most that ours may be.
"""

from __future__ import annotations

import click
import dip
import faces
import image_weights
import pandas as pd
import piggyback
import torch
import transferability
from timing import file_name

from lib.engine.files import reports_root, write_atomically
from lib.engine.provenance import describe_device


@click.command()
@click.option("--iterations", default=40, show_default=True, help="Of each fit that is timed.")
@click.option(
    "--steps", help="Of each synthesis that is timed.  [default: 5; 100 on a GPU]", type=int
)
def main(iterations: int, steps: int | None) -> None:
    """Print and store the ratios."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = steps or (100 if device.type == "cuda" else 5)
    rows, failed = [], []
    for measure in (
        lambda: dip.fits(device, iterations),
        lambda: image_weights.synthesis(device, steps),
        lambda: image_weights.epoch(device),
        lambda: piggyback.step(device),
        lambda: piggyback.switch(device),
        lambda: piggyback.file(device),
        transferability.emd,
        transferability.scores,
        lambda: faces.epoch(device),
    ):
        try:
            rows.append(measure())
        except Exception as error:  # the other rows are worth having
            failed.append(f"{type(error).__name__}: {error}")
    table = pd.DataFrame(rows)
    device_name = describe_device(device)
    path = reports_root() / "bench" / f"{file_name(device_name)}.csv"
    write_atomically(path, table.to_csv(index=False, float_format="%.4g"))
    shown = table.drop(columns=["note", "device", "commit"])
    print(shown.to_string(index=False, float_format="%.3g", na_rep="none"))
    for row in rows:
        if row["note"]:
            print(f"{row['what']}: {row['note']}")
    print(f"on {device_name}; written to {path}")
    if failed:
        raise click.ClickException("\n".join(failed))


if __name__ == "__main__":
    main()
