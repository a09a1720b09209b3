"""The slots of a batch at work on one list of jobs, a long-lived thread each; what fails on one goes to another."""

import threading
import traceback
from collections.abc import Callable
from typing import Protocol

from autograder.grading.batches.plan import Job
from autograder.grading.isolation.slot import Infrastructure

ATTEMPTS = 3  # on a submission, by as many slots where there are so many


class Worker(Protocol):
    """What a slot can do; a `Desk`, or a stand-in in tests."""

    def grade(self, job: Job) -> tuple[dict, str]: ...
    def settle(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class Work:
    """The jobs that wait. A slot gets none that it failed on while another slot could try it."""

    def __init__(self, jobs: list[Job], slots: int):
        self.waiting, self.slots, self.in_flight = list(jobs), set(range(slots)), 0
        self.stopped, self.changed = False, threading.Condition()

    def take(self, slot: int) -> Job | None:
        """The next job for `slot`, once there is one; None when all is done or the batch was stopped."""
        with self.changed:
            while True:
                if self.stopped or not (self.waiting or self.in_flight):
                    return None
                for job in self.waiting:
                    if slot not in job.tried or self.slots <= job.tried:
                        self.waiting.remove(job)
                        self.in_flight += 1
                        return job
                self.changed.wait()

    def more(self) -> bool:
        """Whether jobs wait."""
        with self.changed:
            return bool(self.waiting) and not self.stopped

    def done(self, again: Job | None = None) -> None:
        """A job that was taken is finished, or waits `again` for another slot."""
        with self.changed:
            self.in_flight -= 1
            if again is not None:
                self.waiting.append(again)
            self.changed.notify_all()

    def leave(self, slot: int) -> None:
        """`slot` takes no more."""
        with self.changed:
            self.slots.discard(slot)
            self.changed.notify_all()

    def stop(self) -> None:
        """No slot takes any more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


class Crew:
    """`run()` the jobs to their end, or until Ctrl-C: what is being graded then stays without a record."""

    def __init__(
        self,
        jobs: list[Job],
        open_slot: Callable[[int, Callable[[], bool]], Worker],
        boards: list[int],
        finish: Callable[[dict, str], None],
        give_up: Callable[[Job], tuple[dict, str]],
    ):
        """`open_slot(number, wanted)` opens one; `boards` says for each slot what it shares with others when it fails:
        slots of equal board (one GPU) fail together. `finish(record, log)` keeps a result; it is called one at a time.
        `give_up(job)` is the record of a job on which the machine failed too often.
        """
        self.work, self.open_slot, self.boards = Work(jobs, len(boards)), open_slot, boards
        self.finish, self.give_up = finish, give_up
        self.lock, self.open, self.troubles = threading.Lock(), [], []

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the batch."""
        return self.work.stopped

    def run(self, on_stop: Callable[[], None] = lambda: None) -> None:
        """Start the slots and wait for them. `troubles` then says which slots failed, and why."""
        threads = [
            threading.Thread(target=self._slot, args=(number,), name=f"slot-{number}", daemon=True)
            for number in range(len(self.boards))
        ]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads)
        except KeyboardInterrupt:
            on_stop()
            self.work.stop()
            for worker in list(self.open):
                worker.stop()
            self._wait(threads)  # a second Ctrl-C ends this wait

    def _wait(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)

    def _slot(self, number: int) -> None:
        try:
            worker = self.open_slot(number, self.work.more)
            self.open.append(worker)
            try:
                while (job := self.work.take(number)) is not None:
                    self._grade(number, worker, job)
                    worker.settle()
            finally:
                worker.close()
        except Exception as error:
            self.troubles.append(error)
        finally:
            self.work.leave(number)

    def _grade(self, number: int, worker: Worker, job: Job) -> None:
        result, log, again = None, "", None
        try:
            result, log = worker.grade(job)
        except BaseException as failure:  # also a SystemExit of a test: the thread must live on
            said = failure if isinstance(failure, Infrastructure) else traceback.format_exc()
            job.log.append(f"attempt {len(job.log) + 1}, slot {number}: {said}")
            job.tried |= {slot for slot, board in enumerate(self.boards) if board == self.boards[number]}
            if len(job.log) < ATTEMPTS:
                again = job
            else:
                result, log = self.give_up(job)
        try:
            if result is not None and not self.work.stopped:
                with self.lock:
                    self.finish(result, log)
        finally:
            self.work.done(again)
