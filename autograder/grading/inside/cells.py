"""Inside the sandbox: runs a notebook's cells in turn, and keeps the names that each question's tests will see.

The rule is Otter's, made kinder. A question is judged with the names as they were at its last `grader.check`, wherever
that cell stands: of a function defined twice the one above the check counts, and what later cells redefine or change
in place does not. A name that was not there yet at the check, and every name of a question that was never checked, is
taken as it is at the end of the notebook. So moving, doubling or deleting check cells costs nothing; renaming a
function does.
"""

import io
import os
import pickle
import re
import signal
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from autograder.grading.inside.shell import Silent, SilentModule, start_shell

CHECK = re.compile(r"""^[^#\n]*\bgrader\.check\(\s*["']([^"'\n]+)["']""", re.MULTILINE)
KEPT = 1 << 20  # bytes of a value that is kept as it was; larger ones are kept with what later cells do to them
UNCHANGING = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.FunctionType)


class OutOfTime(BaseException):
    """Raised in the student's code when its time is up. Not an Exception: a plain `except Exception` lets it pass."""


@contextmanager
def time_limit(seconds: float):
    """Interrupt the block after `seconds`. Code that resists is ended from outside, a moment later."""

    def interrupt(number, frame):
        # Once more later: the first may be swallowed by a bare `except`.
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        raise OutOfTime

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Notebook:
    """The namespace in which a notebook runs. `errors` are [cell, type, text]."""

    def __init__(self):
        self.shell = start_shell()
        self.checked: dict[str, dict] = {}  # question -> name -> (value, its bytes at the check)
        self.views: dict[str, dict] = {}  # question -> name -> value, once the notebook has ended
        self.end: dict | None = None
        self.entered: str | None = None
        self.checks: set[str] = set()  # of the cell that is running
        self.errors: list[list] = []
        self.grader = self._install_otter()

    def run(self, number: int, source: str, questions: list[str], seconds: float, before: str = "") -> bool:
        """Run one cell, after the code `before`; an error or an exit ends it, not the notebook. False if too late."""
        self.checks.clear()
        self.shell.user_ns.setdefault("grader", self.grader)  # also where a student removed the cell that makes it
        process = os.getpid()
        try:
            with time_limit(seconds):
                exec(before, self.shell.user_ns)
                result = self.shell.run_in_notebook(source)
            error = result.error_in_exec if result.error_before_exec is None else result.error_before_exec
        except BaseException as raised:
            error = raised
        if os.getpid() != process:
            os._exit(0)  # a fork that the cell made does not go on to the next one
        if error is not None:
            self._note(number, error)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:
            pyplot.close("all")
        for question in [*(name for name in CHECK.findall(source) if name not in self.checks), *questions]:
            self.check(question)
        return not isinstance(error, OutOfTime)

    def check(self, question, names=None) -> None:
        """Keep the names for `question`, as `grader.check` finds them. The tests themselves run elsewhere."""
        if isinstance(question, str):
            self.checks.add(question)
            names = dict(names if type(names) is dict else self.shell.user_ns)
            self.checked[question] = {name: (value, _frozen(value)) for name, value in names.items()}

    def namespace(self, question: str) -> dict:
        """The names as `question`'s tests see them; the student's functions then find their global names there too."""
        space = self.shell.user_ns
        if self.end is None:
            self.end = dict(space)
        if question != self.entered:
            if question not in self.views:
                checked = self.checked.get(question, {})
                self.views[question] = {**self.end, **{name: _as_it_was(*kept) for name, kept in checked.items()}}
            for name in space.keys() - self.views[question].keys():
                del space[name]
            space.update(self.views[question])
            self.entered = question
        return space

    def _note(self, number: int, error: BaseException) -> None:
        try:
            text = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else str(error)
        except Exception:
            text = ""
        self.errors.append([number, str(type(error).__name__), text[:300]])

    def _install_otter(self):
        """A stand-in for Otter: importing it and calling it costs nothing and shows nothing."""
        notebook = self

        class Grader(Silent):
            def check(self, question, global_env=None) -> None:
                notebook.check(question, global_env)

        otter = SilentModule("otter")
        otter.Notebook, otter.__version__, otter.__path__ = Grader, "0", []
        sys.modules["otter"] = otter
        return Grader()


class _Small(io.BytesIO):
    def write(self, part) -> int:
        if self.tell() + len(part) > KEPT:
            raise OverflowError
        return super().write(part)


class _Pickler(pickle.Pickler):
    def reducer_override(self, item):
        """Refuse what is too large before it is turned into bytes: a view of a tensor is written with all of it."""
        size = item.untyped_storage().nbytes() if isinstance(item, torch.Tensor) else 0
        if max(size, item.nbytes if isinstance(item, np.ndarray) else 0) > KEPT:
            raise OverflowError
        return NotImplemented


def _frozen(value) -> bytes | None:
    """A value that may change in place as bytes; None where it cannot change, is too large or cannot be written."""
    if isinstance(value, UNCHANGING):
        return None
    stream = _Small()
    try:
        _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception:
        return None
    return stream.getvalue()


def _as_it_was(value, frozen: bytes | None):
    """The very object if it is unchanged, else what it was when it was frozen."""
    if frozen is None or _frozen(value) in (None, frozen):
        return value
    try:
        return pickle.loads(frozen)
    except Exception:
        return value


def write_files(files: dict[str, bytes]) -> None:
    """Put the submission's files into the working folder; names were checked outside, and are checked again."""
    home = Path.cwd()
    for name, content in files.items():
        path = Path(os.path.normpath(home / name))
        if path.is_relative_to(home):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                print(f"{name} could not be put beside the notebook: {error.strerror}")
