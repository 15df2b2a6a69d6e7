"""Whoever clones the repository redraws a medium run from its records, without any data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.engine.files import REPOSITORY

RECORDS = sorted((REPOSITORY / "reports" / "medium").glob("*/records.jsonl"))

# figures that need nothing but records
FROM_RECORDS = {
    "01": {"five_tasks", "table_2", "forgetting", "figures_5_8", "figure_10", "pruned"},
    "02": {"scatter", "eta_squared", "correlation", "iterations"},
    "03": {"scores", "agreement", "curves", "regret"},
    "04": {"landmark_curves", "similarity", "probes", "beyond_shared"},
    "05": {"curves", "simplex", "spectra", "targets", "table_1"},
}


def test_there_are_records():
    assert "02_dip_architecture_study" in {path.parent.name for path in RECORDS}


@pytest.mark.parametrize("records", RECORDS, ids=lambda path: path.parent.name[:2])
def test_a_medium_run_is_redrawn_from_its_records(records: Path, tmp_path: Path):
    """Every cell runs; nothing is trained; what records hold is drawn, the rest is explained."""
    folder = tmp_path / "reports" / "medium" / records.parent.name
    folder.mkdir(parents=True)
    shutil.copy(records, folder)
    empty = tmp_path / "no data sets"
    empty.mkdir()
    roots = {"REPORTS_ROOT": str(tmp_path / "reports"), "DATA_ROOT": str(empty)}
    done = subprocess.run(
        [
            sys.executable,
            "papermill_runs.py",
            records.parent.name,
            *("--profile", "medium", "-p", "engine", "stored"),
        ],
        cwd=REPOSITORY,
        env=os.environ | roots,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((folder / "executed.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    committed = {path.stem for path in (records.parent / "figures").glob("*.png")}
    assert FROM_RECORDS[records.parent.name[:2]] <= drawn
    explained = json.dumps(outputs)
    for name in committed - drawn:  # it needs images or trials that are not here
        assert name in explained or "From the committed run" in explained, name
    assert (folder / "claims.csv").is_file()
    assert (folder / "records.jsonl").read_bytes() == records.read_bytes()
    assert not list((folder / "trials").glob("*.json"))
