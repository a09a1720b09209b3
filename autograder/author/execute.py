"""Runs a notebook in a fresh kernel and keeps only outputs that are worth reading without one."""

from __future__ import annotations

import os
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

__all__ = ["NotebookFailed", "clean_outputs", "execute"]

WIDGET = "application/vnd.jupyter.widget-view+json"
SKIP = "skip-execution"


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised while the notebook was being built."""


def execute(notebook: NotebookNode, folder: Path, name: str, timeout: int = 600) -> NotebookNode:
    """Run every code cell in place, in `folder`, with kernel python3; cells tagged skip-execution keep no output.

    Args:
        timeout: seconds that one cell may take.

    Raises:
        NotebookFailed: naming the notebook, the cell's number and source, and what it raised.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        skip_cells_with_tag=SKIP,
        coalesce_streams=True,
        extra_arguments=["--log-level=40"],
    )
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        number = max((i for i, cell in enumerate(notebook.cells, 1) if _raised(cell)), default=0)
        source = notebook.cells[number - 1].source if number else ""
        raise NotebookFailed(f"{name}: cell {number} raised {error.ename}: {error.evalue}\n\n{source}") from error
    return clean_outputs(notebook)


def clean_outputs(notebook: NotebookNode) -> NotebookNode:
    """Drop, in place, widget state, widget views (their static picture stays) and progress bars."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_clean, cell.outputs) if output is not None]
    return notebook


def _clean(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "stream":
        progress_bar = output.name == "stderr" and "\r" in output.text
        return None if progress_bar else output
    data = output.get("data", {})
    if WIDGET in data:
        del data[WIDGET]
        if set(data) <= {"text/plain"}:
            return None
    return output


def _raised(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and any(output.output_type == "error" for output in cell.outputs)
