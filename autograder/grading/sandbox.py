"""One bubblewrap sandbox: a one-shot process tree without network, secrets or anything writable that outlives it.

The command line was measured against escapes that a plain `bwrap` allows: as root everything runs as a host user of its
own (a slot's), namespaces are named one by one so that a missing one is an error, the launch happens in an empty
environment, and bubblewrap reads its arguments from a pipe so that no path of this machine shows in /proc.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import threading

from autograder.course import Limits
from autograder.grading.runtime import Runtime
from autograder.grading.slot import FIRST_UID, Infrastructure, Slot
from autograder.grading.watch import children, memory

NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")
MEGABYTE = 1 << 20


class Sandbox:
    """A started sandbox with the worker in it. `connection` is the judge's end of the wire; use it once, then `kill()`.

    Launch it from a thread that lives as long as it should: the kernel ends the sandbox with that thread.
    """

    def __init__(self, runtime: Runtime, limits: Limits, slot: Slot):
        self.limits, self.overrun, self.said = limits, None, b""
        self.connection, inner = socket.socketpair()
        reading, writing = os.pipe()
        try:
            filtering = system_call_filter()
            arguments = "\0".join(_bubblewrap(runtime, limits, slot, filtering)).encode() + b"\0"
            command = [*_prefix(limits, slot), "bwrap", "--args", str(reading)]
            command += ["--", runtime.interpreter, "-s", "-B", "-m", "autograder.grading.worker", str(inner.fileno())]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(inner.fileno(), reading, *([] if filtering is None else [filtering])),
                env={},
                cwd="/",
                bufsize=0,
                executable="/usr/bin/env",
            )
            os.write(writing, arguments)
        except OSError as error:
            self.connection.close()
            raise Infrastructure(f"The sandbox did not start: {error}.") from error
        finally:
            inner.close()
            os.close(reading)
            os.close(writing)
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    def _watch(self) -> None:
        """Drain what the process prints (its last words are kept), stop it when it holds too much memory."""
        pipe, ceiling = self.process.stdout, self.limits.memory_mb * MEGABYTE
        poll = select.poll()
        poll.register(pipe, select.POLLIN | select.POLLHUP)
        while True:
            if poll.poll(100):
                part = os.read(pipe.fileno(), 65536)
                if not part:
                    break
                self.said = (self.said + part)[-4000:]
            if memory(self.process.pid) > ceiling:
                self.overrun = f"the code used more than {self.limits.memory_mb} MB of memory"
                self.end()
        pipe.close()

    def end(self) -> None:
        """SIGKILL to bubblewrap and to the first process of the namespace: the kernel ends all others with it."""
        for pid in (*children(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the sandbox and everything in it. Safe to call twice."""
        if self.process.poll() is None:
            self.end()
        self.process.wait()
        self.watch.join()
        self.connection.close()

    def words(self) -> str:
        """The last that the process printed: for the instructor's log, never for a student."""
        return self.said.decode("utf-8", "replace").strip()


def missing() -> str | None:
    """Why sandboxes cannot run on this machine, in one sentence, or None if they can."""
    if not shutil.which("bwrap"):
        return (
            "bubblewrap is not installed: install it (apt install bubblewrap), or grade on a Linux machine that has it."
        )
    tools = ["prlimit"] + (["setpriv"] if os.getuid() == 0 else [])
    for tool in tools:
        if not shutil.which(tool):
            return f"{tool} is not installed: install util-linux."
    slot = Slot(FIRST_UID + 999 if os.getuid() == 0 else None)
    trial = [
        *_prefix(Limits(), slot),
        "bwrap",
        *_isolation(),
        "--ro-bind",
        "/usr",
        "/usr",
        *_links(),
        "--",
        "/usr/bin/true",
    ]
    result = subprocess.run(trial, capture_output=True, text=True, executable="/usr/bin/env", env={}, check=False)
    if result.returncode != 0:
        said = (result.stderr.strip().splitlines() or ["no message"])[-1]
        return f"bubblewrap cannot build a sandbox here ({said}): allow unprivileged user namespaces on this machine."
    return None


def _prefix(limits: Limits, slot: Slot) -> list[str]:
    """`env -i setpriv … prlimit …`: an empty environment, another user, and limits, before bubblewrap starts."""
    path = f"PATH={os.environ.get('PATH', '/usr/bin:/bin')}"
    command = ["env", "-i", path]
    ceilings = ["--core=0:0", f"--nofile={limits.open_files}", "--memlock=65536", "--msgqueue=0", "--sigpending=256"]
    ceilings += [f"--fsize={limits.file_mb * MEGABYTE}"]
    if slot.uid is not None:
        uid = str(slot.uid)
        command += ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
        ceilings += [f"--nproc={limits.processes}"]  # counts per host user: meaningless unless the slot has its own
    return [*command, "prlimit", *ceilings]


def _isolation() -> list[str]:
    command = [f"--unshare-{name}" for name in NAMESPACES]
    command += ["--disable-userns", "--assert-userns-disabled", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    return [*command, "--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv"]


def _links() -> list[str]:
    """/lib, /lib64 and /bin as this system has them: links into /usr, or folders."""
    found = []
    for name in ("/lib", "/lib64", "/bin"):
        if os.path.islink(name):
            found += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            found += ["--ro-bind", name, name]
    return found


def _bubblewrap(runtime: Runtime, limits: Limits, slot: Slot, filtering: int | None) -> list[str]:
    command = _isolation()
    for folder in ("/usr/lib", "/usr/lib64", "/usr/bin"):
        if os.path.isdir(folder):
            command += ["--ro-bind", folder, folder]
    command += _links()
    for source, place in runtime.binds:
        command += ["--ro-bind", str(source), place]
    command += ["--proc", "/proc", "--dev", "/dev"]
    if slot.gpu is not None:
        for device in (f"/dev/nvidia{slot.gpu}", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"):
            if os.path.exists(device):
                command += ["--dev-bind", device, device]
    for folder in ("/dev/shm", "/tmp", "/home/student", "/work"):
        command += ["--size", str(limits.file_mb * MEGABYTE), "--tmpfs", folder]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"]
    for name, value in _environment(runtime, slot).items():
        command += ["--setenv", name, value]
    return command if filtering is None else [*command, "--seccomp", str(filtering)]


def system_call_filter() -> int | None:
    """The descriptor of a compiled seccomp program, or None where none is installed."""
    return None


def _environment(runtime: Runtime, slot: Slot) -> dict[str, str]:
    threads = str(slot.threads)
    found = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home/student",
        "USER": "student",
        "LOGNAME": "student",
        "TMPDIR": "/tmp",
    }
    found |= {"LANG": "C.UTF-8", "MPLBACKEND": "Agg", "KSHOT_GRADING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    found |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    found |= {"AUTOGRADER_DEVICE": "cpu" if slot.gpu is None else "cuda"}
    return found | runtime.environment
