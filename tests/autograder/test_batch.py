"""What a run grades and what it keeps: names, changed tests, failures of the machine, words for people and machines."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.cli import main
from autograder.course import Limits
from autograder.grading.batches import batch as batches
from autograder.grading.batches import booth, command
from autograder.grading.batches.batch import grade_folder
from autograder.grading.batches.plan import plan
from autograder.grading.batches.progress import Progress
from autograder.grading.batches.results import Folder, record
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.submissions.submission import Submission, find_submissions

LIMITS = Limits(cell_seconds=60, question_seconds=60, submission_seconds=240, memory_mb=2000)
VALUE = """
@test_case(points=1, hidden=True, failure_message="{0} must be {1}.")
def test_value({0}):
    assert {0} == {1}
"""


def value(name: str, number: int) -> tuple:
    return 1, VALUE.format(name, number)


TWO = {"q1": value("x", 1), "q2": value("y", 2)}


def submission(name: str, sha: str = "0", **options) -> Submission:
    return Submission(Path(f"{name}.zip"), name, options.pop("student", name), sha * 64, ("t",), **options)


def graded(submission: Submission, bundle, **found) -> dict:
    questions = [{"name": name, "score": 1.0, "possible": 1.0, "cases": []} for name in bundle.digests]
    return record(submission, bundle, "cpu", **{"status": "graded", "fault": None, "questions": questions, **found})


@pytest.fixture
def folder(make_bundle, tmp_path):
    """An output folder in which Ada, Ben and Carla have results of the bundle of two questions."""
    bundle = make_bundle(TWO)
    with Folder(tmp_path / "out", bundle) as folder:
        for name in ("ada", "ben", "carla"):
            folder.write(graded(submission(name), bundle))
        yield folder


def chosen(found, folder, bundle, **options) -> dict:
    return {job.submission.name: job.questions for job in plan(found, folder, bundle, **options).jobs}


CLASS = [submission(name) for name in ("ada", "ben", "carla")]


def test_nothing_is_graded_twice_and_only_what_changed_again(folder):
    assert plan(CLASS, folder, folder.bundle).jobs == [] and plan(CLASS, folder, folder.bundle).idle == 3
    changed = [submission("ada", sha="1"), *CLASS[1:], submission("deniz")]
    assert chosen(changed, folder, folder.bundle) == {"ada": None, "deniz": None}
    folder.write(graded(CLASS[0], folder.bundle, status="failed", fault="infrastructure", questions=[]))
    folder.write(graded(CLASS[1], folder.bundle, status="failed", fault="student", questions=[]))
    (folder.path / "results" / "carla.json").write_text('{"sha256": 1')
    assert chosen(CLASS, folder, folder.bundle) == {"ada": None, "carla": None}
    renamed = replace(CLASS[1], student="benjamin")
    assert chosen([renamed], folder, folder.bundle) == {"ben": None}


def test_a_changed_test_is_judged_again_alone(folder, make_bundle):
    mended = make_bundle({**TWO, "q2": value("y", 3)})
    todo = plan(CLASS, folder, mended)
    assert [job.questions for job in todo.jobs] == [{"q2"}] * 3
    assert [question["name"] for question in todo.jobs[0].kept] == ["q1"]
    (note,) = todo.notes
    assert (
        note
        == "q2 (tests changed since the last run): judged again in 3 submissions; other questions keep their results."
    )
    more = make_bundle({**TWO, "q3": value("z", 3)})
    assert chosen(CLASS, folder, more)["ada"] == {"q3"}
    fewer = make_bundle({"q1": TWO["q1"]})
    assert chosen(CLASS, folder, fewer)["ada"] is None
    other = make_bundle({"q1": value("x", 5), "q2": value("y", 6)})
    assert chosen(CLASS, folder, other)["ada"] is None
    assert plan(CLASS, folder, other).notes[0].startswith("3 submissions with a result that no longer holds")
    folder.write(graded(CLASS[0], folder.bundle, limits=["question time"]))
    folder.write(graded(CLASS[1], folder.bundle, protection="unsafe: no filter"))
    ada, ben, _ = plan(CLASS, folder, mended).jobs
    assert ada.limits == ("question time",) and ben.questions is None  # one record, one kind of sandbox
    refused = graded(CLASS[0], folder.bundle, status="failed", fault="student", questions=[])
    folder.write(refused)
    assert chosen(CLASS[:1], folder, mended) == {"ada": None}


def test_regrade_takes_everything_or_the_named_questions(folder):
    assert chosen(CLASS, folder, folder.bundle, regrade=[]) == {"ada": None, "ben": None, "carla": None}
    folder.regrading.clear()
    assert chosen(CLASS, folder, folder.bundle, regrade=["q1"]) == {"ada": {"q1"}, "ben": {"q1"}, "carla": {"q1"}}
    folder.regrading.clear()
    assert chosen(CLASS, folder, folder.bundle, regrade=["q1"], only=["ben"]) == {"ben": {"q1"}}
    with pytest.raises(ValueError, match="toy has no question 'q11': do you mean q1"):
        plan(CLASS, folder, folder.bundle, regrade=["q11"])


def test_a_regrading_that_was_killed_is_finished_by_the_next_run(folder, make_bundle, tmp_path):
    """Without asking again; what was done before the kill is not done twice."""

    def grade_again(folder, submission):
        folder.write(graded(submission, folder.bundle))
        later = time.time_ns() + 10**7  # the clock of files is a few milliseconds coarse
        os.utime(folder.path / "results" / f"{submission.name}.json", ns=(later, later))

    assert chosen(CLASS, folder, folder.bundle, regrade=["q1"]).keys() == {"ada", "ben", "carla"}
    grade_again(folder, CLASS[1])
    folder.lock.close()
    with Folder(folder.path, folder.bundle) as again:
        todo = plan(CLASS, again, folder.bundle)
        assert {job.submission.name: job.questions for job in todo.jobs} == {"ada": {"q1"}, "carla": {"q1"}}
        assert todo.notes[0].startswith("q1 (asked for): judged again in 2 submissions")
        assert chosen(CLASS, again, folder.bundle, regrade=["q2"], only=["ada"]) == {"ada": None}
        for submission in CLASS:
            grade_again(again, submission)
        assert chosen(CLASS, again, folder.bundle) == {}
    with Folder(folder.path, folder.bundle):
        assert json.loads((folder.path / "grading.json").read_text())["regrading"] == []


def test_only_takes_students_or_submissions_and_says_what_is_near(folder):
    late = replace(submission("deniz_2"), student="deniz")
    early = replace(submission("deniz_1"), student="deniz", replaced_by="deniz_2.zip")
    found = [*CLASS, early, late]
    assert chosen(found, folder, folder.bundle, only=["deniz"]) == {"deniz_2": None}
    assert chosen(found, folder, folder.bundle, only=["deniz_2", "ada"]) == {"deniz_2": None}
    assert plan(found, folder, folder.bundle, only=["ada"]).notes == [
        "There is a result for ada already: add --regrade to grade it again."
    ]
    with pytest.raises(ValueError, match="There is no student or submission 'Karla': do you mean carla"):
        plan(found, folder, folder.bundle, only=["Karla"])
    with pytest.raises(ValueError, match="no student or submission 'xyz': there are ada, ben, carla, deniz"):
        plan(found, folder, folder.bundle, only=["xyz"])
    with pytest.raises(ValueError, match=r"deniz_1 does not count: deniz_2\.zip replaced it"):
        plan(found, folder, folder.bundle, only=["deniz_1"])


@pytest.mark.sandbox
def test_a_mended_test_is_judged_again_and_the_other_question_is_not(make_bundle, write_notebook, tmp_path, capsys):
    """From end to end by the command line, in the words for machines; then the record's own fields."""
    make_bundle({"q1": value("x", 1), "q2": value("y", 3)})
    write_notebook(tmp_path / "in" / "ada.ipynb", "x = 1", "y = 2")
    write_notebook(tmp_path / "in" / "ben.ipynb", "x = 0", "y = 2")
    arguments = ["grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]

    def spoken(*options: str) -> list[dict]:
        assert main([*arguments, "--json", *options]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    ada, end = spoken("--only", "ada")
    assert (ada["event"], ada["student"], ada["score"], ada["questions"]) == (
        "submission",
        "ada",
        1,
        {"q1": 1, "q2": 0},
    )
    assert (end["event"], end["graded"], end["results"], end["missing"], end["exit_code"]) == ("end", 1, 1, 0, 0)
    kept = json.loads((tmp_path / "out" / "results" / "ada.json").read_text())["questions"][0]
    kept["cases"][0]["message"] = "This stood in the record."
    path = tmp_path / "out" / "results" / "ada.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "questions": [kept, {**kept, "name": "q2"}]}))

    make_bundle({"q1": value("x", 1), "q2": value("y", 2)})
    *lines, end = spoken()
    assert {line["student"]: line["questions"] for line in lines} == {
        "ada": {"q1": 1, "q2": 1},
        "ben": {"q1": 0, "q2": 1},
    }
    assert "q2 (tests changed since the last run): judged again in 1 submission;" in end["notes"][0]
    result = json.loads(path.read_text())
    assert [question["cases"][0]["message"] for question in result["questions"]] == ["This stood in the record.", ""]
    assert "kept from an earlier run: q1" in (tmp_path / "out" / "logs" / "ada.txt").read_text()
    assert result["limits"] == [] and result["protection"] == "full" and result["resources"]["gpu_mb"] is None
    assert result["resources"]["memory_mb"] is None or result["resources"]["memory_mb"] > 10
    assert main([*arguments, "--only", "ada"]) == 0
    table = capsys.readouterr().out
    assert "ada" in table and "ben" not in table and "1 graded, mean 2.0, 0 failed." in table
    manifest = json.loads((tmp_path / "out" / "grading.json").read_text())
    assert manifest["submissions"] == str(tmp_path / "in") and manifest["sources"]["ben"] == "ben.ipynb"


def test_the_table_shows_whom_the_run_was_for_with_what_they_replaced(folder, capsys):
    old = submission("deniz_1", student="deniz", replaced_by="deniz_2.zip")
    found = [*CLASS, old, submission("deniz_2", student="deniz")]
    asked = plan(found, folder, folder.bundle, only=["deniz"]).asked
    assert asked == {"deniz_1", "deniz_2"} and len(plan(found, folder, folder.bundle).asked) == 5
    results = [graded(submission, folder.bundle) for submission in found]
    command._sum_up(batches.Batch(results, {"deniz_1"}, asked, waiting=1), Path("out"), "again", machines=False)
    shown = capsys.readouterr().out
    assert "ada" not in shown and "1 graded, mean 0.0, 0 failed, 1 replaced." in shown
    assert "1 other has no result yet: run without --only." in shown


@pytest.mark.sandbox
def test_a_failure_of_the_machine_is_retried_by_the_next_run(make_bundle, write_notebook, tmp_path, monkeypatch):
    """Three attempts on a machine that fails; the next run grades exactly that submission."""
    bundle = make_bundle({"q1": value("x", 1)})
    write_notebook(tmp_path / "in" / "ada.ipynb", "x = 1")
    write_notebook(tmp_path / "in" / "ben.ipynb", "x = 1")
    real = batches.Desk.grade

    def faulty(desk, job):
        if job.submission.name == "ben":
            raise Infrastructure("The disk is full.")
        return real(desk, job)

    monkeypatch.setattr(batches.Desk, "grade", faulty)
    first = grade_folder(bundle, tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True, unsafe="no filter")
    ada, ben = first.results
    assert (ada["score"], ada["protection"]) == (1, "unsafe: no filter")
    assert (ben["status"], ben["fault"], ben["protection"]) == ("failed", "infrastructure", "unsafe: no filter")
    assert "failed on this submission 3 times" in ben["reason"] and first.exit_code == 1
    assert (tmp_path / "out" / "logs" / "ben.txt").read_text().count("The disk is full.") == 3
    monkeypatch.undo()
    second = grade_folder(bundle, tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True)
    assert second.graded == 1 and second.exit_code == 0 and second.results[0] == ada
    assert second.results[1]["score"] == 1 and second.results[1]["protection"] == "full"


def test_where_no_slot_can_be_opened_the_reason_is_raised(make_bundle, write_notebook, tmp_path, monkeypatch):
    def none_left(*arguments):
        raise Infrastructure("All slots are in use on this machine.")

    monkeypatch.setattr(booth, "Desk", none_left)
    write_notebook(tmp_path / "in" / "ada.ipynb", "x = 1")
    with pytest.raises(Infrastructure, match="All slots are in use"):
        grade_folder(make_bundle(TWO), tmp_path / "in", tmp_path / "out", limits=LIMITS, quiet=True)


def test_missing_protections_stop_everything_unless_they_are_accepted(
    make_bundle, write_notebook, tmp_path, capsys, monkeypatch
):
    make_bundle(TWO)
    write_notebook(tmp_path / "in" / "ada.ipynb", "x = 1")
    lacking = ["System calls cannot be filtered: install pyseccomp."]
    monkeypatch.setattr("autograder.grading.isolation.protections.obstacles", lambda: lacking)
    monkeypatch.setattr("autograder.grading.isolation.protections.missing", lambda: None)
    arguments = ["grade", str(tmp_path / "toy-autograder.zip"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    for refused in (arguments, ["demo"], ["selftest", "hw2"]):
        assert main(refused) == 1
        assert lacking[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    accepted = {}
    monkeypatch.setattr(
        command, "grade_folder", lambda *a, **options: accepted.update(options) or batches.Batch([], set())
    )
    assert main([*arguments, "--unsafe"]) == 0 and accepted["unsafe"] == lacking[0]
    monkeypatch.setattr("autograder.grading.isolation.protections.missing", lambda: "bubblewrap is not installed.")
    assert main([*arguments, "--unsafe"]) == 1  # there is nothing to run it in


def test_the_line_of_progress_tells_failures_rate_and_time_left():
    now = [100.0]
    progress = Progress(total=12, done=2, limit=900, slots=2, quiet=True, clock=lambda: now[0])
    assert progress.words() == "0 failed, 0.0 a minute, starting"
    for status in ("graded", "failed"):
        now[0] += 30
        progress.count({"status": status})
    assert progress.words() == "1 failed, 2.0 a minute, 4 min left"


def test_of_the_last_ones_running_no_time_is_foretold_but_their_limit():
    """Seven of eight done within a second said "0 s left", and then an endless loop took its two minutes."""
    now = [100.0]
    progress = Progress(total=8, done=0, limit=900, slots=2, quiet=True, clock=lambda: now[0])
    said = []
    for _ in range(8):
        now[0] += 10
        progress.count({"status": "graded"})
        said.append(progress.words())
    assert said[-4].endswith("30 s left")
    assert said[-3:-1] == ["0 failed, 2 running, limit 15 min", "0 failed, 1 running, limit 15 min"]
    assert said[-1].endswith("0 s left")


def test_an_unchanged_note_of_replacement_is_not_written_again(make_bundle, write_notebook, tmp_path):
    bundle = make_bundle(TWO)
    for day in (1, 2):
        write_notebook(tmp_path / "in" / f"ada_2026_01_0{day}T00_00_00_000000.ipynb", "x = 1")
    found = find_submissions(tmp_path / "in", "toy")
    with Folder(tmp_path / "out", bundle) as folder:
        for _ in range(2):
            batches._set_aside(found[0], bundle, "cpu", folder)
            written = {path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
        batches._set_aside(found[0], bundle, "cpu", folder)
        assert {path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()} == written
