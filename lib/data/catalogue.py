"""Every data set by name: what it is, its licence, where it is looked for, how to get it."""

from __future__ import annotations

import os
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lib.engine.files import data_root

_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


@dataclass(frozen=True)
class Dataset:
    """One data set.

    folder: where it lies below the data root; ``files``, if given, are all it consists of.
    url, checksum: for those that ``download`` may fetch; the checksum is ``md5:...`` or
        ``sha256:...`` of the archive, which is unpacked below the data root.
    embedded: the installed package that has it; ``folder`` is then below that package.
    """

    name: str
    what: str
    licence: str
    folder: str
    by_hand: str = ""
    url: str = ""
    checksum: str = ""
    files: tuple[str, ...] = ()
    embedded: str = ""


_ALL = (
    Dataset(
        "photos",
        "14 photographs inside the scikit-image wheel",
        "public domain or CC0 (scikit-image, data/README.txt)",
        "data",
        files=_PHOTOS,
        embedded="skimage",
    ),
    Dataset(
        "digits",
        "1,797 handwritten digits of 8 x 8 pixels, 10 classes, inside the scikit-learn wheel",
        "CC BY 4.0 (UCI Machine Learning Repository)",
        "datasets/data",
        files=("digits.csv.gz",),
        embedded="sklearn",
    ),
    Dataset(
        "scenes",
        "drawn objects, 10 classes, any number (the program that draws them)",
        "MIT",
        "data",
        files=("scenes.py",),
        embedded="lib",
    ),
    Dataset(
        "drawn_faces",
        "drawn faces with landmarks and attributes, any number (the program that draws them)",
        "MIT",
        "data",
        files=("drawn_faces.py",),
        embedded="lib",
    ),
    Dataset(
        "set12",
        "12 classic grey test photographs",
        "unknown; research use",
        "photos/set12",
        by_hand="copy testsets/Set12 of github.com/cszn/DnCNN there",
    ),
    Dataset(
        "train400",
        "400 grey 180 x 180 training photographs (from BSDS)",
        "non-commercial research (BSDS)",
        "photos/train400",
        by_hand="copy the 400 training images of github.com/cszn/DnCNN there",
    ),
    Dataset(
        "bsds500",
        "200 colour training photographs of BSDS500",
        "non-commercial research (BSDS)",
        "photos/bsds500",
        by_hand="copy BSDS500/data/images/train of the Berkeley archive there",
    ),
    Dataset(
        "set9",
        "9 colour test photographs of Deep Image Prior's denoising table",
        "unknown; research use",
        "photos/set9",
        by_hand="copy the 9 images of the CBM3D test set there",
    ),
    Dataset(
        "cifar10",
        "60,000 colour images of 32 x 32 pixels, 10 classes (binary version)",
        "unknown; research use",
        "cifar-10-batches-bin",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        checksum="md5:c32a1d4ab5d03f1284b67883e8d87530",
    ),
    Dataset(
        "voc2012",
        "PASCAL VOC 2012, segmentation masks included",
        "Flickr terms; research use",
        "VOCdevkit/VOC2012",
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
    ),
    Dataset(
        "coco2017",
        "COCO 2017, instances of 80 classes",
        "annotations CC BY 4.0, images under Flickr terms; research use",
        "coco",
        by_hand="unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of "
        "cocodataset.org there; val2017/ and its annotations alone serve as well",
    ),
    Dataset(
        "styles",
        "two paintings as styles, The Starry Night and The Scream, and a photograph of Tuebingen",
        "paintings: public domain; photograph: Andreas Praefcke, see Wikimedia Commons",
        "photos/style",
        by_hand="put photographs of the paintings, such as those of "
        "github.com/jcjohnson/neural-style, and Tuebingen_Neckarfront.jpg of Wikimedia Commons, "
        "there under these names: starry_night.jpg, the_scream.jpg, Tuebingen_Neckarfront.jpg",
        files=("starry_night.jpg", "the_scream.jpg", "Tuebingen_Neckarfront.jpg"),
    ),
    Dataset(
        "caltech101",
        "Caltech-101: photographs of 101 classes of objects, and a folder of others",
        "CC BY 4.0 (Caltech)",
        "caltech101/101_ObjectCategories",
        by_hand="unpack 101_ObjectCategories of data.caltech.edu/records/mzrjq-6wc02 there",
    ),
    Dataset(
        "caltech256",
        "Caltech-256: photographs of 256 classes of objects, and a class of clutter",
        "CC BY 4.0 (Caltech)",
        "caltech256/256_ObjectCategories",
        by_hand="unpack 256_ObjectCategories of data.caltech.edu/records/nyy15-4j048 there",
    ),
    Dataset(
        "mtfl",
        "MTFL: 12,995 photographs of faces (LFW, web, AFLW) with five landmarks and four labels",
        "research use (MTFL; photographs under the terms of LFW and AFLW)",
        "mtfl",
        by_hand="unpack MTFL.zip of mmlab.ie.cuhk.edu.hk/projects/TCDCN.html there: training.txt, "
        "testing.txt and the folders lfw_5590, net_7876 and AFLW",
    ),
    Dataset(
        "celeba",
        "CelebA: 202,599 aligned photographs of celebrities, five landmarks and 40 attributes",
        "non-commercial research (CelebA)",
        "celeba",
        by_hand="put img_align_celeba/ (unpacked), list_eval_partition.txt, list_attr_celeba.txt "
        "and list_landmarks_align_celeba.txt of mmlab.ie.cuhk.edu.hk/projects/CelebA.html there; "
        "torchvision.datasets.CelebA(DATA_ROOT, download=True) does, where Google Drive lets it",
    ),
    Dataset(
        "places365",
        "weights of AlexNet and ResNet-18 trained on Places365 (no images)",
        "CC BY (MIT, Places)",
        "weights/places365",
        by_hand="copy alexnet_places365.pth.tar and resnet18_places365.pth.tar of "
        "places2.csail.mit.edu/models_places365 there",
        files=("alexnet_places365.pth.tar", "resnet18_places365.pth.tar"),
    ),
    Dataset(
        "words",
        "word vectors in GloVe's, word2vec's or fastText's format, and lists of class names",
        "GloVe: PDDL; fastText: CC BY-SA 3.0",
        "words",
        by_hand="put vectors (*.txt without a head, *.vec, *.bin) there, and for sources with "
        "many classes the lists that lib/data/words.py names",
    ),
    Dataset(
        "mobilenet_v2-imagenet",
        "weights of a MobileNetV2 trained on ImageNet (no images)",
        "Apache 2.0 (Google Coral test data)",
        "weights",
        by_hand="convert mobilenet_v2_1.0_224_quant.tflite of github.com/google-coral/test_data "
        "to the names of torchvision's mobilenet_v2, save it there with safetensors",
        files=("mobilenet_v2-imagenet.safetensors",),
    ),
    Dataset(
        "mobilenet_v2-inat_birds",
        "weights of a MobileNetV2 trained on 965 birds of iNaturalist (no images)",
        "Apache 2.0 (Google Coral test data)",
        "weights",
        by_hand="convert mobilenet_v2_1.0_224_inat_bird_quant.tflite of "
        "github.com/google-coral/test_data likewise",
        files=("mobilenet_v2-inat_birds.safetensors",),
    ),
    Dataset(
        "squeezenet1_1-imagenet",
        "weights of torchvision's SqueezeNet 1.1, trained on ImageNet (no images)",
        "BSD 2-Clause (SqueezeNet)",
        "weights",
        by_hand="save the state dict of torchvision's squeezenet1_1 (IMAGENET1K_V1) there with "
        "safetensors; torchvision's own download of it works too",
        files=("squeezenet1_1-imagenet.safetensors",),
    ),
    Dataset(
        "resnet20-cifar10",
        "weights of a ResNet-20 trained on CIFAR-10 (no images)",
        "BSD 2-Clause (Yerlan Idelbayev)",
        "weights/cifar10_resnet",
        by_hand="copy pretrained_models/resnet20-12fca82f.th of "
        "github.com/akamaster/pytorch_resnet_cifar10 there",
        files=("resnet20-12fca82f.th",),
    ),
)
DATASETS = {dataset.name: dataset for dataset in _ALL}


