"""The process inside the sandbox: runs the student's notebook, then answers the judge's calls on the names it left.

Nothing here is trusted by the judge and nothing here is secret: the student's code shares this process.
"""

import builtins
import contextlib
import functools
import os
import random
import socket
import sys
import time

import matplotlib.pyplot
import numpy as np
import torch

from autograder.grading.inside import shared
from autograder.grading.inside.cells import Notebook, OutOfTime, time_limit, write_files
from autograder.grading.inside.objects import Objects
from autograder.grading.inside.shell import Printed
from autograder.grading.protocol.decode import severed, variables
from autograder.grading.protocol.frames import read_frame, write_frame
from autograder.grading.protocol.wire import EXCEPTIONS, NESTED

NO_GRADIENT = RuntimeError("no gradient goes through a function of the test's, which runs elsewhere: use it in a probe")


class Worker:
    """Serves one submission: `[operation, *arguments]` frames in, `[status, *values]` frames out."""

    def __init__(self, connection: socket.socket):
        self.connection, self.depth = connection, 0
        self.objects = Objects(self._callback)
        self.notebook = Notebook()

    def serve(self) -> None:
        """Answer until the judge hangs up."""
        while True:
            payload = read_frame(self.connection)
            try:
                request = self.objects.unpack(payload)
            except Exception as error:
                self._send(_raised(error))
            else:
                self._answer(*request)

    def _answer(self, operation: str, *arguments) -> None:
        try:
            reply = getattr(self, f"do_{operation}")(*arguments)
        except Exception as error:
            reply = _raised(error)
        self._send(reply)

    def _send(self, reply: list) -> None:
        try:
            payload = self.objects.pack(reply)
        except Exception as error:
            payload = self.objects.pack(_raised(error))
        write_frame(self.connection, payload)

    def do_notebook(self, files: dict, cells: list, skip: list, settings: dict) -> list:
        """Run the cells: each is [source, questions checked after it, what runs before it]. A frame announces each.

        Answers `done`, the errors, what was printed, whether some of it was left out, and the cell at which the time
        for the whole notebook was over (0 if it was not).
        """
        printed = sys.stdout = sys.stderr = Printed(settings["printed"])
        write_files(files)
        _seed(settings["seed"])
        until, each, unreached = time.monotonic() + settings["seconds"], settings["cell_seconds"], 0
        for number, (source, questions, *before) in enumerate(cells, start=1):
            if number in skip:
                continue
            left = until - time.monotonic()
            self._send(["cell", number])
            in_time = left > 0 and self.notebook.run(number, source, questions, min(each, left), *before)
            if not in_time and left < each:
                unreached = number
                break
        sys.stdout = sys.stderr = Printed(0)
        return ["done", self.notebook.errors[:50], str(printed), printed.dropped > 0, unreached]

    def do_case(self, key: bytes) -> list:
        """A test case begins: what was given away in earlier ones means nothing from now on."""
        self.objects.begin(key)
        return ["case", key]

    def do_name(self, question: str, name: str, seconds: float) -> list:
        """The value of a name as question's tests should see it."""
        space = self.notebook.namespace(question)
        return ["value", space[name]] if name in space else ["missing"]

    def do_call(self, target, args: tuple, kwargs: dict, seconds: float) -> list:
        """Call something of the student's; the reply brings back the arguments marked as mutable."""
        changed = list(self.objects.mutable)
        return self._attempt(lambda: ["value", target(*args, **kwargs), changed], seconds)

    def do_attribute(self, target, name: str, seconds: float) -> list:
        """Read an attribute."""
        return self._attempt(lambda: ["value", getattr(target, name)], seconds)

    def do_item(self, target, key, seconds: float) -> list:
        """Read an item."""
        return self._attempt(lambda: ["value", target[key]], seconds)

    def do_iterate(self, target, seconds: float) -> list:
        """Start an iteration."""
        return self._attempt(lambda: ["value", iter(target)], seconds)

    def do_next(self, target, seconds: float) -> list:
        """The next item of an iteration, or `stop`."""

        def step():
            for item in target:
                return ["value", item]
            return ["stop"]

        return self._attempt(step, seconds)

    def do_shared(self, source: str, question: str, number: int, seconds: float) -> list:
        """Run a test case that needs this namespace; its verdict is only as honest as the student's code."""
        space = self.notebook.namespace(question)
        return self._attempt(lambda: ["value", shared.run_case(source, number, space)], seconds)

    def _attempt(self, action, seconds: float) -> list:
        # Within a callback the clock of the question around it runs on: they share one deadline.
        limit = contextlib.nullcontext() if self.depth else time_limit(seconds)
        try:
            with limit:
                return action()
        except BaseException as error:
            return _raised(error)

    def _callback(self, number: int):
        """A function of the test's: calling it asks the judge, who may have questions of its own first."""

        def test_function(*args, **kwargs):
            if self.depth >= NESTED:
                raise RecursionError("the test's function was called from within itself too often")
            self.depth += 1
            severing = functools.partial(severed, refusal=NO_GRADIENT, inputs=variables((args, kwargs)))
            try:
                self._send(["callback", number, args, kwargs])
                while True:
                    status, *values = self.objects.unpack(read_frame(self.connection), severing)
                    if status in ("value", "raised"):
                        break
                    self._answer(status, *values)
            finally:
                self.depth -= 1
            if status == "value":
                return values[0]
            raise (getattr(builtins, values[0]) if values[0] in EXCEPTIONS else RuntimeError)(values[1])

        return test_function


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _raised(error: BaseException) -> list:
    """The nearest type of an exception that travels, its name and its text: never the object."""
    if isinstance(error, OutOfTime):
        return ["late"]
    nearest = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in EXCEPTIONS), "Exception")
    return ["raised", nearest, type(error).__name__, str(error)[:2000]]


def prepare() -> None:
    """What can be done before any student code is known; the fork server does it once for all its forks."""
    import ipywidgets  # noqa: F401 (what most notebooks import, so that each need not)

    with contextlib.suppress(ImportError):
        import kshot
        import kshot.see  # noqa: F401
    matplotlib.pyplot.close("all")


def serve(descriptor: int) -> None:
    """Announce readiness on the wire, then serve until the judge hangs up."""
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    # Not in `prepare`: a fork of a process with such threads starts threads itself, and then can join no namespaces.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.argv = ["notebook"]
    worker = Worker(connection)
    worker._send(["ready", str(torch.__version__)])
    with contextlib.suppress(EOFError, OSError):
        worker.serve()


if __name__ == "__main__":
    prepare()
    serve(int(sys.argv[-1]))
