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
from kshot.see.still import mimebundle
from kshot.see.style import BLUE, GREY, VERMILLION, label, style

if TYPE_CHECKING:
    from kshot.see.predict import Prediction


def mark(ax: Axes, prediction: Prediction, along: str = "y") -> None:
    """Draw the commitment on `ax`, in vermillion; nothing where none was made."""
    value = prediction.value
    if value is None:
        return
    if prediction.kind == "number":
        words = f"you: {prediction.words}"
        if along == "y":
            ax.axhline(value, color=VERMILLION, linestyle=(0, (4, 2)), zorder=4)
            ax.annotate(words, (0.01, value), xycoords=ax.get_yaxis_transform(), xytext=(0, 4),
                        textcoords="offset points", color=VERMILLION, fontweight="bold")  # fmt: skip
        else:
            ax.axvline(value, color=VERMILLION, linestyle=(0, (4, 2)), zorder=4)
            ax.annotate(words, (value, 0.98), xycoords=ax.get_xaxis_transform(), xytext=(5, 0), va="top",
                        textcoords="offset points", color=VERMILLION, fontweight="bold")  # fmt: skip
    elif prediction.kind == "choice":
        i = prediction.choices.index(value)
        ax.annotate("you", (i, 0.99), xycoords=ax.get_xaxis_transform(), ha="center", va="top",
                    color=VERMILLION, fontweight="bold")  # fmt: skip
    elif prediction.kind == "click":
        ax.plot(*value, "x", color=VERMILLION, markersize=11, mew=3, zorder=5)
        label(ax, *value, "  you", VERMILLION)
    else:
        ax.plot(*value.T, color=VERMILLION, linestyle=(0, (4, 2)), zorder=4)
        label(ax, *value[len(value) // 2], "you", VERMILLION, va="bottom")


def sentence(prediction: Prediction, result: Any) -> str:
    """What came of the prediction, in one sentence."""
    guess, unit = prediction.value, prediction.unit
    if prediction.kind == "number":
        it = f"{result:.3g} {unit}".strip()
        if guess is None:
            return f"No prediction made. It is {it}."
        off = guess - result
        gap = "exactly right" if off == 0 else f"{abs(off):.3g} too {'high' if off > 0 else 'low'}"
        return f"You said {prediction.words}. It is {it}: you were {gap}."
    if prediction.kind == "choice":
        answer = max(result, key=result.get) if isinstance(result, Mapping) else result
        if guess is None:
            return f"No prediction made. It is {answer}."
        return f"You said {guess}, and so it is." if guess == answer else f"You said {guess}. It is {answer}."
    if guess is None:
        return "No prediction made."
    if prediction.kind == "click":
        return f"You said {prediction.words}. It is ({result[0]:.3g}, {result[1]:.3g})."
    truth = np.asarray(result, dtype=float)
    off = np.abs(np.interp(truth[:, 0], *guess.T) - truth[:, 1])
    return f"Your curve is off by {off.mean():.2g} on average, by {off.max():.2g} at worst."


def _number_line(ax: Axes, prediction: Prediction, result: float) -> None:
    marks = [result] if prediction.value is None else [result, prediction.value]
    low, high = (0.0, 100.0) if prediction.unit == "%" else (min(*marks, 0.0), max(*marks, 0.0))
    low, high = min(low, *marks), max(high, *marks)
    room = 0.06 * ((high - low) or 1.0)
    ax.set(xlim=(low - room, high + room), ylim=(-1, 1), yticks=[], xlabel=prediction.unit)
    ax.spines["left"].set_visible(False)
    ax.axhline(0, color=GREY, linewidth=1, zorder=0)
    for value, up, words, colour, form in [
        (result, 0.3, "result", BLUE, "o"),
        (prediction.value, -0.35, "you", VERMILLION, "x"),
    ]:
        if value is not None:
            ax.plot([value], [0], form, color=colour, markersize=11, mew=3, linestyle="")
            label(ax, value, up, f"{words}: {value:.3g} {prediction.unit}".strip(), colour, ha="center",
                  va="bottom" if up > 0 else "top")  # fmt: skip


def _chosen(ax: Axes, prediction: Prediction, result: Any) -> None:
    values = result if isinstance(result, Mapping) else {c: float(c == result) for c in prediction.choices}
    heights = [values[choice] for choice in prediction.choices]
    best = int(np.argmax(heights))
    bars = ax.bar(range(len(heights)), heights, color=[BLUE if i == best else "#B8C4CC" for i in range(len(heights))])
    ax.set_xticks(range(len(heights)), [textwrap.fill(c, 18) for c in prediction.choices])
    ax.set_ylim(min(0, *heights), max(heights) * 1.25)
    if isinstance(result, Mapping):
        ax.bar_label(bars, [f"{h:.3g} {prediction.unit}".strip() for h in heights])
        ax.set_ylabel(prediction.unit)
    else:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    mark(ax, prediction)


def draw_result(ax: Axes, prediction: Prediction, result: Any) -> None:
    """The standard picture of a result with the reader's mark."""
    if prediction.kind == "number":
        _number_line(ax, prediction, float(result))
        return
    if prediction.kind == "choice":
        _chosen(ax, prediction, result)
        return
    plane = prediction.plane
    if plane["backdrop"]:
        plane["backdrop"](ax)
    truth = np.asarray(result, dtype=float)
    if prediction.kind == "click":
        ax.plot(*truth, "o", color=BLUE, markersize=11)
        label(ax, *truth, "  result", BLUE)
    else:
        ax.plot(*truth.T, "-", color=BLUE)
        label(ax, *truth[-1], " result", BLUE)
    ax.set(**{name: plane[name] for name in ("xlim", "ylim", "xlabel", "ylabel")})
    mark(ax, prediction)


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
    lines = textwrap.wrap(f"Predict: {prediction.question}", 78)
    below = "     ".join(prediction.choices) if prediction.choices else f"_______ {prediction.unit}"
    fig, ax = figure((7.0, 0.62 + 0.24 * len(lines)))
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
    ):
        if (result is None) == (draw is None):
            raise ValueError("reveal needs the result, or draw= with a function that draws it, and not both")
        if draw is not None and not alt:
            raise ValueError("reveal(draw=...) needs alt= too: say in a sentence what the picture shows")
        self._prediction, self._result, self._draw, self._alt, self._along = prediction, result, draw, alt, along
        heights = {"number": 1.5, "choice": 2.6}
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
                draw_result(ax, self._prediction, self._result)
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
