"""The static pictures that several lectures share: sheets of glyphs, bars, accuracies with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from kshot.see.picture import figure
from kshot.see.still import Still
from kshot.see.style import BLACK, BLUE, GREY, PALETTE, label, style


def _images(images) -> np.ndarray:
    array = np.asarray(images, dtype=float)
    if array.shape[-2:] != (28, 28):
        raise ValueError(f"glyphs have shape [..., 28, 28], got {list(array.shape)}")
    if array.ndim > 3 and array.shape[-3] == 1:
        array = array[..., 0, :, :]
    return array / 255 if array.max(initial=0) > 1 else array


def glyphs(images, labels: Sequence[str] | None = None, *, title: str = "", columns: int = 10, alt: str = "") -> Still:
    """A sheet of glyphs, dark ink on white.

    Args:
        images: [n, 28, 28], or [rows, columns, 28, 28] which keeps its shape; a channel axis of one is dropped;
            0..1 or 0..255.
        labels: one below each glyph, or, for [rows, columns, 28, 28], one at the left of each row.
    """
    array = _images(images)
    by_row = array.ndim == 4
    flat = array.reshape(-1, 28, 28)
    columns = array.shape[1] if by_row else min(columns, len(flat))
    rows = -(-len(flat) // columns)
    side = min(0.78, 7.4 / columns)
    below = 0.2 if labels is not None and not by_row else 0.0
    room = 0.9 if labels is not None and by_row else 0.0
    with style():
        size = (max(columns * side + room, 2.6), rows * (side + below) + (0.35 if title else 0.05))
        fig, axes = figure(size, (rows, columns), squeeze=False)
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.03)
        for i, ax in enumerate(axes.flat):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=i < len(flat), color="#D5D5D5")
            if i >= len(flat):
                continue
            ax.imshow(flat[i], vmin=0, vmax=1)
            if below:
                ax.set_xlabel(labels[i], fontsize=9, labelpad=2)
            elif room and i % columns == 0:
                ax.set_ylabel(labels[i // columns], rotation=0, ha="right", va="center", fontsize=9)
        if title:
            fig.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        return Still(fig, alt or f"{title or 'Glyphs'}: {rows} rows of {columns} handwritten characters.")


def bars(
    values: Mapping[str, float], *, title: str, unit: str = "", highlight: str | None = None, alt: str = ""
) -> Still:
    """Horizontal bars, each with its name and value; the highlighted one (by default the largest) in blue."""
    names, heights = list(values), list(values.values())
    chosen = highlight if highlight is not None else max(values, key=values.get)
    with style():
        fig, ax = figure((7.0, 0.7 + 0.36 * len(names)))
        colours = [BLUE if name == chosen else "#B8C4CC" for name in names]
        drawn = ax.barh(names, heights, color=colours, height=0.66)
        ax.bar_label(drawn, [f" {v:.3g} {unit}".rstrip() for v in heights])
        ax.invert_yaxis()
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.tick_params(left=False, bottom=False, labelbottom=False)
        ax.set_xlim(min(0, *heights), max(heights) * 1.15)
        ax.set_title(title)
        said = ", ".join(f"{name} {value:.3g} {unit}".strip() for name, value in values.items())
        return Still(fig, alt or f"{title}: {said}.")


def _beside(mean: float, half: float, chance: float | None) -> tuple[float, str]:
    """Where a label of a dot stands, and its alignment: right of the interval if nothing is in the way."""
    room, gap = 17.0, 1.5  # of a hundred: what the words take, and their distance from the interval
    start = mean + half + gap
    crossed = start + room > 104 or (chance is not None and start < chance < start + room)
    return (mean - half - gap, "right") if crossed and mean - half > room else (start, "left")


def accuracies(
    results: Mapping[str, tuple[float, float]],
    *,
    title: str,
    chance: float | None = None,
    highlight: str | None = None,
    alt: str = "",
) -> Still:
    """A dot and its 95 % interval for each learner.

    Args:
        results: name → (mean, half width of the interval), both in %; or anything with `mean` and `interval` in
            0..1, as `kshot.evaluate` returns.
        chance: the accuracy of guessing, in %.
        highlight: one name, drawn in blue and the others in grey; by default each has a colour of its own.
    """
    with style():
        fig, ax = figure((7.0, 1.0 + 0.36 * len(results)))
        rows = accuracies_on(ax, results, chance, highlight)
        ax.set_title(title)
        said = ", ".join(f"{name} {mean:.1f} ± {half:.1f} %" for name, (mean, half) in rows.items())
        return Still(fig, alt or f"{title}: {said}.")


def accuracies_on(
    ax: Axes,
    results: Mapping[str, tuple[float, float]],
    chance: float | None = None,
    highlight: str | None = None,
) -> dict[str, tuple[float, float]]:
    """Draw `accuracies` on given axes; returns each name's mean and half interval in %."""
    rows = {
        name: (100 * r.mean, 100 * r.interval) if hasattr(r, "interval") else tuple(r) for name, r in results.items()
    }
    for i, (name, (mean, half)) in enumerate(rows.items()):
        colour = PALETTE[i % len(PALETTE)] if highlight is None else BLUE if name == highlight else GREY
        ax.errorbar(mean, i, xerr=half, fmt="o", color=colour, capsize=4, linestyle="")
        x, side = _beside(mean, half, chance)
        label(ax, x, i, f"{mean:.1f} ± {half:.1f} %", BLACK, ha=side, fontsize=9, fontweight="normal")
    if chance is not None:
        ax.axvline(chance, color=GREY, linestyle=":", linewidth=1.5)
        ax.annotate("chance", (chance, 0.0), xycoords=ax.get_xaxis_transform(), xytext=(4, 4),
                    textcoords="offset points", color=GREY)  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlim=(0, 104), ylim=(len(rows) - 0.4, -0.7), xlabel="accuracy (%), with 95 % interval")
    return rows
