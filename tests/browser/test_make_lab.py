"""`make lab`, as the README says it, serves the course."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def answers(address: str, server: subprocess.Popen, seconds: float = 120) -> bool:
    """Whether the server answers before it ends or the time is up."""
    until, pause = time.monotonic() + seconds, threading.Event()
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=10) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            pause.wait(0.2)
    return False


@pytest.mark.browser
def test_make_lab_opens_the_first_lecture(page, tmp_path):
    if Path(sys.prefix) != ROOT / ".venv" or not shutil.which("make"):
        pytest.skip("the tests do not run from the environment that `make` sets up")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = f"--no-browser --allow-root --ServerApp.port={port} --IdentityProvider.token=course"
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = ["make", "-C", str(ROOT), "lab", f"LAB={arguments}"]
    with (tmp_path / "log").open("w+b") as log:
        server = subprocess.Popen(
            command, env=os.environ | folders, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            site = f"http://127.0.0.1:{port}"
            assert answers(f"{site}/api/status?token=course", server), (tmp_path / "log").read_text()[-2000:]
            page.goto(f"{site}/lab/tree/lectures/00_start_here.ipynb?token=course")
            page.get_by_role("heading", name="where does a task live").first.wait_for()
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
