"""The quick run shows methods that work: the committed notebook's table says so, cell by cell."""

from __future__ import annotations

import json
import re
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_piggyback_continual.ipynb"
EXCEPT = {("resblock", 1), ("resblock", 2)}  # the paper says that it fails at segmentation


def test_every_method_beats_the_best_trivial_answer():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (cell,) = (cell for cell in cells if "gains.pivot_table" in "".join(cell["source"]))
    html = "".join(cell["outputs"][-1]["data"]["text/html"])
    rows = re.findall(r"<th>([\w-]+)</th>((?:\s*<td>(?:True|False)</td>){5})", html)
    beaten = {
        (method, task): answer == "True"
        for method, answers in rows
        for task, answer in enumerate(re.findall("True|False", answers), 1)
    }
    assert len(beaten) == 6 * 5
    assert [key for key, better in beaten.items() if not better and key not in EXCEPT] == []
