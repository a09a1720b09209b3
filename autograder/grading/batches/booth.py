"""A desk in a process of its own: it can be killed where a test, or a function that a test passed in, never returns.

The student's code has deadlines of its own; this is for what runs outside the sandbox, where no deadline reaches into a
long computation of the test's. Besides, slots in processes of their own do not wait for one another's Python.
"""

import contextlib
import ctypes
import faulthandler
import json
import multiprocessing
import os
import select
import signal
import traceback
from collections.abc import Callable

from autograder.grading.batches.desk import Desk, Settings
from autograder.grading.batches.plan import Job
from autograder.grading.isolation.mounts import KEPT_BYTES
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.judging.grade import given_up

SPARE_SECONDS = 120.0  # beyond what student code may take, in the notebook's sandbox and in a fresh one
CLOSE_SECONDS, TRACE_SECONDS = 20.0, 0.5
PR_SET_PDEATHSIG, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = 1, -1, -3
_forks = multiprocessing.get_context("fork")


class Booth:
    """What a `Desk` on the CPU does, from another process. Make it and use it in one thread, which outlives it.

    Raises Infrastructure where the slot cannot be opened.
    """

    def __init__(self, settings: Settings, cores: tuple[int, ...], wanted: Callable[[], bool]):
        self.settings, self.cores, self.wanted, self.stopped = settings, cores, wanted, False
        self.patience = 2 * settings.limits.submission_seconds + SPARE_SECONDS
        self._open()

    def _open(self) -> None:
        self.line, theirs = _forks.Pipe()
        self.trace, writing = os.pipe()
        self.process = _forks.Process(target=_serve, args=(theirs, self.settings, self.cores, writing))
        self.process.start()
        theirs.close()
        os.close(writing)
        try:
            opened = json.loads(self.line.recv_bytes())
        except (EOFError, OSError):
            opened = {"failure": "The process of a slot ended before it was ready."}
        if "failure" in opened:
            self._end()
            raise Infrastructure(opened["failure"])

    def grade(self, job: Job) -> tuple[dict, str]:
        """(record, log). Raises Infrastructure where the machine failed.

        Judging that does not end is not tried again: the submission is set aside, for a person to look at.
        """
        if self.stopped:
            raise Infrastructure("The batch was stopped.")
        try:
            self.line.send((job, self.wanted()))
            if not self.line.poll(self.patience):
                raise TimeoutError
            answer = json.loads(self.line.recv_bytes())
        except TimeoutError:
            job.log.append(f"Judging did not end within {self.patience:g} s. It was here:\n{self._where()}")
            self._replace()
            why = "A test of this assignment did not come to an end on this submission"
            return given_up(job, self.settings.bundle, "cpu", self.settings.unsafe, why)
        except (EOFError, OSError):
            self._replace()
            raise Infrastructure("The process that judged this submission ended.") from None
        if "failure" in answer:
            raise Infrastructure(answer["failure"])
        return answer["result"], answer["log"]

    def _where(self) -> str:
        """The judge's Python stack, also where it is inside a computation that never looks up."""
        os.kill(self.process.pid, signal.SIGUSR1)
        found = b""
        while select.select([self.trace], [], [], TRACE_SECONDS)[0] and (part := os.read(self.trace, 4096)):
            found += part
        return found.decode("utf-8", "replace")[-3000:]

    def _replace(self) -> None:
        self._end()
        if not self.stopped:
            self._open()

    def _end(self) -> None:
        self.process.kill()
        self.process.join()
        self.line.close()
        os.close(self.trace)

    def settle(self) -> None:
        """Nothing of this slot outlives a submission."""

    def stop(self) -> None:
        """End what is being graded, from another thread."""
        self.stopped = True
        self.process.kill()

    def close(self) -> None:
        """Give the slot back."""
        with contextlib.suppress(OSError):
            self.line.send(None)
        self.process.join(CLOSE_SECONDS)
        self._end()


def _serve(line, settings: Settings, cores: tuple[int, ...], trace: int) -> None:
    """In the other process: grade what comes until told to stop; the kernel ends it with the grader."""
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(AttributeError):  # as in the sandboxes; only the GNU C library can be told
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the grader, which says what to do
    faulthandler.register(signal.SIGUSR1, file=trace, all_threads=False)
    more = [False]  # whether other submissions wait, as the grader said last
    with contextlib.suppress(EOFError, OSError), contextlib.ExitStack() as stack:
        desk = _answered(line, lambda: Desk(settings, None, lambda: more[0], cores))
        if desk is None:
            return
        stack.callback(desk.close)
        while (message := line.recv()) is not None:
            job, more[0] = message
            _answered(line, lambda job=job: dict(zip(("result", "log"), desk.grade(job))))


def _answered(line, action: Callable):
    """What `action()` returns, or None; the grader is told the outcome."""
    outcome, answer = None, {}
    try:
        outcome = action()
        answer = outcome if isinstance(outcome, dict) else {}
    except Infrastructure as failure:
        answer = {"failure": str(failure)}
    except BaseException:  # also a SystemExit of a test
        answer = {"failure": traceback.format_exc()}
    line.send_bytes(json.dumps(answer).encode())
    return outcome
