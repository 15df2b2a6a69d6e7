"""Make ``glove.6B.50d.nouns3768.txt``, the vectors of common nouns, from ``glove.6B.50d.txt``.

    python data/scripts/reduce_glove.py glove.6B.50d.txt words/glove.6B.50d.nouns3768.txt

The first file is in glove.6B.zip of nlp.stanford.edu/projects/glove. The words are those of
``data/splits/glove_nouns.txt``, in that order. Numbers are rounded to four decimals, a half up,
and written without zeros at the end.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

WORDS = Path(__file__).parents[1] / "splits" / "glove_nouns.txt"
DIMENSIONS = 50


def rounded(number: str) -> str:
    """A decimal number to four decimals, the nearest one and of two the higher: -0.37985, -0.3798.

    The number is the computer's, so that -0.57615, which is a little below, becomes -0.5762.
    """
    value = math.floor(float(number) * 10_000 + 0.5) / 10_000
    return repr(value).removesuffix(".0")


def reduce_vectors(source: Path, words: list[str]) -> str:
    """The lines of the words, in their order.

    Raises ValueError, naming the file, for a line without 50 numbers and a word that it has not.
    """
    wanted, lines = set(words), {}
    with source.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            word, *numbers = line.rstrip("\n").split(" ")
            if word not in wanted:
                continue
            if len(numbers) != DIMENSIONS:
                raise ValueError(f"{source}: {word} has {len(numbers)} numbers, not {DIMENSIONS}")
            lines[word] = " ".join([word, *map(rounded, numbers)]) + "\n"
    missing = [word for word in words if word not in lines]
    if missing:
        raise ValueError(f"{source} lacks {len(missing):,} words, such as {missing[0]}")
    return "".join(lines[word] for word in words)


def main(source: Path, target: Path) -> None:
    """Write the reduced file of a whole one."""
    words = WORDS.read_text(encoding="utf-8").splitlines()[1:]  # without the remark
    target.write_text(reduce_vectors(source, words), encoding="utf-8", newline="\n")
    print(f"{target}: {len(words):,} words")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
