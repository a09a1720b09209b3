"""Assignments written for Otter, graded by `otter run` and by this grader: the same points, case by case?

`python benchmarks/otter_compatibility.py` builds the masters of tests/autograder/otter with Otter Assign, makes three
submissions of each (solved, half right, untouched), grades them with both and prints a table. It writes
benchmarks/results/otter_compatibility.json, which holds Otter's verdicts, and exits with 1 where the two differ.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MASTERS = HERE.parent / "tests" / "autograder" / "otter"
RESULTS = HERE / "results" / "otter_compatibility.json"
EXECUTED = {"doctests"}  # their expected values are the outputs of the master's test cells
FILES = {"data": {"numbers.csv": b"n\n1\n2\n3\n"}}
HALF = {  # what the half right submission has in place of the solution
    "functions": [
        ("return 2 * x", "return abs(2 * x)"),
        ("return self.items.pop()", "return self.items.pop() if self.items else None"),
        ("return max(low, min(x, high))", "return min(x, high)"),
        ("n * n for n in range(5)", "n + n for n in range(5)"),
        ('f"Hello {name}"', '"Hello"'),
    ],
    "doctests": [
        ("return float(np.mean(values))", "return sum(values) / len(values) if len(values) > 1 else values[0]"),
        ('"b": {"x", "y"}', '"b": {"x"}'),
        ("for letter in text:", "for letter in text[:2]:"),
    ],
    "data": [("np.random.rand(3)", "np.random.rand(4)[:3] * 0")],
    "names": [("scale = 10", "scale = 11"), ("values.append(3)", "values = [1, 2, 4]"), ('"no "', '"not "')],
}


@dataclass
class Assignment:
    """An assignment as Otter built it, and the submissions to it by name."""

    name: str
    path: Path
    submissions: dict[str, Path]


def build(name: str, folder: Path) -> Assignment:
    """Run Otter Assign on a master and make its three submissions in `folder`."""
    import jupytext
    import nbclient
    import nbformat
    from otter.assign import main as assign

    folder = folder / name
    folder.mkdir()
    master = jupytext.reads((MASTERS / f"{name}.txt").read_text(encoding="utf-8"), fmt="py:percent")
    master.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if name in EXECUTED:
        nbclient.execute(master, cwd=str(folder))
    nbformat.write(master, folder / f"{name}.ipynb")
    for file, content in FILES.get(name, {}).items():
        (folder / file).write_bytes(content)
    with _silently(folder):
        assign(f"{name}.ipynb", "dist", no_run_tests=True, no_pdfs=True)
    (path,) = (folder / "dist" / "autograder").glob("*.zip")
    solved = (folder / "dist" / "autograder" / f"{name}.ipynb").read_text(encoding="utf-8")
    half = solved
    for old, new in HALF[name]:
        before, half = half, half.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
        assert half != before, f"{name}: the solution does not hold {old!r}"
    blank = (folder / "dist" / "student" / f"{name}.ipynb").read_text(encoding="utf-8")
    submissions = {}
    for kind, text in {"solved": solved, "half": half, "blank": blank}.items():
        submissions[kind] = folder / "in" / kind / f"{name}.ipynb"  # renamed, its checks would fail under Otter
        submissions[kind].parent.mkdir(parents=True)
        submissions[kind].write_text(text, encoding="utf-8")
    return Assignment(name, path, submissions)


def by_otter(assignment: Assignment) -> dict[str, dict]:
    """{submission: {question: [score, [passed of each case]]}} as `otter run` says."""
    from otter.run import main as run

    found = {}
    for kind, path in assignment.submissions.items():
        with _silently(assignment.path.parent):
            results = run(str(path), autograder=str(assignment.path), output_dir=None, no_logo=True)
        found[kind] = {
            file.name: [round(float(file.score), 6), [bool(case.passed) for case in file.test_case_results]]
            for file in results.results.values()
        }
    return found


def by_us(assignment: Assignment, out: Path) -> dict[str, dict]:
    """The same from this grader."""
    from autograder.course import Limits
    from autograder.grading.batches.batch import grade_folder
    from autograder.grading.submissions.bundle import read_bundle

    folder = next(iter(assignment.submissions.values())).parents[1]
    batch = grade_folder(read_bundle(assignment.path), folder, out, jobs=1, limits=Limits(), quiet=True)
    return {
        result["submission"]: {
            question["name"]: [question["score"], [case["passed"] for case in question["cases"]]]
            for question in result["questions"]
        }
        for result in batch.results
    }


@contextlib.contextmanager
def _silently(folder: Path):
    here = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.chdir(here)


def main() -> int:
    sys.path.insert(0, str(HERE.parent))
    recorded, differ = {}, 0
    print(f"{'assignment':12}{'submission':12}{'otter':>8}{'here':>8}  cases")
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(HALF):
            assignment = build(name, Path(folder))
            began = time.monotonic()
            theirs = by_otter(assignment)
            between = time.monotonic()
            ours = by_us(assignment, Path(folder) / f"{name}-out")
            ended = time.monotonic()
            recorded[name] = theirs
            for kind, questions in theirs.items():
                mine = ours[kind]
                cases = sum(len(passed) for _, passed in questions.values())
                wrong = [question for question in questions if mine.get(question) != questions[question]]
                differ += len(wrong)
                scores = [sum(score for score, _ in found.values()) for found in (questions, mine)]
                said = f"{cases} agree" if not wrong else f"differ in {', '.join(wrong)}: {questions} {mine}"
                print(f"{name:12}{kind:12}{scores[0]:8g}{scores[1]:8g}  {said}")
            print(f"{'':24}{between - began:7.1f}s{ended - between:7.1f}s")
    RESULTS.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
