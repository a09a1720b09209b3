"""What students do to a notebook before they hand it in: each edit is graded to the points that it deserves."""

import copy
import io
import json
import zipfile

import jupytext
import nbformat
import pytest
from nbconvert import PythonExporter

from autograder.course import Limits
from autograder.grading.batches.batch import grade_folder

pytestmark = pytest.mark.sandbox
LIMITS = Limits(cell_seconds=20, question_seconds=10, submission_seconds=100)
Q1 = """
@test_case(points=1, hidden=False)
def test_double(double):
    assert double(2) == 4
@test_case(points=1, hidden=True)
def test_negative(double):
    assert double(-2) == -4
"""
Q2 = """
@test_case(points=2, hidden=True)
def test_total(total):
    assert total == 6
"""
CELLS = [
    "# Initialize Otter\nimport otter\ngrader = otter.Notebook('toy.ipynb')",
    "%matplotlib inline\nimport csv\n!pip install nothing",
    "def double(x):\n    return 2 * x",
    "grader.check('q1')",
    "with open('data/numbers.csv') as stream:\n    total = sum(int(row['n']) for row in csv.DictReader(stream))",
    "grader.check('q2')",
    "grader.export('toy.ipynb', force_save=True, run_tests=True)",
]
DATA = {"data/numbers.csv": b"n\r\n1\r\n2\r\n3\r\n"}


@pytest.fixture(scope="module")
def solved(as_notebook):
    found = as_notebook(*CELLS)
    found["cells"].insert(
        1, {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Question 1\n\n*Double.*"}
    )
    return found


def without(cells: list, *starts: str) -> list:
    return [cell for cell in cells if not cell["source"].startswith(starts)]


def at(cells: list, start: str) -> int:
    return next(n for n, cell in enumerate(cells) if cell["source"].startswith(start))


def moved(notebook: dict, start: str, to: int) -> dict:
    notebook["cells"].insert(to, notebook["cells"].pop(at(notebook["cells"], start)))
    return notebook


def changed(notebook: dict, start: str, source: str) -> dict:
    notebook["cells"][at(notebook["cells"], start)]["source"] = source
    return notebook


def with_cell(notebook: dict, source: str, to: int) -> dict:
    notebook["cells"].insert(to, {**copy.deepcopy(notebook["cells"][0]), "source": source})
    return notebook


def bare(notebook: dict) -> dict:
    """Stripped of all metadata, ids and outputs, as some tools leave it."""
    cells = [{"cell_type": cell["cell_type"], "source": cell["source"]} for cell in notebook["cells"]]
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 0}


def format_3(notebook: dict) -> dict:
    return json.loads(nbformat.writes(nbformat.convert(nbformat.from_dict(notebook), 3)))


CONFLICT = "<<<<<<< HEAD\ndef double(x):\n    return 2 * x\n=======\ndouble = None\n>>>>>>> theirs"
# story -> (what happens to the notebook, points for q1, points for q2)
EDITS = {
    "nothing": (lambda n: n, 2, 2),
    "Otter's cell deleted": (lambda n: n | {"cells": without(n["cells"], "# Init")}, 2, 2),
    "checks deleted": (lambda n: n | {"cells": without(n["cells"], "grader")}, 2, 2),
    "a check moved to the top": (lambda n: moved(n, "grader.check('q1')", 1), 2, 2),
    "all checks moved to the end": (lambda n: moved(n, "grader.check('q1')", -1), 2, 2),
    "the answer doubled": (lambda n: with_cell(n, "def double(x):\n    return 2 * x", 4), 2, 2),
    "a wrong first try left above": (lambda n: with_cell(n, "def double(x):\n    return x", 2), 2, 2),
    "another use of the name below": (lambda n: with_cell(n, "double = 'unused from here on'", 7), 2, 2),
    "all metadata gone": (bare, 2, 2),
    "tests in the metadata changed": (
        lambda n: n | {"metadata": {"otter": {"tests": {"q1": "x"}, "OK_FORMAT": 1}}},
        2,
        2,
    ),
    "an unknown kernel": (lambda n: n | {"metadata": {"kernelspec": {"name": "my-env", "language": "python"}}}, 2, 2),
    "the answer deleted": (lambda n: n | {"cells": without(n["cells"], "def double")}, 0, 2),
    "the function renamed": (lambda n: changed(n, "def double", "def doubled(x):\n    return 2 * x"), 0, 2),
    "conflict marks in an answer": (lambda n: changed(n, "def double", CONFLICT), 0, 2),
    "a cell of questions to the reader": (
        lambda n: with_cell(n, "name = input('Who are you? ')\nprint(name)", 2),
        2,
        2,
    ),
    "exit() at the end of an answer": (lambda n: with_cell(n, "import sys\nsys.exit()", 4), 2, 2),
    "quit the process": (lambda n: with_cell(n, "import os\nos._exit(0)", 4), 2, 2),
    "del grader": (lambda n: with_cell(n, "del grader, otter", 4), 2, 2),
    "half right": (lambda n: changed(n, "def double", "def double(x):\n    return abs(2 * x)"), 1, 2),
    "format 3": (format_3, 2, 2),
}


