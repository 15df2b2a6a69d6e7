"""Notebook 01's stream at a size that learns a task in a tenth of a second, for its tests."""

from __future__ import annotations

from dataclasses import replace

from lib.continual.trials import ContinualStudy
from lib.engine.profiles import load_profile

QUICK = load_profile(ContinualStudy, "quick")
STREAM = replace(
    QUICK.stream,
    train=(12, 12),
    test=6,
    size=16,
    style_size=16,
    width=4,
    base_steps=8,
    steps=4,
    mask_lr=4e-3,  # two steps take a mask over its threshold
    patches=1,
    gatys_images=2,
    gatys_steps=5,
    importance_images=3,
)
SIZES = replace(QUICK, stream=STREAM)
