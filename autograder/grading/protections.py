"""What protects this machine from student code: `autograder doctor` says it in one screen."""

import os

import torch

from autograder.grading.sandbox import missing, system_call_filter


def report() -> tuple[list[str], bool]:
    """(lines to print, whether grading can run): each protection, and where one is missing the line that mends it."""
    obstacle, root = missing(), os.getuid() == 0
    lines = [
        _line(obstacle is None, "sandbox", obstacle or "bubblewrap builds one: no network, nothing writable is kept")
    ]
    own = "each slot has a host user of its own; processes are limited"
    lines.append(_line(root, "host user", own if root else "student code runs as you: run as root to separate it"))
    filtered = system_call_filter() is not None
    lines.append(_line(filtered, "system calls", "filtered" if filtered else "not filtered"))
    lines.append(_line(True, "memory", "watched from outside, ten times a second"))
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: --device cpu is used"
    lines.append(_line(torch.cuda.is_available(), "GPU", gpu))
    lines.append("Grading can run." if obstacle is None else "Grading cannot run on this machine yet.")
    return lines, obstacle is None


def _line(good: bool, name: str, text: str) -> str:
    return f"{'✓' if good else '–'} {name:13} {text}"
