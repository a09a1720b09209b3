"""Inside the sandbox: tests that need the student's live namespace (doctest format, `env`), by Otter's rules.

They run in the student's own process: contained, but neither secret nor beyond the student's reach.
"""

import contextlib
import doctest
import inspect
import sys
import types
from textwrap import dedent

from autograder.grading.inside.cells import OutOfTime
from autograder.grading.inside.shell import Printed

SHOWN = 1000  # characters of what a failing doctest printed


def run_case(source: str, number: int, student: dict) -> list:
    """[passed, message] of the test case of that number in a test file, from 0. OutOfTime passes through."""
    _install_test_files()
    try:
        space = {}
        exec(compile(source, "<test>", "exec"), space)
        with contextlib.redirect_stdout(Printed(0)), contextlib.redirect_stderr(Printed(0)):
            message = _cases(space)[number](student)
    except OutOfTime:
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {str(error)[:500]}"
    return [message is None, message or ""]


def _cases(space: dict) -> list:
    if space.get("OK_FORMAT", "test" in space):
        suite = space["test"]["suites"][0]
        return [_doctest(dedent(case["code"])) for case in suite["cases"]]
    return [_function(value.function) for value in space.values() if isinstance(value, _TestCase)]


def _doctest(source: str):
    def run(student: dict) -> str | None:
        examples = [part for part in doctest.DocTestParser().parse(source) if isinstance(part, doctest.Example)]
        out = Printed(SHOWN)
        runner = _Runner(verbose=False)
        runner.run(doctest.DocTest(examples, student, "test", None, None, source), out=out.write, clear_globs=False)
        return None if runner.failures == 0 else str(out)

    return run


class _Runner(doctest.DocTestRunner):
    """Otter's rules, but a case whose time is up ends there."""

    def report_unexpected_exception(self, out, test, example, exc_info):
        if exc_info[0] is OutOfTime:
            raise exc_info[1]
        super().report_unexpected_exception(out, test, example, exc_info)


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
