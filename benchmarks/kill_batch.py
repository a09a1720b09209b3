"""SIGKILL to the grader's whole process tree, fifty times, at random moments of a batch of forty submissions.

`python benchmarks/kill_batch.py` grades the batch once undisturbed. Then it starts the same command again and again
and kills it at a random moment (seeded): of ten times once while the program loads, twice after it has locked its
folder, else after the run's first record, each time within a share of the time that the undisturbed batch took. When a
run lives to its end the next round begins with an empty folder, until all kills are spent. Each round's records must
equal the undisturbed ones in all but times, memory and versions. A record that was written once must stay the same
file: nothing is graded twice. Writes benchmarks/results/kill_batch.json.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autograder.grading.isolation.watch import tree

HERE = Path(__file__).parent
GONE_SECONDS = 20.0  # within which every process of a killed tree must be gone
VARIES = ("seconds", "resources", "versions")
COURSE = "[limits]\ncell_seconds = 20\nquestion_seconds = 5\nsubmission_seconds = 60\nmemory_mb = 1200\n"
HEAD = "from otter.test_files import test_case\n\nOK_FORMAT = False\n\nname = '{name}'\npoints = None\n"
TESTS = {
    "q1": """
@test_case(points=1, hidden=False, failure_message="One row comes out.")
def test_shape(mean):
    import torch
    assert tuple(mean(torch.ones(2, 3)).shape) == (3,)

@test_case(points=2, hidden=True, failure_message="It must average.")
def test_mean(mean):
    import torch
    from autograder.testing import close, rng
    x = torch.randn(5, 3, generator=rng("x"))
    got = mean(x)
    assert close(got, x.sum(0) / 5)
""",
    "q2": """
@test_case(points=2, hidden=True, failure_message="Twice the number.")
def test_double(double):
    assert double(21) == 42
""",
}
MEANS = ("return x.mean(0)", "return x.sum(0)", "return x", "raise ValueError(x)")
DOUBLES = ("return 2 * x", "return x + 2", "while True: pass", "import os; os.abort()")


def write_batch(folder: Path, submissions: int) -> list[str]:
    """Write the assignment, `submissions` notebooks and the limits; the arguments of the grader."""
    with zipfile.ZipFile(folder / "toy-autograder.zip", "w") as archive:
        archive.writestr("otter_config.json", json.dumps({"assignment_name": "toy"}))
        for name, source in TESTS.items():
            archive.writestr(f"tests/{name}.py", HEAD.format(name=name) + source)
    (folder / "in").mkdir()
    for number in range(submissions):
        # Every tenth loops without end and every tenth kills its process; the others are right or wrong in turn.
        double = DOUBLES[{4: 2, 9: 3}.get(number % 10, number % 2)]
        cells = ["import torch", f"def mean(x):\n    {MEANS[number % 4]}", f"def double(x):\n    {double}", str(number)]
        code = [
            {"cell_type": "code", "metadata": {}, "source": c, "outputs": [], "execution_count": None} for c in cells
        ]
        notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": code}
        (folder / "in" / f"student{number:02}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "course.toml").write_text(COURSE, encoding="utf-8")
    return ["grade", "toy-autograder.zip", "in", "--jobs", "2", "--device", "cpu"]


class Command:
    """The grader at work in `folder`, as the shell would start it."""

    def __init__(self, folder: Path, arguments: list[str]):
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "AUTOGRADER_SECRET": "k"}
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 (read when the process has ended)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autograder", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.words,
        )
        self.pid = self.process.pid

    def ended(self, seconds: float | None) -> bool:
        """Whether it ends within `seconds` (None: wait for it)."""
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def failure(self) -> str | None:
        """What it said if it failed by itself."""
        if self.process.returncode == 0:
            return None
        self.words.seek(0)
        return self.words.read().decode("utf-8", "replace")[-800:] or f"exit code {self.process.returncode}"


def kill_tree(grader: Command) -> int:
    """SIGKILL to the grader and all its descendants at once; the count of those that are still there long after."""
    members = {pid: _began(pid) for pid in tree(grader.pid)}
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    grader.ended(None)
    until = time.monotonic() + GONE_SECONDS
    while left := [pid for pid, began in members.items() if began and _began(pid) == began]:
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return len(left)


def _began(pid: int) -> str | None:
    """When a process began, by which it is told from a later one with its number; None for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def files(out: Path) -> dict[str, tuple]:
    """Each record's file: a record that is written anew is another one."""
    found = {}
    for path in (out / "results").glob("[!.]*.json"):
        status = path.stat()
        found[path.stem] = (status.st_ino, status.st_mtime_ns)
    return found


