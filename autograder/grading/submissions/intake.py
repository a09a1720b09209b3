"""Understands what students hand in: finds the notebook among the files and reads its code cells, whoever saved it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from autograder.grading.submissions.archive import BadSubmission, read_members, refuse_other_archives

__all__ = ["BadSubmission", "Opened", "open_submission", "read_members"]

IGNORED = {".OTTER_LOG", "__zip_filename__"}
MOST_PIECES = 4_000_000  # of JSON: each may cost a hundred bytes of memory
MOST_CELLS, MOST_CODE = 2000, 4 << 20
MARK = re.compile(r"^#\s?%%(?:\s|\[|$)|^# In\[[ \d]*\]:\s*$|^# COMMAND -+\s*$")
CONFLICT = re.compile(rb"^<{7} .*^>{7} ", re.MULTILINE | re.DOTALL)
PYTHON = ("python", "python3", "ipython", "ipython3", "")
OTHER_KERNELS = {"ir": "r", "julia": "julia", "xeus-cpp": "c++", "deno": "typescript", "bash": "bash"}
FOREIGN = {  # how other things than notebooks begin, and what to do about it
    b"%PDF": "a PDF: hand in the .ipynb file itself",
    b"<!doctype": "a web page: download the notebook itself (File → Download → .ipynb)",
    b"<html": "a web page: download the notebook itself (File → Download → .ipynb)",
    b"<?xml": "a web page or shortcut: download the notebook itself (File → Download → .ipynb)",
    b"[internetshortcut]": "a shortcut: download the notebook itself (File → Download → .ipynb)",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull and hand in the file it brings",
    b"PK\x03\x04": "a zip within a zip: hand in one zip with the notebook in it",
    b"\x80": "a pickle: hand in the .ipynb file itself",
}


@dataclass(frozen=True)
class Opened:
    """A submission's notebook and the files beside it, by their names as the notebook's folder sees them."""

    cells: list  # [source, questions checked after it] of each code cell
    files: dict[str, bytes] = field(repr=False)
    assignment: str | None  # as the notebook's metadata say
    questions: frozenset[str]  # the public tests in the notebook's metadata


def open_submission(path: Path, assignment: str, most_mb: int) -> Opened:
    """Open an otter export zip, a notebook, a script or a folder. Raises BadSubmission."""
    members = read_members(path, most_mb)
    name = _notebook_name(members, assignment)
    body = members[name]
    files = _beside(members, name)
    refuse_other_archives(body, name)
    text = _decoded(body, name)
    if name.lower().endswith(".py"):
        return Opened(_bounded(_script_cells(text), name), files, None, frozenset())
    notebook = _parse(text, body, name)
    _check_language(notebook)
    otter = _table(notebook["metadata"].get("otter"))
    tests, given = otter.get("tests"), otter.get("assignment_name")
    return Opened(
        _bounded(_code_cells(notebook), name),
        files,
        given if isinstance(given, str) else None,
        frozenset(tests) if isinstance(tests, dict) else frozenset(),
    )


def _notebook_name(members: dict[str, bytes], assignment: str) -> str:
    """The notebook to grade: the only one, else the one that is called like the assignment or says that it is it."""
    wanted = [name for name in members if name.lower().endswith((".ipynb", ".ipynb.txt", ".ipynb.json"))]
    wanted = wanted or [name for name in members if name.lower().endswith(".py")]
    if not wanted and len(members) == 1:
        wanted = list(members)
    if not wanted:
        said = f" among the {len(members)} files" if members else ": it is empty"
        raise BadSubmission(f"No notebook (.ipynb) was handed in{said}.")
    if len(wanted) > 1:
        called = [name for name in wanted if PurePosixPath(name).stem.casefold() == assignment.casefold()]
        depth = min((name.count("/") for name in called), default=0)
        called = [name for name in called if name.count("/") == depth]
        mark = b'"assignment_name": ' + json.dumps(assignment).encode()
        saying = [name for name in wanted if mark in members[name]]
        chosen = called if len(called) == 1 else saying
        if len(chosen) != 1:
            listed = ", ".join(sorted(wanted)[:5])
            raise BadSubmission(f"{len(wanted)} notebooks were handed in ({listed}): hand in one.")
        wanted = chosen
    return wanted[0]


def _beside(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The files as the notebook finds them: its own folder is where it runs."""
    folder = f"{name.rpartition('/')[0]}/".removeprefix("/")
    outside = {key: body for key, body in members.items() if not key.startswith(folder)}
    inside = {key.removeprefix(folder): body for key, body in members.items() if key.startswith(folder)}
    found = {**outside, **inside}.items()
    return {key: body for key, body in found if key not in IGNORED and not key.endswith((".pdf", ".otter"))}


