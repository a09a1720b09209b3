"""Lectures: lectures/src/NN_topic.py becomes lectures/NN_topic.ipynb with its outputs."""

from __future__ import annotations

from pathlib import Path

from nbformat import NotebookNode

from autograder.author.execute import execute
from autograder.author.percent import clean_metadata, keep_outputs, read_percent, same_ids, to_bytes, without_outputs
from autograder.author.write import write

__all__ = ["build_lecture", "lecture_notebook", "lecture_sources"]


def lecture_sources(root: Path) -> dict[str, Path]:
    """Every lecture's source by its name, such as 05_metric."""
    return {source.stem: source for source in sorted((root / "lectures" / "src").glob("[0-9]*.py"))}


def lecture_notebook(source: Path) -> NotebookNode:
    """The lecture as its source describes it, without outputs."""
    return without_outputs(same_ids(clean_metadata(read_percent(source))))


def build_lecture(root: Path, name: str, run: bool = True) -> Path:
    """Write lectures/NAME.ipynb, executed in lectures/; with run=False the outputs of cells that did not change stay.

    Raises:
        NotebookFailed: if a cell raises; the notebook on disk is then left as it was.
    """
    source, target = lecture_sources(root)[name], root / "lectures" / f"{name}.ipynb"
    notebook = lecture_notebook(source)
    if run:
        execute(notebook, root / "lectures", name)
        clean_metadata(notebook)
    else:
        keep_outputs(notebook, target)
    write(target, to_bytes(notebook))
    return target
