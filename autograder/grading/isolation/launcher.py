"""Starts the sandboxes of one slot: forks where the slot has its own host user, fresh processes otherwise."""

from autograder.course import Limits
from autograder.grading.isolation.runtime import Runtime
from autograder.grading.isolation.sandbox import Sandbox
from autograder.grading.isolation.slot import Slot
from autograder.grading.isolation.warm import ForkServer


class Launcher:
    """Called, it gives a started `Sandbox`; `close()` it when the slot is done."""

    def __init__(self, runtime: Runtime, limits: Limits, slot: Slot):
        self.runtime, self.limits, self.slot, self.server = runtime, limits, slot, None

    def __call__(self) -> Sandbox:
        """A started sandbox. A fork server that died is replaced. Raises Infrastructure."""
        if self.slot.uid is None:
            return Sandbox(self.runtime, self.limits, self.slot)
        if self.server is None or self.server.process.poll() is not None:
            self.close()
            self.server = ForkServer(self.runtime, self.limits, self.slot)
        return Sandbox(self.runtime, self.limits, self.slot, self.server)

    def close(self) -> None:
        """End the fork server."""
        if self.server is not None:
            self.server.close()
            self.server = None
