"""Compares two folders of reports: ``python benchmarks/compare_reports.py BEFORE AFTER``.

Claims, tables and the numbers of figures are compared cell by cell; pictures are not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

RELATIVE, ABSOLUTE = 1e-4, 1e-6  # tables have six digits
IGNORED = ("commit", "device", "seconds", "train_seconds", "ms")  # another run, the same result


def compare(before: Path, after: Path) -> Iterator[str]:
    """A line for each difference between the CSV files below two folders."""
    files = {
        root: {path.relative_to(root) for path in root.rglob("*.csv") if path.parent != root}
        for root in (before, after)
    }
    for path in sorted(files[before] - files[after]):
        yield f"{path}: missing afterwards"
    for path in sorted(files[after] - files[before]):
        yield f"{path}: new"
    for path in sorted(files[before] & files[after]):
        yield from (f"{path}: {text}" for text in _differences(before / path, after / path))


def _differences(before: Path, after: Path) -> Iterator[str]:
    old, new = (pd.read_csv(path, keep_default_na=False, dtype=str) for path in (before, after))
    if list(old.columns) != list(new.columns) or len(old) != len(new):
        yield f"{old.shape} {list(old.columns)} became {new.shape} {list(new.columns)}"
        return
    for column in (name for name in old if name not in IGNORED):
        was, became = (pd.to_numeric(table[column], errors="coerce") for table in (old, new))
        close = np.isclose(was, became, rtol=RELATIVE, atol=ABSOLUTE)
        differs = ~close & (old[column] != new[column])
        if differs.any():
            row = int(differs.to_numpy().nonzero()[0][0])
            pair = f"{old[column][row]} became {new[column][row]}"
            yield f"{column}: {differs.sum()} of {len(old)} differ, first in row {row}: {pair}"


if __name__ == "__main__":
    if len(sys.argv) != 3 or not all(Path(name).is_dir() for name in sys.argv[1:]):
        sys.exit("usage: compare_reports.py BEFORE AFTER (two folders of reports)")
    found = list(compare(*map(Path, sys.argv[1:])))
    print("\n".join(found) or "no difference")
    sys.exit(bool(found))
