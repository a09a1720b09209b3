"""The report's pages: right numbers, nothing lost to a damaged record, no hostile text at work, no secret shown."""

import base64
import hashlib
import json
import random
import re
import statistics
import unicodedata
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from autograder.cli import main
from autograder.grading.batches.results import Folder, record
from autograder.grading.submissions.submission import Submission
from autograder.report.duplicates import Duplicates, Group
from autograder.report.feedback import next_steps, what_happened
from autograder.report.histogram import histogram
from autograder.report.likeness import Passage
from autograder.report.page import feedback_page, report_page
from autograder.report.read import NoResults, read_results
from autograder.report.tally import tally
from autograder.report.text import clean, short

CASE = '@test_case(points=2, hidden=True, failure_message="h")\ndef test_a(f):\n    assert f(1) == 1\n'
NOW = datetime(2026, 1, 31, 12, 0)
HOSTILE = (  # begins as the harmless word does, so that it is sorted like it
    "word</title></style></script><script>document.title='owned'</script><svg onload=alert(1)>"
    "<img src=x onerror=alert(2)>"
    "\"'><a href='javascript:alert(3)'>&lt;b&gt; {{ 7919 * 7927 }} "
    "\x1b[31m\x00\x07\x9b \u202egnp.exe\u2066\u200f\u2028\ud800" + "z\u0301" * 3 + "\u0335" * 300 + "W" * 5000
)


def case(name="a", hidden=True, passed=True, message=""):
    return {"name": name, "hidden": hidden, "passed": passed, "message": message}


def question(name="q1", score=2.0, possible=4.0, cases=None):
    return {"name": name, "score": score, "possible": possible, "cases": cases or [case()]}


@pytest.fixture
def graded(make_bundle, tmp_path):
    """graded({"ada": dict(score=..)}) -> the folder that the grader itself would write, with those fields."""
    bundle = make_bundle({"q1": (2, CASE), "q2": (2, CASE)})

    def write(students: dict[str, dict], logs: dict[str, str] | None = None, found: list | None = None):
        out = tmp_path / "out"
        with Folder(out, bundle, tmp_path, found or []) as folder:
            for name, fields in students.items():
                submission = Submission(tmp_path / f"{name}.zip", name, fields.get("student", name), "0" * 64, ("t",))
                graded = {"status": "graded", "fault": None, "questions": [question()], "score": 2.0}
                whole = record(submission, bundle, "cpu", **graded) | fields
                folder.write(whole, (logs or {}).get(name, ""))
        return out

    return write


