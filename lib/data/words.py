"""Word vectors of class names, and the lists of class names that published networks have.

``scenes`` vectors need no download: Word2Vec learns them in a second from sentences such as "a red
ball beside a white house on grass" and "a white seven on black".
"""

from __future__ import annotations

import gzip
import re
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.data.catalogue import DATASETS
from lib.data.drawn.scenes import render_scenes
from lib.engine.files import data_root, naming, read_text

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# name -> file in words/, the part of a line that is the class's name, number of classes
LISTS = {
    "places365": ("categories_places365.txt", r"/\w/(\S+) \d+", 365),
    "inat_birds": ("inat_bird_labels.txt", r"(?:.*?\(|(?=background$))([^()]+).*", 965),
    # thirty of them have no English name: "Siproeta stelenes ()"
    "inat_insects": (
        "inat_insect_labels.txt",
        r"(?:.*?\((?!\))|(?=background$|[^()]+\(\)$))([^()]+).*",
        1022,
    ),
}
VOCABULARIES = ("imagenet", "cifar10", "voc2012", *LISTS)
# last letters of words that take es: buses, irises, potatoes; but houses, tortoises, canoes
_ES = "[bcglnprt]us|[brl]is|ato|ito|ero|ngo|rgo|alo|ado|ino"
# the plural ends in ves: leaves, knives; but gloves, hives
_F = "cal dwar el hal hoo lea loa scar sel shea shel thie whar wol".split()
_FE = "kni li wi".split()
_NUMBER = re.compile(r" [-+]?[\d.]*\d(e[-+]?\d+)?$")  # at the end of a word: one too many
_BINARY = (".bin", ".bin.gz")
_TEXT = (".txt", ".txt.gz", ".vec", ".vec.gz")
_SCENE_SENTENCES, _DIGIT_SENTENCES, _SENTENCE_SEED = 250, 200, 3  # scenes: of each domain


def load_vectors(source: str, root: str | Path | None = None) -> KeyedVectors:
    """A vector for each word; do not write into it.

    source: "scenes": trained on sentences about drawn scenes and digits. "gensim:NAME": gensim's
        downloader, which needs the internet. Else a file, in ``words/`` below the data root or by
        its whole path: GloVe's text without a head (*.txt), text with a head as word2vec and
        fastText write it (*.vec), word2vec's binary (*.bin), each also as *.gz. In text, words may
        hold blanks. Bytes of a word that are not UTF-8 become U+FFFD, with a warning; of equal
        words the first counts.
    Raises FileNotFoundError for a missing file, ValueError for a damaged one (each names the path)
    and for another suffix.
    """
    if source == "scenes":
        return _trained()
    if source.startswith("gensim:"):
        import gensim.downloader

        return gensim.downloader.load(source.partition(":")[2])
    path = data_root(root) / "words" / source  # a whole path stays what it is
    if not source.lower().endswith(_TEXT + _BINARY):
        raise ValueError(f"{path}: a file of vectors ends with {', '.join(_TEXT + _BINARY)}")
    if not path.is_file():
        raise FileNotFoundError(
            f"no word vectors in {path}. Get some: {DATASETS['words'].how}. Another place: "
            'DATA_ROOT. Embedded, without any download: "scenes".'
        )
    return _read(path)


def _read(path: Path) -> KeyedVectors:
    from gensim.models import KeyedVectors

    with naming(path, "file of word vectors; it is damaged or in another format"):
        if path.name.lower().endswith(_BINARY):
            vectors = KeyedVectors.load_word2vec_format(
                str(path), binary=True, unicode_errors="replace"
            )
        else:
            vectors = _read_text_vectors(path, head=".txt" not in path.name.lower())
        if not vectors.vectors.size or not np.isfinite(vectors.vectors).all():
            raise ValueError("no vectors, or some that are not finite")
    spoilt = sum("\ufffd" in word for word in vectors.index_to_key)
    if spoilt:
        warnings.warn(f"{spoilt} words of {path} are not in UTF-8", stacklevel=2)
    return vectors


