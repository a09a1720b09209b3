"""How far a batch is, on standard error while it runs: done, failed, submissions a minute, time left."""

import sys
import threading
import time
from collections.abc import Callable

from tqdm import tqdm

tqdm.set_lock(threading.RLock())  # its own is a semaphore of the machine, which a killed grader would leave behind
LOOK = "{percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} done{postfix}"


class Progress:
    """A line that `count` moves on. Quiet, it counts without a line."""

    def __init__(
        self, total: int, done: int, limit: float, slots: int = 1, quiet: bool = False, clock: Callable = time.monotonic
    ):
        """`done` of `total` have results already; `slots` at a time are graded, which may take `limit` seconds each."""
        self.left, self.failed, self.clock, self.began = total - done, 0, clock, clock()
        self.slots, self.limit = slots, limit
        self.finished = 0
        self.bar = tqdm(total=total, initial=done, bar_format=LOOK, disable=quiet, file=sys.stderr, leave=True)

    def count(self, result: dict) -> None:
        """One more record is there."""
        self.finished += 1
        self.left -= 1
        self.failed += result["status"] == "failed"
        self.bar.set_postfix_str(self.words(), refresh=False)
        self.bar.update()

    def words(self) -> str:
        """What stands behind the bar. The last ones may be those that never end: there the rate foretells nothing."""
        if self.finished and 0 < self.left <= self.slots:
            return f"{self.failed} failed, {self.left} running, limit {_time(self.limit)}"
        rate = self.finished / max(self.clock() - self.began, 1e-9)
        left = f"{_time(self.left / rate)} left" if self.finished else "starting"
        return f"{self.failed} failed, {60 * rate:.1f} a minute, {left}"

    def say(self, sentence: str) -> None:
        """A sentence above the line."""
        if not self.bar.disable:
            self.bar.write(sentence, file=sys.stderr)

    def close(self) -> None:
        """Leave the line as it is."""
        self.bar.close()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
