"""The one reader of `course.toml`: of its tables, [limits] is what grading needs; the others are for people."""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What a submission may use while it is graded. Times in seconds, sizes in megabytes."""

    cell_seconds: float = 60.0
    question_seconds: float = 30.0
    submission_seconds: float = 300.0
    memory_mb: int = 3000
    file_mb: int = 256
    processes: int = 256
    open_files: int = 1024
    output_kb: int = 64
    submission_mb: int = 100

    def within(self, seconds: float) -> "Limits":
        """The same limits for submissions of at most `seconds`: no cell and no question may take more than a third."""
        third = seconds / 3
        cell, question = min(self.cell_seconds, third), min(self.question_seconds, third)
        return replace(self, submission_seconds=seconds, cell_seconds=cell, question_seconds=question)

    def override(self, table: dict, source: str) -> "Limits":
        """These limits but for those in `table`. Raises ValueError naming `source` for an unknown or unusable one."""
        known = {entry.name: type(entry.default) for entry in fields(self)}
        for name, value in table.items():
            if name not in known:
                raise ValueError(f"{source}: there is no limit {name!r}; there are {', '.join(known)}.")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ValueError(f"{source}: {name} must be a number above 0, not {value!r}.")
        return replace(self, **{name: known[name](value) for name, value in table.items()})


@dataclass(frozen=True)
class Course:
    """`course.toml` as read: its whole content, and the part that grading needs."""

    content: dict = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def read_course(start: Path | None = None) -> Course:
    """The course whose `course.toml` lies in `start` (the working folder by default) or above it; defaults without one.

    Raises ValueError, with a sentence, for a file that is not TOML or an unknown or unusable limit.
    """
    path = find_course_file(start)
    if path is None:
        return Course()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    return Course(content, Limits().override(content.get("limits", {}), f"{path}, [limits]"))


def find_course_file(start: Path | None = None) -> Path | None:
    """The nearest `course.toml`: in `start` or above it, else beside this package (a clone of the course)."""
    start = Path.cwd() if start is None else start.resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parents[1]):
        if (folder / "course.toml").is_file():
            return folder / "course.toml"
    return None
