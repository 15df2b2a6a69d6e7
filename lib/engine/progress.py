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
    notebook or a log file is noise. TQDM_DISABLE (which ``tqdm.notebook`` ignores) turns it off.
    """
    if os.environ.get("TQDM_DISABLE"):
        return items
    if sys.stderr.isatty():
        return tqdm(items, disable=False, **options)
    if _is_open_notebook():
        # standard error would be red there; what is left of a finished bar would be saved
        return tqdm(items, disable=False, file=sys.stdout, leave=False, **options)
    return items


def _is_open_notebook() -> bool:
    """Whether this is the kernel of a notebook that a Jupyter server opened for a browser.

    The server names its sessions to their kernels; papermill and nbval name none. The processes
    that a kernel starts inherit the name, but are no kernels.
    """
    return "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules
