"""The shape of the house: which room may know which, and how large it may be."""

from __future__ import annotations

import pytest
from house import ROOT, SHARED, STUDIES, files, imports_of, notebook_imports, room, with_table

MODULES = [module for module in files() if module.count(".") > 1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-9]*.ipynb"))


def test_every_file_is_in_a_room():
    assert {room(module) for module in MODULES} == {*STUDIES, *SHARED}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_imports_no_other_study(study):
    own = [module for module in MODULES if room(module) == study]
    others = set(STUDIES) - {study}
    assert not {module for module in imports_of(own) if room(module) in others}


@pytest.mark.parametrize("shared", SHARED)
def test_a_shared_room_imports_no_study(shared):
    own = [module for module in MODULES if room(module) == shared]
    assert not {module for module in imports_of(own) if room(module) in STUDIES}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_a_notebook_opens_its_own_folder_and_at_most_six_shared_files(path):
    opened = notebook_imports(path)
    assert len({room(module) for module in opened} & set(STUDIES)) == 1
    assert len([module for module in opened if room(module) in SHARED]) <= 6


def test_it_stays_small():
    lengths = {name: len(path.read_text().splitlines()) for name, path in files().items()}
    assert len(lengths) <= 80
    assert sum(lengths.values()) <= 15_700
    assert max(lengths.values()) <= 420


def test_no_two_modules_import_each_other():
    """A circle would make the order of imports matter."""
    left = {module: imports_of([module], at_once=True) for module in MODULES}
    while leaves := [module for module, needs in left.items() if not needs & set(left)]:
        for module in leaves:
            del left[module]
    assert not left


def test_the_table_in_contributing_is_what_the_imports_say():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text == with_table(text), "run: python tests/house.py"
