"""What a process tree holds, read from /proc: the sandbox's watch looks here ten times a second."""

import os
from pathlib import Path

MOST_FILES = 100_000  # of one temporary file system: each costs the kernel about a kilobyte that no size counts


def children(pid: int) -> list[int]:
    """The process ids of the direct children of `pid`."""
    found = []
    for task in _listing(f"/proc/{pid}/task"):
        try:
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in text.split()]
    return found


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def tree(*roots: int) -> list[int]:
    """The process ids of `roots` and all their descendants, each once."""
    found, pending = {}, list(roots)
    while pending:
        process = pending.pop()
        if process not in found:
            found[process] = None
            pending += children(process)
    return list(found)


def memory(*roots: int, ceiling: int) -> int:
    """Bytes of anonymous and shared-memory pages that the process trees of `roots` hold, and of the tables of them.

    Pages that forks share are counted once a process, which is quick; only where that exceeds `ceiling` each is divided
    among those who share it, which is true.
    """
    processes = tree(*roots)
    quick = sum(_sum(f"/proc/{process}/status", ("RssAnon:", "RssShmem:", "VmPTE:")) for process in processes)
    if quick <= ceiling:
        return quick
    tables = sum(_sum(f"/proc/{process}/status", ("VmPTE:",)) for process in processes)
    return tables + sum(_sum(f"/proc/{process}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) for process in processes)


def _sum(path: str, keys: tuple[str, ...]) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:  # it is gone
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(keys))


def full(pid: int, folders: tuple[str, ...]) -> str | None:
    """Which of the file systems at `folders`, as process `pid` sees them, has no space left or too many files."""
    for folder in folders:
        try:
            found = os.statvfs(f"/proc/{pid}/root{folder}")
        except OSError:
            continue
        if found.f_bavail == 0:
            return "space"
        if found.f_files - found.f_ffree > MOST_FILES:
            return "files"
    return None
