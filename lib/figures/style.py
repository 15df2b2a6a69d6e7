"""The look of all figures: one place, colour-blind safe, small enough for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from warnings import filterwarnings

# seaborn's "colorblind" palette; as a list, so that a module can name a colour without seaborn
PALETTE = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)
INK, GREY, FAINT = "#22272e", "#5b6570", "#e3e6ea"
DISTINCT = (*(PALETTE[i] for i in (0, 1, 2, 3, 4, 9)), INK, PALETTE[8])  # grey: a trivial baseline
MARKERS = "os^DvPX*<>"
WIDTH, WIDE = 8.0, 11.0  # inches: of a chart and of a drawing
TITLE, LABEL, SMALL, TINY = 11, 10, 9, 8  # points
SCREEN_DPI = 80  # in the notebook; files are saved with more
LIGHTEST = 0.92  # viridis ends in a yellow that cannot be seen on white


def use_style() -> None:
    """Set the look of seaborn's and matplotlib's figures for this process."""
    import seaborn as sns

    # a grid of seaborn's arranges itself, whatever the layout below says
    filterwarnings("ignore", message="The figure layout has changed to tight")
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        rc={
            "figure.figsize": (WIDTH, 4.2),
            "figure.dpi": SCREEN_DPI,
            "figure.constrained_layout.use": True,
            "savefig.bbox": "tight",
            "savefig.pad_inches": 0.08,
            "font.size": LABEL,
            "font.family": "DejaVu Sans",  # inside matplotlib's wheel, the same everywhere
            "axes.titlesize": TITLE,
            "axes.labelsize": LABEL,
            "xtick.labelsize": SMALL,
            "ytick.labelsize": SMALL,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "legend.fontsize": SMALL,
            "legend.title_fontsize": SMALL,
            "legend.frameon": False,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": "#8a929c",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": FAINT,
            "grid.linewidth": 0.8,
            "lines.linewidth": 1.8,
            "lines.markersize": 5.5,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
        },
    )


def ordered_colours(levels: Sequence) -> dict:
    """A colour for each of some ordered levels (depths, say), dark to light."""
    from matplotlib import colormaps

    levels = list(levels)
    last = max(1, len(levels) - 1)
    return {level: colormaps["viridis"](LIGHTEST * i / last) for i, level in enumerate(levels)}
