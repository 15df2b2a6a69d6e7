"""Images with label maps by name: drawn scenes, PASCAL VOC, COCO, Stanford Background, pets.

``scenes_a`` and ``scenes_b`` are drawn and need no download.
"""

import io
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.data.catalogue import DATASETS, apart, listed_ids, locate, refuse_below
from lib.data.drawn.scenes import CATEGORIES, render_scenes
from lib.data.images import centre_square, pairs_in, picture_shape, read_square, upright
from lib.engine.files import data_root, naming, read_text

DRAWN = ("scenes_a", "scenes_b")
VOC = ("voc2012", "voc2012_aug", "voc2012_groups")
FILED = (*VOC, "coco2017", "stanford_background", "oxford-iiit-pet")
SEGMENTED = (*DRAWN, *FILED)
SPLITS = ("train", "test")
IGNORED = 255  # label of pixels that belong to no class: borders, crowds
VOC_CLASSES = DATASETS["voc2012"].classes
STANFORD_MAPS = (".png", ".regions.txt")
SCENES_SEEDS = {"train": 1, "test": 2}
COCO_TEST_EVERY = 4
FOLDER_TEST_EVERY = 5  # pairs of a folder of one's own
FAR = 1e6  # pixels: pycocotools allocates for every row and column that a shape reaches


@dataclass(frozen=True)
class Segmented:
    """Images and the class of each pixel.

    images: (N, 3, S, S) uint8. labels: (N, S, S) uint8, 0..K-1 the place in ``classes``,
    255 ignored. classes: K names, the first "background" where there is one. ids: N file stems;
    "0", "1", ... for scenes. skipped: files of the split left out because smaller than S.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    skipped: int


@dataclass(frozen=True)
class _Entry:
    """An image file, its (height, width), and what draws its label map of that shape."""

    path: Path
    shape: tuple[int, int]
    draw: Callable[[], np.ndarray]


def load_segmented(
    name: str, split: str, *, size: int, count: int = 0, root: str | Path | None = None
) -> Segmented:
    """The first ``count`` images of a split, 0 for all, as centre squares of ``size`` px.

    Files come in a fixed random order: every beginning is a fair sample and the start of a larger
    one. Images are reduced with anti-aliasing, label maps to the nearest pixel. Do not write into
    what comes back: the same request is read once a process.
    name: one of ``SEGMENTED``, or a folder below the data root with pictures in ``inputs/``, label
        maps of the same stems in ``targets/``, and the names of labels 0, 1, ... in
        ``classes.txt``, one a line; every fifth picture is for testing.
        scenes_a, scenes_b: domain A or B, drawn in any number but "all".
        voc2012: train.txt and val.txt (as test); voc2012_aug: train_aug.txt, with the masks of SBD
        beside VOC's in ``SegmentationClass/``, and the same val.txt; voc2012_groups: the same
        images in five classes, background, person, animal, vehicle and indoor.
        coco2017: instances, a small one in front of a large one, crowds ignored wherever they are;
        train2017 and val2017 (as test), or where there is no train2017 every fourth image of
        val2017 in order of id as test and the others as train. Images without any instance are
        background.
        stanford_background, oxford-iiit-pet (the pet in front of its background, the border
        ignored): the images of the lists in ``data/splits``, val and test (as test).
        Behind "@" stands a list of ids: voc2012_aug@medium has the images that
        ``data/splits/voc2012_aug@medium.SPLIT.txt`` lists, in its order, whatever else is there.
        voc2012_groups reads the lists of voc2012_aug.
    split: "train" or "test".
    Raises FileNotFoundError for files that are not there, ValueError for damaged ones and label
    maps that do not fit (each names the path) and for what a set does not have.
    """
    base = name.partition("@")[0]
    if base in (*SEGMENTED, *DATASETS) and name not in SEGMENTED and base not in FILED:
        raise ValueError(f"name must be one of {SEGMENTED} or a folder, not {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    refuse_below(1, size=size)
    refuse_below(0, count=count)
    return _load(name, split, size, count, str(data_root(root)))


@cache
def _load(name: str, split: str, size: int, count: int, root: str) -> Segmented:
    if name in DRAWN:
        if not count:
            raise ValueError(f"{name} are drawn: say how many, not 0")
        domain = name[-1].upper()
        scenes = render_scenes(count, size=size, seed=SCENES_SEEDS[split], domain=domain)
        classes = ("background", *CATEGORIES[domain])
        return Segmented(scenes.images, scenes.labels, classes, tuple(map(str, range(count))), 0)
    entries, classes = _READERS.get(name.partition("@")[0], _folder)(name, split, root)
    if "@" not in name:  # a list has an order of its own
        order = torch.randperm(len(entries), generator=torch.Generator().manual_seed(0))
        entries = [entries[place] for place in order.tolist()]
    fit = [entry for entry in entries if min(entry.shape) >= size]  # after the order: nests
    if (count or 1) > len(fit):
        of_size = f"{split} images of at least {size} px"
        raise ValueError(f"{name} has {len(fit):,} {of_size}, not {count or 1:,}")
    chosen = fit[: count or None]
    images = torch.empty(len(chosen), 3, size, size, dtype=torch.uint8)
    labels = torch.empty(len(chosen), size, size, dtype=torch.uint8)
    # decoding and resizing release the lock; pycocotools calls what numpy will drop
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", DeprecationWarning)
        for place, (image, mask) in enumerate(pool.map(partial(_read, size=size), chosen)):
            images[place], labels[place] = torch.tensor(image).permute(2, 0, 1), torch.tensor(mask)
    ids = tuple(entry.path.stem for entry in chosen)
    if name.startswith(VOC) and set(labels.unique().tolist()) == {0, IGNORED}:
        told = f"the masks of {name}, such as {ids[0]}.png, have no label but 0 and 255"
        raise ValueError(f"{told}, which is ignored: binary masks are no masks of VOC's")
    return Segmented(images, labels, classes, ids, len(entries) - len(fit))


def _read(entry: _Entry, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) and (size, size) of one entry."""
    shape = picture_shape(entry.path)
    # nothing can be drawn where the shape is not the one that was told
    labels = entry.draw() if shape == entry.shape else None
    of_map = entry.shape if labels is None else labels.shape
    if labels is None or of_map != shape:
        is_of, map_of = (" x ".join(map(str, sides[::-1])) for sides in (shape, of_map))
        raise ValueError(f"{entry.path} is {is_of}, but its label map is {map_of}")
    square = centre_square(Image.fromarray(labels))
    square = square.resize((size, size), Image.Resampling.NEAREST)
    return read_square(entry.path, size, 3), np.asarray(square)


