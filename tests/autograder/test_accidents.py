"""Ordinary accidents while a notebook runs: what each costs, which names count, and what the student is told."""

import re
from dataclasses import replace

import pytest

from autograder.course import Limits

pytestmark = pytest.mark.sandbox
LIMITS = Limits(
    **{"cell_seconds": 20, "question_seconds": 10, "submission_seconds": 100, "output_kb": 8},
    **{"memory_mb": 1000, "processes": 64, "file_mb": 16},
)


OTTER = [
    "# Initialize Otter\nimport otter\ngrader = otter.Notebook('hw2.ipynb')",
    "import otter\ngrader = otter.Notebook()",
    "from otter import Notebook\ngrader = Notebook('hw2.ipynb', tests_dir='./tests', colab=True)",
    "import otter.check.notebook\ngrader = otter.check.notebook.Notebook()",
    "%pip install -q otter-grader==7.0.0\n!pip install otter-grader\nimport otter\ngrader = otter.Notebook(colab=True)",
]


def test_otters_own_cells_cost_nothing_and_show_nothing(sandboxed):
    cells = [
        *OTTER,
        "grader.check('q1')",
        "grader.check_all()",
        "grader.export('hw2.ipynb', force_save=True, run_tests=True, pdf=True, filtering=False)",
        "grader.export(force_save=True, run_tests=True)",
        "grader.to_pdf(); grader.run_plugin('x', y=1); grader.add_plugin_files('x'); grader.submit()",
        "print(otter.__version__)\nimport otter.plugins\nfrom otter.test_files import test_case",
        "del otter, grader",
        "x = 1\ngrader.check('q1')",
        "grader = None",
        "x = 2\ngrader.check('q2')",
        "result = 'there'",
    ]
    session = sandboxed(*cells, limits=LIMITS)
    assert [(number, kind) for number, kind, _ in session.ran.errors] == [(len(cells) - 1, "AttributeError")]
    assert session.get("result") == "there"
    assert view(session, "q1", "x") == 1 and view(session, "q2", "x") == 2


def view(session, question: str, name: str):
    """What `question`'s tests see as `name`; None if it is not there."""
    session.end()
    session.begin(question)
    return session.get(name)


# story -> (cells, what the tests of q1 see as f(2))
COUNTS = {
    "as it was meant": (["def f(x): return x + 1", "grader.check('q1')", "def f(x): return 0"], 3),
    "defined twice above the check": (["def f(x): return 0", "def f(x): return x + 1", "grader.check('q1')"], 3),
    "checked twice": (["def f(x): return 0", "grader.check('q1')", "def f(x): return x + 1", "grader.check('q1')"], 3),
    "check moved above the definition": (["grader.check('q1')", "def f(x): return x + 1"], 3),
    "check deleted": (["def f(x): return 0", "def f(x): return x + 1"], 3),
    "only the metadata ask for the check": ([["def f(x): return x + 1", ["q1"]], "def f(x): return 0"], 3),
    "checked by a variable": (["q = 'q1'\ndef f(x): return x + 1", "grader.check(q)", "def f(x): return 0"], 3),
    "checked in the cell, then changed": (["def f(x): return x + 1\ngrader.check('q1')\ndef f(x): return 0"], 3),
    "the cell fails before its check": (["def f(x): return x + 1\n1 / 0\ngrader.check('q1')", "def f(x): return 0"], 3),
    "grader deleted": (["def f(x): return x + 1", "del grader", "grader.check('q1')", "def f(x): return 0"], 3),
    "the check commented out": (["def f(x): return 0", "# grader.check('q1')", "def f(x): return x + 1"], 3),
    "a global of a later question": (["n = 1\ndef f(x): return x + n", "grader.check('q1')", "n = 100"], 3),
    "a global defined below the check": (["def f(x): return x + n", "grader.check('q1')", "n = 1"], 3),
    "a list that later cells lengthen": (
        ["held = [1]\ndef f(x): return x + len(held)", "grader.check('q1')", "held += [1, 2]"],
        3,
    ),
    "an array that later cells change": (
        [
            "import numpy as np\nheld = np.ones(1)\ndef f(x): return int(x + held[0])",
            "grader.check('q1')",
            "held[0] = 7",
        ],
        3,
    ),
    "a network that is trained further": (
        [
            "import torch\nnet = torch.nn.Linear(1, 1, bias=False)\nnet.weight.data.fill_(1)\n"
            "def f(x): return int(net(torch.tensor([1.0])).item()) + x",
            "grader.check('q1')",
            "net.weight.data.fill_(9)",
        ],
        3,
    ),
    "a name shared by two values": (
        [
            "held = []\nclass Keeper: pass\nkeeper = Keeper(); keeper.held = held\n"
            "def f(x):\n    held.append(1)\n    return x + len(keeper.held)",
            "grader.check('q1')",
        ],
        3,
    ),
    "deleted after the check": (["def f(x): return x + 1", "grader.check('q1')", "del f"], 3),
    "its own names given": (["grader.check('q1', global_env={'f': lambda x: x + 1})", "def f(x): return 0"], 3),
}


