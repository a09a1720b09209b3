"""The fork server: a process with torch, IPython and the course imported, of which every sandbox's worker is a fork.

Importing takes seconds, forking a hundredth of one. It is trusted: it never runs student code, holds no secret, and has
no privilege but that of the slot's host user, who owns the sandboxes' namespaces. Each fork joins the namespaces of one
sandbox that bubblewrap has made, gives up its privileges, and serves one submission; pages it writes are its own.
"""

import gc
import os
import signal
import socket
import struct
import sys

from autograder.grading.inside import entry, worker

REQUEST = 16


def main() -> None:
    """Serve on the socket whose descriptor is the last argument until the grader hangs up."""
    control = socket.socket(fileno=int(sys.argv[-1]))
    control.set_inheritable(False)
    worker.prepare()
    with socket.socket(fileno=os.dup(control.fileno())) as first:
        program = first.recv(1 << 16)[1:]  # a byte first: an empty program is no end of file
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no one to wait for them
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, REQUEST, 3)
        if not request:
            return
        keeper = os.fork()
        if keeper == 0:
            control.close()
            _keep(program, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(struct.pack("i", keeper))


def _keep(program: bytes, pidfd: int, wire: int, words: int) -> None:
    """In the fork: make the worker, a first process inside the sandbox's namespaces, and last as long as it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.dup2(words, 1)
        os.dup2(words, 2)
        entry.join(pidfd)
        inside = os.fork()
        if inside == 0:
            os.dup2(wire, 3)
            entry.keep_only([3])
            os.setsid()
            os.chdir("/work")
            entry.give_up_privileges(program)
            worker.serve(3)
            os._exit(0)
        entry.keep_only([])
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (1, 2):
            os.dup2(null, standard)
        os.waitpid(inside, 0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
