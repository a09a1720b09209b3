"""What protects this machine from student code, tried and not assumed: `autograder doctor` says it in one screen."""

import ctypes.util
import functools
import importlib.util
import os
import shutil
import subprocess
import sys

import torch

from autograder.course import Limits
from autograder.grading.isolation import mounts
from autograder.grading.isolation.cgroup import Group
from autograder.grading.isolation.filter import program
from autograder.grading.isolation.runtime import system_binds
from autograder.grading.isolation.slot import FIRST_UID, MOST_SLOTS, Slot


@functools.cache
def missing() -> str | None:
    """Why sandboxes cannot run on this machine at all, in one sentence, or None if they can."""
    if sys.platform != "linux":
        return "Grading needs Linux: on macOS and Windows, grade on a Linux machine or in a virtual machine."
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: install it (apt install bubblewrap)."
    for tool in ["prlimit", "taskset", *(["setpriv"] if os.getuid() == 0 else [])]:
        if not shutil.which(tool):
            return f"{tool} is not installed: install util-linux."
    slot = Slot(FIRST_UID + MOST_SLOTS if os.getuid() == 0 else None)
    binds = ["--ro-bind", "/usr", "/usr", *system_binds()]
    trial = [*mounts.prefix(Limits(), slot), "bwrap", *mounts.isolation(), *binds, "--", "/usr/bin/true"]
    result = subprocess.run(trial, capture_output=True, text=True, executable="/usr/bin/env", env={}, check=False)
    if result.returncode != 0:
        said = (result.stderr.strip().splitlines() or ["no message"])[-1]
        return f"bubblewrap cannot build a sandbox here ({said}): allow unprivileged user namespaces on this machine."
    return None


def obstacles() -> list[str]:
    """A sentence for each protection that this machine lacks and that `autograder grade` insists on."""
    found = [missing()]
    if sys.platform == "linux":
        if os.getuid() != 0:
            found.append("Student code would run as you, not as a user of its own: run the grader as root.")
        if program() is None:
            found.append(f"System calls cannot be filtered: {_filter_lacks()}.")
    return [sentence for sentence in found if sentence]


def report() -> tuple[list[str], bool]:
    """(lines to print, whether grading can run): each protection, and where one is missing the line that mends it."""
    root, obstacle, without = os.getuid() == 0, missing(), obstacles()
    lines = [
        _line(obstacle is None, "sandbox", obstacle or "bubblewrap builds one: no network, nothing writable is kept")
    ]
    own = "each slot has a host user of its own, and a fork server for warm starts"
    lines.append(_line(root, "host user", own if root else "student code runs as you: run as root to separate it"))
    filtered = "filtered: none that reach other processes, the kernel's inner parts or other sockets than local ones"
    lines.append(
        _line(program() is not None, "system calls", filtered if program() else f"not filtered: {_filter_lacks()}")
    )
    lines.append(_memory(root))
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: --device cpu is used"
    lines.append(_line(torch.cuda.is_available(), "GPU", gpu))
    lines.append("Grading can run." if not without else "Grading refuses to run here: mend the above, or see --unsafe.")
    return lines, not without


def _filter_lacks() -> str:
    """What the filter of system calls lacks here, and the lines that bring it."""
    lacks = []
    if importlib.util.find_spec("pyseccomp") is None:
        lacks.append("pyseccomp is missing (in the course's folder: make setup)")
    if ctypes.util.find_library("seccomp") is None:
        lacks.append("libseccomp is missing (apt install libseccomp2)")
    return ", ".join(lacks) or "pyseccomp does not load (in the course's folder: make setup)"


def _memory(root: bool) -> str:
    group = Group.make("autograder-trial", 1 << 30, 64) if root else None
    if group is None:
        return _line(True, "memory", "watched from outside, ten times a second (no control group can be made here)")
    group.remove()
    return _line(True, "memory", f"the kernel's own limit (control group, version {group.version}), and watched")


def _line(good: bool, name: str, text: str) -> str:
    return f"{'✓' if good else '–'} {name:13} {text}"
