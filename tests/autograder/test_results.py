"""Records, summary and output folder: atomic, complete, escaped, and never mixed with others."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from autograder.grading.batches.results import Folder, WrongFolder, record
from autograder.grading.batches.table import cell, summary, table
from autograder.grading.submissions.submission import Submission

CASE = "import math\n@test_case()\ndef test_x(x):\n    assert x == 1\n"
FIELDS = ["submission", "student", "assignment", "status", "fault", "reason", "score", "possible", "mode", "questions"]
FIELDS += ["limits", "seconds", "resources", "device", "protection", "sha256", "versions"]


@pytest.fixture
def bundle(make_bundle):
    return make_bundle({"q1": (2, CASE)})


def submission(path, name="ada", **options) -> Submission:
    return Submission(path / f"{name}.zip", name, options.pop("student", name), "0" * 64, ("t",), **options)


def test_a_record_has_exactly_the_fields(bundle, tmp_path):
    result = record(submission(tmp_path), bundle, "cpu", reason="No notebook.")
    assert list(result) == FIELDS
    assert (result["status"], result["fault"], result["score"], result["possible"]) == ("failed", "student", 0.0, 2.0)
    assert result["versions"]["bundle"] == bundle.sha256 and result["versions"]["torch"]
    assert result["versions"]["tests"] == bundle.digests and list(bundle.digests) == ["q1"]


def test_a_digest_changes_with_what_a_verdict_rests_on_and_with_nothing_else(make_bundle):
    two = {"q1": (2, CASE), "q2": (1, CASE)}
    before = make_bundle(two)
    changed = make_bundle({**two, "q2": (1, CASE.replace("== 1", "== 2"))})
    assert changed.digests["q1"] == before.digests["q1"] and changed.digests["q2"] != before.digests["q2"]
    assert make_bundle(two).digests == before.digests
    supported = make_bundle(two, files={"data.csv": "1,2"})
    assert not set(supported.digests.values()) & set(before.digests.values())


def test_a_damaged_record_is_none_and_half_written_ones_are_cleaned_up(bundle, tmp_path):
    out, mine = tmp_path / "out", submission(tmp_path)
    with Folder(out, bundle) as folder:
        assert folder.read("ada") is None
        folder.write(record(mine, bundle, "cpu", status="graded", fault=None), "log")
        assert folder.read("ada")["student"] == "ada" and (out / "logs" / "ada.txt").read_text() == "log\n"
    halves = [out / ".grading.json.17", out / "results" / ".ada.json.17", out / "logs" / ".ada.txt.17"]
    for half in halves:
        half.write_text('{"sha256": ')
    (out / "results" / "ben.json").write_text('{"sha256": ')
    with Folder(out, bundle) as folder:
        assert not any(half.exists() for half in halves)
        assert folder.read("ben") is None and folder.read("ada")["student"] == "ada"


def test_a_folder_whose_grader_was_killed_in_its_first_moment_can_be_used(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    (tmp_path / "out" / ".grading.json.4321").write_text("{")
    with Folder(tmp_path / "out", bundle):
        assert json.loads((tmp_path / "out" / "grading.json").read_text())["assignment"] == "toy"


def test_the_manifest_says_where_each_submission_came_from(bundle, tmp_path):
    ada = Submission(tmp_path / "in" / "ada lovelace.zip", "ada_lovelace-1", "ada lovelace", "0" * 64, ("t",))
    with Folder(tmp_path / "out", bundle, tmp_path / "in", [ada]):
        manifest = json.loads((tmp_path / "out" / "grading.json").read_text())
    assert manifest["submissions"] == str(tmp_path / "in")
    assert manifest["sources"] == {"ada_lovelace-1": "ada lovelace.zip"}


HOLD = """
import json, os, sys, time
from pathlib import Path
from autograder.grading.submissions.bundle import read_bundle
from autograder.grading.batches.results import Folder

with Folder(Path(sys.argv[2]), read_bundle(Path(sys.argv[1]))):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    print(child, flush=True)
    time.sleep(600)
