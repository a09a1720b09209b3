"""What STYLE asks of every lecture and a machine can count: short cells, predictions before results, alt texts."""

import json
import re
from pathlib import Path

import pytest

LECTURES = sorted((Path(__file__).parents[2] / "lectures").glob("*.ipynb"))


@pytest.fixture(params=LECTURES, ids=lambda path: path.stem)
def cells(request):
    return json.loads(request.param.read_text(encoding="utf-8"))["cells"]


def code(cells):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_lectures():
    assert len(LECTURES) >= 5


def test_no_cell_is_longer_than_25_lines_and_half_are_short(cells):
    lengths = sorted(len(source.splitlines()) for source in code(cells))
    assert lengths[-1] <= 25
    assert lengths[len(lengths) // 2] <= 15


def test_the_reader_commits_three_times_before_a_result(cells):
    sources = code(cells)
    asked = [(at, name) for at, s in enumerate(sources) for name in re.findall(r"^(\w+) = kshot\.predict\(", s, re.M)]
    revealed = {
        name: at for at, source in enumerate(sources) for name in re.findall(r"\b(\w+)\.(?:reveal|draw)\(", source)
    }
    assert len(asked) >= 3
    assert all(revealed.get(name, -1) > at for at, name in asked), "a question without a later answer"


def test_every_cell_ran_and_none_failed(cells):
    outputs = [out for cell in cells if cell["cell_type"] == "code" for out in cell["outputs"]]
    assert outputs and not [out["ename"] for out in outputs if out["output_type"] == "error"]


def test_every_picture_says_what_it_shows(cells):
    pages = [
        "".join(out["data"].get("text/html", "")) for cell in cells for out in cell.get("outputs", []) if "data" in out
    ]
    pictures = [tag for page in pages for tag in re.findall(r"<img\b[^>]*>", page)]
    assert len(pictures) >= 5
    assert all(re.search(r'alt="[^"]{15,}"', tag) for tag in pictures)
