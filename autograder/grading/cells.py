"""Inside the sandbox: runs a notebook's cells one after another as IPython would, without a screen or a front end."""

import os
import signal
import sys
import types
from contextlib import contextmanager
from pathlib import Path

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


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


class Printed:
    """A text stream that keeps the first and the last part of what is written to it."""

    encoding, errors, closed = "utf-8", "replace", False

    def __init__(self, limit: int):
        self.limit, self.head, self.tail, self.held, self.dropped = limit // 2, "", [], 0, 0

    def write(self, text: str) -> int:
        room = self.limit - len(self.head)
        if room > 0:
            self.head += text[:room]
        if len(text) > room:
            self.tail.append(text[max(room, 0) :][-self.limit - 1 :])
            self.held += len(self.tail[-1])
            self.dropped += len(text) - max(room, 0) - len(self.tail[-1])
        if self.held > 2 * self.limit:
            self._trim()
        return len(text)

    def _trim(self) -> None:
        tail = "".join(self.tail)
        cut = max(0, len(tail) - self.limit)
        self.tail, self.held, self.dropped = [tail[cut:]], len(tail) - cut, self.dropped + cut

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 1

    def __str__(self) -> str:
        self._trim()
        gap = f"\n… {self.dropped} characters left out …\n" if self.dropped else ""
        return self.head + gap + self.tail[0]


class _NoScreen(DisplayPublisher):
    def publish(self, data, metadata=None, **ignored):
        """Pictures and widgets are shown to nobody."""


class Notebook:
    """The namespace in which a notebook runs, and the copies of it that `grader.check` asked for."""

    def __init__(self):
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.shell = InteractiveShell.instance(config=config, display_pub_class=_NoScreen)
        self.shell.enable_gui = lambda gui=None: None
        for name in ("matplotlib", "pylab"):
            self.shell.register_magic_function(lambda line="": None, "line", name)
        self.checked: dict[str, dict] = {}
        self.errors: list[list] = []
        self._install_otter()

    def namespace(self, question: str) -> dict:
        """The student's names as they were at the last `grader.check(question)`, else as they are at the end."""
        return self.checked.get(question, self.shell.user_ns)

    def check(self, question) -> None:
        """Remember the namespace for `question`. Tests themselves run elsewhere."""
        if isinstance(question, str):
            self.checked[question] = dict(self.shell.user_ns)

    def run(self, number: int, source: str, questions: list[str], seconds: float) -> None:
        """Run one cell; an error, an exit or too long a time ends the cell, not the notebook."""
        try:
            with time_limit(seconds):
                result = self.shell.run_cell(source, store_history=True)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:
            error = raised
        if error is not None:
            self.errors.append([number, type(error).__name__, str(error)[:300]])
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:
            pyplot.close("all")
        for question in questions:
            self.check(question)

    def _install_otter(self) -> None:
        """A stand-in for Otter: importing it and calling it costs nothing and shows nothing."""
        notebook = self

        class Stand(types.ModuleType):
            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return lambda *args, **kwargs: None

        class Grader:
            def __init__(self, *args, **kwargs):
                pass

            def check(self, question, *args, **kwargs):
                notebook.check(question)

            def __getattr__(self, name):
                return lambda *args, **kwargs: None

        module = Stand("otter")
        module.Notebook, module.__version__, module.__path__ = Grader, "0", []
        sys.modules["otter"] = module
        self.shell.user_ns["grader"] = Grader()  # also where a student removed the cell that makes it


def write_files(files: dict[str, bytes]) -> None:
    """Put the submission's files into the working folder; names were checked outside, and are checked again."""
    home = Path.cwd()
    for name, content in files.items():
        path = Path(os.path.normpath(home / name))
        if path.is_relative_to(home):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
