"""Grades one submission, from the file handed in to its record, whatever the submission does."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from autograder.course import Limits
from autograder.grading.batches.gpu import trouble
from autograder.grading.batches.plan import Job
from autograder.grading.batches.results import record, replacement_note
from autograder.grading.batches.table import printable
from autograder.grading.isolation.sandbox import Sandbox
from autograder.grading.isolation.slot import Infrastructure
from autograder.grading.judging.judge import judge
from autograder.grading.judging.session import Session, Stopped
from autograder.grading.submissions.bundle import Bundle
from autograder.grading.submissions.intake import BadSubmission, Opened, open_submission
from autograder.testing import Judging, judging, keys

SHOWN_ERRORS = 3


class OutOfGpuMemory(Infrastructure):
    """A GPU had no memory left. Neighbours may be the reason, so it counts only if it repeats alone on the GPU."""


@dataclass
class Grader:
    """What all submissions of a batch share on one slot: `start()` gives a started sandbox."""

    bundle: Bundle
    limits: Limits
    secret: bytes
    start: Callable[[], Sandbox]
    device: str = "cpu"
    unsafe: str | None = None  # which protections are missing

    def grade(self, job: Job, alone: bool = True) -> tuple[dict, str]:
        """(result record, log for the instructor) of a submission.

        Raises Infrastructure, with the log, where the machine failed, for whatever reason: nothing is said of the
        submission then. OutOfGpuMemory is raised only unless the submission is `alone` on its GPU.
        """
        began, log = time.monotonic(), list(job.log)
        attempt = _Attempt(self, job, log)
        try:
            found = attempt.run()
        except (BadSubmission, Stopped) as refusal:
            found = {"status": "failed", "fault": "student", "reason": str(refusal)}
        except Infrastructure as failure:
            raise Infrastructure("\n".join([*attempt.private, str(failure)])) from failure
        except Exception:
            raise Infrastructure("\n".join([*attempt.private, traceback.format_exc()])) from None
        self._blame_the_gpu("\n".join([*attempt.private, found.get("reason") or ""]), alone)
        found["limits"] = list(dict.fromkeys([*job.limits, *attempt.limits_hit]))
        found["protection"] = protection(self.unsafe)
        found["resources"] = {"memory_mb": attempt.memory_mb, "gpu_mb": None, "student_seconds": attempt.waited}
        notes = [found.get("reason"), replacement_note(job.submission)]
        found["reason"] = " ".join(note for note in notes if note) or None
        found["seconds"] = round(time.monotonic() - began, 2)
        lines = [*log, *attempt.printed, *attempt.private]
        return record(job.submission, self.bundle, self.device, **found), "\n".join(lines) + ("\n" if lines else "")

    def _blame_the_gpu(self, said: str, alone: bool) -> None:
        if self.device == "cpu":
            return
        kind = trouble(said)
        if kind == "device":
            raise Infrastructure(f"{self.device}: the student's code met an error of the device.\n{said}")
        if kind == "memory" and not alone:
            raise OutOfGpuMemory(f"{self.device}: out of memory beside others.")


def given_up(job: Job, bundle: Bundle, device: str, unsafe: str | None, why: str | None = None) -> tuple[dict, str]:
    """The record of a submission on which the machine failed once too often, or for the reason `why`."""
    failed = f"The grading machine failed on this submission {len(job.log)} times"
    sentence = f"{why or failed}; it was not graded. See its log."
    found = {"status": "failed", "fault": "infrastructure", "reason": sentence, "protection": protection(unsafe)}
    return record(job.submission, bundle, device, **found), "\n".join(job.log) + "\n"


def protection(unsafe: str | None) -> str:
    """What a record says of the sandbox: `full`, or which protections were missing."""
    return "full" if unsafe is None else f"unsafe: {unsafe}"


class _Attempt:
    """One submission in its sandboxes, once. What it learns on the way stays readable when it fails."""

    def __init__(self, grader: Grader, job: Job, log: list[str]):
        self.grader, self.job, self.log = grader, job, log
        self.printed, self.private, self.limits_hit, self.sandboxes = [], [], [], []
        self.waited = 0.0  # seconds for the student's code

    def start(self) -> Sandbox:
        self.sandboxes.append(self.grader.start())
        return self.sandboxes[-1]

    @property
    def memory_mb(self) -> float | None:
        """The most that one of the sandboxes held, in megabytes."""
        peak = max((sandbox.peak for sandbox in self.sandboxes), default=0)
        return round(peak / 2**20, 1) if peak else None

    def run(self) -> dict:
        grader, submission = self.grader, self.job.submission
        bundle, limits = grader.bundle, grader.limits
        opened = open_submission(submission.path, bundle.name, limits.submission_mb)
        _check_assignment(opened, bundle)
        submission_key, assignment_key = keys(grader.secret, bundle.name, submission.sha256.encode())
        seed = int(submission.sha256[:8], 16)
        cells = bundle.seeded(opened.cells)
        session = Session(self.start, {**opened.files, **bundle.files}, cells, seed, limits)
        apart = _Apart(self.start, limits)
        handed_in = {PurePosixPath(name).name: content for name, content in opened.files.items()} | opened.files
        token = judging.set(Judging(session, apart, submission_key, assignment_key, handed_in))
        try:
            ran = session.run()
            self.printed = ["--- printed by the notebook", ran.printed] if ran.printed else []
            self.private += [f"cell {number}: {kind}: {text}" for number, kind, text in ran.errors]
            troubles = _troubles(session)
            questions, private = judge(session, _part(bundle, self.job.questions))
            self.private += private
        finally:
            judging.reset(token)
            session.close()
            apart.close()
            fresh = [] if apart.session is None else apart.session.limits_hit
            self.limits_hit = list(dict.fromkeys([*session.limits_hit, *fresh]))
            self.private += session.log
            self.waited = round(limits.submission_seconds - session.patience, 2)
        if self.job.kept:
            names = ", ".join(question["name"] for question in self.job.kept)
            self.log.append(f"kept from an earlier run: {names}")
        judged = {question["name"]: question for question in [*self.job.kept, *questions]}
        questions = [judged[name] for name in bundle.digests]
        return {
            "status": "graded",
            "fault": None,
            "reason": troubles,
            "score": round(sum(question["score"] for question in questions), 6),
            "questions": questions,
        }


def _part(bundle: Bundle, questions: frozenset[str] | None) -> Bundle:
    """The bundle with the tests of `questions` only (None: all)."""
    if questions is None:
        return bundle
    wanted = tuple(test for name, test in zip(bundle.digests, bundle.tests) if name in questions)
    return replace(bundle, tests=wanted)


def _check_assignment(opened: Opened, bundle: Bundle) -> None:
    """Refuse a notebook that says it belongs to another assignment, or shares no question with this one."""
    if bundle.named and opened.assignment is not None and opened.assignment != bundle.name:
        other = printable(opened.assignment)[:80]
        raise BadSubmission(f"This is a submission for {other}, but {bundle.name} is being graded.")
    known = {test.name for test in bundle.tests}
    if opened.assignment is None and opened.questions and not opened.questions & known:
        raise BadSubmission(f"None of this notebook's questions belongs to {bundle.name}: it is another assignment.")


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