def refuse_below(least: int, **values: int) -> None:
    """Raise ValueError, with the name and the value, for a value below ``least``."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value!r}")


def folder_of(name: str, root: str | Path | None = None) -> Path:
    """Where a data set, or a plain folder of that name below the data root, is looked for."""
    dataset = DATASETS.get(name)
    if dataset and dataset.embedded:
        package = find_spec(dataset.embedded)  # found without being imported
        if package is None or package.origin is None:
            raise FileNotFoundError(f"{name} is inside {dataset.embedded}, which is not installed")
        return Path(package.origin).parent / dataset.folder
    return data_root(root) / (dataset.folder if dataset else name)


def is_present(name: str, root: str | Path | None = None) -> bool:
    """Whether the folder of a data set is there, with all ``files`` that it must have."""
    folder, dataset = folder_of(name, root), DATASETS.get(name)
    files = dataset.files if dataset else ()
    return folder.is_dir() and all((folder / file).is_file() for file in files)


def locate(name: str, root: str | Path | None = None) -> Path:
    """The folder of a data set; FileNotFoundError says where it was looked for and what to do."""
    folder = folder_of(name, root)
    if is_present(name, root):
        return folder
    dataset = DATASETS.get(name)
    if dataset is None:
        known = ", ".join(DATASETS)
        raise FileNotFoundError(f"{name!r} is neither a data set ({known}) nor a folder {folder}")
    how = f"python -m lib.data download {name}" if dataset.url else dataset.by_hand
    embedded = ", ".join(repr(each.name) for each in DATASETS.values() if each.embedded)
    raise FileNotFoundError(
        f"data set {name!r} is not in {folder}. Get it: {how}. Another place: DATA_ROOT or "
        f"--data-root. Embedded, without any download: {embedded}."
    )


def download(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set's archive, check it, unpack it below the data root, unless it is there.

    The archive is checked before a byte of it is unpacked, and unpacked beside its place: an
    interruption leaves nothing that anyone would take for whole. Raises ValueError for a set that
    cannot be fetched or a wrong checksum.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    if not dataset.url:
        how = "it is embedded" if dataset.embedded else dataset.by_hand
        raise ValueError(f"{name} is not downloaded: {how} ({folder_of(name, root)})")
    target, folder = data_root(root), folder_of(name, root)
    if folder.is_dir():
        return folder
    import pooch  # here: in a notebook it warns of widgets that are not installed

    archive = pooch.retrieve(
        dataset.url, dataset.checksum, path=target, fname=Path(dataset.url).name, progressbar=True
    )
    with tempfile.TemporaryDirectory(dir=target) as beside, tarfile.open(archive) as tar:
        tar.extractall(beside, filter="data")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(Path(beside, dataset.folder), folder)
    return folder
