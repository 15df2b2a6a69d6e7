"""The reduced word vectors: two published lines, and a whole file made of the reduced one."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lib.engine.files import REPOSITORY, data_root

SCRIPT = REPOSITORY / "data" / "scripts" / "reduce_glove.py"
WORDS = (REPOSITORY / "data/splits/glove_nouns.txt").read_text(encoding="utf-8").split("\n")[1:-1]
FILE = "glove.6B.50d.nouns3768.txt"


def command(*arguments: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ("0.11008", "0.1101"),  # these ten are numbers of dog and cat
        ("-0.38781", "-0.3878"),
        ("-0.57615", "-0.5762"),
        ("-0.37985", "-0.3798"),
        ("0.27685", "0.2769"),
        ("-0.78325", "-0.7832"),
        ("0.60885", "0.6089"),
        ("0.0038977", "0.0039"),
        ("0.772", "0.772"),
        ("-1.1979", "-1.1979"),
        ("-0.00003", "0"),
        ("-1.00002", "-1"),
        ("0.00012", "0.0001"),
    ],
)
def test_numbers_are_rounded_to_four_decimals(published, expected):
    assert runpy.run_path(str(SCRIPT))["rounded"](published) == expected


def test_words_come_in_the_order_of_the_list_and_others_are_left_out(tmp_path):
    numbers = " ".join(["0.12345"] * 49)
    lines = [f"{word} {place / 7:.5f} {numbers}\n" for place, word in enumerate(WORDS)]
    shuffled = [f"the {numbers} 1\n", *lines, f"zyx {numbers} 1\n"]
    random.Random(0).shuffle(shuffled)
    (tmp_path / "whole.txt").write_text("".join(shuffled), encoding="utf-8")
    done = command(tmp_path / "whole.txt", tmp_path / "reduced.txt")
    assert done.returncode == 0, done.stderr
    reduced = (tmp_path / "reduced.txt").read_text(encoding="utf-8").split("\n")
    assert [line.split(" ")[0] for line in reduced] == [*WORDS, ""]
    assert reduced[3] == f"{WORDS[3]} 0.4286" + " 0.1235" * 49


def test_a_word_that_is_missing_and_a_cut_line_are_named(tmp_path):
    (tmp_path / "whole.txt").write_text(f"{WORDS[0]}{' 0.1' * 50}\n", encoding="utf-8")
    done = command(tmp_path / "whole.txt", tmp_path / "reduced.txt")
    assert done.returncode == 1 and f"lacks 3,767 words, such as {WORDS[1]}" in done.stderr
    (tmp_path / "whole.txt").write_text(f"{WORDS[0]}{' 0.1' * 49}\n", encoding="utf-8")
    done = command(tmp_path / "whole.txt", tmp_path / "reduced.txt")
    assert done.returncode == 1 and f"{WORDS[0]} has 49 numbers, not 50" in done.stderr
    assert not (tmp_path / "reduced.txt").exists()


@pytest.mark.real_data
def test_the_file_in_use_is_reproduced_byte_for_byte(tmp_path):
    """From a whole file whose numbers lie within the rounding of those in use."""
    path = data_root() / "words" / FILE
    if not path.is_file():
        pytest.skip(f"no {path}")
    rng, lines = random.Random(0), []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *numbers = line.split(" ")
        moved = (f"{float(number) + rng.uniform(-4e-5, 4e-5):.6f}" for number in numbers)
        lines.append(" ".join([word, *moved]) + "\n")
    lines += [f"{rng.random()}{' 0.5' * 50}\n" for _ in range(100)]
    rng.shuffle(lines)
    (tmp_path / "whole.txt").write_text("".join(lines), encoding="utf-8")
    done = command(tmp_path / "whole.txt", tmp_path / "reduced.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reduced.txt").read_bytes() == path.read_bytes()
