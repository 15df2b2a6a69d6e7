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

from lib.files import file_name, reports_root, write_atomically


@click.command()
@click.option("--iterations", default=40, show_default=True, help="Of each fit that is timed.")
@click.option(
    "--steps", help="Of each synthesis that is timed.  [default: 5; 100 on a GPU]", type=int
)
def main(iterations: int, steps: int | None) -> None:
    """Print and store the ratios."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [
        dip.fits(device, iterations),
        image_weights.synthesis(device, steps or (100 if device.type == "cuda" else 5)),
        image_weights.epoch(device),
        piggyback.step(device),
        piggyback.switch(device),
        piggyback.file(device),
        transferability.emd(),
        transferability.scores(),
        faces.epoch(device),
    ]
    table = pd.DataFrame(rows)
    device_name = rows[0]["device"]
    path = reports_root() / "bench" / f"{file_name(device_name)}.csv"
    write_atomically(path, table.to_csv(index=False, float_format="%.4g"))
    shown = table.drop(columns=["note", "device", "commit"])
    print(shown.to_string(index=False, float_format="%.3g", na_rep="none"))
    for row in rows:
        if row["note"]:
            print(f"{row['what']}: {row['note']}")
    print(f"on {device_name}; written to {path}")


if __name__ == "__main__":
    main()
