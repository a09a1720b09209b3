"""Inside the sandbox: tests that need the student's live namespace (doctest format, `env`), by Otter's rules.

They run in the student's own process: contained, but neither secret nor beyond the student's reach.
"""

import contextlib
import doctest
import inspect
import io
import sys
import types
from textwrap import dedent

from autograder.grading.cells import OutOfTime, time_limit


def run_question(source: str, question: str, namespace, seconds: float) -> list:
    """[passed, message] of each test case of one test file, in the file's order."""
    _install_test_files()
    space = {}
    exec(compile(source, "<test>", "exec"), space)
    student = namespace(question)
    results = []
    for case in _cases(space):
        try:
            with time_limit(seconds), contextlib.redirect_stdout(io.StringIO()):
                message = case(student)
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {str(error)[:500]}"
        except OutOfTime:
            message = "It ran out of time."
        results.append([message is None, message or ""])
    return results


def _cases(space: dict) -> list:
    if space.get("OK_FORMAT", "test" in space):
        suite = space["test"]["suites"][0]
        return [_doctest(dedent(case["code"])) for case in suite["cases"]]
    return [_function(value.function) for value in space.values() if isinstance(value, _TestCase)]


def _doctest(source: str):
    def run(student: dict) -> str | None:
        examples = [part for part in doctest.DocTestParser().parse(source) if isinstance(part, doctest.Example)]
        out = io.StringIO()
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(doctest.DocTest(examples, student, "test", None, None, source), out=out.write, clear_globs=False)
        return None if runner.failures == 0 else out.getvalue()[:1000]

    return run


def _function(function):
    def run(student: dict) -> None:
        names = inspect.signature(function).parameters
        function(**{name: student if name == "env" else student.get(name) for name in names})

    return run


class _TestCase:
    def __init__(self, *args, **kwargs):
        self.function = None

    def __call__(self, function):
        self.function = function
        return self


def _install_test_files() -> None:
    module = types.ModuleType("otter.test_files")
    module.test_case = _TestCase
    sys.modules["otter.test_files"] = module
