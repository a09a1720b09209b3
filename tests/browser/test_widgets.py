"""The widgets in a real JupyterLab: drag, draw, type, and see the picture change."""

import pytest

pytestmark = pytest.mark.browser

MAKE = """
import numpy as np, torch, kshot
from kshot import see
from kshot.data import Characters

X = np.linspace(0, 6, 100)

@see.picture(figsize=(6, 3))
def wave(ax):
    (line,) = ax.plot(X, X)
    ax.set(xlabel="x", ylabel="y", xlim=(0, 6), ylim=(-2, 2))
    def update(state):
        if state["rate"] > 3.75:
            raise ValueError("too fast")
        line.set_ydata(state["peak"][1] * np.sin(state["rate"] * X))
        ax.set_title(f"Amplitude {state['peak'][1]:.2f}")
    return update

images = torch.zeros(8, 4, 1, 28, 28, dtype=torch.uint8)
for i in range(8):
    images[i, :, 0, 3 * i : 3 * i + 5, 4:24] = 255
characters = Characters(images, torch.arange(8), tuple("abcdefgh"), (0,), "made for a test")
"""
EXPLORE = """
see.Explorer(wave, alt=lambda s: f"amplitude {s['peak'][1]:.2f}, rate {s['rate']:.1f}",
             points={"peak": (3.0, 1.0)}, rate=(0.5, 4.0, 0.5, 1.0), challenge="Make it flat.")
"""
ARENA = "arena = see.arena(kshot.PixelNeighbour(), names=['pixels'], characters=characters)\narena"
PAD = "pad = see.Pad()\npad"
GUESS = "guess = kshot.predict('How many?', unit='%')\nguess"
REVEAL = "guess.reveal(60.2)"
CURVE = "curve = kshot.predict('How does it fall?', 'curve', xlim=(0, 8), ylim=(0, 1), knots=5)\ncurve"
MEASURED = """([selector, was]) => {
  const found = document.querySelector(selector);
  return found && found.getAttribute('src') && found.getAttribute('src') !== was;
}"""
EXECUTE = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code });
  let text = '';
  future.onIOPub = (message) => { text += message.content.text ?? message.content.evalue ?? ''; };
  await future.done;
  return text.trim();
}"""
IMAGE = ".kshot-card img"


def ask(page, code: str) -> str:
    """Run code in the notebook's kernel and return what it prints."""
    return page.evaluate(EXECUTE, code)


def opened(page, lab, helpers, *cells):
    helpers.run_notebook(page, lab, lab.write(MAKE, *cells))


def shown(page, selector: str = IMAGE) -> str:
    page.wait_for_function(MEASURED, arg=[selector, ""])
    return page.locator(selector).first.get_attribute("src")


def changed(page, was: str, selector: str = IMAGE) -> None:
    page.wait_for_function(MEASURED, arg=[selector, was])


def middle(locator) -> tuple[float, float]:
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, start, end) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()


def test_explorer_answers_mouse_and_keys(page, lab, helpers):
    opened(page, lab, helpers, EXPLORE)
    was, image = shown(page), page.locator(IMAGE)
    assert image.get_attribute("alt") == "amplitude 1.00, rate 1.0"
    assert page.get_by_text("Make it flat.", exact=True).is_visible()

    handle = page.get_by_role("button", name="peak: x 3, y 1")
    x, y = middle(handle)
    drag(page, (x, y), (x + 60, y + 40))
    changed(page, was)
    page.wait_for_function(
        "() => /^amplitude 0\\.[0-9]+, rate 1\\.0$/.test(document.querySelector('.kshot-card img').alt)"
    )

    before, alt = shown(page), image.get_attribute("alt")
    handle = page.locator(".kshot-handle")
    handle.press("ArrowUp")
    changed(page, before)
    page.wait_for_function("(was) => document.querySelector('.kshot-card img').alt !== was", arg=alt)

    slider, before = page.get_by_role("slider", name="rate"), shown(page)
    slider.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.kshot-card img').alt.endsWith('rate 1.5')")
    changed(page, before)


def test_explorer_shows_its_errors_in_place(page, lab, helpers):
    opened(page, lab, helpers, EXPLORE)
    shown(page)
    slider = page.get_by_role("slider", name="rate")
    slider.press("End")
    page.get_by_role("alert").filter(has_text="ValueError: too fast").wait_for()
    slider.press("Home")
    page.wait_for_function("() => document.querySelector('.kshot-error').textContent === ''")


