"""Lecture 05 in a real JupyterLab: it runs to the end, and one drag breaks its widget."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "lectures" / "05_metric.ipynb"
LIVE = '.kshot-card img[alt^="Nine examples of three classes"]'
BROKEN = (
    "(was) => { const seen = document.querySelector('%s'); return seen.src !== was && /among blue/.test(seen.alt); }"
)


def handle(page, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a handle is on the page, and the data coordinates that it tells a screen reader."""
    button = page.get_by_role("button", name=f"{name}: x")
    box = button.bounding_box()
    data = re.findall(r"[xy] (-?[\d.]+)", button.get_attribute("aria-label"))
    return (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (float(data[0]), float(data[1]))


def on_page(page, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the plane is on the page: the straight line through two handles, along each axis."""
    (p, a), (q, b) = handle(page, "blue 1"), handle(page, "orange 3")
    x, y = (p[i] + (q[i] - p[i]) * (point[i] - a[i]) / (b[i] - a[i]) for i in (0, 1))
    return x, y


def test_lecture_05_runs_to_its_end_and_one_drag_breaks_the_mean(page, lab, helpers):
    helpers.run_notebook(page, lab, NOTEBOOK, timeout=600)
    picture = helpers.live(page, LIVE)
    was = picture.get_attribute("src")
    assert picture.get_attribute("alt").endswith("9 of 9 examples at home.")

    start, _ = handle(page, "orange 3")
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*on_page(page, (-1.3, 0.6)), steps=10)
    page.mouse.up()

    page.wait_for_function(BROKEN % LIVE.replace('"', '\\"'), arg=was)
    assert "The orange prototype stands among blue" in picture.get_attribute("alt")
