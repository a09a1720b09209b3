"""A picture: `build(ax)` makes its artists once, `update(state)` moves them; `Canvas` turns it into pixels.

Figures are drawn with Agg, never through pyplot: any thread may draw, nothing is shown twice, and no figure
stays behind in a global list.
"""

from __future__ import annotations

import copy
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kshot.see.axis_cache import keep_axes
from kshot.see.style import style

DPI = 100


class Picture(Protocol):
    """Anything with `build` and `update`.

    Optional attributes: `figsize` (inches), `panels` (rows, columns), `grid` (options for ``figure.subplots``).

    `build(ax)` gets what ``figure.subplots(*panels)`` returns: one Axes, or an array of them. It creates every
    artist, and sets the limits, labels and ticks. `update(state)` only changes those artists, and whatever it
    changes it sets whole: ``update(a); update(b)`` must give the very pixels of a fresh ``update(b)``.
    """

    def build(self, ax: Axes) -> None: ...

    def update(self, state: Mapping[str, Any]) -> None: ...


class _FromFunction:
    def __init__(self, function: Callable[[Axes], Callable], figsize, panels, grid):
        self.function, self.figsize, self.panels, self.grid = function, figsize, panels, grid
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def build(self, ax) -> None:
        self.update = self.function(ax)
        if not callable(self.update):
            raise TypeError(f"{self.__name__}(ax) returned {self.update!r}: end it with `return update`")


def picture(function=None, *, figsize: tuple[float, float] = (7.0, 3.6), panels: tuple[int, int] = (1, 1), **grid: Any):
    """Make a Picture of one function: it builds on the axes it is given and returns its `update`.

    `grid` are options for ``figure.subplots``: ``sharey=True``, ``width_ratios=[2, 1]``.

    ::

        @kshot.see.picture(figsize=(6, 3))
        def wave(ax):
            line, = ax.plot(X, X)
            ax.set(xlabel="x", ylabel="y", ylim=(-1, 1))
            def update(state):
                line.set_ydata(np.sin(state["frequency"] * X))
            return update
    """
    if function is None:
        return lambda f: _FromFunction(f, figsize, panels, grid)
    return _FromFunction(function, figsize, panels, grid)


def figure(figsize: tuple[float, float] = (7.0, 3.6), panels: tuple[int, int] = (1, 1), **options):
    """A figure in the course's style with its axes, outside pyplot; hand it to `Still` to show it.

    `options` go to ``figure.subplots`` (``sharey=True``, ``width_ratios=[2, 1]``).
    """
    with style():
        fig = Figure(figsize, dpi=DPI, layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.subplots(*panels, **options)


class Canvas:
    """One picture on its own figure, ready to be drawn in any state and at any scale.

    The margins are settled once, after `build`, with room kept for a title; a title set in `update` therefore
    never moves the axes.
    """

    def __init__(self, picture: Picture):
        self.picture = copy.copy(picture)
        if not callable(getattr(self.picture, "build", None)):
            raise TypeError(f"{picture!r} has no build(ax): decorate it with @kshot.see.picture or write a class")
        figsize, panels = getattr(picture, "figsize", (7.0, 3.6)), getattr(picture, "panels", (1, 1))
        with style():
            self.figure, axes = figure(figsize, panels, **getattr(picture, "grid", {}))
            self.picture.build(axes)
            untitled = [ax for ax in self.figure.axes if not ax.get_title(loc="left") and ax.axison]
            for ax in untitled:
                ax.set_title(" ")
            self.figure.canvas.draw()
            self.figure.set_layout_engine("none")
            for ax in untitled:
                ax.set_title("")
            for ax in self.figure.axes:
                keep_axes(ax)

    def pixels(self, state: Mapping[str, Any], scale: float = 1.0) -> np.ndarray:
        """Draw `state`: uint8 [height, width, 3], `scale` device pixels per CSS pixel."""
        with style():
            self.picture.update(dict(state))
            return rasterise(self.figure, scale)

    def png(self, state: Mapping[str, Any], scale: float = 1.0) -> bytes:
        """Draw `state` as a lightly compressed PNG: quick to make, for the live picture."""
        return encode(self.pixels(state, scale))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels."""
        width, height = self.figure.get_size_inches()
        return round(width * DPI), round(height * DPI)

    def plane(self, axis: int = 0) -> dict:
        """Where axes number `axis` lies in the picture (fractions from the top left) and what its limits are."""
        ax = self.figure.axes[axis]
        box = ax.bbox.transformed(self.figure.transFigure.inverted())
        (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
        return {
            "left": box.x0, "right": box.x1, "top": 1 - box.y1, "bottom": 1 - box.y0,
            "xlim": [float(x0), float(x1)], "ylim": [float(y0), float(y1)],
            "xlog": ax.get_xscale() == "log", "ylog": ax.get_yscale() == "log",
        }  # fmt: skip


def rasterise(fig: Figure, scale: float = 1.0) -> np.ndarray:
    """The figure's pixels, uint8 [height, width, 3], at `scale` times 100 dots per inch."""
    with style():
        if fig.dpi != DPI * scale:
            fig.set_dpi(DPI * scale)
        fig.canvas.draw()
        return np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()


def encode(pixels: np.ndarray, small: bool = False) -> bytes:
    """PNG of uint8 [height, width, 3]; `small` spends time and keeps 128 colours, for a saved notebook."""
    if small:
        out = io.BytesIO()
        image = Image.fromarray(pixels).quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        image.save(out, "png", optimize=True)
        return out.getvalue()
    # Written by hand, without row filters: a third of Pillow's time, and this runs at every move of a drag.
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
