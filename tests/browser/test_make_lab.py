"""`make lab`, as the README says it, serves the course."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.browser
def test_make_lab_opens_the_first_lecture(page, tmp_path):
    if Path(sys.prefix) != ROOT / ".venv" or not shutil.which("make"):
        pytest.skip("the tests do not run from the environment that `make` sets up")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
    arguments = f"--no-browser --allow-root --ServerApp.port={free_port} --IdentityProvider.token=course"
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = ["make", "-C", str(ROOT), "lab", f"LAB={arguments}"]
    log = (tmp_path / "log").open("w+b")
    server = subprocess.Popen(
        command, env=os.environ | folders, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        for line in follow(tmp_path / "log", server):
            if "/lab/tree/00_start_here.ipynb" in line or "/lab/tree/lectures/00_start_here.ipynb" in line:
                break
        else:
            pytest.fail((tmp_path / "log").read_text()[-2000:])
        address = next(word for word in line.split() if word.startswith("http"))
        page.goto(address.replace("localhost", "127.0.0.1"))
        page.get_by_role("main").get_by_text("kshot", exact=False).first.wait_for()
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/api/status?token=course", timeout=10) as status:
            assert status.status == 200
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        log.close()


def follow(path: Path, server: subprocess.Popen):
    """The lines of a growing log, until the server that writes it ends."""
    reader = subprocess.Popen(["tail", "-n", "+1", "-f", f"--pid={server.pid}", str(path)], stdout=subprocess.PIPE)
    try:
        for line in reader.stdout:
            yield line.decode("utf-8", "replace").strip()
    finally:
        reader.kill()
        reader.wait()
