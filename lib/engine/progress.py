"""One progress bar for everything, which steps aside where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable, **options: Any) -> Iterable:
    """``items`` with a bar where somebody watches.

    Somebody watches a terminal, and a notebook that is open in JupyterLab; a bar in an executed
    notebook or a log file is noise. TQDM_DISABLE turns it off. A Jupyter server names its session
    to the kernel of an open notebook; papermill and nbval name none, and the processes that a
    kernel starts inherit the name, but are no kernels.
    """
    notebook = "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules
    notebook = notebook and not sys.stderr.isatty()
    # standard error would be red there; what is left of a finished bar would be saved
    where: dict[str, Any] = {"file": sys.stdout, "leave": False} if notebook else {}
    off = os.environ.get("TQDM_DISABLE") or not (notebook or sys.stderr.isatty())
    return tqdm(items, disable=bool(off), **where, **options)
