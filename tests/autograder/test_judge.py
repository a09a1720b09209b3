"""The judge: points by Otter's rules, hidden cases that stay hidden, tests that run beside the student's code."""

import functools
import json
from dataclasses import replace

import pytest

from autograder.course import Limits
from autograder.grading.judging.judge import judge
from autograder.grading.judging.session import Session
from autograder.testing import Judging, judging

LIMITS = Limits(cell_seconds=10, question_seconds=4, submission_seconds=120)
SECRET = 8675309


@pytest.fixture(scope="module")
def judged(open_box, tmp_path_factory, make_zip):
    """judged(tests, *cells) -> (questions by name, the instructor's log, the session) for a submission."""
    sessions, tokens = [], []

    def run(tests: dict[str, str], *cells: str, limits: Limits = LIMITS, raw: bool = False):
        home = tmp_path_factory.mktemp("home")
        bundle = make_zip(home / "toy-autograder.zip", {name: (1, source) for name, source in tests.items()}, raw=raw)
        session = Session(functools.partial(open_box, home), {}, [[cell, []] for cell in cells], 0, limits)
        sessions.append(session)
        tokens.append(judging.set(Judging(session, None, b"submission", b"assignment", {})))
        session.run()
        questions, log = judge(session, bundle)
        return {question["name"]: question for question in questions}, "\n".join(log + session.log), session

    yield run
    for token in reversed(tokens):
        judging.reset(token)
    for session in sessions:
        session.close()


def case(body: str, hidden: bool, wants: str = "f", name: str = "test_it") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"@test_case(hidden={hidden}, failure_message='It gives x back.')\ndef {name}({wants}):\n{lines}\n"


CONFESSIONS = {
    "an exception": "def f(x): raise ValueError(x)",
    "an exception's type": "def f(x): raise type(f'E{x}', (Exception,), {})(x)",
    "a wrong value": "def f(x): return str(x)",
    "an object's name": "def f(x): return type(f'T{x}', (), {})()",
    "a frame's length": "def f(x): wire().sendall(struct.pack('>Q', x << 40))",
    "a count of items": "def f(x): wire().sendall(struct.pack('>QsI', 5, b'[', x))",
    "printing": "def f(x):\n    print(x, flush=True)\n    os.write(1, str(x).encode())\n    return 0",
    "last words": "def f(x):\n    os.write(2, str(x).encode())\n    os._exit(0)",
}
WIRE = """import gc, os, struct
def wire():
    return next(found for found in gc.get_objects() if type(found).__name__ == 'Worker').connection
"""


def test_a_hidden_case_shows_the_authors_message_and_no_word_of_the_students_code(judged):
    tests, cells = {}, [WIRE]
    for number, (name, confession) in enumerate(CONFESSIONS.items()):
        body = f"got = f{number}({SECRET})\nassert got == {SECRET}, got"
        tests[name.replace(" ", "_").replace("'", "")] = case(body, hidden=True, wants=f"f{number}")
        cells.append(confession.replace("def f(", f"def f{number}("))
    questions, log, session = judged(tests, *cells)
    for question in questions.values():
        (found,) = question["cases"]
        assert not found["passed"] and found["message"].startswith("It gives x back.")
    shown = json.dumps([questions, session.limits_hit, session.ran.errors, session.ran.printed])
    assert str(SECRET) not in shown and hex(SECRET)[2:] not in shown and str(SECRET << 40) not in shown
    assert log.count(str(SECRET)) > 4, "the instructor sees what the student's code said"


def test_hidden_cases_come_last_and_what_runs_beside_the_students_code_first(judged):
    expected = ["beside", "public a", "public b", "hidden a"]
    tests = {
        "a": case("assert f('hidden a') == 0", True, name="test_1") + case("assert f('public a') == 0", False),
        "b": case("assert f('public b') == 0", hidden=False),
        "c": "@test_case(hidden=True)\ndef test_c(env):\n    env['f']('beside')\n",
        "d": case(f"assert f(None) == {expected}", hidden=True),
    }
    seen = "seen = []\ndef f(x):\n    if x is None: return seen\n    seen.append(x)\n    return 0"
    questions, _, _ = judged(tests, seen)
    assert [question["score"] for question in questions.values()] == [1, 1, 1, 1]


