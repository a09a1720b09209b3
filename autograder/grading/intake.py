"""Opens what students hand in, in memory and within limits: nothing of an archive is ever unpacked to disk."""

import io
import json
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import nbformat

MOST_FILES = 200
IGNORED = {".OTTER_LOG", "__zip_filename__"}


class BadSubmission(ValueError):
    """It cannot be graded; the message is one sentence for the student."""


@dataclass(frozen=True)
class Opened:
    """A submission's notebook and the files beside it."""

    cells: list  # [source, questions checked after it] of each code cell
    files: dict[str, bytes] = field(repr=False)
    assignment: str | None  # as the notebook's metadata say
    questions: frozenset[str]  # the public tests in the notebook's metadata


def open_submission(path: Path, assignment: str, most_mb: int) -> Opened:
    """Open an otter export zip, a notebook, a script or a folder. Raises BadSubmission."""
    members = read_members(path, most_mb)
    name = _notebook_name(members, assignment)
    body = members[name]
    files = {
        key: value for key, value in members.items() if not key.endswith((".pdf", ".otter")) and key not in IGNORED
    }
    if name.endswith(".py"):
        return Opened(_script_cells(body), files, None, frozenset())
    notebook = _parse(body, name)
    _check_language(notebook)
    otter = notebook["metadata"].get("otter")
    otter = otter if isinstance(otter, dict) else {}
    tests = otter.get("tests")
    given = otter.get("assignment_name")
    return Opened(
        _code_cells(notebook),
        files,
        given if isinstance(given, str) else None,
        frozenset(tests) if isinstance(tests, dict) else frozenset(),
    )


def read_members(path: Path, most_mb: int) -> dict[str, bytes]:
    """File name -> content of a zip, a folder or a single file, with safe relative names."""
    most = most_mb << 20
    if path.is_dir():
        found = _folder(path, most)
        archives = [name for name in found if name.endswith(".zip")]
        if len(archives) == 1 and not any(name.endswith(".ipynb") for name in found):
            return _unzip(found[archives[0]], most)
        return found
    content = _read(path, most)
    if path.suffix.lower() == ".zip":
        return _unzip(content, most)
    return {path.name: content}


