"""The record of one submission, and the batch's folder of records: locked, written atomically, safe to be killed."""

import contextlib
import fcntl
import functools
import json
import os
import platform
import time
import weakref
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autograder.grading.batches.table import printable, summary
from autograder.grading.submissions.bundle import Bundle
from autograder.grading.submissions.submission import Submission

STARTED = (".lock", ".grading.json.")  # what a grader killed in its first moment leaves


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
        "limits": [],
        "seconds": 0.0,
        "resources": {"memory_mb": None, "gpu_mb": None},
        "device": device,
        "protection": "full",
        "sha256": submission.sha256,
        "versions": {**_versions(), "bundle": bundle.sha256, "tests": bundle.digests},
    }
    return {**result, **found}


@functools.cache
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, outlives a power cut
    finally:
        os.close(folder)


_locks: weakref.WeakSet = weakref.WeakSet()


def _let_go() -> None:
    """A forked child holds no lock: else a folder would stay locked after its grader was killed."""
    for lock in list(_locks):
        lock.close()


os.register_at_fork(after_in_child=_let_go)


class Folder:
    """An output folder: `results/`, `logs/` (the instructor's), `summary.csv`, `grading.json`; as a context, locked.

    `grading.json` says what was graded and where each submission lay; and which regrading was asked for and when, so
    that one that was killed is finished by the next run: a record older than that is still owed.
    """

    def __init__(self, path: Path, bundle: Bundle, submissions: Path | None = None, found: Sequence[Submission] = ()):
        """Raises WrongFolder where `path` holds anything but results of this assignment."""
        self.path, self.bundle, self.submissions, self.found = path, bundle, submissions, found
        self.regrading: list[dict] = []
        manifest = path / "grading.json"
        if path.exists() and not path.is_dir():
            raise WrongFolder(f"{path} is a file: name a folder for the results.")
        if manifest.exists():
            try:
                earlier = json.loads(manifest.read_text(encoding="utf-8"))
                other, self.regrading = earlier["assignment"], earlier.get("regrading", [])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise WrongFolder(f"{manifest} is damaged: name another folder for the results.") from None
            if other != bundle.name:
                raise WrongFolder(f"{path} holds the results of {other}, not of {bundle.name}: name another folder.")
        elif path.exists() and any(not entry.name.startswith(STARTED) for entry in path.iterdir()):
            raise WrongFolder(f"{path} holds other files: name a new or empty folder for the results.")

    def __enter__(self) -> "Folder":
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.path / ".lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise WrongFolder(
                f"Another grader is at work on {self.path}: wait for it or name another folder."
            ) from None
        _locks.add(self.lock)
        parts = (self.path, self.path / "results", self.path / "logs")
        for part in parts:
            for half in part.glob(".*.*.*"):  # of a grader that was killed while it wrote
                half.unlink()
        self.regrading = [asked for asked in self.regrading if any(self._older(n, asked) for n in asked["names"])]
        self._describe()
        for part in parts:
            part.mkdir(exist_ok=True)
        return self

    def __exit__(self, *error) -> None:
        self.lock.close()

    def _describe(self) -> None:
        manifest = {"assignment": self.bundle.name, "bundle": self.bundle.sha256, "regrading": self.regrading}
        if self.submissions is not None:
            manifest["submissions"] = str(self.submissions.resolve())
            manifest["sources"] = {s.name: str(s.path.relative_to(self.submissions)) for s in self.found}
        write_atomically(self.path / "grading.json", json.dumps(manifest, indent=1) + "\n")

    def ask(self, names: Sequence[str], questions: Sequence[str]) -> None:
        """Regrade the submissions `names`, in this run or a later one: these questions, or without any all."""
        self.regrading.append({"since": time.time_ns(), "names": list(names), "questions": list(questions)})
        self._describe()

    def owed(self, name: str) -> set[str]:
        """The questions of the submission `name` whose regrading was asked for and not done."""
        asked = [asked["questions"] for asked in self.regrading if name in asked["names"] and self._older(name, asked)]
        return {question for questions in asked for question in questions or self.bundle.digests}

    def _older(self, name: str, asked: dict) -> bool:
        try:
            return (self.path / "results" / f"{name}.json").stat().st_mtime_ns < asked["since"]
        except FileNotFoundError:
            return False

    def write(self, result: dict, log: str = "") -> None:
        """Keep a record, and the instructor's log beside it."""
        lines = "".join(f"{printable(line)}\n" for line in log.splitlines())
        write_atomically(self.path / "logs" / f"{result['submission']}.txt", lines)
        text = json.dumps(result, indent=1, ensure_ascii=True)
        write_atomically(self.path / "results" / f"{result['submission']}.json", text + "\n")

    def read(self, name: str) -> dict | None:
        """The record of the submission `name`; None where there is none or it is damaged."""
        try:
            result = json.loads((self.path / "results" / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if type(result) is dict else None

    def summarise(self, results: list[dict], superseded: set[str]) -> None:
        """Write summary.csv: a row for each student's submission that counts."""
        write_atomically(self.path / "summary.csv", summary(results, superseded))


def replacement_note(submission: Submission) -> str | None:
    """What to say of the student's earlier submissions, if there are any."""
    if not submission.replaces:
        return None
    return f"This is the last submission and counts; kept but not graded: {', '.join(submission.replaces)}."
