"""The command lines of bubblewrap: what a sandbox sees of this machine, and what its fork server does."""

import os

from autograder.course import Limits
from autograder.grading.isolation.runtime import Runtime, system_binds
from autograder.grading.isolation.slot import Slot

NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")
MEGABYTE = 1 << 20
NO_ENVIRONMENT = ("env", "-i", f"PATH={os.environ.get('PATH', '/usr/bin:/bin')}")
KEPT_BYTES = 1 << 30  # a process keeps what it freed up to here, for itself
OWN_PROCESSES = 32  # of a slot, at most: the fork server, two times bubblewrap and what waits in it
WRITABLE = ("/dev/shm", "/tmp", "/home/student", "/work")  # each a tmpfs of its own, gone with the sandbox


def prefix(limits: Limits, slot: Slot) -> list[str]:
    """`env -i setpriv … prlimit …`: an empty environment, another user, and limits, before bubblewrap starts."""
    return [*NO_ENVIRONMENT, *_confined(limits, slot)]


def sandbox(runtime: Runtime, limits: Limits, slot: Slot, filtering: int | None = None) -> list[str]:
    """Bubblewrap's arguments for a sandbox; `filtering` is the descriptor of a seccomp program for its payload."""
    command = [*isolation(), *_read_only(runtime), "--proc", "/proc", *_devices(), *_gpu(slot)]
    for folder in WRITABLE:
        command += ["--size", str(limits.file_mb * MEGABYTE), "--tmpfs", folder]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work", *_environment(runtime, slot)]
    return command if filtering is None else [*command, "--seccomp", str(filtering)]


def fork_server(runtime: Runtime, limits: Limits, slot: Slot) -> tuple[list[str], list[str]]:
    """(bubblewrap's arguments, what it runs before the interpreter) of a slot's fork server. Only root can use them.

    It sees the same files in the same places as a sandbox, and no network, but shares this machine's user and process
    namespaces: the namespaces of its forks are made by bubblewrap, one sandbox at a time.
    """
    command = ["--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session", "--clearenv", "--cap-add", "ALL"]
    for folder in ("/usr", "/runtime"):
        command += ["--perms", "0755", "--dir", folder]
    command += [*_read_only(runtime), "--proc", "/proc", *_devices()]
    for folder in WRITABLE[1:]:
        command += ["--perms", "1777", "--size", str(limits.file_mb * MEGABYTE), "--tmpfs", folder]
    return [*command, "--chdir", "/work", *_environment(runtime, slot)], _confined(limits, slot)


def isolation() -> list[str]:
    """Namespaces one by one, so that a missing one is an error; no user namespace within; no capability."""
    command = [f"--unshare-{name}" for name in NAMESPACES]
    command += ["--disable-userns", "--assert-userns-disabled", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    return [*command, "--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv"]


def _read_only(runtime: Runtime) -> list[str]:
    command = system_binds()
    for source, place in runtime.binds:
        command += ["--ro-bind", str(source), place]
    return command


def _confined(limits: Limits, slot: Slot) -> list[str]:
    """On the slot's cores, as its host user, within what the kernel limits for each process."""
    command = ["taskset", "--cpu-list", ",".join(map(str, slot.cores))] if slot.cores else []
    ceilings = ["--core=0:0", f"--nofile={limits.open_files}", "--memlock=65536", "--msgqueue=0", "--sigpending=256"]
    ceilings += [f"--fsize={limits.file_mb * MEGABYTE}"]
    if slot.uid is not None:
        uid = str(slot.uid)
        command += ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
        # Counts per host user, so it is meaningless unless the slot has its own, and includes the slot's own processes.
        ceilings += [f"--nproc={limits.processes + OWN_PROCESSES}"]
    return [*command, "prlimit", *ceilings]


def _devices() -> list[str]:
    """No terminal, nothing of this machine's but four devices without a state."""
    command = ["--perms", "0755", "--tmpfs", "/dev"]
    for name in ("null", "zero", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        command += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return [*command, "--symlink", "/proc/self/fd", "/dev/fd"]


def _gpu(slot: Slot) -> list[str]:
    """The files of the slot's own GPU, and of no other."""
    return [part for device in slot.devices if os.path.exists(device) for part in ("--dev-bind", device, device)]


def _environment(runtime: Runtime, slot: Slot) -> list[str]:
    threads = str(slot.threads)
    found = {"PATH": "/usr/bin:/bin", "HOME": "/home/student", "USER": "student", "LOGNAME": "student"}
    found |= {"TMPDIR": "/tmp", "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp", "KSHOT_GRADING": "1"}
    found |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    found |= {"AUTOGRADER_DEVICE": "cuda" if slot.devices else "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    # The C library would give every large tensor back to the kernel and fetch it anew: half of a small network's time.
    found |= {"MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES), "MALLOC_TRIM_THRESHOLD_": str(2 * KEPT_BYTES)}
    if slot.part is not None:
        found["CUDA_VISIBLE_DEVICES"] = slot.part
    found |= runtime.environment
    return [part for name, value in found.items() for part in ("--setenv", name, value)]