def _read(path: Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BadSubmission(f"{path.name} is a link or no ordinary file: hand in the file itself.")
        if path.stat().st_size > most:
            raise BadSubmission(f"{path.name} is larger than {most >> 20} MB.")
        return path.read_bytes()
    except OSError as error:
        raise BadSubmission(f"{path.name} cannot be read: {error.strerror}.") from None


def _folder(path: Path, most: int) -> dict[str, bytes]:
    found, total = {}, 0
    for entry in sorted(path.rglob("*")):
        relative = entry.relative_to(path)
        if entry.is_dir() or entry.is_symlink() or any(part.startswith(".") for part in relative.parts):
            continue
        found[relative.as_posix()] = _read(entry, most)
        total += len(found[relative.as_posix()])
        if total > most or len(found) > MOST_FILES:
            raise BadSubmission(f"The folder holds more than {MOST_FILES} files or {most >> 20} MB.")
    return found


def _unzip(content: bytes, most: int) -> dict[str, bytes]:
    """A zip's files. Declared sizes are checked first, real ones while reading: a bomb is never inflated."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > most:
                raise BadSubmission(f"The zip holds more than {MOST_FILES} files or {most >> 20} MB.")
            found, left = {}, most
            for entry in entries:
                name = _safe_name(entry, found)
                with archive.open(entry) as stream:
                    found[name] = stream.read(left + 1)
                left -= len(found[name])
                if left < 0:
                    raise BadSubmission(f"The zip unpacks to more than {most >> 20} MB.")
            return found
    except BadSubmission:
        raise
    except Exception:
        raise BadSubmission("The zip file is damaged or encrypted: export it again and hand in the new one.") from None


def _safe_name(entry: zipfile.ZipInfo, found: dict) -> str:
    name = entry.filename
    parts = PurePosixPath(name).parts
    unsafe = (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or len(name) > 200
    )
    if unsafe or stat.S_ISLNK(entry.external_attr >> 16):
        raise BadSubmission("The zip holds a file whose name leads out of its folder, or a link: export it again.")
    if name in found:
        raise BadSubmission(f"The zip holds two files called {name}: export it again.")
    return name


def _notebook_name(members: dict[str, bytes], assignment: str) -> str:
    wanted = [name for name in members if name.endswith(".ipynb")] or [name for name in members if name.endswith(".py")]
    if not wanted:
        raise BadSubmission("No notebook (.ipynb) was handed in.")
    if len(wanted) > 1:
        named = [name for name in wanted if PurePosixPath(name).stem == assignment]
        if len(named) != 1:
            listed = ", ".join(sorted(wanted)[:5])
            raise BadSubmission(f"{len(wanted)} notebooks were handed in ({listed}): hand in one.")
        wanted = named
    return wanted[0]


def _parse(body: bytes, name: str):
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSubmission(f"{name} is not a notebook: it is not UTF-8 text.") from None
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        if "<<<<<<<" in text and ">>>>>>>" in text:
            raise BadSubmission(
                f"{name} holds merge conflict marks (<<<<<<<): resolve them and hand it in again."
            ) from None
        raise BadSubmission(
            f"{name} is not a notebook: it is not valid JSON. Save it in Jupyter and hand it in again."
        ) from None
    if not isinstance(raw, dict) or not isinstance(raw.get("cells", raw.get("worksheets")), list):
        raise BadSubmission(f"{name} is not a notebook: it has no cells.")
    try:
        if raw.get("nbformat", 4) < 4:
            raw = nbformat.convert(nbformat.from_dict(raw), 4)
    except Exception:
        raise BadSubmission(
            f"{name} is a notebook of an old format that cannot be read: open it in Jupyter and save it."
        ) from None
    if not isinstance(raw.get("metadata"), dict):
        raw["metadata"] = {}
    return raw


def _check_language(notebook: dict) -> None:
    """Refuse another language; a missing or unknown kernel is no reason not to grade a Python notebook."""
    kernel = notebook["metadata"].get("kernelspec")
    info = notebook["metadata"].get("language_info")
    kernel, info = (entry if isinstance(entry, dict) else {} for entry in (kernel, info))
    language = str(kernel.get("language") or info.get("name") or "python").lower()
    if kernel.get("name") in ("ir", "julia", "xeus-cpp", "deno", "bash"):
        language = str(kernel["name"]).removeprefix("i")
    if language not in ("python", "python3", "ipython", "ipython3"):
        raise BadSubmission(
            f"The notebook's language is {language[:30]}, not Python: choose the Python kernel and save it."
        )


def _code_cells(notebook: dict) -> list:
    """[source, questions] of each code cell; cells that Otter ignores are left out."""
    found = []
    for cell in notebook["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        otter = metadata.get("otter") if isinstance(metadata.get("otter"), dict) else {}
        tags = metadata.get("tags") if isinstance(metadata.get("tags"), list) else []
        if "otter_ignore" in tags or otter.get("ignore"):
            continue
        source = cell.get("source", "")
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        tests = otter.get("tests") if isinstance(otter.get("tests"), list) else []
        found.append([source.replace("\r\n", "\n"), [name for name in tests if isinstance(name, str)]])
    return found


def _script_cells(body: bytes) -> list:
    """A percent-format script's code cells; a script without cell marks is one cell."""
    text = body.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    cells, kind = [[]], ["code"]
    for line in text.split("\n"):
        if line.startswith("# %%"):
            cells.append([])
            kind.append("text" if "[markdown]" in line or "[raw]" in line else "code")
        else:
            cells[-1].append(line)
    return [["\n".join(lines), []] for lines, what in zip(cells, kind) if what == "code" and any(lines)]
