"""The only place where sizes and budgets stand: a file a notebook, three of each."""

from __future__ import annotations

from typing import TypeVar

from lib.profiles.continual import CONTINUAL_STUDY, ContinualStudy, Stream
from lib.profiles.encoder_decoders import ENCODER_DECODER_STUDY, EncoderDecoderStudy
from lib.profiles.image_weights import IMAGE_WEIGHT_STUDY, ImageWeightStudy, Network
from lib.profiles.multitask import MULTI_TASK_STUDY, MultiTaskStudy
from lib.profiles.transfer import TRANSFER_STUDY, SourceFamily, TransferStudy

__all__ = [
    "CONTINUAL_STUDY",
    "ENCODER_DECODER_STUDY",
    "IMAGE_WEIGHT_STUDY",
    "MULTI_TASK_STUDY",
    "PROFILES",
    "TRANSFER_STUDY",
    "ContinualStudy",
    "EncoderDecoderStudy",
    "ImageWeightStudy",
    "MultiTaskStudy",
    "Network",
    "SourceFamily",
    "Stream",
    "TransferStudy",
    "choose",
]

PROFILES = ("quick", "medium", "paper")
Study = TypeVar("Study")


def choose(study: dict[str, Study], profile: str) -> Study:
    """The numbers of a study's profile; ValueError for a name that is none."""
    if profile not in study:
        raise ValueError(f"profile must be one of {', '.join(study)}, not {profile!r}")
    return study[profile]
