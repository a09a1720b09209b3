"""Without a host user for each slot `grade` refuses; with --unsafe it grades, and each result says what was missing."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare"),
]
TESTS = {"q1": (1, "@test_case(points=1, hidden=True)\ndef test_x(x):\n    assert x == 1\n")}
# A user who is not root there, and who can read what root can.
SOMEBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def grade(folder, *options: str) -> subprocess.CompletedProcess:
    command = [*SOMEBODY, sys.executable, "-m", "autograder", "grade", str(folder / "toy-autograder.zip")]
    command += [str(folder / "in"), "--out", str(folder / "out"), "--limit", "memory_mb=1500", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def batch(tmp_path, make_bundle, write_notebook):
    make_bundle(TESTS)
    write_notebook(tmp_path / "in" / "ada.ipynb", "import os\nx = 1")
    return tmp_path


def test_somebody_who_is_not_root_is_refused(batch):
    refused = grade(batch)
    assert refused.returncode == 1 and "run the grader as root" in refused.stderr
    assert "--unsafe" in refused.stderr and not (batch / "out").exists()


def test_unsafe_grades_and_says_so(batch):
    graded = grade(batch, "--unsafe")
    assert graded.returncode == 0, graded.stderr
    record = json.loads((batch / "out" / "results" / "ada.json").read_text())
    assert record["score"] == 1 and record["protection"].startswith("unsafe: Student code would run as you")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("memory_mb=-3", "must be a number above 0"), ("ram=3", "there is no limit 'ram'"), ("memory_mb", "NAME=VALUE")],
)
def test_a_limit_that_is_none_is_refused(batch, setting, said):
    refused = grade(batch, "--limit", setting)
    assert refused.returncode == 2 and said in refused.stderr
