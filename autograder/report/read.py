"""Reads a graded folder back, whatever state it is in: a damaged record is named and costs only itself."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,150}")  # what the grader calls a submission: safe in a file's name
LOG_BYTES = 256 << 10
GRADED, FAILED, ASIDE, REPLACED = "graded", "failed", "set aside", "replaced"


class NoResults(ValueError):
    """The folder holds no results of the grader; the message says so in one sentence."""


@dataclass(frozen=True)
class Case:
    """One test case; `message` is what the student may read of it."""

    name: str
    hidden: bool
    passed: bool
    message: str


@dataclass(frozen=True)
class Question:
    """One question's points and cases."""

    name: str
    score: float
    possible: float
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Record:
    """One submission's result. `state` is graded, failed (by the student), set aside (by the machine) or replaced."""

    submission: str
    student: str
    assignment: str
    state: str
    reason: str
    score: float
    possible: float
    questions: tuple[Question, ...]
    seconds: float
    device: str
    mode: str = "split"
    limits: tuple[str, ...] = ()
    memory_mb: float | None = None
    gpu_mb: float | None = None
    protection: str = "full"
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def points(self) -> dict[str, float]:
        """Score by question."""
        return {question.name: question.score for question in self.questions}


@dataclass(frozen=True)
class Results:
    """A graded folder. `damaged` holds (file name, what is wrong with it)."""

    folder: Path
    assignment: str
    records: tuple[Record, ...]
    damaged: tuple[tuple[str, str], ...] = ()
    submissions: Path | None = None
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> tuple[Record, ...]:
        """One record a student: without those that a later submission replaced."""
        return tuple(record for record in self.records if record.state != REPLACED)

    @property
    def missing(self) -> list[str]:
        """Submissions that the grader has found but not recorded yet."""
        known = {record.submission for record in self.records}
        known |= {name.removesuffix(".json") for name, _ in self.damaged}
        return sorted(set(self.sources) - known)

    def log(self, submission: str) -> str:
        """The instructor's log of one submission, its first 256 kB; empty where there is none."""
        try:
            with open(self.folder / "logs" / f"{submission}.txt", "rb") as stream:
                return stream.read(LOG_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""


def read_results(folder: Path) -> Results:
    """The results in `folder`, sorted by student. Raises NoResults."""
    if not folder.is_dir():
        raise NoResults(f"There is no folder {folder}.")
    if not (folder / "grading.json").is_file() or not (folder / "results").is_dir():
        raise NoResults(f"{folder} holds no results: name the folder that `autograder grade --out` wrote.")
    damaged = []
    try:
        manifest = json.loads((folder / "grading.json").read_text(encoding="utf-8"))
        assignment = str(manifest["assignment"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        manifest, assignment = {}, ""
        damaged.append(("grading.json", "The assignment's name and the place of the submissions cannot be read."))
    records = []
    for path in sorted((folder / "results").glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            records.append(_record(path))
        except OSError as error:
            damaged.append((path.name, f"It cannot be read: {error.strerror}."))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            damaged.append((path.name, "It is no complete record: grade this submission again."))
    records.sort(key=lambda record: (record.student.casefold(), record.submission))
    assignment = assignment or "this assignment"
    return Results(folder, assignment, tuple(records), tuple(damaged), *_sources(manifest))


def _sources(manifest: dict) -> tuple[Path | None, dict[str, str]]:
    """The submissions' folder and each one's place in it; nothing where an older grader did not write them down."""
    root, sources = manifest.get("submissions"), manifest.get("sources")
    if not isinstance(root, str) or not isinstance(sources, dict):
        return None, {}
    inside = {
        name: place
        for name, place in sources.items()
        if isinstance(place, str) and NAME.fullmatch(name) and not _leads_out(PurePosixPath(place))
    }
    return Path(root), inside


def _leads_out(place: PurePosixPath) -> bool:
    return place.is_absolute() or ".." in place.parts


def _record(path: Path) -> Record:
    """Raises any of the errors that `read_results` expects where the record is not what the grader writes."""
    found = json.loads(path.read_text(encoding="utf-8"))
    name = found["submission"]
    if name != path.stem or not NAME.fullmatch(name):
        raise ValueError
    resources = found.get("resources") or {}
    limits = found.get("limits") or []
    return Record(
        submission=name,
        student=_text(found["student"]),
        assignment=_text(found["assignment"]),
        state=_state(found["status"], found["fault"]),
        reason=_text(found.get("reason") or ""),
        score=_number(found["score"]),
        possible=_number(found["possible"]),
        questions=tuple(_question(entry) for entry in found["questions"]),
        seconds=_number(found.get("seconds", 0)),
        device=_text(found.get("device", "")),
        mode=_text(found.get("mode", "split")),
        limits=tuple(dict.fromkeys(_text(limit) for limit in limits)),
        memory_mb=_measured(resources.get("memory_mb")),
        gpu_mb=_measured(resources.get("gpu_mb")),
        protection=_text(found.get("protection", "full")),
        versions=tuple(sorted(item for item in found.get("versions", {}).items() if isinstance(item[1], str))),
    )


def _state(status: str, fault: str | None) -> str:
    if status == "graded":
        return GRADED
    if status != "failed":
        raise ValueError
    return {"student": FAILED, "infrastructure": ASIDE, None: REPLACED}[fault]


def _question(found: dict) -> Question:
    cases = tuple(
        Case(_text(case["name"]), _flag(case["hidden"]), _flag(case["passed"]), _text(case["message"]))
        for case in found["cases"]
    )
    return Question(_text(found["name"]), _number(found["score"]), _number(found["possible"]), cases)


def _text(value) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _measured(value) -> float | None:
    return None if value is None else _number(value)
