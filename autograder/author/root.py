"""Where the course lies: the folder that holds course.toml."""

from __future__ import annotations

from pathlib import Path

from autograder.course import find_course_file

__all__ = ["NotInACourse", "project_root"]


class NotInACourse(RuntimeError):
    """Neither the current folder nor the package's own place lies inside a checkout of the course."""


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, upwards from `start` (by default the current one), that holds course.toml.

    Outside of any course it is the checkout that this package was installed from.

    Raises:
        NotInACourse: if there is none, with a sentence that says what to do.
    """
    path = find_course_file(start)
    if path is None:
        raise NotInACourse(
            f"{start or Path.cwd()} lies outside the course: no folder above it holds course.toml. "
            "Change into a checkout of the course and run the command again."
        )
    return path.parent
