"""What a process tree holds, read from /proc: the sandbox's watch looks here ten times a second."""

import os
from pathlib import Path


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


def memory(pid: int) -> int:
    """Bytes of private and shared-memory pages that the process tree of `pid` holds (mapped files excepted)."""
    total, pending = 0, [pid]
    while pending:
        process = pending.pop()
        pending += children(process)
        try:
            text = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total
