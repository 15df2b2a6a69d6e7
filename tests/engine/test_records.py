"""``records.jsonl``: what was computed once is there for good, and nothing is lost on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from faults import ENVIRONMENT, python
from trials import Toy, grid, unlucky, work

from lib.engine.sweep import Store, read_packed, run, trial_key


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    return tmp_path / "trials"


@pytest.fixture
def packed(trials: Path) -> Path:
    """Four records that lie in ``records.jsonl`` only."""
    run(work, grid(4), trials, jobs=1)
    Store(trials).pack()
    for path in trials.glob("*.json"):
        path.unlink()
    return trials.with_name("records.jsonl")


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text().splitlines()]


def test_a_packed_record_is_the_record_and_its_trial_is_not_run_again(trials, capsys):
    before = run(work, grid(4), trials, jobs=1)
    assert Store(trials).pack() == 4
    path = trials.with_name("records.jsonl")
    assert keys(path) == sorted(map(trial_key, grid(4)))
    for file in trials.glob("*.json"):
        file.unlink()
    after = run(work, grid(4), trials, jobs=1)
    pd.testing.assert_frame_equal(before, after)
    assert "4 stored, 0 to do" in capsys.readouterr().out


def test_floats_keep_all_digits(trials):
    run(lambda trial, context: {"third": trial.number / 3}, [Toy(1)], trials, jobs=1)
    Store(trials).pack()
    (record,) = read_packed(trials.with_name("records.jsonl"))[0].values()
    assert record["metrics"]["third"] == 1 / 3


def test_equal_records_pack_to_equal_bytes_and_new_ones_are_added(trials, packed):
    before, changed = packed.read_bytes(), packed.stat().st_mtime_ns
    assert Store(trials).pack() == 4
    assert packed.read_bytes() == before
    assert packed.stat().st_mtime_ns == changed  # not even written
    run(work, grid(6), trials, jobs=1)
    assert Store(trials).pack() == 6
    assert set(before.splitlines()) < set(packed.read_bytes().splitlines())


def test_failures_are_not_packed_and_do_not_hide_a_packed_success(trials, packed):
    failed = {"status": "error", "trial": {}, "metrics": {}, "error": "late"}
    path = Store(trials).path(Toy(1))
    path.write_text(json.dumps(failed))
    assert Store(trials).is_done(Toy(1))
    assert Store(trials).pack() == 4
    run(unlucky, [Toy(7)], trials, jobs=1)
    assert Store(trials).pack() == 4
    assert not Store(trials).is_done(Toy(7))


def test_a_damaged_line_is_named_once_kept_and_its_trial_runs_again(trials, packed, capsys):
    lines = packed.read_text().splitlines()
    lines[1] = lines[1][:40]
    packed.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="line 2 of .*records.jsonl") as warned:
        table = run(work, grid(4), trials, jobs=1)
    assert len(warned) == 1
    assert len(table) == 4
    assert "3 stored, 1 to do" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="line 2"):
        assert Store(trials).pack() == 4
    assert packed.read_text().splitlines()[-1] == lines[1]


@pytest.mark.parametrize("line", ["[]", "{}", '{"key": "a", "status": "ok"}', "<<<<<<< HEAD"])
def test_a_line_of_another_shape_is_damaged(packed, line):
    with packed.open("a") as file:
        file.write(f"{line}\n")
    with pytest.warns(UserWarning, match="line 5 of"):
        records, damaged = read_packed(packed)
    assert len(records) == 4
    assert damaged == [line]


def test_two_runs_that_pack_at_once_lose_nothing(trials):
    run(work, grid(8), trials, jobs=1)
    code = f"from lib.engine.sweep import Store; [Store({str(trials)!r}).pack() for _ in range(20)]"
    both = [python(code) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(keys(trials.with_name("records.jsonl"))) == 8


def test_kill_nine_in_mid_pack_leaves_a_whole_file(trials):
    packed = trials.with_name("records.jsonl")
    run(work, grid(200), trials, jobs=1)
    Store(trials).pack()
    code = (
        "from pathlib import Path; from lib.engine.sweep import Store\n"
        f"folder = Path({str(trials)!r})\nprint('go', flush=True)\n"
        "while True:\n    folder.with_name('records.jsonl').unlink(missing_ok=False)\n"
        "    Store(folder).pack()\n"
    )
    for pause in (0.0, 0.01, 0.05, 0.2):
        process = python(code)
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if packed.exists():  # whole, or not there at all
            assert len(keys(packed)) == 200
        assert Store(trials).pack() == 200


def test_the_command_packs_folders_and_refuses_others(tmp_path, trials):
    run(work, grid(3), trials, jobs=1)
    command = [sys.executable, "-m", "lib.engine.sweep"]
    done = subprocess.run(
        [*command, "pack", str(tmp_path)], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 records in")
    for arguments in ((), ("pack",), ("pack", str(tmp_path / "nowhere")), ("unpack", "x")):
        refused = subprocess.run(
            [*command, *arguments], env=ENVIRONMENT, capture_output=True, text=True
        )
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr


def test_stored_runs_nothing(trials, packed, capsys):
    table = run(work, grid(9), trials, engine="stored")
    assert len(table) == 4
    assert "4 stored, 5 to do" in capsys.readouterr().out
    assert not list(trials.glob("*.json"))
