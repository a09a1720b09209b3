"""Hostile submissions, graded in one batch beside honest ones: no points, no hidden text, nothing lost or left."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from autograder.course import Limits
from autograder.grading.batch import grade_folder

# Three questions with public and hidden cases; 8675309 and the marks stand only in hidden ones.
TESTS = {
    "q1": (
        4,
        """
@test_case(points=1, hidden=False, failure_message="mean gives one row.")
def test_public(mean):
    import torch
    from autograder.testing import close
    assert close(mean(torch.ones(2, 3)), torch.ones(3))

@test_case(points=3, hidden=True, failure_message="mean averages.")
def test_hidden(mean):
    import torch
    from autograder.testing import close, rng
    hidden_mark_one = torch.randn(5, 3, generator=rng("mean"), dtype=torch.float64) + 8675309.0
    got = mean(hidden_mark_one)
    assert close(got, hidden_mark_one.sum(0) / 5, rtol=1e-9)
""",
    ),
    "q2": (
        2,
        """
@test_case(points=0, hidden=False)
def test_loss_is_there(loss):
    assert callable(loss)

@test_case(points=2, hidden=True, failure_message="The gradient is twice w.")
def test_gradient(loss):
    import torch
    from autograder.testing import close, probe, rng

    @probe
    def slope(w):
        w = w.clone().requires_grad_()
        loss(w).backward()
        return w.grad

    hidden_mark_two = torch.randn(4, generator=rng("loss"))
    got = slope(hidden_mark_two)
    assert close(got, 2 * hidden_mark_two)
""",
    ),
    "q3": (
        1,
        """
@test_case(hidden=True, failure_message="The answer is the number of seasons.")
def test_answer(answer):
    hidden_mark_three = 4
    assert answer == hidden_mark_three
