"""Where things are, and how a file is written so that nobody ever sees half of it.

Every file from outside is read inside ``naming``, so that whatever is wrong with it is told with
its path.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[2]


def reports_root() -> Path:
    """Folder for figures, tables and records: $REPORTS_ROOT, else ``reports/`` here."""
    return Path(os.environ.get("REPORTS_ROOT") or committed_reports()).expanduser()


def committed_reports() -> Path:
    """The reports under version control, which a run elsewhere ($REPORTS_ROOT) leaves alone."""
    return REPOSITORY / "reports"


def data_root(given: str | Path | None = None) -> Path:
    """Folder of the datasets: the one given, else $DATA_ROOT, else ``data/`` here; ~ is home."""
    return Path(given or os.environ.get("DATA_ROOT") or REPOSITORY / "data").expanduser()


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Inside, whatever a damaged file raises becomes one ValueError that names its path.

    what: what the file should be, such as "image". FileNotFoundError passes: it names its path.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders raise nearly every kind, MemoryError among them
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        kind = "" if isinstance(error, ValueError | OSError) else f" ({type(error).__name__})"
        raise ValueError(f"{path} is not a readable {what}: {error}{kind}") from error


def read_text(path: Path, what: str = "text") -> str:
    """The text of a file from outside, in UTF-8 or UTF-16, without its byte order mark.

    Raises FileNotFoundError, and ValueError, naming the path, for another encoding.
    """
    with naming(path, what):
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")


def read_table(path: Path) -> pd.DataFrame:
    """The cells of a CSV file from outside, as text; they are parted by commas or semicolons.

    Raises FileNotFoundError, and ValueError, naming the path, for what is no table.
    """
    import pandas as pd  # here: the command that runs notebooks does without it

    text = read_text(path, "table")
    head = text.partition("\n")[0]
    mark = ";" if head.count(";") > head.count(",") else ","
    with naming(path, "table"):
        cells = pd.read_csv(
            io.StringIO(text),
            sep=mark,
            header=None,
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
        )
    return cells[1:].set_axis(cells.loc[0].rename(None), axis=1).reset_index(drop=True)


def say_anything() -> None:
    """Print "?" for a letter of a path that the terminal lacks, instead of ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_rubbish(name: str) -> bool:
    """Whether systems and editors leave a file or folder of this name beside a data set's own."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, then rename it.

    A full disk, a read-only folder or a kill leaves an earlier ``path`` as it was. Raises
    OSError with the path in its message.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # it is in its place, or there is no folder for it
            temporary.unlink()
