"""Keeps the drawn ticks and labels of an axis for as long as nothing about them changes.

Laying out and drawing an axis takes most of the time of a simple figure, and while a point is dragged axes
seldom change.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import RendererAgg


def keep_axes(ax: Axes) -> None:
    """From now on both axes of `ax` are drawn from a kept image until they change."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.draw = _Kept(axis)


class _Kept:
    """Draws an axis as its own `draw` would, from a kept image while it looks the same."""

    def __init__(self, axis: Axis):
        self.axis, self.draw_axis = axis, axis.draw
        self.look, self.image, self.corner = None, None, (0, 0)

    def __call__(self, renderer: RendererAgg) -> None:
        if not self.axis.get_visible():
            return
        if self.axis.stale or self.look != self._look(renderer):
            self._draw(renderer)
            self.look = self._look(renderer)
        if self.image is not None:
            renderer.draw_image(renderer.new_gc(), *self.corner, self.image)

    def _draw(self, renderer: RendererAgg) -> None:
        blank = RendererAgg(renderer.width, renderer.height, renderer.dpi)
        self.draw_axis(blank)
        ink = np.asarray(blank.buffer_rgba())
        rows, columns = ink[..., 3].any(1).nonzero()[0], ink[..., 3].any(0).nonzero()[0]
        if len(rows) == 0:
            self.image = None
            return
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        self.image = np.ascontiguousarray(ink[top:bottom, left:right][::-1])
        self.corner = (int(left), int(renderer.height - bottom))

    def _look(self, renderer: RendererAgg) -> tuple:
        """All that an axis may change by without being told that it is stale."""
        axis, words = self.axis, [self.axis.label, *(tick.label1 for tick in self.axis.majorTicks)]
        return (
            (renderer.width, renderer.height, renderer.dpi, axis.axes.bbox.bounds, *axis.get_view_interval()),
            [(word.get_text(), word.get_color(), word.get_visible(), word.get_fontsize()) for word in words],
        )
