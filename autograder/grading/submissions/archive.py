"""Reads what students hand in, in memory and within limits: nothing is unpacked to disk, no link is followed.

Every size is bounded before memory is taken for it: an archive is trusted neither in what it declares nor in how it is
built. A name that could lead anywhere else, or that two files share, is refused with a sentence.
"""

import io
import os
import stat
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

MOST_FILES = 200
MOST_ENTRIES = 5000  # of a zip's directory: what is left out (caches, folders, autosaves) counts too
MOST_PEEKED = 128 << 20
DIRECTORY_ENTRY = b"PK\x01\x02"  # how each entry of a zip's directory begins: counted before any is read
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others can be made to fill the memory in one step
LEFT_OUT = {"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini"}  # beside all names that begin with a dot
OTHER_ARCHIVES = {
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip (.tar.gz, .tgz)",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class BadSubmission(ValueError):
    """It cannot be graded; the message is one sentence for the student."""


def read_members(path: Path, most_mb: int) -> dict[str, bytes]:
    """File name -> content of a zip, a folder or a single file, with safe relative names. Raises BadSubmission."""
    most = most_mb << 20
    if path.is_dir() and not path.is_symlink():
        found = _folder(path, most)
        return _only_archive(found, most) or found
    content = _read(path, most)
    looks_like_text = content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")) or (path.suffix.lower() == ".zip" and not looks_like_text):
        return _unzip(content, most, path.name)
    return {"".join(letter if letter.isprintable() else "_" for letter in path.name): content}


def refuse_other_archives(content: bytes, name: str) -> None:
    """Raise BadSubmission for an archive of another kind than zip."""
    kinds = [kind for start, kind in OTHER_ARCHIVES.items() if content.startswith(start)]
    if content[257:262] == b"ustar":
        kinds.append("tar")
    if kinds:
        raise BadSubmission(
            f"{name} is a {kinds[0]} archive, which cannot be opened here: hand in a .zip or the .ipynb."
        )


def peek(path: Path, name: str, most: int) -> bytes:
    """The first `most` bytes of the member `name` of the zip at `path`; none where that cannot be read safely."""
    try:
        content = _read(path, MOST_PEEKED)
        if content.count(DIRECTORY_ENTRY) > MOST_ENTRIES:
            return b""
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(name) as stream:
            return stream.read(most) if archive.getinfo(name).compress_type in METHODS else b""
    except Exception:  # whatever a parser says of hostile bytes
        return b""


def _read(path: Path, most: int) -> bytes:
    """A file's bytes, at most `most` of them, whatever becomes of the file meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise BadSubmission(f"{path.name} is a link: hand in the file itself.") from None
        raise BadSubmission(f"{path.name} cannot be read: {error.strerror}.") from None
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadSubmission(f"{path.name} is no ordinary file: hand in the notebook itself.")
        content = stream.read(most + 1)
    if len(content) > most:
        raise BadSubmission(f"{path.name} is larger than {most >> 20} MB: hand in less data with it.")
    return content


def _folder(path: Path, most: int) -> dict[str, bytes]:
    found, total = {}, 0
    for folder, folders, files in os.walk(path, followlinks=False):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in sorted(files):
            entry = Path(folder) / name
            if _is_left_out(name) or entry.is_symlink():
                continue
            relative = _safe_name(entry.relative_to(path).as_posix(), "The folder")
            found[relative] = _read(entry, most)
            total += len(found[relative])
            if total > most or len(found) > MOST_FILES:
                raise _too_much("The folder", most)
    return found


def _only_archive(found: dict[str, bytes], most: int) -> dict[str, bytes] | None:
    """The files of the one zip in `found`, if it holds one and no notebook or script beside it."""
    archives = [name for name in found if name.lower().endswith(".zip")]
    if len(archives) != 1 or any(name.lower().endswith((".ipynb", ".py")) for name in found):
        return None
    return _unzip(found[archives[0]], most, archives[0], inner=True)


def _unzip(content: bytes, most: int, name: str, inner: bool = False) -> dict[str, bytes]:
    """A zip's files, and those of the one zip in it where there is nothing else to grade."""
    refuse_other_archives(content, name)
    if content.count(DIRECTORY_ENTRY) > MOST_ENTRIES:
        raise _too_much("The zip", most)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = _entries(archive, most)
    except BadSubmission:
        raise
    except UnicodeDecodeError:
        raise BadSubmission(
            "The zip holds a file name that cannot be read: use letters, digits and dashes, and zip it again."
        ) from None
    except Exception:  # whatever a parser says of hostile bytes
        raise BadSubmission("The zip file is damaged: export it again and hand in the new one.") from None
    return found if inner else _only_archive(found, most) or found


def _entries(archive: zipfile.ZipFile, most: int) -> dict[str, bytes]:
    """Content by name. Declared sizes are checked first, real ones while reading: a bomb is never inflated."""
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith(("/", "\\"))]
    entries = [entry for entry in entries if not any(map(_is_left_out, entry.filename.replace("\\", "/").split("/")))]
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > most:
        raise _too_much("The zip", most)
    found, left = {}, most
    for entry in entries:
        name = _safe_name(entry.orig_filename, "The zip")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BadSubmission(f"The zip holds {name} as a link or a device: zip the file itself.")
        if entry.flag_bits & 1:
            raise BadSubmission("The zip is protected by a password: make it again without one.")
        if entry.compress_type not in METHODS:
            raise BadSubmission("The zip is compressed in an unusual way: make it again with the usual settings.")
        if name in found:
            raise BadSubmission(f"The zip holds two files called {name}: export it again.")
        with archive.open(entry) as stream:
            found[name] = stream.read(left + 1)
        left -= len(found[name])
        if left < 0:
            raise _too_much("The zip", most)
    folders = {parent.as_posix() for name in found for parent in PurePosixPath(name).parents}
    if folders & found.keys():
        raise BadSubmission("The zip holds a file and a folder of the same name: export it again.")
    return found


def _is_left_out(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name in LEFT_OUT


def _safe_name(name: str, where: str) -> str:
    """A relative name with `/` between its parts, in Unicode's composed form."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    parts = name.split("/")
    leading = name.startswith("/") or ".." in parts or ":" in parts[0]
    if leading or not name.isprintable() or len(name) > 200 or any(len(part.encode()) > 250 for part in parts):
        raise BadSubmission(f"{where} holds a file whose name leads out of its folder or is unusable: zip it again.")
    return "/".join(part for part in parts if part not in ("", "."))


def _too_much(where: str, most: int) -> BadSubmission:
    return BadSubmission(f"{where} holds more than {MOST_FILES} files or {most >> 20} MB: hand in only what is needed.")