def _read_text_vectors(path: Path, head: bool) -> KeyedVectors:
    """Lines of a word and its numbers. gensim's reader takes no word with a blank in it.

    head: the first line says how many words and numbers; else most lines have as many numbers.
    """
    from gensim.models import KeyedVectors

    words: dict[str, np.ndarray] = {}
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        texts = (line.decode("utf-8", "replace").strip("\r\n").rstrip(" ") for line in file)
        lines = filter(None, texts)
        start = [line.removeprefix("\ufeff") for line in islice(lines, 1000)]
        if head:
            promised, dimension = map(int, start.pop(0).split())
        else:
            dimension = Counter(line.count(" ") for line in start).most_common(1)[0][0]
        count = 0
        for line in chain(start, lines):
            count += 1
            word, *numbers = line.rsplit(" ", dimension)
            if len(numbers) != dimension or _NUMBER.search(word):
                raise ValueError(f"{line.partition(' ')[0]!r} has not {dimension} numbers")
            values = np.array([float(number) for number in numbers], np.float32)
            words.setdefault(unicodedata.normalize("NFC", word), values)
    if head and count != promised:
        raise ValueError(f"its head promises {promised:,} words, it has {count:,}")
    vectors = KeyedVectors(dimension)
    vectors.add_vectors(list(words), np.stack(list(words.values())))
    return vectors


@cache
def _trained() -> KeyedVectors:
    """Skip-gram with negative samples: words that stand among the same words come near."""
    from gensim.models import Word2Vec

    captions: list[str] = []
    for domain in "AB":
        scenes = render_scenes(_SCENE_SENTENCES, size=16, seed=_SENTENCE_SEED, domain=domain)
        captions += scenes.captions
    rng = np.random.default_rng(_SENTENCE_SEED)
    for digit in rng.integers(10, size=_DIGIT_SENTENCES):
        ink, paper = rng.permutation(["white", "black"])
        captions.append(f"a {ink} {DIGIT_WORDS[digit]} on {paper}")
    model = Word2Vec(
        [caption.split() for caption in captions],
        vector_size=32,
        min_count=1,
        sg=1,
        sample=0.01,
        epochs=30,
        seed=0,
        workers=1,  # threads would race
        hashfxn=lambda word: zlib.crc32(word.encode()),  # hash() differs between processes
    )
    return model.wv


def class_names(vocabulary: str, root: str | Path | None = None) -> tuple[str, ...]:
    """The names of a network's outputs, in their order.

    vocabulary: one of ``VOCABULARIES``. imagenet: as torchvision has them. voc2012: of pixels,
        background first. places365, inat_birds and inat_insects, the English names of 965 birds
        and of 1,022 insects (the last: background), are read from lists in ``words/`` below the
        data root.
    Raises FileNotFoundError for a missing list, ValueError for a damaged one, naming the path.
    """
    if vocabulary == "imagenet":
        from torchvision.models import ResNet18_Weights  # here: importing it takes a second

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    if vocabulary in ("cifar10", "voc2012"):
        return DATASETS[vocabulary].classes
    if vocabulary not in LISTS:
        raise ValueError(f"vocabulary must be one of {VOCABULARIES}, not {vocabulary!r}")
    file, pattern, count = LISTS[vocabulary]
    path = data_root(root) / "words" / file
    if not path.is_file():
        raise FileNotFoundError(f"no list of the classes of {vocabulary} in {path}")
    lines = read_text(path, "list of classes").split("\n")
    matches = [re.fullmatch(pattern, line.strip()) for line in lines]
    names = tuple(match[1].strip() for match in matches if match)
    if len(names) != count:
        raise ValueError(f"{path} has {len(names)} names of classes, not {count}: damaged")
    return tuple(re.sub("[_/]", " ", name) for name in names)


def split_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: "carpenter's kit" has carpenter, kit, "SeaLion" sea, lion.

    Numbers are dropped ("bonsai-101"), but a digit alone, as the handwritten digits are called, is
    its word: "7" is seven.
    """
    name = unicodedata.normalize("NFC", name)  # macOS writes names of folders decomposed
    if name in map(str, range(10)):
        return (DIGIT_WORDS[int(name)],)
    if re.fullmatch("([A-Z][a-z]+){2,}", name):
        name = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)
    parts = re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", name.lower()))
    return tuple(part for part in parts if not part.isdigit())


def vocabulary_overlap(a_names: Iterable[str], b_names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names with the same words, singular or plural: bonsai and bonsai-101."""
    places: dict[tuple[str, ...], list[str]] = {}
    for name in b_names:
        places.setdefault(tuple(map(_singular, split_words(name))), []).append(name)
    folded = ((name, tuple(map(_singular, split_words(name)))) for name in a_names)
    return [(a, b) for a, words in folded if words for b in places.get(words, ())]


