"""Deep Image Prior: four images in one batch, without a wait for the device each step."""

from __future__ import annotations

import torch
from timing import Row, compare

from lib.data.images import load_images
from lib.dip.network import Architecture, EncoderDecoder, Layers
from lib.dip.prior import INPUT_CHANNELS, INPUT_SCALE, DipFit, DipSettings, fit

ARCHITECTURE = Architecture(4, (0,))
LAYERS = Layers(width=32, upsampling="nearest")
PHOTOS = "photos:astronaut,camera,chelsea,coffee"


def fits(device: torch.device, iterations: int) -> Row:
    """Four photographs of 64 px."""
    _, images = load_images(PHOTOS, size=64, channels=3)
    clean = images.to(device).float() / 255
    noisy = clean + torch.randn_like(clean) * 25 / 255
    work = len(clean) * iterations
    return compare(
        "Deep Image Prior, 4 images of 64 px",
        lambda: our_dip(noisy, clean, iterations),
        lambda: plain_dip(noisy, clean, iterations),
        (work, work),
        "image iterations/s",
        5.0 if device.type == "cuda" else 1.3,
        device,
    )


def plain_dip(noisy: torch.Tensor, clean: torch.Tensor, iterations: int) -> list[list[float]]:
    """What a reader of the paper would write: an image at a time, a number printed each step."""
    curves = []
    for seed, (target, truth) in enumerate(zip(noisy, clean, strict=True)):
        torch.manual_seed(seed)
        net = EncoderDecoder(ARCHITECTURE, INPUT_CHANNELS, len(target), LAYERS).to(target.device)
        shape = (1, INPUT_CHANNELS, *target.shape[1:])
        z = torch.rand(shape, device=target.device) * INPUT_SCALE
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        curve = []
        for _ in range(iterations):
            optimiser.zero_grad()
            output = net(z)
            loss = torch.nn.functional.mse_loss(output, target[None])
            loss.backward()
            optimiser.step()
            curve.append(((output[0] - truth) ** 2).mean().sqrt().item())
        curves.append(curve)
    return curves


def our_dip(noisy: torch.Tensor, clean: torch.Tensor, iterations: int) -> DipFit:
    settings = DipSettings(iterations=iterations, fixed=iterations, window=10, patience=20)
    seeds = range(len(noisy))
    return fit(ARCHITECTURE, noisy, clean, seeds=seeds, layers=LAYERS, settings=settings)
