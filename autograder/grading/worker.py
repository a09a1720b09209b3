"""The process inside the sandbox: runs the student's notebook, then answers the judge's calls on the names it left.

Nothing here is trusted by the judge and nothing here is secret: the student's code shares this process.
"""

import builtins
import contextlib
import os
import socket
import sys

import matplotlib.pyplot
import torch

from autograder.grading import shared
from autograder.grading.cells import Notebook, OutOfTime, Printed, time_limit, write_files
from autograder.grading.frames import read_frame, write_frame
from autograder.grading.objects import Objects

CALLBACK_DEPTH = 8


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
                operation, *arguments = self.objects.unpack(payload)
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
        """Run the cells: each is [source, questions checked after it]. A `cell` frame announces each."""
        write_files(files)
        torch.manual_seed(settings["seed"])
        printed = sys.stdout = sys.stderr = Printed(settings["printed"])
        for number, (source, questions) in enumerate(cells, start=1):
            if number not in skip:
                self._send(["cell", number])
                self.notebook.run(number, source, questions, settings["cell_seconds"])
        sys.stdout = sys.stderr = Printed(0)
        return ["done", self.notebook.errors[:50], str(printed)]

    def do_name(self, question: str, name: str) -> list:
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

    def do_shared(self, source: str, question: str, seconds: float) -> list:
        """Run the tests that need this namespace; their verdicts are only as honest as the student's code."""
        return ["value", shared.run_question(source, question, self.notebook.namespace, seconds)]

    def do_forget(self) -> list:
        """The test case is over."""
        self.objects.forget()
        return ["value", None]

    def _attempt(self, action, seconds: float) -> list:
        try:
            with time_limit(seconds):
                return action()
        except BaseException as error:
            return _raised(error)

    def _callback(self, number: int, name: str):
        """A function of the test's: calling it asks the judge."""

        def ask(*args, **kwargs):
            if self.depth >= CALLBACK_DEPTH:
                raise RecursionError(f"{name} was called from within itself too often")
            self.depth += 1
            try:
                self._send(["callback", number, args, kwargs])
                status, *values = self.objects.unpack(read_frame(self.connection))
            finally:
                self.depth -= 1
            if status == "value":
                return values[0]
            raise getattr(builtins, values[0], RuntimeError)(values[1])

        ask.__name__ = name
        return ask


def _raised(error: BaseException) -> list:
    """The nearest built-in type of an exception and its text: never the object."""
    if isinstance(error, OutOfTime):
        return ["late"]
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            return ["raised", kind.__name__, type(error).__name__, str(error)[:2000]]
    return ["raised", "Exception", type(error).__name__, str(error)[:2000]]


def main() -> None:
    """Announce readiness on the wire whose descriptor is the last argument, then serve."""
    connection = socket.socket(fileno=int(sys.argv[-1]))
    connection.set_inheritable(False)
    sys.argv = ["notebook"]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    matplotlib.pyplot.close("all")
    worker = Worker(connection)
    worker._send(["ready", str(torch.__version__)])
    with contextlib.suppress(EOFError, OSError):
        worker.serve()


if __name__ == "__main__":
    main()
