"""The one image element of the course: a picture, and handles on it that can be dragged in data coordinates."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent
WHOLE = {"left": 0, "right": 1, "top": 0, "bottom": 1, "xlim": [0, 1], "ylim": [0, 1], "xlog": False, "ylog": False}


def to_bytes(value, _widget=None) -> bytes:
    """Binary traits arrive from the browser as memoryviews, which `Bytes` would silently refuse."""
    return bytes(value)


class Plane(anywidget.AnyWidget):
    """An ``<img>`` with alt text, draggable handles over it, and a line each for a challenge, a note, an error.

    The browser sets `asked` (which handle went where, numbered); whoever owns the plane answers by setting
    `frame` and `answered` together. The browser never has two questions under way: while one is, only the newest
    position is kept, so nothing queues up.
    """

    _esm = HERE / "plane.js"
    _css = HERE / "plane.css"

    frame = traitlets.Bytes(b"").tag(sync=True, from_json=to_bytes)
    scale = traitlets.Float(1.0).tag(sync=True)  # device pixels per CSS pixel in `frame`
    width = traitlets.Int(700).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    plane = traitlets.Dict(WHOLE).tag(sync=True)  # Canvas.plane(): where the axes lie, and their limits
    handles = traitlets.List().tag(sync=True)  # dicts: name, x, y, along ("xy", "x" or "y")
    reach = traitlets.Unicode("handle").tag(sync=True)  # what the pointer grabs: a handle, or the "nearest" one
    locked = traitlets.Bool(False).tag(sync=True)
    challenge = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    asked = traitlets.Dict().tag(sync=True, echo_update=False)
    answered = traitlets.Int(0).tag(sync=True)
