"""One progress bar for everything, which steps aside where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable, **options: Any) -> Iterable:
    """``items`` with a bar where somebody watches, or ``items`` untouched.

    Somebody watches a terminal, and a notebook that is open in JupyterLab; a bar in an executed
    notebook or a log file is noise. TQDM_DISABLE turns it off. A Jupyter server names its session
    to the kernel of an open notebook; papermill and nbval name none, and the processes that a
    kernel starts inherit the name, but are no kernels.
    """
    if os.environ.get("TQDM_DISABLE"):  # now; tqdm itself looks only when it is imported
        return items
    if sys.stderr.isatty():
        return tqdm(items, disable=False, **options)
    if "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules:
        # standard error would be red there; what is left of a finished bar would be saved
        return tqdm(items, disable=False, file=sys.stdout, leave=False, **options)
    return items