def packed(members: dict) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**members, **DATA}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def exported(notebook: dict) -> dict[str, bytes]:
    """The whole submission in other clothes, by story."""
    book = nbformat.from_dict(notebook)
    text = json.dumps(notebook, indent=1)
    return {
        "percent": packed({"toy.py": jupytext.writes(book, "py:percent")}),
        "nbconvert": packed({"toy.py": PythonExporter().from_notebook_node(book)[0]}),
        "bom": packed({"toy.ipynb": b"\xef\xbb\xbf" + text.encode()}),
        "utf16": packed({"toy.ipynb": text.encode("utf-16")}),
        "windows": packed({"toy.ipynb": text.replace("\n", "\r\n").replace("\\n", "\\r\\n").encode()}),
        "zip_of_zip": zip_of(packed({"toy.ipynb": text})),
        "autosaves": packed(
            {"toy.ipynb": text, ".ipynb_checkpoints/toy-checkpoint.ipynb": "{}", "__MACOSX/._toy": "x"}
        ),
    }


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("toy.zip", content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def graded(solved, make_zip, tmp_path_factory):
    """Records of all submissions by story."""
    folder = tmp_path_factory.mktemp("edits")
    (folder / "in").mkdir()
    names = {}
    for number, (story, (edit, _, _)) in enumerate(EDITS.items()):
        names[f"e{number}"] = story
        (folder / "in" / f"e{number}.zip").write_bytes(packed({"toy.ipynb": json.dumps(edit(copy.deepcopy(solved)))}))
    for story, content in exported(solved).items():
        names[story] = story
        (folder / "in" / f"{story}.zip").write_bytes(content)
    below = folder / "in" / "below" / "homework"
    for name, content in {"Kopie von toy.ipynb": json.dumps(solved).encode(), **DATA}.items():
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).write_bytes(content)
    names["below"] = "below"
    bundle = make_zip(folder / "toy-autograder.zip", {"q1": (2, Q1), "q2": (2, Q2)})
    batch = grade_folder(bundle, folder / "in", folder / "out", jobs=1, limits=LIMITS, quiet=True)
    return {names[result["submission"]]: result for result in batch.results}


def points(result: dict) -> list:
    return [question["score"] for question in result["questions"]]


@pytest.mark.parametrize("story", EDITS)
def test_an_edited_notebook_gets_what_it_deserves(graded, story):
    assert points(graded[story]) == list(EDITS[story][1:])


@pytest.mark.parametrize(
    "story", ["percent", "nbconvert", "bom", "utf16", "windows", "zip_of_zip", "autosaves", "below"]
)
def test_a_solution_in_other_clothes_keeps_its_points(graded, story):
    assert points(graded[story]) == [2, 2] and graded[story]["reason"] is None


SAID = {
    "nothing": None,
    "conflict marks in an answer": "The cell that begins “<<<<<<< HEAD…” raised SyntaxError: invalid syntax (line 1).",
    "a cell of questions to the reader": "raised EOFError: input() has nobody to answer it while a notebook is graded",
    "exit() at the end of an answer": "The cell that begins “import sys…” raised SystemExit.",
    "quit the process": "The cell that begins “import os…” ended the Python process and was skipped.",
    "all metadata gone": None,
}


@pytest.mark.parametrize("story", SAID)
def test_the_student_is_told_what_happened(graded, story):
    reason = graded[story]["reason"]
    assert reason is None if SAID[story] is None else SAID[story] in reason


def test_a_missing_name_is_named(graded):
    case = graded["the function renamed"]["questions"][0]["cases"][0]
    assert case["message"] == "Your notebook does not define double."
