"""Submissions that a selftest hands in, and what grading them gave."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.author.homework import Homework, copy_files
from autograder.author.mutants import Mutant, with_mutant

__all__ = ["Record", "grade_with_engine", "hand_in", "until_checked"]

PROCESSES = 2


@dataclass(frozen=True)
class Record:
    """One graded submission: points by question, whether each case passed, and why grading failed if it did."""

    scores: dict[str, float]
    cases: dict[str, dict[str, bool]]
    messages: dict[str, list[str]] = field(default_factory=dict)
    reason: str | None = None

    def why(self, question: str) -> str:
        """The first words that say what went wrong in a question."""
        said = next(filter(None, self.messages.get(question, [])), None)
        return " ".join((said or self.reason or "no reason given").split())


def until_checked(notebook: NotebookNode, question: str) -> NotebookNode:
    """A copy up to the cell that checks `question`: nothing after it can alter that question's score."""
    shortened = copy.deepcopy(notebook)
    for number, cell in enumerate(shortened.cells):
        if cell.cell_type == "code" and re.search(rf"grader\.check\(.{re.escape(question)}.\)", cell.source):
            shortened.cells = shortened.cells[: number + 1]
            break
    return shortened


def hand_in(homework: Homework, folder: Path, *, notebook: NotebookNode, with_files: bool = True) -> None:
    """Write a submission: the notebook, with a student's metadata, and the files that the solution hands in."""
    folder.mkdir(parents=True)
    if with_files:
        copy_files(homework.source.parent, folder)
    handed_in = copy.deepcopy(notebook)
    handed_in.metadata = copy.deepcopy(homework.student.metadata)  # the solution's own holds the hidden tests
    nbformat.write(handed_in, folder / f"{homework.name}.ipynb")


def hand_in_mutant(homework: Homework, folder: Path, mutant: Mutant) -> None:
    """Write the solution as `mutant` spoils it, up to the cell that checks the mutant's question.

    A mutant that names a file to hand in spoils that file, not the notebook: it is run once, in the folder.

    Raises:
        ValueError: if that run fails, with the last line of what it raised.
    """
    spoils_file = any(name in mutant.source for name in homework.hands_in)
    notebook = homework.solved if spoils_file else with_mutant(homework.solved, mutant)
    hand_in(homework, folder, notebook=until_checked(notebook, mutant.question))
    if spoils_file:
        command = [sys.executable, "-c", mutant.source]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ValueError(f"The mutant '{mutant.name}' of {mutant.question} could not spoil its file: {last}")


def grade_with_engine(zipped: Path, submissions: Path, out: Path, unsafe: str | None = None) -> dict[str, Record]:
    """Grade a folder of submissions as `autograder grade` does, two at a time; records by the submission's name.

    Args:
        unsafe: the protections of the sandbox that are missing and were accepted so.

    Raises:
        ValueError: where this machine lacks what grading needs (bubblewrap), with the sentence that says so.
    """
    from autograder.course import read_course
    from autograder.grading.batches.batch import grade_folder
    from autograder.grading.isolation.protections import missing
    from autograder.grading.submissions.bundle import read_bundle

    obstacle = missing()
    if obstacle is not None:
        raise ValueError(obstacle)
    limits = read_course().limits
    batch = grade_folder(read_bundle(zipped), submissions, out, jobs=PROCESSES, limits=limits, unsafe=unsafe)
    if batch.missing:
        raise ValueError(f"{batch.missing} submissions could not be graded: {' '.join(batch.troubles)}")
    return {result["submission"]: record_of(result) for result in batch.results}


def record_of(result: dict) -> Record:
    """What a selftest needs of one result record of the grading engine."""
    questions = result["questions"]
    return Record(
        {question["name"]: question["score"] for question in questions},
        {question["name"]: {case["name"]: case["passed"] for case in question["cases"]} for question in questions},
        {q["name"]: [case["message"] for case in q["cases"] if not case["passed"]] for q in questions},
        result["reason"],
    )
