"""Opens what was handed in, and what had been handed out, once more: code and weights, nothing else of it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autograder.author.root import NotInACourse, project_root
from autograder.course import read_course
from autograder.grading.submissions.intake import BadSubmission, open_submission
from autograder.grading.submissions.submission import find_submissions
from autograder.report.read import Record, Results
from autograder.report.tokens import Cell, read_cells
from autograder.report.weights import Checkpoint, read_checkpoint
from autograder.testing import read_weights

MOST_WEIGHTS = 4  # files of one submission


class BadPlace(ValueError):
    """The handed-out notebook or the submissions are not where they are said to be; the message is one sentence."""


@dataclass(frozen=True)
class HandedIn:
    """One submission's code, and its files of weights, each with the SHA-256 of the file."""

    record: Record
    cells: list[Cell]
    weights: list[tuple[str, Checkpoint]]


@dataclass(frozen=True)
class HandedOut:
    """What students received: code that is nobody's copy, and the SHA-256 of every file."""

    cells: list[Cell]
    digests: frozenset[str]


def handed_out(assignment: str, named: Path | None) -> HandedOut | None:
    """The notebook or folder that is `named`, else the homework of this course; None where neither is.

    Raises BadPlace.
    """
    path = named or _in_course(assignment)
    if path is None:
        return None
    try:
        found = open_submission(path, assignment, read_course().limits.submission_mb)
    except BadSubmission as refusal:
        if named is None:
            return None
        raise BadPlace(f"{named} is not what students received: {refusal}") from None
    digests = frozenset(hashlib.sha256(content).hexdigest() for content in found.files.values())
    return HandedOut(read_cells([cell[0] for cell in found.cells]), digests)


def _in_course(assignment: str) -> Path | None:
    try:
        folder = project_root() / "homeworks" / assignment
    except NotInACourse:
        return None
    return folder if assignment not in ("", ".", "..") and "/" not in assignment and folder.is_dir() else None


def places(results: Results, root: Path | None) -> dict[str, Path]:
    """Submission name -> path below `root`, of those that still exist."""
    if root is None or not root.is_dir():
        return {}
    found = {name: root / place for name, place in results.sources.items()}
    if not found:  # an older grader did not write the places down: look where it would find them today
        try:
            found = {submission.name: submission.path for submission in find_submissions(root, results.assignment)}
        except (OSError, ValueError):
            return {}
    return {name: path for name, path in found.items() if path.exists()}


def handed_in(records: tuple[Record, ...], where: dict[str, Path]) -> Iterator[HandedIn | Record]:
    """Each submission opened, or its record alone where it cannot be."""
    limit, number = read_course().limits.submission_mb, 0
    for record in records:
        try:
            found = open_submission(where[record.submission], record.assignment, limit)
        except (KeyError, BadSubmission, OSError, RecursionError):
            yield record
            continue
        cells = read_cells([cell[0] for cell in found.cells])
        yield HandedIn(record, cells, list(_weights(number, found.files)))
        number += 1


def _weights(owner: int, files: dict[str, bytes]) -> Iterator[tuple[str, Checkpoint]]:
    for name in sorted(name for name in files if name.endswith(".safetensors"))[:MOST_WEIGHTS]:
        try:
            checkpoint = read_checkpoint(owner, name, read_weights(files[name], name))
        except AssertionError:
            continue
        if checkpoint is not None:
            yield hashlib.sha256(files[name]).hexdigest(), checkpoint
