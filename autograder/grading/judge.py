"""Runs the test cases of a bundle against a session and gives points by Otter's rules; hidden cases stay hidden.

Public cases of all questions run first: whatever the student's code says then cannot repeat a hidden test's input.
"""

import re
from dataclasses import dataclass

from otter.test_files.abstract_test import TestCaseResult

from autograder.grading.bundle import Bundle
from autograder.grading.session import Session, Stopped

LONGEST_MESSAGE = 600
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
    verdicts: dict[tuple[str, int], Verdict] = {}
    for hidden in (False, True):
        for test, file in files:
            if test.split:
                for number, case in enumerate(file.test_cases):
                    if bool(case.hidden) is hidden:
                        verdicts[test.name, number] = _judge_case(session, test.name, file, case)
    for test, file in files:
        if not test.split:
            for number, verdict in enumerate(_judge_inside(session, test, file)):
                verdicts[test.name, number] = verdict
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


def _judge_case(session: Session, question: str, file, case) -> Verdict:
    """One case outside, with Otter's own `run`."""
    every, file.test_cases = file.test_cases, [case]
    names = Environment(session)
    try:
        session.begin(question)
        file.run(names)
        session.end()
    except Stopped as stop:
        return Verdict(False, _told(case, str(stop), safe=True), str(stop))
    finally:
        file.test_cases = every
    result = file.test_case_results[0]
    if result.passed:
        return Verdict(True, _praise(case))
    told = _plain(result.message, bool(case.failure_message))
    if names.missing:
        told = f"Your notebook does not define {' or '.join(names.missing)}."
    return Verdict(False, _told(case, told, safe=not case.hidden), result.message.removeprefix("❌ Test case failed\n"))


def _judge_inside(session: Session, test, file) -> list[Verdict]:
    """All cases of a file that needs the student's live namespace, in the sandbox; the verdicts are the sandbox's."""
    try:
        session.begin(test.name)
        answers = session.shared(test.source, test.name)
        session.end()
    except Stopped as stop:
        return [Verdict(False, _told(case, str(stop), safe=True), str(stop)) for case in file.test_cases]
    except Exception as error:
        answers = [[False, f"{type(error).__name__}: {error}"]] * len(file.test_cases)
    verdicts = []
    for case, answer in zip(file.test_cases, answers if type(answers) is list else []):
        match answer:
            case [True, str()]:
                verdicts.append(Verdict(True, _praise(case)))
            case [False, str(detail)]:
                verdicts.append(Verdict(False, _told(case, detail, safe=not case.hidden), detail))
            case _:
                break
    return verdicts + [Verdict(False, "This test was not run.")] * (len(file.test_cases) - len(verdicts))


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