def _pairs(
    images: Path,
    maps: Mapping[str, Path],
    stems: Iterable[str],
    meaning: Mapping[int, int],
    coloured: bool = False,
) -> list[_Entry]:
    """Entries of images that have a file each for their label maps: stem -> path."""
    paths = {stem: images / f"{stem}.jpg" for stem in stems}
    return [
        _Entry(path, picture_shape(path), partial(_labels, maps[stem], meaning, coloured))
        for stem, path in paths.items()
    ]


def _labels(path: Path, meaning: Mapping[int, int], coloured: bool = False) -> np.ndarray:
    """(H, W) uint8 labels of a label map; meaning: its values, all but 255 -> label.

    Of a map that is text -1 is 255. coloured: a palette that is not in the order of VOC's colours
    was rearranged by some tool; the colours then say what the values are.
    """
    with naming(path, "mask"):
        if path.suffix == ".txt":
            labels = np.loadtxt(path, dtype=int, ndmin=2)
            labels[labels == -1] = IGNORED
        else:
            with Image.open(path) as file:
                # a set pixel of one bit is white, 255
                picture = upright(file.convert("L") if file.mode == "1" else file)
                labels = np.array(picture)
            if labels.ndim != 2:
                raise ValueError(f"{path} has mode {picture.mode}; a label map has one channel")
            if coloured and picture.mode == "P":
                labels = _by_colour(labels, np.array(picture.getpalette()).reshape(-1, 3))
        wrong = labels[~np.isin(labels, [*meaning, IGNORED])]
        if wrong.size:
            known = f"labels are {min(meaning)} to {max(meaning)} and {IGNORED}"
            raise ValueError(f"{path} has label {wrong[0]}; {known}")
    table = np.full(256, IGNORED, np.uint8)
    table[list(meaning)] = list(meaning.values())
    return table[labels.astype(np.uint8)]


