"""Lecture 03 in a real JupyterLab: it runs to the end, and one drag bends the curve while the checksum stands still."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "lectures" / "03_black_box.ipynb"
LIVE = '.kshot-card img[alt^="A curve with its band"]'
BENT = (
    "(was) => { const seen = document.querySelector('%s');"
    " return seen.src !== was && !/, 0\\.\\d from the first/.test(seen.alt); }"
)


def handle(page, number: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a point's handle is on the page, and the data coordinates that it tells a screen reader."""
    button = page.get_by_role("button", name=f"point {number}: x")
    box = button.bounding_box()
    x, y = re.findall(r"[xy] (-?[\d.]+)", button.get_attribute("aria-label"))
    return (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (float(x), float(y))


def on_page(page, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the plane is on the page: the straight line through two handles, along each axis."""
    (p, a), (q, b) = handle(page, 3), handle(page, 5)
    x, y = (p[i] + (q[i] - p[i]) * (point[i] - a[i]) / (b[i] - a[i]) for i in (0, 1))
    return x, y


def seal(words: str) -> str:
    """The checksum that the picture's words give."""
    return re.search(r"Weights: ([0-9a-f]{8}), unchanged", words)[1]


def test_lecture_03_runs_to_its_end_and_one_drag_bends_the_curve_of_a_sealed_box(page, lab, helpers):
    helpers.run_notebook(page, lab, NOTEBOOK, timeout=600)
    picture = helpers.live(page, LIVE)
    was, before = picture.get_attribute("src"), picture.get_attribute("alt")
    assert "0.0 from the first answer. 5 pairs" in before

    start, _ = handle(page, 3)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*on_page(page, (-0.2, -1.6)), steps=10)
    page.mouse.up()

    page.wait_for_function(BENT % LIVE.replace('"', '\\"'), arg=was)
    assert seal(picture.get_attribute("alt")) == seal(before)
