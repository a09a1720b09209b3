"""What a sandbox sees of this machine: interpreter, site-packages and `kshot/`, each read-only, nothing else."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Runtime:
    """Where the staged trees lie on this machine, and what the sandbox must know to use them."""

    python: Path | None  # None where the interpreter is /usr's own
    packages: Path
    course: Path

    @property
    def binds(self) -> list[tuple[Path, str]]:
        """(source here, place inside) of each read-only mount."""
        trees = [(self.packages, "/runtime/packages"), (self.course, "/runtime/course")]
        return trees + ([(self.python, "/runtime/python")] if self.python else [])

    @property
    def interpreter(self) -> str:
        return f"/runtime/python/bin/{PYTHON}" if self.python else os.path.realpath(sys.executable)

    @property
    def environment(self) -> dict[str, str]:
        """What the interpreter needs to find itself, its packages and the data."""
        found = {"PYTHONPATH": "/runtime/course:/runtime/packages", "KSHOT_DATA": "/runtime/course/data"}
        if self.python:
            found |= {"PYTHONHOME": "/runtime/python", "LD_LIBRARY_PATH": "/runtime/python/lib"}
        return found


def system_binds() -> list[str]:
    """Bubblewrap's arguments for this machine's programs and libraries: of /usr and the links into it, nothing else."""
    command = []
    for folder in ("/usr/lib", "/usr/lib64", "/usr/bin"):
        if os.path.isdir(folder):
            command += ["--ro-bind", folder, folder]
    for name in ("/lib", "/lib64", "/bin"):
        if os.path.islink(name):
            command += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            command += ["--ro-bind", name, name]
    return command