def _by_colour(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) values whose (K, 3) palette is VOC's or one of greys, else those of its colours."""
    values, places = np.unique(labels, return_inverse=True)
    colours, bits = palette[values], np.arange(256)[:, None]
    # of value v: red has its bits 0, 3 and 6 as the highest ones, green 1, 4, 7, blue 2, 5
    parts = [((bits >> (3 * step + np.arange(3))) & 1) << (7 - step) for step in range(3)]
    voc = np.sum(parts, 0)
    if np.array_equal(colours, voc[values]) or (colours == values[:, None]).all():
        return labels
    same = (colours[:, None] == voc).all(2)
    if not same.any(1).all():
        wrong = colours[~same.any(1)][0].tolist()
        raise ValueError(f"its palette has the colour {wrong}, which is none of VOC's")
    return same.argmax(1)[places].reshape(labels.shape)


@cache
def _voc(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder, classes = locate("voc2012", root), VOC_CLASSES
    meaning = {label: label for label in range(len(classes))}
    if name.startswith("voc2012_groups"):
        classes, groups = map(tuple, zip(*DATASETS["voc2012"].groups.items(), strict=True))
        meaning = {
            VOC_CLASSES.index(name): place for place, names in enumerate(groups) for name in names
        }
    name = name.replace("_groups", "_aug")
    if "@" in name:
        masks = {path.stem for path in (folder / "SegmentationClass").glob("*.png")}
        stems = listed_ids(name, split, masks, folder)
    else:
        listed = {"test": "val", "train": "train_aug" if name == "voc2012_aug" else "train"}[split]
        path = folder / "ImageSets/Segmentation" / f"{listed}.txt"
        stems, test = _stems(path), path.with_name("val.txt")
        if split == "train" and test.is_file():
            stems = apart(stems, _stems(test), path)
    maps = {stem: folder / f"SegmentationClass/{stem}.png" for stem in stems}
    return _pairs(folder / "JPEGImages", maps, stems, meaning, coloured=True), classes


def _stems(path: Path) -> list[str]:
    """The names of a list of images, one a line, sorted and each once."""
    lines = map(str.strip, read_text(path, "list of images").splitlines())
    if not (stems := sorted(set(filter(None, lines)))):
        raise ValueError(f"{path} lists no image")
    return stems


@cache
def _stanford(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder, classes = locate("stanford_background", root), DATASETS["stanford_background"].classes
    files = (path for path in (folder / "labels").iterdir() if path.name.endswith(STANFORD_MAPS))
    maps = {path.name.partition(".")[0]: path for path in files}
    stems = listed_ids(name, {"train": "train", "test": "val"}[split], maps, folder)
    meaning = {label: label for label in range(len(classes))}
    return _pairs(folder / "images", maps, stems, meaning), classes


@cache
def _pets(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("oxford-iiit-pet", root)
    maps = {path.stem: path for path in (folder / "annotations/trimaps").glob("[!.]*.png")}
    stems = listed_ids(name, {"train": "trainval", "test": "test"}[split], maps, folder)
    # the pet, the background, the border
    return _pairs(folder / "images", maps, stems, {1: 1, 2: 0, 3: IGNORED}), ("background", "pet")


def class_names_in(folder: Path) -> tuple[str, ...]:
    """The lines of ``classes.txt`` that are not empty: names of label 0, 1, ...

    Raises ValueError, naming the file, for none, for two of one name, and for more than labels.
    """
    path = folder / "classes.txt"
    lines = read_text(path, "list of classes").splitlines()
    names = tuple(filter(None, map(str.strip, lines)))
    if not 0 < len(names) <= IGNORED:
        raise ValueError(f"{path} has {len(names)} names of classes, not 1 to {IGNORED}")
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has the class {max(names, key=names.count)} twice")
    return names


def _folder(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate(name, root)
    classes = class_names_in(folder)
    meaning = {label: label for label in range(len(classes))}
    entries = [
        _Entry(image, picture_shape(image), partial(_labels, label_map, meaning))
        for place, (_, image, label_map) in enumerate(pairs_in(folder))
        if (place % FOLDER_TEST_EVERY == 0) == (split == "test")
    ]
    return entries, classes


def _coco(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("coco2017", root)
    both = (folder / "train2017").is_dir()
    listed = "@" in name
    parts = ("val2017", "train2017") if both and (listed or split == "train") else ("val2017",)
    of = {part: _annotations(folder / "annotations" / f"instances_{part}.json") for part in parts}
    keys = {part: [(part, number) for number in sorted(of[part].imgs)] for part in parts}
    every = 1 if both else COCO_TEST_EVERY
    chosen = keys["val2017"][every - 1 :: every]
    if listed:
        there = {f"{key[1]:012}": key for part in parts for key in keys[part]}
        chosen = [there[stem] for stem in listed_ids(name, split, there, folder)]
    elif split == "train":
        files = {key: of[key[0]].imgs[key[1]]["file_name"] for part in parts for key in keys[part]}
        tested, test = {files[key] for key in chosen}, set(chosen)
        train = [key for key in keys[parts[-1]] if key not in test]
        left = set(apart([files[key] for key in train], tested, folder))
        chosen = [key for key in train if files[key] in left]
    entries = []
    for part, number in chosen:
        image = of[part].imgs[number]
        path = folder / part / image["file_name"]
        shape = _coco_shape(image, path)
        entries.append(_Entry(path, shape, partial(_coco_labels, of[part], number, path, shape)))
    kinds = of[parts[-1]].cats
    return entries, ("background", *(kinds[key]["name"] for key in sorted(kinds)))


@cache
def _annotations(path: Path):
    from pycocotools.coco import COCO  # here: it is needed for this set alone

    with naming(path, "list of instances"), redirect_stdout(io.StringIO()):  # it reports
        coco = COCO()
        coco.dataset = json.loads(read_text(path, "list of instances"))
        if not isinstance(coco.dataset, dict):
            raise ValueError("it is no object")
        coco.createIndex()
        if len(coco.cats) >= IGNORED:
            raise ValueError(f"it has {len(coco.cats)} categories; labels are 1 to {IGNORED - 1}")
        for what, known, name in (
            ("images", coco.imgs, "file_name"),
            ("categories", coco.cats, "name"),
        ):
            if len(known) < len(coco.dataset[what]):
                raise ValueError(f"two of its {what} have the same id")
            if not all(isinstance(each[name], str) for each in known.values()):
                raise ValueError(f"a name of its {what} is no text")
            if not all(isinstance(number, int) for number in known):
                raise ValueError(f"the id of one of its {what} is no whole number")
        return coco


def _coco_shape(image: dict, path: Path) -> tuple[int, int]:
    """(height, width) that the list tells, in numbers, else the picture's own."""
    height, width = image.get("height", 0), image.get("width", 0)
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        height, width = picture_shape(path)
    image["height"], image["width"] = height, width  # pycocotools looks there
    return height, width


def _refuse_far(segmentation: object, shape: tuple[int, int]) -> None:
    """ValueError for what would end the process inside pycocotools, which checks nothing."""
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != shape:
            raise ValueError(f"a mask of another size: {segmentation['size']}")
        counts = segmentation["counts"]
        whole = isinstance(counts, str) or all(isinstance(run, int) and run >= 0 for run in counts)
        if not whole or (isinstance(counts, list) and sum(counts) != shape[0] * shape[1]):
            raise ValueError("runs that do not fill the picture")
    elif isinstance(segmentation, list):
        for points in (np.asarray(polygon, float) for polygon in segmentation):
            if points.ndim != 1 or not (np.abs(points) <= FAR).all():  # NaN is not
                raise ValueError("a polygon with a coordinate that is no pixel")
            if len(points) < 6 or len(points) % 2:  # of four it would make a box
                raise ValueError(f"a polygon of {len(points)} numbers")


def _coco_labels(coco, number: int, path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of an image: large instances first, crowds last."""
    from pycocotools.mask import encode

    place = {key: label for label, key in enumerate(sorted(coco.cats), start=1)}
    labels, drawn = np.zeros(shape, np.uint8), []
    try:
        for instance in coco.imgToAnns[number]:
            shown, crowd = instance["segmentation"], instance.get("iscrowd", 0)
            _refuse_far(shown, shape)
            mask = coco.annToMask(instance)
            runs = shown["counts"] if isinstance(shown, dict) else None
            if isinstance(runs, str) and runs.encode() != encode(np.asfortranarray(mask))["counts"]:
                raise ValueError("runs that do not fill the picture")
            if crowd not in (0, 1):
                raise ValueError(f"iscrowd is {crowd!r}")
            label = IGNORED if crowd else place[instance["category_id"]]
            drawn.append((label, mask.astype(bool)))
        for label, mask in sorted(drawn, key=lambda pair: (pair[0] == IGNORED, -pair[1].sum())):
            labels[mask] = label
    except Exception as error:  # pycocotools raises no narrower one
        raise ValueError(f"the instances of {path} cannot be drawn: {error!r}") from error
    return labels


_READERS: dict[str, Callable[[str, str, str], tuple[list[_Entry], tuple[str, ...]]]] = {
    **dict.fromkeys(VOC, _voc),
    "coco2017": _coco,
    "stanford_background": _stanford,
    "oxford-iiit-pet": _pets,
}
