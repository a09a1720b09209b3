"""One submission's conversation: its sandbox, the run of the notebook, the tests' questions in and answers out."""

import time
from dataclasses import dataclass, field

from autograder.course import Limits
from autograder.grading.line import Line
from autograder.grading.proxies import PROXIES, Inexpressible, Outward, Proxy, student_exception, update
from autograder.grading.sandbox import Sandbox
from autograder.grading.slot import Infrastructure
from autograder.grading.wire import Handle, WireError, encode

START_SECONDS = 120.0
GRACE_SECONDS = 2.0  # code past its time is first interrupted inside; this much later the sandbox is killed
RESTARTS = 3


class Stopped(BaseException):
    """The student's code was stopped: the message says why, in words for the student.

    Not an Exception: a test's `except Exception` must not turn a dead sandbox into a pass.
    """


@dataclass
class Ran:
    """What running the notebook left: errors [cell, type, text], cells that ended the process, what was printed."""

    errors: list = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    printed: str = ""


class Session:
    """`run()` the notebook, then ask. Every wait has a deadline; every failure of the sandbox is a `Stopped`."""

    def __init__(self, start, files: dict, cells: list, seed: int, limits: Limits):
        """`start()` gives a new Sandbox; `cells` are [source, questions checked after it]; `seed` is public."""
        self.start, self.files, self.cells, self.seed, self.limits = start, files, cells, seed, limits
        self.patience = limits.submission_seconds  # what is left of it: only waiting for the sandbox counts
        self.sandbox: Sandbox | None = None
        self.ran, self.starts, self.case, self.question, self.asked = Ran(), 0, 0, "", False
        self.left: dict[str, float] = {}
        self.callbacks: list = []
        self.log: list[str] = []

    def close(self) -> None:
        """End the sandbox."""
        if self.sandbox is not None:
            self.sandbox.kill()
            self.sandbox = None

    # The notebook

    def run(self) -> Ran:
        """Run the notebook, on a fresh sandbox without the cell at fault whenever a cell ends the process."""
        while True:
            self._open()
            cell, reason = self._run_once()
            if reason is None:
                return self.ran
            words = self.sandbox.words()
            self.close()
            self.log.append(f"cell {cell}: {reason}. {words}".strip())
            if cell == 0:
                raise Infrastructure(f"The sandbox ended before the first cell: {words or reason}.")
            self.ran.skipped[cell] = reason
            if self.patience <= 0:
                raise Stopped(f"The notebook ran longer than {self.limits.submission_seconds:g} s.")
            if self.starts > RESTARTS:
                what = f"the cell that begins {self.begins(cell)} {reason}"
                raise Stopped(f"The notebook could not be run to its end: {what}.")

    def _run_once(self) -> tuple[int, str | None]:
        settings = {
            "seed": self.seed,
            "cell_seconds": self.limits.cell_seconds,
            "printed": self.limits.output_kb * 1024,
        }
        cell, began = 0, time.monotonic()
        until = began + START_SECONDS
        try:
            self.line.send(["notebook", self.files, self.cells, list(self.ran.skipped), settings], until)
            while True:
                longest = min(self.limits.cell_seconds + GRACE_SECONDS, self.patience - (time.monotonic() - began))
                until = time.monotonic() + longest
                match self.line.read(until):
                    case ["cell", int(number)] if cell < number <= len(self.cells):
                        cell = number
                    case ["done", list(errors), str(printed)]:
                        self.ran.errors = [e for e in errors if _is_error(e)]
                        self.ran.printed = printed
                        return cell, None
                    case _:
                        return max(cell, 1), "sent something that is no answer"
        except TimeoutError:
            return cell, f"did not end within {self.limits.cell_seconds:g} s"
        except WireError:
            return max(cell, 1), "sent something that is no data"
        except (EOFError, OSError):
            return cell, self._cause("ended the Python process")
        finally:
            self.patience -= time.monotonic() - began

    def begins(self, cell: int) -> str:
        """How the cell of that number begins, to name it: students see no numbers of cells that they did not run."""
        lines = [line.strip() for line in self.cells[cell - 1][0].splitlines() if line.strip()] if cell else []
        return f"“{lines[0][:40]}{'…' if len(lines[0]) > 40 or len(lines) > 1 else ''}”" if lines else "the notebook"

    def _open(self) -> None:
        self.starts += 1
        self.sandbox = self.start()
        self.line = Line(self.sandbox.connection, self._adopt)
        try:
            ready = self.line.read(time.monotonic() + START_SECONDS)
        except (EOFError, OSError, WireError) as error:
            words = self.sandbox.words()
            self.close()
            raise Infrastructure(f"The sandbox did not start: {words[-500:] or type(error).__name__}.") from error
        if ready[:1] != ["ready"]:
            raise Infrastructure("The sandbox did not start: it did not announce itself.")

    def _cause(self, otherwise: str) -> str:
        return self.sandbox.overrun or otherwise

    # A test case

    def begin(self, question: str) -> None:
        """A test case of `question` starts: its handles are its own, its time is what the question has left."""
        self.case += 1
        self.question, self.callbacks, self.asked = question, [], False
        self.left.setdefault(question, self.limits.question_seconds)

    def end(self) -> None:
        """The test case is over: its proxies are worth nothing from now on."""
        self.case += 1
        self.callbacks = []
        if self.sandbox is not None and self.asked:
            try:
                until = time.monotonic() + GRACE_SECONDS
                self.line.send(["forget"], until)
                self.line.read(until)
            except (OSError, EOFError, WireError):  # the verdict stands; the next case gets a fresh sandbox
                self.close()

    def get(self, name: str, default=None):
        """The student's `name`: plain data, or a proxy. This is all that Otter's test cases ask of an environment."""
        status, *values = self._exchange(["name", self.question, name])
        return values[0] if status == "value" else default

    def call(self, target, args: tuple, kwargs: dict):
        """Call a proxy, or a probe's function (a Recipe); mutable arguments are updated in place."""
        outward = Outward(self)
        reply = self._exchange(["call", target, args, kwargs], outward)
        if len(reply) != 3 or type(reply[2]) is not list or len(reply[2]) != len(outward.mutable):
            self._protest()
        for mine, theirs in zip(outward.mutable, reply[2]):
            update(mine, theirs)
        return reply[1]

    def probe(self, function, args: tuple, kwargs: dict):
        """Run the test author's `function` inside, in the student's process."""
        return self.call(Outward(self).code(function), args, kwargs)

    def ask(self, operation: str, proxy: Proxy, *arguments):
        """Read something of a proxy: `attribute`, `item`, `iterate` or `next`."""
        reply = self._exchange([operation, proxy, *arguments])
        if reply[0] == "stop" and operation == "next":
            raise StopIteration
        if reply[0] != "value":
            self._protest()
        return reply[1]

    def shared(self, source: str, question: str) -> list:
        """[passed, message] of each case of a test file that must run beside the student's code."""
        return self._exchange(["shared", source, question])[1]

    def register(self, function) -> list:
        """A number and a name under which the student's code may call `function` during this test case."""
        self.callbacks.append(function)
        return [len(self.callbacks) - 1, getattr(function, "__name__", type(function).__name__)]

    def handle_of(self, proxy: Proxy) -> Handle:
        """The handle of a proxy of this test case."""
        session, handle, case = object.__getattribute__(proxy, "_remote")
        if session is not self or case != self.case:
            raise Inexpressible(f"{proxy!r} belongs to another test case: ask for it anew in each.")
        return handle

    # The wire

    def _exchange(self, request: list, outward: Outward | None = None) -> list:
        """One question and its answer. Raises what the student's code raised, or Stopped."""
        outward = outward or Outward(self)
        timed, self.asked = request[0] != "name", True
        if self.sandbox is None:
            self._reopen()
        left = self.left.get(self.question, self.limits.question_seconds)
        left = min(left, self.patience)
        if left <= 0:
            raise Stopped(self._too_long())
        try:
            payload = encode([*request, float(left)] if timed else request, outward)
        except WireError as error:
            raise Inexpressible(str(error)) from None
        started = time.monotonic()
        until = started + left + GRACE_SECONDS
        try:
            self.line.send_payload(payload, until)
            reply = self.line.answer(until, self.callbacks, Outward(self))
        except TimeoutError:
            self._give_up(self._too_long())
        except (WireError, RecursionError) as error:
            self._give_up(f"Your code's answer cannot be read: {error}.")
        except (EOFError, OSError):
            self._give_up(
                f"Your code was stopped: it {self._cause('ended the Python process').removeprefix('the code ')}."
            )
        finally:
            self.patience -= time.monotonic() - started
            if self.question in self.left:
                self.left[self.question] -= time.monotonic() - started
        match reply:
            case ["value", _, *_] | ["missing"] | ["stop"]:
                return reply
            case ["late"]:
                self.left[self.question] = 0.0
                raise Stopped(self._too_long())
            case ["raised", str(kind), str(name), str(text)]:
                raise student_exception(kind, name, text)
        self._protest()

    def _adopt(self, handle: Handle):
        return PROXIES.get(handle.kind, Proxy)(self, handle, self.case)

    def _protest(self):
        self._give_up("Your code's answer cannot be read: it is not a reply.")

    def _give_up(self, sentence: str):
        self.log.append(f"{self.question}: {sentence} {self.sandbox.words()}".strip())
        self.close()
        raise Stopped(sentence)

    def _reopen(self) -> None:
        """A fresh sandbox with the notebook run again, after a test case ended the last one."""
        if self.starts > RESTARTS or self.patience <= 0:
            raise Stopped("Your code was stopped too often; this test was not run.")
        kept = self.ran
        self.ran = Ran(skipped=dict(kept.skipped))
        try:
            self.run()
        finally:
            self.ran = kept

    def _too_long(self) -> str:
        if self.patience <= 0:
            return f"Your notebook and its tests took longer than {self.limits.submission_seconds:g} s."
        return f"Your code took longer than {self.limits.question_seconds:g} s in this question."


def _is_error(error) -> bool:
    match error:
        case [int(), str(), str()]:
            return True
    return False
