"""`Pad`: draw a character, get a glyph like those of the data set."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from kshot.see.picture import figure
from kshot.see.plane import HERE, to_bytes
from kshot.see.still import Still, mimebundle
from kshot.see.style import style

# Measured on Omniglot's 32,460 drawings at 28 x 28 (every eighth of them): the box of the ink is 19 pixels long on
# its longer side (quartiles 16 and 21), pen included; its centre lies half a pixel up and left of the image's, at
# 13.5; a straight stroke holds 1.3 pixels of ink across.
LONG, CENTRE, PEN = 17.5, 13.5, 1.3
FINE = 3  # samples per pixel and axis
SMALLEST = 0.08  # drawings smaller than this share of the pad are not enlarged further: a dot stays a dot


def glyph_of(strokes: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """Ink in pixels: strokes as lists of (x, y) points, in any unit and place, to a float glyph [28, 28] in 0..1.

    The drawing is moved and scaled to lie as the data set's glyphs do, then drawn with their pen: where and how
    large it was on the pad makes no difference. No strokes give an empty glyph.
    """
    lines = [torch.tensor(stroke, dtype=torch.float64).reshape(-1, 2) for stroke in strokes if len(stroke)]
    if not lines:
        return torch.zeros(28, 28)
    points = torch.cat(lines)
    low, high = points.amin(0), points.amax(0)
    scale = LONG / float((high - low).max().clamp(min=SMALLEST))
    lines = [_thin(((line - (low + high) / 2) * scale + CENTRE).tolist()) for line in lines]
    a = torch.tensor([p for line in lines for p in (line[:-1] or line)])  # [segments, 2]: where each starts
    b = torch.tensor([p for line in lines for p in (line[1:] or line)])  # and ends
    at = (torch.arange(28 * FINE) + 0.5) / FINE
    distance = _distance(at.repeat(28 * FINE), at.repeat_interleave(28 * FINE), a, b)
    ink = (0.5 + (PEN / 2 - distance) * FINE).clamp(0, 1)
    return ink.view(28, FINE, 28, FINE).mean((1, 3))


def _thin(line: list[list[float]], gap: float = 0.5) -> list[list[float]]:
    """Leave out points nearer than `gap` pixels to the one before, but never the last: the shape stays."""
    kept = line[:1]
    for point in line[1:-1]:
        if math.dist(point, kept[-1]) >= gap:
            kept.append(point)
    return kept + line[-1:] if len(line) > 1 else kept


def _distance(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """From each point (x, y) [P] to the nearest of the segments a-b [S, 2]: [P]."""
    (dx, dy), (ax, ay) = (b - a).T, a.T
    ox, oy = x[:, None] - ax, y[:, None] - ay  # [P, S]
    share = ((ox * dx + oy * dy) / (dx.square() + dy.square()).clamp(min=1e-9)).clamp(0, 1)
    return ((ox - share * dx).square() + (oy - share * dy).square()).amin(1).sqrt()


def pack(glyphs: Tensor) -> bytes:
    """Glyphs in 0..1 as bytes for the browser, 255 is full ink."""
    return (glyphs.clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes()


def as_glyph(glyph: Any) -> Tensor:
    """Anything like a glyph, [28, 28] or [1, 28, 28], 0..1 or uint8, as a float tensor [28, 28] in 0..1."""
    given = torch.as_tensor(glyph)
    if tuple(given.shape) not in ((28, 28), (1, 28, 28)):
        raise ValueError(f"a glyph has shape [28, 28], got {list(given.shape)}")
    return given.reshape(28, 28).float() / (255 if given.dtype == torch.uint8 else 1)


class Pad(anywidget.AnyWidget):
    """A pad to draw one character on, by mouse, touch or keys.

    Args:
        glyph: a glyph [28, 28] to show until something is drawn; by default the pad is empty.
        name: what the pad is called, for screen readers.

    `glyph` is the drawing as a float tensor [28, 28] in 0..1 (ink is 1), centred and scaled like the data set's.
    """

    _esm = (HERE / "ink.js").read_text() + (HERE / "pad.js").read_text()
    _css = (HERE / "ink.css").read_text() + (HERE / "pad.css").read_text()

    name = traitlets.Unicode("Draw a character").tag(sync=True)
    size = traitlets.Int(196).tag(sync=True)
    preset = traitlets.Bytes(bytes(784)).tag(sync=True, from_json=to_bytes)
    seen = traitlets.Bytes(bytes(784)).tag(sync=True, from_json=to_bytes)
    drawn = traitlets.Dict({"strokes": None}).tag(sync=True, echo_update=False)

    def __init__(self, glyph: Any = None, name: str = "Draw a character"):
        self._preset = torch.zeros(28, 28) if glyph is None else as_glyph(glyph)
        self._glyph, self._listeners, self._lock = self._preset, [], threading.RLock()
        super().__init__(name=name, preset=pack(self._preset), seen=pack(self._preset))
        self.observe(self._draw, "drawn")

    @property
    def glyph(self) -> Tensor:
        """The drawing, float [28, 28] in 0..1."""
        return self._glyph.clone()

    def on_draw(self, listener: Callable[[Tensor], None]) -> None:
        """Call `listener(glyph)` whenever the drawing has changed."""
        self._listeners.append(listener)

    def _draw(self, change) -> None:
        strokes = change["new"]["strokes"]
        with self._lock:
            self._glyph = self._preset if strokes is None else glyph_of(strokes)
            self.seen = pack(self._glyph)
            for listener in self._listeners:
                listener(self.glyph)

    def _repr_mimebundle_(self, **kwargs: Any):
        live = super()._repr_mimebundle_(**kwargs)
        data, metadata = live if isinstance(live, tuple) else (live or {}, {})
        with style():
            fig, ax = figure((1.6, 1.6))
            ax.imshow(self._glyph.numpy(), vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            still = Still(fig, "A drawing pad, " + ("empty." if not self._glyph.any() else "with a character on it."))
        return {**data, **mimebundle(still._pixels, still.alt, still.width)}, metadata
