"""Grades one submission, from the file handed in to its record, whatever the submission does."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from autograder.course import Limits
from autograder.grading.bundle import Bundle
from autograder.grading.intake import BadSubmission, Opened, open_submission
from autograder.grading.judge import judge
from autograder.grading.results import record, replacement_note
from autograder.grading.sandbox import Sandbox
from autograder.grading.session import Session, Stopped
from autograder.grading.slot import Infrastructure
from autograder.grading.submission import Submission
from autograder.testing import Judging, judging, keys

SHOWN_ERRORS = 3


@dataclass
class Grader:
    """What all submissions of a batch share on one slot: `start()` gives a started sandbox."""

    bundle: Bundle
    limits: Limits
    secret: bytes
    start: Callable[[], Sandbox]
    device: str = "cpu"

    def grade(self, submission: Submission) -> tuple[dict, str]:
        """(result record, log for the instructor). A failure of the machine is tried once more, then recorded."""
        began, log = time.monotonic(), []
        for attempt in (1, 2):
            try:
                found = self._attempt(submission, log)
                break
            except BadSubmission as refusal:
                found = {"status": "failed", "fault": "student", "reason": str(refusal)}
                break
            except Stopped as stop:
                found = {"status": "failed", "fault": "student", "reason": str(stop)}
                break
            except Infrastructure as failure:
                log.append(f"attempt {attempt}: {failure}")
            except Exception:
                log.append(f"attempt {attempt}: {traceback.format_exc()}")
            sentence = "The grading machine failed on this submission, twice; it was not graded. See its log."
            found = {"status": "failed", "fault": "infrastructure", "reason": sentence}
        notes = [found.get("reason"), replacement_note(submission)]
        found["reason"] = " ".join(note for note in notes if note) or None
        found["seconds"] = round(time.monotonic() - began, 2)
        return record(submission, self.bundle, self.device, **found), "\n".join(log) + ("\n" if log else "")

    def _attempt(self, submission: Submission, log: list[str]) -> dict:
        opened = open_submission(submission.path, self.bundle.name, self.limits.submission_mb)
        self._check_assignment(opened)
        submission_key, assignment_key = keys(self.secret, self.bundle.name, submission.sha256.encode())
        seed = int(submission.sha256[:8], 16)
        session = Session(self.start, {**opened.files, **self.bundle.files}, opened.cells, seed, self.limits)
        apart = _Apart(self.start, self.limits)
        handed_in = {PurePosixPath(name).name: content for name, content in opened.files.items()} | opened.files
        token = judging.set(Judging(session, apart, submission_key, assignment_key, handed_in))
        try:
            ran = session.run()
            log += ["--- printed by the notebook", ran.printed] if ran.printed else []
            log += [f"cell {number}: {kind}: {text}" for number, kind, text in ran.errors]
            troubles = _troubles(session)
            questions, private = judge(session, self.bundle)
            log += private + session.log
        finally:
            judging.reset(token)
            session.close()
            apart.close()
        return {
            "status": "graded",
            "fault": None,
            "reason": troubles,
            "score": round(sum(question["score"] for question in questions), 6),
            "questions": questions,
        }

    def _check_assignment(self, opened: Opened) -> None:
        """Refuse a notebook that says it belongs to another assignment, or shares no question with this one."""
        if self.bundle.named and opened.assignment is not None and opened.assignment != self.bundle.name:
            raise BadSubmission(
                f"This is a submission for {opened.assignment}, but {self.bundle.name} is being graded."
            )
        known = {test.name for test in self.bundle.tests}
        if opened.assignment is None and opened.questions and not opened.questions & known:
            raise BadSubmission(
                f"None of this notebook's questions belongs to {self.bundle.name}: it is another assignment."
            )


class _Apart:
    """A session in a fresh sandbox where no notebook was run, started when a `probe(fresh=True)` first asks."""

    def __init__(self, start, limits: Limits):
        self.start, self.limits, self.session = start, limits, None

    def __call__(self) -> Session:
        if self.session is None:
            limits = replace(self.limits, question_seconds=self.limits.submission_seconds)
            self.session = Session(self.start, {}, [], 0, limits)
            self.session.run()
        self.session.begin("apart")
        return self.session

    def close(self) -> None:
        if self.session is not None:
            self.session.close()


def _troubles(session: Session) -> str | None:
    """What went wrong in the notebook, in sentences for the student, in the cells' order; or None."""
    found = {cell: f"{reason} and was skipped" for cell, reason in session.ran.skipped.items()}
    for cell, kind, text in session.ran.errors:
        if kind == "OutOfTime":
            found[cell] = f"was stopped after {session.limits.cell_seconds:g} s"
        else:
            found[cell] = f"raised {kind}{': ' if text else ''}{' '.join(text.split())[:150].rstrip('.')}"
    said = [f"The cell that begins {session.begins(cell)} {what}." for cell, what in sorted(found.items())]
    if len(said) > SHOWN_ERRORS:
        more = len(said) - SHOWN_ERRORS
        said = [*said[:SHOWN_ERRORS], f"{more} more cell{'s' if more > 1 else ''} did not run to the end."]
    return " ".join(said) or None
