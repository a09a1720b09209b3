"""The record of one submission, the batch's folder of records and its summary: written atomically, escaped."""

import contextlib
import csv
import fcntl
import io
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograder.grading.bundle import Bundle
from autograder.grading.submission import Submission

FORMULA = ("=", "+", "-", "@")


class WrongFolder(ValueError):
    """The output folder cannot be used; the message says why in one sentence."""


def record(submission: Submission, bundle: Bundle, device: str, **found) -> dict:
    """A result record with every field; `found` overrides those of a submission that could not be graded."""
    result = {
        "submission": submission.name,
        "student": submission.student,
        "assignment": bundle.name,
        "status": "failed",
        "fault": "student",
        "reason": None,
        "score": 0.0,
        "possible": bundle.possible,
        "mode": bundle.mode,
        "questions": [],
        "seconds": 0.0,
        "device": device,
        "sha256": submission.sha256,
        "versions": {**_versions(), "bundle": bundle.sha256},
    }
    return {**result, **found}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("kshot", "torch", "otter-grader"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old content or the new, never a part, whenever the process is killed."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    with open(building, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(building, path)


class Folder:
    """An output folder: `results/`, `logs/` (the instructor's), `summary.csv`. As a context it is locked."""

    def __init__(self, path: Path, bundle: Bundle):
        """Raises WrongFolder where `path` holds anything but results of this assignment."""
        self.path, self.bundle = path, bundle
        manifest = path / "grading.json"
        if path.exists() and not path.is_dir():
            raise WrongFolder(f"{path} is a file: name a folder for the results.")
        if manifest.exists():
            try:
                other = json.loads(manifest.read_text(encoding="utf-8"))["assignment"]
            except (ValueError, KeyError, TypeError):
                raise WrongFolder(f"{manifest} is damaged: name another folder for the results.") from None
            if other != bundle.name:
                raise WrongFolder(f"{path} holds the results of {other}, not of {bundle.name}: name another folder.")
        elif path.exists() and any(entry.name != ".lock" for entry in path.iterdir()):
            raise WrongFolder(f"{path} holds other files: name a new or empty folder for the results.")

    def __enter__(self) -> "Folder":
        for part in (self.path / "results", self.path / "logs"):
            part.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.path / ".lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise WrongFolder(
                f"Another grader is at work on {self.path}: wait for it or name another folder."
            ) from None
        manifest = {"assignment": self.bundle.name, "bundle": self.bundle.sha256}
        write_atomically(self.path / "grading.json", json.dumps(manifest, indent=1) + "\n")
        return self

    def __exit__(self, *error) -> None:
        self.lock.close()

    def write(self, result: dict, log: str = "") -> None:
        """Keep a record, and the instructor's log beside it."""
        lines = "".join(f"{printable(line)}\n" for line in log.splitlines())
        write_atomically(self.path / "logs" / f"{result['submission']}.txt", lines)
        text = json.dumps(result, indent=1, ensure_ascii=True)
        write_atomically(self.path / "results" / f"{result['submission']}.json", text + "\n")

    def kept(self, submission: Submission) -> dict | None:
        """The record of an earlier run that still holds: same file, same tests, and not a failure of the machine."""
        try:
            text = (self.path / "results" / f"{submission.name}.json").read_text(encoding="utf-8")
            result = json.loads(text)
            same = result["sha256"] == submission.sha256 and result["versions"]["bundle"] == self.bundle.sha256
            same = same and result["student"] == submission.student
            settled = result["status"] == "graded" or result["fault"] == "student"
        except (OSError, ValueError, KeyError, TypeError):
            return None
        note = replacement_note(submission) or ""
        return result if same and settled and note in (result["reason"] or "") else None

    def summarise(self, results: list[dict], superseded: set[str]) -> None:
        """Write summary.csv: a row for each student's submission that counts."""
        write_atomically(self.path / "summary.csv", summary(results, superseded))


def replacement_note(submission: Submission) -> str | None:
    """What to say of the student's earlier submissions, if there are any."""
    if not submission.replaces:
        return None
    return f"This is the last submission and counts; kept but not graded: {', '.join(submission.replaces)}."


def summary(results: list[dict], superseded: set[str] = frozenset()) -> str:
    """The CSV text: student, score, possible, a column a question, status, reason."""
    counted = [result for result in results if result["submission"] not in superseded]
    names = list(dict.fromkeys(question["name"] for result in counted for question in result["questions"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", "score", "possible", *map(cell, names), "status", "reason"])
    for result in sorted(counted, key=lambda result: result["student"]):
        scores = {question["name"]: question["score"] for question in result["questions"]}
        row = [cell(result["student"]), result["score"], result["possible"], *(scores.get(name, 0.0) for name in names)]
        writer.writerow([*row, result["status"], cell(result["reason"] or "")])
    return out.getvalue()


def cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def printable(text: str) -> str:
    """Text without line breaks and control characters: no terminal acts on it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
