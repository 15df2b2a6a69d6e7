"""The look of all figures: one place, colour-blind safe, small enough for a notebook."""

from collections.abc import Sequence
from pathlib import Path
from warnings import filterwarnings

import seaborn as sns
from matplotlib import colormaps, pyplot

PALETTE = tuple(sns.color_palette("colorblind").as_hex())
INK, GREY, FAINT = "#22272e", "#5b6570", "#e3e6ea"
DISTINCT = (*(PALETTE[i] for i in (0, 1, 2, 3, 4, 9)), INK, PALETTE[8])  # grey: a trivial baseline
WIDTH, WIDE = 8.0, 11.0  # inches: of a chart and of a drawing
TITLE, LABEL, SMALL, TINY = 11, 10, 9, 8  # points
LIGHTEST = 0.92  # viridis ends in a yellow that cannot be seen on white


def use_style() -> None:
    """Set the look of seaborn's and matplotlib's figures for this process: ``style.mplstyle``."""
    # a grid of seaborn's arranges itself, whatever the layout of the sheet
    filterwarnings("ignore", message="The figure layout has changed to tight")
    sns.set_theme(style="ticks", palette=PALETTE)
    pyplot.style.use(Path(__file__).with_name("style.mplstyle"))


def ordered_colours(levels: Sequence) -> dict:
    """A colour for each of some ordered levels (depths, say), dark to light."""
    levels = list(levels)
    last = max(1, len(levels) - 1)
    return {level: colormaps["viridis"](LIGHTEST * i / last) for i, level in enumerate(levels)}
