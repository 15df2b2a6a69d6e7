"""Images with label maps by name: drawn scenes, PASCAL VOC, COCO, Stanford Background, pets.

``scenes_a`` and ``scenes_b`` are drawn and need no download.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.data.catalogue import DATASETS, listed_ids, locate, refuse_below
from lib.data.drawn.scenes import CATEGORIES, render_scenes
from lib.data.images import picture_shape, read_square
from lib.engine.files import data_root, naming, read_text

DRAWN = ("scenes_a", "scenes_b")
VOC = ("voc2012", "voc2012_aug", "voc2012_groups")
FILED = (*VOC, "coco2017", "stanford_background", "oxford-iiit-pet")
SEGMENTED = (*DRAWN, *FILED)
SPLITS = ("train", "test")
IGNORED = 255  # label of pixels that belong to no class: borders, crowds
VOC_CLASSES = DATASETS["voc2012"].classes
VOC_GROUPS = {  # of the challenge itself
    "background": ("background",),
    "person": ("person",),
    "animal": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicle": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "indoor": ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor"),
}
_PLACES = {name: place for place, names in enumerate(VOC_GROUPS.values()) for name in names}
GROUP_LABELS = {label: _PLACES[name] for label, name in enumerate(VOC_CLASSES)}
VOC_LABELS = {label: label for label in GROUP_LABELS}
STANFORD_CLASSES = DATASETS["stanford_background"].classes
STANFORD_MAPS = (".png", ".regions.txt")
STANFORD_LABELS = {label: label for label in range(len(STANFORD_CLASSES))}
PET_LABELS = {1: 1, 2: 0, 3: IGNORED}  # of a trimap: the pet, the background, the border
SCENES_SEEDS = {"train": 1, "test": 2}
COCO_TEST_EVERY = 4
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
    one. Images are reduced with anti-aliasing, label maps to the nearest pixel. The same request
    is read once a process: do not write into it.
    name: one of ``SEGMENTED``. scenes_a, scenes_b: domain A or B, drawn in any number but "all".
        voc2012: train.txt and val.txt (as test); voc2012_aug: train_aug.txt, with the masks of SBD
        beside VOC's in ``SegmentationClass/``, and the same val.txt; voc2012_groups: the same
        images in five classes, background, person, animal, vehicle and indoor.
        coco2017: instances, a small one in front of a large one, crowds ignored wherever they are;
        train2017 and val2017 (as test), or where there is no train2017 every fourth image of
        val2017 in order of id as test and the others as train. Images without any instance are
        background.
        stanford_background, oxford-iiit-pet (the pet in front of its background, the border
        ignored): the images of the lists in ``data/splits``, val and test (as test).
        Behind "@" stands a list of ids: coco2017@medium has the images that
        ``data/splits/coco2017@medium.SPLIT.txt`` lists, in its order, whatever else is there.
        voc2012_groups reads the lists of voc2012_aug.
    split: "train" or "test".
    Raises FileNotFoundError for files that are not there, ValueError for damaged ones and label
    maps that do not fit (each names the path) and for what a set does not have.
    """
    if name not in SEGMENTED and name.partition("@")[0] not in FILED:
        raise ValueError(f"name must be one of {SEGMENTED}, not {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    refuse_below(1, size=size)
    refuse_below(0, count=count)
    if name in DRAWN:
        return _scenes(name, split, size, count)
    return _load(name, split, size, count, str(data_root(root)))


@cache
def _scenes(name: str, split: str, size: int, count: int) -> Segmented:
    if not count:
        raise ValueError(f"{name} are drawn: say how many, not 0")
    domain = name[-1].upper()
    scenes = render_scenes(count, size=size, seed=SCENES_SEEDS[split], domain=domain)
    classes = ("background", *CATEGORIES[domain])
    return Segmented(scenes.images, scenes.labels, classes, tuple(map(str, range(count))), 0)


@cache
def _load(name: str, split: str, size: int, count: int, root: str) -> Segmented:
    entries, classes = _READERS[name.partition("@")[0]](name, split, root)
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
    if name.startswith(VOC) and len(ids) and set(labels.unique().tolist()) == {0, IGNORED}:
        told = f"the masks of {name}, such as {ids[0]}.png, have no label but 0 and 255"
        raise ValueError(f"{told}, which is ignored: binary masks are no masks of VOC's")
    return Segmented(images, labels, classes, ids, len(entries) - len(fit))


def _read(entry: _Entry, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) and (size, size) of one entry."""
    height, width = shape = picture_shape(entry.path)
    # nothing can be drawn where the shape is not the one that was told
    labels = entry.draw() if shape == entry.shape else None
    of_map = entry.shape if labels is None else labels.shape
    if labels is None or of_map != shape:
        is_of, map_of = (" x ".join(map(str, sides[::-1])) for sides in (shape, of_map))
        raise ValueError(f"{entry.path} is {is_of}, but its label map is {map_of}")
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2  # as read_square
    square = Image.fromarray(labels).crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.NEAREST)
    return read_square(entry.path, size, 3), np.asarray(square)


@cache
def _voc(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("voc2012", root)
    groups = name.startswith("voc2012_groups")
    name, classes = name.replace("_groups", "_aug"), tuple(VOC_GROUPS) if groups else VOC_CLASSES
    if "@" in name:
        masks = {path.stem for path in (folder / "SegmentationClass").glob("*.png")}
        stems = listed_ids(name, split, masks, folder)
    else:
        listed = {"test": "val", "train": "train_aug" if name == "voc2012_aug" else "train"}[split]
        path = folder / "ImageSets" / "Segmentation" / f"{listed}.txt"
        stems = sorted(set(read_text(path, "list of images").split()))
        test = path.with_name("val.txt")
        if split == "train" and test.is_file():
            stems = _apart(stems, set(read_text(test, "list of images").split()), path)
    read = partial(_translated, meaning=GROUP_LABELS if groups else VOC_LABELS, coloured=True)
    maps = folder / "SegmentationClass"
    return _pairs(folder / "JPEGImages", stems, lambda stem: maps / f"{stem}.png", read), classes


def _apart(train: Sequence[str], test: Collection[str], path: Path) -> list[str]:
    """Training images without those that are for testing too, with a warning; all if all are."""
    shared = sorted(set(train) & set(test))
    left = [name for name in train if name not in test]
    if shared:
        told = f"{len(shared)} training images of {path}, such as {shared[0]}, are test images too"
        done = "they are left out of training" if left else "no others are there"
        warnings.warn(f"{told}: {done}", stacklevel=2)
    return left or list(train)


def _pairs(
    images: Path,
    stems: Iterable[str],
    map_of: Callable[[str], Path],
    read: Callable[[Path], np.ndarray],
) -> list[_Entry]:
    """Entries of images that have a file each for their label maps, which ``read`` reads."""
    paths = {stem: images / f"{stem}.jpg" for stem in stems}
    return [
        _Entry(path, picture_shape(path), partial(read, map_of(stem)))
        for stem, path in paths.items()
    ]


def _translated(path: Path, meaning: Mapping[int, int], coloured: bool = False) -> np.ndarray:
    """(H, W) uint8 labels of a mask; meaning: its values, all but 255 -> label.

    coloured: a palette that is not in the order of VOC's colours was rearranged by some tool;
        the colours then say what the values are.
    """
    with naming(path, "mask"), Image.open(path) as picture:
        labels = np.array(picture)
        if coloured and picture.mode == "P":
            labels = _by_colour(labels, np.array(picture.getpalette()).reshape(-1, 3))
    wrong = labels[~np.isin(labels, [*meaning, IGNORED])]
    if labels.ndim != 2 or wrong.size:
        what = f"label {wrong.max()}" if labels.ndim == 2 else f"mode {picture.mode}"
        raise ValueError(f"{path} has {what}; labels are {min(meaning)} to {max(meaning)} and 255")
    table = np.full(256, IGNORED, np.uint8)
    table[list(meaning)] = list(meaning.values())
    return table[labels.astype(np.uint8)]


def _by_colour(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) values whose (K, 3) palette is VOC's or one of greys, else those of its colours."""
    values = np.unique(labels)
    colours, bits = palette[values], np.arange(256)[:, None]
    # of value v: red has its bits 0, 3 and 6 as the highest ones, green 1, 4, 7, blue 2, 5
    parts = [((bits >> (3 * step + np.arange(3))) & 1) << (7 - step) for step in range(3)]
    voc = np.sum(parts, 0)
    grey = np.repeat(values[:, None], 3, 1)
    if np.array_equal(colours, voc[values]) or np.array_equal(colours, grey):
        return labels
    same = (colours[:, None] == voc).all(2)
    if not same.any(1).all():
        wrong = colours[~same.any(1)][0].tolist()
        raise ValueError(f"its palette has the colour {wrong}, which is none of VOC's")
    table = np.zeros(256, int)
    table[values] = same.argmax(1)
    return table[labels]


def _coco(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("coco2017", root)
    both = (folder / "train2017").is_dir()
    if "@" in name:
        parts = ("val2017", "train2017") if both else ("val2017",)
    else:
        parts = ("train2017",) if both and split == "train" else ("val2017",)
    of = {part: _annotations(folder / "annotations" / f"instances_{part}.json") for part in parts}
    there = {f"{number:012}": part for part in parts for number in sorted(of[part].imgs)}
    if "@" in name:
        stems = listed_ids(name, split, there, folder)
    elif both:
        stems = list(there)
    else:
        test = list(there)[COCO_TEST_EVERY - 1 :: COCO_TEST_EVERY]
        stems = test if split == "test" else [stem for stem in there if stem not in test]
    entries = []
    for stem in stems:
        coco, image = of[there[stem]], of[there[stem]].imgs[int(stem)]
        path = folder / there[stem] / image["file_name"]
        shape = _coco_shape(image, path)
        entries.append(_Entry(path, shape, partial(_coco_labels, coco, int(stem), path, shape)))
    if split == "train" and "@" not in name and not both:
        tested = {coco.imgs[int(stem)]["file_name"] for stem in test}
        names = [entry.path.name for entry in entries]
        apart = set(_apart(names, tested, folder / "val2017"))
        entries = [entry for entry in entries if entry.path.name in apart]
    return entries, ("background", *(coco.cats[key]["name"] for key in sorted(coco.cats)))


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
        files = [image["file_name"] for image in coco.imgs.values()]
        names = [category["name"] for category in coco.cats.values()]
        if not all(isinstance(text, str) for text in files + names):
            raise ValueError("a name is no text")
        if not all(isinstance(number, int) for number in [*coco.imgs, *coco.cats]):
            raise ValueError("the id of an image or a category is no whole number")
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
        if isinstance(counts, list) and (min(counts) < 0 or sum(counts) != shape[0] * shape[1]):
            raise ValueError("runs that do not fill the picture")
    elif isinstance(segmentation, list):
        for polygon in segmentation:
            points = np.asarray(polygon, float)
            if points.ndim != 1 or not (np.abs(points) <= FAR).all():  # NaN is not
                raise ValueError("a polygon with a coordinate that is no pixel")


def _coco_labels(coco, number: int, path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of an image: large instances first, crowds last."""
    place = {key: label for label, key in enumerate(sorted(coco.cats), start=1)}
    labels, drawn = np.zeros(shape, np.uint8), []
    try:
        for instance in coco.imgToAnns[number]:
            _refuse_far(instance["segmentation"], shape)
            label = IGNORED if instance.get("iscrowd") else place[instance["category_id"]]
            drawn.append((label, coco.annToMask(instance).astype(bool)))
        for label, mask in sorted(drawn, key=lambda pair: (pair[0] == IGNORED, -pair[1].sum())):
            labels[mask] = label
    except Exception as error:  # pycocotools raises no narrower one
        raise ValueError(f"the instances of {path} cannot be drawn: {error!r}") from error
    return labels


@cache
def _stanford(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("stanford_background", root)
    files = (path for path in (folder / "labels").iterdir() if path.name.endswith(STANFORD_MAPS))
    maps = {path.name.partition(".")[0]: path for path in files}
    stems = listed_ids(name, {"train": "train", "test": "val"}[split], maps, folder)
    return _pairs(folder / "images", stems, maps.__getitem__, _stanford_labels), STANFORD_CLASSES


def _stanford_labels(path: Path) -> np.ndarray:
    """(H, W) uint8 of a label map; the published ones are text, with -1 for unknown."""
    if path.suffix == ".png":
        return _translated(path, STANFORD_LABELS)
    with naming(path, "label map"):
        labels = np.loadtxt(path, dtype=int, ndmin=2)
        if labels.min() < -1 or labels.max() >= len(STANFORD_CLASSES):
            raise ValueError(f"labels are -1 to {len(STANFORD_CLASSES) - 1}")
        return np.where(labels < 0, IGNORED, labels).astype(np.uint8)


@cache
def _pets(name: str, split: str, root: str) -> tuple[list[_Entry], tuple[str, ...]]:
    folder = locate("oxford-iiit-pet", root)
    maps = {path.stem: path for path in (folder / "annotations/trimaps").glob("[!.]*.png")}
    stems = listed_ids(name, {"train": "trainval", "test": "test"}[split], maps, folder)
    read = partial(_translated, meaning=PET_LABELS)
    return _pairs(folder / "images", stems, maps.__getitem__, read), ("background", "pet")


_READERS: dict[str, Callable[[str, str, str], tuple[list[_Entry], tuple[str, ...]]]] = {
    **dict.fromkeys(VOC, _voc),
    "coco2017": _coco,
    "stanford_background": _stanford,
    "oxford-iiit-pet": _pets,
}
