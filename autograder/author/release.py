"""What students may have, and nothing else: written to a new folder only after every file was searched for secrets.

In README.md, Makefile, pyproject.toml and environment.yml, what stands between the comments `instructors` and
`/instructors` is left out: it offers what students do not get.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from autograder.author.homework import homework_sources
from autograder.author.secrets import Secret, leaks, secrets_of

__all__ = ["ReleaseRefused", "write_release"]

# The scripts that lectures name, and the measurements that lectures read.
MEASURED = ("omniglot", "glyphs", "families", "sinusoid", "curves", "in_context")
ABRIDGED = ("README.md", "Makefile", "environment.yml", "pyproject.toml")
PATTERNS = (
    *ABRIDGED,
    "LICENSE",
    ".gitignore",
    "constraints.txt",
    "kshot/**/*",
    "lectures/*",
    "homeworks/*/*",
    "datasets/*.toml",
    "datasets/README.md",
    "datasets/checkpoints/*",
    *(f"benchmarks/{name}.py" for name in ("report", "train", *MEASURED)),
    *(f"benchmarks/results/{name}.json" for name in MEASURED),
)
NEVER = re.compile(r"^\.(?!gitignore$)|^__pycache__$|\.partial\.")
# A comment of Markdown, which may stand within a line, or one that has a line to itself.
FOR_INSTRUCTORS = re.compile(
    r"<!-- instructors -->.*?<!-- /instructors -->\n?|^[ \t]*# instructors\b[^\n]*\n.*?^[ \t]*# /instructors\n",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"<!-- /?instructors -->|^[ \t]*# /?instructors\b", re.MULTILINE)
PICTURE = re.compile(r"""(?:\]\(|src=["'])(?P<path>[\w./-]+\.(?:png|svg|gif))""")


class ReleaseRefused(RuntimeError):
    """The release was not written; the message says what stands in the way."""


def write_release(root: Path, directory: Path) -> list[Path]:
    """Copy what students may have from `root` to `directory` (new or empty); returns the files, relative to it.

    Raises:
        ReleaseRefused: for a folder that holds something, a homework that was not built, a part for instructors that
            does not end, or a file that gives away a solution or a hidden test; nothing is written then.
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
    abridged = {Path(name): for_students(root, name) for name in ABRIDGED if Path(name) in files}
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for file in files:
            (building / file).parent.mkdir(parents=True, exist_ok=True)
            if file in abridged:
                (building / file).write_text(abridged[file], encoding="utf-8")
            else:
                shutil.copyfile(root / file, building / file)
        building.chmod(0o755)
        building.replace(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return files


def for_students(root: Path, name: str) -> str:
    """The text of the file `name` without its parts for instructors."""
    text = FOR_INSTRUCTORS.sub("", (root / name).read_text(encoding="utf-8"))
    if mark := MARK.search(text):
        raise ReleaseRefused(
            f"Not released: in {name} '{mark[0].strip()}' stands alone: begin and end each part for instructors."
        )
    return text.rstrip("\n") + "\n"


def released_files(root: Path) -> list[Path]:
    """The files of `root` that are for students, relative to it: an explicit list, and the pictures in their README."""
    found = {path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file()}
    if (root / "README.md").is_file():
        pictures = PICTURE.findall(for_students(root, "README.md"))
        found |= {root / picture for picture in pictures if (root / picture).resolve().is_relative_to(root.resolve())}
    relative = {path.relative_to(root) for path in found if path.is_file()}
    return sorted(path for path in relative if not any(NEVER.search(part) for part in path.parts))
