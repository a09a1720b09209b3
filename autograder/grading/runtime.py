"""The read-only runtime that every sandbox sees: interpreter, site-packages, `kshot/`, nothing else of the machine.

It is staged once per interpreter and set of packages, in a folder with a neutral name, from hard links where the file
system allows (no space, a second or two) and copies elsewhere. The course's own code is staged anew for each batch. The
repository, its `solutions/`, editable installs and Otter itself are never part of it.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from autograder.grading.datasets import public_data

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Instructors' tools and whatever would tell where the repository lies.
LEFT_OUT = {
    *(
        "autograder",
        "kshot",
        "otter",
        "otter_grader",
        "nbgrader",
        "jupyterlab",
        "notebook",
        "playwright",
        "pip",
        "sphinx",
    ),
    *("debugpy", "pytest", "_pytest", "hypothesis", "ruff", "alembic", "sqlalchemy", "python_on_whales", "__pycache__"),
}
UNUSED = 14 * 24 * 3600  # seconds after which a staged runtime that nobody used is removed
INSIDE = ("__init__.py", "testing.py", "grading/__init__.py", "grading/wire.py", "grading/decode.py")
INSIDE += ("grading/frames.py", "grading/worker.py", "grading/cells.py", "grading/objects.py", "grading/shared.py")


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


@contextmanager
def staged():
    """A `Runtime` for one batch."""
    base = _stage()
    course = Path(tempfile.mkdtemp(prefix="course-", dir=base.parent))
    try:
        here = Path(__file__).resolve().parents[1]
        for name in INSIDE:
            target = course / "autograder" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here / name, target)
        package = _package_folder()
        if package is not None:
            shutil.copytree(package, course / "kshot")  # copies: an edit during the batch must not reach it
            if (package.parent / "datasets").is_dir():
                _link_tree(package.parent / "datasets", course / "datasets", skip=set())
        for source, name in public_data(package, base.parent):
            _link_tree(source, course / "data" / name, skip={"data_folder.txt"})
        _open_to_all(course)
        python = base / "python"
        yield Runtime(python if python.exists() else None, base / "packages", course)
    finally:
        shutil.rmtree(course, ignore_errors=True)


def _package_folder() -> Path | None:
    beside = Path(__file__).resolve().parents[2] / "kshot"
    if (beside / "__init__.py").exists():
        return beside
    spec = find_spec("kshot")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _stage() -> Path:
    """The folder that holds `python/` and `packages/`, built if it is not there yet."""
    prefix, folders = Path(sys.base_prefix), _package_folders()
    installed = sorted((str(path), path.stat().st_mtime_ns) for at in folders for path in at.glob("*.dist-info/RECORD"))
    key_parts = (sys.version, str(prefix), sorted(LEFT_OUT), installed)
    key = hashlib.sha256(repr(key_parts).encode()).hexdigest()[:16]
    home = _home(folders[0])
    base = home / key
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in home.iterdir():  # runtimes of packages since changed, batches that were killed
            age = time.time() - old.stat().st_mtime
            if old.is_dir() and age > (UNUSED / 7 if old.name.startswith("course-") else UNUSED):
                shutil.rmtree(old, ignore_errors=True)
        if not base.exists():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=home))
            for source in folders:  # what comes first on the path wins, as it does for Python
                _link_tree(source, building / "packages", skip=LEFT_OUT, top=True)
            if not prefix.is_relative_to("/usr") or prefix.is_relative_to("/usr/local"):
                _stage_interpreter(prefix, building / "python")
            _open_to_all(building)
            building.rename(base)
        os.utime(base)
    return base


def _package_folders() -> list[Path]:
    found = [Path(place) for place in dict.fromkeys(sys.path) if Path(place).name in ("site-packages", "dist-packages")]
    found = [folder for folder in found if folder.is_dir()]
    if not found:
        raise FileNotFoundError("This Python has no site-packages folder: install the course's packages first.")
    return found


def _home(packages: Path) -> Path:
    """A folder of ours that the sandboxes' users can enter, on the packages' file system where there is one."""
    device = packages.stat().st_dev
    places = [Path(place) for place in ("/var/tmp", tempfile.gettempdir()) if os.access(place, os.W_OK)]
    places.sort(key=lambda place: place.stat().st_dev != device)
    home = places[0] / f"runtime-{os.getuid()}"
    home.mkdir(mode=0o755, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{home} exists but is not a folder that only you can write: remove it and try again.")
    return home


def _stage_interpreter(prefix: Path, target: Path) -> None:
    (target / "bin").mkdir(parents=True)
    _link(prefix / "bin" / PYTHON, target / "bin" / PYTHON)
    skip = {"site-packages", "test", "idlelib", "ensurepip", "turtledemo", "pkgconfig", "cmake", "__pycache__"}
    for entry in os.scandir(prefix / "lib"):
        if entry.is_dir() and entry.name != PYTHON:
            continue
        if entry.is_dir():
            _link_tree(Path(entry.path), target / "lib" / PYTHON, skip=skip, top=True)
        elif ".so" in entry.name:
            (target / "lib").mkdir(exist_ok=True)
            _link(Path(entry.path), target / "lib" / entry.name)


def _link_tree(source: Path, target: Path, skip: set[str], top: bool = False) -> None:
    """Hard-link a tree without `skip` (only at the top if `top`) and without editable installs."""
    target.mkdir(parents=True, exist_ok=True)
    for folder, folders, files in os.walk(source, followlinks=False):
        place = target / Path(folder).relative_to(source)
        outermost = Path(folder) == source
        wanted = skip if outermost or not top else set()
        folders[:] = [name for name in folders if name not in wanted and not (outermost and _revealing(name))]
        place.mkdir(exist_ok=True)
        for name in files:
            if name in wanted or name.endswith(".a") or (outermost and _revealing(name)):
                continue
            _link(Path(folder) / name, place / name)


def _revealing(name: str) -> bool:
    project = name.split("-")[0]
    return name.endswith((".pth", ".egg-link")) or name.startswith("__editable__") or project in LEFT_OUT


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    real = Path(os.path.realpath(source))
    if not real.is_file():
        return
    if real.stat().st_mode & stat.S_IROTH:
        try:
            os.link(real, target)
            return
        except OSError:
            pass  # another file system, or links to others' files are not allowed
    shutil.copy2(real, target)
    target.chmod(0o755 if real.stat().st_mode & stat.S_IXUSR else 0o644)


def _open_to_all(tree: Path) -> None:
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o755)
