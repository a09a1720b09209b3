"""`predict`: the reader commits to an answer before seeing the result, and meets it again beside the result."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from matplotlib.axes import Axes

from kshot.see.explorer import Explorer
from kshot.see.results import mark
from kshot.see.reveal import Reveal, question_card
from kshot.see.still import mimebundle

KINDS = ("number", "choice", "click", "curve")
_MADE: dict[str, Prediction] = {}  # by key: running a cell again must not undo a commitment


class Prediction(ipywidgets.VBox):
    """A question and the reader's answer to it; made by `predict`.

    `value` is None until the reader commits; then a float (number), one of the choices (choice), an array [2]
    (click) or an array [knots, 2] (curve). `reveal` shows it beside the result and locks it.
    """

    value = traitlets.Any(None, allow_none=True)
    locked = traitlets.Bool(False)

    def __init__(self, question: str, kind: str, unit: str, choices: Sequence[str], plane: dict[str, Any]):
        self.question, self.kind, self.unit, self.choices, self.plane = question, kind, unit, tuple(choices), plane
        self._entry = self._make_entry()
        self._commit = ipywidgets.Button(description="Commit", button_style="primary", disabled=True)
        self._status = ipywidgets.HTML()
        self._commit.on_click(lambda _: self.commit(self._entered()))
        self._heading = ipywidgets.HTML(f'<b style="font-size:15px">{html.escape(question)}</b>')
        row = ipywidgets.VBox if kind in ("click", "curve") else ipywidgets.HBox
        words = [ipywidgets.Label(unit)] if kind == "number" and unit else []
        super().__init__([self._heading, row([self._entry, *words, self._commit]), self._status])
        self.add_class("kshot-predict")
        self._say()

    def _make_entry(self) -> ipywidgets.Widget:
        if self.kind == "number":
            entry = ipywidgets.Text(placeholder="a number", layout={"width": "120px"}, continuous_update=True)
            entry.observe(lambda _: self._allow(self._entered() is not None), "value")
        elif self.kind == "choice":
            entry = ipywidgets.ToggleButtons(
                options=self.choices, value=None, style={"button_width": "auto"}, layout={"width": "max-content"}
            )
            entry.observe(lambda change: self._allow(change["new"] is not None), "value")
        else:
            (x0, x1), (y0, y1) = self.plane["xlim"], self.plane["ylim"]
            if self.kind == "click":
                start, along = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), {}
            else:
                x = np.linspace(x0, x1, self.plane["knots"])
                start, along = np.stack([x, np.full_like(x, (y0 + y1) / 2)], axis=1), {"mark": "y"}
            entry = Explorer(
                _Blank(self),
                alt=f"An empty plane to answer: {self.question}",
                points={"mark": start},
                along=along,
                reach="nearest",
            )
            entry.on_change(lambda _: self._allow(True))
        return entry

    def _entered(self) -> Any:
        if self.kind == "number":
            try:
                return float(self._entry.value.replace(",", ".").replace("%", ""))
            except ValueError:
                return None
        return self._entry.value if self.kind == "choice" else self._entry.state["mark"].copy()

    def _allow(self, ready: bool) -> None:
        self._commit.disabled = self.locked or not ready

    def commit(self, value: Any) -> None:
        """Commit from code, as the button does.

        Raises:
            RuntimeError: the result has been shown already.
            ValueError: the value is no answer to a question of this kind.
        """
        if self.locked:
            raise RuntimeError("the result has been shown: this prediction is locked")
        if self.kind == "number":
            value = float(value)
        elif self.kind == "choice":
            if value not in self.choices:
                raise ValueError(f"{value!r} is not one of the choices {list(self.choices)}")
        else:
            value = np.asarray(value, dtype=float)
            if value.shape[-1:] != (2,) or value.ndim != (1 if self.kind == "click" else 2):
                raise ValueError(
                    f"a {self.kind} is {'(x, y)' if self.kind == 'click' else '[n, 2]'}, got {value.shape}"
                )
        self.value = value
        self._say()

    def lock(self) -> None:
        """No change any more: the result is known."""
        self.locked = True
        self._commit.disabled = True
        if isinstance(self._entry, Explorer):
            self._entry.lock()
        else:
            self._entry.disabled = True
        self._say()

    @property
    def words(self) -> str:
        """The commitment in words: "95 %", "B", "(0.2, 0.4)", "a curve from 0.9 to 0.1"."""
        if self.value is None:
            return "no prediction made"
        if self.kind == "number":
            return f"{self.value:g} {self.unit}".strip()
        if self.kind == "choice":
            return str(self.value)
        if self.kind == "click":
            return f"({self.value[0]:.3g}, {self.value[1]:.3g})"
        return f"a curve from {self.value[0, 1]:.3g} to {self.value[-1, 1]:.3g}"

    def _say(self) -> None:
        if self.locked:
            said = "Locked, the result is out. " + ("You made no prediction." if self.value is None else "")
        else:
            said = "Commit before you read on." if self.value is None else "You can change it until you see the result."
        mine = "" if self.value is None else f"<b>Your prediction: {html.escape(self.words)}.</b> "
        self._status.value = f'<span role="status">{mine}{said}</span>'

    def draw(self, ax: Axes, along: str = "y") -> None:
        """Mark the commitment on any axes, and lock it; nothing is drawn where none was made.

        Args:
            along: for a number, the axis it is read on: "y" draws a level line, "x" an upright one.
        """
        self.lock()
        mark(ax, self, along)

    def reveal(
        self,
        result: Any = None,
        *,
        draw: Callable[[Axes], None] | None = None,
        alt: str | None = None,
        figsize: tuple[float, float] | None = None,
        along: str = "y",
        chance: float | None = None,
    ) -> Reveal:
        """Show the result with the reader's mark beside it; where nothing is committed yet, ask for that first.

        Args:
            result: a number or a kshot Result; the right choice, or choice → value or Result (the largest is right);
                a point; or a curve [n, 2].
            draw: in place of `result`, a function that draws any picture of it on given axes.
            alt: what the picture shows; needed with `draw`.
            along: for a number with `draw`, the axis it is read on.
            chance: for a number without `draw`, what guessing gives.
        """
        return Reveal(self, result, draw=draw, alt=alt, figsize=figsize, along=along, chance=chance)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        pixels, width = question_card(self)
        alt = f"A question to the reader: {self.question} {' / '.join(self.choices)} Answer: {self.words}."
        return {**(super()._repr_mimebundle_(**kwargs) or {}), **mimebundle(pixels, alt, width)}


class _Blank:
    """The plane on which a click or a curve is entered."""

    def __init__(self, prediction: Prediction):
        self.prediction, self.figsize = prediction, prediction.plane["figsize"]

    def build(self, ax: Axes) -> None:
        plane = self.prediction.plane
        if plane["backdrop"]:
            plane["backdrop"](ax)
        ax.set(**{name: plane[name] for name in ("xlim", "ylim", "xlabel", "ylabel")})
        self.curve = self.prediction.kind == "curve"
        (self.artist,) = ax.plot([], [], "--" if self.curve else "x", color="#D55E00", markersize=11, mew=3, zorder=5)
        ax.set_title("Draw your curve" if self.curve else "Click where you think it is")

    def update(self, state: Mapping[str, Any]) -> None:
        self.artist.set_data(*np.atleast_2d(state["mark"]).T)


def predict(
    question: str,
    kind: str = "number",
    *,
    key: str | None = None,
    unit: str = "",
    choices: Sequence[str] = (),
    xlim: tuple[float, float] = (0.0, 1.0),
    ylim: tuple[float, float] = (0.0, 1.0),
    xlabel: str = "",
    ylabel: str = "",
    backdrop: Callable[[Axes], None] | None = None,
    knots: int = 9,
    figsize: tuple[float, float] = (6.0, 3.4),
) -> Prediction:
    """Ask the reader to commit before the result is shown.

    Args:
        question: one sentence.
        kind: "number" (with `unit`), "choice" (with `choices`), "click" in a plane, or "curve" drawn in a plane.
        key: names the commitment, so that running the cell again keeps it; by default the question itself.
        xlim, ylim, xlabel, ylabel, figsize: the plane of a click or a curve; `ylabel` names a choice's values too.
        backdrop: draws what is known already on the plane's axes.
        knots: how many points a drawn curve has.

    ::

        guess = kshot.predict("95 % right on pairs: how often right among 20?", unit="%", key="pairs")
        guess                       # a cell of its own: the widget
        guess.reveal(60.2)          # a later cell: the reader's mark beside the result

    Raises:
        ValueError: `kind` is unknown, or a choice question has no choices.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: a prediction is one of {', '.join(KINDS)}")
    if (kind == "choice") != bool(choices):
        raise ValueError(f"kind={kind!r} with choices={choices!r}: choices belong to kind='choice', and only there")
    name = key or question
    old = _MADE.get(name)
    if old is not None and old.value is not None and (old.question, old.kind) == (question, kind):
        return old
    plane = dict(xlim=xlim, ylim=ylim, xlabel=xlabel, ylabel=ylabel, backdrop=backdrop, knots=knots, figsize=figsize)
    _MADE[name] = Prediction(question, kind, unit, choices, plane)
    return _MADE[name]
