"""What a result was made with: commit, versions, device. Kept with every record."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.engine.files import REPOSITORY

if TYPE_CHECKING:  # the page of all results needs no torch
    import torch

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "pandas")


@cache
def provenance() -> dict[str, Any]:
    """Commit, whether the code differed from it, and the versions of what computes.

    Where git does not know this folder as the top of a repository of its own, the commit is
    "unknown" and ``dirty`` None.
    """
    ours = Path(_git("rev-parse", "--show-toplevel") or "/") == REPOSITORY
    return {
        "commit": (ours and _git("rev-parse", "--short=12", "HEAD")) or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", "lib")) if ours else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


@cache
def code_fingerprint() -> str:
    """A hash of the modules of ``lib`` that this process runs, to compare machines by."""
    digest = hashlib.sha256()
    for path in sorted((REPOSITORY / "lib").rglob("*.py")):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def describe_device(device: torch.device) -> str:
    """``CPU (AMD EPYC ..., 1 threads)`` or the name of the GPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{device.type} ({_cpu_name()})"
    return f"CPU ({_cpu_name()}, {torch.get_num_threads()} threads)"


@cache
def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return (*names, platform.processor() or platform.machine())[0]


def _git(*arguments: str) -> str:
    """What git says; empty without git, and outside of a repository."""
    # in these a hook of git names another repository
    places = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
    env = {name: value for name, value in os.environ.items() if name not in places}
    call = partial(subprocess.run, capture_output=True, check=True, text=True, timeout=20)
    try:
        return call(["git", *arguments], cwd=REPOSITORY, env=env).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
