"""What the arena shows: for each learner its five probabilities and a map of its embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from kshot.see.style import BLACK, GREEN, GREY, ORANGE, PURPLE, SKY, YELLOW

LABELS = ("A", "B", "C", "D", "E")
COLOURS = (ORANGE, SKY, GREEN, YELLOW, PURPLE)
HALF = 0.2  # half a thumbnail's side, in the map's units


class ArenaPicture:
    """A row for each learner: bars on the left, the map on the right; `with_glyphs` adds the drawings on top.

    The state: glyphs [6, 28, 28], labels [5], asked (whether there is a query), and answers, one dict a learner
    with p [5], map [6, 2] or None, nearest, and where labels were exchanged before [5], the p of before; then
    swapped too, the words for it.
    """

    def __init__(self, names: Sequence[str], with_glyphs: bool = False):
        self.names, self.top = list(names), int(with_glyphs)
        rows = len(self.names) + self.top
        self.figsize = (7.2, 2.3 * len(self.names) + 1.3 * self.top)
        self.panels = (rows, 2)
        self.grid = {
            "squeeze": False,
            "width_ratios": [1.7, 1],
            "height_ratios": [1.3] * self.top + [2.3] * len(self.names),
        }

    def build(self, ax: np.ndarray) -> None:
        self.strip = [_Thumbnail(ax[0, 0], 0.45) for _ in LABELS] if self.top else []
        if self.top:
            self.query, self.support = _Thumbnail(ax[0, 1], 0.45), ax[0, 0]
            for axes, width, words in ((ax[0, 0], 5, "Support"), (ax[0, 1], 2.86, "Query")):
                axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, 0.85), aspect="equal", anchor="W")
                axes.set_title(words)
                axes.axis("off")
            self.tags = [
                ax[0, 0].text(i, 0.66, "", ha="center", va="center", fontweight="bold") for i in range(len(LABELS))
            ]
        self.rows = [_Row(left, right) for left, right in ax[self.top :]]

    def update(self, state: Mapping[str, Any]) -> None:
        glyphs, labels = np.asarray(state["glyphs"]), [int(label) for label in state["labels"]]
        for i, thumbnail in enumerate(self.strip):
            thumbnail.put(glyphs[i], (i, 0.0), COLOURS[labels[i]])
            self.tags[i].set_text(LABELS[labels[i]])
        if self.top:
            self.query.put(glyphs[-1], (0.0, 0.0), BLACK)
            self.support.set_title(": ".join(["Support", state["swapped"]]) if "swapped" in state else "Support")
        for row, name, answer in zip(self.rows, self.names, state["answers"]):
            row.update(name, answer, glyphs, labels, state["asked"])


class _Thumbnail:
    """A glyph in a coloured frame, at a place on some axes."""

    def __init__(self, ax: Axes, half: float, zorder: float = 2):
        self.half = half
        self.image = ax.imshow(
            np.zeros((28, 28)), vmin=0, vmax=1, extent=(-1, 1, -1, 1), aspect="auto", zorder=zorder,
            interpolation="hanning",  # thin strokes must survive being made smaller
        )  # fmt: skip
        self.frame = ax.add_patch(_rectangle(half, zorder + 0.1))

    def raise_to(self, zorder: float) -> None:
        self.image.set_zorder(zorder)
        self.frame.set_zorder(zorder + 0.05)

    def put(self, glyph: np.ndarray, at: Sequence[float], colour: str, visible: bool = True) -> None:
        x, y = at
        self.image.set_data(glyph)
        self.image.set_extent((x - self.half, x + self.half, y - self.half, y + self.half))
        self.frame.set_xy((x - self.half, y - self.half))
        self.frame.set_edgecolor(colour)
        self.image.set_visible(visible)
        self.frame.set_visible(visible)


def beside(place: np.ndarray, others: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Where the query's drawing stands: at its `place` [2], or next to it if it would cover one of `others` [n, 2]."""
    away = np.arctan2(*(place - nearest)[::-1])
    turns = away + np.pi / 6 * np.array([0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6])
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    rings = [place + r * HALF * ring for r in (2.2, 3.3, 4.4)]
    stands = np.clip(np.concatenate([place[None], *rings]), -1.05, 1.05)
    room = np.abs(stands[:, None] - others).max(-1).min(-1)  # sides of a square, hence the larger of the two
    free = np.flatnonzero(room >= 2 * HALF)
    return stands[free[0] if len(free) else room.argmax()]


