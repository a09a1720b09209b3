"""Homework 2 as committed: in step, without secrets, and proved by the grading engine."""

import json
from pathlib import Path

import pytest

from autograder.author.mutants import mutants_of
from autograder.author.percent import read_percent
from autograder.author.secrets import leaks, secrets_of
from autograder.author.selftest import prove

ROOT = Path(__file__).parents[3]
MASTER = ROOT / "solutions" / "hw2" / "hw2.py"


def test_the_student_notebook_holds_no_secret_and_no_mutant():
    student = Path("homeworks/hw2/hw2.ipynb")
    secrets = secrets_of(MASTER)
    assert len(secrets) > 40 and list(leaks(ROOT, student, secrets)) == []
    text = "\n".join("".join(cell["source"]) for cell in json.loads((ROOT / student).read_text())["cells"])
    master = read_percent(MASTER)
    for number, cell in enumerate(master.cells):
        cell["id"] = str(number)
    mutants = mutants_of(master)
    assert len(mutants) >= 12 and not any(mutant.name in text or mutant.source in text for mutant in mutants)


def test_every_secret_is_found_where_it_is():
    found = set(leaks(ROOT, Path("solutions/hw2/hw2.ipynb"), secrets_of(MASTER)))
    assert {"the solution of hw2, q1", "the solution of hw2, q5"} <= found
    assert any(what.startswith("a line of a hidden test of hw2, q4") for what in found)


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_solution_is_full_the_untouched_notebook_zero_and_every_mutant_caught():
    report = prove(ROOT, "hw2")
    assert report.failures == [] and report.remarks == []
