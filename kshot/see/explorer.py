"""`Explorer`: controls and draggable points around one picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import ipywidgets
import numpy as np

from kshot.see.picture import Canvas, Picture
from kshot.see.plane import Plane
from kshot.see.still import mimebundle

WIDE = {"description_width": "initial"}


def control(name: str, value: Any) -> ipywidgets.Widget:
    """The control that suits a value.

    ``(low, high, step)`` or ``(low, high, step, start)`` → a slider, whole numbers if all are; a list or a dict of
    name → value → buttons up to four entries, a dropdown beyond; a bool → a checkbox; any ipywidget is itself.
    """
    words = name.replace("_", " ")
    if isinstance(value, ipywidgets.Widget):
        if not getattr(value, "description", "x"):
            value.description = words
        return value
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value, description=words, indent=False)
    if isinstance(value, tuple) and len(value) in (3, 4) and all(isinstance(v, Real) for v in value):
        low, high, step = value[:3]
        whole = all(isinstance(v, Integral) for v in value)
        slider = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        decimals = max(0, -Decimal(str(step)).as_tuple().exponent)
        form = {} if whole else {"readout_format": f".{decimals}f"}
        return slider(
            value=value[3] if len(value) == 4 else low, min=low, max=high, step=step, description=words,
            style=WIDE, layout={"width": "340px"}, **form,
        )  # fmt: skip
    if isinstance(value, (list, dict)) and value:
        options = list(value.items()) if isinstance(value, dict) else [(str(v), v) for v in value]
        if len(options) <= 4:
            return ipywidgets.ToggleButtons(
                options=options,
                description=words,
                style={**WIDE, "button_width": "auto"},
                layout={"width": "max-content"},
            )
        return ipywidgets.Dropdown(options=options, description=words, style=WIDE)
    raise TypeError(
        f"{name}={value!r} is no control: give (low, high, step), (low, high, step, start), a list, a dict, "
        "a bool or an ipywidget"
    )


class Points:
    """Draggable points by name: each a point [2] or a set of points [n, 2], kept as float arrays."""

    def __init__(self, points: Mapping[str, Any], along: Mapping[str, str]):
        self.values = {name: np.array(value, dtype=float) for name, value in points.items()}
        self._owners: list[tuple[str, int | None]] = []
        for name, value in self.values.items():
            if value.shape[-1:] != (2,) or value.ndim > 2:
                raise ValueError(f"points[{name!r}] has shape {value.shape}: give one point (x, y) or [n, 2] of them")
            self._owners += [(name, None)] if value.ndim == 1 else [(name, i) for i in range(len(value))]
        if unknown := (set(along) - set(points)) or (set(along.values()) - {"x", "y", "xy"}):
            raise ValueError(f"along={dict(along)!r}: {sorted(unknown)} is neither a point nor one of 'x', 'y', 'xy'")
        self._along = along

    def handles(self) -> list[dict]:
        """One dict for each handle on the picture: name, x, y, along."""
        rows = []
        for name, i in self._owners:
            x, y = self.values[name] if i is None else self.values[name][i]
            words = name.replace("_", " ") + ("" if i is None else f" {i + 1}")
            rows.append({"name": words, "x": float(x), "y": float(y), "along": self._along.get(name, "xy")})
        return rows

    def move(self, handle: int, x: float, y: float) -> None:
        """Put one handle at data coordinates (x, y)."""
        name, i = self._owners[handle]
        new = self.values[name].copy()
        new[() if i is None else i] = (x, y)
        self.values[name] = new


class Explorer(ipywidgets.VBox):
    """Controls above a picture whose points can be dragged; every change redraws it.

    Args:
        picture: a Picture (see `kshot.see.picture`).
        alt: what the picture shows, in words; or a function of the state that says it.
        points: name → (x, y) or [n, 2], draggable in data coordinates, by touch, and by arrow keys.
        along: name → "x" or "y" for points that move along one axis only.
        axis: the number of the axes that the points live in.
        reach: "handle": only a point itself can be grabbed; "nearest": the pointer anywhere moves the nearest point.
        challenge: a task for the reader, in a sentence; or (sentence, done) with ``done(state) -> bool``.
        saved: the state, as far as it differs from the start, that the saved notebook's picture shows.
        controls: see `control`.

    The state that ``picture.update`` gets is a dict: each control's value and each point's array, by name.
    """

    def __init__(
        self,
        picture: Picture,
        *,
        alt: str | Callable[[Mapping[str, Any]], str],
        points: Mapping[str, Any] | None = None,
        along: Mapping[str, str] | None = None,
        axis: int = 0,
        reach: str = "handle",
        challenge: str | tuple[str, Callable] | None = None,
        saved: Mapping[str, Any] | None = None,
        **controls: Any,
    ):
        self._alt, self._axis = alt, axis
        self._points = Points(points or {}, along or {})
        self._controls = {name: control(name, value) for name, value in controls.items()}
        if both := set(self._points.values) & set(self._controls):
            raise ValueError(f"{sorted(both)} are both points and controls: each name stands for one thing")
        if unknown := set(saved or {}) - set(self.state):
            raise ValueError(f"saved has {sorted(unknown)}, but the state has {sorted(self.state)}")
        self._saved = dict(saved or {})
        self._challenge, self._done = challenge if isinstance(challenge, tuple) else (challenge or "", None)
        self._moves, self._won = 0, False
        self._lock = threading.RLock()  # comm messages may be handled on more than one thread
        self._canvas = Canvas(picture)
        width, height = self._canvas.size
        self._plane = Plane(width=width, height=height, challenge=self._challenge, reach=reach)
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self._show()
        self._plane.observe(self._dragged, "asked")
        for widget in self._controls.values():
            widget.observe(self._changed, "value")
        box = ipywidgets.HBox(list(self._controls.values()), layout={"flex_flow": "row wrap"})
        super().__init__([box, self._plane] if self._controls else [self._plane])
        self.add_class("kshot-controls-and-picture")

    @property
    def state(self) -> dict[str, Any]:
        """Every control's value and every point's array, by name."""
        return {**{n: w.value for n, w in self._controls.items()}, **self._points.values}

    def set(self, **values: Any) -> None:
        """Move controls and points from code: ``explorer.set(rate=0.1, a=(1, 2))``."""
        if unknown := set(values) - set(self.state):
            raise ValueError(f"{sorted(unknown)} is not in the state, which has {sorted(self.state)}")
        with self._lock:
            for name, value in values.items():
                if name in self._controls:
                    self._controls[name].value = value
                else:
                    self._points.values[name] = np.array(value, dtype=float).reshape(self._points.values[name].shape)
            self._attempt({})

    def on_change(self, listener: Callable[[Mapping[str, Any]], None]) -> None:
        """Call `listener(state)` after the reader changed something and before the picture is drawn."""
        self._listeners.append(listener)

    def lock(self) -> None:
        """From now on nothing can be moved."""
        self._plane.locked = True
        for widget in self._controls.values():
            widget.disabled = True

    def _show(self, scale: float = 1.0, **more: Any) -> None:
        state = self.state
        frame = self._canvas.png(state, scale)
        with self._plane.hold_sync():
            self._plane.set_trait("plane", self._canvas.plane(self._axis))
            self._plane.set_trait("handles", self._points.handles())
            for name, value in {"frame": frame, "scale": scale, "alt": self._words(state), "error": "", **more}.items():
                self._plane.set_trait(name, value)

    def _words(self, state: Mapping[str, Any]) -> str:
        return self._alt(state) if callable(self._alt) else self._alt

    def _attempt(self, more: dict[str, Any], scale: float = 1.0) -> None:
        try:
            for listener in self._listeners:
                listener(self.state)
            if self._done and not self._won and self._moves and self._done(self.state):
                self._won = True
                more["note"] = f"Done, in {self._moves} move{'s' if self._moves > 1 else ''}."
            self._show(scale, **more)
        except Exception as error:  # shown where the reader looks: widget callbacks leave no trace in the cell
            with self._plane.hold_sync():
                self._plane.error = f"This state cannot be drawn. {type(error).__name__}: {error}"
                self._plane.answered = more.get("answered", self._plane.answered)

    def _changed(self, _change) -> None:
        with self._lock:
            self._moves += 1
            self._attempt({})

    def _dragged(self, change) -> None:
        question = change["new"]
        with self._lock:
            for handle, (x, y) in question.get("moves", {}).items():
                self._points.move(int(handle), x, y)
            self._moves += question.get("first", 0)
            self._attempt({"answered": question["serial"]}, question.get("scale", 1.0))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        with self._lock:
            state = {**self.state, **{n: self._as(n, v) for n, v in self._saved.items()}}
            pixels = self._canvas.pixels(state, 2.0)
        live = super()._repr_mimebundle_(**kwargs) or {}
        return {**live, **mimebundle(pixels, self._words(state), self._canvas.size[0])}

    def _as(self, name: str, value: Any) -> Any:
        return np.array(value, dtype=float) if name in self._points.values else value
