"""Lecture 00 in a real JupyterLab: it runs to the end, and its arena answers to a dragged tag and to new ink."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

LECTURE = Path(__file__).parents[2] / "lectures" / "00_start_here.ipynb"
SHOW_CELL = """async (start) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const at = notebook.widgets.findIndex((cell) => cell.model.sharedModel.getSource().startsWith(start));
  notebook.activeCellIndex = at;
  await notebook.scrollToItem(at, 'start');
}"""
EXECUTE = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code, store_history: false });
  let text = '';
  future.onIOPub = (message) => { text += message.content.text ?? message.content.evalue ?? ''; };
  await future.done;
  return text.trim();
}"""
PROBABILITIES = """
import json
arena = next(out for out in Out.values() if type(out).__name__ == 'Arena')
print(json.dumps([round(p, 3) for p in arena.state()['answers'][0]['p'].tolist()]))
"""


@pytest.fixture
def lecture(page, lab, helpers):
    """The page with the whole lecture run, at the arena."""
    helpers.run_notebook(page, lab, LECTURE)
    page.evaluate(SHOW_CELL, "see.arena(")
    page.locator(".kshot-pads").wait_for()
    return page


def middle(locator) -> tuple[float, float]:
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def probabilities(page) -> list[float]:
    return json.loads(page.evaluate(EXECUTE, PROBABILITIES))


def test_the_lecture_runs_and_its_arena_answers(lecture):
    tag = {name: lecture.get_by_role("button", name=f"label {name} on support") for name in "ABCDE"}
    before = probabilities(lecture)
    said = "ABCDE"[before.index(max(before))]
    other = "B" if said == "A" else "A"
    lecture.get_by_role("status").filter(has_text=f"the machine says {said},").wait_for()

    start, end = middle(tag[said]), middle(tag[other])
    lecture.mouse.move(*start)
    lecture.mouse.down()
    lecture.mouse.move(*end, steps=8)
    lecture.mouse.up()
    lecture.get_by_role("status").filter(has_text=f"the machine says {other},").wait_for()
    swapped = probabilities(lecture)
    places = ["ABCDE".index(name) for name in (said, other)]
    assert [swapped[i] for i in places] == pytest.approx([before[i] for i in reversed(places)], abs=2e-3)

    x, y = middle(lecture.get_by_label("query. Drawing pad"))
    picture = lecture.locator(".kshot-card img").first.get_attribute("src")
    for row in (-30, 0, 30):  # three level strokes, like no single-stroke character
        lecture.mouse.move(x - 35, y + row)
        lecture.mouse.down()
        lecture.mouse.move(x + 35, y + row, steps=8)
        lecture.mouse.up()
    lecture.wait_for_function(
        "(was) => document.querySelector('.kshot-card img').getAttribute('src') !== was", arg=picture
    )
    lecture.wait_for_function(
        f"""async (was) => {{
          const now = JSON.parse(await ({EXECUTE})({json.dumps(PROBABILITIES)}));
          return Math.max(...now.map((p, i) => Math.abs(p - was[i]))) > 0.05;
        }}""",
        arg=swapped,
    )
