"""Records, summary and output folder: atomic, complete, escaped, and never mixed with others."""

import csv
import io
import json

import pytest

from autograder.grading.results import Folder, WrongFolder, cell, record, summary
from autograder.grading.submission import Submission
from autograder.grading.table import table

CASE = "import math\n@test_case()\ndef test_x(x):\n    assert x == 1\n"
FIELDS = ["submission", "student", "assignment", "status", "fault", "reason", "score", "possible", "mode", "questions"]
FIELDS += ["seconds", "device", "sha256", "versions"]


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


def test_a_finished_record_is_kept_and_a_changed_one_is_not(bundle, make_bundle, tmp_path):
    with Folder(tmp_path / "out", bundle) as folder:
        mine = submission(tmp_path)
        assert folder.kept(mine) is None
        folder.write(record(mine, bundle, "cpu", status="graded", fault=None), "log")
        assert folder.kept(mine)["student"] == "ada"
        assert folder.kept(Submission(mine.path, "ada", "ada", "1" * 64, ("t",))) is None
        folder.write(record(mine, bundle, "cpu", fault="infrastructure"))
        assert folder.kept(mine) is None
        (tmp_path / "out" / "results" / "ada.json").write_text('{"sha256": ')
        assert folder.kept(mine) is None
    other = make_bundle({"q1": (3, CASE)})
    with Folder(tmp_path / "out", bundle) as folder:
        folder.write(record(mine, bundle, "cpu", status="graded", fault=None))
    with Folder(tmp_path / "out", other) as folder:
        assert folder.kept(mine) is None
    assert not list((tmp_path / "out").rglob("*.tmp")) and not list((tmp_path / "out" / "results").glob(".*"))


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
    old = record(submission(tmp_path, "old", student="=HYPERLINK(1)"), bundle, "cpu", fault=None, reason="Not graded.")
    failed = record(submission(tmp_path, "b", student="ben"), bundle, "cpu", reason="No notebook.")
    rows = list(csv.reader(io.StringIO(summary([old, failed, graded], {"old"}))))
    assert rows == [
        ["student", "score", "possible", "'=q1", "status", "reason"],
        ["'=HYPERLINK(1)", "1.5", "2.0", "1.5", "graded", "'-x second line, with comma"],
        ["ben", "0.0", "2.0", "0.0", "failed", "No notebook."],
    ]


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
