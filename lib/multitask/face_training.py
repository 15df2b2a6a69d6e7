"""What a network of landmarks and attributes is trained on, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.multitask.face_metrics import attribute_scores, landmark_errors, pooled_accuracy
from lib.multitask.networks import MultiTask

EVALUATION_BATCH = 250
TASKS = ("landmarks", "attributes")


def face_loss(
    faces: Faces, weight: float, device: torch.device
) -> Callable[[MultiTask, tuple[Tensor, Tensor]], Tensor]:
    """E = weight E_landmarks + E_attributes, equation 1.

    The squared distance of a landmark in coordinates from -1 to 1, mean over landmarks; binary
    cross entropy, mean over the attributes that are known.
    """
    positions = (2 * faces.landmarks - 1).flatten(1).to(device)
    labels = faces.attributes.to(device)

    def loss(network: MultiTask, batch: tuple[Tensor, Tensor]) -> Tensor:
        index, images = batch
        found = network(images.contiguous(memory_format=torch.channels_last))
        # x and y of a landmark count together, so twice the mean over coordinates
        near = 2 * F.mse_loss(found["landmarks"].float(), positions[index])
        truth = labels[index]
        known = (truth != UNKNOWN).float()
        each = F.binary_cross_entropy_with_logits(
            found["attributes"].float(), truth.clamp_min(0).float(), weight=known, reduction="sum"
        )
        return weight * near + each / known.sum().clamp_min(1)

    return loss


@torch.no_grad()
def predict(network: MultiTask, images: Tensor) -> dict[str, Tensor]:
    """landmarks (N, 5, 2) as shares of the image and attributes (N, A) as logits, on the CPU.

    images: (N, 3, S, S) uint8, on the network's device.
    """
    network.eval()
    parts = []
    for batch in images.split(EVALUATION_BATCH):
        batch = batch.contiguous(memory_format=torch.channels_last)
        parts.append(network(batch.float() / 255))
    joined = {task: torch.cat([part[task] for part in parts]).float().cpu() for task in TASKS}
    joined["landmarks"] = (joined["landmarks"].unflatten(1, (len(LANDMARKS), 2)) + 1) / 2
    return joined


def evaluate(network: MultiTask, images: Tensor, truth: Faces) -> Tensor:
    """(6,): NME of each landmark in the network's frame, and share of right attributes."""
    found, size = predict(network, images), images.shape[-1]
    errors = landmark_errors(found["landmarks"].numpy(), truth.landmarks.numpy(), (size, size))
    scores = attribute_scores(found["attributes"].numpy(), truth.attributes.numpy())
    return torch.tensor([*errors.mean(0), pooled_accuracy(scores)], dtype=torch.float32)
