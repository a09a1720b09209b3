"""A slot at work: its host user, its sandboxes started ahead of need, its grader, and its share of a GPU."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from autograder.course import Limits
from autograder.grading.batches.plan import Job
from autograder.grading.batches.share import Share
from autograder.grading.isolation.launcher import Launcher
from autograder.grading.isolation.runtime import Runtime
from autograder.grading.isolation.sandbox import Sandbox
from autograder.grading.isolation.slot import Infrastructure, Slot
from autograder.grading.judging.grade import Grader, OutOfGpuMemory
from autograder.grading.submissions.bundle import Bundle


class Warm:
    """Keeps one sandbox starting ahead of need while submissions wait; each is used once."""

    def __init__(self, launch: Callable[[], Sandbox], wanted: Callable[[], bool]):
        """`launch()` starts a sandbox; `wanted()` says whether another one will be needed."""
        self.launch, self.wanted, self.ready, self.latest, self.stopped = launch, wanted, None, [], False

    def make(self) -> Sandbox:
        """A started sandbox. Raises Infrastructure once the batch was stopped."""
        if not self.stopped:
            sandbox = self.launch()
            self.latest = [*self.latest[-3:], sandbox]
            if not self.stopped:
                return sandbox
            sandbox.kill()
        raise Infrastructure("The batch was stopped.")

    def take(self) -> Sandbox:
        """A sandbox, the one that was started earlier if there is one."""
        taken, self.ready = self.ready or self.make(), None
        if self.wanted():
            with contextlib.suppress(Infrastructure):  # whoever needs it will start it and see the reason
                self.ready = self.make()
        return taken

    def stop(self) -> None:
        """End every sandbox of this slot, from another thread: whoever waits for one finds it gone."""
        self.stopped = True
        for sandbox in self.latest:
            sandbox.end()

    def close(self) -> None:
        """End the one that nobody needed."""
        if self.ready is not None:
            self.ready.kill()
            self.ready = None


@dataclass(frozen=True)
class Settings:
    """What all slots of a batch have in common."""

    bundle: Bundle
    limits: Limits
    secret: bytes
    unsafe: str | None = None
    runtime: Runtime | None = None
    threads: int = 1


class Desk:
    """One slot. Make it, use it and close it in one thread: the kernel ends its sandboxes with that thread."""

    def __init__(
        self, settings: Settings, share: Share | None, wanted: Callable[[], bool], cores: tuple[int, ...] = ()
    ):
        self.share = share
        gpu = None if share is None else share.board.gpu
        part = gpu.uuid if gpu is not None and gpu.capped else None
        devices = () if gpu is None else gpu.files
        self.slot = Slot.lease(threads=settings.threads, cores=cores, devices=devices, part=part)
        self.launcher = Launcher(settings.runtime, settings.limits, self.slot)
        self.warm = Warm(self.launcher, wanted)
        device = "cpu" if gpu is None else f"cuda:{gpu.name}"
        self.grader = Grader(settings.bundle, settings.limits, settings.secret, self._start, device, settings.unsafe)

    def _start(self) -> Sandbox:
        sandbox = self.warm.take()
        if self.share is not None:
            self.share.follow(sandbox)
        return sandbox

    def grade(self, job: Job) -> tuple[dict, str]:
        """(record, log). Raises Infrastructure where the machine failed."""
        if self.share is None:
            return self.grader.grade(job)
        return on_gpu(self.share, self.grader, job)

    def settle(self) -> None:
        """After a submission: raises Infrastructure if the slot cannot be used for another."""
        if self.share is not None:
            self.share.settle()

    def stop(self) -> None:
        """End what is being graded, from another thread."""
        self.warm.stop()

    def close(self) -> None:
        """Give the slot back."""
        self.warm.close()
        self.launcher.close()
        self.slot.release()


def on_gpu(share: Share, grader: Grader, job: Job) -> tuple[dict, str]:
    """Grade on a share of a GPU; what ran out of GPU memory there runs once more, alone on the GPU, and then counts."""
    try:
        with share.board.room.shared():
            share.begin(alone=False)
            result, log = grader.grade(job, alone=False)
            if share.overrun:
                raise OutOfGpuMemory(f"{grader.device}: more memory than the slot's share.")
    except OutOfGpuMemory:
        share.settle()
        with share.board.room.alone():
            share.begin(alone=True)
            result, log = grader.grade(job, alone=True)
        log = f"The GPU's memory did not suffice beside others; this is the run alone on it.\n{log}"
    result["resources"]["gpu_mb"] = round(share.peak / 2**20, 1)
    return result, log