def test_what_is_told_and_what_is_not_whatever_the_test_catches(judged):
    catching = "try:\n    leave()\nexcept BaseException:\n    pass"
    tests = {
        "wrong": case("assert f(3) == 4, f'f(3) is {f(3)}'", hidden=False),
        "raising": case("fail()", hidden=False, wants="fail"),
        "caught": case(catching, hidden=True, wants="leave"),
        "endless": case("assert all(map(lambda x: stop(x) == x, range(3)))", hidden=True, wants="stop"),
        "long": case("assert longest() == 4, longest()", hidden=True, wants="longest"),
        "optimiser": case("import torch\ntorch.optim.SGD(net.parameters(), lr=0.1)", hidden=True, wants="net"),
        "backward": case("net.weight.sum().detach().backward()", hidden=True, wants="net"),
        "missing": case("assert nothing(3)", hidden=True, wants="nothing"),
    }
    cells = [
        "import os, torch\ndef f(x): return x\ndef leave(): os._exit(0)\nnet = torch.nn.Linear(2, 1)",
        "def fail(): raise ValueError('too small')\ndef stop(x): raise StopIteration",
        "def longest(): return 'y' * 10**6",
    ]
    questions, log, _ = judged(tests, *cells)
    told = {
        name: question["cases"][0]["message"].removeprefix("It gives x back.").strip()
        for name, question in questions.items()
    }
    assert told == {
        "wrong": "f(3) is 3",
        "raising": "ValueError: too small",
        "caught": "Your code was stopped: it ended the Python process.",
        **dict.fromkeys(("endless", "long", "optimiser", "backward", "missing"), ""),
    }
    assert [name for name, question in questions.items() if question["score"]] == []
    assert log.count("in a probe") == 2, "torch's own words do not say what to write instead"
    assert len(log) < 10_000


DOCTEST = """test = {{"name": "{name}", "points": 3, "suites": [{{"type": "doctest", "cases": [
    {{"code": ">>> {name}(2)\\n4\\n", "hidden": False}},
    {{"code": ">>> {name}(3)\\n9\\n>>> sum([{name}(1), {name}(2)])\\n5\\n", "hidden": False}},
    {{"code": ">>> {name}(1)\\n1\\n", "hidden": True, "failure_message": "One is its own square."}},
]}}]}}"""
DOES = {  # what a square does before it answers: its score, and what is said of the second case
    "right": ("pass", 3, ""),
    "exits": ("if x == 3: raise SystemExit", 2, "SystemExit"),
    "prints": ("if x == 3: print('x' * 5_000_000)", 2, "Got:"),
    "loops": ("while x == 3: pass", 1, "longer than 2 s"),
    "vandal": ("if x == 3: builtins.sum = lambda items: 7", 2, "Got:"),
    "wrecker": ("if x == 3: builtins.len = builtins.isinstance = builtins.type = None", 2, "stopped"),
    "leaver": ("if x == 3: os._exit(0)", 2, "stopped"),
    "again": ("pass", 3, ""),
}


def test_doctests_are_judged_case_by_case_beside_the_students_code(judged):
    squares = "".join(f"def {name}(x):\n    {does}\n    return x * x\n" for name, (does, _, _) in DOES.items())
    questions, _, session = judged(
        {name: DOCTEST.format(name=name) for name in DOES},
        "import builtins, os\n" + squares,
        "import signal",
        limits=replace(LIMITS, question_seconds=2),
        raw=True,
    )
    for name, (_, score, said) in DOES.items():
        messages = [case["message"] for case in questions[name]["cases"]]
        assert (name, questions[name]["score"]) == (name, score)
        assert said in messages[1] and len(messages[1]) < 1000
    assert session.limits_hit == ["question time"]


def test_a_test_that_wants_the_whole_namespace_gets_it_and_the_limits_that_were_reached_are_named(judged):
    tests = {
        "q": case("f(0)", hidden=True),
        "r": case("try:\n    f(1)\nexcept Exception:\n    pass", hidden=True),
        "s": case("f(2)", hidden=True),
        "t": case("assert f(3) == 3", hidden=True),
        "u": "@test_case(hidden=True)\ndef test_env(env, f):\n    assert env['f'](4) == f(4) and 'loop' in env\n",
    }
    fails = (
        "def f(x):\n"
        "    if x == 0: loop()\n"
        '    if x == 1: raise RuntimeError("can\'t start new thread")\n'
        "    if x == 2: raise MemoryError\n"
        "    return x\n"
        "def loop():\n"
        "    while True: pass"
    )
    questions, _, session = judged(tests, fails, limits=replace(LIMITS, question_seconds=1))
    assert session.limits_hit == ["question time", "processes", "memory"]
    assert [question["score"] for question in questions.values()] == [0, 1, 0, 1, 1]


def test_when_the_submissions_time_is_up_every_case_says_so(judged):
    tests = {name: case("f(0)", hidden=True) for name in "qrs"}
    questions, _, session = judged(
        tests, "def f(x):\n    while True: pass", limits=Limits(question_seconds=9, submission_seconds=3)
    )
    assert session.limits_hit == ["submission time"]
    for question in questions.values():
        assert question["cases"][0]["message"].endswith("tests took longer than 3 s.")


def test_crashes_cost_no_other_question(judged):
    crashes = "".join(case(f"f({number})", hidden=False, name=f"test_{number}") for number in range(4))
    questions, _, session = judged(
        {"q": crashes, "r": case("assert f(9) == 9", hidden=True)},
        "import os\ndef f(x):\n    if x < 4: os._exit(0)\n    return x",
    )
    assert [questions[name]["score"] for name in "qr"] == [0, 1] and session.reopened == 4
