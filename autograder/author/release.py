"""What students may have, and nothing else: written to a new folder only after every file was searched for secrets."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from autograder.author.homework import homework_sources
from autograder.author.secrets import Secret, leaks, secrets_of

__all__ = ["ReleaseRefused", "write_release"]

PATTERNS = (
    "README.md",
    "LICENSE",
    "Makefile",
    "environment.yml",
    "pyproject.toml",
    "constraints.txt",
    "kshot/**/*",
    "lectures/*",
    "homeworks/*/*",
    "datasets/*.toml",
    "datasets/checkpoints/*",
    "benchmarks/results/*.json",
)
NEVER = re.compile(r"^\.|^__pycache__$|\.partial\.")
PICTURE = re.compile(r"""(?:\]\(|src=["'])(?P<path>[\w./-]+\.(?:png|svg|gif))""")


class ReleaseRefused(RuntimeError):
    """The release was not written; the message says what stands in the way."""


def write_release(root: Path, directory: Path) -> list[Path]:
    """Copy what students may have from `root` to `directory` (new or empty); returns the files, relative to it.

    Raises:
        ReleaseRefused: for a folder that holds something, a homework that was not built, or a file that gives away a
            solution or a hidden test; nothing is written then.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ReleaseRefused(f"{directory} is not empty: name a folder that does not exist yet, or empty it first.")
    files = released_files(root)
    secrets: list[Secret] = []
    for name, source in homework_sources(root).items():
        if Path(f"homeworks/{name}/{name}.ipynb") not in files:
            raise ReleaseRefused(f"homeworks/{name}/{name}.ipynb is missing: run 'autograder build {name}' first.")
        secrets += secrets_of(source)
    found = [f"{file} holds {what}" for file in files for what in leaks(root, file, secrets)]
    if found:
        raise ReleaseRefused("Not released: " + "; ".join(found) + ".")
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for file in files:
            (building / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, building / file)
        building.chmod(0o755)
        building.replace(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return files


def released_files(root: Path) -> list[Path]:
    """The files of `root` that are for students, relative to it: an explicit list, and the pictures in the README."""
    found = {path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file()}
    if (root / "README.md").is_file():
        pictures = PICTURE.findall((root / "README.md").read_text(encoding="utf-8"))
        found |= {root / picture for picture in pictures if (root / picture).resolve().is_relative_to(root.resolve())}
    relative = {path.relative_to(root) for path in found if path.is_file()}
    return sorted(path for path in relative if not any(NEVER.search(part) for part in path.parts))
