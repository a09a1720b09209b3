"""Homeworks: a master, solutions/hwN/hwN.py, through Otter Assign to what students and graders get."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from autograder.author.cases import Case, cases_of, check_cases, name_cases, points_of
from autograder.author.execute import SKIP, execute
from autograder.author.mutants import Mutant, mutants_of, without_mutants
from autograder.author.percent import clean_metadata, content_id, read_percent, without_outputs

__all__ = ["AssignFailed", "Homework", "assemble", "homework_sources", "run_solution"]


class AssignFailed(RuntimeError):
    """Otter Assign refused a master, or wrote something that students must not get."""


@dataclass(frozen=True)
class Homework:
    """Everything that one master makes; `solved` and `student` share the ids of the cells they share."""

    name: str
    source: Path
    student: NotebookNode
    solved: NotebookNode
    tests: dict[str, str]
    cases: tuple[Case, ...]
    points: dict[str, float]
    mutants: tuple[Mutant, ...]
    hands_in: tuple[str, ...]
    autograder_files: dict[str, bytes]

    @property
    def graded(self) -> list[str]:
        """The questions that tests grade, in the master's order; the others are read by a person."""
        return [question for question in self.points if question in self.tests]


def homework_sources(root: Path) -> dict[str, Path]:
    """Every homework's master by its name, such as hw2."""
    return {path.stem: path for path in sorted((root / "solutions").glob("*/*.py")) if path.stem == path.parent.name}


def assemble(source: Path) -> Homework:
    """Run Otter Assign on a master without its mutants, in a temporary folder, and check what it wrote.

    Raises:
        AssignFailed: if Otter Assign refuses the master.
        ValueError: for tests that do not compile, messages that changed, points that do not add up: see `cases`.
    """
    name, master = source.stem, read_percent(source)
    settings = _settings(name, master)
    for number, cell in enumerate(master.cells):
        cell["id"] = f"master-{number}"
    mutants, points = mutants_of(master), points_of(master)
    with tempfile.TemporaryDirectory(prefix="assign-") as folder:
        student, solved, files = _assign(name, without_mutants(master), Path(folder))
    tests = {}
    for path in [path for path in files if path.startswith("tests/")]:
        question = Path(path).stem
        tests[question] = name_cases(files[path].decode("utf-8"))
        files[path] = tests[question].encode("utf-8")
    cases = tuple(case for question, text in tests.items() for case in cases_of(question, text))
    check_cases(master, list(cases))
    hands_in = tuple(settings.get("export_cell", {}).get("files", ()))
    for notebook in (student, solved):
        _export_what_is_there(notebook, hands_in)
    ids = _share_ids(student, solved)
    mutants = tuple(Mutant(m.question, m.name, m.source, ids[m.after]) for m in mutants)
    for notebook in (student, solved):
        written = notebook.metadata.otter.get("tests", {})
        notebook.metadata.otter.tests = {question: name_cases(text) for question, text in sorted(written.items())}
        without_outputs(clean_metadata(notebook))
    return Homework(name, source, student, solved, tests, cases, points, mutants, hands_in, files)


def run_solution(homework: Homework) -> NotebookNode:
    """The solved notebook executed next to the master's files (its checkpoint), but for the cell that hands in.

    A file to hand in that does not lie beside the master yet is made by the run (a training) and kept there.

    Raises:
        NotebookFailed: if a cell of the solution raises.
    """
    solved = nbformat.from_dict(homework.solved)
    with tempfile.TemporaryDirectory(prefix="solution-") as folder:
        copy_files(homework.source.parent, Path(folder))
        nbformat.write(solved, Path(folder) / f"{homework.name}.ipynb")
        handing_in = [cell for cell in solved.cells if cell.cell_type == "code" and "grader.export(" in cell.source]
        for cell in handing_in:
            cell.metadata["tags"] = [SKIP]
        execute(solved, Path(folder), f"the solution of {homework.name}")
        for cell in handing_in:
            del cell.metadata["tags"]
        for file in homework.hands_in:
            kept = homework.source.parent / file
            if not kept.is_file() and (Path(folder) / file).is_file():
                shutil.copyfile(Path(folder) / file, kept)
    for cell in solved.cells:
        if cell.cell_type == "code" and "grader.check(" in cell.source:
            for output in cell.outputs:
                output.get("data", {}).pop("text/html", None)  # Otter draws a lot for the emoji in it
    return clean_metadata(solved)