""",
    ),
}
HIDDEN = ("hidden_mark", "8675309", "867530", "rng(", "test_case", "AUTOGRADER_SECRET", "a secret of the tests")

HONEST = ["import torch", "def mean(x):\n    return x.mean(0)", "def loss(w):\n    return (w ** 2).sum()", "answer = 4"]
WRONG = ["import torch", "def mean(x):\n    return x[0]", "def loss(w):\n    return w.sum()", "answer = 5"]


def wrong_and(*cells: str) -> list[str]:
    """The wrong answers, then the attack."""
    return [*WRONG, *(dedent(cell) for cell in cells)]


def tell(attack: str) -> list[str]:
    """A cell that tells what it `found` by the only way to the student's eyes: an error's text."""
    return wrong_and(dedent(attack) + "\nraise RuntimeError('FOUND ' + repr(found))")


SECRECY = {
    "reads_files": tell("""
        import glob, os
        found = []
        for root in ("/work", "/tmp", "/home", "/root", "/runtime/course", "/proc/1/root", "/proc/self/cwd/.."):
            for name in ("/**/q1.py", "/**/*autograder*.zip", "/**/secret", "/**/solutions/**", "/**/course.toml"):
                for path in glob.glob(root + name, recursive=True):
                    if os.path.isfile(path):
                        found.append(open(path, "rb").read().decode("latin-1"))
        """),
    "reads_proc": tell("""
        import glob
        found = []
        for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
            try:
                found.append(open(path).read())
            except OSError:
                pass
        found = [text for text in found if "autograder-" in text or "SECRET" in text or "/main" in text]
        """),
    "reads_frames": wrong_and("""
        import sys, gc
        def mean(x):
            frame, found = sys._getframe(), []
            while frame:
                found.append(repr(frame.f_locals)[:3000])
                frame = frame.f_back
            found += [o for o in gc.get_objects() if isinstance(o, str) and "hidden_mark" in o]
            raise ValueError("FOUND " + " ".join(found))
        """),
    "repeats_its_inputs": wrong_and("""
        seen = []
        def mean(x):
            seen.append(x.tolist())
            print(seen)
            raise ValueError(f"FOUND {seen}")
        def loss(w):
            raise ValueError(f"FOUND {seen} {w}")
        """),
    "prints_to_every_descriptor": wrong_and("""
        import os
        def mean(x):
            for fd in range(64):
                try:
                    os.write(fd, repr(x).encode())
                except OSError:
                    pass
            return x[0]
        """),
    "imports_the_grader": tell("""
        found = []
        for name in ("autograder.grading.judge", "autograder.grading.secret", "autograder.author", "otter.test_files"):
            try:
                found.append(vars(__import__(name, fromlist=["x"])))
            except Exception:
                pass
        from autograder.testing import judging
        found = [f for f in found if f] + [judging.get()]
        """),
}

FORGING = {
    "always_equal": wrong_and("""
        class Equal:
            __hash__ = None
            def __eq__(self, other): return True
            def __le__(self, other): return True
            def __bool__(self): return True
            def __len__(self): return 3
            def __getattr__(self, name): return Equal()
            def __call__(self, *arguments): return Equal()
        answer = Equal()
        def mean(x): return Equal()
        def loss(w): return Equal()
        """),
    "equal_int": wrong_and("""
        class One(int):
            __hash__ = None
            def __eq__(self, other): return True
        answer = One(1)
        """),
    "lying_tensor": wrong_and("""
        class T(torch.Tensor):
            @classmethod
            def __torch_function__(cls, f, types, args=(), kwargs=None): return torch.tensor(True)
            def __eq__(self, other): return torch.tensor(True)
        def mean(x): return torch.ones(3).as_subclass(T) if x.shape[0] == 5 else torch.ones(3)
        """),
    "not_a_number": wrong_and("""
        def mean(x): return torch.full((3,), float("nan"))
        def loss(w): return w.sum() * float("nan")
        """),
    "patched_libraries": wrong_and("""
        import builtins, torch.testing
        for name in ("allclose", "equal", "isclose", "all", "isfinite"):
            setattr(torch, name, lambda *a, **k: torch.tensor(True))
        torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda self, other: torch.tensor(True)
        torch.testing.assert_close = lambda *a, **k: None
        builtins.AssertionError = type("X", (BaseException,), {})
        builtins.all = lambda *a: True
        builtins.float = builtins.int
        """),
    "zeroes_its_input": wrong_and("""
        def mean(x):
            x.zero_()
            return torch.zeros(x.shape[1:])
        """),
    "fakes_the_worker": wrong_and("""
        import gc
        for o in gc.get_objects():
            if type(o).__name__ == "Worker":
                o.do_call = lambda *a: ["value", True, []]
                o.do_name = lambda q, n: ["value", True]
                type(o).do_call = lambda *a: ["value", True, []]
        """),
    "answers_before_it_is_asked": wrong_and("""
        import gc
        from autograder.grading.frames import write_frame
        from autograder.grading.wire import encode
        for o in gc.get_objects():
            if type(o).__name__ == "Worker":
                for n in range(50):
                    write_frame(o.connection, encode(["value", True, []]))
        """),
    "claims_points": wrong_and("""
        score = 100
        results = {"q1": 4}
        grader = type("G", (), {"check": lambda *a: 100})()
        """),
    "guesses_handles": wrong_and("""
        import os
        from autograder.grading.wire import Handle
        answer = [Handle(os.urandom(16), "instance", "x")]
        def mean(x): return Handle(bytes(16), "function", "mean")
        """),
}

DAMAGE = {
    "leaves": wrong_and("""
        import os
        def mean(x): os._exit(0)
        def loss(w): os.abort()
        """),
    "raises_system_exit": wrong_and(
        """
        import sys
        def mean(x): sys.exit(0)
        def loss(w): raise KeyboardInterrupt
        """,
        "sys.exit(0)",
    ),
    "kills": wrong_and("""
        import os
        for pid in (1, -1, 0, os.getppid()):
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        """),
    "garbage_on_the_wire": wrong_and("""
        import os, struct
        def mean(x):
            for fd in range(3, 32):
                try:
                    os.write(fd, struct.pack(">Q", 1 << 62) + b"x" * 100)
                except OSError:
                    pass
            return x[0]
        """),
    "never_ends": wrong_and("""
        def mean(x):
            while True: pass
        """),
    "never_ends_and_resists": wrong_and("""
        import signal
        def mean(x):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            while True: pass
        """),
    "never_ends_in_a_cell": [*WRONG[:2], "while True: pass", *WRONG[2:]],
    "takes_memory": wrong_and("""
        def mean(x):
            held = []
            while True: held.append(bytearray(b"x" * (64 << 20)))
        """),
    "fills_the_disk": wrong_and("""
        for folder in ("/work", "/tmp", "/dev/shm", "/home/student", "/", "/usr", "/runtime/course"):
            try:
                with open(folder + "/big", "wb") as f:
                    for n in range(400): f.write(bytes(1 << 20))
            except OSError:
                pass
        """),
    "forks": wrong_and("""
        import os
        for n in range(300):
            try:
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", "7531.1"])
            except OSError:
                break
        """),
    "prints_without_end": wrong_and('for n in range(30_000): print("x" * 1000)'),
    "answers_too_deep": wrong_and("""
        deep = []
        for n in range(100_000): deep = [deep]
        cycle = []
        cycle.append(cycle)
        answer = deep
        def mean(x): return cycle
        def loss(w): return list(range(2_000_000))
        """),
    "speaks_to_the_network": tell("""
        import socket
        found = []
        for address in (("1.1.1.1", 53), ("127.0.0.1", 22)):
            try:
                socket.create_connection(address, 1)
                found.append(address)
            except OSError:
                pass
        """),
    "terminal_escapes": wrong_and(r'raise RuntimeError("\x1b[2J=HYPERLINK(1)\n<script>alert(1)</script>")'),
}

LIMITS = Limits(cell_seconds=20, question_seconds=8, submission_seconds=240, memory_mb=1500, file_mb=64)
EVERY = {**SECRECY, **FORGING, **DAMAGE}

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@pytest.fixture(scope="module")
def graded(tmp_path_factory, make_zip, as_notebook):
    """(records by name, output folder) of every hostile submission, an honest and a wrong one."""
    folder = tmp_path_factory.mktemp("hostile")
    bundle = make_zip(folder / "toy-autograder.zip", TESTS)
    (folder / "submissions").mkdir()
    for name, cells in {**EVERY, "honest": HONEST, "wrong": WRONG}.items():
        (folder / "submissions" / f"{name}.ipynb").write_text(json.dumps(as_notebook(*cells)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGRADER_SECRET", "a secret of the tests")
        batch = grade_folder(bundle, folder / "submissions", folder / "out", jobs=2, limits=LIMITS, quiet=True)
    return {result["submission"]: result for result in batch.results}, folder / "out"


def test_every_submission_has_a_result_and_none_is_blamed_on_the_machine(graded):
    results, out = graded
    assert set(results) == {*EVERY, "honest", "wrong"}
    assert {path.stem for path in (out / "results").glob("*.json")} == set(results)
    assert [name for name, result in results.items() if result["fault"] == "infrastructure"] == []


def test_the_honest_keep_their_points(graded):
    results, _ = graded
    assert results["honest"]["score"] == results["honest"]["possible"] == 7
    assert results["honest"]["reason"] is None and results["wrong"]["score"] == 1


@pytest.mark.parametrize("name", EVERY)
def test_no_undeserved_point(graded, name):
    result = graded[0][name]
    hidden = [case for question in result["questions"] for case in question["cases"] if case["hidden"]]
    assert [case["name"] for case in hidden if case["passed"]] == []
    assert result["score"] <= 1, "at most the public case's point, which is there for the taking"


@pytest.mark.parametrize("name", EVERY)
def test_no_hidden_text_reaches_a_student(graded, name):
    text = json.dumps(graded[0][name])
    assert [mark for mark in HIDDEN if mark in text] == []


@pytest.mark.parametrize("name", [*SECRECY, "speaks_to_the_network"])
def test_nothing_was_there_to_be_found(graded, name):
    """What a cell found stands in its error: an empty list, or for calls on hidden inputs nothing at all."""
    reason = graded[0][name]["reason"] or ""
    if "FOUND" in reason:
        assert "FOUND []" in reason or "FOUND [None]" in reason


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leaves", "ended the Python process"),
        ("garbage_on_the_wire", "cannot be read"),
        ("never_ends", "longer than 8 s"),
        ("never_ends_and_resists", "longer than 8 s"),
        ("takes_memory", "memory"),
    ],
)
def test_the_student_is_told_which_limit_was_hit(graded, name, said):
    cases = [case for question in graded[0][name]["questions"] for case in question["cases"]]
    assert any(said in case["message"] for case in cases)


def test_a_cell_that_never_ends_is_named(graded):
    assert "“while True: pass” was stopped after 20 s" in graded[0]["never_ends_in_a_cell"]["reason"]


def test_no_process_is_left(graded):
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"7531.1" in line or b"autograder.grading.worker" in line:
            left.append(line)
    assert left == []


def test_reports_hold_no_control_characters(graded):
    _, out = graded
    assert "\x1b" not in (out / "summary.csv").read_text()
    assert "\x1b" not in (out / "results" / "terminal_escapes.json").read_text()
    assert "\x1b" not in (out / "logs" / "terminal_escapes.txt").read_text()
