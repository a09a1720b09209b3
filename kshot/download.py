"""Fetch the files of a data set: resumable, verified, one process at a time, and never half a file under its name."""

import hashlib
import os
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

try:
    import fcntl
except ImportError:  # Windows has no flock: two downloads at once are then caught by the checksum only
    fcntl = None

CARDS = Path(__file__).resolve().parents[1] / "datasets"
LARGEST_FILE = 64 * 2**20  # bytes: far above every file of the course, far below a disk
SILENCE = 30  # seconds without a byte after which a connection counts as broken


class DownloadError(Exception):
    """A data set could not be fetched; the message is one sentence on what happened and what to do."""


def cards() -> tuple[str, ...]:
    """The names of all data sets that have a card.

    Cards stand in the checkout beside the package, where an editable install (`pip install -e .`) finds them.
    Raises FileNotFoundError where kshot was installed without its checkout.
    """
    if not CARDS.is_dir():
        raise FileNotFoundError(f"no data cards at {CARDS}: install kshot from its checkout with pip install -e .")
    return tuple(sorted(path.stem for path in CARDS.glob("*.toml")))


def card(name: str) -> dict[str, Any]:
    """The card `datasets/NAME.toml` as a dictionary: source, licence, archives with checksums, contents, splits.

    Raises FileNotFoundError where there is no such card.
    """
    if name not in cards():
        raise FileNotFoundError(f"no data set is called {name!r}: choose from {', '.join(cards())}")
    return tomllib.loads((CARDS / f"{name}.toml").read_text(encoding="utf-8"))


def command(line: str) -> str:
    """How `kshot LINE` is typed in the course's folder, whether or not the environment in it is active.

    Notebooks are kept with what they printed, so this names a folder of the machine only where nothing else would run.
    """
    scripts = Path(sysconfig.get_path("scripts")).resolve()
    if scripts.is_relative_to(CARDS.parent):
        return f"{scripts.relative_to(CARDS.parent).as_posix()}/kshot {line}"
    return f"kshot {line}" if shutil.which("kshot") else f"{sys.executable} -m kshot.cli {line}"


def fetch(url: str, target: Path, md5: str) -> Path:
    """Fetch `url` into the file `target` and return it; a `target` that already has the checksum is taken as it is.

    Bytes go into `target` + ".part"; a later call goes on from there (HTTP Range), and only a file with the right
    `md5` gets its name, in one step. A connection that breaks is taken up again as long as each try brings new bytes.
    Raises DownloadError, having kept the .part file where going on from it can succeed and nothing otherwise.
    """
    if target.exists() and checksum(target) == md5:
        return target
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"cannot fetch {url}: give an address that starts with http:// or https://")
    part = target.with_name(target.name + ".part")
    resumed = _size(part) > 0
    try:
        longest = _size(part)
        while not _transfer(url, part):
            if _size(part) <= longest:
                if not _size(part):
                    part.unlink()
                raise DownloadError(
                    f"the connection to {urlsplit(url).netloc} broke after {longest:,} bytes of {target.name}: "
                    "run the same command again to go on from there"
                )
            longest = _size(part)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            part.unlink(missing_ok=True)
        raise
    found = checksum(part)
    if found == md5:
        os.replace(part, target)
        return target
    part.unlink()
    if resumed:  # the leftover may have been of another file: once more, from the first byte
        return fetch(url, target, md5)
    raise DownloadError(
        f"{target.name} from {url} has the MD5 checksum {found} instead of {md5}, so it was thrown away: "
        "run the same command again, and if that ends the same way fetch it from another place with --url"
    )


def checksum(path: Path) -> str:
    """The MD5 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def disk_sentence(error: OSError, folder: Path) -> str:
    """One sentence for an operating-system `error` met while writing into `folder`."""
    elsewhere = "name another folder with --root or KSHOT_DATA"
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        return f"no space is left for {folder}: free 50 MB there, or {elsewhere}"
    return f"cannot write into {folder} ({error.strerror or error}): {elsewhere}"


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold `folder` for this process; a second process waits here, and says so, until the first is done.

    The lock ends with the process, however that ends. Where the file system offers no locks, both go on: every
    file is still verified before it gets its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process is fetching {name} into {folder}: waiting for it", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:
                pass
        yield


class Progress:
    """A bar on a terminal (tqdm where it is installed), else a line each tenth; a context manager with `update(n)`."""

    def __init__(self, name: str, total: int | None, done: int = 0, unit: str = "B") -> None:
        self.name, self.total, self.done, self.tenth, self.bar = name, total, done, -1, None
        if sys.stderr.isatty():
            with suppress(ImportError):
                from tqdm import tqdm

                self.bar = tqdm(desc=name, total=total, initial=done, unit=unit, unit_scale=unit == "B")

    def update(self, count: int) -> None:
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif self.total and (tenth := 10 * self.done // self.total) > self.tenth:
            self.tenth = tenth
            print(f"{self.name}: {10 * tenth} %", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _transfer(url: str, part: Path) -> bool:
    """One connection: append to `part` what comes, and say whether the file is now complete."""
    have = _size(part)
    headers = {"User-Agent": "kshot", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=SILENCE)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send: the checksum judges what is there
            return True
        raise DownloadError(_refusal(url, error.code)) from error
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"no connection to {urlsplit(url).netloc} ({reason}): check the network and run the same command again; "
            "the course also runs without it, on Glyphs"
        ) from error
    with response:
        if response.status != 206:  # this server always sends the whole file
            have = 0
        total = None if response.length is None else have + response.length
        with part.open("ab" if have else "wb") as file:
            ended = _copy(response, file, Progress(part.stem, total, have))
    if _size(part) > LARGEST_FILE:
        part.unlink()
        raise DownloadError(
            f"{url} sends more than {LARGEST_FILE:,} bytes, more than any file of this course: check that address"
        )
    return ended and total in (None, _size(part))


def _copy(response: HTTPResponse, file: BinaryIO, bar: Progress) -> bool:
    """Write the answer into `file`; False where the connection broke on the way, or too much came."""
    with bar:
        while True:
            try:
                chunk = response.read1(2**16)  # as it comes, so that an interrupt loses nothing
            except (OSError, HTTPException):
                return False
            if not chunk:
                return True
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > LARGEST_FILE:
                return False


def _refusal(url: str, code: int) -> str:
    if code in (404, 410):
        return f"there is no file at {url} (HTTP {code}): fetch it from another place with --url"
    return f"{urlsplit(url).netloc} refuses {url} (HTTP {code}): try again later, or another place with --url"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
