"""What a released file must not hold: a solution, a mutant, a hidden test, a file that the solution hands in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from autograder.author.cases import case_settings
from autograder.author.mutants import is_mutant, question_of
from autograder.author.percent import read_percent

__all__ = ["Secret", "leaks", "secrets_of"]

TELLING = 24  # characters: a shorter line may stand in anybody's code
TEXT = (".py", ".md", ".toml", ".txt", ".json", ".yml", ".yaml", ".js", ".css", ".csv", ".svg", "")
BOUNDARY = re.compile(r"#\s*(?P<end>BEGIN|END)\s+(?P<block>PROMPT|SOLUTION|TESTS|QUESTION)", re.IGNORECASE)


@dataclass(frozen=True)
class Secret:
    """Consecutive `telling_lines`, or the SHA-256 of a file; looked for in the files `within` a folder."""

    what: str
    lines: tuple[str, ...] = ()
    sha256: str = ""
    within: str = ""


def secrets_of(source: Path) -> list[Secret]:
    """All that a master keeps from students: its solutions, mutants, hidden tests, and the files beside it."""
    name, secrets, public = source.stem, [], set()
    question, block = None, ""
    for cell in read_percent(source).cells:
        settings, boundary = question_of(cell), BOUNDARY.match(cell.source)
        question = settings.get("name") if settings is not None else question
        lines, where = telling_lines(cell.source), f"{name}, {question}"
        if is_mutant(cell):
            secrets.append(Secret(f"a mutant of {where}", lines, within="homeworks"))
        elif cell.cell_type == "raw":
            block = boundary["block"].upper() if boundary and boundary["end"].upper() == "BEGIN" else ""
        elif block == "TESTS" and case_settings(cell.source).get("hidden"):
            secrets += [Secret(f"a line of a hidden test of {where} ('{line}')", (line,)) for line in lines]
        elif block == "SOLUTION":
            secrets += [Secret(f"the solution of {where}", telling_lines(body)) for body in _solutions(cell)]
        else:
            public |= set(lines)
    for path in sorted(source.parent.iterdir()):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            secrets.append(Secret(f"the file {path.name} of the solution of {name}", sha256=digest))
    return [secret for secret in secrets if secret.sha256 or (secret.lines and not set(secret.lines) <= public)]


def leaks(root: Path, file: Path, secrets: list[Secret]) -> Iterator[str]:
    """What each secret is that `file`, relative to `root`, holds."""
    content = (root / file).read_bytes()
    digest, text = hashlib.sha256(content).hexdigest(), "\n".join(["", *_lines_of(file, content), ""])
    for secret in secrets:
        if file.is_relative_to(secret.within):
            by_content = secret.lines and "\n".join(["", *secret.lines, ""]) in text
            if by_content or secret.sha256 == digest:
                yield secret.what


def telling_lines(text: str) -> tuple[str, ...]:
    """The lines that are compared: without indentation and comments, long enough to tell, and no imports."""
    plain = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in text.splitlines())
    return tuple(line for line in plain if len(line) >= TELLING and not re.match(r"(import|from)\s", line))


def _solutions(cell: NotebookNode) -> list[str]:
    """The parts of a solution cell that Otter Assign takes out."""
    if cell.cell_type == "markdown":
        return [cell.source]
    bodies, inside = [], False
    for line in cell.source.splitlines():
        if "# BEGIN SOLUTION" in line:
            bodies.append("")
            inside = True
        elif "# END SOLUTION" in line:
            inside = False
        elif inside:
            bodies[-1] += line + "\n"
        elif re.search(r"#\s*SOLUTION", line):
            bodies.append(line)
    return bodies


def _lines_of(file: Path, content: bytes) -> tuple[str, ...]:
    if file.suffix == ".ipynb":
        texts = _strings(json.loads(content))
        return tuple(line for text in texts for line in telling_lines(text))
    return telling_lines(content.decode("utf-8", errors="replace")) if file.suffix in TEXT else ()


def _strings(value) -> Iterator[str]:
    """Every text in a notebook's JSON, a cell's list of lines joined."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield "".join(value)
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