NAMES = re.compile(r"\b(q1|f|q|n|held|net|Keeper|keeper)\b")


def test_which_definition_counts(sandboxed):
    """All stories in one notebook, each with names and a question of its own."""
    cells = []
    for number, (story, _) in enumerate(COUNTS.values()):
        for cell in story:
            source, questions = cell if isinstance(cell, list) else (cell, [])
            cells.append([NAMES.sub(rf"\1_{number}", source), [f"{name}_{number}" for name in questions]])
    session = sandboxed(*cells, limits=LIMITS)
    found = {story: view(session, f"q1_{n}", f"f_{n}")(2) for n, story in enumerate(COUNTS)}
    assert found == {story: expected for story, (_, expected) in COUNTS.items()}


def test_a_renamed_function_is_missing(sandboxed):
    session = sandboxed("def f2(x): return x + 1", "grader.check('q1')")
    assert view(session, "q1", "f") is None and view(session, "q1", "f2")(1) == 2


def test_a_cell_that_ends_the_process_costs_itself_only(sandboxed):
    session = sandboxed(
        "a = 1",
        "import os\nos._exit(0)",
        "b = a + 1",
        "import ctypes\nctypes.string_at(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "c = b + 1",
        limits=LIMITS,
    )
    assert [session.get(name) for name in "abc"] == [1, 2, 3]
    assert session.ran.skipped == dict.fromkeys([2, 4, 5], "ended the Python process")
    assert session.limits_hit == []


RESISTS = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"


def test_endless_cells_cost_themselves_and_are_named(sandboxed):
    limits = replace(LIMITS, cell_seconds=1)
    session = sandboxed("a = 1", "while True: pass", RESISTS, "import time\ntime.sleep(99)", "b = 2", limits=limits)
    assert [session.get(name) for name in "ab"] == [1, 2]
    assert [error[:2] for error in session.ran.errors] == [[2, "OutOfTime"], [4, "OutOfTime"]]
    assert session.ran.skipped == {3: "did not end within 1 s"}
    assert session.limits_hit == ["cell time"]


@pytest.mark.parametrize("last", ["while True: pass", RESISTS], ids=["soft", "resists"])
def test_when_the_time_for_the_notebook_is_over_what_stands_is_judged(sandboxed, last):
    limits = replace(LIMITS, cell_seconds=20, question_seconds=4, submission_seconds=10)
    session = sandboxed("def f(): return 1", last, "def g(): return 2", limits=limits)
    assert session.get("f")() == 1 and session.get("g") is None
    assert list(session.ran.skipped) == [2] and session.ran.errors == []
    said = r"was at work when the [\d.]+ s for the whole notebook were over \(the cells after it could not be run .*\)"
    assert re.fullmatch(said, session.ran.skipped[2])
    assert session.limits_hit == ["submission time"]


def test_a_notebook_that_ends_its_process_again_and_again_is_judged_up_to_there(sandboxed, monkeypatch):
    monkeypatch.setattr("autograder.grading.judging.session.RESTARTS", 2)
    ends = "import os\nos._exit(1)"
    session = sandboxed("a = 1", ends, "b = 2", ends, "c = 3", ends, "d = 4", limits=LIMITS)
    assert [session.get(name) for name in "abcd"] == [1, 2, None, None]
    assert session.ran.skipped[2] == "ended the Python process" and "after it could not" in session.ran.skipped[4]


