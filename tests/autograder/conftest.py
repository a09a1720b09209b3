"""Small assignments, notebooks and sandboxes for the tests of the grader."""

import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autograder.course import Limits
from autograder.grading.submissions.bundle import read_bundle

HEAD = 'from otter.test_files import test_case\n\nOK_FORMAT = False\n\nname = "{name}"\npoints = {points}\n\n'
LIMITS = Limits(cell_seconds=10, question_seconds=6, submission_seconds=120, memory_mb=1500)


def bundle_at(path: Path, tests: dict[str, tuple], name: str = "toy", files: dict | None = None, raw: bool = False):
    """Write {"q1": (points, source of the cases)} as a zip in Otter Assign's layout, and read it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("otter_config.json", json.dumps({"assignment_name": name, "lang": "python"}))
        for question, (points, source) in tests.items():
            text = source if raw else HEAD.format(name=question, points=points) + source
            archive.writestr(f"tests/{question}.py", text)
        for member, content in (files or {}).items():
            archive.writestr(f"files/{member}", content)
    return read_bundle(path)


@pytest.fixture(scope="session")
def make_zip():
    """make_zip(path, tests, ...) -> Bundle."""
    return bundle_at


@pytest.fixture(scope="session")
def as_notebook():
    """as_notebook(*cells) -> a notebook as nbformat's JSON."""
    return notebook


@pytest.fixture
def make_bundle(tmp_path):
    """make_bundle({"q1": (points, source of the cases)}) -> Bundle, in the test's own folder."""

    def make(tests: dict[str, tuple], name: str = "toy", **options):
        return bundle_at(tmp_path / f"{name}-autograder.zip", tests, name, **options)

    return make


def notebook(*cells: str, assignment: str | None = "toy", **metadata) -> dict:
    """A notebook of code cells, as nbformat's JSON."""
    found = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, **metadata}
    if assignment is not None:
        found["otter"] = {"OK_FORMAT": False, "assignment_name": assignment, "tests": {}}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": found,
        "cells": [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}
            for n, cell in enumerate(cells)
        ],
    }


@pytest.fixture
def write_notebook():
    """write_notebook(path, *cells) writes a notebook of those code cells."""

    def write(path: Path, *cells: str, **options) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook(*cells, **options)), encoding="utf-8")
        return path

    return write


class OpenBox:
    """The worker in a plain process, for tests of what is said on the wire: no protection, no need of bubblewrap."""

    overrun, hits, peak = None, frozenset(), 0

    def __init__(self, home: Path):
        self.connection, inner = socket.socketpair()
        environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "Agg"}
        command = [sys.executable, "-m", "autograder.grading.inside.worker", str(inner.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=(inner.fileno(),),
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        inner.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        self.connection.close()

    def words(self) -> str:
        return ""

    def confine(self) -> None:
        pass


@pytest.fixture(scope="session")
def open_box():
    """open_box(home) -> the worker in a plain process, as a Session starts it."""
    return OpenBox


@pytest.fixture
def open_session(tmp_path):
    """open_session(*cells) -> a Session whose notebook was run, in a plain process."""
    from autograder.grading.judging.session import Session

    opened = []

    def start(*cells, files: dict | None = None, limits: Limits = LIMITS):
        home = tmp_path / f"home{len(opened)}"
        home.mkdir()
        listed = [cell if isinstance(cell, list) else [cell, []] for cell in cells]
        session = Session(lambda: OpenBox(home), files or {}, listed, 0, limits)
        opened.append(session)
        session.run()
        session.begin("q")
        return session

    yield start
    for session in opened:
        session.close()


@pytest.fixture(scope="session")
def runtime():
    """What every sandbox sees, staged once."""
    from autograder.grading.isolation.staging import staged

    with staged() as found:
        yield found


@pytest.fixture(scope="module")
def launcher(request, runtime):
    """Starts real sandboxes on one slot, with the limits that the module calls LIMITS."""
    from autograder.grading.isolation.launcher import Launcher
    from autograder.grading.isolation.slot import Slot

    slot = Slot.lease()
    found = Launcher(runtime, request.module.LIMITS, slot)
    yield found
    found.close()
    slot.release()


@pytest.fixture
def sandboxed(request, launcher):
    """sandboxed(*cells) -> a Session whose notebook was run, in real sandboxes."""
    from autograder.grading.judging.session import Session

    opened = []

    def start(*cells, files: dict | None = None, limits: Limits = request.module.LIMITS):
        listed = [cell if isinstance(cell, list) else [cell, []] for cell in cells]
        opened.append(Session(launcher, files or {}, listed, 0, limits))
        opened[-1].run()
        opened[-1].begin("q")
        return opened[-1]

    yield start
    for session in opened:
        session.close()
