"""Inside the sandbox: IPython without screen, front end, keyboard or network, and stand-ins for what is missing.

What needs one of these does nothing, or says so in a sentence, so that the rest of the cell still runs.
"""

import asyncio
import builtins
import getpass
import importlib.machinery
import io
import os
import re
import subprocess
import sys
import types
import warnings

from IPython.core import page
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import import_pylab
from traitlets.config import Config

INSTALLERS = ("pip", "pip3", "conda", "mamba", "micromamba", "uv", "apt", "apt-get")
INSTALLS = re.compile(rf"\s*(sudo\s+)?(\S*python[\d.]*\s+-m\s+)?({'|'.join(INSTALLERS)})\s")
NOT_INSTALLED = "Nothing is installed while a notebook is graded: it runs with the course's packages."
ENVIRONMENT = {"PIP_NO_INDEX": "1", "PIP_NO_INPUT": "1", "GIT_TERMINAL_PROMPT": "0", "EDITOR": "true", "PAGER": "cat"}
ABSENT = ("otter", "google.colab")  # packages that student notebooks import and that do nothing here


class Printed(io.TextIOBase):
    """A text stream that keeps the first and the last part of what is written to it, `limit` characters in all."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, limit: int):
        self.limit, self.head, self.tail, self.held, self.dropped = limit // 2, "", [], 0, 0
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        room = self.limit - len(self.head)
        if room > 0:
            self.head += text[:room]
        if len(text) > room:
            self.tail.append(text[max(room, 0) :][-self.limit - 1 :])
            self.held += len(self.tail[-1])
            self.dropped += len(text) - max(room, 0) - len(self.tail[-1])
        if self.held > 2 * self.limit:
            self._trim()
        return len(text)

    def _trim(self) -> None:
        tail = "".join(self.tail)
        cut = max(0, len(tail) - self.limit)
        self.tail, self.held, self.dropped = [tail[cut:]], len(tail) - cut, self.dropped + cut

    def reconfigure(self, **ignored) -> None:
        """The encoding stays."""

    def close(self) -> None:
        """It stays open: the cells after this one print too."""

    def fileno(self) -> int:
        return 1

    def __str__(self) -> str:
        self._trim()
        gap = f"\n… {self.dropped} characters left out …\n" if self.dropped else ""
        return self.head + gap + self.tail[0]


class _Bytes(io.RawIOBase):
    def __init__(self, text: Printed):
        self.text = text

    def write(self, content) -> int:
        self.text.write(bytes(content).decode("utf-8", "replace"))
        return len(content)


class _NoScreen(DisplayPublisher):
    def publish(self, data, metadata=None, **ignored):
        """Pictures and widgets are shown to nobody."""

    def clear_output(self, wait=False):
        """There is nothing to clear."""


class Shell(InteractiveShell):
    """IPython as in Jupyter: every cell finds an event loop running, the same one as long as the notebook lasts."""

    def __init__(self, **options):
        self.loop = None
        super().__init__(**options)
        self.loop_runner = self._await
        self.set_hook("show_in_pager", page.as_hook(page.display_page), 99)

    def run_in_notebook(self, source: str):
        """IPython's result of one cell of the notebook."""
        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        asyncio._set_running_loop(self.loop)
        try:
            result = self.run_cell(source, store_history=True)
            if asyncio.all_tasks(self.loop):
                self._await(asyncio.sleep(0))  # tasks begin between the cells
            return result
        finally:
            asyncio._set_running_loop(None)

    def _await(self, work):
        asyncio._set_running_loop(None)
        task = self.loop.create_task(work)
        try:
            return self.loop.run_until_complete(task)
        finally:
            task.cancel()  # where it was interrupted it must not go on beside the next cell
            asyncio._set_running_loop(self.loop)

    def run_line_magic(self, magic_name: str, line: str, _stack_depth=1):
        """As IPython does, but a magic that needs a front end or the network lets the rest of the cell run."""
        if magic_name in INSTALLERS:
            return print(NOT_INSTALLED)
        if magic_name in ("matplotlib", "edit"):
            return None
        if magic_name == "pylab":
            return import_pylab(self.user_ns)
        if self.find_line_magic(magic_name) is None and self.find_cell_magic(magic_name) is None:
            return print(f"%{magic_name} does nothing while a notebook is graded.")
        try:
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        except (ImportError, UsageError) as error:
            if magic_name not in ("load_ext", "reload_ext", "config"):
                raise
            return print(f"%{magic_name} {line}: {error}")

    def system(self, cmd: str) -> None:
        """`!cmd`: a shell without a keyboard; what it prints appears in the cell."""
        cmd = self.var_expand(cmd, depth=1)
        if INSTALLS.match(f"{cmd} "):
            self.user_ns["_exit_code"] = 1
            return print(NOT_INSTALLED)
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(cmd, shell=True, text=True, errors="replace", **options) as process:
            for line in process.stdout:
                sys.stdout.write(line)
        self.user_ns["_exit_code"] = process.returncode

    def enable_gui(self, gui=None) -> None:
        """There is none."""

    def ask_exit(self) -> None:
        """`exit` and `quit` end a Jupyter kernel only after their cell; here the other cells still run."""


def start_shell() -> Shell:
    """The one shell of this process."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Plain"
    shell = Shell.instance(config=config, display_pub_class=_NoScreen)
    shell.extension_manager.load_extension("storemagic")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "" not in sys.path:
        sys.path.insert(0, "")  # as in Jupyter: the working folder, also after %cd
    builtins.input, getpass.getpass = _nobody_answers("input()"), _nobody_answers("getpass()")
    sys.breakpointhook = lambda *args, **options: None
    warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
    sys.meta_path.append(_Absent())
    return shell


def _nobody_answers(name: str):
    def ask(*args, **options):
        raise EOFError(f"{name} has nobody to answer it while a notebook is graded: write the value into the code")

    return ask


class Silent:
    """Takes any call, gives itself for any attribute, shows nothing."""

    def __init__(self, *args, **options):
        pass

    def __call__(self, *args, **options):
        return self

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self

    def _ipython_display_(self):
        """Nothing is shown."""


class SilentModule(types.ModuleType):
    """A module whose every name is `Silent`."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Silent()


class _Absent:
    """Finds, after all others, the packages that are not there and whose calls may do nothing."""

    def find_spec(self, name, path=None, target=None):
        if any(f"{absent}.".startswith(f"{name}.") or name.startswith(f"{absent}.") for absent in ABSENT):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return SilentModule(spec.name)

    def exec_module(self, module):
        pass