def test_much_output_keeps_its_head_and_its_tail(sandboxed):
    session = sandboxed("print('head')\nfor n in range(20_000): print(n)", "print('tail')\nend = 1", limits=LIMITS)
    printed = session.ran.printed
    assert printed.startswith("head\n0\n1\n") and printed.endswith("19999\ntail\n")
    assert "characters left out" in printed and len(printed) < 1100 * LIMITS.output_kb
    assert session.get("end") == 1 and session.limits_hit == ["output"]


def test_a_report_that_lies_about_the_run_cannot_do_harm(sandboxed):
    """The student's code answers in the worker's place: cells that never were, endless text, limits of its own."""
    session = sandboxed(
        "import sys\n"
        "worker = next(o for o in __import__('gc').get_objects() if type(o).__name__ == 'Worker')\n"
        "lies = [[999, 'x', 'y'], [-1, 'x', 'y'], [1, 'x' * 9999, 'y' * 9999], 3]\n"
        "worker._send(['done', lies, 'z' * 99_999, True, 999])",
        limits=LIMITS,
    )
    assert session.ran.errors == [[1, "x" * 60, "y" * 300]] and session.ran.skipped == {}
    assert len(session.ran.printed) < 1100 * LIMITS.output_kb and session.limits_hit == ["output"]


def test_files_that_do_not_fit_are_named_and_the_rest_is_there(sandboxed):
    files = {"small": b"1", "large": bytes(17 << 20), "small/below": b"2", "../outside": b"3"}
    session = sandboxed("import os\nfound = sorted(os.listdir()), open('small').read()", files=files)
    assert session.get("found") == (["large", "small"], "1") and session.ran.errors == []
    assert "large could not be put beside the notebook" in session.ran.printed
    assert "small/below could not be put beside the notebook" in session.ran.printed


def test_what_runs_before_a_cell_is_not_part_of_it(sandboxed):
    session = sandboxed(
        ["seen = rng_seed\nrng_seed = 0", [], "rng_seed = 7"], ["again = rng_seed, In[-1]", [], "rng_seed = 7"]
    )
    assert session.get("seen") == 7 and session.get("again") == (7, "again = rng_seed, In[-1]")


def test_a_cell_that_takes_all_memory_costs_itself_only(sandboxed):
    session = sandboxed("a = 1", "held = []\nwhile True: held.append(bytearray(b'x' * (64 << 20)))", "b = a + 1")
    assert session.get("b") == 2 and session.limits_hit == ["memory"]
    assert session.ran.skipped == {2: "used more than 1000 MB of memory"}


def test_a_cell_that_fills_the_disk_costs_itself_only(sandboxed):
    session = sandboxed(
        "with open('big', 'wb') as stream:\n    while True: stream.write(bytes(1 << 20))",
        "import os\nos.remove('big')\nopen('small', 'w').write('fits')\nb = open('small').read()",
    )
    assert session.get("b") == "fits" and session.ran.skipped == {} and session.limits_hit == ["disk"]
    ((number, kind, text),) = session.ran.errors
    assert ((number, kind) == (1, "OSError") and "No space left" in text) or "File too large" in text


def test_a_cell_that_starts_too_many_processes_costs_itself_only(sandboxed):
    session = sandboxed(
        "import os, time\nwhile True:\n    if os.fork() == 0:\n        time.sleep(2)\n        os._exit(0)",
        "import time\ntime.sleep(3)\nb = 2",
    )
    assert session.get("b") == 2 and session.ran.skipped == {} and session.limits_hit == ["processes"]
    assert session.ran.errors[0][:2] == [1, "BlockingIOError"]


def test_too_many_open_files_are_named(sandboxed):
    session = sandboxed("held = []\nwhile True: held.append(open('/dev/null'))", "held = None\nb = 2")
    assert session.get("b") == 2 and session.ran.skipped == {}
    ((number, kind, text),) = session.ran.errors
    assert (number, kind) == (1, "OSError") and "Too many open files" in text
