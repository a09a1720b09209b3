"""The reader's commitment beside the result: the picture, and the widget that waits for the commitment."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from matplotlib.axes import Axes

from kshot.see.picture import DPI, encode, figure, rasterise
from kshot.see.plane import Plane
from kshot.see.results import draw_result, mark, sentence
from kshot.see.still import mimebundle
from kshot.see.style import VERMILLION, style

if TYPE_CHECKING:
    from kshot.see.predict import Prediction


def card_lines(question: str) -> list[str]:
    """The question in lines of about the same length, so that no word is left alone."""
    words = f"Predict: {question}"
    rows = -(-len(words) // 76)  # a row holds about 78 letters
    return textwrap.wrap(words, min(78, len(words) // rows + 9))


def question_card(prediction: Prediction) -> tuple[np.ndarray, int]:
    """The question as a picture, for the saved notebook: uint8 [height, width, 3], and its width in CSS pixels."""
    if prediction.kind in ("click", "curve"):
        fig, ax = figure(prediction.plane["figsize"])
        with style():
            plane = prediction.plane
            if plane["backdrop"]:
                plane["backdrop"](ax)
            ax.set(**{name: plane[name] for name in ("xlim", "ylim", "xlabel", "ylabel")})
            ax.set_title(textwrap.fill(f"Predict: {prediction.question}", 60))
            mark(ax, prediction)
        return rasterise(fig, 2.0), round(plane["figsize"][0] * DPI)
    lines = card_lines(prediction.question)
    below = "      ".join(prediction.choices) if prediction.choices else f"_______ {prediction.unit}"
    fig, ax = figure((7.0, 0.44 + 0.2 * len(lines)))
    with style():
        ax.axis("off")
        ax.text(0, 1, "\n".join(lines), transform=ax.transAxes, va="top", fontweight="bold", fontsize=11)
        answer = below if prediction.value is None else f"{below}     You: {prediction.words}"
        ax.text(0, 0, answer, transform=ax.transAxes, va="bottom", color=VERMILLION)
    return rasterise(fig, 2.0), 700


class Reveal(ipywidgets.VBox):
    """The result with the reader's mark; shown once they have committed, or chosen to see it without."""

    def __init__(
        self,
        prediction: Prediction,
        result: Any = None,
        *,
        draw: Callable[[Axes], None] | None = None,
        alt: str | None = None,
        figsize: tuple[float, float] | None = None,
        along: str = "y",
        chance: float | None = None,
    ):
        if (result is None) == (draw is None):
            raise ValueError("reveal needs the result, or draw= with a function that draws it, and not both")
        if draw is not None and not alt:
            raise ValueError("reveal(draw=...) needs alt= too: say in a sentence what the picture shows")
        self._prediction, self._result, self._draw, self._alt, self._along = prediction, result, draw, alt, along
        self._chance = chance
        heights = {"number": 1.6, "choice": 2.6 if isinstance(result, Mapping) else 1.0}
        self._figsize = figsize or (
            prediction.plane["figsize"] if prediction.kind not in heights else (7.0, heights[prediction.kind])
        )
        self._plane = Plane(width=round(self._figsize[0] * DPI), height=round(self._figsize[1] * DPI))
        self._anyway = ipywidgets.Button(description="Show it anyway")
        self._anyway.on_click(lambda _: self.show())
        ask = ipywidgets.HTML(f"Commit to your prediction first: <i>{html.escape(prediction.question)}</i>")
        super().__init__([ask, self._anyway])
        if prediction.value is not None or prediction.locked:
            self.show()
        else:
            prediction.observe(lambda _: self.show(), "value")

    @property
    def alt(self) -> str:
        """What the picture shows."""
        said = sentence(self._prediction, self._result) if self._draw is None else ""
        if self._draw is not None:
            said = f"The reader's prediction: {self._prediction.words}."
        return f"{self._alt or self._prediction.question} {said}"

    def _pixels(self, scale: float) -> np.ndarray:
        with style():
            fig, ax = figure(self._figsize)
            if self._draw is not None:
                self._draw(ax)
                mark(ax, self._prediction, self._along)
            else:
                draw_result(ax, self._prediction, self._result, self._chance)
                ax.set_title(sentence(self._prediction, self._result))
            return rasterise(fig, scale)

    def show(self) -> None:
        """Show the result now; the prediction is locked from here on."""
        if self.children == (self._plane,):
            return
        self._prediction.lock()
        with self._plane.hold_sync():
            self._plane.frame, self._plane.scale, self._plane.alt = encode(self._pixels(2.0)), 2.0, self.alt
        self.children = (self._plane,)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        live = super()._repr_mimebundle_(**kwargs) or {}
        return {**live, **mimebundle(self._pixels(2.0), self.alt, self._plane.width)}
