"""Forging: points without the right answer, by whatever the student's code can replace, return, guess or hand in."""

from assignment import WRONG, notebook, weights
from attack import of_zip, with_weights, wrong_and

# Code that finds the worker: it shares the student's process.
WORKER = "import gc\nworker = next(o for o in gc.get_objects() if type(o).__name__ == 'Worker')\n"
FORGED_TEST = """
from otter.test_files import test_case
OK_FORMAT = False
name, points = "q1", 4
@test_case(points=4)
def test_public(): pass
"""

ATTACKS = [
    wrong_and(
        "patches_libraries",
        """
        import numpy, torch.testing
        for name in ("allclose", "equal", "isclose", "all", "isfinite", "finfo"):
            setattr(torch, name, lambda *a, **k: torch.tensor(True))
        torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda self, other: torch.tensor(True)
        torch.Tensor.backward = lambda self, *a, **k: None
        torch.testing.assert_close = numpy.testing.assert_allclose = lambda *a, **k: None
        """,
    ),
    wrong_and(
        "patches_builtins",
        """
        import builtins
        builtins.AssertionError = type("X", (BaseException,), {})
        builtins.all = builtins.isinstance = builtins.callable = lambda *a: True
        builtins.float = builtins.len = builtins.int
        """,
    ),
    wrong_and(
        "is_always_equal",
        """
        class Equal:
            __hash__ = None
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __le__(self, other): return True
            __lt__ = __ge__ = __gt__ = __contains__ = __le__
            def __bool__(self): return True
            def __len__(self): return 3
            def __float__(self): return 1.0
            def __getattr__(self, name): return Equal()
            def __getitem__(self, key): return Equal()
            def __iter__(self): return iter([])
            def __call__(self, *arguments): return Equal()
            def __radd__(self, other): return self
        answer = mean = loss = classify = squares = twice = Equal()
        """,
    ),
    wrong_and(
        "is_an_equal_number",
        """
        class Equal(int):
            __hash__ = None
            def __eq__(self, other): return True
        class EqualList(list):
            def __eq__(self, other): return True
        answer = Equal(1)
        def squares(n): return EqualList()
        def twice(f, x): return Equal(f(f(x)) - 1)
        """,
    ),
    wrong_and(
        "lies_about_a_tensor",
        """
        class T(torch.Tensor):
            @classmethod
            def __torch_function__(cls, f, types, args=(), kwargs=None): return torch.tensor(True)
            shape = property(lambda self: torch.Size([3]))
            dtype = property(lambda self: torch.float64)
            def __eq__(self, other): return torch.tensor(True)
        def mean(x): return torch.ones(3) if x.shape[0] == 2 else torch.ones(7, 2).as_subclass(T)
        def classify(*episodes): return torch.ones(1).as_subclass(T)
        """,
    ),
    wrong_and(
        "answers_not_a_number",
        """
        import math
        def mean(x): return torch.full((3,), math.nan, dtype=x.dtype)
        def loss(w): return w.sum() * math.nan
        answer = math.nan
        def squares(n): return [math.nan] * n
        def twice(f, x): return f(f(x)) * math.inf
        """,
    ),
    wrong_and(
        "makes_its_input_match",
        """
        def mean(x):
            x.zero_()
            return torch.zeros(x.shape[1:], dtype=x.dtype)
        def classify(support_x, support_y, query_x):
            for t in (support_x, support_y, query_x): t.zero_()
            return torch.zeros(query_x.shape[:2], dtype=torch.int64)
        """,
    ),
    wrong_and(
        "patches_otter",
        """
        from otter.test_files.exception_test import ExceptionTestFile, TestCaseResult
        def run(self, names):
            self.test_case_results = [TestCaseResult(case, "", True) for case in self.test_cases]
        ExceptionTestFile.run = run
        """,
    ),
    wrong_and(
        "patches_the_worker",
        WORKER
        + """
for name in ("do_call", "do_name", "do_next", "do_iterate", "do_item", "do_attribute"):
    setattr(type(worker), name, lambda *a: ["value", True, []])
""",
    ),
    wrong_and(
        "answers_before_it_is_asked",
        WORKER
        + """
from autograder.grading.protocol.frames import write_frame
from autograder.grading.protocol.wire import encode
for n in range(50):
    write_frame(worker.connection, encode(["value", True, []]))
""",
    ),
    wrong_and(
        "claims_to_have_passed",
        WORKER
        + """
from autograder.grading.protocol.frames import write_frame
from autograder.grading.protocol.wire import encode
for claim in (["done", [], ""], ["passed", 13], ["value", {"q1": 4, "score": 13}, []], ["graded", 13.0]):
    write_frame(worker.connection, encode(claim))
""",
    ),
    wrong_and(
        "writes_results",
        """
        import json, os, pickle
        score, results = 13, {"q1": {"score": 4}}
        for folder in (".", "results", "/tmp", "/home/student"):
            os.makedirs(folder, exist_ok=True)
            for name in ("results.json", "result.json", ".OTTER_LOG", "toy.json"):
                json.dump({"score": 13, "tests": [], "q1": 4}, open(f"{folder}/{name}", "w"))
            pickle.dump(results, open(f"{folder}/results.pkl", "wb"))
        grader = type("G", (), {"check": lambda *a: 13, "results": results})()
        """,
    ),
    wrong_and(
        "replaces_the_tests",
        f"""
        import os, sys, types
        os.makedirs("tests", exist_ok=True)
        for n in range(1, 8):
            open(f"tests/q{{n}}.py", "w").write({FORGED_TEST!r})
        otter = types.ModuleType("otter.test_files")
        otter.test_case = lambda **options: lambda test: (lambda **names: None)
        sys.modules["otter.test_files"] = otter
        """,
    ),
    of_zip(
        "hands_in_tests",
        {
            "toy.ipynb": notebook(
                WRONG, {"otter": {"assignment_name": "toy", "tests": {"q1": {"points": 13, "suites": []}}}}
            ),
            **{f"{folder}q{n}.py": FORGED_TEST for n in range(1, 8) for folder in ("tests/", "files/tests/", "")},
            "otter_config.json": '{"show_hidden": true, "points_possible": 13, "plugins": ["os"]}',
            "otter.py": "raise SystemExit",
            "autograder/testing.py": "close = lambda *a, **k: True",
        },
    ),
    wrong_and(
        "raises_what_a_test_expects",
        """
        def mean(x): raise StopIteration
        def loss(w): raise type("Passed", (Exception,), {"__str__": lambda self: "✅ Test case passed"})
        def squares(n):
            raise GeneratorExit
            yield
        def twice(f, x): raise SystemExit(0)
        def classify(*episodes): raise AssertionError
        """,
    ),
    wrong_and(
        "guesses_handles",
        """
        import os
        from autograder.grading.protocol.wire import Handle
        answer = Handle(os.urandom(16), "instance", "x")
        def mean(x): return Handle(bytes(16), "function", "mean")
        def squares(n): return [Handle(bytes([k % 256]) * 16, "generator", "x") for k in range(n)]
        def twice(f, x): return f(f(Handle(b"x" * 16, "module", "x")))
        """,
    ),
    wrong_and(
        "gives_a_handle_again",
        """
        import os
        numbers = []
        real = os.urandom
        def urandom(size):
            numbers.append(real(size))
            return numbers[0] if size == len(numbers[0]) else numbers[-1]
        os.urandom = urandom
        class Thing: pass
        def mean(x): return [Thing(), Thing()]
        def squares(n):
            while True: yield Thing()
        """,
    ),
    wrong_and(
        "remembers_answers",
        """
        known = {}
        def once(f):
            def remembered(*arguments):
                return known.setdefault(f.__name__, f(*arguments))
            return remembered
        mean = once(lambda x: torch.ones(3))
        loss = once(lambda w: (w.detach() ** 2).sum() + 0 * w.sum())
        """,
    ),
    wrong_and(
        "draws_the_tests_inputs_itself",
        """
        from autograder.testing import hidden_tasks, rng
        def mean(x):
            guessed = torch.randn(5, 3, generator=rng("mean"), dtype=torch.float64) + 8675309.0
            return guessed.mean(0) if x.shape[0] == 5 else torch.ones(3)
        def squares(n): return [k * k for k in range(20 + int(torch.randint(0, 200, (), generator=rng("squares"))))]
        def classify(*episodes): return hidden_tasks(2, 10, 10, tasks=40, alphabets=2).query_y
        """,
    ),
    wrong_and(
        "answers_in_the_usual_order",
        """
        def classify(support_x, support_y, query_x):
            return torch.arange(2).repeat_interleave(query_x.shape[1] // 2).expand(query_x.shape[:2])
        """,
    ),
    wrong_and(
        "looks_labels_up",
        """
        from autograder.testing import hidden_tasks
        import kshot
        images = kshot.data.glyphs()
        images = torch.cat([part.flatten(0, -3).float() for part in images]) if isinstance(images, tuple) else images
        known = {}
        for seed in range(3):
            episodes = hidden_tasks(2, 10, 10, tasks=40, alphabets=2, name=f"seen {seed}")
            for x, y in zip(episodes.query_x.flatten(0, 1), episodes.query_y.flatten()):
                known[hash(x.numpy().tobytes())] = int(y)
        def classify(support_x, support_y, query_x):
            flat = query_x.flatten(0, 1)
            found = [known.get(hash(x.numpy().tobytes()), 0) for x in flat]
            return torch.tensor(found).reshape(query_x.shape[:2])
        """,
    ),
    wrong_and(
        "calls_the_tests_function_its_own_way",
        """
        def twice(f, x):
            f.__globals__, f.__closure__
            return f(f(x))
        """,
        """
        import itertools
        def twice(f, x):
            for k in itertools.count():
                try:
                    f("x" * k, [], x=x)
                except Exception as error:
                    said = error
                    break
            return [f, f(x), said]
        """,
    ),
    with_weights("hands_in_other_weights", weights((1.0, 1.0, 0.0))),
    with_weights("hands_in_weights_that_are_not_numbers", weights((float("nan"), float("inf"), 1.0))),
    wrong_and(
        "makes_a_checkpoint_while_it_runs",
        """
        from safetensors.torch import save_file
        for folder in ("/work", "/tmp", "/home/student"):
            save_file({"weight": torch.ones(1, 3)}, folder + "/toy.safetensors")
        """,
    ),
    wrong_and(
        "hands_in_the_courses_checkpoint",
        """
        import shutil
        from kshot import checkpoint
        shutil.copy(checkpoint.shipped("protonet_glyphs"), "toy.safetensors")
        """,
    ),
    # Points for a copied file are points: what shows it is the report, which names submissions with the same weights.
    # A copied file is worth its points: what tells on it is the report, which names submissions of the same weights.
    *(
        with_weights(f"{who}_copies_a_checkpoint", weights((1.0, 1.0, 1.00001)), points=(2, 2))
        for who in ("one", "two")
    ),
]
