"""Compares what is committed with what its source builds: cell ids, types, sources and metadata, never outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.author.homework import assemble, homework_sources
from autograder.author.lectures import lecture_notebook, lecture_sources

__all__ = ["differences", "out_of_step"]


def out_of_step(root: Path, lectures: list[str], homeworks: list[str]) -> Iterator[str]:
    """A sentence for each notebook that is not what its source builds, with the command that mends it."""
    for name in lectures:
        yield from _compare(root, f"lectures/{name}.ipynb", lecture_notebook(lecture_sources(root)[name]), name)
    for name in homeworks:
        homework = assemble(homework_sources(root)[name])
        yield from _compare(root, f"homeworks/{name}/{name}.ipynb", homework.student, name, bare=True)
        yield from _compare(root, f"solutions/{name}/{name}.ipynb", homework.solved, name)


def differences(built: NotebookNode, committed: NotebookNode) -> str | None:
    """Where two notebooks first differ, outputs apart, in words; None where they agree."""
    for number, (ours, theirs) in enumerate(zip(built.cells, committed.cells), 1):
        for part in ("cell_type", "source", "id", "metadata"):
            if ours.get(part) != theirs.get(part):
                return f"cell {number} (id {theirs.get('id')}) has another {part.removeprefix('cell_')}"
    if len(built.cells) != len(committed.cells):
        return f"it has {len(committed.cells)} cells instead of {len(built.cells)}"
    if built.metadata != committed.metadata:
        return "its notebook metadata differ"
    return None


def _compare(root: Path, path: str, built: NotebookNode, name: str, bare: bool = False) -> Iterator[str]:
    mend = f"run 'autograder build {name}' and commit the result"
    if not (root / path).is_file():
        yield f"{path} is missing: {mend}."
        return
    try:
        committed = nbformat.read(root / path, as_version=4)
    except (ValueError, AttributeError) as error:
        yield f"{path} is not a notebook ({type(error).__name__}): {mend}."
        return
    difference = differences(built, committed)
    if difference is None and bare and any(cell.get("outputs") for cell in committed.cells):
        difference = "it carries outputs"
    if difference is not None:
        yield f"{path} is out of step with its source: {difference}; {mend}."