def _singular(word: str) -> str:
    """By the regular rules, wrong for a few ("movies"), but the same for equal words."""
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or word == "lens":
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("ves") and word[:-3] in _F + _FE:
        return word[:-3] + ("f" if word[:-3] in _F else "fe")
    return re.sub(f"(?<=ss|ch|sh)es$|(?<=lens)es$|(?<=x|z)es$|(?<={_ES})es$|s$", "", word)


@dataclass(frozen=True)
class ClassVectors:
    """A vector for each of K classes and how it came about.

    vectors: (K, D) float64. words: those summed, for each class. word_coverage: the share of the
    names' own words that have a vector; class_coverage: the share of classes with such a word.
    own: (K,), whether a class has all of its own words, and none by hand.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    words: tuple[tuple[str, ...], ...]
    word_coverage: float
    class_coverage: float
    own: np.ndarray


def class_vectors(
    names: Sequence[str],
    vectors: KeyedVectors,
    synonyms: Mapping[str, str] | None = None,
    *,
    complete: bool = True,
) -> ClassVectors:
    """The sum of the vectors of each name's words, as in Ueno et al.

    A word without vector counts as known if its singular has one. Where words are unknown, the
    whole name's entry in ``synonyms`` replaces all of them, else each one's own entry replaces it;
    one without entry is left out if others stay, and so is a replacement that the name has already
    (for a Maltese dog, dog counts once).
    synonyms: name or word in lower case -> one or more words; ``load_synonyms()`` if None.
    complete: raise ValueError that names the classes left without any word; else they are NaN.
    Raises ValueError for no names.
    """
    if not names:
        raise ValueError("there are no names of classes")
    table = load_synonyms() if synonyms is None else synonyms
    own = [split_words(name) for name in names]
    known = [[_known(word, vectors) for word in words] for words in own]
    used = [_used(*pair, vectors, table) for pair in zip(own, known, strict=True)]
    without = [name for name, words in zip(names, used, strict=True) if not words]
    if without and complete:
        raise ValueError(
            f"{len(without)} of {len(names)} classes have no word with a vector: "
            f"{', '.join(map(repr, without[:5]))}{', ...' if without[5:] else ''}. "
            "Give them synonyms, in lib/data/synonyms.csv or as `synonyms`"
        )
    nothing = np.full((1, vectors.vector_size), np.nan)
    sums = [np.sum([vectors[w] for w in words] or nothing, 0, dtype=float) for words in used]
    of_words = [bool(word) for words in known for word in words]
    return ClassVectors(
        tuple(names),
        np.stack(sums),
        tuple(map(tuple, used)),
        sum(of_words) / max(len(of_words), 1),
        sum(any(words) for words in known) / len(names),
        np.array([bool(words) and all(words) for words in known]),
    )


def load_synonyms() -> dict[str, str]:
    """What stands in for a name or word without vector: the nearest common noun, by hand."""
    path = Path(__file__).with_name("synonyms.csv")
    return dict(pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().tolist())


def _known(word: str, vectors: KeyedVectors) -> str:
    """The word or its singular, whichever has a vector, else ""."""
    return next((form for form in (word, _singular(word)) if form in vectors), "")


def _used(
    words: tuple[str, ...], known: list[str], vectors: KeyedVectors, table: Mapping[str, str]
) -> list[str]:
    """The words with a vector that stand for a name, or in the place of its own."""
    whole = _synonym([" ".join(words)], vectors, table)
    if whole and not all(known):
        return whole
    used: list[str] = []
    for word, own in zip(words, known, strict=True):
        others = [] if own else _synonym([word, _singular(word)], vectors, table)
        used += [own] if own else [other for other in others if other not in known + used]
    return used


def _synonym(keys: list[str], vectors: KeyedVectors, table: Mapping[str, str]) -> list[str]:
    """The words of the first key's entry, all of which must have a vector; else none."""
    entry = next((table[key].split() for key in keys if key in table), [])
    known = [_known(word, vectors) for word in entry]
    return known if all(known) else []
