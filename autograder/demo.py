"""`autograder demo`: eight made-up submissions of hw2, from perfect to hostile, graded before your eyes."""

import copy
import io
import json
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save

from autograder.course import read_course
from autograder.grading.batches.batch import grade_folder
from autograder.grading.batches.table import table
from autograder.grading.submissions.bundle import Bundle, read_bundle

HOMEWORK, WEIGHTS = "hw2", "hw2_protonet.safetensors"
QUESTION_SECONDS = 10.0  # the endless loop costs as much
LINE_LENGTH = 25  # a line of a hidden test shorter than this may occur anywhere by chance

SNOOP = """
import gc, glob, os, sys
found = []
for root in ("/work", "/tmp", "/home", "/runtime/course", "/proc/1/cwd", "/proc/1/root/root"):
    for name in ("/**/q*.py", "/**/*autograder*.zip", "/**/secret"):
        for path in glob.glob(root + name, recursive=True):
            found.append(path + open(path, "rb").read().decode("latin-1"))
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    try:
        found.append(open(path).read())
    except OSError:
        pass
found += [text for text in gc.get_objects() if isinstance(text, str) and "test_case" in text]
print("LOOK:", found, dict(os.environ))


def prototypes(z, y, ways):
    frames, frame = [], sys._getframe()
    while frame:
        frames.append(repr(frame.f_locals)[:2000])
        frame = frame.f_back
    print(frames)
    raise ValueError(f"{z.tolist()} {y.tolist()} {frames}")
"""


@dataclass
class Student:
    """A made-up student: what happened to the solved notebook, and the weights handed in with it."""

    name: str
    story: str
    notebook: dict | None
    weights: bytes | None = None


def demo(jobs: int = 2, unsafe: str | None = None) -> int:
    """Build, make, grade, show; the exit code is 0 if every submission got a result and no hidden test came out.

    `unsafe` names the protections that are missing and were accepted so.
    """
    from autograder.author.build import autograder_zip
    from autograder.author.root import NotInACourse, project_root

    start = time.monotonic()
    try:
        root = project_root()
        bundle = read_bundle(autograder_zip(HOMEWORK))
    except (NotInACourse, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="autograder-demo-"))
    students = made_up(root)
    (folder / "submissions").mkdir()
    for student in students:
        (folder / "submissions" / f"{student.name}.zip").write_bytes(export(student))
    print(f"Eight submissions of {HOMEWORK} in {folder}/submissions:")
    for student in students:
        print(f"  {student.name:8}{student.story}")
    usual = read_course(root).limits
    limits = replace(usual, question_seconds=QUESTION_SECONDS)
    seconds = f"{QUESTION_SECONDS:g} s here, {usual.question_seconds:g} s by course.toml"
    print(f"A question's tests may take {seconds}: an endless loop costs as much.")
    batch = grade_folder(bundle, folder / "submissions", folder / "graded", jobs=jobs, limits=limits, unsafe=unsafe)
    print("\n" + table(batch.results), *by_hand(root), sep="\n")
    seen = leaked(bundle, folder / "graded")
    print(f"{len(seen)} lines of hidden tests came out." if seen else "No line of a hidden test came out.")
    print(f"{folder}/graded holds results/, logs/ and summary.csv; it took {time.monotonic() - start:.0f} s.")
    print(f"Next: autograder report {folder}/graded\nAnd when you have seen enough: rm -r {folder}")
    return 1 if seen else batch.exit_code


