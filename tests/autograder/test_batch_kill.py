"""A batch whose process tree is killed again and again ends as if nothing had happened: kill_batch.py, in short."""

import importlib.util
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_batch.py"


def graded_in(folder: Path, arguments: list[str]) -> None:
    """In a process of its own: the command, quiet."""
    os.chdir(folder)
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    os.environ["AUTOGRADER_SECRET"] = "k"
    from autograder.cli import main

    sys.exit(main(arguments))


class Forked:
    """The grader forked from a process in which its modules are loaded: a start takes no seconds of imports."""

    def __init__(self, folder: Path, arguments: list[str]):
        self.process = context().Process(target=graded_in, args=(folder, arguments))
        self.process.start()
        self.pid = self.process.pid

    def ended(self, seconds: float | None) -> bool:
        self.process.join(seconds)
        return self.process.exitcode is not None

    def failure(self) -> str | None:
        return None if self.process.exitcode == 0 else f"exit code {self.process.exitcode}"


def context():
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(
        ["autograder.grading.batches.batch", "autograder.grading.batches.table", "autograder.cli"]
    )
    return made


def test_five_kills_lose_nothing_and_grade_nothing_twice(tmp_path):
    spec = importlib.util.spec_from_file_location("kill_batch", SCRIPT)
    kill_batch = importlib.util.module_from_spec(spec)
    sys.modules["kill_batch"] = kill_batch
    spec.loader.exec_module(kill_batch)
    tally, _ = kill_batch.torture(tmp_path, submissions=10, kills=5, share=0.15, seed=1, start=Forked)
    assert tally.kills == 5 and tally.sound, tally
