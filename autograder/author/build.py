"""Builds lectures, homeworks and the autograder zips that graders read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib.metadata import version
from pathlib import Path

from autograder.author.homework import Homework, assemble, homework_sources, run_solution
from autograder.author.lectures import lecture_sources
from autograder.author.percent import keep_outputs, to_bytes
from autograder.author.root import project_root
from autograder.author.write import write

__all__ = ["archive", "autograder_zip", "build_homework", "select"]


def select(root: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The lectures and the homeworks meant by `names`; a lecture's number (05) will do, no names mean all.

    Raises:
        ValueError: for a name that is neither, listing what there is.
    """
    lectures, homeworks = lecture_sources(root), homework_sources(root)
    if not names:
        return list(lectures), list(homeworks)
    chosen_lectures, chosen_homeworks = [], []
    for name in names:
        matching = [lecture for lecture in lectures if name in (lecture, lecture.split("_")[0])]
        if matching:
            chosen_lectures += matching
        elif name in homeworks:
            chosen_homeworks.append(name)
        else:
            known = ", ".join([*lectures, *homeworks]) or "none yet"
            raise ValueError(f"There is no lecture or homework '{name}' here. There are: {known}.")
    return chosen_lectures, chosen_homeworks


def build_homework(root: Path, name: str, run: bool = True) -> Homework:
    """Write homeworks/NAME/NAME.ipynb, solutions/NAME/NAME.ipynb and build/NAME-autograder.zip from the master.

    With run=False the solved notebook keeps the outputs of the cells that did not change.
    """
    homework = assemble(homework_sources(root)[name])
    target = root / "solutions" / name / f"{name}.ipynb"
    solved = run_solution(homework) if run else keep_outputs(homework.solved, target)
    write(root / "homeworks" / name / f"{name}.ipynb", to_bytes(homework.student))
    write(target, to_bytes(solved))
    write(zip_path(root, name), archive(homework))
    return homework


def zip_path(root: Path, name: str) -> Path:
    """Where a homework's autograder zip is built; git ignores the folder."""
    return root / "build" / f"{name}-autograder.zip"


def archive(homework: Homework) -> bytes:
    """The autograder zip as Otter Generate fills it, with named cases and no time stamps: same master, same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.comment = fingerprint(homework.source).encode()
        for path in sorted(homework.autograder_files):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            zipped.writestr(entry, homework.autograder_files[path])
    return buffer.getvalue()


def autograder_zip(name: str, root: Path | None = None) -> Path:
    """The path of a homework's autograder zip, built first where it is missing or older than its master.

    Raises:
        ValueError: for an unknown homework, naming those there are.
    """
    root = project_root() if root is None else root
    homeworks = homework_sources(root)
    if name not in homeworks:
        raise ValueError(f"There is no homework '{name}' here. There are: {', '.join(homeworks) or 'none yet'}.")
    path = zip_path(root, name)
    if not _is_current(path, homeworks[name]):
        write(path, archive(assemble(homeworks[name])))
    return path


def fingerprint(source: Path) -> str:
    """SHA-256 of all that decides the zip: the master, Otter's version, and this package."""
    digest = hashlib.sha256(version("otter-grader").encode())
    for path in [source, *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_current(path: Path, source: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as zipped:
            return zipped.comment == fingerprint(source).encode()
    except (OSError, zipfile.BadZipFile):
        return False