def made_up(root: Path) -> list[Student]:
    """The eight students, made from the solved notebook, its checkpoint and the untouched student notebook."""
    solved = json.loads((root / "solutions" / HOMEWORK / f"{HOMEWORK}.ipynb").read_text(encoding="utf-8"))
    blank = json.loads((root / "homeworks" / HOMEWORK / f"{HOMEWORK}.ipynb").read_text(encoding="utf-8"))
    weights = (root / "solutions" / HOMEWORK / WEIGHTS).read_bytes()
    half = _with(solved, "def logits", "def logits(z_query, c):\n    return torch.cdist(z_query, c)")
    endless = "def loss_and_accuracy(logits, query_y):\n    while True:\n        pass"
    crash = _with(solved, "glyphs = kshot", "import os\nos.abort()", before=True)
    snoop = _with(solved, "def prototypes", SNOOP)
    other = save({"net.0.weight": torch.zeros(64, 1, 3, 3)})
    return [
        Student("ada", "everything right, with the trained network", solved, weights),
        Student("ben", "half of it right, no network handed in", half),
        Student("carla", "the untouched notebook", blank),
        Student("deniz", "a cell that kills the Python process", crash, weights),
        Student("emil", "an endless loop in question 3", _with(solved, "def loss_and_accuracy", endless), weights),
        Student("fatima", "cells moved, doubled, deleted; checks, metadata and kernel gone", _edited(solved), weights),
        Student("goran", "the weights of another network", solved, other),
        Student("hana", "prints the hidden tests, if it can find them", snoop, weights),
    ]


def by_hand(root: Path) -> list[str]:
    """A sentence for each question that no test grades, and that the table is therefore without."""
    from autograder.author.mutants import question_of
    from autograder.author.percent import read_percent

    master = read_percent(root / "solutions" / HOMEWORK / f"{HOMEWORK}.py")
    manual = [question for question in map(question_of, master.cells) if question and question.get("manual")]
    return [f"{question['name']} ({question['points']} points) is marked by hand." for question in manual]


def export(student: Student) -> bytes:
    """The zip that `grader.export` would have made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{HOMEWORK}.ipynb", json.dumps(student.notebook))
        archive.writestr("__zip_filename__", f"{HOMEWORK}_2026_01_31T12_00_00_000000.zip")
        if student.weights is not None:
            archive.writestr(WEIGHTS, student.weights)
    return buffer.getvalue()


def leaked(bundle: Bundle, graded: Path) -> list[str]:
    """The lines of hidden test cases that stand in a result record."""
    hidden = set()
    for test in bundle.tests:
        public = test.source.split("hidden=True")[0]
        lines = {line.strip() for line in test.source.split("\n") if "failure_message" not in line}
        hidden |= {line for line in lines if len(line) >= LINE_LENGTH and line not in public}
    texts = [path.read_text(encoding="utf-8") for path in (graded / "results").glob("*.json")]
    return [line for line in hidden if any(json.dumps(line)[1:-1] in text for text in texts)]


def _with(notebook: dict, start: str, source: str, before: bool = False) -> dict:
    """A copy in which the code cell that starts with `start` is replaced, or has a cell put before it."""
    changed = copy.deepcopy(notebook)
    for number, cell in enumerate(changed["cells"]):
        if cell["cell_type"] == "code" and "".join(cell["source"]).startswith(start):
            new = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
            changed["cells"][number : number + (not before)] = [new]
            return changed
    raise ValueError(f"The notebook has no cell that starts with {start!r}: build {HOMEWORK} again.")


def _edited(notebook: dict) -> dict:
    """What front ends and tired students do: nothing of it changes what the notebook means."""
    changed = copy.deepcopy(notebook)
    cells = [cell for cell in changed["cells"] if "grader." not in "".join(cell["source"])]
    for cell in cells:
        cell["metadata"] = {}
        cell.pop("id", None)
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
    by_start = {"".join(cell["source"])[:12]: cell for cell in cells if cell["cell_type"] == "code"}
    doubled = copy.deepcopy(by_start["def prototyp"])
    cells.insert(cells.index(by_start["def logits(z"]), doubled)
    changed["cells"] = cells
    changed["nbformat_minor"] = 2
    changed["metadata"] = {"kernelspec": {"name": "conda-env-dl-py", "display_name": "dl", "language": "python"}}
    return changed
