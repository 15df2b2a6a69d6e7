"""The five pictures of the first page: parts of the quick run's figures, from input to output.

It reads ``reports/quick``, so ``make run`` comes first. Nothing is drawn here that a notebook has
not shown: each picture is cut out of a figure.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lib.engine.files import REPOSITORY

HEIGHT, GAP = 150, 8  # pixels
HERE = Path(__file__).parent
# paper -> figure, and the parts that stand side by side: left, top, right, bottom as shares
PARTS = {
    "01": (
        "01_piggyback_continual/figures/five_tasks",
        [(0.025, 0.064, 0.18, 0.272), (0.187, 0.064, 0.342, 0.272), (0.675, 0.064, 0.83, 0.272)],
    ),
    "02": (
        "02_dip_architecture_study/figures/denoising_strip",
        [(0.005, 0.235, 0.145, 1), (0.715, 0.235, 0.855, 1)],
    ),
    "03": ("03_transfer_emd/figures/emd_flow", [(0.0, 0.0, 1, 0.78)]),
    "04": (
        "04_smtn_celeba/figures/examples",
        [(0.19, 0.503, 0.345, 0.655), (0.672, 0.503, 0.829, 0.655)],
    ),
    "05": (
        "05_image_weight_synthesis/figures/figure_1",
        [(0.002, 0.05, 0.14, 0.29), (0.155, 0.05, 0.293, 0.29), (0.46, 0.05, 1, 0.315)],
    ),
}


def cut(figure: str, boxes: list[tuple[float, ...]]) -> Image.Image:
    """Parts of a figure side by side, all of one height."""
    whole = Image.open(REPOSITORY / "reports" / "quick" / f"{figure}.png").convert("RGB")
    sides = (whole.width, whole.height, whole.width, whole.height)
    parts = [whole.crop([round(a * b) for a, b in zip(box, sides, strict=True)]) for box in boxes]
    parts = [part.resize((round(part.width * HEIGHT / part.height), HEIGHT)) for part in parts]
    width = sum(part.width + GAP for part in parts) - GAP
    picture, left = Image.new("RGB", (width, HEIGHT), "white"), 0
    for part in parts:
        picture.paste(part, (left, 0))
        left += part.width + GAP
    return picture


for paper, (figure, boxes) in PARTS.items():
    cut(figure, boxes).save(HERE / f"00_{paper}.png", optimize=True)
