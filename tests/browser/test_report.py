"""The report in a real Chromium: it sorts and filters, is legible, asks nobody for anything, runs no one's script."""

import json
import random

import pytest

from autograder.cli import main

pytestmark = pytest.mark.browser

ATTACK = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>\u202e"
)
SCHEMES = [("light", 1440), ("dark", 375)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty results as the grader writes them, with markup in every name, and their pages."""
    out, draw = tmp_path_factory.mktemp("graded"), random.Random(0)
    (out / "results").mkdir()
    (out / "logs").mkdir()
    (out / "grading.json").write_text(json.dumps({"assignment": f"hw2 {ATTACK}"}))
    for number in range(40):
        cases = [
            {"name": f"case {k} {ATTACK}", "hidden": k > 0, "passed": draw.random() < 0.6, "message": f"hint {ATTACK}"}
            for k in range(4)
        ]
        score = float(sum(case["passed"] for case in cases))
        questions = [{"name": f"q{q}", "score": score, "possible": 4.0, "cases": cases} for q in (1, 2)]
        record = {
            "submission": f"s{number}",
            "student": f"Student {number} {ATTACK}",
            "assignment": "hw2",
            "status": "failed" if number == 7 else "graded",
            "fault": "infrastructure" if number == 7 else None,
            "reason": f"The cell that begins “{ATTACK}” raised E.",
            "score": 2 * score,
            "possible": 8.0,
            "mode": "split",
            "questions": questions,
            "seconds": draw.uniform(0, 200),
            "device": "cpu",
            "limits": ["memory"] if number % 9 == 0 else [],
        }
        (out / "results" / f"s{number}.json").write_text(json.dumps(record))
        (out / "logs" / f"s{number}.txt").write_text(f"attempt 1, slot 0: {ATTACK}\n")
    assert main(["report", str(out)]) == 0
    return out


@pytest.fixture(params=SCHEMES, ids=lambda scheme: f"{scheme[0]} {scheme[1]}")
def page(request, browser):
    """A page in one colour scheme and width; at the end: no errors, no requests but for the files, no script ran."""
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page, errors, requests = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    assert errors == [] and page.title() != "owned"
    assert all(url.startswith("file://") and url.endswith(".html") for url in requests)
    context.close()


def column(page, number: int) -> list[str]:
    """The texts of one column of the students' table, as they stand."""
    cells = page.locator(f"#table tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_sort_filter_and_open_a_students_page(page, folder):
    page.goto(f"file://{folder}/report.html")
    before = column(page, 2)
    head = page.get_by_role("button", name="score")
    head.focus()
    page.keyboard.press("Enter")
    numbers = [float(text) for text in column(page, 2) if text != "–"]
    assert numbers == sorted(numbers) and len(numbers) == 39 and column(page, 2) != before
    page.keyboard.press("Space")
    numbers = [float(text) for text in column(page, 2) if text != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert page.locator("#table th").nth(1).get_attribute("aria-sort") == "descending"

    page.get_by_role("searchbox").fill("memory")
    assert len(column(page, 1)) == 5 and page.get_by_role("status").inner_text() == "5 of 40"
    page.get_by_role("searchbox").fill("")
    assert len(column(page, 1)) == 40

    page.locator("#table tbody th a").nth(20).click()  # of middling score
    page.wait_for_url("**/feedback/*.html")
    assert page.get_by_role("heading", name="What to do next").is_visible()
    assert "onerror" in page.locator("h1").inner_text()  # shown as text


def test_nothing_overflows_and_every_picture_says_what_it_shows(page, folder):
    for address in ("report.html", "feedback/s1.html", "feedback/s7.html"):
        page.goto(f"file://{folder}/{address}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        unnamed = "svg:not([aria-hidden=true]):not([role=img][aria-label]), img, table:not(:has(caption))"
        assert page.locator(unnamed).count() == 0
        assert page.locator("h1").count() == 1


CONTRAST = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((part) => part / 255).map(
      (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (part) => {
    const colour = getComputedStyle(part).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" && part.parentElement ? behind(part.parentElement) : colour;
  };
  return [...document.querySelectorAll("body *:not(svg *):not(script)")]
    .filter((part) => [...part.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((part) => {
      const [a, b] = [light(getComputedStyle(part).color), light(behind(part))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), part.className, part.textContent.slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


def test_text_stands_out_from_what_is_behind_it(page, folder):
    """At least 4.5 : 1, as WCAG 2.2 asks of body text (level AA)."""
    for address in ("report.html", "feedback/s1.html"):
        page.goto(f"file://{folder}/{address}")
        assert page.evaluate(CONTRAST) == []


def test_without_scripts_the_table_is_there(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{folder}/report.html")
    assert page.locator("#table tbody tr").count() == 40
    assert not page.get_by_role("searchbox").is_visible() and page.locator("#table button").count() == 0
    context.close()