def _rectangle(half: float, zorder: float) -> Rectangle:
    return Rectangle((0, 0), 2 * half, 2 * half, fill=False, linewidth=2.5, zorder=zorder)


class _Row:
    """One learner: its bars and its map."""

    def __init__(self, bars: Axes, plane: Axes):
        self.bars, self.plane = bars, plane
        self.columns = bars.bar(range(len(LABELS)), [0] * len(LABELS), color=COLOURS, edgecolor="#333333", width=0.7)
        self.before = bars.bar(
            range(len(LABELS)), [0] * len(LABELS), color="none", edgecolor=GREY, linestyle="--", width=0.8, zorder=3
        )
        self.was = bars.text(0, 0, "before", ha="center", color=GREY)
        self.numbers = [bars.text(i, 0, "", ha="center", va="bottom", fontsize=9) for i in range(len(LABELS))]
        bars.set_xticks(range(len(LABELS)), LABELS, fontweight="bold", fontsize=11)
        bars.set(ylim=(0, 115), yticks=[0, 50, 100], ylabel="probability (%)")
        (self.link,) = plane.plot([], [], color=GREY, linestyle=":", zorder=1)
        (self.place,) = plane.plot([], [], "o", color=BLACK, markersize=6, markeredgecolor="white", zorder=5)
        self.points = [_Thumbnail(plane, HALF, 2 + i / 10) for i in range(len(LABELS))]
        self.query = _Thumbnail(plane, HALF, 4)
        self.none = plane.text(0, 0, "", ha="center", va="center", color=GREY)
        plane.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xticks=[], yticks=[], aspect="equal", anchor="W")
        plane.spines[:].set(visible=True, color="#D5D5D5")

    def update(self, name: str, answer: Mapping, glyphs: np.ndarray, labels: list[int], asked: bool) -> None:
        p = 100 * np.asarray(answer["p"]) * asked
        for column, number, height, i in zip(self.columns, self.numbers, p, range(len(p))):
            column.set_height(height)
            number.set_position((i, height + 2))
            number.set_text(f"{height:.0f}" if asked else "")
        before = 100 * np.asarray(answer.get("before", np.zeros(len(p)))) * asked
        for outline, height in zip(self.before, before):
            outline.set_height(height)
            outline.set_visible(height > 1)  # per cent: an outline of less is a stray line
        self.was.set_position((int(before.argmax()), before.max() + 2))
        self.was.set_visible(before.max() > 1)
        best = int(p.argmax())
        self.bars.set_title(f"{name}: {LABELS[best]}, {p[best]:.0f} %" if asked else f"{name}: draw a query")
        self._map(answer, glyphs, labels, asked)

    def _map(self, answer: Mapping, glyphs: np.ndarray, labels: list[int], asked: bool) -> None:
        places, nearest = answer["map"], answer["nearest"]
        shown = places is not None
        at = np.zeros((len(LABELS) + 1, 2))
        if shown:
            at = np.asarray(places, dtype=float)
            at = np.clip(at / max(np.abs(at[:-1]).max(), 1e-9), -1.05, 1.05)
        for i, point in enumerate(self.points):
            point.put(glyphs[i], at[i], COLOURS[labels[i]], shown)
            point.raise_to(3.5 if i == nearest else 2 + i / 10)  # the nearest is not hidden behind another
        linked = shown and asked
        stand = beside(at[-1], at[:-1], at[nearest]) if linked else at[-1]
        self.query.put(glyphs[-1], stand, BLACK, linked)
        self.link.set_data(*(np.stack([at[nearest], at[-1], stand]).T if linked else ([], [])))
        moved = linked and not np.array_equal(stand, at[-1])
        self.place.set_data(*(at[-1:].T if moved else ([], [])))
        self.none.set_text("" if shown else "no embedding")
        self.plane.set_title(f"Its map: the nearest is {LABELS[labels[nearest]]}" if linked else "Its map")
