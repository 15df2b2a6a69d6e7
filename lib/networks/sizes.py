"""How many numbers a network stores, by the kind of tensor, and what they weigh in MiB."""

import torch.nn.functional as F
from torch import Tensor, nn

KINDS = ("weights", "biases", "norms", "statistics", "other")
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def count_parameters(network: nn.Module, *, trained_only: bool = False) -> int:
    """Parameters of a network, all or those that training changes."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained_only)


def count_weights(*modules: nn.Module) -> int:
    """Weights of all (transposed) convolutions in the modules, each layer once; no biases."""
    return count_values(*modules)["weights"]


def count_values(*modules: nn.Module) -> dict[str, int]:
    """Stored numbers by kind (``KINDS``); integers such as a norm's counter of batches are none.

    weights, biases: of (transposed) convolutions. norms: scales and shifts; statistics: running
    means and variances. other: of every other layer. A layer that is met twice counts once.
    """
    counts = dict.fromkeys(KINDS, 0)
    for layer in nn.ModuleList(modules).modules():
        own = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
        for name, tensor in own:
            if tensor.is_floating_point():
                counts[_kind(layer, name, tensor)] += tensor.numel()
    return counts


def _kind(layer: nn.Module, name: str, tensor: Tensor) -> str:
    if isinstance(layer, CONVOLUTIONS):
        return {"weight": "weights", "bias": "biases"}.get(name, "other")
    if isinstance(layer, _NORMS):
        return "norms" if isinstance(tensor, nn.Parameter) else "statistics"
    return "other"


def mib(values: int, bits: int = 32) -> float:
    """Size of so many numbers in MiB (2^20 bytes)."""
    return values * bits / 8 / 2**20


def refuse_other_channels(images: Tensor, channels: int) -> None:
    """Raise ValueError unless the images are (N, channels, H, W)."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"images must be (N, {channels}, H, W), not {tuple(images.shape)}")


def pad_to_multiple(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """(N, C, H, W) with H and W raised to multiples of ``multiple``, not smaller than ``least``.

    The last row and column are repeated; ``[..., :H, :W]`` of the result is the input.
    ``least`` must itself be a multiple. Raises ValueError for an image without pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 1:
        raise ValueError(f"an image of {height} x {width} pixels has nothing to pad")
    below, right = (max(-size % multiple, least - size) for size in (height, width))
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images