def test_explorer_says_when_the_kernel_is_gone(page, lab, helpers):
    opened(page, lab, helpers, EXPLORE)
    shown(page)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.locator(".kshot-handle").press("ArrowUp")
    page.get_by_role("status").filter(has_text="kernel is busy or has stopped").wait_for()


def test_pad_gives_the_same_glyph_by_mouse_and_by_keys(page, lab, helpers):
    opened(page, lab, helpers, PAD)
    pad = page.get_by_label("Draw a character")
    x, y = middle(pad)
    drag(page, (x, y), (x, y + 60))
    column = "print(pad.glyph[6:20].sum(0).argmax().item(), pad.glyph.sum().item() > 15)"
    page.wait_for_function(f"async () => (await ({EXECUTE})({column!r})) === '13 True'")
    page.get_by_role("button", name="undo").click()
    page.wait_for_function(f"async () => (await ({EXECUTE})('print(pad.glyph.sum().item())')) === '0.0'")
    pad.press(" ")
    for _ in range(6):
        pad.press("ArrowDown")
    pad.press(" ")
    page.wait_for_function(f"async () => (await ({EXECUTE})({column!r})) === '13 True'")
    assert ask(page, "print(len(pad.drawn['strokes']))") == "1"


def test_ink_does_not_wait_for_the_kernel(page, lab, helpers):
    opened(page, lab, helpers, PAD)
    pad = page.get_by_label("Draw a character")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    ink = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 999, 999).data].filter((v) => v < 60).length"
    assert pad.evaluate(ink.replace("999", "196")) == 0
    x, y = middle(pad)
    drag(page, (x, y), (x + 40, y + 60))
    assert pad.evaluate(ink.replace("999", "196")) > 300


def test_arena_answers_to_drawing_and_to_dragged_tags(page, lab, helpers):
    opened(page, lab, helpers, ARENA)
    was = shown(page)
    x, y = middle(page.get_by_label("support 1. Drawing pad"))
    drag(page, (x - 20, y - 20), (x + 20, y + 20))
    x, y = middle(page.get_by_label("query. Drawing pad"))
    drag(page, (x - 30, y - 30), (x + 30, y + 30))
    page.get_by_role("status").filter(has_text="pixels says A, 100 %").wait_for()
    changed(page, was)

    was = shown(page)
    start, end = (page.get_by_role("button", name=f"label {label} on support") for label in "AD")
    drag(page, middle(start), middle(end))
    page.get_by_role("status").filter(has_text="pixels says D, 100 %").wait_for()
    changed(page, was)
    assert ask(page, "print(arena.labels.tolist())") == "[3, 1, 2, 0, 4]"

    page.get_by_role("button", name="label D on support 1").press("ArrowRight")
    page.get_by_role("status").filter(has_text="pixels says B, 100 %").wait_for()
    assert ask(page, "print(arena.labels.tolist())") == "[1, 3, 2, 0, 4]"

    page.get_by_role("button", name="Surprise me").click()
    page.get_by_role("button", name="label A on support 1").wait_for()
    assert ask(page, "print(arena.labels.tolist())") == "[0, 1, 2, 3, 4]"


def test_a_prediction_comes_before_its_result(page, lab, helpers):
    opened(page, lab, helpers, GUESS, REVEAL)
    assert page.locator(IMAGE).count() == 0
    page.get_by_placeholder("a number").fill("95")
    page.get_by_role("button", name="Commit").click()
    shown(page)
    assert "You said 95 %. It is 60.2 %: you were 34.8 too high." in page.locator(IMAGE).get_attribute("alt")
    page.get_by_text("Locked, the result is out.").wait_for()
    assert page.get_by_role("button", name="Commit").is_disabled()


def test_a_curve_is_drawn_in_one_sweep(page, lab, helpers):
    opened(page, lab, helpers, CURVE)
    shown(page)
    knots = page.locator(".kshot-handle")
    first, last = middle(knots.first), middle(knots.last)
    drag(page, (first[0], first[1] - 60), (last[0], last[1] + 60))
    page.get_by_role("button", name="Commit").click()
    code = "v = curve.value; print(v is not None and bool((v[:, 1][:-1] > v[:, 1][1:]).all()))"
    page.wait_for_function(f"async () => (await ({EXECUTE})({code!r})) === 'True'")
    before = shown(page)
    knots.first.press("ArrowDown")
    changed(page, before)
