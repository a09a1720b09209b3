"""A picture that stands still: what a notebook keeps, with its alt text."""

from __future__ import annotations

import base64
import html
from contextlib import contextmanager

import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

from kshot.see.picture import DPI, encode, figure, rasterise
from kshot.see.style import style


def mimebundle(pixels: np.ndarray, alt: str, width: int) -> dict[str, str]:
    """What a saved notebook needs to show a picture anywhere: an ``<img>`` with alt text, a PNG, and words.

    Args:
        pixels: uint8 [height, width, 3].
        alt: what the picture says, in a sentence or two.
        width: how wide it is shown, in CSS pixels.
    """
    png = base64.b64encode(encode(pixels, small=True)).decode()
    image = (
        f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{png}" width="{width}" '
        'style="max-width:100%;height:auto;background:#fff;border-radius:6px">'
    )
    return {"text/html": image, "image/png": png, "text/plain": alt}


class Still:
    """A drawn figure with alt text: the last expression of a cell shows it. Lectures mostly use `drawing`."""

    def __init__(self, figure: Figure, alt: str):
        if not alt or not alt.strip():
            raise ValueError("a picture needs alt text: say in a sentence what it shows")
        self.alt = alt
        self.width = round(figure.get_size_inches()[0] * DPI)
        self._pixels = rasterise(figure, 2.0)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return mimebundle(self._pixels, self.alt, self.width)

    def __repr__(self) -> str:
        return self.alt


@contextmanager
def drawing(alt: str, figsize: tuple[float, float] = (7.0, 3.6), panels: tuple[int, int] = (1, 1), **options):
    """Draw one static picture in the course's style; it is shown when the block ends.

    `options` go to ``figure.subplots`` (``sharey=True``, ``width_ratios=[2, 1]``).

    ::

        with kshot.see.drawing(alt="The error falls from 40 to 2 % as n grows.", figsize=(6, 3)) as ax:
            ax.plot(n, error)
            ax.set(title="More data, less error", xlabel="examples n", ylabel="error (%)")
    """
    with style():
        fig, axes = figure(figsize, panels, **options)
        yield axes
        still = Still(fig, alt)
    display(still)
