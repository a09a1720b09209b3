"""The selftest proves a homework, and finds what is wrong with one that is not proved."""

import zipfile

import nbformat
import pytest
from otter.test_files.exception_test import ExceptionTestFile

from autograder.author.commands import selftest
from autograder.author.selftest import prove
from autograder.author.submissions import Record


def grade_plainly(zipped, submissions, out):
    """The oracle: each notebook's cells in one namespace, then Otter's own test classes on it."""
    records = {}
    for folder in sorted(submissions.iterdir()):
        space, cells = {}, nbformat.read(folder / "hw9.ipynb", as_version=4).cells
        for cell in cells:
            if cell.cell_type == "code" and "grader" not in cell.source:
                exec(cell.source, space)
        with zipfile.ZipFile(zipped) as archive:
            file = ExceptionTestFile.from_string(archive.read("tests/q1.py").decode())
        file.run(space)
        passed = {result.test_case.name: result.passed for result in file.test_case_results}
        said = [result.message for result in file.test_case_results if not result.passed]
        records[folder.name] = Record({"q1": file.score}, {"q1": passed}, {"q1": said})
    return records


def test_a_sound_homework_is_proved(course):
    report = prove(course, "hw9", grade_plainly)
    assert report.proved and report.remarks == []
    assert [(mutant.name, record.scores["q1"]) for mutant, record in report.runs.items()] == [
        ("squares", 0),
        ("drops the last number", 0),
        ("doubles the first number only", 0),
    ]
    first, *_, last = report.text().splitlines()
    assert first.startswith("x: the case catches the mutant;")
    assert last == "hw9: solution 3 / 3, untouched notebook 0 / 3, 3 of 3 mutants caught: proved."


def test_a_mutant_that_nothing_catches_is_found(course, sample):
    harmless = "return [number**2 for number in numbers]"
    sample.write(course, sample.master.replace(harmless, "return [number + number for number in numbers]"))
    report = prove(course, "hw9", grade_plainly)
    assert report.failures == ["no test of q1 catches the mutant 'squares'"]
    assert report.text().endswith("solution 3 / 3, untouched notebook 0 / 3, 2 of 3 mutants caught: not proved.")


def test_a_broken_solution_is_found(course, sample):
    sample.write(
        course, sample.master.replace("[number + number for number in numbers]\n    return", "[4, 6]\n    return")
    )
    (failure,) = prove(course, "hw9", grade_plainly).failures
    assert failure.startswith("the solution scores 1 of 3 on q1")


def test_an_untouched_notebook_that_scores_is_found(course, sample):
    given_away = sample.master.replace(
        "    # BEGIN SOLUTION\n", "    if numbers == [2, 3]:\n        return [4, 6]\n    # BEGIN SOLUTION\n"
    )
    sample.write(course, given_away)
    assert "the untouched notebook scores 1 on q1" in prove(course, "hw9", grade_plainly).failures


def test_idle_cases_and_too_few_mutants_are_remarked(course, sample):
    start = sample.master.index("# %% mutant: squares")
    end = sample.master.index("# %% [raw]\n# # BEGIN TESTS")
    unsigned = "def double(numbers):\n    return [abs(2 * n) for n in numbers]"
    only = f'# %% mutant: forgets the sign tags=["active-py"]\n{unsigned}\n\n\n'
    sample.write(course, sample.master[:start] + only + sample.master[end:])
    report = prove(course, "hw9", grade_plainly)
    assert report.proved
    assert report.remarks == [
        "q1 has 1 mutant: 3 typical mistakes are the least",
        "no mutant of q1 needs the case 'two and three'",
    ]


def test_a_mutant_that_names_a_handed_in_file_spoils_the_file(course, sample):
    seen = {}

    def grade(zipped, submissions, out):
        seen.update({folder.name: (folder / "hw9_weights.txt").exists() for folder in submissions.iterdir()})
        seen["spoiled"] = (submissions / "mutant_01" / "hw9_weights.txt").read_text()
        return grade_plainly(zipped, submissions, out)

    spoil = 'from pathlib import Path\n\nPath("hw9_weights.txt").write_text("spoiled")'
    sample.write(
        course, sample.master.replace("def double(numbers):\n    return [number**2 for number in numbers]", spoil)
    )
    prove(course, "hw9", grade)
    assert seen == {
        "solution": True,
        "untouched": False,
        "mutant_01": True,
        "mutant_02": True,
        "mutant_03": True,
        "spoiled": "spoiled",
    }
    assert (course / "solutions" / "hw9" / "hw9_weights.txt").read_text() == "0.25 0.5 0.75\n"


@pytest.mark.sandbox
def test_the_grading_engine_proves_the_same_homework(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    assert selftest("hw9") == 0
    assert "3 of 3 mutants caught: proved." in capsys.readouterr().out


def test_an_unknown_homework_is_refused_with_those_there_are(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    assert selftest("hw7") == 1
    assert "There are: hw9." in capsys.readouterr().err
