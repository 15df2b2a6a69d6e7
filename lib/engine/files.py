"""Where things are, and how a file is written so that nobody ever sees half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def reports_root() -> Path:
    """Folder for figures, tables and records: $REPORTS_ROOT, else ``reports/`` here."""
    return Path(os.environ.get("REPORTS_ROOT") or committed_reports())


def committed_reports() -> Path:
    """The reports under version control, which a run elsewhere ($REPORTS_ROOT) leaves alone."""
    return REPOSITORY / "reports"


def data_root(given: str | Path | None = None) -> Path:
    """Folder of the datasets: the one given, else $DATA_ROOT, else ``data/`` here."""
    return Path(given or os.environ.get("DATA_ROOT") or REPOSITORY / "data")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, then rename it.

    A full disk, a read-only folder or a kill leaves an earlier ``path`` as it was. Raises
    OSError with the path in its message.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
