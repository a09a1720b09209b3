"""Lecture 06 in a real JupyterLab: it runs to the end, and one drag turns the order of the three families round."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "lectures" / "06_three_families.ipynb"
LIVE = '.kshot-card img[alt^="A sine with its crest"]'
TURNED = "([css, was]) => { const seen = document.querySelector(css); return seen.src !== was && %s; }"
HIGH = TURNED % "Number(/height ([0-9.]+)/.exec(seen.alt)[1]) > 8"


def missed(alt: str) -> dict[str, int]:
    """The share of the variance that each family misses, as the alt text says it."""
    return {name: int(share) for name, share in re.findall(r"(black box|gradient|metric) (\d+) %", alt)}


def test_lecture_06_runs_to_its_end_and_one_drag_makes_the_winner_the_worst(page, lab, helpers):
    helpers.run_notebook(page, lab, NOTEBOOK, timeout=600)
    picture = helpers.live(page, LIVE)
    was, at_home = picture.get_attribute("src"), missed(picture.get_attribute("alt"))
    assert min(at_home, key=at_home.get) == "black box"

    box = page.get_by_role("button", name="crest: x").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 0.26 * picture.bounding_box()["height"], steps=8)  # some seven units of 28 up
    page.mouse.up()

    page.wait_for_function(HIGH, arg=[LIVE, was])
    away = missed(picture.get_attribute("alt"))
    assert max(away, key=away.get) == "black box"
    assert abs(away["metric"] - at_home["metric"]) <= 1
