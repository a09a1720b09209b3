"""One bubblewrap sandbox: a one-shot process tree without network, secrets or anything writable that outlives it.

As root everything runs as a host user of its own (a slot's); the launch happens in an empty environment; bubblewrap
reads its arguments from a pipe, so that no path of this machine shows in /proc. The worker inside is a fork of the
slot's fork server where there is one, else a fresh Python.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading

from autograder.course import Limits
from autograder.grading.isolation import mounts
from autograder.grading.isolation.cgroup import Group
from autograder.grading.isolation.filter import program
from autograder.grading.isolation.runtime import Runtime
from autograder.grading.isolation.slot import Infrastructure, Slot
from autograder.grading.isolation.warm import ForkServer
from autograder.grading.isolation.watch import children, full, memory, tree

FAREWELL_SECONDS = 5.0  # a killed process tree is gone long before


class Sandbox:
    """A started sandbox with the worker in it. `connection` is the judge's end of the wire; use it once, then `kill()`.

    overrun: what the student is told where a limit ended it, else None
    hits:    the names of the limits that were reached: "memory", "processes", "disk"
    peak:    the most memory seen, in bytes

    Launch it from a thread that lives as long as it should: the kernel ends the sandbox with that thread.
    """

    def __init__(self, runtime: Runtime, limits: Limits, slot: Slot, server: ForkServer | None = None):
        if os.getuid() == 0 and not slot.uid:
            raise Infrastructure("Student code is never run as root: lease a slot, which has a host user of its own.")
        self.limits, self.overrun, self.said, self.peak = limits, None, b"", 0
        self.hits: set[str] = set()
        self.ceiling = limits.memory_mb * mounts.MEGABYTE
        self.keeper: int | None = None  # pidfd of the worker's parent in the fork server
        self.keeper_pid = 0
        self.group: Group | None = None
        self.connection, inner = socket.socketpair()
        reading, writing = os.pipe()
        try:
            payload = ["/usr/bin/cat"] if server else self._fresh(runtime, inner)
            self.process = _bubblewrap(runtime, limits, slot, payload, [inner.fileno()] * (not server), writing)
            self._words = reading
            os.set_blocking(reading, False)
            if server:
                self._enter(server, inner, writing)
            if slot.uid is not None:
                self._group(slot)
        except (OSError, EOFError, ValueError) as error:
            self.connection.close()
            if hasattr(self, "process"):
                self.end()
                self.process.wait()
            with contextlib.suppress(OSError):
                self.said = os.read(reading, 4000)
            os.close(reading)
            raise Infrastructure(f"The sandbox did not start: {self.words() or error}.") from error
        finally:
            inner.close()
            os.close(writing)
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    @staticmethod
    def _fresh(runtime: Runtime, inner: socket.socket) -> list[str]:
        return [runtime.interpreter, "-s", "-B", "-m", "autograder.grading.inside.worker", str(inner.fileno())]

    def _enter(self, server: ForkServer, inner: socket.socket, words: int) -> None:
        """Put a fork of `server` into the sandbox, which a waiting process has kept open."""
        self.process.stdin.write(b"\n")
        if self.process.stdout.read(1) != b"\n":  # it answers: the namespaces stand
            raise EOFError("bubblewrap ended")
        first = children(self.process.pid)
        waiting = os.pidfd_open(children(first[0])[0])
        try:
            self.keeper_pid = server.fork(waiting, inner.fileno(), words)
            self.keeper = os.pidfd_open(self.keeper_pid)
        finally:
            os.close(waiting)

    def _group(self, slot: Slot) -> None:
        name = f"sandbox-{slot.uid}-{self.process.pid}"  # student code can read it
        self.group = Group.make(name, self.ceiling, self.limits.processes)

    def _payload(self) -> list[int]:
        """The worker: a child of its keeper in the fork server, or of bubblewrap's first process inside."""
        parents = [self.keeper_pid] if self.keeper is not None else children(self.process.pid)
        return [pid for parent in parents for pid in children(parent)]

    def processes(self) -> list[int]:
        """This machine's process ids of everything inside."""
        return tree(self.process.pid, *self._payload())

    def confine(self) -> None:
        """Put the worker into the control group. The judge calls it before it sends anything of the student's."""
        if self.group is not None:
            for pid in self._payload():
                self.group.add(pid)

    def _watch(self) -> None:
        """Drain what the process prints (its last words are kept); look at memory and disk ten times a second."""
        poll = select.poll()
        poll.register(self._words, select.POLLIN | select.POLLHUP)
        if self.keeper is not None:
            poll.register(self.keeper, select.POLLIN)
        while True:
            ready = dict(poll.poll(100))
            if self._words in ready:
                part = os.read(self._words, 65536)
                self.said = (self.said + part)[-4000:]
                if not part:
                    break
            elif self.keeper in ready:  # the worker is gone: so is all else
                poll.unregister(self.keeper)
                self.end()
            inside, held = self._look()
            if held > self.ceiling:
                self.hits.add("memory")
                self.end()
            lacking = full(inside[0], mounts.WRITABLE) if inside else None
            if lacking:
                self.hits.add("disk")
            if lacking == "files":
                self.overrun = "the code wrote more files than it may"
                self.end()
        os.close(self._words)

    def _look(self) -> tuple[list[int], int]:
        """(the worker, bytes of memory held by everything inside); the peak is noted."""
        inside = self._payload()
        held = memory(self.process.pid, *inside, ceiling=self.ceiling)
        self.peak = max(self.peak, held)
        return inside, held

    def end(self) -> None:
        """SIGKILL to the first process of the namespace: the kernel ends all others with it, bubblewrap ends itself."""
        self._count()
        if self.process.poll() is None:
            for pid in children(self.process.pid) or [self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _count(self) -> None:
        """Take note of the limits that the kernel enforced."""
        if self.group is not None:
            self.hits |= self.group.hits()
        if "memory" in self.hits:
            self.overrun = f"the code used more than {self.limits.memory_mb} MB of memory"

    def kill(self) -> None:
        """End the sandbox and everything in it, and wait until it is gone. Safe to call twice."""
        if self.process.returncode is None:
            self._look()  # a short run may have ended between two looks of the watch
        self.end()
        if self.process.returncode is None:
            leaving = os.pidfd_open(self.process.pid)  # it stays ours until it is waited for
            if not select.select([leaving], [], [], FAREWELL_SECONDS)[0]:
                self.process.kill()
            os.close(leaving)
        self.process.wait()
        self.connection.close()  # first: what was sent over it may hold the pipe that the watch reads
        self.watch.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self.keeper is not None:
            select.select([self.keeper], [], [], FAREWELL_SECONDS)
            os.close(self.keeper)
            self.keeper = None
        if self.group is not None:
            self._count()
            self.group.remove()
            self.group = None

    def words(self) -> str:
        """The last that the process printed: for the instructor's log, never for a student."""
        return self.said.decode("utf-8", "replace").strip()


def _bubblewrap(runtime, limits, slot, payload: list[str], passed: list[int], words: int) -> subprocess.Popen:
    """Start bubblewrap; its arguments and the system-call filter travel through pipes, nothing else is inherited."""
    filtering = program()  # also for the process that only waits: the worker could write into its memory
    reading, writing = os.pipe()
    filters = os.pipe() if filtering else ()
    try:
        arguments = mounts.sandbox(runtime, limits, slot, filters[0] if filters else None)
        command = [*mounts.prefix(limits, slot), "bwrap", "--args", str(reading), "--", *payload]
        piped = payload == ["/usr/bin/cat"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else words,
            stderr=words,
            pass_fds=(reading, *passed, *filters[:1]),
            env={},
            cwd="/",
            bufsize=0,
            executable="/usr/bin/env",
        )
        os.write(writing, "\0".join(arguments).encode() + b"\0")
        if filters:
            os.write(filters[1], filtering)
        return process
    finally:
        for descriptor in (reading, writing, *filters):
            os.close(descriptor)
