"""Every hostile submission in one batch, beside honest ones: no point, no hidden text, nothing lost, hung or left."""

import contextlib
import csv
import ctypes
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from archives import MARK
from assignment import HIDDEN, POSSIBLE, SECRET, write_assignment
from submissions import CLASSES, EVERY, HONEST, write_all

from autograder.grading.isolation.slot import FIRST_UID, MOST_SLOTS

COURSE = """
[limits]
cell_seconds = 6
question_seconds = 3
submission_seconds = 60
memory_mb = 1000
file_mb = 32
processes = 128
submission_mb = 100
"""
SECONDS = 600  # a batch that takes longer hangs
SHARED = [Path(place) for place in ("/tmp", "/var/tmp", "/dev/shm", "/run")]
PR_SET_CHILD_SUBREAPER = 36

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@dataclass
class Graded:
    """The batch, and what the machine looked like around it."""

    command: subprocess.CompletedProcess
    report: subprocess.CompletedProcess
    out: Path
    records: dict[str, dict]
    left: list[str]  # processes that outlived the batch
    files: list[str]  # what student code left on this machine


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Graded:
    """`autograder grade` over all of them, on two slots, in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    write_assignment(folder / "toy-autograder.zip")
    write_all(folder / "submissions")
    (folder / "course.toml").write_text(COURSE)
    if MARK.exists():
        MARK.rmdir()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the batch orphans becomes ours to find
    before = _owned_by_students()
    mine = _children()
    done = _autograder(folder, "grade", "toy-autograder.zip", "submissions", "--out", "out", "--jobs", "2")
    left = [
        Path(f"/proc/{pid}/cmdline").read_text() for pid in _children() - mine if os.waitpid(pid, os.WNOHANG)[0] == 0
    ]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)
    reported = _autograder(folder, "report", "out")
    found = [json.loads(path.read_text()) for path in (folder / "out" / "results").glob("*.json")]
    by_file = {record["submission"]: record for record in found}
    names = _names(folder / "submissions")
    records = {name: by_file[names[name]] for name in EVERY if names.get(name) in by_file}
    return Graded(done, reported, folder / "out", records, left, sorted(_owned_by_students() - before))


def _autograder(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "AUTOGRADER_SECRET": SECRET, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autograder", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def _names(submissions: Path) -> dict[str, str]:
    """Attack -> the name under which the grader keeps its result."""
    from autograder.grading.submissions.submission import find_submissions

    by_path = {found.path.name: found.name for found in find_submissions(submissions, "toy")}
    return {attack.name: by_path.get(attack.file or attack.name) for attack in EVERY.values()}


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def _owned_by_students() -> set[str]:
    """What lies in the folders that everybody can write to and belongs to a slot's host user."""
    found = set()
    for place in SHARED:
        for entry in place.iterdir():
            with contextlib.suppress(OSError):  # others' files come and go
                if FIRST_UID <= entry.lstat().st_uid < FIRST_UID + MOST_SLOTS:
                    found.add(str(entry))
    return found


def test_every_submission_has_one_result_and_the_machine_is_blamed_for_none(graded):
    assert [name for name in EVERY if name not in graded.records] == []
    assert [name for name, record in graded.records.items() if record["fault"] == "infrastructure"] == []
    assert graded.command.returncode == 0, graded.command.stderr[-2000:]
    assert len(list((graded.out / "results").glob("*.json"))) == len(EVERY)


@pytest.mark.parametrize("name", [attack.name for attack in HONEST])
def test_the_honest_keep_their_points(graded, name):
    record = graded.records[name]
    assert (record["score"], record["possible"], record["reason"]) == (POSSIBLE, POSSIBLE, None), record["questions"]


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_it_gets_what_it_deserves(graded, attack):
    record = graded.records[attack.name]
    least, most = attack.points
    said = [
        record["reason"] or "",
        *(case["message"] for question in record["questions"] for case in question["cases"]),
    ]
    assert record["status"] == attack.status, record["reason"]
    assert least <= record["score"] <= most, said
    if most <= 1:
        cases = [case for question in record["questions"] for case in question["cases"]]
        assert [case["name"] for case in cases if case["hidden"] and case["passed"]] == []
    assert any(attack.says in text for text in said), said


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_its_record_holds_nothing_hidden(graded, attack):
    text = json.dumps(graded.records[attack.name], ensure_ascii=False)
    assert [mark for mark in HIDDEN if mark in text] == []
    assert len(text) < 20_000, "a record stays small whatever a submission says"


def test_the_summary_and_what_is_printed_hold_nothing_hidden(graded):
    for text in ((graded.out / "summary.csv").read_text(), graded.command.stdout, graded.command.stderr):
        assert [mark for mark in HIDDEN if mark in text] == []


def test_the_logs_stay_small(graded):
    assert max(path.stat().st_size for path in (graded.out / "logs").iterdir()) < 1 << 20


def test_no_process_is_left(graded):
    assert graded.left == []


def test_no_file_is_left(graded):
    assert graded.files == []
    assert not MARK.exists(), "a pickle that was handed in was loaded"


def test_no_terminal_acts_on_what_is_printed(graded):
    for text in (graded.command.stdout, graded.command.stderr.replace("\r", "").replace("\x1b[A", "")):
        assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []


def test_no_spreadsheet_takes_a_cell_for_a_formula(graded):
    with open(graded.out / "summary.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert len(rows) == len(EVERY) + 1 and {len(row) for row in rows} == {len(rows[0])}
    cells = [cell for row in rows for cell in row]
    assert [
        cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t"))
    ] == []
    assert [cell for cell in cells if not cell.isprintable()] == []


class Acting(HTMLParser):
    """Collects what of a page acts by itself: handlers, scripts with a student's words, other machines' files."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.inside, self.text = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        for name, value in attributes:
            away = name in ("src", "href", "action", "data") and re.match(
                r"\s*(https?:|//|javascript:|data:text)", value or ""
            )
            if name.startswith("on") or away or tag in ("iframe", "object", "embed", "base"):
                self.found.append((tag, name, value))

    def handle_data(self, data):
        if self.inside in ("script", "style") and "alert" in data:
            self.found.append((self.inside, data[:100]))
        self.text.append(data)


def test_pages_act_on_nothing_that_a_student_wrote(graded):
    pages = list(graded.out.rglob("*.html"))
    assert graded.report.returncode == 0, graded.report.stderr[-2000:]
    assert len(pages) == len(EVERY) + 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert Acting(text).found == [], page
        assert [mark for mark in HIDDEN if mark in text] == [], page
        assert "\x1b" not in text, page


def test_a_student_reads_of_no_other(graded):
    for page in (graded.out / "feedback").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert [attack.name for attack in HONEST if attack.name in text and attack.name != page.stem] == []


def test_the_report_names_who_copied_a_checkpoint(graded):
    text = "".join(Acting((graded.out / "report.html").read_text(encoding="utf-8")).text)
    assert "one_copies_a_checkpoint and two_copies_a_checkpoint: the same weights" in text


def test_no_two_submissions_have_one_name():
    assert len(EVERY) == sum(map(len, CLASSES.values())) + len(HONEST)
