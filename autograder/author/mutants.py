"""Mutants: the wrong answers that stand behind each solution in a master and that its tests must catch."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import nbformat
import yaml
from nbformat import NotebookNode

__all__ = ["Mutant", "mutants_of", "question_of", "with_mutant", "without_mutants"]

TITLE = re.compile(r"mutant\b\s*:?\s*(?P<name>.*)", re.IGNORECASE)
TAG = "active-py"


@dataclass(frozen=True)
class Mutant:
    """One wrong answer: `source` runs right behind the cell with id `after`, the solution that it spoils."""

    question: str
    name: str
    source: str
    after: str


def is_mutant(cell: NotebookNode) -> bool:
    """Whether the cell is titled as a mutant in the master."""
    return TITLE.match(cell.metadata.get("title", "")) is not None


def without_mutants(master: NotebookNode) -> NotebookNode:
    """A copy of the master that holds none of its mutants."""
    stripped = copy.deepcopy(master)
    stripped.cells = [cell for cell in stripped.cells if not is_mutant(cell)]
    return stripped


def question_of(cell: NotebookNode) -> dict | None:
    """The settings in a '# BEGIN QUESTION' cell (name, points, manual), or None for any other cell."""
    if cell.cell_type != "raw" or not re.match(r"#\s*BEGIN QUESTION", cell.source, re.IGNORECASE):
        return None
    return yaml.safe_load(cell.source) or {}


def mutants_of(master: NotebookNode) -> tuple[Mutant, ...]:
    """Every mutant of the master, each attached to the question whose solution precedes it.

    Raises:
        ValueError: for a mutant before any solution, without a name, named like another one of its question, or
            without the tag that keeps it out of notebooks.
    """
    found: list[Mutant] = []
    question = solved = after = None
    for cell in master.cells:
        settings = question_of(cell)
        if settings is not None:
            question = settings.get("name")
        elif cell.cell_type == "raw" and re.match(r"#\s*BEGIN SOLUTION", cell.source, re.IGNORECASE):
            solved = question
        elif is_mutant(cell):
            found.append(_mutant(cell, solved, after))
        elif cell.cell_type == "code":
            after = cell.id
    names = [(mutant.question, mutant.name) for mutant in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Question {name[0]} has two mutants named '{name[1]}': give each its own name.")
    return tuple(found)


def _mutant(cell: NotebookNode, question: str | None, after: str | None) -> Mutant:
    title = cell.metadata["title"]
    name = TITLE.match(title)["name"].strip()
    if question is None or after is None:
        raise ValueError(f"'{title}' stands before any solution: put it right behind the solution that it spoils.")
    if not name:
        raise ValueError(f"Question {question} has a mutant without a name: write '# %% mutant: what it gets wrong'.")
    if TAG not in cell.metadata.get("tags", []):
        raise ValueError(f"Mutant '{name}' lacks its tag: write '# %% mutant: {name} tags=[\"{TAG}\"]'.")
    return Mutant(question, name, cell.source, after)


def with_mutant(solved: NotebookNode, mutant: Mutant) -> NotebookNode:
    """A copy of the solved notebook in which the mutant runs right behind the solution that it spoils."""
    spoiled = copy.deepcopy(solved)
    place = next(i for i, cell in enumerate(spoiled.cells) if cell.id == mutant.after)
    spoiled.cells.insert(place + 1, nbformat.v4.new_code_cell(mutant.source, id="mutant"))
    return spoiled
