"""A result beside the reader's commitment: the standard pictures, and what came of it in one sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from kshot.see.style import BLUE, GREY, VERMILLION, label

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


def _amount(value: float, unit: str) -> str:
    """A value with its unit; per cents are rounded to a tenth."""
    return f"{round(value, 1):g} %" if unit == "%" else f"{value:.3g} {unit}".strip()


def _measured(result: Any) -> tuple[float, float]:
    """A number, or a score with an interval, as a number and the half width of its interval, 0 where it has none."""
    if not hasattr(result, "interval"):
        return float(result), 0.0
    scale = 100 if result.percent else 1
    return scale * result.mean, scale * result.interval


def sentence(prediction: Prediction, result: Any) -> str:
    """What came of the prediction, in one sentence."""
    guess, unit = prediction.value, prediction.unit
    if prediction.kind == "number":
        result, half = _measured(result)
        it = _amount(result, unit) if not half else f"{result:.1f} ± {half:.1f} {unit}".rstrip()
        if guess is None:
            return f"No prediction made. It is {it}."
        off = guess - result
        gap = (
            "exactly right"
            if off == 0
            else f"{_amount(abs(off), unit).removesuffix(' %')} too {'high' if off > 0 else 'low'}"
        )
        return f"You said {prediction.words}. It is {it}: you were {gap}."
    if prediction.kind == "choice":
        answer = max(result, key=lambda choice: _measured(result[choice])[0]) if isinstance(result, Mapping) else result
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


def _number_line(ax: Axes, prediction: Prediction, result: Any, chance: float | None = None) -> None:
    result, half = _measured(result)
    marks = [result] if prediction.value is None else [result, prediction.value]
    low, high = (0.0, 100.0) if prediction.unit == "%" else (min(*marks, 0.0), max(*marks, 0.0))
    low, high = min(low, *marks), max(high, *marks)
    room = 0.06 * ((high - low) or 1.0)
    ax.set(xlim=(low - room, high + room), ylim=(-1, 1), yticks=[], xlabel=prediction.unit)
    ax.spines["left"].set_visible(False)
    ax.axhline(0, color=GREY, linewidth=1, zorder=0)
    if half:
        ax.errorbar(result, 0, xerr=half, color=BLUE, capsize=5, capthick=2)
    if chance is not None:
        ax.plot([chance, chance], [-1, 0.2], color=GREY, linestyle=":", linewidth=1.5, zorder=0)
        label(ax, chance, -0.75, " chance", GREY)
    for value, up, words, colour, form in [
        (result, 0.3, "result", BLUE, "o"),
        (prediction.value, -0.35, "you", VERMILLION, "x"),
    ]:
        if value is not None:
            ax.plot([value], [0], form, color=colour, markersize=11, mew=3, linestyle="")
            side = "left" if value < low + 2 * room else "right" if value > high - 2 * room else "center"
            label(ax, value, up, f"{words}: {_amount(value, prediction.unit)}", colour, ha=side,
                  va="bottom" if up > 0 else "top")  # fmt: skip


def _chosen(ax: Axes, prediction: Prediction, result: Any) -> None:
    if not isinstance(result, Mapping):
        _tags(ax, prediction, result)
        return
    values = [_measured(result[choice]) for choice in prediction.choices]
    heights, halves = [value for value, _ in values], [half for _, half in values]
    best = int(np.argmax(heights))
    ax.bar(range(len(heights)), heights, color=[BLUE if i == best else "#B8C4CC" for i in range(len(heights))])
    ax.set_xticks(range(len(heights)), [textwrap.fill(c, 18) for c in prediction.choices])
    ax.set_ylim(min(0, *heights), max(heights) * 1.25)
    words = [_amount(h, prediction.unit) for h in heights]
    if any(halves):
        ax.errorbar(range(len(heights)), heights, yerr=halves, fmt="none", color="#333333", capsize=4)
        words = [f"{h:.1f} ± {half:.1f} {prediction.unit}".rstrip() for h, half in values]
    for i, height in enumerate(heights):
        ax.annotate(words[i], (i, max(height + halves[i], 0)), xytext=(0, 3), textcoords="offset points", ha="center")
    ax.set_ylabel(prediction.plane["ylabel"] or prediction.unit)
    mark(ax, prediction)


def _tags(ax: Axes, prediction: Prediction, right: str) -> None:
    """The choices in a row, the right one filled."""
    ax.set(xlim=(-0.5, len(prediction.choices) - 0.5), ylim=(-1, 1))
    ax.axis("off")
    for i, choice in enumerate(prediction.choices):
        colour, ink = (BLUE, "white") if choice == right else ("#E4E9EC", GREY)
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "none"}
        ax.text(i, -0.3, textwrap.fill(choice, 24), color=ink, ha="center", va="center", fontweight="bold", bbox=box)
    mark(ax, prediction)


def draw_result(ax: Axes, prediction: Prediction, result: Any, chance: float | None = None) -> None:
    """The standard picture of a result with the reader's mark."""
    if prediction.kind == "number":
        _number_line(ax, prediction, result, chance)
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
