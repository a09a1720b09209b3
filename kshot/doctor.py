"""What works on this machine, and the one line that mends each thing that does not."""

import importlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from kshot.download import CARDS

CHECKOUT = CARDS.parent
PYTHON, TORCH = (3, 11), (2, 11)
INSTRUCTORS = CHECKOUT / "solutions"  # students receive none, and are not told what only graders and testers need
GRADING = ("nbgrader", "jupytext", *(["pyseccomp"] if platform.system() == "Linux" else []))  # beside the lectures' own
ROOM = 100 * 2**20  # bytes the data folder needs: archives, the packed file and the Glyphs cache
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
COLOURS = {"ok": "32", "note": "33", "missing": "31"}
# package manager: how it installs, and what it calls Chromium
INSTALLERS = {
    "apt-get": ("sudo apt-get install -y", "chromium"),
    "dnf": ("sudo dnf install -y", "chromium"),
    "pacman": ("sudo pacman -S", "chromium"),
    "zypper": ("sudo zypper install -y", "chromium"),
    "apk": ("sudo apk add", "chromium"),
    "brew": ("brew install --cask", "chromium"),
    "winget": ("winget install", "Google.Chrome"),
}


class Finding(NamedTuple):
    """One line of the report: `missing` stops the course, `note` stops something that not everybody needs."""

    name: str
    state: Literal["ok", "note", "missing"]
    detail: str
    mend: str = ""


def python() -> Finding:
    here = platform.python_version()
    if sys.version_info >= PYTHON:
        return Finding("Python", "ok", here)
    return Finding(
        "Python", "missing", f"{here}, but 3.11 is needed", "install Python 3.12, then make lab PYTHON=python3.12"
    )


def torch() -> Finding:
    try:
        module = importlib.import_module("torch")
        module.ones(2, 2) @ module.ones(2, 2)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("torch", "missing", _does_not_load("torch", error), _pip("--force-reinstall torch"))
    if _numbers(module.__version__) < TORCH:
        return Finding("torch", "missing", f"{module.__version__}, but 2.11 is needed", _pip("torch"))
    threads = module.get_num_threads()
    return Finding("torch", "ok", f"{module.__version__}, {threads} thread{'s' if threads != 1 else ''}")


