"""A control group for each sandbox, where this machine lets one be made: the kernel counts memory and processes.

Both versions of cgroups are known. The group lies beneath the grader's own (version 1) or beside it (version 2, where a
group that holds processes cannot pass its controllers on), so that limits on the grader hold for the sandbox too.
"""

import contextlib
import os
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


class Group:
    """One control group: `add` a process, read what was hit, `remove` it. Make it with `make`."""

    def __init__(self, folders: dict[str, Path], version: int):
        self.folders, self.version = folders, version  # controller -> folder; one folder for all in version 2

    @classmethod
    def make(cls, name: str, memory: int, processes: int) -> "Group | None":
        """A group called `name` of at most `memory` bytes and `processes`, or None where none can be made here."""
        for version, places in ((2, _unified()), (1, _legacy())):
            if not {"memory", "pids"} <= set(places):
                continue
            group = cls({controller: place / name for controller, place in places.items()}, version)
            try:
                for folder in set(group.folders.values()):
                    folder.mkdir(exist_ok=True)
                limit, most = ("memory.max", "pids.max") if version == 2 else ("memory.limit_in_bytes", "pids.max")
                (group.folders["memory"] / limit).write_text(str(memory))
                (group.folders["pids"] / most).write_text(str(processes))
                if version == 2:
                    with contextlib.suppress(OSError):  # a kernel without swap accounting has no such file
                        (group.folders["memory"] / "memory.swap.max").write_text("0")
                return group
            except OSError:
                group.remove()
        return None

    def add(self, pid: int) -> None:
        """Put a process of this machine into the group; its later children follow. Raises OSError."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def hits(self) -> set[str]:
        """Which limits stopped something: "memory", "processes"."""
        events = "memory.events" if self.version == 2 else "memory.oom_control"
        found = {"memory"} if self._count("memory", events, "oom_kill") else set()
        return found | ({"processes"} if self._count("pids", "pids.events", "max") else set())

    def remove(self) -> None:
        """Remove the group once its processes are gone; one that is still in use is left to the next run."""
        for folder in set(self.folders.values()):
            for _ in range(50):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:  # its last process is still being reaped
                    time.sleep(0.01)

    def _count(self, controller: str, file: str, key: str) -> int:
        try:
            lines = (self.folders[controller] / file).read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.split()[:1] == [key])


def _own() -> dict[str, str]:
    """Controller -> this process's group, "" for version 2, as /proc tells it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    return {name: line.split(":", 2)[2] for line in lines for name in line.split(":", 2)[1].split(",")}


def _unified() -> dict[str, Path]:
    own = _own().get("")
    if own is None:
        return {}
    parent = MOUNT / own.lstrip("/")
    parent = parent.parent if parent != MOUNT else parent
    try:
        passed_on = (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return {}
    return {name: parent for name in ("memory", "pids") if name in passed_on and os.access(parent, os.W_OK)}


def _legacy() -> dict[str, Path]:
    own = _own()
    found = {name: MOUNT / name / own[name].lstrip("/") for name in ("memory", "pids") if name in own}
    return {name: folder for name, folder in found.items() if folder.is_dir() and os.access(folder, os.W_OK)}
