"""What STYLE asks of every lecture and a machine can count: short cells, predictions before results, alt texts."""

import json
import re
import statistics
from pathlib import Path

import pytest

LECTURES = sorted((Path(__file__).parents[2] / "lectures").glob("*.ipynb"))


HALF = {"05_metric": 10}  # lines that half of a lecture's cells keep within, where it is fewer than 15


@pytest.fixture(params=LECTURES, ids=lambda path: path.stem)
def lecture(request):
    return request.param


@pytest.fixture
def cells(lecture):
    return json.loads(lecture.read_text(encoding="utf-8"))["cells"]


def code(cells):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_lectures():
    assert len(LECTURES) >= 5


def test_cells_are_short(lecture, cells):
    lengths = [len(source.splitlines()) for source in code(cells)]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= HALF.get(lecture.stem, 15)


def test_the_reader_commits_at_least_three_times_in_a_cell_before_the_result(cells):
    sources = code(cells)
    names = [re.search(r"^(\w+) = kshot\.predict\(", source, flags=re.MULTILINE) for source in sources]
    asked = {name[1]: i for i, name in enumerate(names) if name}
    shown = {name: i for i, source in enumerate(sources) for name in asked if f"{name}.reveal(" in source}
    assert len(asked) >= 3
    assert asked.keys() == shown.keys()
    assert all(asked[name] < shown[name] for name in asked)


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
