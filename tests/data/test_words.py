"""Sums of word vectors by hand, files that are damaged, the real lists of classes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from gensim import downloader
from gensim.models import KeyedVectors

from lib.data.catalogue import folder_of
from lib.data.drawn.scenes import CATEGORIES, COLOURS, GROUNDS
from lib.data.words import (
    DIGIT_WORDS,
    LISTS,
    VOCABULARIES,
    class_names,
    class_vectors,
    load_synonyms,
    load_vectors,
    split_words,
    vocabulary_overlap,
)

TINY = {"cat": (1, 0), "wild": (0, 2), "fish": (3, 4), "water": (0.5, -1), "seven": (7, 8)}
GLOVE = "glove.6B.50d.nouns3768.txt"
AGAIN = "from lib.data.words import load_vectors as l; print(l('scenes').vectors.tobytes().hex())"


def keyed(table=TINY) -> KeyedVectors:
    vectors = KeyedVectors(2)
    vectors.add_vectors(list(table), np.array(list(table.values()), np.float32))
    return vectors


def write(tmp_path, name: str, content: str | bytes) -> str:
    (tmp_path / "words").mkdir(exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "words" / name).write_bytes(data)
    return name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wild_cat", ("wild", "cat")),
        ("bonsai-101", ("bonsai",)),
        ("carpenter's kit", ("carpenter", "kit")),
        ("jack-o'-lantern", ("jack", "o", "lantern")),
        ("Shih-Tzu", ("shih", "tzu")),
        ("ak47", ("ak47",)),
        ("7", ("seven",)),
        ("0", ("zero",)),
        ("77", ()),
        ("SeaLion", ("sea", "lion")),
        ("MacGillivray's Warbler", ("macgillivray", "warbler")),
        ("", ()),
    ],
)
def test_words_of_a_name(name, expected):
    assert split_words(name) == expected


def test_sums_by_hand():
    found = class_vectors(("cat", "wild_cat", "Cats", "7"), keyed(), {})
    assert found.vectors.dtype == np.float64
    np.testing.assert_array_equal(found.vectors, [(1, 0), (1, 2), (1, 0), (7, 8)])
    assert found.words == (("cat",), ("wild", "cat"), ("cat",), ("seven",))
    assert (found.word_coverage, found.class_coverage) == (1, 1)


def test_replacements_by_hand():
    synonyms = {"tench": "fish", "water ouzel": "wild cat", "ouzel": "fish", "carp": "water fish"}
    names = ("tench", "water ouzel", "Wild Carp", "water xyzzy", "fish tench", "carps")
    found = class_vectors(names, keyed(), synonyms)
    np.testing.assert_array_equal(
        found.vectors, [(3, 4), (1, 2), (3.5, 5), (0.5, -1), (3, 4), (3.5, 3)]
    )
    assert list(map(" ".join, found.words)) == [
        "fish",
        "wild cat",  # the whole name before its word
        "wild water fish",
        "water",
        "fish",
        "water fish",
    ]
    assert found.word_coverage == 4 / 10
    assert found.class_coverage == 4 / 6


def test_known_words_are_never_replaced():
    found = class_vectors(("wild cat", "cat"), keyed(), {"wild cat": "fish", "cat": "fish"})
    np.testing.assert_array_equal(found.vectors, [(1, 2), (1, 0)])


def test_a_plural_that_has_a_vector_is_not_made_singular():
    found = class_vectors(("cats",), keyed({**TINY, "cats": (9, 9)}), {})
    np.testing.assert_array_equal(found.vectors, [(9, 9)])


def test_classes_without_any_word_are_named():
    names = ("cat", *(f"x{letter}" for letter in "abcdefg"))
    with pytest.raises(ValueError, match=r"7 of 8 classes .*'xa', .*'xe', \.\.\.") as caught:
        class_vectors(names, keyed(), {"xa": "unheard"})
    assert "synonyms.csv" in str(caught.value) and "xf" not in str(caught.value)
    with pytest.raises(ValueError, match=r"1 of 1 classes .*'77'"):
        class_vectors(("77",), keyed(), {})
    with pytest.raises(ValueError, match="no names"):
        class_vectors((), keyed(), {})


def test_synonyms_are_used_unless_others_are_given():
    assert class_vectors(("tench",), keyed()).words == (("fish",),)
    table = load_synonyms()
    assert all(key == " ".join(split_words(key)) and value for key, value in table.items())
    background = class_vectors(("BACKGROUND_Google",), keyed({"background": (1, 2)}))
    assert background.words == (("background",),)
    assert load_synonyms()["background google"] == "background"


def test_overlap():
    a = ("bonsai", "Leopards", "wild_cat", "dog", "7", "77", "glass")
    b = ("bonsai-101", "leopards-101", "wild cats", "cat", "seven", "101", "glasses", "Bonsai")
    assert vocabulary_overlap(a, b) == [
        ("bonsai", "bonsai-101"),
        ("bonsai", "Bonsai"),
        ("Leopards", "leopards-101"),
        ("wild_cat", "wild cats"),
        ("7", "seven"),
        ("glass", "glasses"),
    ]


def test_vectors_of_the_scenes_know_kinds_of_words():
    vectors = load_vectors("scenes")
    colours = [word for word in COLOURS if word in vectors]
    kinds = (CATEGORIES["A"], DIGIT_WORDS, GROUNDS)
    assert all(word in vectors for kind in kinds for word in kind) and len(colours) >= 8
    assert len(class_vectors([*map(str, range(10)), *CATEGORIES["A"]], vectors, {}).names) == 20
    for kind in kinds:
        own = mean_distance(vectors, kind, kind)
        assert all(own < mean_distance(vectors, kind, each) for each in kinds if each != kind)


def mean_distance(vectors, first, second) -> float:
    """Euclidean, as the score has it."""
    pairs = [(a, b) for a in first for b in second if a != b]
    return np.mean([np.linalg.norm(vectors[a] - vectors[b]) for a, b in pairs])


def test_vectors_of_the_scenes_are_the_same_in_another_process():
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", AGAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_vectors("scenes").vectors.tobytes().hex()


def test_each_format_is_read(tmp_path):
    binary = keyed()
    kinds = {"a.txt": {"write_header": False}, "a.vec": {}, "a.bin": {"binary": True}}
    for name, options in (kinds | {"a.bin.gz": {"binary": True}}).items():
        path = tmp_path / "words" / name
        path.parent.mkdir(exist_ok=True)
        binary.save_word2vec_format(str(path), **options)
        for source, root in ((name, tmp_path), (str(path), None)):
            read = load_vectors(source, root)
            assert read.key_to_index.keys() == TINY.keys()
            np.testing.assert_array_equal(read["fish"], (3, 4))


def test_a_name_of_gensims_is_passed_on(monkeypatch):
    monkeypatch.setattr(downloader, "load", lambda name: f"vectors {name}")
    assert load_vectors("gensim:glove-wiki-gigaword-50") == "vectors glove-wiki-gigaword-50"


def test_a_missing_file_says_where_and_how(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_vectors("wiki.vec", tmp_path)
    for part in (str(tmp_path / "words" / "wiki.vec"), "glove", "gensim:", "DATA_ROOT", '"scenes"'):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.txt", "cat 1 2\ndog 1\n"),
        ("long.txt", "cat 1 2\ndog 1 2 3\n"),
        ("nan.txt", "cat 1 2\ndog nan 1\n"),
        ("letters.txt", "cat 1 2\ndog one 1\n"),
        ("empty.txt", ""),
        ("few.vec", "3 2\ncat 1 2\ndog 3 4\n"),
        ("headless.vec", "cat 1 2\ndog 3 4\n"),
        ("short.vec", "2 2\ncat 1 2\ndog 3\n"),
        ("cut.bin", b"2 2\ncat " + np.ones(2, np.float32).tobytes() + b"\ndog "),
        ("nan.bin", b"1 2\ncat " + np.full(2, np.nan, np.float32).tobytes() + b"\n"),
        ("no.bin.gz", b"not gzip"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    with pytest.raises(ValueError, match=r"damaged") as caught:
        load_vectors(write(tmp_path, name, content), tmp_path)
    assert str(tmp_path / "words" / name) in str(caught.value)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"words\.zip: .*\.bin"):
        load_vectors("words.zip", tmp_path)


def test_class_names_without_files(tmp_path):
    assert class_names("cifar10", tmp_path)[1] == "automobile"
    names = class_names("imagenet", tmp_path)
    assert (len(names), names[0], names[-1]) == (1000, "tench", "toilet tissue")


def test_lists_that_are_missing_damaged_or_unknown(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"categories_places365\.txt"):
        class_names("places365", tmp_path)
    write(tmp_path, "categories_places365.txt", "/a/airfield 0\n/a/alley 1\n")
    with pytest.raises(ValueError, match=r"places365.txt has 2 names .* not 365"):
        class_names("places365", tmp_path)
    with pytest.raises(ValueError, match=r"vocabulary must be one of .*'mnist'"):
        class_names("mnist", tmp_path)


@pytest.mark.real_data
def test_real_lists():
    names = {vocabulary: real_names(vocabulary) for vocabulary in VOCABULARIES}
    assert all(len(names[key]) == count for key, (_, _, count) in LISTS.items())
    assert names["places365"][:2] == ("airfield", "airplane cabin")
    birds = names["inat_birds"]
    assert (birds[0], birds[254], birds[-1]) == ("Cassin's Finch", "Northern Harrier", "background")
    insects = names["inat_insects"]
    assert (insects[0], insects[-1]) == ("Tomentose Burying Beetle", "background")
    assert insects.count("Siproeta stelenes biplagiata") == 1  # it has no English name
    assert not any(mark in name for name in birds + insects for mark in "()")


@pytest.mark.real_data
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_table_covers_every_real_class(vocabulary):
    if not (folder_of("words") / GLOVE).is_file():
        pytest.skip(f"no {GLOVE}")
    vectors = load_vectors(GLOVE)
    found = class_vectors(real_names(vocabulary), vectors)
    assert found.vectors.shape == (len(found.names), 50)
    assert all(word in vectors for each in found.words for word in each)
    assert 0.3 < found.word_coverage < 1 and 0.5 < found.class_coverage < 1
    assert (np.linalg.norm(found.vectors, axis=1) > 1).all()


def real_names(vocabulary: str) -> tuple[str, ...]:
    try:
        return class_names(vocabulary)
    except FileNotFoundError as error:
        pytest.skip(str(error))
