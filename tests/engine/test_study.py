"""What every notebook opens first."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from trials import grid, unlucky, work

from lib.dip.trials import EncoderDecoderStudy
from lib.engine import study as studies
from lib.engine.artefacts import NotStored, artefact
from lib.engine.study import open_study
from lib.ledger import report as reports

NOTEBOOK = "02_dip_architecture_study"
NUMBERS = pd.DataFrame({"x": [1]})


@dataclass(frozen=True)
class Kept:
    number: int


@pytest.fixture
def open_toy(tmp_path, monkeypatch):
    """Opens a study whose results, and whose committed run, lie in a folder of the test."""
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path / "reports"))
    committed = tmp_path / "committed"
    for module in (studies, reports):
        monkeypatch.setattr(module, "committed_reports", lambda: committed)
    folder = committed / "quick" / NOTEBOOK
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "faces.png").write_bytes(b"png")
    contents = {"figures": [{"name": "faces", "caption": "Twelve faces."}]}
    (folder / "contents.json").write_text(json.dumps(contents))

    def opened(**parameters):
        values = {"profile": "quick", "jobs": 1, **parameters}
        return open_study(NOTEBOOK, EncoderDecoderStudy, **values)

    return opened


@pytest.fixture
def displayed(monkeypatch):
    shown: list[tuple[bytes | None, str]] = []
    monkeypatch.setattr(reports, "_display", lambda png, text: shown.append((png, text)))
    return shown


def test_it_knows_sizes_and_place(open_toy, tmp_path):
    study = open_toy(data_root="pictures")
    assert study.sizes.max_depth == 5
    assert study.note == "quick profile"
    assert study.report.folder == tmp_path / "reports" / "quick" / NOTEBOOK
    assert study.context.artefacts == study.report.trials
    assert study.options["data_root"] == "pictures"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"profile": "huge"}, "profile must be"), ({"engine": "spark"}, "engine must be")],
)
def test_unknown_parameters_are_refused(open_toy, parameters, message):
    with pytest.raises(ValueError, match=message):
        open_toy(**parameters)


def test_it_runs_trials_and_counts_them_in_the_provenance(open_toy):
    study = open_toy()
    assert study.run(work, grid(3))["square"].tolist() == [0, 1, 4]
    study.run(unlucky, grid(5)[2:])  # one of them again
    record = study.provenance("toys")
    assert record["dataset"] == "toys"
    assert (record["trials"]["ok"], record["trials"]["failed"]) == (4, 1)
    saved = json.loads((study.report.folder / "provenance.json").read_text())
    assert saved["parameters"] == {"profile": "quick", "engine": "joblib", "jobs": 1}


def test_where_all_trials_are_needed_a_failure_is_an_error(open_toy):
    with pytest.raises(RuntimeError, match=r"1 trials failed.*odd numbers are unlucky"):
        open_toy().run(unlucky, grid(2), complete=True)


def test_stored_shows_the_committed_figure_where_something_is_missing(open_toy, displayed):
    study = open_toy(engine="stored")
    with study.or_committed("faces"):
        artefact(Kept(1), study.context, lambda: {})
    assert displayed == [(b"png", "From the committed run: Twelve faces.")]
    with study.or_committed("maps"):
        raise FileNotFoundError("celeba is not in data/")
    assert displayed[1] == (None, "Not drawn: maps. celeba is not in data/")


def test_stored_draws_what_can_be_drawn(open_toy, displayed):
    study = open_toy(engine="stored")
    with study.or_committed("faces"):
        study.report.figure(Figure(), "faces", NUMBERS, "New.")
    assert [text for _, text in displayed] in ([], ["New."])
    assert (study.report.figures / "faces.png").read_bytes() != b"png"


def test_a_medium_figure_stands_beside_its_sentence(open_toy, tmp_path, displayed):
    """In quick, in few colours and at most 900 pixels wide; the medium run has drawn it itself."""
    folder = tmp_path / "committed" / "medium" / NOTEBOOK
    (folder / "figures").mkdir(parents=True)
    wide = np.random.default_rng(0).integers(0, 256, (40, 1000, 3), np.uint8)
    Image.fromarray(wide).save(folder / "figures" / "faces.png")
    contents = {"figures": [{"name": "faces", "caption": "Twenty faces."}]}
    (folder / "contents.json").write_text(json.dumps(contents))
    open_toy().report.medium_figure("faces")
    ((png, text),) = displayed
    assert text == "The medium run: Twenty faces."
    shown = Image.open(io.BytesIO(png))
    assert shown.size == (900, 36) and len(shown.convert("RGB").getcolors()) <= 128
    open_toy(profile="medium").report.medium_figure("faces")
    open_toy().report.medium_figure("maps")
    assert len(displayed) == 1


def test_otherwise_a_missing_file_is_an_error(open_toy, displayed):
    with pytest.raises(FileNotFoundError, match="celeba"), open_toy().or_committed("faces"):
        raise FileNotFoundError("celeba is not in data/")
    assert not displayed


def test_an_artefact_is_built_but_for_stored(open_toy):
    build = {"weights": torch.ones(2)}
    stored = open_toy(engine="stored").context
    with pytest.raises(NotStored, match="this Kept were not kept"):
        artefact(Kept(1), stored, lambda: build)
    artefact(Kept(1), open_toy().context, lambda: build)
    assert artefact(Kept(1), stored, lambda: {})["weights"].tolist() == [1, 1]


def test_a_committed_figure_stays_in_the_list_of_the_run_that_shows_it(
    open_toy, tmp_path, monkeypatch, displayed
):
    """A redraw in place names its figures anew; one that it cannot draw keeps its caption."""
    monkeypatch.setenv("REPORTS_ROOT", str(tmp_path / "committed"))
    study = open_toy(engine="stored")
    study.report.figure(Figure(), "curves", NUMBERS, "Curves.")
    with study.or_committed("faces"):
        raise FileNotFoundError
    contents = json.loads((study.report.folder / "contents.json").read_text())
    names = {entry["name"]: entry["caption"] for entry in contents["figures"]}
    assert names == {"curves": "Curves.", "faces": "Twelve faces."}


def test_what_needs_every_trial_is_left_out_where_one_is_missing(open_toy, capsys):
    study = open_toy()
    assert study.whole(work, grid(2))["square"].tolist() == [0, 1]
    stored = open_toy(engine="stored")
    assert len(stored.whole(work, grid(2))) == 2
    with stored.or_committed():
        stored.whole(work, grid(3))
    assert "left out: 2 of 3 trials are stored" in capsys.readouterr().out
    with stored.or_committed():
        stored.whole(work, [])
    assert "profile has none of these trials" in capsys.readouterr().out


def test_where_nothing_is_stored_a_run_from_records_says_so(open_toy):
    with pytest.raises(FileNotFoundError, match=r"nothing is stored in .*; run without"):
        open_toy(engine="stored").run(work, grid(2))
    open_toy().run(work, grid(1))
    assert len(open_toy(engine="stored").run(work, grid(2))) == 1


def test_it_judges_the_claims_of_its_run_and_shows_those_of_the_committed_one(open_toy, tmp_path):
    study = open_toy()
    rows = study.claims().data.count("<tr")
    assert study.claims().data.count("awaits its records") == rows - 1  # no table is saved yet
    committed = tmp_path / "committed" / "medium" / NOTEBOOK
    committed.mkdir(parents=True)
    shutil.copy(study.report.folder / "claims.csv", committed)
    assert 5 <= study.headlines().data.count("<tr") - 1 <= 8 < rows
