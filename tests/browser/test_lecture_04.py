"""Lecture 04 in a real JupyterLab: it runs to the end, and one drag of the inner rate makes the three starts part."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "lectures" / "04_gradient_based.ipynb"
LINE = '.kshot-card img[alt^="Two parabolas"]'
RACE = '.kshot-card img[alt^="Three curves"]'
REDRAWN = """([css, was, words]) => {
  const seen = document.querySelector(css);
  return seen.src !== was && seen.alt.includes(words);
}"""


def drag(page, handle, right: float) -> None:
    """Pull a handle so many pixels to the right."""
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y, steps=10)
    page.mouse.up()


def test_lecture_04_runs_to_its_end_and_one_drag_makes_the_starts_part(page, lab, helpers):
    helpers.run_notebook(page, lab, NOTEBOOK, timeout=900)

    picture = helpers.live(page, LINE)
    assert "Joint 0.80, first order 0.80, MAML 0.80" in picture.get_attribute("alt")
    was = picture.get_attribute("src")
    drag(page, page.get_by_role("slider", name="inner rate"), right=1000)
    page.wait_for_function(REDRAWN, arg=[LINE, was, "MAML -1.00"])

    was = picture.get_attribute("src")
    drag(page, page.get_by_role("button", name="start: x"), right=-200)
    page.wait_for_function(REDRAWN, arg=[LINE, was, "Your start -"])

    picture = helpers.live(page, RACE)
    was = picture.get_attribute("src")
    page.get_by_role("slider", name="steps").press("ArrowRight")
    page.wait_for_function(REDRAWN, arg=[RACE, was, "after 1 step on"])
