"""One submission's conversation: its sandbox, the run of the notebook, the tests' questions in and answers out."""

import time
from dataclasses import dataclass, field

from autograder.course import Limits
from autograder.grading.isolation.sandbox import Sandbox
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.judging.case import GRACE_SECONDS, Case, Stopped
from autograder.grading.judging.proxies import Inexpressible, Proxy
from autograder.grading.protocol.line import Line
from autograder.grading.protocol.wire import Handle, WireError

START_SECONDS = 120.0
RESTARTS = 8  # sandboxes beyond the first that the cells of one notebook may use up
ENDED = "ended the Python process"
AND_THE_REST = "(the cells after it could not be run either)"
REOPENINGS = 20  # sandboxes beyond the first that the test cases of one submission may use up
SIGNS = {  # how a limit of the sandbox shows in the student's code: exception types, parts of messages
    "memory": ("MemoryError", "can't allocate memory"),
    "processes": ("Resource temporarily unavailable", "can't start new thread"),
    "disk": ("No space left on device", "File too large"),
}


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
        self.ran, self.starts, self.reopened = Ran(), 0, 0
        self.case: Case | None = None
        self.left: dict[str, float] = {}  # seconds, by question
        self.late = ("", "")  # what to say, and which limit to name, when the answer that is awaited comes too late
        self.log: list[str] = []
        self.last = len(cells)  # the number of the last cell that is run
        # Of the patience, for the tests; a cell that resists its end takes the grace from it.
        self.reserve = min(limits.question_seconds, limits.submission_seconds / 3) + GRACE_SECONDS
        self.limits_hit: list[str] = []  # names of the limits that were reached, in that order

    def close(self) -> None:
        """End the sandbox, and note which of its limits were reached."""
        if self.sandbox is not None:
            self.sandbox.kill()
            self._note_limits()
            self.sandbox = None

    # The notebook

    def run(self) -> Ran:
        """Run the notebook, on a fresh sandbox without the cell at fault whenever a cell ends the process.

        Where that happens too often, or the notebook's share of the time is over, only the cells before are run again.
        """
        for attempt in range(RESTARTS + 1):
            last = attempt == RESTARTS or self.patience <= self.reserve
            self._open()
            cell, reason = self._run_once(self.patience / 2 if last else self.patience - self.reserve)
            if reason is None:
                self._note_limits()
                self.reserve = 0.0
                return self.ran
            sandbox = self.sandbox
            self.close()
            if reason == ENDED:  # why, the sandbox may know only once it is gone
                reason = (sandbox.overrun or ENDED).removeprefix("the code ")
            words = sandbox.words()
            self.log.append(f"cell {cell}: {reason}. {words}".strip())
            if cell == 0:
                raise Infrastructure(f"The sandbox ended before the first cell: {words or reason}.")
            if last or self.patience <= 0:
                break
            self.ran.skipped[cell] = reason
            if attempt == RESTARTS - 1 or self.patience <= self.reserve:
                self.ran.skipped[cell] = f"{reason} {AND_THE_REST}"
                self.last = cell - 1
        raise Stopped(f"The notebook could not be run to its end: the cell that begins {self.begins(cell)} {reason}.")

    def _run_once(self, seconds: float) -> tuple[int, str | None]:
        """Run the cells within `seconds` in all: (the cell at fault, what it did), or (the last cell, None)."""
        each, cell, began = self.limits.cell_seconds, 0, time.monotonic()
        settings = {"seed": self.seed, "seconds": seconds, "cell_seconds": each}
        settings["printed"] = self.limits.output_kb * 1024
        left = spare = START_SECONDS
        try:
            cells, skipped = self.cells[: self.last], list(self.ran.skipped)
            self.line.send(["notebook", self.files, cells, skipped, settings], began + left)
            while True:
                match self.line.read(time.monotonic() + left + GRACE_SECONDS):
                    case ["cell", int(number)] if cell < number <= self.last:
                        cell, spare = number, seconds - (time.monotonic() - began)
                        left = max(0.0, min(each, spare))
                    case ["done", list(errors), str(printed), bool(cut), int(unreached)]:
                        self._finish(errors, printed, cut, unreached, seconds)
                        return cell, None
                    case _:
                        return max(cell, 1), "sent something that is no answer"
        except TimeoutError:
            self.reached("submission time" if spare < each else "cell time")
            return cell, self._over(seconds) if spare < each else f"did not end within {each:g} s"
        except WireError:
            return max(cell, 1), "sent something that is no data"
        except (EOFError, OSError):
            return cell, ENDED
        finally:
            self.patience -= time.monotonic() - began

    def _finish(self, errors: list, printed: str, cut: bool, unreached: int, seconds: float) -> None:
        """Keep what the sandbox says of its run, as far as it makes sense: the student's code may have said it."""
        numbers = range(1, len(self.cells) + 1)
        self.ran.errors = [
            [number, kind[:60], text[:300]]
            for number, kind, text in (error for error in errors if _is_error(error))
            if number in numbers and number != unreached
        ]
        self.ran.printed = printed[: self.limits.output_kb * 1024 + 100]
        for _, kind, text in self.ran.errors:
            self.reached("cell time" if kind == "OutOfTime" else limit_named_by(kind, text))
        self.reached("output" if cut else None)
        if unreached in numbers:
            self.reached("submission time")
            self.ran.skipped[unreached] = f"{self._over(seconds)} {AND_THE_REST}"

    def _over(self, seconds: float) -> str:
        return f"was at work when the {seconds:.3g} s for the whole notebook were over"

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
        self.sandbox.confine()

    # The test cases

    def begin(self, question: str) -> None:
        """A test case of `question` starts: its handles are its own, its time is what the question has left."""
        self.case = Case(self, question)
        self.left.setdefault(question, self.limits.question_seconds)

    def end(self) -> None:
        """The test case is over: its proxies are worth nothing from now on."""
        self.case = None

    @property
    def stopped(self) -> str | None:
        """Why the student's code was stopped in this test case, whatever the test made of it; or None."""
        return self.case.stopped if self.case else None

    def get(self, name: str, default=None):
        """The student's `name`: plain data, or a proxy. This is all that Otter's test cases ask of an environment."""
        return self._current().get(name, default)

    def probe(self, function, args: tuple, kwargs: dict):
        """Run the test author's `function` inside, in the student's process."""
        return self._current().probe(function, args, kwargs)

    def _current(self) -> Case:
        if self.case is None:
            raise Inexpressible("The student's code can be asked only while a test case runs.")
        return self.case

    def _adopt(self, handle: Handle) -> Proxy:
        if self.case is None:
            raise WireError("a handle outside a test case")
        return self.case.adopt(handle)

    def ready(self, question: str) -> float:
        """See to it that there is a sandbox to ask; until when (monotonic), as the question's time goes."""
        if self.sandbox is None:
            self._reopen()
        left = min(self.left[question], self.patience)
        self.late = f"Your code took longer than {self.limits.question_seconds:g} s in this question.", "question time"
        if self.patience <= self.left[question]:
            sentence = f"Your notebook and its tests took longer than {self.limits.submission_seconds:g} s."
            self.late = sentence, "submission time"
        if left <= 0:
            self.case.stop(*self.late)
        return time.monotonic() + left

    def spend(self, question: str, seconds: float) -> None:
        """Take what an answer took from the time that is left."""
        self.patience -= seconds
        self.left[question] -= seconds

    def give_up(self, sentence: str | None = None, limit: str | None = None, detail: str = ""):
        """Throw the sandbox away and stop the case; without a sentence, for the reason that the sandbox gives then.

        `detail` is for the log: the student's code may have written it.
        """
        if self.sandbox is None:  # given up before, and the test went on
            raise Stopped(self.case.stopped)
        sandbox = self.sandbox
        self.close()
        sentence = sentence or f"Your code was stopped: it {(sandbox.overrun or ENDED).removeprefix('the code ')}."
        self.log.append(f"{self.case.question}: {sentence} {detail} {sandbox.words()}".strip())
        self.case.stop(sentence, limit)

    def felt(self, kind: str, text: str) -> None:
        """Note the limit that an exception of the student's code speaks of, if it does."""
        self.reached(limit_named_by(kind, text))

    def _note_limits(self) -> None:
        for limit in sorted(self.sandbox.hits):
            self.reached(limit)

    def reached(self, limit: str | None) -> None:
        """Note that a limit was reached, by its name."""
        if limit and limit not in self.limits_hit:
            self.limits_hit.append(limit)

    def _reopen(self) -> None:
        """A fresh sandbox with the notebook run again, after a test case ended the last one."""
        self.reopened += 1
        if self.reopened > REOPENINGS:
            self.case.stop("Your code was stopped too often; this test was not run.")
        kept = self.ran
        self.ran = Ran(skipped=dict(kept.skipped))
        try:
            self.run()
        except Stopped as stop:
            self.case.stop(str(stop))
        finally:
            self.ran = kept


def limit_named_by(kind: str, text: str) -> str | None:
    """The limit of the sandbox that an exception of the student's code speaks of, if it does."""
    for limit, signs in SIGNS.items():
        if kind in signs or any(sign in text for sign in signs):
            return limit
    return None


def _is_error(error) -> bool:
    match error:
        case [int(), str(), str()]:
            return True
    return False
