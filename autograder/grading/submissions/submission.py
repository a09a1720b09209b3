"""Finds the submissions in a folder: whose each is, which of a student's counts, under which name its result goes.

A file of a kind that cannot be graded (a PDF, a RAR archive) is a submission where its student handed in nothing else:
it gets a result that says what to hand in. Beside a notebook it is left alone.
"""

import hashlib
import itertools
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from autograder.grading.submissions.archive import peek

SUFFIXES = (".zip", ".ipynb", ".py")
# handed in by mistake; not .csv, .md, .yml and the like: an instructor's lists lie beside submissions
MISTAKEN = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".html", ".htm", ".pdf", ".docx", ".json")
MISTAKEN += (".gdoc", ".url", ".webloc", ".lnk", ".mhtml", ".ipynb.txt")
MOST_ENTRIES = 10_000  # of one student's folder that are looked at
STAMP = re.compile(r"[-_ ]?(\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d(?:_\d{1,6})?)")
CANVAS = re.compile(r"^(?P<name>[^_]+)(?:_LATE)?_(?P<user>\d+)_(?P<file>\d+)_")
MOODLE = re.compile(r"^(?P<name>.+)_(?P<id>\d+)_assignsubmission_file_?$")


@dataclass(frozen=True)
class Submission:
    """One thing handed in. `name` is unique in the batch and safe as a file name."""

    path: Path
    name: str
    student: str
    sha256: str
    handed_in: tuple  # orders a student's submissions: export time where known, else the file's
    replaced_by: str | None = None
    replaces: tuple[str, ...] = ()


def find_submissions(folder: Path, assignment: str) -> list[Submission]:
    """Every zip, notebook, script and non-empty sub-folder of `folder`, sorted by name.

    Of two by one student the later counts; the other says which replaced it. Raises FileNotFoundError or ValueError,
    with a sentence, where there is nothing to grade.
    """
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name the folder that holds the submissions.")
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir() and not entry.is_symlink():
            inside = [path for path in sorted(entry.iterdir()) if _is_submission(path)]
            archives = [path for path in inside if path.suffix.lower() == ".zip"]
            alone = len(archives) == 1 and len(inside) == 1
            each = archives if alone else inside if archives else [entry]
            found += [(path, _student_of_folder(entry.name)) for path in each]
        elif _is_submission(entry) or _is_mistaken(entry) or (entry.is_symlink() and entry.is_dir()):
            found.append((entry, _student_of_file(entry, assignment)))
    serious = {student for path, student in found if not _is_mistaken(path)}
    found = [(path, student) for path, student in found if student not in serious or not _is_mistaken(path)]
    if not found:
        raise ValueError(f"{folder} holds no submissions (.zip, .ipynb, .py, or folders with them).")
    return _ordered(_named(found, folder))


def _is_mistaken(path: Path) -> bool:
    return path.name.lower().endswith(MISTAKEN) and not path.is_dir()


def _is_submission(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in SUFFIXES and not path.is_dir()


def _student_of_folder(name: str) -> str:
    match = MOODLE.match(name)
    return f"{match['name']}_{match['id']}" if match else name


def _student_of_file(path: Path, assignment: str) -> str:
    """The student a file's name speaks of: without time stamp, assignment and a learning platform's numbers."""
    match = CANVAS.match(path.name)
    if match:
        return f"{match['name']}_{match['user']}"
    stem = STAMP.sub("", path.stem)
    stem = re.sub(r" ?\(\d+\)$", "", stem)
    pattern = rf"(^|[-_ .]){re.escape(assignment)}($|[-_ .])"
    rest = re.sub(pattern, lambda m: m[1] if m[1] and m[2] else "", stem, count=1, flags=re.IGNORECASE)
    return rest.strip("-_ .") or path.stem


def safe_name(text: str) -> str:
    """`text` as a file name: letters, digits, dot, dash, underscore; a short hash tells apart what that made equal."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", text).strip("._")[:80]
    if plain == text:
        return plain
    return f"{plain or 'submission'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def _named(found: list, folder: Path) -> list[Submission]:
    used, submissions = set(), []
    for path, student in found:
        relative = path.relative_to(folder)
        text = str(relative.with_suffix("") if path.is_file() else relative).replace("/", "-")
        name = safe_name(text)
        if name.lower() in used:
            name = safe_name(str(relative).replace("/", "-"))
        while name.lower() in used:
            name += "_"
        used.add(name.lower())
        submissions.append(Submission(path, name, student, _digest(path), _time(path)))
    return submissions


def _ordered(submissions: list[Submission]) -> list[Submission]:
    """Mark, for each student, which submission counts."""
    latest: dict[str, Submission] = {}
    for submission in submissions:
        best = latest.get(submission.student)
        if best is None or (submission.handed_in, submission.name) >= (best.handed_in, best.name):
            latest[submission.student] = submission
    marked = []
    for submission in submissions:
        best = latest[submission.student]
        if best is submission:
            others = tuple(s.path.name for s in submissions if s.student == submission.student and s is not submission)
            marked.append(replace(submission, replaces=others))
        else:
            marked.append(replace(submission, replaced_by=best.path.name))
    return marked


def _inside(path: Path):
    """The files of a folder, or the file itself: no links, and of a huge folder only the first."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    walk = os.walk(path, followlinks=False)
    found = (Path(folder) / name for folder, _, names in walk for name in names)
    return sorted(itertools.islice(found, MOST_ENTRIES))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _inside(path):
        name = str(part.relative_to(path)) if part != path else part.name if part.is_symlink() else ""
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" if name else b"")
        if part.is_symlink() or not part.is_file():
            continue
        try:
            with open(part, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError:  # its result will say that it cannot be read
            digest.update(b"unreadable")
    return digest.hexdigest()


def _time(path: Path) -> tuple:
    """(export stamp or the file's time as such a stamp,): stamps sort as text."""
    stamp = STAMP.search(path.name) or STAMP.search(_export_name(path))
    if stamp:
        return (stamp[1],)
    moment = max(part.lstat().st_mtime for part in [path, *_inside(path)])
    return (datetime.fromtimestamp(moment).strftime("%Y_%m_%dT%H_%M_%S_%f"),)


def _export_name(path: Path) -> str:
    """The name that Otter gave an export zip, which it repeats inside."""
    return peek(path, "__zip_filename__", 300).decode("utf-8", "replace") if path.suffix.lower() == ".zip" else ""
