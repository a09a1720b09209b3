"""What a hostile submission is: the cells or files that are handed in, and what must come of them."""

import functools
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from assignment import HONEST, WRONG, notebook, weights

ROOT = Path(__file__).resolve().parents[2]  # the repository: no student code may learn where it lies, or read it
TOLD = "raise RuntimeError('FOUND ' + repr(found)[:100])"  # the last line of an attack that looks for something


@dataclass(frozen=True)
class Attack:
    """One submission, named by what it tries."""

    name: str
    write: Callable[[Path], None]  # puts it into the folder of submissions
    points: tuple[float, float] = (0, 1)  # at least and at most; the public case's point is there for the taking
    says: str = ""  # must stand in the reason or in the message of a case
    file: str = ""  # the name it is handed in under, where that is part of the attack
    status: str = "graded"


def wrong_and(name: str, *cells: str, **expected) -> Attack:
    """Wrong answers, then the attack's cells."""
    return of_cells(name, [*WRONG, *(dedent(cell).strip() for cell in cells)], **expected)


def tells(name: str, attack: str, **expected) -> Attack:
    """Wrong answers, and a cell that tells what it `found`, nothing if all is well, by an error's text."""
    return of_cells(name, [*WRONG, dedent(attack).strip() + "\n" + TOLD], says="FOUND []", **expected)


def honest_but(name: str, *cells: str, points: float, **expected) -> Attack:
    """Right answers (but for q4, which needs a file), with something in the way that must cost only what it touches."""
    return of_cells(name, [*HONEST, *(dedent(cell).strip() for cell in cells)], points=(points, points), **expected)


def of_cells(name: str, cells: list[str], **expected) -> Attack:
    """A notebook of those cells."""
    return as_notebook(name, notebook(cells), **expected)


def of_bytes(name: str, file: str, content: bytes | Callable[[], bytes], **expected) -> Attack:
    """Any file; a function makes the content of one that takes long to make."""

    def write(folder: Path) -> None:
        (folder / file).write_bytes(content() if callable(content) else content)

    return Attack(name, write, file=file, **expected)


def as_notebook(name: str, content: str | bytes, **expected) -> Attack:
    """A file called `name`.ipynb."""
    return of_bytes(name, f"{name}.ipynb", content.encode() if isinstance(content, str) else content, **expected)


def as_zip(name: str, content: bytes | Callable[[], bytes], **expected) -> Attack:
    """A file called `name`.zip."""
    return of_bytes(name, f"{name}.zip", content, **expected)


def of_zip(name: str, members: dict | list, **expected) -> Attack:
    """An archive: {name or ZipInfo: content}, or such pairs where a name comes twice."""
    return as_zip(name, functools.partial(zipped, members), **expected)


def with_weights(name: str, content: bytes, cells: list[str] = WRONG, **expected) -> Attack:
    """A notebook and a checkpoint beside it."""
    return of_zip(name, {"toy.ipynb": notebook(cells), "toy.safetensors": content}, **expected)


def zipped(members: dict | list) -> bytes:
    """The bytes of a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return out.getvalue()


def honest(name: str) -> Attack:
    """All that is asked for."""
    return with_weights(name, weights(), HONEST, points=(13, 13))
