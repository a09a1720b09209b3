"""The commands `autograder build`, `selftest` and `release`: print what happened, return an exit code."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from autograder.author.build import build_homework, select
from autograder.author.check import out_of_step
from autograder.author.execute import NotebookFailed
from autograder.author.homework import AssignFailed
from autograder.author.lectures import build_lecture
from autograder.author.release import ReleaseRefused, write_release
from autograder.author.root import NotInACourse, project_root
from autograder.author.selftest import prove
from autograder.author.submissions import grade_with_engine
from autograder.report.text import count

__all__ = ["build", "release", "selftest"]

EXPECTED = (NotInACourse, AssignFailed, NotebookFailed, ReleaseRefused, ValueError)


def build(names: list[str], check: bool = False, execute: bool = True) -> int:
    """Build the named lectures and homeworks (none named: all), or with `check` only compare; 0 if all is well, else 1.

    Args:
        execute: False leaves the outputs as they are, which builds lectures in a second.
    """
    try:
        root = project_root()
        lectures, homeworks = select(root, names)
        if check:
            return _check(root, lectures, homeworks)
        for name in lectures:
            start = time.monotonic()
            build_lecture(root, name, execute)
            print(f"lectures/{name}.ipynb ({time.monotonic() - start:.0f} s)", flush=True)
        for name in homeworks:
            start = time.monotonic()
            homework = build_homework(root, name, execute)
            tested = sum(homework.points[question] for question in homework.graded)
            print(
                f"homeworks/{name}/{name}.ipynb, solutions/{name}/{name}.ipynb, build/{name}-autograder.zip: "
                f"{sum(homework.points.values())} points, {tested} of them by {len(homework.cases)} test cases, "
                f"{len(homework.mutants)} mutants ({time.monotonic() - start:.0f} s)",
                flush=True,
            )
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def selftest(name: str, unsafe: str | None = None) -> int:
    """Prove the homework on its solution, its untouched student notebook and its mutants; 0 if proved, else 1.

    Args:
        unsafe: the protections of the sandbox that are missing and were accepted so.
    """
    try:
        report = prove(project_root(), name, partial(grade_with_engine, unsafe=unsafe))
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return 1
    print("\n" + report.text())  # below the line of progress
    return 0 if report.proved else 1


def release(directory: str | Path) -> int:
    """Write what students may have to `directory`; 0 when written, 1 when refused with a sentence."""
    try:
        files = write_release(project_root(), Path(directory))
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} files in {directory}: no solution, no hidden test.")
    return 0


def _check(root: Path, lectures: list[str], homeworks: list[str]) -> int:
    findings = list(out_of_step(root, lectures, homeworks))
    for finding in findings:
        print(finding, file=sys.stderr)
    if not findings:
        compared = f"{count(len(lectures), 'lecture')} and {count(len(homeworks), 'homework')}"
        print(f"{compared} are in step with their sources.")
    return 1 if findings else 0