def copy_files(source: Path, target: Path) -> list[Path]:
    """Copy what lies beside a master, but sources and notebooks, into `target`: what its notebook loads or hands in."""
    copied = []
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in (".py", ".ipynb") and not path.name.startswith("."):
            shutil.copyfile(path, target / path.name)
            copied.append(target / path.name)
    return copied


def _settings(name: str, master: NotebookNode) -> dict:
    config = next((c for c in master.cells if re.match(r"#\s*ASSIGNMENT CONFIG", c.source, re.IGNORECASE)), None)
    settings = yaml.safe_load(config.source) if config is not None else {}
    wanted = f"{name}: the ASSIGNMENT CONFIG must say"
    if settings.get("name") != name:
        raise ValueError(f"{wanted} 'name: {name}', so that submissions of another homework are refused.")
    if settings.get("tests", {}).get("ok_format", True):
        raise ValueError(f"{wanted} 'tests: {{ok_format: false}}': tests are functions here.")
    if settings.get("generate") is not True:
        raise ValueError(f"{wanted} 'generate: true': the grader reads what that makes.")
    for key in ("files", "student_files"):
        if settings.get(key):
            raise ValueError(
                f"{name}: '{key}' in the ASSIGNMENT CONFIG hands students the solution's files {settings[key]}: "
                "list what they hand in under 'export_cell: {files: [...]}' alone."
            )
    return settings


def _assign(name: str, master: NotebookNode, folder: Path) -> tuple[NotebookNode, NotebookNode, dict[str, bytes]]:
    from otter.assign import main as otter_assign  # takes seconds to import

    nbformat.write(without_outputs(master), folder / f"{name}.ipynb")
    try:
        otter_assign(str(folder / f"{name}.ipynb"), str(folder / "out"), no_pdfs=True, no_run_tests=True)
    except Exception as error:
        raise AssignFailed(f"Otter Assign refused {name}: {error}") from error
    archives = list((folder / "out" / "autograder").glob("*-autograder_*.zip"))
    if len(archives) != 1:
        raise AssignFailed(f"Otter Assign wrote {len(archives)} autograder zips for {name} instead of one.")
    unpacked = folder / "unpacked"
    shutil.unpack_archive(archives[0], unpacked)
    found = [path for path in sorted(unpacked.rglob("*")) if path.is_file()]
    files = {path.relative_to(unpacked).as_posix(): path.read_bytes() for path in found}
    student = nbformat.read(folder / "out" / "student" / f"{name}.ipynb", as_version=4)
    solved = nbformat.read(folder / "out" / "autograder" / f"{name}.ipynb", as_version=4)
    return student, solved, files


EXPORT = """\
# Save your notebook first, then run this cell: it makes the zip to hand in.
import os

wanted = {wanted}
there = [name for name in wanted if os.path.exists(name)]
{export}
for name in wanted:
    if name not in there:
        print(f"The zip is without {{name}}, which is not here. To hand it in, make it and run this cell again.")
"""


def _export_what_is_there(notebook: NotebookNode, hands_in: tuple[str, ...]) -> None:
    """Let the last cell leave out what was not made: Otter would stop at it, and leave a zip that nobody can open.

    Raises AssignFailed where Otter's cell is not the one known here.
    """
    if not hands_in:
        return
    files = f"files={list(hands_in)}"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and "grader.export(" in cell.source]
    if len(cells) != 1 or files not in cells[0].source:
        raise AssignFailed(f"Otter Assign wrote no cell that exports with {files}: homework.py expects one.")
    (export,) = [line for line in cells[0].source.splitlines() if files in line]
    wanted = f"[{', '.join(json.dumps(name) for name in hands_in)}]"
    cells[0].source = EXPORT.format(wanted=wanted, export=export.replace(files, "files=there")).rstrip()


def _share_ids(student: NotebookNode, solved: NotebookNode) -> dict[str, str]:
    """Content-hash ids: the student's own text decides, so a better solution moves no cell; returns new ids by old."""
    ids: dict[str, str] = {}
    for notebook in (student, solved):
        seen: Counter = Counter()
        for cell in notebook.cells:
            fresh = content_id(cell, seen)
            from_master = cell.id.startswith("master-")
            if from_master:
                fresh = ids.setdefault(cell.id, fresh)
            cell["id"] = fresh
    return ids
