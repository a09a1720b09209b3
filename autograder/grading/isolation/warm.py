"""Warm starts: the grader's side of a slot's fork server, which makes a sandbox's worker in a hundredth of a second."""

import os
import select
import socket
import struct
import subprocess

from autograder.course import Limits
from autograder.grading.isolation import mounts
from autograder.grading.isolation.filter import program
from autograder.grading.isolation.runtime import Runtime
from autograder.grading.isolation.slot import Infrastructure, Slot

READY_SECONDS, FORK_SECONDS = 120.0, 30.0


class ForkServer:
    """A slot's fork server. Start it as root only: its host user must be another than the grader's."""

    def __init__(self, runtime: Runtime, limits: Limits, slot: Slot):
        if slot.uid is None:
            raise ValueError("a fork server needs a host user of its own")
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready = False
        arguments, before = mounts.fork_server(runtime, limits, slot)
        reading, writing = os.pipe()
        try:
            command = [*mounts.NO_ENVIRONMENT, "bwrap", "--args", str(reading), "--"]
            command += [*before, runtime.interpreter, "-s", "-B", "-m", "autograder.grading.inside.forkserver"]
            self.process = subprocess.Popen(
                [*command, str(inner.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(reading, inner.fileno()),
                env={},
                cwd="/",
                executable="/usr/bin/env",
            )
            os.write(writing, "\0".join(arguments).encode() + b"\0")
            self.control.send(b"\0" + (program() or b""))
        except OSError as error:
            self.control.close()
            raise Infrastructure(f"The fork server did not start: {error}.") from error
        finally:
            inner.close()
            os.close(reading)
            os.close(writing)

    def fork(self, sandbox: int, wire: int, words: int) -> int:
        """Make a worker in the sandbox of the process behind the pidfd `sandbox`, and return its parent's process id.

        `wire` is its end of the wire, `words` where it prints. Raises EOFError or OSError if the server is gone.
        """
        if not self.ready:
            self._answer(READY_SECONDS)
            self.ready = True
        socket.send_fds(self.control, [b"fork"], [sandbox, wire, words])
        return struct.unpack("i", self._answer(FORK_SECONDS))[0]

    def _answer(self, seconds: float) -> bytes:
        if not select.select([self.control], [], [], seconds)[0]:
            raise EOFError("the fork server did not answer")
        answer = self.control.recv(64)
        if not answer:
            said = self.process.stderr.read(2000).decode("utf-8", "replace").strip()
            raise EOFError(f"the fork server ended: {said}")
        return answer

    def close(self) -> None:
        """End it; sandboxes that it made are ended by `Sandbox.kill`."""
        self.control.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