def _decoded(body: bytes, name: str) -> str:
    """The text of a notebook or script, whatever its encoding; what is plainly something else is refused."""
    if not body.strip():
        raise BadSubmission(f"{name} is empty: save the notebook and hand it in again.")
    beginning = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:40].lower()
    for start, what in FOREIGN.items():
        if beginning.startswith(start.lower()):
            raise BadSubmission(f"{name} is {what}.")
    try:
        if body.startswith((b"\xff\xfe", b"\xfe\xff")):
            return body.decode("utf-16")
        if b"\0" in body[:4]:
            return body.decode("utf-16-le" if body[1:2] == b"\0" else "utf-16-be")
        if b"\0" in body:
            raise BadSubmission(f"{name} is not a notebook: it is not text. Save it in Jupyter and hand it in again.")
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _parse(text: str, body: bytes, name: str) -> dict:
    """The notebook as a dict with lists of cells of format 4, and metadata that are a dict."""
    if sum(map(text.count, '{[",')) > MOST_PIECES:
        raise BadSubmission(
            f"{name} holds too much output: clear the outputs of all cells, save it and hand it in again."
        )
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        if CONFLICT.search(body):
            raise BadSubmission(
                f"{name} holds merge conflict marks (<<<<<<<): resolve them and hand it in again."
            ) from None
        if isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip()) - 1 and text.lstrip()[0] == "{":
            raise BadSubmission(f"{name} is cut off before its end: save it in Jupyter and hand it in again.") from None
        raise BadSubmission(
            f"{name} is not a notebook: it is not valid JSON. Save it in Jupyter and hand it in again."
        ) from None
    if isinstance(raw, dict) and "cells" not in raw and isinstance(raw.get("worksheets"), list):
        raw["cells"] = [cell for sheet in raw["worksheets"] for cell in _table(sheet).get("cells") or []]  # format 3
    if isinstance(raw, dict) and "cells" not in raw and ("url" in raw or "doc_id" in raw):
        raise BadSubmission(
            f"{name} is a shortcut to Google Drive: download the notebook itself (File → Download → .ipynb)."
        )
    if not isinstance(raw, dict) or not isinstance(raw.get("cells"), list):
        raise BadSubmission(f"{name} is not a notebook: it has no cells.")
    raw["metadata"] = _table(raw.get("metadata"))
    return raw


def _table(item) -> dict:
    return item if isinstance(item, dict) else {}


def _check_language(notebook: dict) -> None:
    """Refuse another language; a missing or unknown kernel is no reason not to grade a Python notebook."""
    kernel, info = _table(notebook["metadata"].get("kernelspec")), _table(notebook["metadata"].get("language_info"))
    language = str(kernel.get("language") or info.get("name") or "").lower()
    language = OTHER_KERNELS.get(str(kernel.get("name")), language)
    if language not in PYTHON:
        raise BadSubmission(
            f"The notebook's language is {language[:30]}, not Python: choose the Python kernel and save it."
        )


def _code_cells(notebook: dict) -> list:
    """[source, questions] of each code cell; cells that Otter ignores are left out."""
    found = []
    for cell in notebook["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        metadata = _table(cell.get("metadata"))
        otter, tags = _table(metadata.get("otter")), metadata.get("tags")
        if otter.get("ignore") or (isinstance(tags, list) and "otter_ignore" in tags):
            continue
        source = cell.get("source", cell.get("input", ""))
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        tests = otter.get("tests") if isinstance(otter.get("tests"), list) else []
        found.append([_plain_line_ends(source), [name for name in tests if isinstance(name, str)]])
    return found


def _script_cells(text: str) -> list:
    """The code cells of a script: percent format or nbconvert's `# In[3]:`; without such marks it is one cell."""
    cells, kept = [[]], [True]
    for line in _plain_line_ends(text).split("\n"):
        if MARK.match(line):
            cells.append([])
            kept.append("[markdown]" not in line and "[raw]" not in line and "[md]" not in line)
        else:
            cells[-1].append(line)
    return [["\n".join(lines), []] for lines, code in zip(cells, kept) if code and any(map(str.strip, lines))]


def _plain_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bounded(cells: list, name: str) -> list:
    if not cells:
        raise BadSubmission(f"{name} has no code cells: hand in the notebook with your answers.")
    if len(cells) > MOST_CELLS or sum(len(source) for source, _ in cells) > MOST_CODE:
        raise BadSubmission(
            f"{name} has more than {MOST_CELLS} code cells or {MOST_CODE >> 20} MB of code: hand in less."
        )
    return cells
