"""A real JupyterLab and a real Chromium for the tests marked `browser`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Light"},
}


def _missing(what: str):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and in CI the browser tests must run")
    pytest.skip(what)


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    _missing("Chromium is not installed (Debian: apt install chromium)")


@dataclass
class Lab:
    """A running JupyterLab: `root` is the folder it serves."""

    address: str
    token: str
    root: Path

    def url(self, notebook: str) -> str:
        """The address that opens one notebook in a fresh workspace of its own."""
        return f"{self.address}/lab/workspaces/{uuid.uuid4().hex}/tree/{notebook}?token={self.token}&reset"

    def put(self, notebook: Path) -> str:
        """Copy a notebook into the served folder; returns its name there."""
        name = f"{uuid.uuid4().hex[:8]}_{notebook.name}"
        shutil.copy(notebook, self.root / name)
        return name

    def write(self, *cells: str) -> str:
        """Make a notebook of code cells in the served folder; returns its name."""
        import nbformat

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        name = f"{uuid.uuid4().hex[:8]}.ipynb"
        nbformat.write(notebook, self.root / name)
        return name

    def stop_kernels(self) -> None:
        """End every running notebook session."""
        for session in json.load(self._call("GET", "/api/sessions")):
            self._call("DELETE", f"/api/sessions/{session['id']}")

    def _call(self, method: str, path: str):
        request = urllib.request.Request(self.address + path, method=method)
        request.add_header("Authorization", f"token {self.token}")
        return urllib.request.urlopen(request, timeout=60)


@contextlib.contextmanager
def running_lab(home: Path, theme: str = "JupyterLab Light"):
    """JupyterLab on a free port with folders of its own under `home`; stopped when the block ends."""
    folders = {name: home / name for name in ("root", "config", "data", "runtime", "ipython", "lab", "workspaces")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    settings = {**QUIET, "@jupyterlab/apputils-extension:themes": {"theme": theme}}
    (home / "overrides.json").write_text(json.dumps(settings))
    for plugin, values in settings.items():
        extension, name = plugin.split(":")
        place = folders["lab"] / extension / f"{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = uuid.uuid4().hex
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_PATH": str(Path(__file__).parents[2] / "lectures"),  # as `make lab` has it
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        "IPYTHONDIR": str(folders["ipython"]),
        "JUPYTERLAB_SETTINGS_DIR": str(folders["lab"]),
        "JUPYTERLAB_WORKSPACES_DIR": str(folders["workspaces"]),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folders['root']}",
        "--ServerApp.open_browser=False", "--LabApp.news_url=None", "--FileContentsManager.delete_to_trash=False",
    ]  # fmt: skip
    log = home / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            if server.poll() is not None:
                pytest.fail(f"JupyterLab ended at once:\n{log.read_text()[-3000:]}")
            try:
                with urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until:
                    pytest.fail(f"JupyterLab did not answer within 90 s:\n{log.read_text()[-3000:]}")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.1)
        yield Lab(address, token, folders["root"])
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """One JupyterLab for the whole session."""
    _chromium()
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        _missing("JupyterLab is not installed")
    with running_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, the system's own."""
    executable = _chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def context(browser):
    """One profile for the session, so that Lab's files are fetched once."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def page(context, lab):
    """A fresh page, wide enough for a lecture; the kernels it started are stopped at the end."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    page.close()
    lab.stop_kernels()


READY = """async () => {
  await window.jupyterapp.restored;
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  for (let i = 0; i < 600 && panel.sessionContext.session?.kernel?.status !== 'idle'; i++)
    await new Promise((done) => setTimeout(done, 100));
  return panel.sessionContext.session?.kernel?.status;
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.model.type === 'code')
  .map((cell) => ({
    source: cell.model.sharedModel.getSource(),
    count: cell.model.executionCount,
    errors: cell.model.outputs.toJSON().filter((output) => output.output_type === 'error')
      .map((output) => `${output.ename}: ${output.evalue}`),
  }))"""


def open_notebook(page, lab: Lab, name: str) -> None:
    """Open a notebook of the served folder and wait until its kernel is idle."""
    page.goto(lab.url(name))
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context !== undefined", timeout=90_000)
    status = page.evaluate(READY)
    assert status == "idle", f"the kernel is {status}"


def run_notebook(page, lab: Lab, notebook: str | Path, timeout: float = 300) -> list[dict]:
    """Open a notebook, run all its cells, and check that each code cell ran without error.

    Args:
        notebook: its name in the served folder, or the path of a notebook to copy there.
        timeout: seconds.

    Returns:
        One dict a code cell: source, count, errors.
    """
    name = lab.put(notebook) if isinstance(notebook, Path) else notebook
    open_notebook(page, lab, name)
    page.set_default_timeout(timeout * 1000)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        """() => {
            const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
            const code = content.widgets.filter((cell) => cell.model.type === 'code');
            const failed = (cell) => cell.model.outputs.toJSON().some((output) => output.output_type === 'error');
            const empty = (cell) => cell.model.sharedModel.getSource().trim() === '';
            const done = (cell) => empty(cell) || cell.model.executionCount !== null;
            return sessionContext.session.kernel.status === 'idle' && (code.some(failed) || code.every(done));
        }""",
        timeout=timeout * 1000,
    )
    page.set_default_timeout(60_000)
    cells = page.evaluate(CELLS)
    for cell in cells:
        assert not cell["errors"], f"{cell['errors']} in\n{cell['source']}"
        assert cell["count"] is not None or not cell["source"].strip(), f"never ran:\n{cell['source']}"
    return cells


# Outputs above may still be growing after the kernel is done: a drag that begins meanwhile misses its handle.
STILL = """async (element) => {
  const place = () => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return `${[x, y, width, height]}`;
  };
  for (let was = '', calm = 0, i = 0; calm < 5 && i < 300; i++) {
    calm = place() === was ? calm + 1 : 0;
    was = place();
    await new Promise((done) => setTimeout(done, 100));
  }
}"""


def live(page, css: str):
    """The picture of a widget, once the kernel has drawn it and it stands still in sight."""
    picture = page.locator(css)
    picture.scroll_into_view_if_needed()
    page.wait_for_function("(css) => document.querySelector(css).src.startsWith('blob:')", arg=css)
    picture.evaluate(STILL)
    picture.scroll_into_view_if_needed()
    return picture


@pytest.fixture
def helpers():
    """`open_notebook`, `run_notebook` and `live`, for test files (conftest modules are not importable)."""
    from types import SimpleNamespace

    return SimpleNamespace(open_notebook=open_notebook, run_notebook=run_notebook, live=live, running_lab=running_lab)
