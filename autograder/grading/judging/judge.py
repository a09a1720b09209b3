"""Runs the test cases of a bundle against a session and gives points by Otter's rules; hidden cases stay hidden.

The hidden cases of all questions run last: whatever a student reads, the student's code said before it met one.
"""

import re
from dataclasses import dataclass

from otter.test_files.abstract_test import TestCaseResult

from autograder.grading.judging.session import Session, Stopped
from autograder.grading.submissions.bundle import Bundle

LONGEST_MESSAGE = 600
LONGEST_LOG = 4000
# What torch says where a test expects a graph across the wire, and what to write instead.
PROBE = "The graph stays in the student's process: take gradients, and make and step optimisers, in a probe."
ADVICE = {
    "does not require grad": PROBE,
    "not to have been used in the graph": PROBE,
    "can't optimize a non-leaf Tensor": PROBE,
    "Only Tensors created explicitly by the user": "Copy a tensor with .detach().clone().",
}
ERROR = re.compile(r"Error at line \d+ in test [^\n]*:\n(?P<line>[^\n]*)\n(?P<kind>\w+): ?(?P<text>.*)", re.DOTALL)


@dataclass
class Verdict:
    """One case's outcome: what the student reads, and what only the instructor does."""

    passed: bool
    message: str = ""
    private: str = ""


class Environment:
    """All that Otter's test cases see of the student's namespace."""

    def __init__(self, session: Session):
        self.session, self.missing = session, []

    def get(self, name: str, default=None):
        """The student's `name`: plain data or a proxy."""
        found = self.session.get(name, self)
        if found is self:
            self.missing.append(name)
            return default
        return found


def judge(session: Session, bundle: Bundle) -> tuple[list[dict], list[str]]:
    """Judge every case. Returns the questions of the result record, and lines for the instructor's log."""
    files = [(test, test.load()) for test in bundle.tests]
    cases = [(test, file, number) for test, file in files for number in range(len(file.test_cases))]
    cases.sort(key=_turn)
    verdicts = {(test.name, number): _judge_case(session, test, file, number) for test, file, number in cases}
    questions, log = [], []
    for test, file in files:
        outcomes = [verdicts[test.name, number] for number in range(len(file.test_cases))]
        file.test_case_results = [
            TestCaseResult(test_case=case, message="", passed=outcome.passed)
            for case, outcome in zip(file.test_cases, outcomes)
        ]
        cases = [
            {"name": case.name, "hidden": bool(case.hidden), "passed": outcome.passed, "message": outcome.message}
            for case, outcome in zip(file.test_cases, outcomes)
        ]
        possible = float(file.possible)
        score = float(file.score) if possible else 0.0
        questions.append({"name": file.name, "score": round(score, 6), "possible": round(possible, 6), "cases": cases})
        log += [
            f"{case.name}: {outcome.private}" for case, outcome in zip(file.test_cases, outcomes) if outcome.private
        ]
    return questions, log


def _turn(entry: tuple) -> int:
    """When a case is judged: what runs beside the student's code is no secret and comes first, hidden ones last."""
    test, file, number = entry
    if not test.split:
        return 0
    return 2 if file.test_cases[number].hidden else 1


def _judge_case(session: Session, test, file, number: int) -> Verdict:
    case = file.test_cases[number]
    session.begin(test.name)
    try:
        verdict = (_judge_outside if test.split else _judge_inside)(session, test, file, number)
        if session.stopped:  # and the test went on as if nothing had happened
            raise Stopped(session.stopped)
    except Stopped as stop:
        verdict = Verdict(False, _told(case, str(stop), safe=True), str(stop))
    finally:
        session.end()
    verdict.private = verdict.private[:LONGEST_LOG]
    return verdict


def _judge_outside(session: Session, test, file, number: int) -> Verdict:
    """One case, with Otter's own `run`."""
    case, every = file.test_cases[number], file.test_cases
    names = Environment(session)
    file.test_cases = [case]
    try:
        file.run(names)
    finally:
        file.test_cases = every
    result = file.test_case_results[0]
    if result.passed:
        return Verdict(True, _praise(case))
    told = _plain(result.message, bool(case.failure_message))
    if names.missing:
        told = f"Your notebook does not define {' or '.join(names.missing)}."
    private = result.message.removeprefix("❌ Test case failed\n")
    private += "".join(f" {advice}" for sign, advice in ADVICE.items() if sign in private)
    return Verdict(False, _told(case, told, safe=not case.hidden), private)


def _judge_inside(session: Session, test, file, number: int) -> Verdict:
    """One case that needs the student's live namespace, in the sandbox; the verdict is the sandbox's."""
    case = file.test_cases[number]
    try:
        answer = session.case.shared(test.source, number)
    except Exception as error:
        answer = [False, f"{type(error).__name__}: {error}"]
    match answer:
        case [True, str()]:
            return Verdict(True, _praise(case))
        case [False, str(detail)]:
            return Verdict(False, _told(case, detail, safe=not case.hidden), detail)
    return Verdict(False, "This test was not run.")


def _plain(message: str, explained: bool) -> str:
    """What Otter says of a failed case: an AssertionError's sentence, else the error; the line only if unexplained."""
    match = ERROR.search(message)
    if match is None:
        return message
    line, kind, text = match["line"].strip(), match["kind"], match["text"].strip()
    if kind == "AssertionError":
        return text or ("" if explained else f"This does not hold: {line.removeprefix('assert ')}")
    return f"{kind}: {text}"


def _praise(case) -> str:
    return case.success_message or ""


def _told(case, detail: str, safe: bool) -> str:
    """What a student reads of a failed case: the author's message, and `detail` only where it can reveal nothing."""
    said = case.failure_message or ("A hidden test did not pass." if case.hidden else "")
    if safe:
        detail = detail.strip()
        if len(detail) > LONGEST_MESSAGE:
            detail = detail[:LONGEST_MESSAGE] + " …"
        said = f"{said}\n{detail}".strip() if detail not in said else said
    return said
