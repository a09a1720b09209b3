"""What one student is told: the score, every public case, hints of hidden ones, and what to do next; nothing else."""

import re
from dataclasses import dataclass

from autograder.report.read import ASIDE, FAILED, GRADED, Question, Record
from autograder.report.text import count

NOTE = "This is the last submission and counts"  # how the grader's note on earlier submissions begins
NEXT = re.compile(rf" (?=The cell that begins “|\d+ more cells? did|{NOTE})")  # where its next sentence starts
NO_HINT = "A hidden test did not pass."
LIMITS = {  # what to look for, by the grader's name of the limit
    "cell time": "A cell ran longer than allowed. Look for a loop that never ends, or for far more work than asked.",
    "question time": "In one question your code took longer than allowed. Look for a loop that never ends, and for "
    "loops that one operation on whole tensors can replace.",
    "submission time": "The notebook as a whole took longer than allowed. Find its slowest cell and shorten it.",
    "memory": "Your code needed more memory than allowed. Look for a list or tensor that grows, and for shapes that "
    "broadcast to something far larger than meant.",
    "processes": "Your code started more processes or threads than allowed. Start none, or only a few.",
    "disk": "Your code wrote more to files than allowed. Write less, or delete what is no longer needed.",
    "output": "Your code printed more than allowed, and the middle of it was dropped. Remove prints from inner loops.",
}


@dataclass(frozen=True)
class ShownCase:
    """A case as the student sees it. A hidden one has no name, and a message only where it did not pass."""

    label: str
    hidden: bool
    passed: bool
    message: str


@dataclass(frozen=True)
class ShownQuestion:
    """A question as the student sees it."""

    name: str
    score: float
    possible: float
    cases: tuple[ShownCase, ...]

    @property
    def passed(self) -> int:
        return sum(case.passed for case in self.cases)


@dataclass(frozen=True)
class Step:
    """Something to do: a sentence, and perhaps a line of code to run."""

    say: str
    run: str = ""


def shown_questions(record: Record) -> list[ShownQuestion]:
    """The questions with their cases, public ones first."""
    found = []
    for question in record.questions:
        public = [ShownCase(case.name, False, case.passed, case.message) for case in question.cases if not case.hidden]
        hidden = [case for case in question.cases if case.hidden]
        told = [
            ShownCase(f"Hidden test {number} of {len(hidden)}", True, case.passed, _hint(case))
            for number, case in enumerate(hidden, 1)
        ]
        found.append(ShownQuestion(question.name, question.score, question.possible, (*public, *told)))
    return found


def _hint(case) -> str:
    return "" if case.passed else case.message or NO_HINT


def headline(record: Record) -> str:
    """The first sentence of the page."""
    if record.state == ASIDE:
        return "Not graded yet: the grading machine failed, not you."
    if record.state == FAILED:
        return "This could not be graded yet. It can be mended."
    if record.state != GRADED:
        return "A later submission of yours counts instead of this one."
    if record.possible and record.score >= record.possible:
        return "Full marks. Everything that was tested is right."
    if record.possible and record.score >= record.possible / 2:
        return "A good part of it is right. Here is what is left."
    return "There is work left, and the tests say where to start."


def what_happened(record: Record) -> tuple[list[str], list[str]]:
    """The reason in pieces: (one for each cell that it speaks of, notes on earlier submissions)."""
    pieces = [piece.strip() for piece in NEXT.split(record.reason) if piece.strip()]
    notes = [piece for piece in pieces if piece.startswith(NOTE)]
    return [piece for piece in pieces if piece not in notes], notes


def next_steps(record: Record) -> list[Step]:
    """What to do, in the order in which it helps."""
    if record.state == ASIDE:
        return [Step("You need not do anything: your submission is kept and will be graded again.")]
    if record.state == FAILED:
        return [Step("Read the reason below, mend it, and hand the notebook in again.")]
    if record.state != GRADED:
        return [Step("You need not do anything: see the feedback for your last submission.")]
    if all(question.score >= question.possible for question in record.questions):
        return []
    return [*_notebook(record), *_public(record), *_hidden(record)]


def _notebook(record: Record) -> list[Step]:
    """What ended early, which may be why tests fail."""
    steps = []
    if what_happened(record)[0]:
        steps.append(
            Step(
                "Restart the kernel and run all cells in order. Mend the first cell that stops: what follows it may "
                "fail for that reason alone. What stopped here stands below, under “While your notebook ran”."
            )
        )
    return steps + [
        Step(LIMITS.get(limit, f"Your code met a limit of the grader: {limit}.")) for limit in record.limits
    ]


def _public(record: Record) -> list[Step]:
    """The first question with failing public tests, then the others by name."""
    found = [(question.name, *_missed(question, hidden=False)) for question in record.questions]
    found = [(name, public, missed) for name, public, missed in found if missed]
    if not found:
        return []
    name, public, missed = found[0]
    if public == 1:
        what = "its public test does not pass. Run it yourself, and read what it says:"
    else:
        which = f"{missed} of its {public} public tests {'does' if missed == 1 else 'do'}"
        what = f"{which} not pass. Run them yourself, and read what they say:"
    steps = [Step(f"Mend {name}: {what}", f"grader.check({_quoted(name)})")]
    if others := [name for name, _, _ in found[1:]]:
        steps.append(Step(f"Do the same for {_listed(others)}."))
    return steps


def _hidden(record: Record) -> list[Step]:
    """Questions whose public tests pass, but hidden ones do not."""
    names, missed_in_all = [], 0
    for question in record.questions:
        _, missed = _missed(question, hidden=True)
        if missed and not _missed(question, hidden=False)[1]:
            names.append(question.name)
            missed_in_all += missed
    if not names:
        return []
    return [
        Step(
            f"{_listed(names)}: the public tests pass, but {count(missed_in_all, 'hidden test')} "
            f"{'does' if missed_in_all == 1 else 'do'} not. Each has a hint below. Make a small example of your own "
            "from it, work out the answer by hand, and compare."
        )
    ]


def _missed(question: Question, hidden: bool) -> tuple[int, int]:
    """(how many cases there are, how many of them failed)."""
    cases = [case for case in question.cases if case.hidden is hidden]
    return len(cases), sum(not case.passed for case in cases)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
