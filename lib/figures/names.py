"""How networks, data sets and scores are called in figures and captions."""

from __future__ import annotations

READABLE = {
    "vgg5": "VGG-5",
    "vgg16": "VGG-16",
    "resnet20": "ResNet-20",
    "resnet18": "ResNet-18",
    "alexnet": "AlexNet",
    "mobilenet_v2": "MobileNetV2",
    "squeezenet1_1": "SqueezeNet 1.1",
    "all": "all networks",
    "imagenet": "ImageNet",
    "places365": "Places365",
    "inat_birds": "iNaturalist birds",
    "cifar10": "CIFAR-10",
    "voc2012": "VOC 2012",
    "caltech101": "Caltech-101",
    "caltech256": "Caltech-256",
    "objects": "drawn objects",
    "scenes": "learned on drawn scenes",
    "glove.6B.50d.nouns3768.txt": "GloVe (50 dimensions, common nouns)",
    "gensim:fasttext-wiki-news-subwords-300": "fastText",
    "emd": "EMD",
    "normalised_emd": "normalised EMD",
    "centred_emd": "centred EMD",
    "leep": "LEEP",
    "nce": "NCE",
    "log_me": "LogME",
    "h_score": "H-score",
    "knn": "k-NN",
    "parc": "PARC",
    "drawn_faces": "drawn faces",
    "mtfl": "MTFL",
    "celeba": "CelebA",
    "aflw": "AFLW",
}


def readable(name: str) -> str:
    """A network, data set, score or source ("base & stage") as ``READABLE`` has it, else itself."""
    return " & ".join(READABLE.get(part, part) for part in name.split(" & "))
