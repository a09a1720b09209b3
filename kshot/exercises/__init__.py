"""Exercises that answer back: `kshot.check(name, answer)` says what is wrong with an answer, in one sentence.

A module of this folder holds the exercises of one lecture as `EXERCISES = {name: examine}`, where
`examine(answer) -> str | None` returns None for a right answer, else one sentence that says what is wrong.
An answer is whatever the exercise asks for: a function, a number, a list.
"""

from __future__ import annotations

import pkgutil
import traceback
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

Examine = Callable[[Any], str | None]

UNANSWERED = "there is no answer yet: fill in the cell above, run it, then run this one again."


@cache
def exercises() -> dict[str, Examine]:
    """Every exercise of this folder's modules, by name; raises ValueError where two share a name."""
    found: dict[str, Examine] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        own = import_module(f"{__name__}.{module}").EXERCISES
        if twice := found.keys() & own.keys():
            raise ValueError(f"two exercises are called {sorted(twice)[0]!r}: rename the one in {module}.py")
        found |= own
    return found


def verdict(name: str, answer: Any) -> str | None:
    """What is wrong with `answer` to the exercise called `name`, in a sentence; None where it is right.

    Raises KeyError, naming the exercises there are, where none is called `name`.
    """
    if name not in exercises():
        raise KeyError(f"no exercise is called {name!r}; there are {', '.join(sorted(exercises()))}")
    if answer is None or answer is Ellipsis:
        return UNANSWERED
    try:
        return exercises()[name](answer)
    except NotImplementedError:
        return UNANSWERED
    except Exception as error:
        return f"your code stops with {type(error).__name__}: {error}{_place(error, answer)}"


def check(name: str, answer: Any) -> None:
    """Print whether `answer` solves the exercise called `name`, and if not, what is wrong with it.

    Raises KeyError, naming the exercises there are, where none is called `name`.
    """
    wrong = verdict(name, answer)
    print(f"✗ {name}: {wrong}" if wrong else f"✓ {name}: right.")


def _place(error: Exception, answer: Any) -> str:
    """Where in the student's own code `error` arose: the deepest frame of the file that `answer` was written in."""
    code = getattr(answer, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not own:
        return ""
    line = f": `{own[-1].line}`" if own[-1].line else ""
    return f"\n  in {own[-1].name}, line {own[-1].lineno}{line}"
