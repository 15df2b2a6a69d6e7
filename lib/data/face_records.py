"""What a set of annotated faces is: images, five landmarks and yes/no attributes each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# of the picture, not of the person: the left eye is the one further left
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
UNKNOWN = -1  # of an attribute


@dataclass(frozen=True)
class Faces:
    """Annotated faces, all of one size.

    images: (N, 3, S, S) uint8.
    landmarks: (N, 5, 2) float32, x and y of ``LANDMARKS`` as shares of the image's width and
        height, from its upper left corner; outside 0..1 where a landmark lies outside the image.
    attributes: (N, A) int8: 1 has it, 0 has it not, ``UNKNOWN`` where nobody says.
    extent: (N, 2) float32, width and height of what the image shows, in pixels of its original.
    ids: file names, or numbers of drawn faces. names: of the attributes.
    skipped: files that could not be read.
    """

    images: Tensor
    landmarks: Tensor
    attributes: Tensor
    extent: Tensor
    ids: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)