class Page(HTMLParser):
    """A page's tags in order with the names of their attributes, its addresses, and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.addresses, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self.addresses += [value for name, value in attributes if name in ("href", "src", "action", "data", "srcset")]

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}",))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def pages(out) -> tuple[str, dict[str, str]]:
    """The instructor's page and each student's, of a folder."""
    results = read_results(out)
    feedback = {record.submission: feedback_page(results, record) for record in results.records}
    return report_page(results, Duplicates(), NOW), feedback


def test_the_numbers_are_those_of_the_records(graded):
    """Against plain sums over 40 random records."""
    draw = random.Random(5)
    students = {}
    for number in range(40):
        outcomes = [draw.random() < 0.6 for _ in range(4)]
        cases = [case(f"case {k}", hidden=k > 0, passed=passed, message="hint") for k, passed in enumerate(outcomes)]
        score = float(sum(outcomes))
        students[f"s{number}"] = {"questions": [question("q1", score, 4.0, cases)], "score": score, "possible": 4.0}
    students["bad"] = {"status": "failed", "fault": "student", "questions": [], "score": 0.0, "reason": "No notebook."}
    students["machine"] = {"status": "failed", "fault": "infrastructure", "questions": [], "score": 0.0}
    students["old"] = {"status": "failed", "fault": None, "questions": [], "score": 0.0}
    found = tally(read_results(graded(students)))
    kept = [students[f"s{number}"] for number in range(40)]
    scores = [entry["score"] for entry in kept]
    assert (found.graded, found.failed, found.aside) == (40, 1, 1)
    assert found.mean == pytest.approx(sum(scores) / 40) and found.median == statistics.median(scores)
    assert [bar.amount for bar in found.scores.bars] == [scores.count(value) for value in range(5)]
    [tallied] = found.questions
    assert tallied.full == scores.count(4.0) and [bar.amount for bar in tallied.picture.bars] == [
        scores.count(value) for value in range(5)
    ]
    missed = {f"case {k}": sum(not entry["questions"][0]["cases"][k]["passed"] for entry in kept) for k in range(1, 4)}
    assert {failing.name: failing.failed for failing in found.failing} == missed
    assert [failing.failed for failing in found.failing] == sorted(missed.values(), reverse=True)


@pytest.mark.parametrize(("most", "bins"), [(1, 12), (4, 12), (5.5, 12), (22, 24), (100, 24), (0.5, 12), (12345.6, 18)])
def test_every_value_stands_in_the_bar_that_names_it(most, bins):
    draw = random.Random(most)
    values = [*(draw.uniform(0, most) for _ in range(200)), 0.0, most, most]
    picture = histogram(values, most, "submission", "points", bins)
    counted = 0
    for bar in picture.bars:
        low, high = re.fullmatch(r"[\d,]+ submissions?: ([\d.]+)(?: to below ([\d.]+))? points", bar.what).groups()
        inside = [value for value in values if value >= float(low) and (high is None or value < float(high))]
        assert bar.amount == len(inside)
        counted += bar.amount
    assert counted == len(values) and len(picture.bars) <= bins
    assert max(bar.height for bar in picture.bars) == pytest.approx(picture.height)


def everywhere(text: str) -> tuple[dict, dict]:
    """Records and logs in which `text` stands wherever a record has text."""
    cases = [case(text, hidden, passed, text) for hidden in (False, True) for passed in (False, True)]
    full = {
        "student": text,
        "reason": text,
        "device": text,
        "limits": [text],
        "protection": f"unsafe: {text}",
        "mode": "shared",
        "questions": [question(text, cases=cases)],
    }
    broken = {"student": text, "reason": text, "status": "failed", "questions": []}
    students = {
        "a": full,
        "b": {**broken, "fault": "student"},
        "c": {**broken, "fault": "infrastructure"},
        "d": {**broken, "fault": None},
    }
    return students, {"a": f"attempt 1, slot 0: {text}", "c": f"attempt 1, slot 0: {text}"}


def test_hostile_text_is_shown_and_changes_nothing_of_the_page(graded):
    """The tags and attributes are those of a page with a plain word in every place."""
    shapes = []
    for word in ("word", HOSTILE):
        results = replace(read_results(graded(*everywhere(word))), assignment=word)
        a, b = results.records[:2]
        group = Group((a, b), ((a, b, 0.9),), Passage(word, word))
        found = Duplicates((group,), (group,), 2, 2, (word,))
        shapes.append([report_page(results, found, NOW), *(feedback_page(results, one) for one in results.records)])
    for plain, hostile in zip(*shapes):
        assert Page(plain).tags == Page(hostile).tags
        assert Page(plain).addresses == Page(hostile).addresses
        assert "‹U+202E›" in Page(hostile).text and "␛" in Page(hostile).text and "62773913" not in Page(hostile).text
        kinds = {unicodedata.category(letter) for letter in hostile if letter not in "\n\t"}
        assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert not re.search("[\u0300-\u036f]{5}", hostile)
        hostile.encode("utf-8")
        assert len(hostile) < len(plain) + 120_000


def test_only_the_pages_own_style_and_script_may_run(graded):
    report, feedback = pages(graded(*everywhere("word")))
    for html in (report, *feedback.values()):
        [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
        rules = dict(rule.split(maxsplit=1) for rule in policy.replace("&#39;", "'").split("; "))
        assert rules["default-src"] == "'none'" and set(rules["style-src"] + rules["script-src"]) & set("*") == set()
        assert rules.keys() == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
        for tag in ("style", "script"):
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL):
                assert (
                    f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" in rules[f"{tag}-src"]
                )
        page = Page(html)
        assert not [tag for tag in page.tags if "style" in tag[1:] or any(name.startswith("on") for name in tag[1:])]
        assert all(address.startswith(("#", "feedback/")) for address in page.addresses)


def test_a_student_sees_hints_and_nothing_else_of_hidden_cases(graded):
    cases = [
        case("public name", False, False, "PUBLIC MESSAGE"),
        case("SECRETNAME one", True, False, "AUTHOR HINT"),
        case("SECRETNAME two", True, True, "SECRETPRAISE"),
        case("SECRETNAME three", True, False, ""),
    ]
    students = {
        "ada": {"questions": [question("q1", 1.0, 4.0, cases)], "seconds": 1234.5, "device": "cuda:SECRETCARD"},
        "ben": {"student": "OTHERSTUDENT", "reason": "OTHERREASON"},
    }
    students["ada"] |= {
        "resources": {"memory_mb": 987.6, "gpu_mb": 765.4},
        "reason": "The cell that begins “x” raised E.",
    }
    report, feedback = pages(graded(students, {"ada": "attempt 1: SECRETLOG\ncase: AssertionError: SECRETVALUE"}))
    seen = feedback["ada"]
    shown = Page(seen).text
    assert "PUBLIC MESSAGE" in shown and "public name" in shown and "AUTHOR HINT" in shown
    assert "Hidden test 1 of 3" in shown and "A hidden test did not pass." in shown and "raised E" in shown
    for secret in ("SECRET", "OTHER", "1234", "1,234", "20 min", "987", "988", "765", "cuda", "ben"):
        assert secret not in seen
    assert "SECRETNAME one" in report and "SECRETCARD" in report and "SECRETLOG" in report


def told(graded, **fields) -> list:
    """What to do next, as (sentence, code) pairs, of a record with those fields."""
    [found] = read_results(graded({"ada": fields})).records
    return [(step.say, step.run) for step in next_steps(found)]


def test_what_to_do_next_names_the_first_thing_first(graded):
    public, hidden = case("p", False, False), case("h", True, False)
    both = [question('q"1', 0, 4, [case("p", False), hidden, hidden]), question("q2", 0, 4, [public, hidden])]
    steps = told(
        graded, questions=[*both, question("q3", 0, 4, [public])], reason="A cell raised.", limits=["memory", "gravity"]
    )
    assert [re.split("[:.]", say)[0] for say, _ in steps] == [
        "Restart the kernel and run all cells in order",
        "Your code needed more memory than allowed",
        "Your code met a limit of the grader",
        "Mend q2",
        "Do the same for q3",
        'q"1',
    ]
    assert [run for _, run in steps if run] == ['grader.check("q2")'] and "2 hidden tests do not" in steps[-1][0]
    assert told(graded, questions=[question(score=4.0)], reason="A cell raised.") == []
    [(machine, _)] = told(graded, status="failed", fault="infrastructure", questions=[])
    assert "need not do anything" in machine
    [(mend, _)] = told(graded, status="failed", fault="student", questions=[], reason="No notebook.")
    assert "hand the notebook in again" in mend


def test_a_reason_is_shown_cell_by_cell():
    one, two = "The cell that begins “x = 1” raised E: a. b.", "The cell that begins “y” was skipped."
    more, note = "2 more cells did not run to the end.", "This is the last submission and counts; kept: a.zip."
    assert what_happened(SimpleNamespace(reason=f"{one} {two} {more} {note}")) == ([one, two, more], [note])
    assert what_happened(SimpleNamespace(reason=note)) == ([], [note])
    assert what_happened(SimpleNamespace(reason="No notebook. Hand it in.")) == (["No notebook. Hand it in."], [])


def test_a_damaged_record_is_named_and_costs_only_itself(graded):
    out = graded({"ada": {}, "ben": {}, "eve": {}})
    (out / "results" / "ben.json").write_text('{"submission": "ben", "stu')
    good = json.loads((out / "results" / "eve.json").read_text())
    wrong = {
        "no_score": {**good, "submission": "no_score", "score": None},
        "infinite": {**good, "submission": "infinite", "score": float("inf")},
        "huge": {**good, "submission": "huge", "score": 10**400},
        "odd_case": {**good, "submission": "odd_case", "questions": [question(cases=[case(hidden="false")])]},
        "elsewhere": {**good, "submission": "../../elsewhere"},
        "other": {**good, "submission": "eve"},
        "list": [],
    }
    for name, content in wrong.items():
        (out / "results" / f"{name}.json").write_text(json.dumps(content))
    (out / "results" / "deep.json").write_text("[" * 100_000)
    (out / "results" / "bytes.json").write_bytes(b"\xff\xfe")
    assert main(["report", str(out)]) == 0
    page = Page((out / "report.html").read_text(encoding="utf-8")).text
    for name in ("ben", "deep", "bytes", *wrong):
        assert f"{name}.json" in page
    assert "2 students" in page and {path.stem for path in (out / "feedback").iterdir()} == {"ada", "eve"}
    assert not (out.parent / "elsewhere.html").exists()
    (out / "grading.json").write_text("{")
    assert main(["report", str(out)]) == 0
    assert "grading.json" in Page((out / "report.html").read_text(encoding="utf-8")).text


def test_a_record_of_an_older_grader_is_read(graded):
    out = graded({"ada": {}})
    path = out / "results" / "ada.json"
    kept = ("submission", "student", "assignment", "status", "fault", "reason", "score", "possible", "questions")
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({name: whole[name] for name in kept}))
    [found] = read_results(out).records
    assert (found.score, found.limits, found.memory_mb, found.protection) == (2.0, (), None, "full")
    assert "Not fully protected" not in pages(out)[0]


def test_notices_say_what_is_special(graded):
    report, _ = pages(graded({"ada": {"protection": "unsafe: no seccomp filter", "mode": "shared"}}))
    shown = Page(report).text
    assert "Not fully protected." in shown and "no seccomp filter" in shown and "Not secret." in shown
    plain = Page(pages(graded({"ada": {}}))[0]).text
    assert "Not fully protected" not in plain and "Not secret" not in plain


def test_failures_of_the_machine_come_from_the_grader_not_from_the_student(graded):
    students = {
        "aside": {"status": "failed", "fault": "infrastructure", "questions": []},
        "saved": {},
        "forger": {},
    }
    logs = {
        "aside": "attempt 1, slot 0: the disk is full\nattempt 2, slot 1: the disk is full",
        "saved": "attempt 1, slot 0: the card fell off\n--- printed by the notebook\nmy own words",
        "forger": "--- printed by the notebook\nattempt 1, slot 0: forged",
    }
    found = tally(read_results(graded(students, logs))).repeats
    assert [repeat.record.submission for repeat in found] == ["aside", "saved"]
    assert "the disk is full" in found[0].lines and found[1].lines == "attempt 1, slot 0: the card fell off"


def test_limits_and_memory_are_counted(graded):
    students = {
        "ada": {"limits": ["memory", "cell time", "memory"], "resources": {"memory_mb": 900.0, "gpu_mb": 11.0}},
        "ben": {"limits": ["memory"], "resources": {"memory_mb": 1000.0, "gpu_mb": None}, "seconds": 9.0},
        "carla": {"device": "cuda:0", "resources": None},
    }
    found = tally(read_results(graded(students)))
    assert [(limit, [r.submission for r in who]) for limit, who in found.limits] == [
        ("memory", ["ada", "ben"]),
        ("cell time", ["ada"]),
    ]
    cpu, cuda = found.machines
    assert (cpu.submissions, cpu.memory, cpu.gpu, cpu.longest.submission) == (2, 1000.0, 11.0, "ben")
    assert (cuda.device, cuda.memory) == ("cuda:0", None)


def test_submissions_without_a_result_are_counted(graded, tmp_path):
    found = [Submission(tmp_path / f"{name}.zip", name, name, "0" * 64, ("t",)) for name in ("ada", "late")]
    results = read_results(graded({"ada": {}}, found=found))
    assert results.missing == ["late"]
    assert "1 submission has no result yet." in Page(report_page(results, Duplicates(), NOW)).text


def test_wrong_usage_is_two_and_a_sentence(graded, tmp_path, capsys):
    out = graded({"ada": {}})
    (tmp_path / "empty").mkdir()
    wrong = {
        "There is no folder": [str(tmp_path / "absent")],
        "holds no results": [str(tmp_path / "empty")],
        "There is no folder ": [str(out), "--submissions", str(tmp_path / "absent")],
        "is not what students received": [str(out), "--given", str(tmp_path / "absent.ipynb")],
    }
    for said, arguments in wrong.items():
        assert main(["report", *arguments]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(NoResults):
        read_results(tmp_path / "empty")
    assert main(["report", str(out)]) == 0
    assert str(out / "report.html") in capsys.readouterr().out


def test_names_of_the_world_stay_as_they_are():
    for name in ("Zoë Müller", "محمد", "Ngô Thị Hà", "क्ष", "👩\u200d🔬", "می\u200cخواهم", "a < b & c"):
        assert clean(name) == name and short(name) == name
    assert short("a\nb\tc " + "x" * 100, 10) == "a b c xxxx…"
