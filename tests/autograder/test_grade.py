"""From a folder of submissions to records: scores, sentences, resuming, duplicates, shared mode, Otter's own zips."""

import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from autograder.cli import main
from autograder.course import Limits
from autograder.grading.batches.batch import grade_folder
from autograder.grading.submissions.bundle import read_bundle

pytestmark = pytest.mark.sandbox
LIMITS = Limits(cell_seconds=60, question_seconds=60, submission_seconds=240, memory_mb=2000)
MEAN = """
@test_case(points=1, hidden=False, failure_message="One row comes out.")
def test_public(mean):
    import torch
    assert tuple(mean(torch.ones(2, 3)).shape) == (3,)

@test_case(points=2, hidden=True, failure_message="It must average.")
def test_hidden(mean):
    import torch
    from autograder.testing import close, rng
    x = torch.randn(5, 3, generator=rng("x"))
    got = mean(x)
    assert close(got, x.sum(0) / 5)
"""
WEIGHTS = """
@test_case(points=1, hidden=True, failure_message="Hand in w.safetensors.")
def test_there():
    from autograder.testing import once, submitted
    assert once("sum", lambda: submitted("w.safetensors")["w"].sum().item()) > 0

@test_case(points=1, hidden=True, failure_message="The sum must be 3.")
def test_three():
    from autograder.testing import once, probe

    @probe(fresh=True)
    def inside(x):
        import sys
        return float(x) if "student_was_here" not in sys.modules else None

    assert inside(once("sum", lambda: 0.0)) == 3.0
"""
RIGHT = ["import torch", "def mean(x):\n    return x.mean(0)"]


def export(path: Path, notebook: dict, **files: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy.ipynb", json.dumps(notebook))
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)


def by_name(batch) -> dict:
    return {result["submission"]: result for result in batch.results}


