"""Saves what a notebook shows: figures, tables, claims and provenance."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image as Picture

from lib.engine.files import committed_reports, reports_root, write_atomically
from lib.engine.provenance import provenance

if TYPE_CHECKING:  # a notebook chooses its backend before matplotlib is needed here
    from matplotlib.figure import Figure

FILE_DPI = 150  # of the saved picture; the notebook's is the style's, which is smaller
COLOURS = 128  # of a notebook's picture: a third of the bytes, and photographs still look right
# files without a date or a version in them: equal data gives equal bytes
NO_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


class Report:
    """The folder ``reports/<profile>/<notebook>``; nothing is created before something is saved.

    Raises ValueError for a name that is not of ``a-z0-9_``, OSError, naming the path, where a file
    cannot be written.
    """

    def __init__(self, notebook: str, profile: str) -> None:
        self.notebook, self.profile = _checked(notebook), profile
        self.folder = reports_root() / profile / notebook
        self.figures = self.folder / "figures"
        self.tables = self.folder / "tables"
        self.trials = self.folder / "trials"
        committed = committed_reports() / profile / notebook / "contents.json"
        self._committed = _captions(committed)  # read now: a run there writes its own
        self._contents: dict[str, dict[str, str]] = {}  # kind -> name -> caption, as shown

    def figure(self, fig: Figure, name: str, data: pd.DataFrame, caption: str) -> None:
        """Show a figure, save it (png, pdf) with its numbers (csv), and close it."""
        from matplotlib.pyplot import close

        path = self.figures / _checked(name)
        write_atomically(path.with_suffix(".png"), _render(fig, "png", dpi=FILE_DPI))
        fig.set_layout_engine("none")  # it is laid out now; to do so again takes half of the time
        write_atomically(path.with_suffix(".pdf"), _render(fig, "pdf"))
        write_atomically(path.with_suffix(".csv"), csv_text(data))
        self._remember("figures", name, caption)
        if "IPython" in sys.modules:
            _display(_small(_render(fig, "png")), caption)
        close(fig)  # or the notebook would show it a second time

    def table(self, df: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """Save a table with 6 significant digits and return it for display."""
        path = self.tables / f"{_checked(name)}.csv"
        write_atomically(path, csv_text(df, "%.6g"))
        self._remember("tables", name, caption)
        return df

    def provenance(
        self, *, parameters: dict, dataset: str, trials: pd.DataFrame | None
    ) -> dict[str, Any]:
        """Save and return what the results were made with; trials: the table of ``sweep.run``."""
        record = {
            "notebook": self.notebook,
            "profile": self.profile,
            "dataset": dataset,
            "parameters": parameters,
            "trials": None if trials is None else _count(trials),
            **provenance(),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        text = json.dumps(record, indent=1, default=str, ensure_ascii=False, allow_nan=False)
        write_atomically(self.folder / "provenance.json", text + "\n")
        return record

    def _remember(self, kind: str, name: str, caption: str) -> None:
        """Note the captions of this run in order; a name that is saved again stays in its place."""
        self._contents.setdefault(kind, {})[name] = caption
        contents = {
            kind: [{"name": name, "caption": caption} for name, caption in captions.items()]
            for kind, captions in self._contents.items()
        }
        text = json.dumps(contents, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.folder / "contents.json", text)

    def show_committed(self, name: str, why: str) -> None:
        """Show a figure of the committed run in place of one that cannot be drawn here.

        Without such a figure only the reason why is shown. A run in its place lists it as well.
        """
        figures = committed_reports() / self.profile / self.notebook / "figures"
        picture = figures / f"{_checked(name)}.png"
        if not picture.exists():
            return _display(None, f"Not drawn: {name}. {why}")
        caption = self._committed.get(name, "")
        if figures == self.figures:
            self._remember("figures", name, caption)
        _display(picture.read_bytes(), f"From the committed run: {caption}")

    def medium_figure(self, name: str) -> None:
        """Show a figure of the committed medium run beside the sentences about it.

        Nothing is shown in that run itself, which has drawn it already, and without a notebook.
        """
        folder = committed_reports() / "medium" / self.notebook
        picture = folder / "figures" / f"{_checked(name)}.png"
        if self.profile != "medium" and picture.exists():
            caption = _captions(folder / "contents.json").get(name, "")
            _display(_small(picture.read_bytes(), 900), f"The medium run: {caption}")


def csv_text(df: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV; its index is left out if it only counts the rows."""
    counts = isinstance(df.index, pd.RangeIndex) and df.index.name is None
    return df.to_csv(index=not counts, lineterminator="\n", float_format=float_format)


def _captions(path: Path) -> dict[str, str]:
    """Name -> caption of the figures in a ``contents.json``; empty if it cannot be read."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8")).get("figures", [])
        return {entry["name"]: entry["caption"] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _count(trials: pd.DataFrame) -> dict[str, Any]:
    trials = trials.reindex(columns=["status", "seconds", "device", "commit"])  # none: no columns
    ok = int((trials["status"] == "ok").sum())
    return {
        "ok": ok,
        "failed": len(trials) - ok,
        "seconds": round(float(trials["seconds"].sum()), 1),
        "devices": sorted(trials["device"].unique()),
        "commits": sorted(trials["commit"].unique()),
    }


def _checked(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"a name consists of a-z, 0-9 and _, unlike {name!r}")
    return name


def _render(fig: Figure, kind: str, dpi: float | str = "figure") -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, metadata=NO_METADATA[kind], dpi=dpi)
    return buffer.getvalue()


def _small(png: bytes, width: int = 0) -> bytes:
    """A picture in few colours and, with a width, of at most so many pixels across."""
    picture, buffer = Picture.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    if width and picture.width > width:
        picture.thumbnail((width, picture.height))
    picture.quantize(COLOURS, dither=Picture.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _display(png: bytes | None, caption: str) -> None:
    """Show a picture, if there is one, and its caption where there is a notebook."""
    from IPython import get_ipython
    from IPython.display import Image, Markdown, display

    if get_ipython():
        display(*([Image(png, alt=caption)] if png else []), Markdown(caption))
