"""A slot: the share of the machine that grades one submission at a time, with a host user that no other slot has."""

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

FIRST_UID = 61_000  # host users of the slots; they need no entry in /etc/passwd
MOST_SLOTS = 999
LOCKS = Path("/run/autograder-slots")  # root's own: nobody can put a link there


class Infrastructure(RuntimeError):
    """Something on the grading machine failed: never the student's fault."""


@dataclass
class Slot:
    """A share of the machine that grades one submission at a time.

    uid:     its host user (as root)
    threads: how many its code may compute with
    cores:   the only ones it may run on; () for all
    devices: the files of its GPU; () for none
    part:    the UUID of the MIG instance that is its GPU, else None
    """

    uid: int | None = None
    threads: int = 1
    cores: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    part: str | None = None
    lock: object = field(default=None, repr=False)

    @classmethod
    def lease(cls, **share) -> "Slot":
        """A slot with that `share` of the machine, whose host user no other slot uses, also not another grader's."""
        if os.getuid() != 0:
            return cls(None, **share)
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        for number in range(MOST_SLOTS):
            lock = open(LOCKS / str(number), "w")  # noqa: SIM115 (held for as long as the slot lives)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            return cls(FIRST_UID + number, **share, lock=lock)
        raise Infrastructure("All slots are in use on this machine: wait for other graders to finish.")

    def release(self) -> None:
        """Let another slot use this one's host user."""
        if self.lock is not None:
            self.lock.close()


def share_of_cores(number: int, slots: int) -> tuple[int, ...]:
    """The cores of slot `number` of so many: a slot whose code spins on all of its own slows no other down."""
    cores = sorted(os.sched_getaffinity(0))
    if slots >= len(cores):
        return (cores[number % len(cores)],)
    return tuple(cores[number * len(cores) // slots : (number + 1) * len(cores) // slots])