"""


def test_the_lock_falls_with_its_grader_though_a_forked_child_lives_on(bundle, tmp_path):
    """It holds while the grader lives; after its SIGKILL the next grader may work at once."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "toy-autograder.zip"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grader:
        child = int(grader.stdout.readline())
        try:
            with pytest.raises(WrongFolder, match="Another grader"):
                Folder(tmp_path / "out", bundle).__enter__()
            grader.kill()
            grader.wait()
            os.kill(child, 0)  # it lives
            with Folder(tmp_path / "out", bundle) as folder:
                assert folder.read("ada") is None
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_folder_with_other_things_is_refused(bundle, make_bundle, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(WrongFolder, match="holds other files"):
        Folder(tmp_path / "thesis", bundle)
    with Folder(tmp_path / "out", bundle), pytest.raises(WrongFolder, match="Another grader"):
        Folder(tmp_path / "out", bundle).__enter__()
    with pytest.raises(WrongFolder, match="results of toy, not of hw9"):
        Folder(tmp_path / "out", make_bundle({"q1": (2, CASE)}, name="hw9"))
    (tmp_path / "out" / "grading.json").write_text("{")
    with pytest.raises(WrongFolder, match="damaged"):
        Folder(tmp_path / "out", bundle)


def test_the_summary_has_a_row_a_student_and_no_formulas(bundle, tmp_path):
    question = {"name": "=q1", "score": 1.5, "possible": 2.0, "cases": []}
    graded = record(submission(tmp_path, "a", student="=HYPERLINK(1)"), bundle, "cpu", status="graded", fault=None)
    graded |= {"score": 1.5, "questions": [question], "reason": "-x\nsecond line, with comma"}
    graded |= {"limits": ["question time", "memory"]}
    old = record(submission(tmp_path, "old", student="=HYPERLINK(1)"), bundle, "cpu", fault=None, reason="Not graded.")
    failed = record(submission(tmp_path, "b", student="ben"), bundle, "cpu", reason="No notebook.")
    rows = list(csv.reader(io.StringIO(summary([old, failed, graded], {"old"}))))
    assert rows == [
        ["student", "score", "possible", "'=q1", "status", "reason", "limits"],
        ["'=HYPERLINK(1)", "1.5", "2.0", "1.5", "graded", "'-x second line, with comma", "question time, memory"],
        ["ben", "0.0", "2.0", "0.0", "failed", "No notebook.", ""],
    ]


def test_the_table_names_a_limit_that_was_reached(bundle, tmp_path):
    """An endless loop in a question raises nothing in the notebook: the record has no reason, but a limit."""
    looped = record(submission(tmp_path, "emil"), bundle, "cpu", status="graded", fault=None, limits=["question time"])
    stopped = record(submission(tmp_path, "fay"), bundle, "cpu", reason="It took too long.", limits=["submission time"])
    earlier = record(submission(tmp_path, "gil"), bundle, "cpu", reason="No notebook.")
    del earlier["limits"]  # as an earlier version wrote it
    _, _, emil, fay, gil, _ = table([looped, stopped, earlier]).splitlines()
    assert emil.endswith("2  Limit reached: question time.")
    assert fay.endswith("failed: Limit reached: submission time. It took too long.")
    assert gil.endswith("failed: No notebook.") and summary([earlier]).endswith(",No notebook.,\n")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_starts_a_formula(text):
    assert cell(text).startswith("'")


def test_the_table_prints_no_control_characters(bundle, tmp_path):
    hostile = record(submission(tmp_path, "a", student="\x1b[2Jred\n\r"), bundle, "cpu", reason="\x1b]0;title\x07")
    shown = table([hostile])
    assert "\x1b" not in shown and "\x07" not in shown and "\r" not in shown
    assert len(shown.splitlines()) == 4 and "0 graded, 1 failed." in shown


def test_a_record_is_plain_json(bundle, tmp_path):
    with Folder(tmp_path / "out", bundle) as folder:
        folder.write(record(submission(tmp_path, student="é\ud800"), bundle, "cpu"))
    text = (tmp_path / "out" / "results" / "ada.json").read_text(encoding="utf-8")
    assert text.isascii() and json.loads(text)["student"] == "é\ud800"
