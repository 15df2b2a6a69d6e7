"""One progress bar for everything, which steps aside where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from tqdm import tqdm


def progress(items: Iterable, **options: object) -> Iterable:
    """``items`` with a bar on standard error, or ``items`` untouched.

    Untouched when TQDM_DISABLE is set (which ``tqdm.notebook`` ignores) or standard error is not
    a terminal: a bar in an executed notebook or a log file is noise.
    """
    if os.environ.get("TQDM_DISABLE") or not sys.stderr.isatty():
        return items
    return tqdm(items, **options)
