"""Pictures and widgets for notebooks; needs matplotlib, ipywidgets and anywidget (``pip install kshot[lab]``)."""

from kshot.see.arena import arena, embedding_map, probabilities
from kshot.see.explorer import Explorer
from kshot.see.live import live_fit
from kshot.see.pad import Pad
from kshot.see.picture import Canvas, Picture, figure, picture
from kshot.see.sheets import accuracies, bars, glyphs
from kshot.see.still import Still, drawing
from kshot.see.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    end_labels,
    label,
    style,
)

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "MARKERS",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "YELLOW",
    "Canvas",
    "Explorer",
    "Pad",
    "Picture",
    "Still",
    "accuracies",
    "arena",
    "bars",
    "drawing",
    "embedding_map",
    "end_labels",
    "figure",
    "glyphs",
    "label",
    "live_fit",
    "picture",
    "probabilities",
    "style",
]