def test_a_batch_from_end_to_end(make_bundle, as_notebook, write_notebook, tmp_path, capsys):
    """Good, incomplete, of another assignment, unreadable, replaced: all have records; a second run adds the new."""
    bundle = make_bundle({"q1": (3, MEAN), "q2": (2, WEIGHTS)})
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    export(
        folder / "ada.zip",
        as_notebook(*RIGHT, "import sys; sys.modules['student_was_here'] = 1"),
        w__safetensors=save({"w": torch.ones(3)}),
    )
    write_notebook(folder / "ben.ipynb", "x = 1", "1 / 0")
    write_notebook(folder / "carla" / "toy.ipynb", *RIGHT, assignment="hw9")
    (folder / "deniz.zip").write_bytes(b"PK broken")
    write_notebook(folder / "emil_2026_01_01T00_00_00_000000.ipynb", *RIGHT)
    write_notebook(folder / "emil_2026_01_02T00_00_00_000000.ipynb", "import torch\ndef mean(x):\n    return x.sum(0)")
    first = grade_folder(bundle, folder, out, jobs=2, limits=LIMITS, quiet=True)
    found = by_name(first)
    assert first.exit_code == 0 and len(found) == 6
    ada = found["ada"]
    assert (ada["score"], ada["possible"], ada["status"], ada["mode"], ada["reason"]) == (5, 5, "graded", "split", None)
    assert [question["name"] for question in ada["questions"]] == ["q1", "q2"]
    assert ada["questions"][0]["cases"][0] == {"name": "q1 - 1", "hidden": False, "passed": True, "message": ""}

    ben = found["ben"]
    assert ben["score"] == 0 and "“1 / 0” raised ZeroDivisionError" in ben["reason"]
    public, hidden = ben["questions"][0]["cases"]
    assert public["message"] == "One row comes out.\nYour notebook does not define mean."
    assert hidden["message"] == "It must average."

    assert "submission for hw9, but toy is being graded" in found["carla"]["reason"]
    assert "damaged" in found["deniz"]["reason"]
    assert all(found[name]["status"] == "failed" and found[name]["fault"] == "student" for name in ("carla", "deniz"))
    old, new = (found[f"emil_2026_01_0{day}T00_00_00_000000"] for day in (1, 2))
    assert old["fault"] is None and "handed in emil_2026_01_02T00_00_00_000000.ipynb later" in old["reason"]
    assert new["score"] == 1 and "kept but not graded: emil_2026_01_01" in new["reason"]
    rows = (out / "summary.csv").read_text().splitlines()
    assert rows[0] == "student,score,possible,q1,q2,status,reason,limits" and len(rows) == 6

    times = {path.name: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    (out / "results" / "ada.json").unlink()
    write_notebook(folder / "ben.ipynb", *RIGHT)
    second = by_name(grade_folder(bundle, folder, out, jobs=1, limits=LIMITS, quiet=True))
    assert second["ada"]["questions"] == ada["questions"] and second["ben"]["score"] == 3
    for name in ("carla.json", "deniz.json", "emil_2026_01_02T00_00_00_000000.json"):
        assert (out / "results" / name).stat().st_mtime_ns == times[name]

    write_notebook(tmp_path / "other" / "x.ipynb", "x = 1")
    assert (
        main(["grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "other"), "--out", str(tmp_path / "in")])
        == 2
    )
    assert "holds other files" in capsys.readouterr().err


DOCTEST = """OK_FORMAT = True

test = {'name': 'q1', 'points': [1, 2], 'suites': [{'cases': [
    {'code': '>>> assert double(2) == 4\\n', 'hidden': False, 'locked': False},
    {'code': '>>> double(3)\\n6\\n>>> sorted(numbers)\\n[1, 2]', 'hidden': True, 'failure_message': 'Six.'}],
    'scored': True, 'setup': '', 'teardown': '', 'type': 'doctest'}]}
"""
ENV = """from otter.test_files import test_case
OK_FORMAT = False
name = "q2"
points = 2

@test_case(points=None, hidden=False)
def test_env(env):
    assert env["numbers"] == [2, 1] and env["double"](1) == 2
"""


def test_tests_that_need_the_live_namespace_run_in_shared_mode(make_bundle, write_notebook, tmp_path):
    bundle = make_bundle({"q1": (0, DOCTEST), "q2": (0, ENV)}, raw=True)
    assert bundle.mode == "shared" and bundle.possible == 5
    write_notebook(tmp_path / "in" / "ada.ipynb", "def double(x):\n    return 2 * x\nnumbers = [2, 1]")
    write_notebook(tmp_path / "in" / "ben.ipynb", "def double(x):\n    return x + 2\nnumbers = [2, 1]")
    found = by_name(grade_folder(bundle, tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True))
    assert found["ada"]["score"] == 5 and found["ada"]["mode"] == "shared"
    assert [question["score"] for question in found["ben"]["questions"]] == [1, 0]
    assert found["ben"]["questions"][0]["cases"][1]["message"] == "Six."


MASTER = '''
# %% [raw]
# # ASSIGNMENT CONFIG
# name: toy
# init_cell: true
# check_all_cell: false
# generate: true
# export_cell: {pdf: false}
# tests: {ok_format: false}
# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 4
# %% [raw]
# # BEGIN SOLUTION
# %%
def double(x):
    return 2 * x # SOLUTION
# %% [raw]
# # END SOLUTION
# %% [raw]
# # BEGIN TESTS
# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_public(double):
    assert double(1) == 2
test_public(double) # IGNORE
# %%
""" # BEGIN TEST CONFIG
hidden: true
failure_message: Twice, also below zero.
""" # END TEST CONFIG
def test_hidden(double):
    assert double(-3) == -6
test_hidden(double) # IGNORE
# %% [raw]
# # END TESTS
# %% [raw]
# # END QUESTION
# %%
double = None
'''


@pytest.mark.slow
def test_otter_assigns_own_zip_grades_to_otters_scores(tmp_path):
    """A real `otter assign`: solution full, student notebook zero, Otter's points, names as at the check cell."""
    import jupytext
    import nbformat

    master = jupytext.reads(MASTER, fmt="py:percent")
    master.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(master, tmp_path / "toy.ipynb")
    command = [sys.executable, "-m", "otter", "assign", "toy.ipynb", "dist", "--no-run-tests"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (path,) = (tmp_path / "dist" / "autograder").glob("*.zip")
    bundle = read_bundle(path)
    assert (bundle.name, bundle.mode, bundle.possible) == ("toy", "split", 4)
    (tmp_path / "in").mkdir()
    shutil.copy(tmp_path / "dist" / "autograder" / "toy.ipynb", tmp_path / "in" / "solved.ipynb")
    shutil.copy(tmp_path / "dist" / "student" / "toy.ipynb", tmp_path / "in" / "blank.ipynb")
    half = (tmp_path / "in" / "solved.ipynb").read_text().replace("return 2 * x", "return abs(2 * x)")
    (tmp_path / "in" / "half.ipynb").write_text(half)
    found = by_name(grade_folder(bundle, tmp_path / "in", tmp_path / "out", jobs=2, limits=LIMITS, quiet=True))
    assert {name: result["score"] for name, result in found.items()} == {"solved": 4, "half": 1, "blank": 0}
    assert found["half"]["questions"][0]["cases"][1]["message"] == "Twice, also below zero."


def test_the_same_submission_gets_the_same_inputs_and_another_does_not(
    make_bundle, write_notebook, tmp_path, monkeypatch
):
    case = """
@test_case(points=1, hidden=False)
def test_inputs(tell):
    from autograder.testing import rng
    import torch
    raise AssertionError(torch.rand(1, generator=rng("a")).item())
"""
    bundle = make_bundle({"q1": (1, case)})
    monkeypatch.setenv("AUTOGRADER_SECRET", "one")
    write_notebook(tmp_path / "in" / "ada.ipynb", "tell = 1")
    write_notebook(tmp_path / "in" / "ben.ipynb", "tell = 2")

    def drawn(out: str) -> list[str]:
        batch = grade_folder(bundle, tmp_path / "in", tmp_path / out, limits=LIMITS, quiet=True)
        return [result["questions"][0]["cases"][0]["message"] for result in batch.results]

    first, again = drawn("first"), drawn("again")
    monkeypatch.setenv("AUTOGRADER_SECRET", "two")
    assert first == again and len({*first, *drawn("other")}) == 4


def test_a_killed_batch_leaves_no_process_and_is_resumed(make_bundle, write_notebook, tmp_path):
    make_bundle({"q1": (3, MEAN)})
    write_notebook(tmp_path / "in" / "a.ipynb", *RIGHT)
    write_notebook(tmp_path / "in" / "b.ipynb", *RIGHT)
    write_notebook(tmp_path / "in" / "c.ipynb", "import subprocess\nsubprocess.run(['sleep', '8642.1'])")
    command = [sys.executable, "-m", "autograder", "grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "in")]
    batch = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: running("8642.1"))
    assert (tmp_path / "out" / "results" / "a.json").exists() and not (tmp_path / "out" / "results" / "c.json").exists()
    batch.send_signal(signal.SIGKILL)
    batch.wait()
    wait_for(lambda: not running("8642.1"))
    kept = (tmp_path / "out" / "results" / "a.json").stat().st_mtime_ns
    write_notebook(tmp_path / "in" / "c.ipynb", *RIGHT)
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0 and "3 graded, mean 3.0, 0 failed." in done.stdout
    assert (tmp_path / "out" / "results" / "a.json").stat().st_mtime_ns == kept


def test_ctrl_c_ends_what_is_being_graded_and_keeps_the_rest(make_bundle, write_notebook, tmp_path):
    make_bundle({"q1": (3, MEAN)})
    write_notebook(tmp_path / "in" / "a.ipynb", *RIGHT)
    write_notebook(tmp_path / "in" / "b.ipynb", "import subprocess\nsubprocess.run(['sleep', '9753.1'])")
    command = [sys.executable, "-m", "autograder", "grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "in")]
    batch = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: running("9753.1"))
    batch.send_signal(signal.SIGINT)
    said, _ = batch.communicate(timeout=60)
    assert batch.returncode == 1 and "Stopped: 1 result is in" in said
    assert "the same command grades the 1 missing" in said
    assert not running("9753.1") and not (tmp_path / "out" / "results" / "b.json").exists()


def running(word: str) -> bool:
    """Whether a process of this machine has `word` in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                return True
        except OSError:
            pass
    return False


def wait_for(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


ENDLESS = """
@test_case(points=1, hidden=True)
def test_endless(x):
    import pathlib, time
    pathlib.Path({0!r}).touch()
    time.sleep(900)
"""


def test_a_second_ctrl_c_does_not_wait_for_a_test_that_computes(make_bundle, write_notebook, tmp_path):
    make_bundle({"q1": (1, ENDLESS.format(str(tmp_path / "at work")))})
    write_notebook(tmp_path / "in" / "a.ipynb", "x = 1")
    command = [sys.executable, "-m", "autograder", "grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "in")]
    batch = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "at work").exists)
    batch.send_signal(signal.SIGINT)
    said = ""
    while "Ctrl-C again stops at once" not in said:
        said += batch.stderr.read(1)
    assert batch.poll() is None
    batch.send_signal(signal.SIGINT)
    assert "Stopped." in batch.communicate(timeout=60)[1] and batch.returncode == 1
    assert not list((tmp_path / "out" / "results").iterdir()) and (tmp_path / "out" / "summary.csv").exists()
