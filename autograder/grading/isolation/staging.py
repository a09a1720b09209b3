"""Stages the read-only runtime that every sandbox sees: once per interpreter and set of packages, under neutral names.

Hard links where the file system allows (no space, seconds) and copies elsewhere. The course's own code is staged
anew for each batch. The repository, its `solutions/`, editable installs and Otter itself are never part of it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from autograder.grading.isolation.datasets import public_data
from autograder.grading.isolation.runtime import PYTHON, Runtime, system_binds

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
    *("debugpy", "pytest", "_pytest", "hypothesis", "ruff", "alembic", "sqlalchemy", "python_on_whales"),
}
IMPORTED = (
    "torch, IPython, matplotlib.pyplot, matplotlib.backends.backend_agg, ipywidgets, anywidget, safetensors.torch"
)
UNUSED = 14 * 24 * 3600  # seconds after which a staged runtime that nobody used is removed
# What the sandbox has of this package: files and whole folders.
INSIDE = ("__init__.py", "testing.py", "grading/__init__.py", "grading/protocol", "grading/inside")


@contextmanager
def staged():
    """A `Runtime` for one batch."""
    base = _stage()
    course, lock = _own_folder(base.parent)
    try:
        here = Path(__file__).resolve().parents[2]
        for name in INSIDE:
            target = course / "autograder" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (here / name).is_dir():
                shutil.copytree(here / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(here / name, target)
        package = _package_folder()
        if package is not None:
            # Copies: an edit during the batch must not reach it.
            shutil.copytree(package, course / "kshot", ignore=shutil.ignore_patterns("__pycache__"))
            if (package.parent / "datasets").is_dir():
                _link_tree(package.parent / "datasets", course / "datasets", skip=set())
        for source, name in public_data(package, base.parent):
            _link_tree(source, course / "data" / name, skip={"data_folder.txt"})
        _open_to_all(course)
        python = base / "python"
        yield Runtime(python if python.exists() else None, base / "packages", course)
    finally:
        shutil.rmtree(course, ignore_errors=True)
        os.close(lock)


def _own_folder(home: Path) -> tuple[Path, int]:
    """A folder for one batch, and a descriptor of it that is locked as long as the batch lives.

    The folders of batches that were killed are removed.
    """
    with open(home / "lock", "w") as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_EX)
        for old in home.glob("course-*"):
            left = os.open(old, os.O_RDONLY)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            os.close(left)
        course = Path(tempfile.mkdtemp(prefix="course-", dir=home))
        lock = os.open(course, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return course, lock


def _package_folder() -> Path | None:
    beside = Path(__file__).resolve().parents[3] / "kshot"
    if (beside / "__init__.py").exists():
        return beside
    spec = find_spec("kshot")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _stage() -> Path:
    """The folder that holds `python/` and `packages/`, built if it is not there yet."""
    prefix, folders = Path(sys.base_prefix), _package_folders()
    installed = sorted((str(path), path.stat().st_mtime_ns) for at in folders for path in at.glob("*.dist-info/RECORD"))
    key_parts = (sys.version, str(prefix), sorted(LEFT_OUT), IMPORTED, installed)
    key = hashlib.sha256(repr(key_parts).encode()).hexdigest()[:16]
    home = _home(folders[0])
    base = home / key
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in home.iterdir():  # runtimes of packages that have changed since
            age = time.time() - old.stat().st_mtime
            if old.is_dir() and not old.name.startswith("course-") and age > UNUSED:
                shutil.rmtree(old, ignore_errors=True)
        if not base.exists():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=home))
            for source in folders:  # what comes first on the path wins, as it does for Python
                _link_tree(source, building / "packages", skip=LEFT_OUT, top=True)
            if not prefix.is_relative_to("/usr") or prefix.is_relative_to("/usr/local"):
                _stage_interpreter(prefix, building / "python")
            _compile(building)
            _open_to_all(building)
            building.rename(base)
        os.utime(base)
    return base


def _compile(building: Path) -> None:
    """Write the bytecode of what every sandbox imports, under the names that files have inside.

    The bytecode beside the installed packages names this machine's folders, so it is left out.
    """
    python = building / "python"
    runtime = Runtime(python if python.exists() else None, building / "packages", building)
    command = ["bwrap", "--unshare-all", "--clearenv", *system_binds()]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for source, place in runtime.binds:
        command += ["--bind", str(source), place]
    for name, value in {**runtime.environment, "HOME": "/tmp", "MPLBACKEND": "Agg"}.items():
        command += ["--setenv", name, value]
    # Without it everything still works, only slower to start.
    subprocess.run([*command, "--", runtime.interpreter, "-c", f"import {IMPORTED}"], capture_output=True, check=False)


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
    skip = {"site-packages", "test", "idlelib", "ensurepip", "turtledemo", "pkgconfig", "cmake"}
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
        folders[:] = [
            name
            for name in folders
            if name not in wanted and name != "__pycache__" and not (outermost and _revealing(name))
        ]
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
