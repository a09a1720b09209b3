"""Histograms as plain geometry, which a template draws as SVG: no plotting library, a kilobyte a picture."""

import math
from dataclasses import dataclass

from autograder.report.text import count, number

PLANE, SMALL = (400.0, 150.0), (230.0, 84.0)  # width and height in which bars stand, in SVG units: about a pixel
STEPS = (0.25, 0.5, 1, 2, 5)


@dataclass(frozen=True)
class Bar:
    """`amount` values fell in here; `what` says so in words."""

    x: float
    y: float
    width: float
    height: float
    amount: int
    what: str


@dataclass(frozen=True)
class Histogram:
    """Bars from left to right, ticks (x, label) below them, where the mean stands, and all of it in words."""

    width: float
    height: float
    unit: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    mean_x: float
    mean: float
    words: str


def histogram(
    values: list[float], most: float, noun: str, unit: str, bins: int = 24, plane: tuple[float, float] = PLANE
) -> Histogram | None:
    """How `values` from 0 to `most` spread over at most `bins` bars of a round width; None without values.

    `noun` is what is counted, `unit` what is measured. The last bar holds `most` alone where the width divides it.
    """
    if not values or most <= 0:
        return None
    whole = all(value == int(value) for value in values)
    step = _step(most, bins, 1 if whole and most >= 2 else 0)
    slots = int(most / step + 1e-9) + 1
    amounts = [0] * slots
    for value in values:
        amounts[min(max(int(value / step + 1e-9), 0), slots - 1)] += 1
    wide, highest = plane[0] / slots, max(amounts)
    exact = whole and step == 1  # a bar is one value, and its tick stands below its middle, not at its left end
    bars = []
    for slot, amount in enumerate(amounts):
        height = plane[1] * amount / highest
        alone = exact or slot * step >= most
        span = number(slot * step, 2) + ("" if alone else f" to below {number((slot + 1) * step, 2)}")
        what = f"{count(amount, noun)}: {span} {unit}"
        bars.append(Bar(slot * wide, plane[1] - height, wide, height, amount, what))
    mean = sum(values) / len(values)
    label = 14 + 6 * len(number(slots * step, 0))  # units that one needs
    nth = math.ceil(slots * label / plane[0])
    middle = 0.5 if exact else 0.0
    ticks = [((slot + middle) * wide, number(slot * step, 2)) for slot in range(0, slots, nth)]
    filled = "; ".join(bar.what for bar in bars if bar.amount)
    words = f"Of {count(len(values), noun)}, the mean is {number(mean)} of {number(most)} {unit}. {filled}."
    return Histogram(*plane, unit, tuple(bars), tuple(ticks), min(mean / step + middle, slots) * wide, mean, words)


def _step(most: float, bins: int, least: float) -> float:
    """The smallest of …, 0.25, 0.5, 1, 2, 5, 10, 20, 50, … that needs at most `bins` bars."""
    scale = 1.0
    while True:
        for step in STEPS if scale == 1 else (1, 2, 5):
            if step * scale >= least and most / (step * scale) + 1 <= bins:
                return step * scale
        scale *= 10