def gpu() -> Finding:
    module = importlib.import_module("torch")
    if module.cuda.is_available():
        facts = module.cuda.get_device_properties(0)
        more = f" and {module.cuda.device_count() - 1} more" if module.cuda.device_count() > 1 else ""
        return Finding("GPU", "ok", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB{more}")
    if module.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple GPU, which shares the main memory")
    if shutil.which("nvidia-smi"):
        return Finding("GPU", "note", "there is one, but this torch cannot use it", "install a CUDA build of torch")
    return Finding("GPU", "ok", "none: everything runs on the CPU, long trainings come as checkpoints")


def omniglot() -> Finding:
    from kshot.data import OMNIGLOT_FILE, data_folder
    from kshot.omniglot_pack import whole

    path = data_folder() / OMNIGLOT_FILE
    if whole(path):
        return Finding("Omniglot", "ok", str(path))
    if path.exists():
        return Finding("Omniglot", "note", f"{path} is damaged", _kshot("data omniglot"))
    return Finding("Omniglot", "note", "not here; the course runs on Glyphs without it", _kshot("data omniglot"))


def glyphs() -> Finding:
    from kshot.data import data_folder

    cached = any(data_folder().glob("glyphs-*"))
    return Finding("Glyphs", "ok", "drawn and cached" if cached else "drawn at first use, in seconds")


def room() -> Finding:
    from kshot.data import data_folder

    folder = data_folder()
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free, mend = shutil.disk_usage(there).free, "export KSHOT_DATA=a folder with room that you may write to"
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("data folder", "note", f"{folder} is not writable: data there can be read, not added", mend)
    if free < ROOM:
        return Finding("data folder", "note", f"{folder} has only {free / 2**20:.0f} MiB free", mend)
    made = "" if folder.exists() else " (will be made)"
    return Finding("data folder", "ok", f"{folder}{made}, {free / 2**30:.0f} GiB free")


def lab() -> Finding:
    return _packages("JupyterLab", {"jupyterlab": "jupyterlab", "ipykernel": "ipykernel"})


def widgets() -> Finding:
    return _packages("widgets", {"ipywidgets": "ipywidgets", "anywidget": "anywidget"})


def pictures() -> Finding:
    return _packages("pictures", {"matplotlib": "matplotlib", "pillow": "PIL"})


def grading() -> Finding:
    absent = [package for package in GRADING if importlib.util.find_spec(package) is None]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        return Finding("grading", "note", f"{', '.join(absent)} {verb} not installed", f"{_enter()}make setup")
    try:
        importlib.import_module(GRADING[-1])  # pyseccomp loads a library of the system's
    except (ImportError, OSError, RuntimeError) as error:
        library = _system("libseccomp2" if shutil.which("apt-get") else "libseccomp")
        return Finding("grading", "note", _does_not_load(GRADING[-1], error), library)
    return Finding("grading", "ok", ", ".join(f"{package} {version(package)}" for package in GRADING))


def bubblewrap() -> Finding:
    needed = "needed to grade homeworks"
    if platform.system() != "Linux":
        return Finding("bubblewrap", "note", f"{needed}, and only on Linux", "grade in a Linux machine or container")
    program = shutil.which("bwrap")
    if program is None:
        return Finding("bubblewrap", "note", f"not here; {needed}", _system("bubblewrap"))
    trial = [program, "--ro-bind", "/", "/", "--unshare-user", "--unshare-pid", "--unshare-net", "true"]
    try:
        ran = subprocess.run(trial, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("bubblewrap", "note", f"{program} does not run: {error}", _system("bubblewrap"))
    if ran.returncode == 0:
        return Finding("bubblewrap", "ok", program)
    why = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
    return Finding("bubblewrap", "note", f"cannot make a sandbox ({why}); {needed}", _namespaces())


def chromium() -> Finding:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    bundle = Path("/Applications/Chromium.app"), Path("/Applications/Google Chrome.app")
    found = found or next((str(path) for path in bundle if path.exists()), None)
    if found:
        return Finding("Chromium", "ok", found)
    return Finding("Chromium", "note", "not here; only the browser tests need it", _system("chromium"))


ALONE: tuple[Callable[[], Finding], ...] = (python, torch, lab, widgets, pictures)
TO_TEACH: tuple[Callable[[], Finding], ...] = (grading, bubblewrap, chromium)
NEED_TORCH: tuple[Callable[[], Finding], ...] = (gpu, omniglot, glyphs, room)


def examine() -> list[Finding]:
    """Every check's finding, in the order of the report; where torch does not load, only what needs no torch."""
    findings = [check() for check in (*ALONE, *(TO_TEACH if INSTRUCTORS.is_dir() else ()))]
    if not any(finding.name == "torch" and finding.state == "missing" for finding in findings):
        findings += [check() for check in NEED_TORCH]
    return findings


def report(findings: list[Finding], colour: bool = False) -> str:
    """One screen: a line each, aligned, with what mends it below, and the verdict last."""
    wide = max(len(finding.name) for finding in findings)
    lines = []
    for name, state, detail, mend in findings:
        shown = f"\033[{COLOURS[state]}m{state:<7}\033[0m" if colour else f"{state:<7}"
        lines.append(f"{shown}  {name:<{wide}}  {detail}")
        if mend:
            lines.append(f"{'':<{wide + 9}}  to mend: {mend}")
    missing = [finding.name for finding in findings if finding.state == "missing"]
    verdict = f"The course cannot run here yet: mend {', '.join(missing)}." if missing else "The course runs here."
    return "\n".join([*lines, "", verdict])


def _packages(name: str, needed: dict[str, str]) -> Finding:
    """Whether every package in `needed` (as installed: as imported) is here and loads, with its version."""
    found = []
    for package, module in needed.items():
        try:
            found.append(f"{package} {version(package)}")
            importlib.import_module(module)
        except PackageNotFoundError:
            return Finding(name, "missing", f"{package} is not installed", _pip("-e '.[lab]'"))
        except Exception as error:  # a broken installation fails in any way it likes
            return Finding(name, "missing", _does_not_load(package, error), _pip(f"--force-reinstall {package}"))
    return Finding(name, "ok", ", ".join(found))


def _does_not_load(package: str, error: Exception) -> str:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{package} does not load: {why}"


def _pip(what: str) -> str:
    """The line that installs `what` into this very environment, at the versions of the course."""
    return f"{_enter()}{sys.executable} -m pip install -c constraints.txt {what}"


def _kshot(line: str) -> str:
    """The line that runs `kshot LINE` in this very environment, active or not."""
    return f"{sys.executable} -m kshot.cli {line}"


def _enter() -> str:
    """What comes before a line that only works in the course's folder."""
    return "" if Path.cwd() == CHECKOUT else f"cd {CHECKOUT} && "


def _system(package: str) -> str:
    """The line that installs a system `package` here."""
    for manager, (install, chromium_name) in INSTALLERS.items():
        if shutil.which(manager):
            return f"{install} {chromium_name if package == 'chromium' else package}"
    return f"install {package} with your system's package manager"


def _namespaces() -> str:
    """The line that lets an ordinary user make a sandbox on this kernel."""
    switch = "kernel.apparmor_restrict_unprivileged_userns"
    if Path("/proc/sys", *switch.split(".")).exists():
        return f"sudo sysctl -w {switch}=0"
    return "allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000"


def _numbers(text: str) -> tuple[int, ...]:
    """(2, 13) of "2.13.0+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