def records(out: Path) -> dict[str, dict]:
    """The records by name, without what may differ from run to run."""
    found = {}
    for path in (out / "results").glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = {name: value for name, value in result.items() if name not in VARIES}
    return found


@dataclass
class Tally:
    """What happened: every count but the first three must be zero."""

    kills: int = 0
    rounds: int = 0
    moments: Counter = field(default_factory=Counter)
    lost: int = 0
    graded_twice: int = 0
    different: int = 0
    half_written: int = 0
    processes_left: int = 0
    failed_runs: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether the kills did no harm."""
        harm = self.lost, self.graded_twice, self.different, self.half_written, self.processes_left
        return not any(harm) and not self.failed_runs


def torture(folder: Path, submissions: int, kills: int, share: float, seed: int, start=Command) -> tuple[Tally, float]:
    """(what happened, seconds that the undisturbed batch took) where each run is killed within `share` of that time.

    `start(folder, arguments)` starts the grader.
    """
    arguments, drawn, tally = write_batch(folder, submissions), random.Random(seed), Tally()
    began = time.monotonic()
    grader = start(folder, [*arguments, "--out", "undisturbed"])
    _until(grader, lambda: _manifest(folder / "undisturbed") is not None)
    loading, began = time.monotonic() - began, time.monotonic()
    _finish(grader, tally)
    undisturbed, expected = time.monotonic() - began, records(folder / "undisturbed")
    while tally.kills < kills and not tally.failed_runs:
        tally.rounds += 1
        out, known, ended = folder / f"round{tally.rounds}", {}, False
        while not ended:
            before = _manifest(out)
            grader = start(folder, [*arguments, "--out", out.name])
            if tally.kills >= kills:
                ended = True
            elif (luck := drawn.random()) < 0.1:
                ended = grader.ended(drawn.uniform(0, loading))
            else:
                ended = _until(grader, lambda out=out, before=before: _manifest(out) != before)
                if luck >= 0.3 and not ended:
                    ended = _until(grader, lambda out=out, known=known: files(out).keys() > known.keys())
                ended = ended or grader.ended(drawn.uniform(0, share * undisturbed))
            if ended:
                _finish(grader, tally)
            else:
                tally.kills += 1
                tally.processes_left += kill_tree(grader)
                begun = _manifest(out) != before
                tally.moments[_moment(begun, len(known), len(files(out)), submissions)] += 1
            now = files(out)
            tally.graded_twice += sum(now.get(name) != file for name, file in known.items())
            known = now
        got = records(out)
        tally.lost += len(expected.keys() - got.keys())
        tally.different += sum(got[name] != expected[name] for name in expected.keys() & got.keys())
        tally.half_written += len([path for path in out.rglob(".*") if path.name != ".lock"])
        tally.different += (out / "summary.csv").read_text() != (folder / "undisturbed" / "summary.csv").read_text()
    return tally, undisturbed


def _manifest(out: Path) -> tuple | None:
    """The file that a grader writes anew when it has locked its folder."""
    try:
        status = (out / "grading.json").stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _until(grader: Command, happened: Callable[[], bool]) -> bool:
    """Wait for something to happen; True if the grader ended first."""
    while not happened():
        if grader.ended(0.05):
            return True
    return False


def _finish(grader: Command, tally: Tally) -> None:
    """Wait for a run to its end; one that fails is told."""
    grader.ended(None)
    if (said := grader.failure()) is not None:
        tally.failed_runs.append(said)


def _moment(begun: bool, before: int, after: int, submissions: int) -> str:
    if not begun:
        return "while the program loaded"
    if after == submissions:
        return "after the last record"
    return "before the run's first record" if after == before else "between two records"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.25, help="of the undisturbed batch's time, the latest kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-batch-") as folder:
        began = time.monotonic()
        tally, undisturbed = torture(Path(folder), options.submissions, options.kills, options.share, options.seed)
    result = {
        **vars(options),
        **vars(tally),
        "undisturbed_seconds": round(undisturbed, 1),
        "seconds": round(time.monotonic() - began, 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(f"{tally.kills} SIGKILLs in {tally.rounds} rounds of {options.submissions} submissions")
    for name, count in sorted(tally.moments.items()):
        print(f"  {count:4}  {name}")
    for name in ("lost", "graded_twice", "different", "half_written", "processes_left"):
        print(f"{name.replace('_', ' '):16}{getattr(tally, name):4}")
    for said in tally.failed_runs:
        print("failed run:", said)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "kill_batch.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if tally.sound else 1


if __name__ == "__main__":
    sys.exit(main())
