"""Percent-format sources to clean notebooks: content-hash cell ids, no timings, no widget state."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

__all__ = ["clean_metadata", "keep_outputs", "read_percent", "same_ids", "to_bytes", "without_outputs"]

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
NOTEBOOK_KEYS = ("kernelspec", "language_info", "otter")
CELL_KEYS_DROPPED = ("lines_to_next_cell", "lines_to_end_of_cell_marker", "title", "cell_depth", "execution", "trusted")


def read_percent(path: Path) -> NotebookNode:
    """The notebook that a percent-format source describes, as jupytext reads it, cell titles still in the metadata.

    Raises:
        ValueError: if it holds no cells.
    """
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    if not notebook.cells:
        raise ValueError(f"{path} holds no cells: a percent source starts its cells with '# %%'.")
    return notebook


def content_id(cell: NotebookNode, seen: Counter) -> str:
    """Twelve hex digits that depend on the cell's type and source, and on how many equal cells came before it."""
    content = f"{cell.cell_type}\n{cell.source}"
    occurrence = seen[content]
    seen[content] += 1
    return hashlib.sha256(f"{content}\n{occurrence}".encode()).hexdigest()[:12]


def same_ids(notebook: NotebookNode) -> NotebookNode:
    """Give every cell, in place, the id that its content determines: the same source, the same ids, at every build."""
    seen: Counter = Counter()
    for cell in notebook.cells:
        cell["id"] = content_id(cell, seen)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def clean_metadata(notebook: NotebookNode) -> NotebookNode:
    """Remove, in place, what varies from build to build or serves only the source format; fix the kernel to python3."""
    kept = {key: notebook.metadata[key] for key in NOTEBOOK_KEYS if key in notebook.metadata}
    kept["kernelspec"] = dict(KERNELSPEC)
    kept["language_info"] = {"name": "python"}
    notebook.metadata = nbformat.from_dict(kept)
    for cell in notebook.cells:
        for key in CELL_KEYS_DROPPED:
            cell.metadata.pop(key, None)
        cell.metadata.pop("ExecuteTime", None)
    return notebook


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Empty, in place, every code cell's outputs and execution count."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def keep_outputs(notebook: NotebookNode, path: Path) -> NotebookNode:
    """Give, in place, each code cell the outputs that the cell with its id has in the notebook at `path`, if any."""
    earlier = nbformat.read(path, as_version=4).cells if path.is_file() else []
    known = {cell.id: cell for cell in earlier if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in known:
            cell.outputs, cell.execution_count = known[cell.id].outputs, known[cell.id].execution_count
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as it is written: validated, keys sorted, one trailing newline; equal notebooks, equal bytes."""
    nbformat.validate(notebook)
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode("utf-8")
