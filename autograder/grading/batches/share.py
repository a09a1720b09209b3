"""A slot's share of a GPU: how much memory it may hold, what it held, whether all came back, and when it is alone."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from autograder.grading.batches.gpu import MEGABYTE, Devices, Gpu
from autograder.grading.isolation.slot import Infrastructure

LOOK_SECONDS = 0.5  # between two looks at the memory of the GPUs
BACK_SECONDS = 10.0  # within which a GPU must have its memory back after a sandbox ended
SLACK = 64 * MEGABYTE  # what the driver itself may hold more than at the start


class Room:
    """Who is at work on one GPU: many share it, or one is alone."""

    def __init__(self):
        self.condition, self.busy, self.wanted = threading.Condition(), 0, 0

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Work beside others, but not while one is alone or waits for it."""
        with self.condition:
            self.condition.wait_for(lambda: not self.wanted)
            self.busy += 1
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Work while nobody else does: those at work end what they began first."""
        with self.condition:
            self.wanted += 1
            self.condition.wait_for(lambda: not self.busy)
            self.busy += 1
        try:
            yield
        finally:
            with self.condition:
                self.wanted -= 1
            self._leave()

    def _leave(self) -> None:
        with self.condition:
            self.busy -= 1
            self.condition.notify_all()

    @property
    def quiet(self) -> bool:
        """Whether nobody is at work but the asking slot, which is."""
        with self.condition:
            return self.busy <= 1


@dataclass
class Board:
    """One GPU of a batch: its room, and what it held before anything ran."""

    gpu: Gpu
    devices: Devices
    per_gpu: int
    room: Room = field(default_factory=Room)
    start: int = 0

    def __post_init__(self):
        usage = self.devices.usage(self.gpu)
        if usage.broken:
            raise Infrastructure(f"GPU {self.gpu.name} cannot be used: {usage.broken}.")
        self.start = usage.used - sum(usage.processes.values())


class Share:
    """One slot's part of a board. `begin` and `follow` say whose memory it is, `look` watches it, `settle` ends it."""

    def __init__(self, board: Board):
        self.board, self.cap = board, None
        self.peak, self.boxes, self.seen, self.overrun = 0, [], set(), False

    def begin(self, alone: bool) -> None:
        """A submission starts; alone it may use the whole GPU."""
        whole = alone or self.board.per_gpu == 1 or self.board.gpu.capped
        self.cap = None if whole else self.board.gpu.total // self.board.per_gpu
        self.peak, self.boxes, self.seen, self.overrun = 0, [], set(), False

    def follow(self, sandbox) -> None:
        """`sandbox` works for this submission: its memory counts."""
        self.boxes = [*self.boxes, sandbox]

    def look(self, usage) -> None:
        """Note what the submission holds; end its sandboxes if that is more than its share."""
        mine = {pid for sandbox in self.boxes for pid in sandbox.processes()}
        self.seen |= mine & usage.processes.keys()
        held = sum(usage.processes.get(pid, 0) for pid in mine)
        if not usage.processes and self.board.room.quiet:  # the driver does not tell processes apart: all is this one's
            held = max(0, usage.used - self.board.start)
        self.peak = max(self.peak, held)
        if self.cap is not None and held > self.cap:
            self.overrun = True
            for sandbox in self.boxes:
                sandbox.overrun = f"the code used more than its share of the GPU's memory ({self.cap // MEGABYTE} MB)"
                sandbox.end()

    def settle(self, clock: Callable[[], float] = time.monotonic, wait: Callable[[float], None] = time.sleep) -> None:
        """Wait until the GPU has its memory back. Raises Infrastructure if it does not come, or the GPU is broken."""
        until = clock() + BACK_SECONDS
        while True:
            usage = self.board.devices.usage(self.board.gpu)
            if usage.broken:
                raise Infrastructure(f"GPU {self.board.gpu.name} broke down: {usage.broken}.")
            kept = sum(usage.processes.get(pid, 0) for pid in self.seen)
            unowned = usage.used - sum(usage.processes.values()) - self.board.start
            if not kept and (unowned <= SLACK or self.board.room.busy):  # while others work, it may be theirs
                return
            if clock() > until:
                held = max(kept, unowned) // MEGABYTE
                raise Infrastructure(
                    f"GPU {self.board.gpu.name} still holds {held} MB of a submission {BACK_SECONDS:g} s after its end."
                )
            wait(LOOK_SECONDS)


class Monitor:
    """Looks at the shares of all boards twice a second, in a thread of its own."""

    def __init__(self, shares: list[Share]):
        self.shares, self.stopped = shares, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True, name="gpu-monitor")

    def __enter__(self) -> "Monitor":
        if self.shares:
            self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.stopped.set()
        if self.shares:
            self.thread.join()

    def _run(self) -> None:
        while not self.stopped.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Ask each GPU once, and tell its shares."""
        for board in {id(share.board): share.board for share in self.shares}.values():
            with contextlib.suppress(Infrastructure):  # `settle` says so when the submission is done
                usage = board.devices.usage(board.gpu)
                for share in self.shares:
                    if share.board is board:
                        share.look(usage)
