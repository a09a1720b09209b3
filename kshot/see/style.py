"""How every picture of the course looks: colours, type, and labels that stand beside what they name.

Colours are those of Okabe and Ito, "Color Universal Design" (2008); each line colour comes with its own dash,
so that a picture still reads in greyscale. Figures stand on a white card of their own, in any theme.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, CARD = "#6B6B6B", "#FFFFFF"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
DASHES = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5)), (0, (9, 2)), (0, (3, 1.5)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

RC = {
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
    "axes.facecolor": CARD,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.hinting": "no_hinting",  # so that type has one shape at every scale
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4A4A4A",
    "axes.labelcolor": "#222222",
    "xtick.color": "#4A4A4A",
    "ytick.color": "#4A4A4A",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "text.color": "#111111",
    "lines.linewidth": 2.0,
    "lines.markersize": 7,
    "image.cmap": "gray_r",
    "image.interpolation": "nearest",
}


_DRAWING = threading.RLock()  # matplotlib's settings belong to the process: one thread draws at a time


@contextmanager
def style():
    """The course's matplotlib settings, for one thread at a time: ``with kshot.see.style(): ...``."""
    with _DRAWING, matplotlib.rc_context(RC):
        yield


def label(ax: Axes, x: float, y: float, text: str, color: str = BLACK, **options):
    """A direct label at data coordinates (x, y), with a white outline that keeps it legible over lines."""
    options = {"va": "center", "ha": "left", "fontweight": "bold", **options}
    return ax.text(x, y, text, color=color, path_effects=[withStroke(linewidth=3, foreground=CARD)], **options)


def end_labels(ax: Axes, lines: Sequence[Line2D] | None = None) -> Callable[[], None]:
    """Write each line's label at its right end, kept apart vertically, in place of a legend.

    Args:
        lines: which lines; by default all lines of `ax` that were given a ``label=``.

    Returns:
        A function that moves the labels to the lines' present ends: call it at the end of ``update``.
    """
    if lines is None:
        lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    texts = [
        ax.annotate(
            line.get_label(),
            (0, 0),
            xytext=(6, 0),
            textcoords="offset points",
            color=line.get_color(),
            va="center",
            fontweight="bold",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground=CARD)],
        )
        for line in lines
    ]
    points_per_label = 13.0

    def place() -> None:
        height = max(ax.get_window_extent().height * 72 / ax.figure.dpi, 1.0)
        axes_to_data, data_to_axes = ax.transAxes + ax.transData.inverted(), ax.transData + ax.transAxes.inverted()
        ends = []
        for line, text in zip(lines, texts, strict=True):
            shown = line.get_visible() and len(line.get_xdata()) > 0
            text.set_visible(shown)
            if shown:
                x, y = data_to_axes.transform((line.get_xdata()[-1], line.get_ydata()[-1]))
                ends.append([min(max(y, 0.02), 0.98), x, text])
        ends.sort(key=lambda end: end[0])
        gap = min(points_per_label / height, 0.96 / max(len(ends), 1))
        for below, above in pairwise(ends):
            above[0] = max(above[0], below[0] + gap)
        top = 0.98
        for end in reversed(ends):
            end[0] = min(end[0], top)
            top = end[0] - gap
        for y, x, text in ends:
            text.xy = axes_to_data.transform((min(x, 1.0), y))

    place()
    return place
