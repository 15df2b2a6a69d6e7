"""One progress bar for everything, which steps aside where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable, **options: Any) -> Iterable:
    """``items`` with a bar on a terminal and in an open notebook, unless TQDM_DISABLE is set.

    A Jupyter server names its session to the kernel of an open notebook; papermill and nbval name
    none, and the processes that a kernel starts inherit the name, but are no kernels.
    """
    notebook = "JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules
    notebook = notebook and not sys.stderr.isatty()
    # standard error would be red there; what is left of a finished bar would be saved
    where: dict[str, Any] = {"file": sys.stdout, "leave": False} if notebook else {}
    off = os.environ.get("TQDM_DISABLE") or not (notebook or sys.stderr.isatty())
    return tqdm(items, disable=bool(off), **where, **options)
